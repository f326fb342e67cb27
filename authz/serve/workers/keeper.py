"""The keeper: loads and verifies layers, keeps state, and answers the admin listener for all. It decides for nobody.

So neither a large reload nor `/explain` and `/metrics` take time from those who decide.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

import msgspec

from authz.serve.admin.health import Health
from authz.serve.config.values import Listen
from authz.serve.layers.layers import Layers
from authz.serve.workers.channel import Message
from authz.serve.workers.child import RETRY, Child
from authz.serve.workers.reports import SummedMetrics
from authz.serve.workers.share import layer_message

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from authz.engine.entries.opened_snapshot import OpenedSnapshot
    from authz.serve.config.config import Config
    from authz.serve.layers.layers import Plan
    from authz.serve.workers.channel import Channel

_PATIENCE = 5.0  # seconds without a report after which a worker counts as not ready
_LOG = logging.getLogger("authz")


def keepers_part(config: Config) -> Config:
    """Return what of a configuration the keeper does."""
    replace = msgspec.structs.replace
    return replace(
        config,
        grpc=replace(config.grpc, listen=Listen(), tls=None),
        http=replace(config.http, listen=Listen(), tls=None),
        decision_log=replace(config.decision_log, path="off"),
        events=replace(config.events, url=None),
    )


class Keeper(Child):
    """The keeper of `workers` workers."""

    metrics: SummedMetrics

    def __init__(
        self, config: Config, read: Callable[[], Config], channel: Channel, admin: socket.socket | None, workers: int
    ) -> None:
        self._published: dict[str, tuple[OpenedSnapshot | None, bool]] = {}
        self._reports: dict[int, tuple[float, dict[str, Any]]] = {}  # when it came, by worker
        self._workers = workers
        self._begun = time.monotonic()
        self._said = ""  # the state that the supervisor knows
        super().__init__(keepers_part(config), lambda: keepers_part(read()), channel)
        self._endpoints.give = lambda _name, _where: admin
        self.health = self._status.health = Health(self._decides)
        self.layers.on_load = self._loaded
        self._status.more = lambda: self._undecided() + self._expired_lists()

    def _make_metrics(self) -> SummedMetrics:
        return SummedMetrics()

    def _make_layers(self) -> Layers:
        return Layers(self._memory, self.decider, self.metrics, lambda: None, share=True)

    def _decides(self) -> bool:
        return self.decider.decides(time.time()) and not self._undecided()

    def _undecided(self) -> list[str]:
        """Return which workers do not decide."""
        late = time.monotonic() - _PATIENCE
        reasons = []
        for number in range(1, self._workers + 1):
            at, report = self._reports.get(number, (0.0, {}))
            if at < late:
                reasons.append(f"worker {number}: does not report")
            elif not report["ready"]:
                reasons.append(f"worker {number}: not ready")
        return reasons

    def _expired_lists(self) -> list[str]:
        """Return what workers say of their revocation lists, each once."""
        return list(dict.fromkeys(text for _, report in self._reports.values() for text in report["expired_lists"]))

    async def _start_layers(self, plans: list[Plan]) -> None:
        await self.layers.start(plans)
        self._publish()
        await self._insist(Message("start", None))

    def _loaded(self) -> None:
        self.health.look()
        self._publish()

    def look(self) -> None:
        """Notice what time alone changes."""
        super().look()
        self._publish()
        self._say_state()

    def _say_state(self) -> None:
        """Say what systemd is to show, where it has changed. A new keeper first lets each worker report."""
        few = len(self._reports) < self._workers and time.monotonic() - self._begun < _PATIENCE
        if (few and not self._said) or not self.health.listening:
            return
        state = self._state()
        if state != self._said and self.send(Message("state", {"text": state})):
            self._said = state

    def _publish(self) -> None:
        """Give away what has changed since the last time; what is not taken now is given at the next look."""
        for layer in self.layers:
            now = layer.opened, layer.last_good
            if self._published.get(layer.config.name, (None, False)) == now:
                continue
            message = layer_message(layer)
            if self.send(message):
                self._published[layer.config.name] = now
            message.close()

    async def _insist(self, message: Message) -> None:
        while not self.send(message):  # noqa: ASYNC110  # the supervisor has no other way to say that it takes more
            await asyncio.sleep(RETRY)

    def take(self, message: Message) -> None:
        """Take a report of a worker, that one has died, or what the last keeper had of those that died."""
        content = message.content
        if message.kind == "report":
            self._reports[content["worker"]] = time.monotonic(), content
            self.metrics.take(content["worker"], content["metrics"])
            self._watch.add_dicts(content["decisions"])
            self.health.look()
            self._say_state()
        elif message.kind == "died":
            self._reports.pop(content["worker"], None)
            self.metrics.take(content["worker"], content["metrics"])  # maybe unknown to us, who are new
            self.metrics.bury(content["worker"])
            self.send(Message("dead", {"deaths": content["death"], "metrics": self.metrics.dead}))
            self.health.look()
            self._say_state()
        elif message.kind == "dead":
            self.metrics.dead = content["metrics"]
        message.close()

    def _started(self) -> None:
        self._watch.on_look = lambda: self.send(Message("watch", None))
        _LOG.info("loaded" if self.decider.ruleset else "nothing is loaded yet")
        self._say_state()
