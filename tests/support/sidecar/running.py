"""A sidecar in this process, for tests: started, asked, ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, Final

import uvloop
from support.publishing.publisher import POLICY
from support.sidecar.fronts import HttpAnswer, HttpClient

from authz.serve import sidecar as sidecar_module
from authz.serve.config.config import load_config

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
    from pathlib import Path


NEW_POLICY: Final = POLICY.replace("203.0.113.0/24", "192.0.2.0/25").replace("list: allow", "list: gray")
ALLOWED: Final = "192.0.2.7"  # by POLICY; NEW_POLICY denies it
DENIED: Final = "203.0.113.9"  # by POLICY
PATIENCE: Final = 60.0
HTTP_ONLY: Final = """\
grpc: {listen: "off"}
http: {listen: "127.0.0.1:0"}
admin: {listen: "127.0.0.1:0"}
client_address: {trusted_proxies: ["127.0.0.0/8"]}
decision_log: {path: "off"}
drain: 0s
"""  # of a configuration: all but where the lists come from


def config(snapshot: str = "poll: 1h", rest: str = "") -> str:
    """Return a configuration; `snapshot` and `rest` are added to it."""
    source = f"snapshot: {{path: lists.snapshot, trusted_keys: [keys/a.pub], {snapshot}}}\n"
    return source + HTTP_ONLY + rest + ("" if "application:" in rest else "application: {unknown: default}\n")


def write(folder: Path, text: str) -> Path:
    """Write a configuration."""
    path = folder / "authz.yaml"
    path.write_text(text)
    return path


def get(
    port: int, target: str, client: str | None = None, method: str = "GET", headers: Sequence[str] = ()
) -> HttpAnswer:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        named = [] if client is None else [f"X-Forwarded-For: {client}"]
        return HttpClient(connection).ask(target, *named, *headers, method=method)


class Running:
    """A sidecar in this process, with ways to ask it that do not block its event loop."""

    def __init__(self, sidecar: sidecar_module.Sidecar) -> None:
        self.sidecar = sidecar

    async def ask(self, client: str = ALLOWED) -> HttpAnswer:
        """Return the answer for a client."""
        return await asyncio.to_thread(get, self.sidecar.ports["http"], "/v1/auth/shop", client)

    async def page(self, target: str) -> HttpAnswer:
        """Return a page of the admin listener."""
        return await asyncio.to_thread(get, self.sidecar.ports["admin"], target)

    async def readiness(self) -> tuple[int, list[str]]:
        """Return the status of /readyz, and the reasons without what follows their codes."""
        answer = await self.page("/readyz")
        content = json.loads(answer.body)
        assert content["ready"] == (answer.status == 200)
        return answer.status, [reason.partition(":")[0] for reason in content["reasons"]]

    async def snapshot(self) -> dict[str, Any]:
        """Return what is loaded."""
        content = json.loads((await self.page("/snapshot")).body)
        return dict(content["layers"]["policy"]) | {"hits": content["hits"]}

    @property
    def serial(self) -> int | None:
        """The serial that decides."""
        loaded = self.sidecar.decider.ruleset
        return None if loaded is None else loaded.serial

    @property
    def loads(self) -> dict[str, int]:
        """How often a snapshot was loaded or refused, by result."""
        return self.sidecar.metrics.loads()


async def until(what: Callable[[], Any]) -> None:
    """Wait until `what` is true; fails after PATIENCE."""
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end, "not in time"
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def running(folder: Path, text: str | None = None) -> AsyncIterator[Running]:
    sidecar = sidecar_module.Sidecar(load_config(write(folder, config() if text is None else text), {}))

    await sidecar.start()
    try:
        yield Running(sidecar)
    finally:
        await sidecar.stop()


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run it in the event loop that `authz serve` has; nothing may be left running."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(coroutine, 60))
    left = {thread.name for thread in threading.enumerate()} & {"grpc", "decision-log"}
    assert left == set()


def logging_to(**settings: object) -> str:
    keys = ", ".join(f"{name}: {value}" for name, value in {"path": "decisions.jsonl", **settings}.items())
    return config().replace('decision_log: {path: "off"}', f"decision_log: {{{keys}}}")


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "decisions.jsonl").read_text().splitlines()]
