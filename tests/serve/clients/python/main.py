"""A client of Check with grpcio; see ../README.md for what it does and prints."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from itertools import count

import grpc
from grpc import aio

WORKERS = 8
PAUSE = 0.005  # seconds of a worker, between calls
METHOD = "/envoy.service.auth.v3.Authorization/Check"
PERMISSION_DENIED = 7
ALIVE = [
    ("grpc.keepalive_time_ms", 200), ("grpc.keepalive_timeout_ms", 5000), ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
]  # fmt: skip

ended = False


class Report:
    """What became of the calls."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(("calls", "wrong", "cancelled", "expired", "compressed"), 0)
        self.failed: list[str] = []

    def note(self, kind: str) -> None:
        """Note a call. kind: one of the counts, what failed, or empty where all is well."""
        self.counts["calls"] += 1
        if kind in self.counts:
            self.counts[kind] += 1
        elif kind:
            self.failed.append(kind)
        if self.counts["calls"] % 200 == 0:
            print("calls", self.counts["calls"], flush=True)  # noqa: T201


def code_of(answer: bytes) -> int:
    """Return the code of the status in a CheckResponse: field 1 of its field 1; nothing stands for 0."""
    return answer[3] if len(answer) > 3 and answer[0] == 0x0A and answer[2] == 0x08 else 0


async def ask(check: aio.UnaryUnaryMultiCallable[bytes, bytes], message: bytes, number: int) -> str:
    """Ask once; return what became of it."""
    packed = grpc.Compression.Gzip if number % 11 == 0 else None
    call = check(message, timeout=0.001 if number % 23 == 0 else 10.0, compression=packed)
    if number % 17 == 0:
        asyncio.get_running_loop().call_later(number % 3 / 5000, call.cancel)
    try:
        answer = await call
    except asyncio.CancelledError:
        return "cancelled"
    except grpc.RpcError as error:
        late = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED and number % 23 == 0
        return "expired" if late else str(error)
    if code_of(answer) != (0, PERMISSION_DENIED)[number % 2]:
        return "wrong"
    return "compressed" if packed else ""


async def work(
    worker: int, check: aio.UnaryUnaryMultiCallable[bytes, bytes], messages: tuple[bytes, ...], report: Report
) -> None:
    """Ask until the end."""
    for number in count(worker, WORKERS):
        if ended:
            return
        report.note(await ask(check, messages[number % 2], number))
        await asyncio.sleep(PAUSE)


async def main(target: str, *requests: str) -> None:
    """Ask with all workers until SIGTERM, and print what became of the calls."""

    def end() -> None:
        global ended  # noqa: PLW0603  # a signal ends all workers
        ended = True

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end)
    messages, report = tuple(map(bytes.fromhex, requests)), Report()
    async with aio.insecure_channel(target, options=ALIVE) as channel:
        check = channel.unary_unary(METHOD, request_serializer=None, response_deserializer=None)
        await asyncio.gather(*(work(worker, check, messages, report) for worker in range(WORKERS)))
    print(json.dumps(report.counts | {"failed": report.failed}))  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
