"""docs/guides/keys.md, step by step, with real commands and a real sidecar."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from support.processes import Sidecar, free_port, wait_for
from support.publishing.publisher import POLICY
from support.sidecar.running import ALLOWED, DENIED, HTTP_ONLY, get

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE: Final = (Path(__file__).parents[2] / "docs" / "guides" / "keys.md").read_text()


def authz(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "authz", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def build(folder: Path, *keys: str) -> None:
    chosen = [part for key in keys for part in ("--key", f"keys/{key}.key")]
    authz(folder, "snapshot", "build", "policy.yaml", "-o", "lists.snapshot", *chosen)


def config(*keys: str, threshold: int = 1) -> str:
    trusted = ", ".join(f"keys/{key}.pub" for key in keys)
    return f"snapshot: {{path: lists.snapshot, trusted_keys: [{trusted}], threshold: {threshold}}}\n" + HTTP_ONLY


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a policy and the key of 2026."""
    (tmp_path / "policy.yaml").write_text(POLICY)
    authz(tmp_path, "keys", "generate", "keys", "--name", "2026")
    return tmp_path


def decides(sidecar: Sidecar) -> bool:
    statuses = [get(sidecar.ports["http"], "/v1/auth/shop", client).status for client in (ALLOWED, DENIED)]
    return statuses == [200, 403]


def told(sidecar: Sidecar, text: str, count: int = 1) -> None:
    """Have the configuration read again, and wait until that is told."""
    (Path(f"/proc/{sidecar.popen.pid}/cwd").resolve() / "authz.yaml").write_text(text)
    sidecar.popen.send_signal(signal.SIGHUP)
    wait_for(lambda: sidecar.output.count("the configuration was read again") == count)


def serial_of(sidecar: Sidecar, layer: str = "policy") -> str:
    text = get(sidecar.ports["admin"], "/metrics").body.decode()
    return str(re.findall(rf'^authz_snapshot_serial{{layer="{layer}"}} (\S+)$', text, re.MULTILINE)[0])


def test_rotate(folder: Path) -> None:
    build(folder, "2026")
    with Sidecar(folder, config("2026")) as sidecar:
        authz(folder, "keys", "generate", "keys", "--name", "2027")
        told(sidecar, config("2026", "2027"))
        first = serial_of(sidecar)
        build(folder, "2027")
        wait_for(lambda: serial_of(sidecar) != first)
        told(sidecar, config("2027"), 2)
        assert decides(sidecar)
        assert get(sidecar.ports["admin"], "/readyz").body == b'{"ready":true,"reasons":[]}\n'
        assert 'authz_config_reloads_total{result="ok"} 2.0' in get(sidecar.ports["admin"], "/metrics").body.decode()


def test_a_leaked_key_is_gone_with_a_sighup(folder: Path) -> None:
    build(folder, "2026")
    authz(folder, "keys", "generate", "keys", "--name", "2027")
    with Sidecar(folder, config("2026")) as sidecar:
        told(sidecar, config("2027"))
        wait_for(lambda: b"untrusted_key" in get(sidecar.ports["admin"], "/readyz").body)
        assert decides(sidecar)
        before = serial_of(sidecar)
        (folder / "policy.yaml").write_text("version: 1\n")
        authz(folder, "snapshot", "build", "policy.yaml", "-o", "lists.snapshot", "--key", "keys/2026.key", "--force")
        sidecar.wait_for_line("refused .*: unknown_key: ")
        assert serial_of(sidecar) == before
        (folder / "policy.yaml").write_text(POLICY)
        build(folder, "2027")
        wait_for(lambda: serial_of(sidecar) != before)
        assert get(sidecar.ports["admin"], "/readyz").body == b'{"ready":true,"reasons":[]}\n'


def test_bans_go_on_without_a_gap_while_their_key_is_replaced(folder: Path) -> None:
    """As docs/guides/keys.md says: both keys, signed by the new one, the new one alone; the thief's file is refused."""
    build(folder, "2026")
    for name in ("bans", "new"):
        authz(folder, "keys", "generate", "keys", "--name", name)
    authz(folder, "bans", "init", "bans.yaml", "--key", "keys/bans.key")
    authz(folder, "ban", "203.0.113.77")

    def trusting(*keys: str) -> str:
        trusted = ", ".join(f"keys/{key}.pub" for key in keys)
        policy, bans = "{name: policy, path: lists.snapshot, trusted_keys: [keys/2026.pub]}", "path: bans.snapshot"
        layers = f"layers:\n  - {policy}\n  - {{name: bans, {bans}, trusted_keys: [{trusted}]}}\n"
        return layers + config("2026").partition("\n")[2]

    with Sidecar(folder, trusting("bans")) as sidecar:

        def banned() -> bool:
            return get(sidecar.ports["http"], "/v1/auth/shop", "203.0.113.77").status == 403

        assert banned()
        told(sidecar, trusting("bans", "new"))
        before = serial_of(sidecar, "bans")
        bans = folder / "bans.yaml"
        bans.write_text(bans.read_text().replace("keys/bans.key", "keys/new.key"))
        authz(folder, "bans", "sign")
        wait_for(lambda: serial_of(sidecar, "bans") != before)
        told(sidecar, trusting("new"), 2)
        assert banned()
        assert "no longer trusted" not in sidecar.output
        authz(folder, "unban", "203.0.113.77", "--key", "keys/bans.key")
        sidecar.wait_for_line("bans: refused .*: unknown_key: ")
        assert banned()


