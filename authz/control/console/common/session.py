"""Who sits before the browser, and the forms that only we can have given them.

A session's secret is in a cookie that no script reads and no form of another site sends (`access.sessions`). Each form
carries the session's CSRF token; without it nothing is changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from litestar.di import NamedDependency

from authz.control.access.callers import Caller
from authz.control.access.sessions import check_csrf, csrf_token
from authz.control.api.common.asking import SAFE_METHODS, AnyRequest, plane_of, session_caller
from authz.control.api.common.cookies import refuse_other_sites, session_secret
from authz.control.model.problems import Problem
from authz.control.plane import ControlPlane

if TYPE_CHECKING:
    from litestar.datastructures import FormMultiDict

CSRF_FIELD = "csrf"
MAX_FIELDS = 1000  # of a form; lines that are picked are fields


class Asked(NamedTuple):
    """A request of somebody who is signed on.

    Attributes:
        csrf: What this session's forms carry.
    """

    request: AnyRequest
    plane: ControlPlane
    caller: Caller
    csrf: str

    async def form(self) -> FormMultiDict:
        """Return what was sent."""
        return await read_form(self.request)

    @property
    def patterns(self) -> tuple[str, ...] | None:
        """The applications whose events the caller may see; None: all."""
        return None if self.caller.sees is None else self.caller.tenant.applications


Asker = NamedDependency[Asked]


async def read_form(request: AnyRequest) -> FormMultiDict:
    """Return the form that a request carries. Raises Problem where it has more fields than any page of ours.

    Looked at before it is read: a million fields in 2 MB took seconds, in which nobody else was answered.
    """
    if (await request.body()).count(b"&") >= MAX_FIELDS:
        problem = Problem(f"found a form of {MAX_FIELDS} fields or more, expected fewer", code="too_large")
        problem.status = 413
        raise problem
    return await request.form()


async def provide_asked(request: AnyRequest) -> Asked:
    """Return who asks. Raises Unauthorized if nobody is signed on, Forbidden where the form is not one of ours."""
    changes = request.method not in SAFE_METHODS
    if changes:
        refuse_other_sites(request)
    caller = await session_caller(request)
    if changes:  # a form is read of somebody who is signed on only
        shown = request.headers.get("x-csrf-token") or str((await read_form(request)).get(CSRF_FIELD, ""))
        check_csrf(session_secret(request), shown)
    asked = Asked(request, plane_of(request), caller, csrf_token(session_secret(request)))
    request.state.asked = asked  # for the page that tells what went wrong
    return asked
