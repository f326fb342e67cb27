"""The key of `authz keys generate`, an ed25519 key in a file, read in a tenth of the time that `load_signer` takes.

`cryptography` loads its code for all kinds of keys to read a PEM file of any. RFC 8410, section 7: what stands in one
of an ed25519 key is always the same 16 bytes, and the key. Even its module of ed25519 alone loads three times as long
as what does the work, so that is taken where this version of `cryptography` has it.
"""

from __future__ import annotations

import binascii
from pathlib import Path
from typing import TYPE_CHECKING, Final

from authz.snapshot.signing.envelope import Signature, Signer
from authz.snapshot.signing.key_id import key_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_BEGIN, _END = b"-----BEGIN PRIVATE KEY-----\n", b"\n-----END PRIVATE KEY-----\n"
_ED25519: Final = bytes.fromhex("302e020100300506032b657004220420")
_MAX: Final = 256  # bytes of such a file


class _Ed25519Signer:
    def __init__(self, secret: bytes) -> None:
        self._key = _maker()(secret)
        self._keyid = key_id("ed25519", self._key.public_key().public_bytes_raw().hex(), "ed25519")

    def sign(self, payload: bytes) -> Signature:
        return Signature(self._keyid, self._key.sign(payload).hex())


def _maker() -> Callable[[bytes], Ed25519PrivateKey]:
    try:
        from cryptography.hazmat.bindings._rust import openssl  # noqa: PLC0415  # not public: it may go

        make = openssl.ed25519.from_private_bytes
    except (ImportError, AttributeError):
        from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415  # takes longer to load, and is seldom needed
            Ed25519PrivateKey,
        )

        return Ed25519PrivateKey.from_private_bytes
    return make


def ed25519_signer(key: str) -> Signer | None:
    """Return the signer of a key file as `authz keys generate` writes it.

    None: it is a URI, another kind of key, or there is a mistake: `load_signer` of `authz.snapshot.signing.signers`
    reads it or says what is wrong.
    """
    try:
        with Path(key).open("rb") as file:
            text = file.read(_MAX)
        if not (text.startswith(_BEGIN) and text.endswith(_END)):
            return None
        content = binascii.a2b_base64(text[len(_BEGIN) : -len(_END)], strict_mode=True)
    except (OSError, ValueError):
        return None
    return _Ed25519Signer(content[-32:]) if content[:-32] == _ED25519 else None
