"""Lines of the decision log: JSON, ASCII, one object each.

    {"time":"2026-12-01T00:00:00.123Z","front":"grpc","peer":"10.0.0.1","decision":"deny","reason":"denylisted",...}

They are made by the log's thread, and parts that many of them share are made once.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import orjson

from authz.errors import shorten
from authz.serve.observe.details import NO_DETAILS, Details

if TYPE_CHECKING:
    from authz.engine.decision.outcome import Outcome
    from authz.serve.observe.recorder import Decision

_PARTS: Final = object()  # ours in the memo of an outcome
_MAX_PEERS: Final = 1024  # whose texts are remembered
_NOTHING: Final = b',"request_id":null,"host":null,"method":null,"path":null,"unknown_application":null}\n'


class LogLines:
    """Makes lines, and remembers the parts that many of them share."""

    def __init__(self) -> None:
        self._millisecond = -1
        self._time = b""
        self._peers: dict[str | None, bytes] = {}

    def line(self, decision: Decision) -> bytes:
        """Return one line: a JSON object."""
        now, front, peer, outcome, client, details = decision
        try:
            parts = outcome.memo[_PARTS]
        except KeyError:
            parts = outcome.memo[_PARTS] = _cut(outcome)
        entry = b"null" if outcome.entry is None else b'"%b"' % outcome.entry.encode("ascii")
        address = b"null" if client is None else b'"%b"' % client.text.encode("ascii")
        return b"".join((
            b'{"time":"', self._moment(now), b'","front":"', front.encode("ascii"), b'","peer":', self._peer(peer),
            parts[0], entry, parts[1], address, parts[2],
            _NOTHING if details is NO_DETAILS else _request(details, outcome),
        ))  # fmt: skip

    def _moment(self, now: float) -> bytes:
        millisecond = int(now * 1000)
        if millisecond != self._millisecond:
            moment = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")
            self._millisecond, self._time = millisecond, moment.replace("+00:00", "Z").encode("ascii")
        return self._time

    def _peer(self, peer: str | None) -> bytes:
        text = self._peers.get(peer)
        if text is None:
            if len(self._peers) >= _MAX_PEERS:
                self._peers.clear()
            text = self._peers[peer] = orjson.dumps("unix:" if peer is None else shorten(peer))
        return text


def _cut(outcome: Outcome) -> tuple[bytes, bytes, bytes]:
    """Return the line's text before the entry, between entry and client, and behind the client."""
    decision = outcome.as_dict(None)
    names = list(decision)
    entry, client = names.index("entry"), names.index("client")
    before, between, behind = names[:entry], names[entry + 1 : client], names[client + 1 :]

    def fields(wanted: list[str]) -> bytes:
        return orjson.dumps({name: decision[name] for name in wanted})[1:-1]

    middle = fields(between) + b"," if between else b""
    return (b"," + fields(before) + b',"entry":', b"," + middle + b'"client":', b"," + fields(behind))


def _request(details: Details, outcome: Outcome) -> bytes:
    """Return what the line says of the request, and the line's end."""
    request_id, host, method, path, application = map(printable, details)
    unknown = application if application != outcome.application else None
    fields = {"request_id": request_id, "host": host, "method": method, "path": path, "unknown_application": unknown}
    return b"," + orjson.dumps(fields)[1:] + b"\n"


def printable(data: bytes) -> str | None:
    """Return bytes of a client as printable ASCII; None for none. What is not printable is escaped as in Python."""
    if not data:
        return None
    text = data.decode("ascii", "backslashreplace")
    return text if text.isprintable() else "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
