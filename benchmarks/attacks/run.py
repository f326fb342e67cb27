"""Attack a real server, and say what it cost: memory, CPU, and the longest wait of a polite client beside it.

    python -m benchmarks.attacks.run [--target native|grpcio|nginx|envoy ...] [--tree DIR] [--output FILE] [ATTACK...]

`--tree` names another checkout of the project, whose sidecar is attacked instead: so two states are compared. nginx and
Envoy answer by themselves, as what one would put in the sidecar's place; attacks that only a sidecar understands leave
them out. The polite client asks every 5 ms on a connection of its own, and reads each answer before the next question.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.attacks.peers import ATTACKS, Attack
from benchmarks.attacks.targets import TARGETS, missing, start

if TYPE_CHECKING:
    from collections.abc import Iterator

_BEFORE: Final = 1.0  # seconds of the polite client alone
_LONGEST: Final = 30.0  # seconds that an attack may last
_DRIP: Final = 12.0  # seconds of a slow one: more than the time for a header
_MANY: Final = 1000  # connections from which on they are opened one after the other


class Polite:
    """The polite client."""

    def __init__(self, front: str, port: int) -> None:
        command = [sys.executable, "-m", "benchmarks.attacks.polite", front, str(port)]
        root = Path(__file__).parents[2]
        self._process = subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._process.stdout.readline()  # it has loaded its modules, which may take longer than an attack

    def end(self) -> dict[str, Any]:
        """End it; return its waits in seconds, and what went wrong."""
        output, _ = self._process.communicate(timeout=120)
        said: dict[str, Any] = json.loads(output)
        return said


def attack(port: int, kind: Attack) -> int:
    """Send what the attack sends, until all is sent, refused, or too long ago. Returns how many stayed open."""
    data = kind.data()
    if kind.connections > _MANY:
        return _keep(port, data, kind.connections)
    for _ in range(kind.again):
        threads = [
            threading.Thread(target=_peer, args=(port, kind, data), daemon=True) for _ in range(kind.connections)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(_LONGEST + 5)
    return kind.connections


def _peer(port: int, kind: Attack, data: bytes) -> None:
    end = time.monotonic() + (_DRIP if kind.pause else _LONGEST)
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 2) as connection:
        if kind.reads:
            threading.Thread(target=_drain, args=(connection,), daemon=True).start()
        for piece in _pieces(data, kind.pause):
            view = memoryview(piece)
            while view and time.monotonic() < end:
                try:
                    view = view[connection.send(view) :]
                except TimeoutError:
                    if not kind.reads:
                        break  # it reads us no more
            if time.monotonic() > end:
                return
        if not kind.pause and kind.again == 1:
            time.sleep(2.0)


def _pieces(data: bytes, pause: float) -> Iterator[bytes]:
    """Yield the data: all at once, or a byte at a time, over and over."""
    if not pause:
        yield from (data[start : start + (1 << 18)] for start in range(0, len(data), 1 << 18))
        return
    yield data[: len(data) // 2]
    while True:
        yield data[len(data) // 2 : len(data) // 2 + 1]
        time.sleep(pause)


def _keep(port: int, data: bytes, number: int) -> int:
    """Open many connections, keep them for a while, and return how many the server has kept open."""
    with contextlib.ExitStack() as stack:
        connections = []
        for _ in range(number):
            with contextlib.suppress(OSError):
                connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), 2))
                connection.sendall(data)
                connections.append(connection)
        time.sleep(3.0)
        kept = 0
        for connection in connections:
            connection.setblocking(False)
            with contextlib.suppress(OSError):
                kept += _open(connection)
        return kept


def _open(connection: socket.socket) -> bool:
    """Return whether the server has not ended a connection."""
    try:
        while connection.recv(65536):
            pass
    except BlockingIOError:
        return True
    return False


def _drain(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            try:
                if not connection.recv(1 << 20):
                    return
            except TimeoutError:
                continue


def measure(tree: Path, name: str, target: str) -> dict[str, Any]:
    """Return what an attack cost a fresh server."""
    kind = ATTACKS[name]
    with tempfile.TemporaryDirectory() as folder:
        server = start(target, Path(folder), tree)
        try:
            polite = Polite(kind.front, server.ports[kind.front])
            time.sleep(_BEFORE)
            cpu, memory, begin = server.cpu(), server.memory(), time.monotonic()
            kept = attack(server.ports[kind.front], kind)
            lasted = time.monotonic() - begin
            time.sleep(0.2)
            said = polite.end()
            waits = sorted(said["waits"]) or [float("inf")]
            return {
                "attack": name,
                "what": kind.what,
                "target": target,
                "front": kind.front,
                "memory_before_mb": round(memory, 1),
                "memory_most_mb": round(server.memory(), 1),
                "cpu_seconds": round(server.cpu() - cpu, 2),
                "attack_seconds": round(lasted, 1),
                "connections_kept": kept,
                "longest_wait_ms": round(1000 * waits[-1], 1),
                "p99_wait_ms": round(1000 * waits[len(waits) * 99 // 100], 1),
                "answers": len(waits),
                "reopened": said["reopened"],
                "failed": said["failed"],
                "alive": server.process.poll() is None,
            }
        finally:
            server.end()


def main() -> None:
    """Run the attacks that are named, print a line for each, and write the raw results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("attacks", nargs="*", metavar="ATTACK", help=f"{', '.join(ATTACKS)}; default: all")
    parser.add_argument("--tree", type=Path, default=Path(__file__).parents[2], help="the checkout to attack")
    parser.add_argument("--target", choices=TARGETS, action="append", help="may be repeated; default: native")
    parser.add_argument("--output", type=Path, help="where to write the results, as JSON")
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    results = []
    for target in options.target or ["native"]:
        if (reason := missing(target)) is not None:
            print(f"{target} is left out: {reason}", file=sys.stderr)
            continue
        for name in options.attacks or ATTACKS:
            if name not in ATTACKS:
                parser.error(f"found the attack '{name}', expected some of {', '.join(ATTACKS)}")
            if ATTACKS[name].of_authz and target in {"nginx", "envoy"}:
                continue
            results.append(measure(options.tree.absolute(), name, target))
            print(json.dumps(results[-1]), flush=True)
            if options.output:
                options.output.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
