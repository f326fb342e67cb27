"""One line of a log to one request.

    jsonl       our own: {"peer": ..., "headers": ..., "application": ...}
    nginx       combined, also with "$http_x_forwarded_for" at the end; the peer is $remote_addr
    nginx-json  JSON with nginx's variable names; the peer is `realip_remote_addr`, or `remote_addr`
    envoy       Envoy's default text; the peer is the last element of x-forwarded-for
    envoy-json  JSON with the names of `authz print-config envoy`; the peer is `peer`, or as for envoy

Envoy's default text has no peer; with `use_remote_address` Envoy appends it to x-forwarded-for, so there it is the last
element, and what stands before it is what the peer sent. Envoy escapes no quotes: a line in which they leave open where
a field ends is refused, for a client must not say by its User-Agent who it was.

Logs of printed configurations have no x-forwarded-for, but `client`, who that was to the sidecar: it stands in.
"""

from __future__ import annotations

import functools
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import msgspec
import orjson

from authz.engine.model import ANY_APPLICATION
from authz.engine.request.request import NO_METADATA, parse_peer
from authz.errors import BadLine, BadValue, shorten
from authz.times import parse_moment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FORMATS: Final = ("auto", "jsonl", "nginx", "nginx-json", "envoy", "envoy-json")
_EXPECTED: Final = {
    "jsonl": 'expected {"peer": "127.0.0.1", "headers": [["X-Forwarded-For", "192.0.2.1"]], "application": "shop"}',
    "nginx": 'expected nginx\'s combined format, also with "$http_x_forwarded_for" at the end',
    "nginx-json": 'expected JSON by the names of nginx\'s variables, such as {"remote_addr": "192.0.2.1"}',
    "envoy": "expected Envoy's default text",
    "envoy-json": 'expected JSON by the names of `authz print-config envoy`, such as {"peer": "192.0.2.1"}',
}

_NGINX = re.compile(
    r'(?P<address>\S+) \S+ .*? \[(?P<time>[^\[\]]+)\] "(?P<request>(?:[^"\\]|\\.)*)" \d{3} \S+'
    r'(?: "(?:[^"\\]|\\.)*" "(?:[^"\\]|\\.)*"(?: "(?P<forwarded>(?:[^"\\]|\\.)*)")?)?.*'
)
_ENVOY = re.compile(
    r'\[(?P<time>[^\]]+)\] "[^"]*" \d{1,3} [^"]*'
    r'"(?P<forwarded>[^"]*)" "(?:(?!" ").)*" "[^"]*" "(?P<host>[^"]*)" "[^"]*"'
)
MIN_NAME: Final = 4  # letters: a slip in a shorter name is another word
_ESCAPED = re.compile(r"\\x([0-9A-Fa-f]{2})")  # how nginx writes quotes, backslashes, tabs and what is not ASCII