@pytest.mark.parametrize("broken", ["snapshot: [", config("nowhere"), config("2026") + "unknown: 1\n"])
def test_a_configuration_that_cannot_be_used_changes_nothing(folder: Path, broken: str) -> None:
    build(folder, "2026")
    with Sidecar(folder, config("2026")) as sidecar:
        (folder / "authz.yaml").write_text(broken)
        sidecar.popen.send_signal(signal.SIGHUP)
        sidecar.wait_for_line("the configuration stays as it was: ")
        assert decides(sidecar)
        text = get(sidecar.ports["admin"], "/metrics").body.decode()
        assert 'authz_config_reloads_total{result="refused"} 1.0' in text


def test_two_of_three_must_sign(folder: Path) -> None:
    for name in ("alice", "bob", "carol"):
        authz(folder, "keys", "generate", "keys", "--name", name)
    build(folder, "alice", "bob")
    with Sidecar(folder, config("alice", "bob", "carol", threshold=2)) as sidecar:
        assert decides(sidecar)
        build(folder, "carol")
        sidecar.wait_for_line("refused .*: threshold_not_met: ")
        assert decides(sidecar)


@pytest.fixture
def kms(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URI of a key of AWS KMS, as moto plays it; its public half is in keys/kms.pub."""
    server = pytest.importorskip("moto.server", reason="needs moto, which plays KMS").ThreadedMotoServer("127.0.0.1", 0)
    boto3 = pytest.importorskip("boto3", reason="needs the extra kms")
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    client = boto3.client("kms")
    key = client.create_key(KeyUsage="SIGN_VERIFY", KeySpec="ECC_NIST_P256")["KeyMetadata"]["KeyId"]
    public = load_der_public_key(client.get_public_key(KeyId=key)["PublicKey"])
    (folder / "keys" / "kms.pub").write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    yield f"awskms:{key}"
    server.stop()


def test_a_key_of_a_kms_signs_and_is_trusted_by_its_public_half(
    folder: Path, kms: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from moto.kms.utils import ECDSAPrivateKey

    def sign(self: Any, digest: bytes, _: str) -> bytes:
        """Sign a digest, which is what `MessageType: DIGEST` says and KMS does; moto hashes it once more."""
        return bytes(self.private_key.sign(digest, ec.ECDSA(Prehashed(SHA256()))))

    monkeypatch.setattr(ECDSAPrivateKey, "sign", sign)
    authz(
        folder, "snapshot", "build", "policy.yaml", "-o", "lists.snapshot", "--key", kms, "--public-key", "keys/kms.pub"
    )
    with Sidecar(folder, config("kms")) as sidecar:
        assert decides(sidecar)


@pytest.mark.parametrize("other", [True, False], ids=["another public key", "a signature of something else"])
def test_a_signature_of_a_kms_that_does_not_fit_is_not_published(folder: Path, kms: str, other: bool) -> None:
    public = folder / "keys" / "kms.pub"
    if other:
        key = ec.generate_private_key(ec.SECP256R1()).public_key()
        public.write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(subprocess.CalledProcessError) as caught:  # moto signs the digest of the digest
        authz(
            folder,
            "snapshot",
            "build",
            "policy.yaml",
            "-o",
            "lists.snapshot",
            "--key",
            kms,
            "--public-key",
            str(public),
        )
    assert "--key awskms:...: found a signature that does not match --public-key" in caught.value.stderr
    assert not (folder / "lists.snapshot").exists()


def test_a_kms_that_does_not_answer_is_an_error_and_no_traceback(
    folder: Path, kms: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(subprocess.CalledProcessError) as caught:
        authz(
            folder, "snapshot", "build", "policy.yaml", "-o", "l.snapshot", "--key", kms, "--public-key", "keys/kms.pub"
        )
    assert "authz: error: --key awskms:...: EndpointConnectionError: " in caught.value.stderr
    assert "Traceback" not in caught.value.stderr


def test_the_page_names_what_the_steps_use() -> None:
    for word in ("authz keys generate keys --name 2026", "SIGHUP", "untrusted_key", "unknown_key", "--public-key",
                 "the configuration was\n   read again", "threshold: 2"):  # fmt: skip
        assert word in PAGE
