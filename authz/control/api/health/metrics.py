"""`/metrics`: all metrics of the control plane, in the text format of Prometheus."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from litestar import Response, get

from authz.control.api.common.asking import AnyRequest, in_thread, plane_of
from authz.control.api.health.detection import detection_metrics
from authz.control.api.health.notifications import notification_metrics
from authz.control.api.health.publishing import publishing_metrics

if TYPE_CHECKING:
    from authz.control.plane import ControlPlane


@get("/metrics", summary="Metrics of Prometheus", tags=["health"], media_type="text/plain; version=0.0.4")
async def metrics(request: AnyRequest) -> Response[str]:
    """Return the metrics as text, for Prometheus."""
    text = await in_thread(_text, plane_of(request))
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


def _text(plane: ControlPlane) -> str:
    families = chain(publishing_metrics(plane), detection_metrics(plane), notification_metrics(plane))
    return "".join(map(str, families))


handlers: Any = [metrics]
