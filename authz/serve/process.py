"""The process of `authz serve`: its log, its configuration, its event loop."""

from __future__ import annotations

import asyncio
import ctypes
import functools
import gc
import logging
import os
import signal
from typing import TYPE_CHECKING, Final

import uvloop

from authz.errors import InputError
from authz.serve.config.config import load_config
from authz.serve.listeners.descriptors import raise_limit
from authz.serve.listeners.systemd import Passed, notify, watchdog
from authz.serve.sidecar import Sidecar

if TYPE_CHECKING:
    from pathlib import Path

_LOG: Final = logging.getLogger("authz")
_LEVELS: Final = ("debug", "info", "warning", "error")
_OTHER_CONNECTIONS: Final = 1024 + 64  # of the gRPC front, and of the admin listener
_M_MMAP_THRESHOLD: Final = -3  # <malloc.h>
_CPU_LIMIT: Final = "/sys/fs/cgroup/cpu.max"
_LARGE: Final = 1 << 20  # bytes
# New objects after which the collector looks at them, and so many such looks after which at what was left. By default
# 700 and 10, and then at all there are: 12 ms with 30,000 outcomes, in which no request is answered.
_YOUNG: Final = (700, 3)


def serve(config: Path, log_level: str = "info") -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        config: authz.yaml.
        log_level: As in `logging`, in lower case.

    Raises:
        InputError: The configuration is wrong.
        StartError: The sidecar cannot start.
    """
    if log_level not in _LEVELS:
        raise InputError(f"--log-level: found '{log_level}', expected debug, info, warning or error")
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})  # until we can handle it; the command has done so
    logging.basicConfig(level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    checked = load_config(config, os.environ)
    _LOG.info("pid: %d, which takes SIGHUP and SIGTERM", os.getpid())
    raise_limit(checked.http.max_connections + _OTHER_CONNECTIONS)
    _give_back_large_blocks()
    if checked.grpc.engine != "grpcio":  # whose calls we do not know
        collect_in_short_steps()

    passed = Passed.of(os.environ)
    workers = checked.workers or cpus()
    if workers > 1:
        from authz.serve.workers.run import serve_with_workers  # noqa: PLC0415  # one process needs none of it

        read = functools.partial(load_config, config, os.environ)
        serve_with_workers(checked, workers, read, passed, tell, watchdog(os.environ))
        return

    async def live() -> None:
        sidecar = Sidecar(checked, lambda: load_config(config, os.environ), passed, tell)
        watch = asyncio.get_running_loop().create_task(_keep_alive())
        await sidecar.start()
        await sidecar.run_until_signal()
        watch.cancel()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(live())


def cpus() -> int:
    """Return how many CPUs we may use: those of the affinity mask, or fewer by the limit of the container."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        with open(_CPU_LIMIT, encoding="ascii") as file:  # noqa: PTH123  # a file of the kernel
            quota, period = file.read().split()
        return max(1, min(allowed, -(-int(quota) // int(period))))
    except (OSError, ValueError):
        return allowed


def tell(*lines: str) -> None:
    """Tell systemd, where it listens."""
    notify(os.environ, *lines)


async def _keep_alive() -> None:
    """Tell the watchdog of systemd that the event loop turns."""
    pause = watchdog(os.environ)
    while pause is not None:
        tell("WATCHDOG=1")
        await asyncio.sleep(pause)


def collect_in_short_steps() -> None:
    """Have the collector of cyclic garbage look at each object at most twice: what it finds in use then stays out.

    What is in use that long (connections, outcomes) makes no cycles: it is freed as soon as nobody refers to it.
    """
    gc.set_threshold(*_YOUNG)
    gc.callbacks.append(_collected)


def _collected(phase: str, info: dict[str, int]) -> None:
    if phase == "stop" and info["generation"]:
        gc.freeze()


def _give_back_large_blocks() -> None:
    """Have malloc(3) give a large block back to the system when it is freed, always.

    By itself glibc keeps blocks as large as the largest that was freed so far: after some reloads the envelopes and
    manifests of snapshots that are gone (6 MB of 37 with 100,000 entries). Elsewhere than in glibc this does nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE)
