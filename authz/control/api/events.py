"""`/v1/events`: what clients did, from sidecars, WAFs and log shippers."""

from __future__ import annotations

import zlib
from typing import Annotated, Any, Final

import msgspec
from litestar import Response, Router, post
from litestar.params import HeaderParameter

from authz.control.api.asking import AnyRequest, Asker, plane_of
from authz.control.api.problems import documented
from authz.control.detect.event import Event, read_event
from authz.control.problems import FieldMistake, Invalid, Problem, TooMany
from authz.errors import BadLine

MAX_BATCH: Final = 8 << 20  # bytes, unpacked
MAX_EVENTS: Final = 20_000  # of a batch
RETRY_AFTER: Final = 1  # seconds

Encoding = Annotated[str | None, HeaderParameter(name="Content-Encoding", max_length=20, description="gzip, or none.")]


class RefusedLine(msgspec.Struct, frozen=True):
    """A line that is no event. line: from 1."""

    line: int
    detail: str


class TakenBody(msgspec.Struct, frozen=True):
    """How many events were taken, and why others were not: the first hundred of them."""

    taken: int
    refused: list[RefusedLine]


@post("", summary="Send events", status_code=202, responses=documented(413, 415, 422, 429))
async def add_events(request: AnyRequest, caller: Asker, content_encoding: Encoding = None) -> Response[TakenBody]:
    """Take events, a JSON object a line. Lines that cannot be read are named in the answer; the others count."""
    caller.need("events")
    plane = plane_of(request)
    content = _unpacked(await request.body(), content_encoding)
    received = plane.store.clock()
    events, refused = _read(content, received)
    if refused and not events:
        raise Invalid([FieldMistake(f"/{one.line}", one.detail) for one in refused])
    if not plane.intake.put(events, received):
        raise TooMany("too many events wait to be counted, expected fewer at a time", code="intake_full")
    return Response(TakenBody(len(events), refused[:100]), status_code=202)


def _read(content: bytes, received: float) -> tuple[list[Event], list[RefusedLine]]:
    lines = content.splitlines()
    if len(lines) > MAX_EVENTS:
        problem = Problem(f"found {len(lines)} events, expected at most {MAX_EVENTS}", code="too_large")
        problem.status = 413
        raise problem
    events: list[Event] = []
    refused: list[RefusedLine] = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                events.append(read_event(line, received))
            except BadLine as error:
                refused.append(RefusedLine(number, str(error)))
    return events, refused


def _unpacked(body: bytes, encoding: str | None) -> bytes:
    """Return the bytes of a body; raises Problem where it is packed otherwise, damaged, or too large."""
    if encoding in {None, "", "identity"}:
        return body
    if encoding != "gzip":
        problem = Problem(f"found the encoding '{encoding}', expected gzip or none", code="bad_encoding")
        problem.status = 415
        raise problem
    unpacker = zlib.decompressobj(wbits=31)
    try:
        content = unpacker.decompress(body, MAX_BATCH)
    except zlib.error as error:
        raise Invalid([FieldMistake("", "the body is no gzip")]) from error
    if unpacker.unconsumed_tail or not unpacker.eof:
        problem = Problem(f"found more than {MAX_BATCH} bytes, or a cut body; expected fewer", code="too_large")
        problem.status = 413
        raise problem
    return content


router: Any = Router("/v1/events", route_handlers=[add_events], tags=["events"])
