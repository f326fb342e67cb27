"""Which clients may connect: by the names in their certificates, authorities, and revocation lists.

A handshake is OpenSSL's to judge, all but the names. Connections that are open when one of these changes are judged
again here, by the certificate that the client showed: by way of authorities of `client_ca` it must lead to one that
signed itself, as in a handshake, and no list may name it or one of them. What only the client sent on the way we do not
have any more: such a connection ends, and the next handshake judges.
"""

from __future__ import annotations

import math
import re
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from authz.errors import StartError
from authz.serve.listeners.tls.config import ClientName
from authz.serve.listeners.tls.crl import by_authority, expiry_of, read_lists

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from authz.serve.listeners.tls.config import Tls
    from authz.serve.listeners.tls.crl import Lists

_CERTIFICATE: Final = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_ANY_CERTIFICATE: Final = re.compile(rb"-----BEGIN [A-Z0-9 ]*CERTIFICATE-----")
_STEPS: Final = 4  # authorities between a client and one that signed itself, at most


class Clients:
    """Who may connect. Nothing of it changes.

    Args:
        names: One of them must be in a certificate; None: any will do.
        authorities: Of `client_ca`; None: no certificate is asked for.
        lists: Of each of them.
        source: What all this was read from.

    Attributes:
        source: As above: where it is the same, the same clients may connect.
        lists_expire: When the first of the lists expires, in seconds since 1970; None: there are none.
    """

    def __init__(
        self,
        names: tuple[ClientName, ...] | None = None,
        authorities: tuple[x509.Certificate, ...] | None = None,
        lists: Lists | None = None,
        source: object = None,
    ) -> None:
        self._names = names
        self._authorities = authorities
        self._lists = lists or {}
        self.source = source
        self.lists_expire: float | None = None

    def may_connect(self, certificate: Mapping[str, Any] | None, now: float) -> bool:
        """Return whether a client whose certificate was verified may connect.

        Args:
            certificate: As `SSLObject.getpeercert` gives it. It was verified now or, where the session is resumed, up
                to two hours ago.
            now: Seconds since 1970.
        """
        if valid_until(certificate) < now:
            return False
        if self._names is None:
            return True
        names = names_of(certificate)
        return any(allowed.covers(name) for allowed in self._names for name in names)

    def may_stay(self, certificate: Mapping[str, Any] | None, der: bytes | None, now: float) -> bool:
        """Return whether a client whose certificate was verified by other rules may connect by these.

        Takes some tenths of a millisecond.

        Args:
            certificate: As for `may_connect`.
            der: The same as the client sent it; None: it sent none.
            now: Seconds since 1970.
        """
        if self._authorities is None:
            return True
        if der is None or not self.may_connect(certificate, now):
            return False
        try:
            return self._leads_to_a_root(x509.load_der_x509_certificate(der), now, _STEPS)
        except ValueError:
            return False

    def _leads_to_a_root(self, certificate: x509.Certificate, now: float, steps: int) -> bool:
        return any(
            _issued(issuer, certificate)
            and not self._is_revoked(certificate, issuer)
            and (issuer.issuer == issuer.subject or (steps > 0 and self._leads_to_a_root(issuer, now, steps - 1)))
            for issuer in self._authorities or ()
            if issuer.subject == certificate.issuer and _is_valid(issuer, now)
        )

    def _is_revoked(self, certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
        lists, number = self._lists.get(issuer, ()), certificate.serial_number
        return any(crl.get_revoked_certificate_by_serial_number(number) is not None for crl in lists)


def read_clients(tls: Tls, where: str, now: float) -> Clients:
    """Read the files. Blocks.

    Args:
        tls: Names them.
        where: The key of the configuration, for messages.
        now: Seconds since 1970.

    Raises:
        StartError: One cannot be read, nobody can connect by `client_ca`, or the revocation lists cannot be used.
    """
    if tls.client_ca is None:
        return Clients()
    try:
        text = Path(tls.client_ca).read_bytes()
    except OSError as error:
        raise StartError(f"{where}: {tls.client_ca}: {error.strerror}") from error
    authorities = tuple(_certificates(text))
    known = len(authorities) == len(_ANY_CERTIFICATE.findall(text))  # else OpenSSL may take one that we cannot read
    if authorities and known and not any(map(_signed_itself, authorities)):
        kind = "an authority that another one signed" if any(map(_may_issue, authorities)) else "no authority"
        raise StartError(f"{where}: {tls.client_ca}: found {kind}, expected one that signed itself (a root): nobody "
                         "can connect without it")  # fmt: skip
    if tls.client_crl is None:
        return Clients(tls.clients, authorities, source=(tls.clients, text))
    data, lists = read_lists(tls.client_crl, where)
    try:
        by_issuer = by_authority(lists, authorities, now, f"{where}: {tls.client_crl}")
    except ValueError as error:  # a name or a time that cannot be read
        raise StartError(f"{where}: {tls.client_crl}: {error}") from error
    clients = Clients(tls.clients, authorities, by_issuer, (tls.clients, text, data))
    clients.lists_expire = expiry_of(lists)
    return clients


def _certificates(text: bytes) -> Iterator[x509.Certificate]:
    """Yield the certificates in a PEM file, but for those that only OpenSSL can read: no connection stays by them."""
    for block in _CERTIFICATE.findall(text):
        try:
            certificate = x509.load_pem_x509_certificate(block)
            certificate.subject, certificate.issuer  # noqa: B018  # read when they are wanted first
        except ValueError:
            continue
        yield certificate


def _signed_itself(certificate: x509.Certificate) -> bool:
    """Return whether a certificate is a root. Where its signature cannot be checked, its names decide."""
    if certificate.issuer != certificate.subject:
        return False
    try:
        certificate.verify_directly_issued_by(certificate)
    except InvalidSignature:
        return False
    except (TypeError, ValueError, UnsupportedAlgorithm):
        return True
    return True


def _may_issue(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False


def _is_valid(certificate: x509.Certificate, now: float) -> bool:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return begin.timestamp() <= now <= end.timestamp()


def _issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, TypeError, ValueError, UnsupportedAlgorithm):
        return False
    return True


def valid_until(certificate: Mapping[str, Any] | None) -> float:
    """Return when a certificate, as `SSLObject.getpeercert` gives it, expires: seconds since 1970; infinity: never."""
    end = (certificate or {}).get("notAfter")
    return math.inf if end is None else ssl.cert_time_to_seconds(end)


def names_of(certificate: Mapping[str, Any] | None) -> list[ClientName]:
    """Return the DNS and URI names of a certificate, as `SSLObject.getpeercert` gives it. Its CN counts for nothing."""
    names = (certificate or {}).get("subjectAltName", ())
    return [ClientName.of(kind, name) for kind, name in names if kind in {"DNS", "URI"}]
