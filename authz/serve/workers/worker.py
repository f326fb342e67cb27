"""A worker: answers requests by the snapshots that the keeper gives away, and reports once a second."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import msgspec

from authz.serve.background import in_thread
from authz.serve.config.values import Listen
from authz.serve.layers.layers import Layers
from authz.serve.listeners.budget import MAX_HELD, HeldBytes
from authz.serve.steps import in_turns
from authz.serve.workers.channel import Message
from authz.serve.workers.child import Child
from authz.serve.workers.reports import NOTHING, WorkerMetrics
from authz.serve.workers.share import LAYER, open_layer

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping

    from authz.engine.entries.opened_snapshot import OpenedSnapshot
    from authz.serve.config.config import Config
    from authz.serve.layers.layers import Plan
    from authz.serve.workers.channel import Channel
    from authz.serve.workers.spread import Spread

_REPORT = 1.0  # seconds between two reports
_LOG = logging.getLogger("authz")


def workers_part(config: Config, workers: int) -> Config:
    """Return what of a configuration one of the workers does: the limits of connections are for all together."""
    replace = msgspec.structs.replace
    grpc, http = config.grpc, config.http
    return replace(
        config,
        grpc=replace(
            grpc,
            max_connections=-(-grpc.max_connections // workers),
            max_connections_per_peer=-(-grpc.of_a_peer // workers),
        ),
        http=replace(
            http,
            max_connections=-(-http.max_connections // workers),
            max_connections_per_peer=-(-http.of_a_peer // workers),
        ),
        admin=replace(config.admin, listen=Listen()),
        workers=1,  # of these two the keeper alone says that they have changed
        overlap=False,
    )


class GivenLayers(Layers):
    """Layers that are loaded by another process."""

    async def start(self, plans: list[Plan]) -> None:
        """Make the layers."""
        self._make(plans)

    def watch(self) -> None:
        """Do nothing: the keeper looks."""

    async def load(self) -> None:
        """Do nothing: the keeper loads."""

    async def _compare(self) -> None:
        """Do nothing: the keeper tells."""

    def take(self, name: str, opened: OpenedSnapshot | None, *, last_good: bool) -> None:
        """Decide by this snapshot of a layer from the next request on."""
        layer = self._layers.get(name)
        if layer is None:
            return  # the configuration was read again there, and not here yet: it is given again
        layer.last_good = last_good
        if opened is not None:
            layer.use(opened)
        elif layer.opened is not None:
            layer.drop()


class Worker(Child):
    """A worker.

    Args:
        number: From 1.
    """

    layers: GivenLayers
    metrics: WorkerMetrics

    def __init__(
        self,
        config: Config,
        read: Callable[[], Config],
        channel: Channel,
        sockets: Mapping[str, socket.socket],
        number: int,
        workers: int,
        spread: Spread,
    ) -> None:
        self._number = number
        self._begin = asyncio.Event()
        self._given: dict[str, OpenedSnapshot] = {}  # by digest
        self._by_layer: dict[str, tuple[OpenedSnapshot | None, bool]] = {}
        self._order = asyncio.Lock()
        self._spread = spread
        self._decisions: list[dict[str, Any]] = []
        self._looked = False
        self._counted = NOTHING
        super().__init__(workers_part(config, workers), lambda: workers_part(read(), workers), channel)
        self._held = self._endpoints.held = HeldBytes(MAX_HELD // workers)
        self._endpoints.give = lambda name, _where: sockets.get(name)
        self._endpoints.own = workers
        self._endpoints.spread = spread.wrap

    def _make_metrics(self) -> WorkerMetrics:
        return WorkerMetrics()

    def _make_layers(self) -> GivenLayers:
        return GivenLayers(self._memory, self.decider, self.metrics, self.health.look)

    async def _start_state(self) -> None:
        """Keep no state: the keeper does."""

    async def _start_layers(self, plans: list[Plan]) -> None:
        await self.layers.start(plans)
        await self._begin.wait()
        async with self._order:
            self._use_all()

    async def _start_fronts(self) -> None:
        await super()._start_fronts()
        self._spread.start()

    def take(self, message: Message) -> None:
        """Take a layer, the sign to begin, or the wish to see decisions."""
        if message.kind == LAYER:
            self._task(self._open(message))
            return
        if message.kind == "start":
            self._task(self._ready_to_begin())
        elif message.kind == "watch":
            self._looked = True
        message.close()

    async def _ready_to_begin(self) -> None:
        async with self._order:  # behind the layers that came before it
            self._begin.set()

    async def _open(self, message: Message) -> None:
        async with self._order:
            try:
                opened = await in_thread(open_layer, message, self._given)
            except Exception as error:  # noqa: BLE001  # without it we would decide by an old list, and say nothing
                self.give_place(f"a layer cannot be taken: {type(error).__name__}: {error}")
                return
            name, last_good = message.content["name"], message.content["last_good"]
            self._by_layer[name] = opened, last_good
            now = [file for file, _ in self._by_layer.values() if file is not None]
            self._given = {file.digest: file for head in now for file in (head, *head.parts)}
            self.layers.take(name, opened, last_good=last_good)

    def _use_all(self) -> None:
        for name, (opened, last_good) in self._by_layer.items():
            self.layers.take(name, opened, last_good=last_good)

    async def _change(self, new: Config) -> None:
        await super()._change(new)
        async with self._order:
            self._use_all()  # a layer that was not known before

    async def _report_again(self) -> None:
        while True:
            self._counted = await in_turns(self.metrics.counted())
            self.report()
            await asyncio.sleep(_REPORT)

    def report(self) -> None:
        """Tell how we are, and what was counted last."""
        decisions = self._watch.look() if self._looked else []
        self._looked = False
        content = {
            "worker": self._number,
            "ready": self.health.ready,
            "expired_lists": self._status.expired_lists(),
            "metrics": self._counted,
            "decisions": decisions,
        }
        self.send(Message("report", content))

    def _started(self) -> None:
        self.health.listeners.append(self.report)
        self._task(self._report_again())
        _LOG.info("serving%s", "" if self.health.ready else f", not ready: {'; '.join(self._status.reasons())}")

    def drain(self) -> None:
        """Announce the end, and keep what comes."""
        self._spread.draining = True
        super().drain()
