"""Signing, for the publisher: making a key pair, turning a file or a URI into a signer, signing a manifest.

Private keys are PEM (PKCS 8) or live elsewhere, behind one of securesystemslib's URIs (`awskms:`, `gcpkms:`, `hsm:`,
`hashivault:`, ...). The sidecar never imports this module: securesystemslib brings the client of every cloud that is
installed beside it, twice the memory of a sidecar.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from securesystemslib.signer import SIGNER_FOR_URI_SCHEME, CryptoSigner, Signer, SSlibKey

from authz.durable import sync_folder
from authz.errors import InputError
from authz.snapshot.envelope import Envelope, canonical
from authz.snapshot.keys import load_public_key, read_key_file
from authz.snapshot.layout import PAYLOAD_TYPE

if TYPE_CHECKING:
    from collections.abc import Sequence


def sign_envelope(payload: bytes, signers: Sequence[Signer]) -> bytes:
    """Return the envelope of a serialized manifest, in its canonical form, signed by each signer."""
    envelope = Envelope(payload, PAYLOAD_TYPE, {})
    signatures = [signer.sign(envelope.pae()) for signer in signers]
    return canonical(envelope._replace(signatures={one.keyid: bytes.fromhex(one.signature) for one in signatures}))


def generate_keys(folder: Path, name: str) -> tuple[Path, Path]:
    """Write a new ed25519 key pair, `NAME.key` (mode 0600) and `NAME.pub`, and return their paths.

    The folder is made where it is missing. Raises InputError where one of the files exists: a key is never overwritten.
    """
    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    text = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in (private, public):
            if path.exists():
                raise InputError(f"{path}: exists, expected no such file", hint="choose another --name")
        _create(private, secret, 0o600)
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


def load_signer(key: str, public_key: Path | None = None) -> Signer:
    """Return the signer for `key`: a private PEM file, or a URI, which needs the public key too.

    Raises InputError.
    """
    scheme, colon, _ = key.partition(":")
    if colon and scheme in SIGNER_FOR_URI_SCHEME:
        return _signer_from_uri(key, public_key)
    text = read_key_file(Path(key))
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
        return Signer.from_priv_key_uri(uri, SSlibKey.from_crypto(load_public_key(public_key).key))
    except InputError:
        raise
    except Exception as error:  # each cloud's client raises errors of its own
        raise InputError(
            f"--key {scheme}:...: {type(error).__name__}: {error}",
            hint="`pip install authz[kms]` brings the clients of KMS and Vault",
        ) from error
