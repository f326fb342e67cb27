"""All layers of a sidecar: made from the configuration, started, watched, and made again when it is read again."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from authz.engine.entries.permissions import first_violation
from authz.serve.layers.accept import Acceptor, Rules
from authz.serve.layers.config import STORES, MayConfig
from authz.serve.layers.file import FileSource
from authz.serve.layers.layer import Layer
from authz.serve.layers.swap import Swap
from authz.snapshot.signing.keys import load_public_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from authz.engine.decision.decider import Decider
    from authz.engine.entries.opened_snapshot import OpenedSnapshot
    from authz.serve.config.config import Config
    from authz.serve.layers.config import LayerConfig
    from authz.serve.layers.fetched import FetchedSource
    from authz.serve.layers.memory import Memory
    from authz.serve.layers.source import Source
    from authz.serve.observe.metrics import Metrics

_STEP: Final = 30.0  # seconds; less is within what clocks differ by, and changes no refusal
_MAX_MARKED: Final = 5  # layers; of more, each look-up looks at marks where there are parts alone
_LOG = logging.getLogger("authz.reload")


class Plan(NamedTuple):
    """A layer as it is to be.

    Attributes:
        config: Of the layer.
        rules: With its keys.
        source: Not yet in use; of a layer that comes from where it came before, it never will be.
    """

    config: LayerConfig
    rules: Rules
    source: Source


def plan(config: Config) -> list[Plan]:
    """Read the keys of all layers, and load what each of their sources needs; blocks.

    Raises:
        InputError: A key cannot be used.
        StartError: What a source needs is not installed.
    """
    return [
        Plan(layer, Rules(layer.name, [load_public_key(Path(key)) for key in layer.trusted_keys], layer.threshold,
                          layer.max_size), make_source(layer, config.state_file.parent))
        for layer in config.layers_in_order()
    ]  # fmt: skip


class Layers:
    """Keeps all layers up to date. Used in the event loop alone.

    Args:
        memory: Remembers serials and last good copies.
        decider: Decides by the layers.
        metrics: Counts loads.
        on_load: Called after each good load.
        share: Whether other processes use the same memory.
    """

    def __init__(
        self, memory: Memory, decider: Decider, metrics: Metrics, on_load: Callable[[], None], *, share: bool = False
    ) -> None:
        self._share = share
        self._memory = memory
        self._decider = decider
        self._metrics = metrics
        self.on_load = on_load
        self._swap = Swap(decider)
        self._layers: dict[str, Layer] = {}
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._comparing: asyncio.Task[None] | None = None
        self._judging: OpenedSnapshot | None = None  # the policy that later layers were judged by
        self._clock = time.time() - time.monotonic()

    def __iter__(self) -> Iterator[Layer]:
        return iter(self._layers.values())

    @property
    def policy(self) -> Layer:
        """The first layer."""
        return next(iter(self))

    async def start(self, plans: list[Plan]) -> None:
        """Make the layers, and load each: its file, or its last good copy where that cannot be had soon."""
        self._make(plans)
        await asyncio.gather(*(layer.start() for layer in self))

    def watch(self) -> None:
        """Begin to load what changes. A second call begins with layers that are new."""
        for name, layer in self._layers.items():
            if name not in self._watches:
                self._watches[name] = asyncio.get_running_loop().create_task(layer.watch(), name=f"layer {name}")

    async def load(self) -> None:
        """Load all layers again, changed or not."""
        await asyncio.gather(*(layer.load_if_changed(force=True) for layer in self))

    def change(self, plans: list[Plan]) -> None:
        """Go on with other layers, keys or sources. What is loaded serves on where it is still trusted."""
        before = self._layers
        self._make(plans)
        for name, layer in before.items():
            if self._layers.get(name) is not layer and name in self._watches:
                self._watches.pop(name).cancel()
        self.watch()

    def _make(self, plans: list[Plan]) -> None:
        known, made = self._layers, dict[str, Layer]()
        for config, rules, source in plans:
            layer = known.get(config.name)
            if layer is None or not _same_source(layer.config, config):
                layer = self._new(config, rules, source, layer)
            if [key.keyid for key in layer.acceptor.rules.keys] != [key.keyid for key in rules.keys]:
                layer.acceptor.forget_parts()
            permitted = functools.partial(self._permit, config.may or MayConfig())
            later = rules._replace(permit=permitted, marked=len(plans) <= _MAX_MARKED)
            layer.config, layer.acceptor.rules = config, later if made else rules
            made[config.name] = layer
        for name in known.keys() - made.keys():
            _LOG.warning("%s: the configuration has no such layer any more: continuing without it", name)
        self._layers = made
        self._swap.keep(list(self._layers))
        for number, layer in enumerate(self):
            layer.distrusted = not _trusted(layer)
            if layer.distrusted and number:
                _LOG.warning("%s: what is loaded is signed by keys that are no longer trusted: continuing without it",
                             layer.config.name)  # fmt: skip
                layer.drop()

    def _permit(self, may: MayConfig, opened: OpenedSnapshot) -> None:
        """Refuse what the keys of a layer behind the policy may not say. Called in a thread."""
        policy = self.policy.opened
        files, protected = (opened, *opened.parts), policy.protected if policy else ()
        since = policy.created if policy else 0.0
        violation = first_violation(files, may.limits(), protected, time.time(), since=since)
        if violation is not None:
            raise violation.refusal()

    def _new(self, config: LayerConfig, rules: Rules, source: Source, before: Layer | None) -> Layer:
        acceptor = Acceptor(rules, self._memory, share=self._share)
        layer = Layer(config, source, acceptor, self._swap, self._metrics)
        layer.on_load = self._call_on_load
        if before is not None:
            layer.opened, layer.last_good = before.opened, before.last_good
        return layer

    def _call_on_load(self) -> None:
        self.on_load()
        if self._comparing is None or self._comparing.done():
            self._comparing = asyncio.get_running_loop().create_task(self._compare())
        policy = self.policy.opened
        if policy is not self._judging:
            self._judging = policy
            for layer in list(self)[1:]:
                layer.judge_again()

    async def _compare(self) -> None:
        """Compare each later layer with what the policy protects, until all are compared with what is loaded."""
        policy = self.policy
        while late := [layer for layer in list(self)[1:] if not layer.overruled.is_of(policy.opened, layer.opened)]:
            for layer in late:
                await layer.overruled.compare(policy.opened, layer.opened, layer.config.name)
            policy = self.policy

    def look(self, now: float) -> None:
        """Notice what time alone changes. now: seconds since 1970."""
        before, self._clock = self._clock, now - time.monotonic()
        if abs(self._clock - before) > _STEP:  # between two looks: a machine often learns the time after its start
            _LOG.warning("the clock was set by %+.0f seconds: what was refused is tried again", self._clock - before)
            for layer in self:
                layer.try_again()
        for layer in self:
            layer.look(now)

    def close(self) -> None:
        """End watching. A second call is harmless."""
        for task in self._watches.values():
            task.cancel()
        self._watches.clear()
        if self._comparing is not None:
            self._comparing.cancel()


def make_source(config: LayerConfig, folder: Path | None = None) -> Source:
    """Return where the files of a layer come from; blocks, for it may load a library.

    Args:
        config: Of the layer.
        folder: See `FetchedSource`.

    Raises:
        StartError: What the source needs is not installed.

    """
    if config.url is None:
        return FileSource(Path(config.path or ""), config.poll)
    source = _fetched(config, urlsplit(config.url).scheme)
    source.folder = folder
    return source


def _fetched(config: LayerConfig, scheme: str) -> FetchedSource:
    if scheme in STORES:
        from authz.serve.layers.store import S3Source, StoreSource  # noqa: PLC0415  # only what is configured is loaded

        return S3Source(config) if scheme == "s3" else StoreSource(config)
    from authz.serve.layers.web import WebSource  # noqa: PLC0415  # the same

    return WebSource(config)


def _same_source(one: LayerConfig, other: LayerConfig) -> bool:
    keys = ("path", "url", "poll", "wait", "timeout", "token", "ca", "certificate", "key", "max_size")
    return all(getattr(one, key) == getattr(other, key) for key in keys)


def _trusted(layer: Layer) -> bool:
    """Return whether enough of those who signed what is loaded are trusted."""
    if layer.opened is None:
        return True
    keys = {key.keyid for key in layer.acceptor.rules.keys}
    return len(keys & set(layer.opened.signed_by)) >= layer.acceptor.rules.threshold
