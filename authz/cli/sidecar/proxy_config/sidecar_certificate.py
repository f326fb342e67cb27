"""How a proxy recognises the sidecar over TLS: by the CA that signs its certificates and a name, or by the certificate.

A certificate that is trusted by itself is one that no other can pose as; but once the sidecar has a new one, the proxy
takes it for a stranger. So `print-config --ca` names the CA. Others may have certificates of that CA, so a name of the
sidecar's certificate is compared then.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509

from authz.cli.sidecar.proxy_config.notes import WARNING
from authz.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from authz.serve.listeners.tls.config import Tls


class Name(NamedTuple):
    """A name in a certificate.

    Attributes:
        kind: As Envoy's SanType calls it.
        text: The name.

    """

    kind: str
    text: str


def names_of(certificate: str) -> list[Name]:
    """Return the names of a certificate (RFC 5280, section 4.2.1.6); none where it cannot be read."""
    read = _read(certificate)
    if read is None:
        return []
    try:
        names = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    return [
        *(Name("DNS", name) for name in names.get_values_for_type(x509.DNSName)),
        *(Name("URI", name) for name in names.get_values_for_type(x509.UniformResourceIdentifier)),
        *(Name("IP_ADDRESS", str(name)) for name in names.get_values_for_type(x509.IPAddress)),
    ]


def check_ca(ca: str, tls: Tls | None, key: str, *, by_host: bool) -> None:
    """Check that a proxy can recognise the sidecar by a CA.

    Args:
        ca: The file.
        tls: Of the listener.
        key: Of the configuration, for messages.
        by_host: The proxy compares host names alone.

    Raises:
        InputError: It cannot.
    """
    if tls is None:
        raise InputError(f"--ca: found without {key}, expected it with TLS")
    try:
        x509.load_pem_x509_certificates(Path(ca).read_bytes())
    except OSError as error:
        raise InputError(f"--ca: {ca}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"--ca: {ca}: found no certificate, expected one in PEM") from error
    if not [name for name in names_of(tls.certificate) if name.kind == "DNS" or not by_host]:
        expected = "a host name" if by_host else "a host name, a URI or an address"
        raise InputError(
            f"--ca: {tls.certificate}: found no name in it that the proxy compares, expected {expected} (SAN)",
            hint="without one, whoever has a certificate of that CA could answer in the place of the sidecar",
        )


def about_certificate(proxy: str, tls: Tls | None, ca: str | None) -> Iterator[str]:
    """Say what happens once the sidecar has another certificate."""
    if tls is None or ca is not None:
        return
    read = _read(tls.certificate)
    of_a_ca = read is not None and read.issuer != read.subject
    yield (
        f"{WARNING if of_a_ca else 'NOTE: '}this {proxy} trusts the present certificate of the sidecar and no other: "
        "once the sidecar has a new one, no request is decided. Print this again with --ca FILE, the CA that signs the "
        "certificates of the sidecar, or change both at the same time."
    )


def _read(certificate: str) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate(Path(certificate).read_bytes())
    except (OSError, ValueError):
        return None
