"""A real `authz serve` on a core of its own: started, read from /proc while it works, and ended by its process id."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

_PATIENCE: Final = 60.0  # seconds until a sidecar must serve


class Cores(NamedTuple):
    """The core of the server and the core of the load; the same one where there is no other."""

    server: int
    load: int


def cores() -> Cores:
    """Return the cores to use: the last that we may run on for the server, the first for the load."""
    allowed = sorted(os.sched_getaffinity(0))
    return Cores(allowed[-1], allowed[0])


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Run on one core only. Processes that are started meanwhile stay on it for good, with all their threads."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cpu_seconds(pid: int) -> float:
    """Return the CPU time, user and system, that all threads of a process have used, those that ended included.

    Exact to the nanosecond; /proc/PID/stat counts in ticks of 10 ms. Raises OSError where there is no such process.
    """
    return time.clock_gettime(~pid << 3 | 2)  # its clock, as clock_getcpuclockid(3) makes it on Linux


def memory_of(pid: int | str) -> dict[str, int]:
    """Return the sizes in /proc/PID/status in bytes, by their names there.

    VmRSS = RssAnon (its own memory) + RssFile (programs and libraries) + RssShmem (the sealed copy of the snapshot).
    """
    text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return {name: int(size) << 10 for name, size in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)}


CONFIG: Final = """\
snapshot: {{path: {snapshot}, trusted_keys: [keys/bench.pub], state: {name}.state.json}}
grpc: {{listen: "{grpc}", engine: {engine}}}
http: {{listen: "{http}"}}
admin: {{listen: "127.0.0.1:0"}}
client_address: {{trusted_proxies: [127.0.0.0/8], trust_unix: true}}
decision_log: {{path: "{log}"}}
drain: 0s
"""
LOOPBACK: Final = "127.0.0.1:0"  # the system chooses the port
_UNIX: Final = "unix:"


class Running:
    """A process of ours. As a context manager it is ended at the end."""

    _process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def end(self) -> None:
        """End it and wait for that. A second call is harmless."""
        self._process.terminate()
        try:
            self._process.wait(10.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


class Sidecar(Running):
    """A sidecar that serves a snapshot in `folder`. As a context manager it is ended at the end.

    name: its files begin with it. grpc, http: ADDRESS:PORT, `unix:` and a name in the folder, or `off`. ports: of grpc,
    http and admin, where it has them. ready_seconds: from the start of the process until it serves with the snapshot
    loaded.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        snapshot: str,
        engine: str = "native",
        grpc: str = LOOPBACK,
        http: str = LOOPBACK,
        log: str = "off",
    ) -> None:
        config = CONFIG.format(name=name, snapshot=snapshot, engine=engine, grpc=grpc, http=http, log=log)
        (folder / f"{name}.yaml").write_text(config, encoding="utf-8")
        self._folder = folder
        self._listens = {"grpc": grpc, "http": http}
        self._output = folder / f"{name}.log"
        self._begin = time.monotonic()
        with on_core(cores().server), self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "authz", "serve", "--config", f"{name}.yaml"],
                cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
        try:
            text = self._wait_until_it_serves()
        except BaseException:
            self.end()
            raise
        self.ready_seconds = time.monotonic() - self._begin
        self.ports = {name: int(port) for name, port in re.findall(r"(grpc|http|admin): listening on \S*?:(\d+)", text)}

    def url(self, front: str) -> str:
        """Return the URL of `grpc` or `http`, as `benchmarks.paced` takes it; a path is to follow that of `http`."""
        if not self._listens[front].startswith(_UNIX):
            return f"{front}://127.0.0.1:{self.ports[front]}"
        path = self._folder / self._listens[front].removeprefix(_UNIX)
        return f"{front}+unix:{path}" + (":" if front == "http" else "")

    def _wait_until_it_serves(self) -> str:
        while time.monotonic() - self._begin < _PATIENCE:
            text = self._output.read_text(encoding="utf-8")
            if "authz: serving\n" in text:
                return text
            if self._process.poll() is not None or "not ready" in text:
                break
            time.sleep(0.002)
        raise RuntimeError(f"the sidecar does not serve:\n{self._output.read_text(encoding='utf-8')}")
