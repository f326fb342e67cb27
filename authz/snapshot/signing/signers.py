"""Signing, for the publisher: making a key pair, turning a file or a URI into a signer, signing a manifest.

Private keys are PEM (PKCS 8) or live elsewhere, behind one of securesystemslib's URIs (`awskms:`, `gcpkms:`, `hsm:`,
`hashivault:`, ...). A file needs `cryptography` alone; a URI needs securesystemslib, which brings the client of every
cloud that is installed beside it, a second of time and twice the memory of a sidecar, so it is imported only then.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from authz.durable import sync_folder
from authz.errors import BadValue, InputError
from authz.snapshot.signing.envelope import Signature
from authz.snapshot.signing.keys import PublicKey, load_public_key, read_key_file

if TYPE_CHECKING:
    from authz.snapshot.signing.envelope import SignatureLike, Signer


class FileSigner:
    """Signs with a private key in memory.

    Attributes:
        public: Its public half.
    """

    def __init__(self, key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey | RSAPrivateKey) -> None:
        """Take a key. Raises BadValue for a curve that nobody signs with here."""
        self.public = PublicKey(key.public_key())
        self._key: Any = key
        self._how: tuple[Any, ...] = self.public.how
        if isinstance(key, RSAPrivateKey):  # as long as the digest, as RFC 8017 (9.1) proposes
            self._how = padding.PSS(padding.MGF1(SHA256()), padding.PSS.DIGEST_LENGTH), SHA256()

    def sign(self, payload: bytes) -> Signature:
        """Return the signature of some bytes."""
        return Signature(self.public.keyid, self._key.sign(payload, *self._how).hex())


class CheckedSigner:
    """Signs by a key that is elsewhere, and looks at each signature: nobody would take a file with a wrong one."""

    def __init__(self, signer: Signer, public: PublicKey, name: str) -> None:
        self.public = public
        self._signer = signer
        self._name = name

    def sign(self, payload: bytes) -> SignatureLike:
        """Return the signature of some bytes. Raises InputError if there is none, or another key made it."""
        try:
            made = self._signer.sign(payload)
        except Exception as error:  # each cloud's client raises errors of its own
            raise InputError(f"{self._name}: {type(error).__name__}: {error}") from error
        if not self.public.verifies(bytes.fromhex(made.signature), payload):
            raise InputError(
                f"{self._name}: found a signature that does not match --public-key {self.public.keyid[:16]}",
                hint="is that the public half of this key?",
            )
        return made


LoadedSigner = FileSigner | CheckedSigner  # each says its `public` half


def generate_keys(folder: Path, name: str) -> tuple[Path, Path]:
    """Write a new ed25519 key pair, `NAME.key` (mode 0600) and `NAME.pub`, and return their paths.

    Args:
        folder: Made if it is missing.
        name: Of the files, without their ending.

    Raises:
        InputError: One of the files exists, or cannot be written. A key is never overwritten.
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


def load_signer(key: str, public_key: Path | None = None) -> LoadedSigner:
    """Return the signer of a key.

    Args:
        key: A private PEM file, or a URI of securesystemslib.
        public_key: The public half, which a URI needs.

    Raises:
        InputError: The key cannot be read, or the library that the URI needs is not installed.
    """
    if ":" in key and not Path(key).exists() and _is_uri(key):
        return _signer_from_uri(key, public_key)
    text = read_key_file(Path(key))
    if b"PUBLIC KEY" in text:
        raise InputError(f"{key}: found a public key, expected a private key", hint="give the .key file")
    try:
        private = load_pem_private_key(text, None)
        if not isinstance(private, Ed25519PrivateKey | ec.EllipticCurvePrivateKey | RSAPrivateKey):
            raise UnsupportedAlgorithm(type(private).__name__)
        return FileSigner(private)
    except TypeError as error:
        raise InputError(f"{key}: found a private key with a passphrase, expected one without") from error
    except (BadValue, ValueError, UnsupportedAlgorithm) as error:
        raise InputError(
            f"{key}: found no private key in PEM form that can be used, expected one",
            hint="`authz keys generate DIR --name NAME` makes a pair",
        ) from error


def _is_uri(key: str) -> bool:
    from securesystemslib.signer import SIGNER_FOR_URI_SCHEME  # noqa: PLC0415  # see above

    return key.partition(":")[0] in SIGNER_FOR_URI_SCHEME


def _signer_from_uri(uri: str, public_key: Path | None) -> LoadedSigner:
    from securesystemslib import signer as lib  # noqa: PLC0415  # see above

    scheme = uri.partition(":")[0]
    if public_key is None:
        raise InputError(f"--key {scheme}:...: no --public-key, expected the PEM file of the key's public half")
    public = load_public_key(public_key)
    try:
        signer = lib.Signer.from_priv_key_uri(uri, lib.SSlibKey.from_crypto(public.key))
    except Exception as error:  # each cloud's client raises errors of its own
        raise InputError(
            f"--key {scheme}:...: {type(error).__name__}: {error}",
            hint="`pip install authz[kms]` brings the clients of KMS and Vault",
        ) from error
    return CheckedSigner(signer, public, f"--key {scheme}:...")
