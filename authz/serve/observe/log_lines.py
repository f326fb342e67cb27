"""Lines of the decision log: JSON, ASCII, one object each.

    {"time":"2026-12-01T00:00:00.123Z","front":"grpc","peer":"10.0.0.1","decision":"deny","reason":"denylisted",...}

They are made by the log's thread, and parts that many of them share are made once.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import orjson

from authz.errors import shorten

if TYPE_CHECKING:
    from collections.abc import Iterable

    from authz.engine.decision.outcome import Outcome
    from authz.serve.observe.recorder import Decision

_PARTS: Final = object()  # ours in the memo of an outcome
_MAX_PEERS: Final = 1024  # whose texts are remembered
_MAX_TARGETS: Final = 512  # the same, of host, method and path together
_PLAIN: Final = bytes(byte for byte in range(0x20, 0x7F) if byte not in b'"\\')  # that JSON takes as it is


class LogLines:
    """Makes lines, and remembers the parts that many of them share."""

    def __init__(self) -> None:
        self._millisecond = -1
        self._time = ""
        self._peers: dict[str | None, str] = {}
        self._targets: dict[tuple[bytes, bytes, bytes], str] = {}

    def lines(self, decisions: Iterable[Decision]) -> bytes:
        """Return the lines of some decisions, each a JSON object."""
        return "".join(map(self._line, decisions)).encode()

    def _line(self, decision: Decision) -> str:
        now, front, peer, outcome, client, details, named = decision
        try:
            before, between, behind = outcome.memo[_PARTS]
        except KeyError:
            before, between, behind = outcome.memo[_PARTS] = _cut(outcome)
        if int(now * 1000) != self._millisecond:
            self._set_time(now)
        seen = self._peers.get(peer) or self._peer(peer)
        entry = "null" if outcome.entry is None else f'"{outcome.entry}"'
        address = "null" if client is None else f'"{client[2]}"'
        request_id, host, method, path = details
        request_id_text = _quoted(request_id)
        target = host, method, path
        asked = self._targets.get(target) or self._target(target)
        unknown = _quoted(named) if named and named != outcome.application.encode() else "null"
        return (
            f'{{"time":"{self._time}","front":"{front}","peer":{seen}{before}{entry}{between}{address}{behind}'
            f',"request_id":{request_id_text}{asked}{unknown}}}\n'
        )

    def _set_time(self, now: float) -> None:
        moment = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")
        self._millisecond, self._time = int(now * 1000), moment.replace("+00:00", "Z")

    def _peer(self, peer: str | None) -> str:
        if len(self._peers) >= _MAX_PEERS:
            self._peers.clear()
        text = self._peers[peer] = _json("unix:" if peer is None else shorten(peer))
        return text

    def _target(self, target: tuple[bytes, bytes, bytes]) -> str:
        if len(self._targets) >= _MAX_TARGETS:
            self._targets.clear()
        host, method, path = map(_quoted, target)
        text = self._targets[target] = f',"host":{host},"method":{method},"path":{path},"unknown_application":'
        return text


def _cut(outcome: Outcome) -> tuple[str, str, str]:
    """Return the line's text before the entry, between entry and client, and behind the client."""
    decision = outcome.as_dict(None)
    names = list(decision)
    entry, client = names.index("entry"), names.index("client")
    before, between, behind = names[:entry], names[entry + 1 : client], names[client + 1 :]

    def fields(wanted: list[str]) -> str:
        return _json({name: decision[name] for name in wanted})[1:-1]

    middle = fields(between) + "," if between else ""
    return ("," + fields(before) + ',"entry":', "," + middle + '"client":', "," + fields(behind))


def _quoted(data: bytes) -> str:
    """Return bytes of a client as JSON; `null` for none."""
    if not data:
        return "null"
    if not data.translate(None, _PLAIN):
        return f'"{data.decode()}"'
    return _json(printable(data))


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


def printable(data: bytes) -> str | None:
    """Return bytes of a client as printable ASCII; None for none. What is not printable is escaped as in Python."""
    if not data:
        return None
    text = data.decode("ascii", "backslashreplace")
    return text if text.isprintable() else "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
