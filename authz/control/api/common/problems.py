"""Errors as RFC 9457: `application/problem+json`, with a stable `code`, and a JSON pointer to each field that is wrong.

{"type": "urn:authz:problem:invalid", "title": "...", "status": 422, "code": "invalid", "detail": "...",
"errors": [{"pointer": "/networks/0", "detail": "found '1.2.3', expected ..."}], "request_id": "..."}
"""

from __future__ import annotations

import logging
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi.datastructures import ResponseSpec

from authz.control.model.problems import FieldMistake, Invalid, NotReady, Problem, plain_detail
from authz.errors import shorten

if TYPE_CHECKING:
    from litestar import Request

MEDIA_TYPE = "application/problem+json"
_LOG = logging.getLogger("authz.control.api")
_INDEX = re.compile(r"\[(\d+)\]")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)


class ErrorBody(msgspec.Struct, frozen=True):
    """One field that is wrong."""

    pointer: str
    detail: str


class ProblemBody(msgspec.Struct, frozen=True, kw_only=True):
    """RFC 9457. Some codes have members of their own, such as the `id` of the entry that is there already."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str = ""
    hint: str = ""
    errors: list[ErrorBody] = []


def documented(*statuses: int) -> dict[int, ResponseSpec]:
    """Return the answers of a handler that are problems, for the description."""
    always = {400, 401, 403, 429, 503}
    return {
        status: ResponseSpec(ProblemBody, description=HTTPStatus(status).phrase, media_type=MEDIA_TYPE)
        for status in sorted(always | set(statuses))
    }  # fmt: skip


def as_problem(error: Exception) -> Problem:
    """Return any error of a request as a problem."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, ValidationException):
        return _validation(error)
    if isinstance(error, UnicodeDecodeError):
        return Problem("the body is not UTF-8", code="malformed")
    if isinstance(error, RecursionError):
        return Problem("the body has too many values within each other", code="malformed")
    if isinstance(error, HTTPException):
        problem = Problem(shorten(error.detail), code=_code(error.status_code))
        problem.status = error.status_code
        return problem
    _LOG.exception("internal error", exc_info=error)
    problem = Problem("internal error; the log has more under this request id", code="internal_error")
    problem.status = 500
    return problem


def problem_body(problem: Problem, request_id: str = "") -> dict[str, Any]:
    """Return the members of a problem."""
    body: dict[str, Any] = {
        "type": f"urn:authz:problem:{problem.code}",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "code": problem.code,
        "detail": problem.message,
    }
    if problem.hint:
        body["hint"] = problem.hint
    if request_id:
        body["request_id"] = request_id
    return body | problem.extra


def handle(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer an error."""
    problem = as_problem(error)
    headers = {}
    if problem.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="authz"'
    if isinstance(error, HTTPException) and error.headers:
        headers |= dict(error.headers)
    if problem.status == 429 or isinstance(problem, NotReady):
        headers["Retry-After"] = "1"
    body = problem_body(problem, str(request.scope.get("authz_request_id", "")))
    return Response(msgspec.json.encode(body), status_code=problem.status, media_type=MEDIA_TYPE, headers=headers)


def _validation(error: ValidationException) -> Problem:
    extra = error.extra if isinstance(error.extra, list) else []
    mistakes = [_mistake(item) for item in extra if isinstance(item, dict)]
    if not mistakes:
        return Problem(shorten(error.detail), code="malformed")
    problem = Invalid(mistakes)
    if all("body" not in str(item.get("source", "")) for item in extra if isinstance(item, dict)):
        problem.status = 400
        problem.code = "bad_parameter"
    return problem


def _mistake(item: dict[str, Any]) -> FieldMistake:
    pointer, detail = _pointer(str(item.get("key", "")), str(item.get("source", ""))), str(item.get("message", ""))
    unknown = _UNKNOWN.fullmatch(detail)
    if unknown is not None:
        name = unknown[1].replace("~", "~0").replace("/", "~1")
        return FieldMistake(f"{pointer}/{name}", "found a key that is not known here: is it misspelt?")
    return FieldMistake(pointer, plain_detail(detail))


def _pointer(key: str, source: str) -> str:
    """Return `applications[1]` as `/applications/1`; a query parameter as `?name`."""
    if "query" in source.lower() or "path" in source.lower() or "header" in source.lower():
        return f"?{key}"
    path = _INDEX.sub(r"/\1", key).replace(".", "/")
    path = "" if path == "data" else path
    return f"/{path}" if path else ""


def _code(status: int) -> str:
    return HTTPStatus(status).phrase.lower().replace(" ", "_").replace("-", "_")