class LoggedRequest(NamedTuple):
    """A request as a log has it.

    Attributes:
        peer: None for a unix socket.
        time: Seconds since 1970; None: not said.
    """

    peer: str | None
    headers: tuple[tuple[str, str], ...] = ()
    application: str | None = None
    time: float | None = None
    metadata: Mapping[str, Mapping[str, object]] = NO_METADATA


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of `jsonl`.

    Attributes:
        time: Absent for now.
        metadata: Envoy's, by namespace and key.
    """

    peer: str
    headers: tuple[tuple[str, str], ...] = ()
    application: str | None = None
    time: str | None = None
    metadata: dict[str, dict[str, object]] = {}


_OURS: Final = frozenset(Line.__struct_fields__)
_ONLY_OURS: Final = frozenset({"headers", "metadata"})  # no proxy's log has these: a line with them is meant as ours

# The names that are read of JSON that proxies write; the first that has a value counts.
_FORWARDED: Final = ("http_x_forwarded_for", "x_forwarded_for", "xff", "forwarded_for", "client")
_HOST: Final = ("http_host", "host", "authority", "server_name")
_APPLICATION: Final = ("authz_application", "application")
_TIME: Final = ("time_iso8601", "time", "start_time", "time_local", "msec", "timestamp")
_PEER: Final = ("realip_remote_addr", "peer", "remote_addr", "downstream_direct_remote_address")
_READ: Final = frozenset({*_FORWARDED, *_HOST, *_APPLICATION, *_TIME, *_PEER, *_ONLY_OURS})


def hint_for(name: str | None, line: bytes) -> str:
    """Return what to do about a line that is not of the format `name` (None: it is of no format known here)."""
    if line.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ")):
        return "FILE is compressed: decompress it, and give - for standard input"
    try:
        other = recognise(line)
        parser(other)(line)
    except BadLine:
        return _EXPECTED[name or "jsonl"]
    if name and (other == name or (name, other) == ("jsonl", "envoy-json")):  # a line of ours that reads as that
        return _EXPECTED[name]
    return f"it is a line of {other}: --format {other}; all lines of FILE need the same format"


def parser(name: str) -> Callable[[bytes], LoggedRequest]:
    """Return the function that reads one line of a format. It raises BadLine."""
    return {"jsonl": _jsonl, "nginx": _nginx, "nginx-json": _named, "envoy": _envoy, "envoy-json": _named}[name]


def recognise(line: bytes) -> str:
    """Return the format of a log by one of its lines. Raises BadLine."""
    if line.lstrip().startswith(b"{"):
        fields = _object(line)
        if "peer" in fields and (fields.keys() <= _OURS or fields.keys() & _ONLY_OURS):
            return "jsonl"
        return "nginx-json" if "remote_addr" in fields else "envoy-json"
    if line.startswith(b"["):
        return "envoy"
    if _NGINX.fullmatch(_text(line)):
        return "nginx"
    raise BadLine(f"is in none of the known formats: {', '.join(FORMATS[1:])}")


def _text(line: bytes) -> str:
    return line.decode("utf-8", "backslashreplace").rstrip("\r\n")


def _jsonl(line: bytes) -> LoggedRequest:
    if not line.lstrip().startswith(b"{"):
        raise BadLine("is not a JSON object")
    try:
        read = msgspec.json.decode(line, type=Line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadLine(shorten(error)) from error
    time = None if read.time is None else _moment(read.time)
    return LoggedRequest(parse_peer(read.peer), read.headers, read.application, time, read.metadata)


def _moment(text: str) -> float:
    try:
        return parse_moment(text)
    except BadValue as error:
        raise BadLine(f"time: {error.message}") from None


def _nginx(line: bytes) -> LoggedRequest:
    match = _NGINX.fullmatch(_text(line))
    if match is None:
        raise BadLine("is not a line of nginx's combined format")
    time = _nginx_time(match["time"])
    if time is None:
        written = shorten(match["time"])
        raise BadLine(f"found the time '{written}', expected one such as 01/Dec/2026:00:00:00 +0000")
    forwarded = match["forwarded"]
    headers = (("x-forwarded-for", unescape_nginx(forwarded)),) if forwarded and forwarded != "-" else ()
    return LoggedRequest(parse_peer(match["address"]), headers, None, time)


def unescape_nginx(text: str) -> str:
    r"""Return what nginx escaped in its log as `\x22`."""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text)


def _envoy(line: bytes) -> LoggedRequest:
    match = _ENVOY.fullmatch(_text(line))
    if match is None:
        raise BadLine("is not a line of Envoy's default format")
    if match["forwarded"] in {"", "-"}:
        raise BadLine("names no peer: expected x-forwarded-for, to which use_remote_address appends it")
    return _appended(match["forwarded"], match["host"], None, _moment(match["time"]))


def _appended(forwarded: str, host: str, application: str | None, time: float | None) -> LoggedRequest:
    """Return a request whose peer is what Envoy appended to x-forwarded-for."""
    before, _, peer = forwarded.rpartition(",")
    headers = [("x-forwarded-for", before)] if before.strip() else []
    if host not in {"", "-"}:
        headers.append(("host", host))
    return LoggedRequest(peer.strip(), tuple(headers), application, time)


def _object(line: bytes) -> dict[str, Any]:
    if not line.lstrip().startswith(b"{"):
        raise BadLine("is not a JSON object")
    try:
        fields = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise BadLine(shorten(error)) from error
    return cast("dict[str, Any]", fields)


def _named(line: bytes) -> LoggedRequest:
    """Read JSON whose names are nginx's variables, or those of `authz print-config envoy`."""
    fields = _object(line)
    misspelt = _misspelt(frozenset(fields))
    if misspelt:
        raise BadLine(f"found the key '{shorten(misspelt[0])}', expected '{misspelt[1]}'")
    forwarded = _first(fields, *_FORWARDED)
    host = _first(fields, *_HOST)
    named = _first(fields, *_APPLICATION)
    application = None if named in {"", ANY_APPLICATION} else named
    time = parse_any_time(_first(fields, *_TIME))
    peer = _first(fields, *_PEER)
    if not peer:
        if not forwarded:
            raise BadLine("names no peer: expected one of remote_addr, peer, x_forwarded_for")
        return _appended(forwarded, host, application, time)
    headers = [("x-forwarded-for", forwarded)] if forwarded else []
    if host:
        headers.append(("host", host))
    return LoggedRequest(parse_peer(peer), tuple(headers), application, time)


@functools.lru_cache(maxsize=256)  # a log has few sets of keys
def _misspelt(keys: frozenset[str]) -> tuple[str, str] | None:
    """Return a key that is one slip away from a name that is read and not there, and that name.

    Other keys are the log's own affair. A misspelt one must not be: without its header the client is somebody else.
    """
    missing = _READ - keys
    slips = ((key, name) for key in sorted(keys - _READ) for name in sorted(missing) if _is_slip(key, name))
    return next(slips, None)


def _is_slip(key: str, name: str) -> bool:
    """Return whether a key is a name of at least four letters with one letter more, less or other, or two swapped."""
    key = key.lower().replace("-", "_")
    if len(name) < MIN_NAME or abs(len(key) - len(name)) > 1:
        return False
    at = next((n for n, (a, b) in enumerate(zip(key, name, strict=False)) if a != b), min(len(key), len(name)))
    rest, wanted = key[at:], name[at:]
    swapped = rest[:2] == wanted[1::-1] and rest[2:] == wanted[2:]
    return swapped or wanted in {rest, rest[1:]} or rest == wanted[1:] or rest[1:] == wanted[1:]


def _first(fields: Mapping[str, Any], *names: str) -> str:
    for name in names:
        value = fields.get(name)
        if isinstance(value, (str, int, float)) and value not in {"", "-"}:
            return str(value)
    return ""


def parse_any_time(text: str) -> float | None:
    """Return a time as logs write it, in seconds since 1970.

    Args:
        text: RFC 3339, nginx's own form, or seconds.

    Returns:
        The time; None: the text is empty.

    Raises:
        BadLine: It is not a time.
    """
    if not text:
        return None
    if re.fullmatch(r"\d{1,11}(\.\d{1,6})?", text):
        return float(text)
    time = _nginx_time(text)
    return _moment(text) if time is None else time


def _nginx_time(text: str) -> float | None:
    try:
        return datetime.strptime(text, "%d/%b/%Y:%H:%M:%S %z").timestamp()
    except ValueError:
        return None
