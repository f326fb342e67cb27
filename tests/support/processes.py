"""Real processes for tests: started with ports of their own on loopback, ended by pid, nothing left running."""

from __future__ import annotations

import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Self

LOOPBACK = "127.0.0.1"
PATIENCE = 60.0  # seconds that a test waits for what should take a fraction of one
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_PORTS = list(range(10_000 + _WORKER, 32_768, _WORKERS))  # that this process has not given out yet
random.SystemRandom().shuffle(_PORTS)  # hypothesis and others may have seeded the usual one


def free_port() -> int:
    """Return a port on 127.0.0.1 that is free now, for programs that cannot be told to choose one.

    It is below the ports that Linux gives to connections and to listeners on port 0 (`ip_local_port_range`, from 32768
    on), and no worker of pytest-xdist gives it out again, so no other test takes it before the program has bound it.
    """
    while _PORTS:
        port = _PORTS.pop()
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise AssertionError("no port on 127.0.0.1 is free")


def has_ipv6() -> bool:
    """Return whether there is an IPv6 loopback here."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def wait_for(what: Callable[[], Any], why: str = "", *, patience: float = PATIENCE, pause: float = 0.02) -> Any:
    """Call `what` until its result is true, and return that. An OSError counts as false.

    pause: seconds between two calls. Raises AssertionError after `patience` seconds.
    """
    end = time.monotonic() + patience
    while time.monotonic() < end:
        try:
            result = what()
        except OSError:
            result = None
        if result:
            return result
        time.sleep(pause)
    raise AssertionError(f"not within {patience} seconds: {why or what}")


class Process:
    """A program whose output is kept in a file without a name. As a context manager: ended by SIGTERM, then SIGKILL."""

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        cwd: Path,
        env: dict[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.command = [str(part) for part in command]
        self._output = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  # closed by end()
        self._written = ""
        try:
            self.popen = subprocess.Popen(
                self.command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=self._output, stderr=subprocess.STDOUT,
                pass_fds=pass_fds,
            )  # fmt: skip
        except BaseException:
            self._output.close()
            raise

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.popen.pid

    @property
    def output(self) -> str:
        """The lines that it printed so far, to standard output and standard error."""
        return "\n".join(self.lines)

    @property
    def lines(self) -> list[str]:
        """The lines that it printed so far; one that has no end yet only once the program has ended."""
        ended = self.popen.poll() is not None
        if not self._output.closed:
            written = os.pread(self._output.fileno(), os.fstat(self._output.fileno()).st_size, 0)
            self._written = written.decode("utf-8", "replace")
        *lines, last = self._written.split("\n")
        return [*lines, last] if ended and last else lines

    def wait_for_line(self, pattern: str) -> re.Match[str]:
        """Return the first match of a pattern in a line of the output.

        Raises AssertionError with the output when the program ends without such a line, or after PATIENCE.
        """

        def matched() -> re.Match[str] | None:
            ended = self.popen.poll() is not None
            for line in self.lines:
                match = re.search(pattern, line)
                if match:
                    return match
            if ended:
                raise AssertionError(f"{self.command} ended with {self.popen.returncode}")
            return None

        try:
            result: re.Match[str] = wait_for(matched, pattern)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output}") from None
        return result

    def wait(self) -> int:
        """Return the exit status, once it has ended."""
        return self.popen.wait(PATIENCE)

    def end(self) -> None:
        """End it, gently at first. A second call is harmless."""
        if self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(5.0)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()
        self._written = "\n".join([*self.lines, ""])
        self._output.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


def ports_of(output: str) -> dict[str, int]:
    """Return the ports of grpc, http and admin, as a sidecar prints them; unix sockets have none."""
    return {name: int(port) for name, port in re.findall(r"(grpc|http|admin): listening on \S*?:(\d+)", output)}


CONFIG = """\
snapshot: {path: lists.snapshot, trusted_keys: [keys/a.pub], poll: 1s}
grpc: {listen: "127.0.0.1:0"}
http: {listen: "127.0.0.1:0"}
admin: {listen: "127.0.0.1:0"}
client_address: {trusted_proxies: [127.0.0.0/8, "::1"]}
decision_log: {allowed: 1.0}
application: {unknown: default}
drain: 0s
"""


class Sidecar(Process):
    """A real `authz serve` in `folder`, with the configuration that is given; waits until it serves.

    options: of the command. ports: of grpc, http and admin.
    """

    def __init__(
        self, folder: Path, config: str = CONFIG, *, env: dict[str, str] | None = None, options: Sequence[str] = ()
    ) -> None:
        (folder / "authz.yaml").write_text(config)
        command = [sys.executable, "-m", "authz", "serve", "--config", "authz.yaml", *options]
        super().__init__(command, cwd=folder, env=env)
        try:
            self.wait_for_line(r"authz: serving")
        except AssertionError:
            self.end()
            raise
        self.ports = ports_of(self.output)
