"""`tls` of a front: the files, and which clients may connect."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import msgspec

from authz.addresses import try_parse_address
from authz.errors import BadValue
from authz.strict_yaml.fields import Scalar
from authz.strict_yaml.scalars import Duration  # noqa: TC001  # msgspec reads annotations when it runs

if TYPE_CHECKING:
    from collections.abc import Callable

    from authz.strict_yaml.document import Document

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
    elif _DNS.fullmatch(text.lower()) and try_parse_address(text) is None:
        return ClientName.of("DNS", text)
    is_address = try_parse_address(text) is not None
    raise BadValue(text, hint="addresses in a certificate are not compared: give it a name" if is_address else "")


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
    clients: tuple[ClientNamed, ...] | None = None  # and one of these names (SAN) in it; None: any certificate will do
    handshake_timeout: Duration = 10.0  # a connection whose handshake takes longer is closed

    def at(self, place: Callable[[str], str]) -> Tls:
        """Return it with its files at another place."""
        return msgspec.structs.replace(self, **{key: place(name) for key, name in self.files().items()})

    def files(self) -> dict[str, str]:
        """Return the files by their keys."""
        keys = ("certificate", "key", "client_ca", "client_crl")
        return {key: name for key in keys if (name := getattr(self, key)) is not None}


def check_tls(document: Document[Any], where: str, tls: Tls) -> None:
    """Note the mistakes that lie between the keys of `tls`.

    Args:
        document: Has them.
        where: The key of `tls`.
        tls: What was read there.
    """
    if tls.clients == () and not document.spoiled(tls):
        text = "found an empty list, expected names, or no such key where any certificate of client_ca will do"
        document.mistake(f"{where}.clients", text)
    for key in ("client_crl", "clients") if tls.client_ca is None else ():
        if getattr(tls, key):
            document.mistake(f"{where}.{key}", "found without client_ca, expected the authority that signed them")
