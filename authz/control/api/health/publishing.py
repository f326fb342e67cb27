"""Metrics of layers and their files, of what is fetched for them, and of the sidecars that follow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from authz.control.model.records import MICROSECONDS
from authz.control.store.ledger.changes import read_heads
from authz.control.store.published.inputs import list_inputs
from authz.control.store.published.publications import newest_publication
from authz.serve.observe.metrics import Family

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from authz.control.plane import ControlPlane
    from authz.control.store.ledger.changes import Head
    from authz.control.store.published.publications import Publication
    from authz.serve.observe.metrics import Values


def publishing_metrics(plane: ControlPlane) -> Iterator[Family]:
    """Yield the metrics. Reads the store. Label values are names of layers, inputs and files of feeds."""
    with plane.store.reading() as tx:
        heads = read_heads(tx)
        newest = {layer: newest_publication(tx, layer) for layer in heads}
        problems = {copy.path: copy.problem for copy in list_inputs(tx)}  # of whichever control plane fetched it
    published = {layer: publication for layer, publication in newest.items() if publication is not None}
    yield from _layers(plane, heads, published)
    failed = {rounds.name: bool(rounds.problem) for rounds in plane.inputs}
    yield _gauge("input_failed", "Whether the last round failed that fetches it.", failed, "input")
    paths = sorted({feed.path for feed in plane.feeds.copies.feeds()})
    broken = {path: bool(problems.get(path)) for path in paths}
    yield _gauge("feed_failed", "Whether the last try failed that fetched it.", broken, "feed")
    yield from _sidecars(plane, heads, published)
    leading = plane.publisher.leading
    yield Family.of("authz_control_leader", "gauge", "Whether this process publishes.", {(): leading})


def _layers(plane: ControlPlane, heads: Mapping[str, Head], published: Mapping[str, Publication]) -> Iterator[Family]:
    serials = {layer: head.sequence for layer, head in heads.items()}
    yield _gauge("layer_serial", "Serial of the newest change.", serials)
    files = published.items()
    yield _gauge("published_serial", "Serial of the newest file.", {layer: file.serial for layer, file in files})
    yield _gauge("published_entries", "Entries in the newest file.", {layer: file.entries for layer, file in files})
    yield _gauge("published_bytes", "Size of the newest file.", {layer: file.size for layer, file in files})
    queue = {layer: serials[layer] - file.serial for layer, file in files}
    yield _gauge("publish_queue", "Changes that are not published yet.", queue)
    lag = {layer: _lag(plane, head, published.get(layer)) for layer, head in heads.items()}
    yield _gauge("publish_lag_seconds", "Age of the oldest change that is not published.", lag)
    refused = {layer.name: layer.name in plane.publisher.problems for layer in plane.config.layers}
    yield _gauge("publish_refused", "Whether the newest changes cannot be published.", refused)


def _lag(plane: ControlPlane, head: Head, file: Publication | None) -> float:
    behind = file is None or file.serial < head.sequence
    return (plane.store.now() - head.time) / MICROSECONDS if behind else 0.0


def _sidecars(plane: ControlPlane, heads: Mapping[str, Head], published: Mapping[str, Publication]) -> Iterator[Family]:
    connected = plane.sidecars.connected()
    behind = dict.fromkeys(heads, 0)
    for sidecar in connected:
        if sidecar.layer in published and sidecar.serial < published[sidecar.layer].serial:
            behind[sidecar.layer] += 1
    yield _gauge("sidecars_behind", "Connected sidecars that serve an older file.", behind)
    names = {sidecar.name for sidecar in connected}
    yield Family.of("authz_control_sidecars", "gauge", "Connected sidecars.", {(): len(names)})


def _gauge(name: str, text: str, values: Mapping[str, float], label: str = "layer") -> Family:
    labelled: Values = {((label, key),): value for key, value in values.items()}
    return Family.of(f"authz_control_{name}", "gauge", text, labelled)
