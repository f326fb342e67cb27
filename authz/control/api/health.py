"""`/livez`, `/readyz`, `/metrics`: for who operates it. They tell nothing of what is on a list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Response, get

from authz.control.api.common.asking import AnyRequest, in_thread, plane_of
from authz.control.detect.metrics import detection_metrics
from authz.control.model.problems import Problem
from authz.control.notify.state import notification_metrics
from authz.control.store.ledger.changes import read_heads
from authz.control.store.published.inputs import list_inputs
from authz.control.store.published.publications import newest_publication

if TYPE_CHECKING:
    from authz.control.plane import ControlPlane


class ReadyBody(msgspec.Struct, frozen=True):
    """Whether requests can be answered, and if not, why."""

    ready: bool
    reason: str = ""


@get("/livez", summary="Whether the process lives", tags=["health"])
async def livez() -> dict[str, str]:
    """Answer 200 as long as the event loop runs."""
    return {"status": "live"}


@get("/readyz", summary="Whether it can serve", tags=["health"], raises=[])
async def readyz(request: AnyRequest) -> Response[ReadyBody]:
    """Answer 200 if the store can be read and every layer has a file to offer."""
    plane = plane_of(request)
    reason = await in_thread(_not_ready, plane)
    return Response(ReadyBody(not reason, reason), status_code=503 if reason else 200)


def _not_ready(plane: ControlPlane) -> str:
    try:
        with plane.store.reading() as tx:
            read_heads(tx)
    except Problem as error:
        return error.message
    problems = plane.publisher.problems  # of which anybody is told the code: a message may name an entry
    missing = [
        f"{layer.name} ({problems[layer.name].code})" if layer.name in problems else layer.name
        for layer in plane.config.layers if plane.offers.get(layer.name) is None
    ]  # fmt: skip
    return f"not published yet: {', '.join(missing)}" if missing else ""


@get("/metrics", summary="Metrics of Prometheus", tags=["health"], media_type="text/plain; version=0.0.4")
async def metrics(request: AnyRequest) -> Response[str]:
    """Return the metrics as text, for Prometheus."""
    lines = await in_thread(_metrics, plane_of(request))
    return Response("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4; charset=utf-8")


def _metrics(plane: ControlPlane) -> list[str]:
    now = plane.store.now()
    with plane.store.reading() as tx:
        heads = read_heads(tx)
        newest = {layer: newest_publication(tx, layer) for layer in heads}
    lines: list[str] = []
    _family(lines, "authz_control_layer_serial", "gauge", "Serial of the newest change.",
            [(layer, head.sequence) for layer, head in heads.items()])  # fmt: skip
    published = {layer: publication for layer, publication in newest.items() if publication is not None}
    _family(lines, "authz_control_published_serial", "gauge", "Serial of the newest file.",
            [(layer, publication.serial) for layer, publication in published.items()])  # fmt: skip
    _family(lines, "authz_control_published_entries", "gauge", "Entries in the newest file.",
            [(layer, publication.entries) for layer, publication in published.items()])  # fmt: skip
    _family(lines, "authz_control_published_bytes", "gauge", "Size of the newest file.",
            [(layer, publication.size) for layer, publication in published.items()])  # fmt: skip
    waiting = [(layer, head.sequence - published[layer].serial) for layer, head in heads.items() if layer in published]
    _family(lines, "authz_control_publish_queue", "gauge", "Changes that are not published yet.", waiting)
    _family(lines, "authz_control_publish_lag_seconds", "gauge", "Age of the oldest change that is not published.",
            [(layer, (now - head.time) / 1e6 if layer not in published or published[layer].serial < head.sequence
              else 0.0) for layer, head in heads.items()])  # fmt: skip
    _family(lines, "authz_control_publish_refused", "gauge", "Whether the newest changes cannot be published.",
            [(layer.name, int(layer.name in plane.publisher.problems)) for layer in plane.config.layers])  # fmt: skip
    lines += ["# HELP authz_control_input_failed Whether the last round failed that fetches it.",
              "# TYPE authz_control_input_failed gauge"]  # fmt: skip
    lines += [
        f'authz_control_input_failed{{input="{rounds.name}"}} {int(bool(rounds.problem))}' for rounds in plane.inputs
    ]
    lines += _feeds(plane)
    sidecars = plane.sidecars.connected()
    behind = dict.fromkeys(heads, 0)
    for sidecar in sidecars:
        if sidecar.layer in published and sidecar.serial < published[sidecar.layer].serial:
            behind[sidecar.layer] += 1
    _family(lines, "authz_control_sidecars_behind", "gauge", "Connected sidecars that serve an older file.",
            list(behind.items()))  # fmt: skip
    lines += ["# TYPE authz_control_sidecars gauge", f"authz_control_sidecars {len({s.name for s in sidecars})}"]
    lines += ["# TYPE authz_control_leader gauge", f"authz_control_leader {int(plane.publisher.leading)}"]
    return lines + detection_metrics(plane) + notification_metrics(plane)


def _feeds(plane: ControlPlane) -> list[str]:
    """Return of each feed that is fetched whether the last try failed, by whichever control plane."""
    with plane.store.reading() as tx:
        problems = {copy.path: copy.problem for copy in list_inputs(tx)}
    lines = ["# HELP authz_control_feed_failed Whether the last try failed that fetched it.",
             "# TYPE authz_control_feed_failed gauge"]  # fmt: skip
    paths = sorted({feed.path for feed in plane.feeds.copies.feeds()})
    for path in paths:
        label = path.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
        lines.append(f'authz_control_feed_failed{{feed="{label}"}} {int(bool(problems.get(path)))}')
    return lines


def _family(lines: list[str], name: str, kind: str, text: str, values: list[tuple[str, Any]]) -> None:
    lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    lines += [f'{name}{{layer="{layer}"}} {value}' for layer, value in values]


handlers: Any = [livez, readyz, metrics]
