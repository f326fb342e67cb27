"""What an HTTP/1.1 connection hands to its handler, and what it gets back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from typing import TypeAlias

    from authz.serve.steps import Steps

    # The fields of a RequestHead, in their order, for the hot path: a named tuple takes four times as long to make, and
    # to unpack.
    HeadParts: TypeAlias = tuple[bytes, bytes, dict[bytes, list[bytes]], str | None, int]

MAX_HEAD: Final = 1 << 20  # bytes; the most that `http.max_header` may be


class RequestHead(NamedTuple):
    """A request's header block.

    Attributes:
        headers: The values of the wanted headers, and of those that announce a body, by lower-case name, in order.
        peer: The address of who connected; None: a unix socket.
        size: Bytes of the header block at most; with pipelining, others may be counted with it.
    """

    method: bytes
    target: bytes
    headers: dict[bytes, list[bytes]]
    peer: str | None
    size: int = MAX_HEAD


class Answer(NamedTuple):
    """An answer.

    Attributes:
        head: Status line and headers, each with its CR LF, without the empty line.
        body: As announced.
    """

    head: bytes
    body: bytes = b""


class AnswerInSteps(Answer):
    """An answer whose body takes milliseconds to make, without its length. It is for a `PageConnection`.

    Attributes:
        steps: Return the body.
    """

    steps: Steps[bytes]

    def with_body(self, body: bytes) -> Answer:
        """Return the answer with the body that was made."""
        return Answer(self.head + b"Content-Length: %d\r\n" % len(body), body)


_NOT_YET: Final = b"?"  # in the place of a body: an answer without one is written at once
_PHRASES: Final = {200: "OK", 204: "No Content", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden",
                   404: "Not Found", 405: "Method Not Allowed",
                   408: "Request Timeout", 421: "Misdirected Request",
                   429: "Too Many Requests", 431: "Request Header Fields Too Large",
                   500: "Internal Server Error", 503: "Service Unavailable"}  # fmt: skip


def status_line(status: int) -> bytes:
    """Return the status line, with its CR LF."""
    return f"HTTP/1.1 {status} {_PHRASES.get(status, 'Denied')}\r\n".encode()


def plain_answer(status: int, body: bytes = b"", content_type: bytes = b"text/plain; charset=utf-8") -> Answer:
    """Return an answer with nothing special about it."""
    kind = _content_type(content_type) if body else b""
    return Answer(status_line(status) + kind + b"Content-Length: %d\r\n" % len(body), body)


def answer_in_steps(steps: Steps[bytes], content_type: bytes) -> AnswerInSteps:
    """Return an answer (200) whose body is made in steps."""
    answer = AnswerInSteps(status_line(200) + _content_type(content_type), _NOT_YET)
    answer.steps = steps
    return answer


def _content_type(text: bytes) -> bytes:
    return b"Content-Type: " + text + b"\r\n"
