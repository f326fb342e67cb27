"""The application: all resources, errors as problems, the OpenAPI description at /schema."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from litestar import Litestar
from litestar.di import Provide
from litestar.exceptions import NotFoundException
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, YamlRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from authz.control.api import applications, crowdsec, feeds, going_back, history, layers
from authz.control.api.access import approvals, audit, oidc, sessions, tokens
from authz.control.api.common.asking import know_first, provide_caller
from authz.control.api.common.cookies import COOKIE
from authz.control.api.common.middleware import with_request_id
from authz.control.api.common.problems import handle
from authz.control.api.detect import event_export, events, notifications, triggers
from authz.control.api.health import metrics, probes
from authz.control.api.lists import bans, counts, entries
from authz.control.api.lists.many import changes, jobs
from authz.control.maintenance.jobs import JobRounds
from authz.control.publish.inputs.rounds import Rounds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from authz.control.plane import ControlPlane

MAX_BODY = 8 << 20  # bytes


def create_app(plane: ControlPlane, more: Sequence[Any] = (), missing: Any = handle) -> Litestar:
    """Return the application of a control plane; it starts and closes it. more, missing: see `create_routes`."""
    app = create_routes(more, missing)
    put_plane(app, plane)
    return app


def put_plane(app: Litestar, plane: ControlPlane) -> None:
    """Give an application that does not run the control plane which it starts, serves and closes."""
    app.state.plane = plane
    plane.inputs.append(Rounds("jobs", 1.0, plane.publisher.lead, JobRounds(plane, entries.add_row).round))


def create_routes(more: Sequence[Any] = (), missing: Any = handle) -> Litestar:
    """Return the application without a control plane.

    more: routes beside the API. missing: answers where there is no route.
    """
    routes: list[Any] = [
        bans.router,
        entries.router,
        counts.router,
        changes.router,
        jobs.router,
        events.router,
        event_export.router,
        feeds.router,
        triggers.triggers_router,
        triggers.holds_router,
        notifications.router,
        layers.layers_router,
        layers.publications_router,
        *history.handlers,
        going_back.router,
        applications.router,
        tokens.router,
        audit.router,
        sessions.router,
        oidc.router,
        approvals.router,
        crowdsec.router,
        *probes.handlers,
        *metrics.handlers,
        *more,
    ]
    return Litestar(
        routes,
        dependencies={"caller": Provide(provide_caller)},
        guards=[know_first],
        exception_handlers={Exception: handle, NotFoundException: missing},
        middleware=[with_request_id],
        lifespan=[_running],
        openapi_config=_description(),
        request_max_body_size=MAX_BODY,
        logging_config=None,
    )


@contextlib.asynccontextmanager
async def _running(app: Litestar) -> AsyncIterator[None]:
    plane: ControlPlane = app.state.plane
    await asyncio.to_thread(plane.start, asyncio.get_running_loop())
    try:
        await plane.sources.start()
        yield
    finally:
        await plane.sources.stop()
        await asyncio.to_thread(plane.close)


def _description() -> OpenAPIConfig:
    bearer = SecurityScheme(type="http", scheme="bearer", description="A token of `authz control init` or /v1/tokens.")
    api_key = SecurityScheme(type="apiKey", name="X-Api-Key", security_scheme_in="header")
    cookie = SecurityScheme(type="apiKey", name=COOKIE, security_scheme_in="cookie")
    return OpenAPIConfig(
        title="authz control plane",
        version="1",
        path="/schema",
        render_plugins=[JsonRenderPlugin(), YamlRenderPlugin()],
        components=Components(security_schemes={"bearer": bearer, "api_key": api_key, "session": cookie}),
        security=[{"bearer": []}, {"session": []}],
        use_handler_docstrings=True,
    )
