"""What the kernel knows of this process, by the names that all clients of Prometheus use."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path
from typing import Final, NamedTuple

from authz.serve.observe.metrics import Family

_PROC: Final = Path("/proc/self")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_START_FIELD: Final = 19  # of /proc/self/stat after the name, proc(5): in ticks since the system's boot


class ProcessState(NamedTuple):
    """Memory in bytes, and open descriptors. Zero where the kernel does not tell."""

    resident: int = 0
    virtual: int = 0
    descriptors: int = 0


def read_state() -> ProcessState:
    """Read what changes. Blocks for some microseconds: not for the event loop."""
    try:
        virtual, resident = (int(pages) * _PAGE for pages in (_PROC / "statm").read_text().split()[:2])
        return ProcessState(resident, virtual, sum(1 for _ in (_PROC / "fd").iterdir()))
    except (OSError, ValueError):
        return ProcessState()


def read_start() -> float:
    """Return when the process was started, in seconds since 1970; now, where the kernel does not tell. Blocks."""
    try:
        ticks = int((_PROC / "stat").read_text().rpartition(")")[2].split()[_START_FIELD])
    except (OSError, ValueError, IndexError):
        return time.time()
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / _TICKS


def families(state: ProcessState, start: float) -> list[Family]:
    """Return the metrics. start: of `read_start`."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)

    def gauge(name: str, text: str, value: float) -> Family:
        return Family.of(f"process_{name}", "gauge", text, {(): float(value)})

    cpu = time.process_time()
    return [
        Family.of("process_cpu_seconds_total", "counter", "CPU time of user and system", {(): cpu}),
        gauge("resident_memory_bytes", "Memory that is not swapped out", state.resident),
        gauge("virtual_memory_bytes", "Memory that is mapped", state.virtual),
        gauge("open_fds", "Open descriptors", state.descriptors),
        gauge("max_fds", "The limit of open descriptors", limit),
        gauge("start_time_seconds", "When it was started, since 1970", start),
    ]
