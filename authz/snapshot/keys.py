"""Keys: generating, loading, and turning a file or a URI into a signer.

Private keys are PEM (PKCS 8) or live elsewhere, behind one of securesystemslib's URIs (`awskms:`, `gcpkms:`, `hsm:`,
`hashivault:`, ...). Public keys are PEM. A sidecar has only public keys.
"""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.signer import SIGNER_FOR_URI_SCHEME, CryptoSigner, Signer, SSlibKey

from authz.durable import sync_folder
from authz.errors import InputError

MAX_KEY_FILE = 64 * 1024  # bytes


def generate_keys(folder: Path, name: str) -> tuple[Path, Path]:
    """Write a new ed25519 key pair, `NAME.key` (mode 0600) and `NAME.pub`, and return their paths.

    The folder is made where it is missing. Raises InputError where one of the files exists: a key is never overwritten.
    """
    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    signer = CryptoSigner.generate_ed25519()
    key = load_pem_private_key(signer.private_bytes, None)
    text = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in (private, public):
            if path.exists():
                raise InputError(f"{path}: exists, expected no such file", hint="choose another --name")
        _create(private, signer.private_bytes, 0o600)
        _create(public, text, 0o644)
        sync_folder(folder)
    except OSError as error:
        raise InputError(f"{folder}: cannot write the keys: {error.strerror}") from error
    return private, public


def _create(path: Path, content: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        os.fsync(file.fileno())


def load_public_key(path: Path) -> SSlibKey:
    """Return the public key in the PEM file at `path`. Raises InputError."""
    text = _read(path)
    if b"PRIVATE KEY" in text:
        raise InputError(
            f"{path}: found a private key, expected a public key",
            hint="give the .pub file, and keep the .key file away from the sidecar",
        )
    try:
        return SSlibKey.from_crypto(load_pem_public_key(text))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(
            f"{path}: found no public key in PEM form that can be used, expected one",
            hint="`authz keys generate DIR --name NAME` makes a pair",
        ) from error


def load_signer(key: str, public_key: Path | None = None) -> Signer:
    """Return the signer for `key`: a private PEM file, or a URI, which needs the public key too.

    Raises InputError.
    """
    scheme, colon, _ = key.partition(":")
    if colon and scheme in SIGNER_FOR_URI_SCHEME:
        return _signer_from_uri(key, public_key)
    text = _read(Path(key))
    if b"PUBLIC KEY" in text:
        raise InputError(f"{key}: found a public key, expected a private key", hint="give the .key file")
    try:
        return CryptoSigner(load_pem_private_key(text, None))
    except TypeError as error:
        raise InputError(f"{key}: found a private key with a passphrase, expected one without") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(
            f"{key}: found no private key in PEM form that can be used, expected one",
            hint="`authz keys generate DIR --name NAME` makes a pair",
        ) from error


def _signer_from_uri(uri: str, public_key: Path | None) -> Signer:
    scheme = uri.partition(":")[0]
    if public_key is None:
        raise InputError(f"--key {scheme}:...: no --public-key, expected the PEM file of the key's public half")
    try:
        return Signer.from_priv_key_uri(uri, load_public_key(public_key))
    except InputError:
        raise
    except Exception as error:  # each cloud's client raises errors of its own
        raise InputError(
            f"--key {scheme}:...: {type(error).__name__}: {error}",
            hint="`pip install authz[publish]` brings the clients of KMS and Vault",
        ) from error


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_KEY_FILE + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    if len(text) > MAX_KEY_FILE:
        raise InputError(f"{path}: found more than {MAX_KEY_FILE} bytes, expected a PEM file")
    return text
