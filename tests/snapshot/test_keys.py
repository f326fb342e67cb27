"""Keys: making them, and what a wrong key file is answered with."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from securesystemslib.signer import CryptoSigner, Signature, SSlibKey

from authz.errors import InputError
from authz.snapshot.signing.keys import MAX_KEY_FILE, load_public_key
from authz.snapshot.signing.signers import FileSigner, generate_keys, load_signer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NO_PUBLIC = "found no public key in PEM form that can be used, expected one"
NO_PRIVATE = "found no private key in PEM form that can be used, expected one"
MAKE_ONE = "`authz keys generate DIR --name NAME` makes a pair"


@pytest.fixture
def usual_umask() -> Iterator[None]:
    """The umask that most systems have."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def private_pem(key: Any, encryption: KeySerializationEncryption | None = None) -> bytes:
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())
    assert isinstance(text, bytes)
    return text


def public_pem(key: Any) -> bytes:
    text = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert isinstance(text, bytes)
    return text


# Making.


@pytest.mark.usefixtures("usual_umask")
def test_a_pair_is_two_files_and_the_private_one_is_secret(tmp_path: Path) -> None:
    private, public = generate_keys(tmp_path / "keys", "2026")
    assert [private.name, public.name] == ["2026.key", "2026.pub"]
    assert sorted(path.name for path in (tmp_path / "keys").iterdir()) == ["2026.key", "2026.pub"]
    assert (mode(private), mode(public)) == (0o600, 0o644)
    assert private.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----\n")
    assert public.read_bytes().startswith(b"-----BEGIN PUBLIC KEY-----\n")


def test_a_pair_fits_together(tmp_path: Path) -> None:
    private, public = generate_keys(tmp_path, "a")
    signature = load_signer(str(private)).sign(b"data")
    key = load_public_key(public)
    assert key.verifies(bytes.fromhex(signature.signature), b"data")
    assert not key.verifies(bytes.fromhex(signature.signature), b"other")
    assert (signature.keyid, key.keytype, key.scheme) == (key.keyid, "ed25519", "ed25519")


def test_every_pair_is_another(tmp_path: Path) -> None:
    keys = {load_public_key(generate_keys(tmp_path, name)[1]).keyid for name in ("a", "b", "c")}
    assert len(keys) == 3


@pytest.mark.usefixtures("usual_umask")
def test_the_private_key_is_secret_from_its_first_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []
    sync = os.fsync

    def look(descriptor: int) -> None:
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    generate_keys(tmp_path, "a")
    assert modes[:2] == [0o600, 0o644]


@pytest.mark.parametrize("suffix", ["key", "pub"])
def test_a_key_is_never_overwritten(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a.{suffix}").write_bytes(b"precious")
    with pytest.raises(InputError) as error:
        generate_keys(tmp_path, "a")
    assert error.value.message == f"{tmp_path}/a.{suffix}: exists, expected no such file"
    assert error.value.hint == "choose another --name"
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"precious"]


def test_a_key_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "a.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"keys: cannot write the keys: File exists"):
        generate_keys(tmp_path / "keys", "a")
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "keys").write_bytes(b"")
    with pytest.raises(InputError, match=r"keys: cannot write the keys: File exists"):
        generate_keys(tmp_path / "keys", "a")


# Loading.

EC = ec.generate_private_key(ec.SECP256R1())


@pytest.mark.parametrize("key", [ed25519.Ed25519PrivateKey.generate(), EC], ids=["ed25519", "ecdsa"])
def test_keys_that_others_made_are_taken(tmp_path: Path, key: Any) -> None:
    (tmp_path / "a.key").write_bytes(private_pem(key))
    (tmp_path / "a.pub").write_bytes(public_pem(key))
    signature = load_signer(str(tmp_path / "a.key")).sign(b"data")
    assert load_public_key(tmp_path / "a.pub").verifies(bytes.fromhex(signature.signature), b"data")


