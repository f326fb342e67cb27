"""Access logs as events: what triggers would have counted.

    event       JSON lines as `POST /v1/events` takes them, and authz's decision log
    nginx       combined; with "$http_x_forwarded_for" at the end where `forwarded` asks for it
    nginx-json  JSON with nginx's variable names
    envoy-json  JSON with the names of `authz print-config envoy`

The client is what the log says it is: `client`, else the address that connected. An X-Forwarded-For header is believed
only where the caller says so, for a client can write it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import orjson

from authz.control.detect.event import MAX_EVENT, Event, WrittenEvent, make_event
from authz.errors import BadLine, shorten
from authz.replay.formats import parse_any_time, unescape_nginx

if TYPE_CHECKING:
    from collections.abc import Callable

FORMATS: Final = ("auto", "event", "nginx", "nginx-json", "envoy-json")

# The user's name is a client's word, with any '[' in it; quotes nginx escapes.
_NGINX = re.compile(
    r'(?P<address>\S+) \S+ .*? \[(?P<time>[^\[\]]+)\] "(?P<request>(?:[^"\\]|\\.)*)" (?P<status>\d{3}) \S+'
    r'(?: "(?:[^"\\]|\\.)*" "(?:[^"\\]|\\.)*"(?: "(?P<forwarded>(?:[^"\\]|\\.)*)")?)?.*'
)
# What each thing is called, by whom: ours first, then nginx's variables, then Envoy's usual names.
_NAMES: Final = {
    "client": ("client", "authz_client", "remote_addr", "downstream_remote_address"),
    "application": ("application", "authz_application"),
    "method": ("method", "request_method"),
    "host": ("host", "http_host", "authority", "server_name"),
    "path": ("path", "request_uri", "uri"),
    "decision": ("decision", "authz_decision"),
    "entry": ("entry", "authz_entry"),
    "reason": ("reason", "authz_reason"),
    "payload": ("payload",),
    "request_id": ("request_id", "http_x_request_id"),
}
_TIMES: Final = ("time", "time_iso8601", "start_time", "time_local", "msec", "timestamp")
_STATUSES: Final = ("status", "response_code")


def parser(name: str) -> Callable[[bytes, float], Event]:
    """Return the function from a line, and the time of one that names none, to its event. It raises BadLine."""
    return _nginx if name == "nginx" else _json


def recognise(line: bytes) -> str:
    """Return the format of a log by one of its lines. Raises BadLine."""
    if line.lstrip().startswith(b"{"):
        return "event"
    if _NGINX.fullmatch(_text(line)):
        return "nginx"
    raise BadLine(f"is in none of the known formats: {', '.join(FORMATS[1:])}")


def _text(line: bytes) -> str:
    return line[:MAX_EVENT].decode("utf-8", "backslashreplace").rstrip("\r\n")


def _nginx(line: bytes, received: float) -> Event:
    match = _NGINX.fullmatch(_text(line))
    if match is None:
        raise BadLine("is not a line of nginx's combined format")
    method, _, rest = unescape_nginx(match["request"]).partition(" ")
    written = WrittenEvent(
        client=match["address"],
        time=parse_any_time(match["time"]),
        method=method,
        path=rest.rpartition(" ")[0] or rest,
        status=int(match["status"]),
    )
    return make_event(written, received)


def _json(line: bytes, received: float) -> Event:
    if len(line) > MAX_EVENT:
        raise BadLine(f"found {len(line)} bytes, expected at most {MAX_EVENT}")
    try:
        fields = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise BadLine(shorten(error)) from error
    if not isinstance(fields, dict):
        raise BadLine("is not a JSON object")
    status = _first(fields, _STATUSES)
    if status and not re.fullmatch(r"\d{1,3}", status):
        raise BadLine(f"status: found '{shorten(status)}', expected a number from 100 to 599")
    values = {name: _first(fields, names) for name, names in _NAMES.items()}
    written = WrittenEvent(
        time=parse_any_time(_first(fields, _TIMES)),
        status=int(status or 0),
        attacks=_texts(fields.get("attacks")),
        warnings=_texts(fields.get("warnings")),
        **values,
    )
    return make_event(written, received)


def _texts(value: object) -> list[str]:
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []


def _first(fields: dict[str, Any], names: tuple[str, ...]) -> str:
    for name in names:
        value = fields.get(name)
        if isinstance(value, (str, int, float)) and value not in {"", "-"}:
            return str(value)
    return ""
