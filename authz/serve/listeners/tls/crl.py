"""Revocation lists (RFC 5280, section 5), read from a PEM file, and what makes one useless.

OpenSSL refuses every client of an authority that has no list, or whose list has expired. A file that would have it do
so is refused here, where the message says why, and the lists of before stay in use.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from authz.errors import StartError
from authz.times import format_moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Bytes. For each certificate of a chain OpenSSL hashes the list of its issuer, before it knows whether the client has
# its certificate of that issuer at all: a larger list would have strangers cost the event loop milliseconds, and so
# would reading it cost, in whatever thread.
MAX_FILE: Final = 1 << 19
_BEGIN, _END = b"-----BEGIN X509 CRL-----", b"-----END X509 CRL-----"
_CERTIFICATE: Final = re.compile(rb"-----BEGIN [A-Z0-9 ]*CERTIFICATE-----")

Lists = dict[x509.Certificate, list[x509.CertificateRevocationList]]


def read_lists(path: str, where: str) -> tuple[bytes, tuple[x509.CertificateRevocationList, ...]]:
    """Return the file, and the lists in it. Blocks.

    Args:
        path: Of the file.
        where: The key of the configuration, for messages.

    Raises:
        StartError: It cannot be read, or is not what it should be.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise StartError(f"{where}: {path}: {error.strerror}") from error
    if len(data) > MAX_FILE:
        raise StartError(f"{where}: {path}: found more than {MAX_FILE} bytes, expected at most that")
    if _CERTIFICATE.search(data):  # OpenSSL would trust it
        raise StartError(f"{where}: {path}: found a certificate, expected revocation lists and nothing else")
    texts = [_BEGIN + part.partition(_END)[0] + _END for part in data.split(_BEGIN)[1:]]
    if not texts:
        raise StartError(f"{where}: {path}: found no revocation list, expected one or more, as PEM (BEGIN X509 CRL)")
    try:
        lists = tuple(map(x509.load_pem_x509_crl, texts))
        partial = any(_is_delta(crl) for crl in lists)
    except ValueError as error:
        raise StartError(f"{where}: {path}: expected revocation lists, as PEM") from error
    if partial:
        raise StartError(f"{where}: {path}: found a list of changes (delta CRL), expected a whole one")
    return data, lists


def _is_delta(crl: x509.CertificateRevocationList) -> bool:
    return any(isinstance(extension.value, x509.DeltaCRLIndicator) for extension in crl.extensions)


def by_authority(
    lists: Sequence[x509.CertificateRevocationList], authorities: Iterable[x509.Certificate], now: float, where: str
) -> Lists:
    """Return the lists of each authority.

    Args:
        lists: Those of authorities that we do not know, which clients may send, are left out.
        authorities: Each must have crl, unless it has expired.
        now: Seconds since 1970.
        where: The key of the configuration and the file, for messages.

    Raises:
        StartError: An authority has no list that is valid now.
    """
    for crl in lists:
        if crl.last_update_utc.timestamp() > now:
            raise StartError(f"{where}: found the list of {_name(crl.issuer)} of {format_moment(_begin(crl))}, "
                             "expected one of the past")  # fmt: skip
        if expiry_of([crl]) <= now:
            raise StartError(f"{where}: found the list of {_name(crl.issuer)} that expired at "
                             f"{format_moment(int(expiry_of([crl])))}, expected one that is valid")  # fmt: skip
    known: Lists = {}
    for authority in authorities:
        if authority.not_valid_after_utc.timestamp() <= now:
            continue  # nobody gets in by it
        if not _may_sign(authority):
            raise StartError(f"{where}: {_name(authority.subject)} may sign no list by its certificate (keyUsage)")
        known[authority] = [crl for crl in lists if crl.issuer == authority.subject and _signed(crl, authority)]
        if not known[authority]:
            raise StartError(f"{where}: found no list that {_name(authority.subject)} signed, expected one of each "
                             "authority in client_ca")  # fmt: skip
    return known


def expiry_of(lists: Iterable[x509.CertificateRevocationList]) -> float:
    """Return when the first of them expires, in seconds since 1970; infinity: none does."""
    ends = (crl.next_update_utc for crl in lists)
    return min((end.timestamp() for end in ends if end is not None), default=math.inf)


def _begin(crl: x509.CertificateRevocationList) -> int:
    return int(crl.last_update_utc.timestamp())


def _may_sign(authority: x509.Certificate) -> bool:
    try:
        return authority.extensions.get_extension_for_class(x509.KeyUsage).value.crl_sign
    except (x509.ExtensionNotFound, ValueError):
        return True


def _signed(crl: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    try:
        return crl.is_signature_valid(authority.public_key())  # type: ignore[arg-type]  # else it raises TypeError
    except (TypeError, ValueError, UnsupportedAlgorithm):
        return False


def _name(name: x509.Name) -> str:
    return f"'{name.rfc4514_string()[:100]}'"
