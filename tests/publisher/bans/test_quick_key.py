"""A key as `authz keys generate` writes it is read in a quick way; any other is left to the usual one."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from authz.publisher.bans.quick_key import ed25519_signer
from authz.snapshot.signing.signers import generate_keys, load_signer

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return generate_keys(tmp_path / "keys", "bans")[0]


def test_it_signs_as_the_usual_way_does(key: Path) -> None:
    quick = ed25519_signer(str(key))
    assert quick is not None
    assert quick.sign(b"a ban") == load_signer(str(key)).sign(b"a ban")


def test_a_version_of_the_library_without_the_short_way_signs_as_well(
    key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = ed25519_signer(str(key))
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.bindings._rust", ModuleType("_rust"))
    other = ed25519_signer(str(key))
    assert quick is not None
    assert other is not None
    assert other.sign(b"a ban") == quick.sign(b"a ban")


def test_any_other_key_is_left_to_the_usual_way(key: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.key"
    curve = ec.generate_private_key(ec.SECP256R1())
    texts = [
        curve.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        key.with_suffix(".pub").read_bytes(),
        key.read_bytes() + b"\n",
        key.read_bytes().replace(b"M", b"?"),
        key.read_bytes()[:-1],
        b"",
    ]
    for text in texts:
        other.write_bytes(text)
        assert ed25519_signer(str(other)) is None
    for name in ("awskms:1", str(tmp_path / "missing"), str(tmp_path)):
        assert ed25519_signer(name) is None
