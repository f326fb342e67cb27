"""Programs that a benchmark starts: on the core of the server, and read from /proc while they work."""

from __future__ import annotations

import os
import re
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from support.processes import Process, ports_of, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

T = TypeVar("T")

PATIENCE: Final = 120.0  # seconds until a program must serve; Envoy takes its time over 100,000 principals
_PAUSE: Final = 0.002  # seconds between two looks at one that starts: the start is measured


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


def run_first(pid: int, priority: int = 1) -> None:
    """Have a process and its children, with all their threads, run before all else on their core (sched(7), SCHED_RR).

    priority: from 1 to 99; a higher one runs before a lower one. Threads and children that they start inherit it.
    Raises PermissionError.
    """
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(ProcessLookupError, FileNotFoundError):  # it has ended meanwhile
            os.sched_setscheduler(int(thread.name), os.SCHED_RR, os.sched_param(priority))
            for child in (thread / "children").read_text(encoding="ascii").split():
                run_first(int(child), priority)


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


class Child(Process):
    """A program of a benchmark, started in `folder` on the server's core.

    A subclass waits in __init__ until it serves (`wait_until`). ready_seconds: from the start until then.
    """

    def __init__(self, folder: Path, command: Sequence[str | Path]) -> None:
        self._begin = time.monotonic()
        self.ready_seconds = 0.0
        with on_core(cores().server):
            super().__init__(command, cwd=folder)

    def wait_until(self, look: Callable[[], T | None]) -> T:
        """Return what `look` finds, as soon as it does; a connection that fails is nothing found.

        Raises RuntimeError, with the output, where the program ends before or takes longer than PATIENCE.
        """

        def looked() -> list[T]:
            ended = self.popen.poll() is not None
            try:
                result = look()
            except OSError:
                result = None
            assert result is not None or not ended, "it ended"
            return [] if result is None else [result]

        try:
            [result] = wait_for(looked, patience=PATIENCE, pause=_PAUSE)
        except AssertionError as error:
            self.end()
            raise RuntimeError(f"{self.command!r} does not serve: {error}\n{self.output[-2000:]}") from None
        except BaseException:
            self.end()
            raise
        self.ready_seconds = time.monotonic() - self._begin
        return result  # type: ignore[no-any-return]


CONFIG: Final = """\
snapshot: {{path: {snapshot}, trusted_keys: [keys/bench.pub], state: {name}.state.json}}
grpc: {{listen: "{grpc}", engine: {engine}}}
http: {{listen: "{http}", cache: {cache}}}
admin: {{listen: "127.0.0.1:0"}}
client_address: {{trusted_proxies: [127.0.0.0/8], trust_unix: true}}
application: {{unknown: default}}
decision_log: {{path: "{log}"}}
drain: 0s
"""
LAYERS: Final = """\
state: {name}.state.json
layers:
  - {{name: policy, path: {snapshot}, trusted_keys: [keys/bench.pub]}}
  - {{name: bans, {bans}}}
"""
LOOPBACK: Final = "127.0.0.1:0"  # the system chooses the port
_UNIX: Final = "unix:"


class Sidecar(Child):
    """A sidecar that serves a snapshot in `folder`. As a context manager it is ended at the end.

    name: its files begin with it. grpc, http: ADDRESS:PORT, `unix:` and a name in the folder, or `off`. ports: of grpc,
    http and admin, where it has them. ready_seconds: from the start of the process until it serves with the snapshot
    loaded. bans: where the file of a second layer comes from, as in authz.yaml. cache: `http.cache`.
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
        bans: str | None = None,
        cache: str = "0s",
        workers: int = 1,
    ) -> None:
        config = CONFIG.format(name=name, snapshot=snapshot, engine=engine, grpc=grpc, http=http, log=log, cache=cache)
        if bans is not None:
            config = config.partition("\n")[2] + LAYERS.format(name=name, snapshot=snapshot, bans=bans)
        config += f"workers: {workers}\n"
        (folder / f"{name}.yaml").write_text(config, encoding="utf-8")
        self._folder = folder
        self._listens = {"grpc": grpc, "http": http}
        super().__init__(folder, [sys.executable, "-m", "authz", "serve", "--config", f"{name}.yaml"])
        self.ports = ports_of(self.wait_until(self._serving))

    def url(self, front: str) -> str:
        """Return the URL of `grpc` or `http` for `load.paced`; a path is to follow that of `http`."""
        if not self._listens[front].startswith(_UNIX):
            return f"{front}://127.0.0.1:{self.ports[front]}"
        path = self._folder / self._listens[front].removeprefix(_UNIX)
        return f"{front}+unix:{path}" + (":" if front == "http" else "")

    def _serving(self) -> str | None:
        lines = self.lines
        assert not any("not ready" in line for line in lines), "it is not ready"
        return "\n".join(lines) if any("authz: serving" in line for line in lines) else None
