"""Syslog (RFC 5424) with an event of CEF for each thing that a message tells: UDP, TCP (RFC 6587) or a unix socket.

    <109>1 2026-12-01T00:00:00Z host authz - listed - CEF:0|authz|control|1|listed|…|5|src=203.0.113.9 …

UDP has no answer: what is lost on the way is lost.
"""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from authz.addresses import try_parse_address
from authz.control.model.problems import NotTaken
from authz.control.notify.channels.http import TIMEOUT

if TYPE_CHECKING:
    from authz.control.notify.config import Channel
    from authz.control.notify.message import Message

MAX_MESSAGE: Final = 8192  # bytes; a longer one is cut
_AUTH: Final = 10  # facility: security and authorization
_SEVERITIES: Final = {"breaker": (3, 8), "refused": (3, 8), "stale": (4, 6)}  # of syslog, of CEF; others 5 and 5
_UNPRINTABLE: Final = re.compile(r"[^\x20-\x7e\u00a0-\ud7ff\ue000-\uffff\U00010000-\U0010ffff]")


def send(channel: Channel, message: Message) -> None:
    """Send a message. Raises NotTaken if the receiver cannot be reached."""
    lines = [_line(message, item) for item in message.items or [{"text": message.text}]]
    target = urlsplit(channel.syslog or "")
    try:
        if target.scheme == "tcp":
            with socket.create_connection((target.hostname, target.port or 514), TIMEOUT) as stream:
                stream.sendall(b"".join(b"%d %s" % (len(line), line) for line in lines))
                stream.shutdown(socket.SHUT_WR)
        else:
            _datagrams(target.path if target.scheme == "unix" else (target.hostname or "", target.port or 514), lines)
    except OSError as error:
        raise NotTaken(f"{type(error).__name__}: {error}") from error


def _datagrams(where: str | tuple[str, int], lines: list[bytes]) -> None:
    family: int = socket.AF_UNIX
    address: Any = where
    if isinstance(where, tuple):
        family, _, _, _, address = socket.getaddrinfo(*where, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, socket.SOCK_DGRAM) as sending:
        sending.settimeout(TIMEOUT)
        for line in lines:
            sending.sendto(line, address)


def _line(message: Message, item: dict[str, Any]) -> bytes:
    severity, _ = _SEVERITIES.get(message.topic, (5, 5))
    time = item.get("time", message.created)
    host = re.sub(r"[^!-~]", "", socket.gethostname())[:255] or "-"
    head = f"<{_AUTH * 8 + severity}>1 {time} {host} authz - {message.topic} - "
    return (head + cef(message, item)).encode()[:MAX_MESSAGE].decode("utf-8", "ignore").encode()


def cef(message: Message, item: dict[str, Any]) -> str:
    """Return what a message tells as ArcSight's Common Event Format."""
    _, severity = _SEVERITIES.get(message.topic, (5, 5))
    title = str(item.get("text") or item.get("reason") or message.text)
    head = ["CEF:0", "authz", "control", "1", _header(message.topic), _header(title[:200]), str(severity)]
    subject = next(iter(item.get("networks", ())), item.get("client", ""))
    values = {
        "externalId": item.get("id", ""),
        "src" if try_parse_address(subject) else "cs4": subject,
        "act": item.get("action", ""),
        "suser": item.get("actor", ""),
        "reason": item.get("reason", ""),
        "cs1": item.get("list", ""),
        "cs2": ",".join(item.get("applications", ())),
        "cs3": item.get("tenant", ""),
        "end": item.get("expires") or "",
        "cs5": message.delivery,
    }
    labels = {"cs1": "list", "cs2": "applications", "cs3": "tenant", "cs4": "network", "cs5": "delivery"}
    said = []
    for name, value in values.items():
        if value:
            said.append(f"{name}={_extension(str(value))}")
            said += [f"{name}Label={labels[name]}"] if name in labels else []
    return "|".join(head) + "|" + " ".join(said)


def _header(text: str) -> str:
    return _UNPRINTABLE.sub(" ", text).replace("\\", "\\\\").replace("|", "\\|")


def _extension(text: str) -> str:
    return _UNPRINTABLE.sub(" ", text).replace("\\", "\\\\").replace("=", "\\=")
