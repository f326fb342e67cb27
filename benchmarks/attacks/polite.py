"""A polite client, in a process of its own so that no attacker's thread keeps it waiting: `python -m ... PORT`.

It asks every 5 ms until its standard input ends, then prints its waits in seconds as JSON.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from typing import Final

from benchmarks.attacks.peers import block, call, opening, request_of

_EVERY: Final = 0.005  # seconds between two questions


def ask(port: int, ended: threading.Event) -> tuple[list[float], str]:
    """Ask until it is ended; return the waits, and what went wrong."""
    head, message, stream = block(), request_of("192.0.2.7"), 1
    waits: list[float] = []
    try:
        with socket.create_connection(("127.0.0.1", port), 60) as connection:
            connection.sendall(opening())
            while not ended.is_set():
                begin = time.monotonic()
                connection.sendall(call(stream, head, message))
                while b"grpc-status" not in connection.recv(65536):
                    pass
                waits.append(time.monotonic() - begin)
                stream += 2
                time.sleep(max(0.0, _EVERY - waits[-1]))
    except OSError as error:
        return waits, str(error)
    return waits, ""


def main() -> None:
    """Ask in a thread, and wait for the end of standard input."""
    ended = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    waits, failed = ask(int(sys.argv[1]), ended)
    json.dump({"waits": waits, "failed": failed}, sys.stdout)


if __name__ == "__main__":
    main()