KINDS: dict[str, Any] = {
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
    "P-256": EC,
    "P-384": ec.generate_private_key(ec.SECP384R1()),
    "P-521": ec.generate_private_key(ec.SECP521R1()),
    "RSA": rsa.generate_private_key(65537, 2048),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_id_and_the_signatures_of_a_key_are_those_of_securesystemslib(tmp_path: Path, kind: str) -> None:
    """KMS and Vault sign by the same library, and by the same schemes."""
    (tmp_path / "a.pub").write_bytes(public_pem(KINDS[kind]))
    ours, theirs = load_public_key(tmp_path / "a.pub"), SSlibKey.from_crypto(KINDS[kind].public_key())
    assert (ours.keyid, ours.keytype, ours.scheme) == (theirs.keyid, theirs.keytype, theirs.scheme)
    signature = CryptoSigner(KINDS[kind], theirs).sign(b"data")
    assert signature.keyid == ours.keyid
    assert ours.verifies(bytes.fromhex(signature.signature), b"data")
    assert not ours.verifies(bytes.fromhex(signature.signature), b"datum")
    assert not ours.verifies(b"", b"data")
    assert not ours.verifies(bytes(64), b"data")


def test_a_curve_that_no_signer_has_is_no_key(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256K1())
    (tmp_path / "a.pub").write_bytes(public_pem(key))
    with pytest.raises(InputError, match=NO_PUBLIC):
        load_public_key(tmp_path / "a.pub")
    (tmp_path / "a.key").write_bytes(private_pem(key))
    with pytest.raises(InputError, match=NO_PRIVATE):
        load_signer(str(tmp_path / "a.key"))


@pytest.mark.parametrize(
    ("content", "message", "hint"),
    [
        (
            private_pem(EC),
            "found a private key, expected a public key",
            "give the .pub file, and keep the .key file away from the sidecar",
        ),
        (
            private_pem(EC, BestAvailableEncryption(b"secret")),
            "found a private key, expected a public key",
            "give the .pub file, and keep the .key file away from the sidecar",
        ),
        (b"", NO_PUBLIC, MAKE_ONE),
        (os.urandom(100), NO_PUBLIC, MAKE_ONE),
        (b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA== ops@example.com\n", NO_PUBLIC, MAKE_ONE),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", NO_PUBLIC, MAKE_ONE),
        (b"-----BEGIN PUBLIC KEY-----\n", NO_PUBLIC, MAKE_ONE),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", NO_PUBLIC, MAKE_ONE),
        (public_pem(x25519.X25519PrivateKey.generate()), NO_PUBLIC, MAKE_ONE),
        (public_pem(ed448.Ed448PrivateKey.generate()), NO_PUBLIC, MAKE_ONE),
        (public_pem(dsa.generate_private_key(1024)), NO_PUBLIC, MAKE_ONE),
        (public_pem(EC).ljust(MAX_KEY_FILE + 1), f"found more than {MAX_KEY_FILE} bytes, expected a PEM file", ""),
    ],
    ids=["private", "passphrase", "empty", "noise", "ssh", "no DER", "cut", "certificate", "x25519", "ed448", "dsa",
         "too large"],
)  # fmt: skip
def test_what_is_no_public_key_is_named(tmp_path: Path, content: bytes, message: str, hint: str) -> None:
    (tmp_path / "a.pub").write_bytes(content)
    with pytest.raises(InputError) as error:
        load_public_key(tmp_path / "a.pub")
    assert error.value.message == f"{tmp_path}/a.pub: {message}"
    assert error.value.hint == hint


@pytest.mark.parametrize(
    ("content", "message", "hint"),
    [
        (public_pem(EC), "found a public key, expected a private key", "give the .key file"),
        (
            private_pem(EC, BestAvailableEncryption(b"secret")),
            "found a private key with a passphrase, expected one without",
            "",
        ),
        (b"", NO_PRIVATE, MAKE_ONE),
        (os.urandom(100), NO_PRIVATE, MAKE_ONE),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", NO_PRIVATE, MAKE_ONE),
        (b"-----BEGIN PRIVATE KEY-----\n", NO_PRIVATE, MAKE_ONE),
        (private_pem(x25519.X25519PrivateKey.generate()), NO_PRIVATE, MAKE_ONE),
        (private_pem(ed448.Ed448PrivateKey.generate()), NO_PRIVATE, MAKE_ONE),
        (private_pem(dsa.generate_private_key(1024)), NO_PRIVATE, MAKE_ONE),
        (private_pem(EC).ljust(MAX_KEY_FILE + 1), f"found more than {MAX_KEY_FILE} bytes, expected a PEM file", ""),
    ],
    ids=["public", "passphrase", "empty", "noise", "no DER", "cut", "x25519", "ed448", "dsa", "too large"],
)
def test_what_is_no_private_key_is_named(tmp_path: Path, content: bytes, message: str, hint: str) -> None:
    (tmp_path / "a.key").write_bytes(content)
    with pytest.raises(InputError) as error:
        load_signer(str(tmp_path / "a.key"))
    assert error.value.message == f"{tmp_path}/a.key: {message}"
    assert error.value.hint == hint


def test_no_error_repeats_a_secret(tmp_path: Path) -> None:
    text = private_pem(EC)
    (tmp_path / "a.key").write_bytes(text[:100] + b"*" + text[100:])
    with pytest.raises(InputError) as error:
        load_signer(str(tmp_path / "a.key"))
    assert text[40:60].decode() not in f"{error.value.message} {error.value.hint}"


def test_a_missing_key_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a.pub: cannot be read: No such file or directory"):
        load_public_key(tmp_path / "a.pub")
    with pytest.raises(InputError, match=r"a.key: cannot be read: No such file or directory"):
        load_signer(str(tmp_path / "a.key"))
    with pytest.raises(InputError, match=r": cannot be read: Is a directory"):
        load_public_key(tmp_path)


def test_a_file_whose_name_has_a_colon_is_a_file(tmp_path: Path) -> None:
    private, _ = generate_keys(tmp_path, "a")
    named = private.rename(tmp_path / "team:2026.key")
    assert isinstance(load_signer(str(named)), FileSigner)


# Keys that live elsewhere.


def test_a_uri_without_public_key_is_an_error() -> None:
    with pytest.raises(InputError) as error:
        load_signer("awskms:arn:aws:kms:eu-central-1:000000000000:key/1")
    assert error.value.message == "--key awskms:...: no --public-key, expected the PEM file of the key's public half"


def test_a_uri_with_a_broken_public_key_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.pub").write_bytes(b"")
    with pytest.raises(InputError, match=f"a.pub: {NO_PUBLIC}"):
        load_signer("awskms:key", tmp_path / "a.pub")


def test_a_uri_that_leads_nowhere_is_an_error_that_does_not_repeat_it(tmp_path: Path) -> None:
    _, public = generate_keys(tmp_path, "a")
    with pytest.raises(InputError) as error:
        load_signer("hsm:2?pin=secret", public)
    assert error.value.message.startswith("--key hsm:...: ValueError: ")
    assert "secret" not in error.value.message.replace("secrets handler", "")
    assert error.value.hint == "`pip install authz[kms]` brings the clients of KMS and Vault"


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_in_a_file_signs_as_securesystemslib_verifies(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a.key").write_bytes(private_pem(KINDS[kind]))
    theirs = SSlibKey.from_crypto(KINDS[kind].public_key())
    made = load_signer(str(tmp_path / "a.key")).sign(b"data")
    assert made.keyid == theirs.keyid
    theirs.verify_signature(Signature(made.keyid, made.signature), b"data")


def test_signing_by_a_file_imports_no_client_of_a_cloud(tmp_path: Path) -> None:
    """`authz ban` took a second for it."""
    private, _ = generate_keys(tmp_path, "a")
    code = (
        "import sys; from authz.snapshot.signing.signers import load_signer; load_signer(sys.argv[1]).sign(b'');"
        "print([n for n in ('securesystemslib', 'boto3', 'azure', 'google.cloud') if n in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code, private], text=True).strip() == "[]"
