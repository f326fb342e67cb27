"""The collector of cyclic garbage: it looks at little in one go, and has nothing to find."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest
from support.servers.certificates import Authority
from support.sidecar.fronts import HttpClient
from support.sidecar.running import ALLOWED, NEW_POLICY, Running, config, run, running, until

if TYPE_CHECKING:
    from support.publishing.publisher import Publisher

# Remembers outcomes as the decision does, and says at how many objects the collector looked in one go.
REMEMBERING: Final = """
import gc, sys
from authz.engine.decision.outcome import make_outcome
from authz.engine.decision.verdict import Verdict
from authz.engine.model import ANY_APPLICATION, Application
from authz.serve import process

if "short" in sys.argv:
    process.collect_in_short_steps()
gc.collect()
gc.freeze()  # as a snapshot that was loaded does
looked = [0]
gc.callbacks.append(
    lambda phase, info: phase == "start"
    and looked.append(sum(len(gc.get_objects(generation)) for generation in range(info["generation"] + 1)))
)
application, verdict, memo = Application(ANY_APPLICATION), Verdict("deny", "denylisted"), {}
outcomes = {number: make_outcome(application, verdict, 1, memo=memo) for number in range(150_000)}
print(max(looked))
"""


def looked_at(*arguments: str) -> int:
    """Return at how many objects the collector looked in one go."""
    command = [sys.executable, "-c", REMEMBERING, *arguments]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_a_collection_looks_at_few_objects_however_many_outcomes_are_remembered() -> None:
    """With 30,000 it took 8 to 12 ms, three times while they came in, and no request was answered meanwhile."""
    assert looked_at("short") < 5_000
    assert looked_at() > 10_000, "or nothing was counted"


@pytest.mark.parametrize("tls", [False, True])
def test_what_ends_leaves_no_cycle_behind(publisher: Publisher, *, tls: bool) -> None:
    """What the collector finds in use twice stays out of it for good: in a cycle, it would stay for ever."""
    publisher.publish()
    text = config()
    if tls:
        certificate, key = Authority(publisher.folder, "own").issue("server", "127.0.0.1")
        plain = 'http: {listen: "127.0.0.1:0"'
        text = text.replace(plain, f"{plain}, tls: {{certificate: {certificate}, key: {key}}}")

    async def live() -> None:
        async with running(publisher.folder, text) as started:
            await _use(started, publisher, tls=tls)  # what is made once
            gc.collect()
            gc.set_debug(gc.DEBUG_SAVEALL)
            try:
                await _use(started, publisher, tls=tls)
                gc.collect()
                left = sorted({type(item).__qualname__ for item in gc.garbage if _is_ours(item)})
            finally:
                gc.set_debug(0)
                gc.garbage.clear()
            assert left == []

    run(live())


async def _use(started: Running, publisher: Publisher, *, tls: bool) -> None:
    """Connect, ask, send nonsense, load a list, have one refused, read the configuration again."""
    port = started.sidecar.ports["http"]
    for sent in (b"", b"\x00\r\n\r\n", b"GET /v1/auth/shop HTTP/1.1\r\nHost: a\r\n"):
        await asyncio.to_thread(_ask, port, sent, tls=tls)
    await started.page("/metrics")
    loads = started.loads
    publisher.publish(NEW_POLICY)
    await until(lambda: started.loads["ok"] > loads["ok"])
    path = publisher.folder / "lists.snapshot"
    good = path.read_bytes()
    path.write_bytes(b"garbage")
    await until(lambda: sum(started.loads.values()) > sum(loads.values()) + 1)
    path.write_bytes(good)
    before = sum(started.loads.values())
    started.sidecar.reload()
    await until(lambda: sum(started.loads.values()) > before)
    http = started.sidecar._http
    await until(lambda: http is not None and not http.open)
    await asyncio.sleep(0.05)  # the loop lets go of what it called last


def _ask(port: int, sent: bytes, *, tls: bool) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        connection: socket.socket = plain
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            connection = context.wrap_socket(plain)
        assert HttpClient(connection).ask("/v1/auth/shop", f"X-Forwarded-For: {ALLOWED}").status in {200, 403}
        connection.sendall(sent)
        connection.close()


def _is_ours(item: object) -> bool:
    return type(item).__module__.partition(".")[0] in {"authz", "uvloop"}
