"""From the files of `tls` to what OpenSSL serves by."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Final

from authz.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from authz.serve.listeners.tls.config import Tls

_CERTIFICATE: Final = b"-----BEGIN CERTIFICATE"  # of a PEM file
_PRIVATE_KEY: Final = b"PRIVATE KEY-----"
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
    try:
        _load_certificate(context, tls, where)
        if tls.client_ca is not None:
            _load_authority(context, tls.client_ca, where)
        if tls.client_crl is not None:
            _load_lists(context, tls.client_crl, where)
    except OSError as error:
        raise StartError(f"{where}: {error.filename}: {error.strerror}") from error
    return context


def _load_certificate(context: ssl.SSLContext, tls: Tls, where: str) -> None:
    certificate, key = (Path(path).read_bytes() for path in (tls.certificate, tls.key))  # an error names the file
    try:
        context.load_cert_chain(tls.certificate, tls.key, password="")
    except (ssl.SSLError, ValueError) as error:
        raise StartError(f"{where}: {_why_refused(tls, certificate, key, error)}") from error


def _load_authority(context: ssl.SSLContext, path: str, where: str) -> None:
    _load(context, path, where, expected="certificates")
    context.verify_mode = ssl.CERT_REQUIRED


def _load_lists(context: ssl.SSLContext, path: str, where: str) -> None:
    """Have clients refused by revocation lists: each authority on the way to a root needs one, and so does the root."""
    _load(context, path, where, expected="revocation lists")
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN


def _load(context: ssl.SSLContext, path: str, where: str, *, expected: str) -> None:
    Path(path).read_bytes()  # an error names the file
    try:
        context.load_verify_locations(path)
    except (ssl.SSLError, ValueError) as error:
        raise StartError(f"{where}: {path}: expected {expected}, as PEM") from error


def _why_refused(tls: Tls, certificate: bytes, key: bytes, error: Exception) -> str:
    """Return which of two files OpenSSL does not take, and why."""
    if _CERTIFICATE not in certificate:
        given = "a private key" if _PRIVATE_KEY in certificate else "no certificate"
        return f"{tls.certificate}: found {given}, expected a certificate, as PEM"
    if _PRIVATE_KEY not in key:
        given = "a certificate" if _CERTIFICATE in key else "no key"
        return f"{tls.key}: found {given}, expected a private key, as PEM"
    if b"ENCRYPTED" in key:
        return f"{tls.key}: found a key with a password, expected one without"
    if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
        return f"{tls.key}: found another key, expected that of the certificate {tls.certificate}"
    return f"{tls.certificate} and {tls.key}: expected a certificate and its key, as PEM"
