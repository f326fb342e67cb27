"""Attack a real `authz serve`, and say what it cost: memory, CPU, and the longest wait of a polite client beside it.

    python -m benchmarks.attacks.run [--tree DIR] [--engine native|grpcio] [--output FILE] [ATTACK...]

`--tree` names another checkout of the project, whose sidecar is attacked instead: so two states are compared. The
polite client asks every 5 ms on a connection of its own, and each answer is read before the next question.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Final

from benchmarks.attacks.peers import ATTACKS, Attack

_POLICY: Final = """\
version: 1
applications:
  "*": {deny: {body: "%s"}}
entries:
  - {id: bad, list: deny, networks: [203.0.113.0/24], reason: x}
"""
_CONFIG: Final = """\
snapshot: {path: lists.snapshot, trusted_keys: [keys/a.pub]}
grpc: {listen: "127.0.0.1:0", engine: %s}
http: {listen: "off"}
admin: {listen: "off"}
decision_log: {path: "off"}
drain: 0s
"""
_BEFORE: Final = 1.0  # seconds of the polite client alone
_LONGEST: Final = 30.0  # seconds that an attack may last


class Sidecar:
    """A sidecar of some checkout of the project, in a folder of its own."""

    def __init__(self, tree: Path, folder: Path, engine: str) -> None:
        self._environment = {**os.environ, "PYTHONPATH": str(tree)}
        self._folder = folder
        (folder / "policy.yaml").write_text(_POLICY % ("x" * 60_000))
        (folder / "authz.yaml").write_text(_CONFIG % engine)
        self._authz("keys", "generate", "keys", "--name", "a")
        self._authz("snapshot", "build", "policy.yaml", "-o", "lists.snapshot", "--key", "keys/a.key")
        command = [sys.executable, "-m", "authz", "serve", "--config", "authz.yaml"]
        self.process = subprocess.Popen(
            command, cwd=folder, env=self._environment, stderr=subprocess.PIPE, text=True, bufsize=1
        )
        assert self.process.stderr is not None
        self.port = 0
        for line in self.process.stderr:
            found = re.search(r"grpc: listening on 127\.0\.0\.1:(\d+)", line)
            self.port = int(found[1]) if found else self.port
            if "serving" in line:
                break
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def _authz(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "authz", *arguments]
        subprocess.run(command, cwd=self._folder, env=self._environment, check=True, capture_output=True)

    def memory(self, what: str = "VmHWM") -> float:
        """Return megabytes: VmHWM the most so far, VmRSS now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(rf"{what}:\s+(\d+) kB", status)
        return int(found[1]) / 1024 if found else 0.0

    def cpu(self) -> float:
        """Return the seconds of CPU used so far."""
        ticks = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK")

    def end(self) -> None:
        """End the process."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        self.process.kill()


class Polite:
    """The polite client."""

    def __init__(self, port: int) -> None:
        command = [sys.executable, "-m", "benchmarks.attacks.polite", str(port)]
        root = Path(__file__).parents[2]
        self._process = subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def end(self) -> tuple[list[float], str]:
        """End it; return its waits in seconds, and what went wrong."""
        output, _ = self._process.communicate(timeout=120)
        said = json.loads(output)
        return said["waits"], said["failed"]


def attack(port: int, kind: Attack) -> None:
    """Send what the attack sends, on all its connections, until all is sent, refused, or too long ago."""
    data, end = kind.data(), time.monotonic() + _LONGEST

    def one() -> None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 2) as connection:
            if kind.reads:
                threading.Thread(target=_drain, args=(connection,), daemon=True).start()
            view = memoryview(data)
            while view and time.monotonic() < end:
                try:
                    view = view[connection.send(view[: 1 << 18]) :]
                except TimeoutError:
                    if not kind.reads:
                        break  # it reads us no more
            time.sleep(2.0)

    threads = [threading.Thread(target=one, daemon=True) for _ in range(kind.connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_LONGEST + 5)


def _drain(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            try:
                if not connection.recv(1 << 20):
                    return
            except TimeoutError:
                continue


def measure(tree: Path, name: str, engine: str) -> dict[str, Any]:
    """Return what an attack cost a fresh sidecar."""
    with tempfile.TemporaryDirectory() as folder:
        sidecar = Sidecar(tree, Path(folder), engine)
        try:
            polite = Polite(sidecar.port)
            time.sleep(_BEFORE)
            cpu, memory = sidecar.cpu(), sidecar.memory()
            attack(sidecar.port, ATTACKS[name])
            time.sleep(0.2)
            waits, failed = polite.end()
            waits = sorted(waits) or [float("inf")]
            return {
                "attack": name,
                "what": ATTACKS[name].what,
                "engine": engine,
                "memory_before_mb": round(memory, 1),
                "memory_most_mb": round(sidecar.memory(), 1),
                "cpu_seconds": round(sidecar.cpu() - cpu, 2),
                "longest_wait_ms": round(1000 * waits[-1], 1),
                "p99_wait_ms": round(1000 * waits[len(waits) * 99 // 100], 1),
                "answers": len(waits),
                "failed": failed,
            }
        finally:
            sidecar.end()


def main() -> None:
    """Run the attacks that are named, print a line for each, and write the raw results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("attacks", nargs="*", metavar="ATTACK", help=f"{', '.join(ATTACKS)}; default: all")
    parser.add_argument("--tree", type=Path, default=Path(__file__).parents[2], help="the checkout to attack")
    parser.add_argument("--engine", choices=["native", "grpcio"], default="native")
    parser.add_argument("--output", type=Path, help="where to write the results, as JSON")
    options = parser.parse_args()
    results = []
    for name in options.attacks or ATTACKS:
        if name not in ATTACKS:
            parser.error(f"found the attack '{name}', expected some of {', '.join(ATTACKS)}")
        results.append(measure(options.tree.absolute(), name, options.engine))
        print(json.dumps(results[-1]))
    if options.output:
        options.output.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
