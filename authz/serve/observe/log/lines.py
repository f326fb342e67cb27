"""Lines of the decision log: JSON, ASCII, one object each.

    {"time":"2026-12-01T00:00:00.123Z","front":"grpc","peer":"10.0.0.1","decision":"deny","reason":"denylisted",...}

They are made by the log's thread, and parts that many of them share are made once.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import orjson

from authz.engine.decision.outcome import MAX_RENDERED
from authz.serve.observe.details import MAX_HOST, MAX_PATH, MAX_SHORT, peer_text, printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from authz.addresses import Address
    from authz.engine.decision.outcome import Outcome
    from authz.serve.observe.recorder import Taken

_PARTS: Final = object()  # ours in the memo of an outcome
_MAX_PEERS: Final = 1024  # whose texts are remembered
_MAX_TARGETS: Final = 512  # the same, of host, method and path together
_PLAIN: Final = bytes(byte for byte in range(0x20, 0x7F) if byte not in b'"\\')  # that JSON takes as it is


class LogLines:
    """Makes lines, and remembers the parts that many of them share."""

    def __init__(self) -> None:
        self._time = ""
        self._begin = self._end = 0.0  # of the millisecond that this is the text of; seconds since 1970
        self._peers: dict[str | None, str] = {}
        self._targets: dict[tuple[bytes, bytes, bytes], str] = {}

    def lines(self, decisions: Iterable[Taken]) -> bytes:
        """Return the lines of some decisions, each a JSON object."""
        lines = []
        targets = self._targets
        for now, front, peer, outcome, client, rendered, request_id, host, method, path, named, _ in decisions:
            if not self._begin <= now < self._end:
                self._set_time(now)
            if rendered is None:
                decided = self._decided(front, peer, outcome, client)
            elif (kept := rendered.line) is not None and kept[0] == front:
                decided = kept[1]
            else:
                decided = self._decided(front, peer, outcome, client)
                if len(decided) <= MAX_RENDERED:
                    rendered.line = front, decided
            target = host, method, path
            asked = targets.get(target) or self._target(target)
            unknown = _quoted(named, MAX_SHORT) if named and named != outcome.application.encode() else "null"
            lines.append(f"{self._time}{decided}{_quoted(request_id, MAX_SHORT)}{asked}{unknown}}}\n")
        return "".join(lines).encode()

    def _decided(self, front: str, peer: str | None, outcome: Outcome, client: Address | None) -> str:
        """Return the line's text from the front to the decision, and what the next value is."""
        try:
            before, between, behind = outcome.memo[_PARTS]
        except KeyError:
            before, between, behind = outcome.memo[_PARTS] = _cut(outcome)
        seen = self._peers.get(peer) or self._peer(peer)
        entry = "null" if outcome.entry is None else f'"{outcome.entry}"'
        address = "null" if client is None else f'"{client.text}"'
        return f',"front":"{front}","peer":{seen}{before}{entry}{between}{address}{behind},"request_id":'

    def _set_time(self, now: float) -> None:
        moment = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")
        self._time = f'{{"time":"{moment.removesuffix("+00:00")}Z"'
        millisecond = int(now * 1000)
        self._begin, self._end = millisecond / 1000, (millisecond + 1) / 1000

    def _peer(self, peer: str | None) -> str:
        if len(self._peers) >= _MAX_PEERS:
            self._peers.clear()
        text = self._peers[peer] = _json(peer_text(peer))
        return text

    def _target(self, target: tuple[bytes, bytes, bytes]) -> str:
        if len(self._targets) >= _MAX_TARGETS:
            self._targets.clear()
        host, method, path = map(_quoted, target, (MAX_HOST, MAX_SHORT, MAX_PATH))
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


def _quoted(data: bytes, most: int) -> str:
    """Return bytes of a client as JSON; `null` for none. most: bytes that are shown."""
    if not data:
        return "null"
    if len(data) <= most and not data.translate(None, _PLAIN):
        return f'"{data.decode()}"'
    return _json(printable(data, most))


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
