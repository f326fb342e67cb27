"""Public keys, and the check of a signature, with `cryptography` alone: all that a sidecar needs.

A public key is a PEM file of ed25519, ECDSA (P-256, P-384, P-521) or RSA: what files and KMS signers have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from authz.errors import BadValue, InputError
from authz.snapshot.signing.key_id import key_id

if TYPE_CHECKING:
    from pathlib import Path

MAX_KEY_FILE: Final = 64 * 1024  # bytes
_CURVES: Final[dict[str, tuple[str, SHA256 | SHA384 | SHA512]]] = {
    "secp256r1": ("ecdsa-sha2-nistp256", SHA256()),
    "secp384r1": ("ecdsa-sha2-nistp384", SHA384()),
    "secp521r1": ("ecdsa-sha2-nistp521", SHA512()),
}


class PublicKey:
    """A public key that snapshots may be signed by.

    Attributes:
        key: As `cryptography` has it.
        keyid: 64 hexadecimal digits, in every envelope that the key signed.
        keytype: `ed25519`, `ecdsa` or `rsa`.
        scheme: How it signs, such as `rsassa-pss-sha256`.
        how: What `verify` of the key takes behind signature and data, which differs by the kind.
    """

    def __init__(self, key: Ed25519PublicKey | ec.EllipticCurvePublicKey | RSAPublicKey) -> None:
        """Take a key. Raises BadValue for a curve that nobody signs with here."""
        self.key = key
        self.how: tuple[Any, ...] = ()
        if isinstance(key, Ed25519PublicKey):
            self.keytype = self.scheme = "ed25519"
            public = key.public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
        else:
            public = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        if isinstance(key, RSAPublicKey):
            self.keytype, self.scheme = "rsa", "rsassa-pss-sha256"
            self.how = padding.PSS(padding.MGF1(SHA256()), padding.PSS.AUTO), SHA256()
        elif isinstance(key, ec.EllipticCurvePublicKey):
            if key.curve.name not in _CURVES:
                raise BadValue(key.curve.name, f"a curve of {', '.join(_CURVES)}")
            self.keytype = "ecdsa"
            self.scheme, digest = _CURVES[key.curve.name]
            self.how = (ec.ECDSA(digest),)
        self.keyid = key_id(self.keytype, public, self.scheme)

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Return whether this key made the signature of `data`."""
        try:
            self.key.verify(signature, data, *self.how)
        except InvalidSignature:
            return False
        return True


def load_public_key(path: Path) -> PublicKey:
    """Return the public key in a PEM file.

    Args:
        path: The file.

    Raises:
        InputError: The file cannot be read, or has no public key of a kind that is taken.
    """
    text = read_key_file(path)
    if b"PRIVATE KEY" in text:
        raise InputError(
            f"{path}: found a private key, expected a public key",
            hint="give the .pub file, and keep the .key file away from the sidecar",
        )
    try:
        key = load_pem_public_key(text)
        if not isinstance(key, Ed25519PublicKey | ec.EllipticCurvePublicKey | RSAPublicKey):
            raise UnsupportedAlgorithm(type(key).__name__)
        return PublicKey(key)
    except (BadValue, ValueError, UnsupportedAlgorithm) as error:
        raise InputError(
            f"{path}: found no public key in PEM form that can be used, expected one",
            hint="`authz keys generate DIR --name NAME` makes a pair",
        ) from error


def read_key_file(path: Path) -> bytes:
    """Return the bytes of a key file, at most `MAX_KEY_FILE`. Raises InputError."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_KEY_FILE + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    if len(text) > MAX_KEY_FILE:
        raise InputError(f"{path}: found more than {MAX_KEY_FILE} bytes, expected a PEM file")
    return text
