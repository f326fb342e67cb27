"""From the files of `tls` to what OpenSSL serves by, and the names in a client's certificate."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from authz.errors import StartError
from authz.serve.listeners.tls.config import ClientName

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from authz.serve.listeners.tls.config import Tls

# ECDHE with AEAD, as Mozilla's "intermediate" has it. TLS 1.3 has suites of its own.
_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL"


def make_context(tls: Tls, protocols: Sequence[str], where: str) -> ssl.SSLContext:
    """Read the files, and return a context for connections that begin from now on. Blocks.

    TLS 1.2 or newer, no renegotiation, no compression. Sessions are resumed by tickets whose keys are the context's
    own: with new files every client shows its certificate again.

    Args:
        tls: The files.
        protocols: Offered by ALPN (RFC 7301), the preferred first.
        where: The key of authz.yaml, for messages.

    Raises:
        StartError: A file cannot be read, or is not what it should be.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(list(protocols))
    wrong = f"{tls.certificate} and {tls.key}: expected a certificate and its key, as PEM, the key without a password"
    try:
        for path in (tls.certificate, tls.key):
            Path(path).read_bytes()  # whose error names the file
        context.load_cert_chain(tls.certificate, tls.key, password="")
        if tls.client_ca is not None:
            wrong = f"{tls.client_ca}: expected certificates, as PEM"
            Path(tls.client_ca).read_bytes()
            context.load_verify_locations(tls.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (ssl.SSLError, ValueError) as error:
        raise StartError(f"{where}: {wrong}") from error
    except OSError as error:
        raise StartError(f"{where}: {error.filename}: {error.strerror}") from error
    return context


def expiry(tls: Tls) -> float:
    """Return when the certificate expires, in seconds since 1970. Blocks. Raises OSError and ValueError."""
    from cryptography import x509  # noqa: PLC0415  # 7 MB, which nobody without TLS is to pay

    return x509.load_pem_x509_certificate(Path(tls.certificate).read_bytes()).not_valid_after_utc.timestamp()


def names_of(certificate: Mapping[str, Any] | None) -> list[ClientName]:
    """Return the DNS and URI names of a certificate, as `SSLObject.getpeercert` gives it. Its CN counts for nothing."""
    names = (certificate or {}).get("subjectAltName", ())
    return [ClientName.of(kind, name) for kind, name in names if kind in {"DNS", "URI"}]


def may_connect(tls: Tls, certificate: Mapping[str, Any] | None, now: float) -> bool:
    """Return whether a client with this certificate may connect.

    Args:
        tls: Who may.
        certificate: It was verified now or, where the session is resumed, up to two hours ago.
        now: Seconds since 1970.
    """
    end = (certificate or {}).get("notAfter")
    if end is not None and ssl.cert_time_to_seconds(end) < now:
        return False
    if not tls.clients:
        return True
    names = names_of(certificate)
    return any(allowed.covers(name) for allowed in tls.clients for name in names)
