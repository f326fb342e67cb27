"""Real processes for tests: started with ports of their own on loopback, ended by pid, nothing left running."""

from __future__ import annotations

import re
import secrets
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Self

LOOPBACK = "127.0.0.1"
PATIENCE = 20.0  # seconds that a test waits for what should take a fraction of one


def free_port() -> int:
    """Return a port on 127.0.0.1 that is free now, for programs that cannot be told to choose one.

    It is below the ports that Linux gives to connections and to listeners on port 0 (`ip_local_port_range`, from 32768
    on), so no other test takes it by chance before the program has bound it.
    """
    for _ in range(100):
        port = secrets.choice(range(10_000, 32_768))
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


def wait_for(what: Callable[[], Any], why: str = "") -> Any:
    """Call `what` until its result is true, and return that; fails after PATIENCE."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            result = what()
        except OSError:
            result = None
        if result:
            return result
        time.sleep(0.02)
    raise AssertionError(f"not within {PATIENCE} seconds: {why or what}")


class Process:
    """A program, with what it printed in `lines`. As a context manager: ended by SIGTERM, then by SIGKILL."""

    def __init__(self, command: Sequence[str | Path], *, cwd: Path, env: dict[str, str] | None = None) -> None:
        self.command = [str(part) for part in command]
        self.lines: list[str] = []
        self.popen = subprocess.Popen(
            self.command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            self.lines.append(line.decode("utf-8", "replace").rstrip("\n"))

    @property
    def output(self) -> str:
        """What it printed so far, to standard output and standard error."""
        return "\n".join(self.lines)

    def wait_for_line(self, pattern: str) -> re.Match[str]:
        """Return the first match of a pattern in a line of the output; fails when the program ends before."""

        def found() -> re.Match[str] | None:
            for line in list(self.lines):
                match = re.search(pattern, line)
                if match:
                    return match
            if self.popen.poll() is not None and not self._reader.is_alive():
                raise AssertionError(f"{self.command} ended with {self.popen.returncode}:\n{self.output}")
            return None

        try:
            result: re.Match[str] = wait_for(found, pattern)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output}") from None
        return result

    def wait(self) -> int:
        """Return the exit status, once it has ended."""
        status = self.popen.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return status

    def end(self) -> None:
        """End it, gently at first."""
        if self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(5.0)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()
        self._reader.join(PATIENCE)
        if self.popen.stdout is not None:
            self.popen.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


CONFIG = """\
snapshot: {path: lists.snapshot, trusted_keys: [keys/a.pub], poll: 1s}
grpc: {listen: "127.0.0.1:0"}
http: {listen: "127.0.0.1:0"}
admin: {listen: "127.0.0.1:0"}
client_address: {trusted_proxies: [127.0.0.0/8, "::1"]}
decision_log: {allowed: 1.0}
drain: 0s
"""


class Sidecar(Process):
    """A real `authz serve` in `folder`, with the configuration that is given; waits until it serves.

    ports: of grpc, http and admin.
    """

    def __init__(self, folder: Path, config: str = CONFIG, *, env: dict[str, str] | None = None) -> None:
        (folder / "authz.yaml").write_text(config)
        super().__init__([sys.executable, "-m", "authz", "serve", "--config", "authz.yaml"], cwd=folder, env=env)
        try:
            self.wait_for_line(r"authz: serving")
        except AssertionError:
            self.end()
            raise
        found = re.findall(r"(grpc|http|admin): listening on \S*?:(\d+)", self.output)
        self.ports = {name: int(port) for name, port in found}
