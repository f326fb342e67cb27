"""All pages, and how they answer what goes wrong: as a page, not as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from litestar import Request, Response, Router
from litestar.di import Provide
from litestar.exceptions import NotFoundException

from authz.control.api.common.problems import as_problem
from authz.control.api.common.problems import handle as answer_problem
from authz.control.console import sign_on
from authz.control.console.common.session import provide_asked
from authz.control.console.history import changes, difference, explaining
from authz.control.console.lists import adding, entry, listing
from authz.control.console.look.render import page, plain, see_other
from authz.control.console.look.static_files import get_static
from authz.control.console.overview import approvals, attention, overview
from authz.control.console.setup import applications, channels, feeds, people, publications
from authz.control.console.space import lockout, map  # noqa: A004  # the page is called so
from authz.control.console.traffic import events, triggers
from authz.control.model.problems import Missing, Unauthorized

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_BODY = 2 << 20  # bytes of a form


def console_routes() -> Sequence[Any]:
    """Return the routes of the console."""
    routers = [
        sign_on.router,
        overview.router,
        listing.router,
        adding.router,
        entry.router,
        attention.router,
        approvals.router,
        changes.router,
        difference.router,
        explaining.router,
        events.router,
        triggers.router,
        lockout.router,
        map.router,
        applications.router,
        publications.router,
        feeds.router,
        people.router,
        channels.router,
    ]
    pages = Router(
        "/",
        route_handlers=routers,
        dependencies={"asked": Provide(provide_asked)},
        exception_handlers={Exception: handle},
        include_in_schema=False,
        request_max_body_size=MAX_BODY,
    )
    return [pages, get_static]


def handle(request: Request[Any, Any, Any], error: Exception) -> Response[str]:
    """Answer an error as a page; a person who is not signed on is sent to the sign-on page."""
    problem = as_problem(error)
    if isinstance(problem, Unauthorized):
        back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        to = f"/sign-in?to={quote(back if request.method == 'GET' else '/', safe='')}"
        if request.headers.get("hx-request") == "true":
            answer = plain("problems/plain.html", status=401, problem=problem)
            answer.headers["HX-Redirect"] = to
            return answer
        return see_other(to)
    asked = getattr(request.state, "asked", None)
    if asked is not None and problem.status < 500:  # the frame needs nothing that failed
        return page(asked, "problems/framed.html", status=problem.status, problem=problem)
    return plain("problems/plain.html", status=problem.status, problem=problem)


def handle_missing(request: Request[Any, Any, Any], error: NotFoundException) -> Response[Any]:
    """Answer an address that nothing is at: browsers with a page, whoever asks the API as the API does."""
    wants_page = "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/v1/")
    return handle(request, Missing("nothing is at this address")) if wants_page else answer_problem(request, error)
