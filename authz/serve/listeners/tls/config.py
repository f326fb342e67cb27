"""`tls` of a front: the files, and which clients may connect."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import msgspec

from authz.errors import BadValue
from authz.strict_yaml.fields import Scalar
from authz.strict_yaml.scalars import Duration  # noqa: TC001  # msgspec reads annotations when it runs

if TYPE_CHECKING:
    from collections.abc import Callable

_DNS: Final = re.compile(r"(\*\.)?([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_URI: Final = re.compile(r"[a-z][a-z0-9+.-]*://[!-~]+")


class ClientName(NamedTuple):
    """A name that a client's certificate may have.

    Attributes:
        kind: DNS or URI.
        parts: Of it, `*` stands for any one part.
    """

    kind: str
    parts: tuple[str, ...]

    @classmethod
    def of(cls, kind: str, name: str) -> ClientName:
        """Return the name in its parts: labels of a host name, segments of a URI."""
        return cls(kind, tuple(name.lower().split(".") if kind == "DNS" else name.split("/")))

    def covers(self, other: ClientName) -> bool:
        """Return whether this name, as configured, stands for the other, as in a certificate."""
        return (self.kind, len(self.parts)) == (other.kind, len(other.parts)) and all(
            part == label or (part == "*" and label != "") for part, label in zip(self.parts, other.parts, strict=True)
        )

    def __str__(self) -> str:
        return (".", "/")[self.kind == "URI"].join(self.parts)


def _client_name(text: str) -> ClientName:
    if _URI.fullmatch(text):
        name = ClientName.of("URI", text)
        if not any("*" in part and part != "*" for part in name.parts) and "*" not in name.parts[:3]:
            return name
    elif _DNS.fullmatch(text.lower()):
        return ClientName.of("DNS", text)
    raise BadValue(text)


CLIENT_EXPECTED: Final = (
    "a name in the client's certificate: envoy.example.com, *.example.com, or spiffe://example.com/ns/*/sa/envoy"
)
ClientNamed = Annotated[ClientName, Scalar(_client_name, CLIENT_EXPECTED)]


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """`tls` of a listener: PEM files, read again when they change."""

    certificate: str  # with the chain behind it
    key: str
    client_ca: str | None = None  # clients must show a certificate of it
    client_crl: str | None = None  # revocation lists: one of each authority in client_ca
    clients: tuple[ClientNamed, ...] = ()  # and one of these names (SAN) in it; none: any certificate of client_ca
    handshake_timeout: Duration = 10.0  # a connection whose handshake takes longer is closed

    def at(self, place: Callable[[str], str]) -> Tls:
        """Return it with its files at another place."""
        return msgspec.structs.replace(self, **{key: place(name) for key, name in self.files().items()})

    def without_authority(self) -> tuple[str, ...]:
        """Return the keys that say something of clients although no authority signs their certificates."""
        return tuple(key for key in ("client_crl", "clients") if self.client_ca is None and getattr(self, key))

    def files(self) -> dict[str, str]:
        """Return the files by their keys."""
        keys = ("certificate", "key", "client_ca", "client_crl")
        return {key: name for key in keys if (name := getattr(self, key)) is not None}
