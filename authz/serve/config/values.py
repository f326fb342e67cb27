"""The types of values in a configuration: how each is written, and what is expected."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec

from authz.addresses import Network, parse_networks, try_parse_address
from authz.errors import BadValue
from authz.strict_yaml.fields import Scalar

_HOST_NAME = re.compile(r"[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_])?")
_HEADER = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


class Listen(msgspec.Struct, frozen=True):
    """Where to listen: a TCP address, a unix socket, or (both None) nowhere.

    Attributes:
        host: The address; None: not on TCP.
        port: 0: the system chooses.
        path: Of the unix socket; None: not on one.
    """

    host: str | None = None
    port: int = 0
    path: Path | None = None

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix://{self.path}"
        if self.host is None:
            return "off"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _listen(text: str) -> Listen:
    if text == "off":
        return Listen()
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        path = path.removeprefix("//") if path.startswith("//") else path
        if not path or "\0" in path or len(path.encode()) > 100:
            raise BadValue(text, hint="a unix socket's path has 1 to 100 bytes")
        return Listen(path=Path(path))
    host, _, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    address = try_parse_address(host[1:-1] if bracketed else host)
    if address is None or bracketed != (":" in host):  # ::1:80 could be an address without a port
        raise BadValue(text, hint=_listen_hint(text))
    if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise BadValue(text, hint="a port is at most 65535" if port.isdigit() else "")
    return Listen(host=address.text, port=int(port))


def _listen_hint(text: str) -> str:
    """Return what to write instead of a host that is not an address; "" if nobody can guess."""
    host, _, port = text.rpartition(":")
    if not port.isdigit() or (not host and ":" not in text):
        return ""
    if host in {"", "*"}:
        return f"0.0.0.0:{port} is every IPv4 address of this machine, 127.0.0.1:{port} this machine alone"
    if host.startswith(("tcp://", "http://", "https://", "grpc://")):
        return "without a scheme"
    if try_parse_address(host) is not None:
        return f"an IPv6 address stands in brackets: [{host}]:{port}"
    return f"an address, not a name: 127.0.0.1:{port}" if host == "localhost" else ""


def _header(text: str) -> str:
    if not _HEADER.fullmatch(text.lower()):
        raise BadValue(text)
    return text.lower()


def _host(text: str) -> str:
    if not _HOST_NAME.fullmatch(text.lower()):
        raise BadValue(text)
    return text.lower()


def _trusted(text: str) -> tuple[Network, ...]:
    return tuple(parse_networks(text))


def _mode(text: str) -> int:
    if not re.fullmatch(r"0?[0-7]{3}", text):
        raise BadValue(text)
    return int(text, 8)


def _workers(text: str) -> int:
    if text == "auto":
        return 0
    if not re.fullmatch(r"[1-9][0-9]?", text) or int(text) > MAX_WORKERS:
        raise BadValue(text)
    return int(text)


def _web_url(text: str) -> str:
    parts = urlsplit(text)
    try:
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        good = False
    good = good and parts.path not in {"", "/"}
    if not good or not text.isascii() or not text.isprintable() or " " in text or parts.username or parts.fragment:
        raise BadValue(text)
    return text


MAX_WORKERS = 64
LISTEN_EXPECTED = "ADDRESS:PORT such as 127.0.0.1:9191 or [::1]:9191, unix:///PATH, or off"
ListenOn = Annotated[Listen, Scalar(_listen, LISTEN_EXPECTED)]
HostName = Annotated[str, Scalar(_host, "the name of a host such as authz.example.com, without a port")]
Workers = Annotated[int, Scalar(_workers, f"auto, or a number from 1 to {MAX_WORKERS}")]
EventsUrl = Annotated[str, Scalar(_web_url, "https://HOST/v1/events")]
TracesUrl = Annotated[str, Scalar(_web_url, "http://COLLECTOR:4318/v1/traces")]
HeaderName = Annotated[str, Scalar(_header, "the name of a header")]
Trusted = Annotated[tuple[Network, ...], Scalar(_trusted, "an address, a network or a range")]
Rights = Annotated[int, Scalar(_mode, "rights in octal such as 660")]
