"""A release: its version, what is in it, and that it works where nothing but it is installed."""

from __future__ import annotations

import os
import re
import shutil
import site
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from support.processes import Process, free_port
from support.publishing.publisher import POLICY

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "operations" / "releases.md").read_text()
sys.path.insert(0, str(ROOT / "deploy" / "release"))
from make_release import Refused, version_of  # noqa: E402  # it lies beside the project, not in it


@pytest.mark.parametrize(
    ("described", "expected"),
    [
        ("v0.2.0-0-gabc1234", "0.2.0"),
        ("v0.1.0-7-gabc1234", "0.2.0.dev7+gabc1234"),
        ("v0.2.0rc1-3-gabc1234", "0.2.0.dev3+gabc1234"),
        ("abc1234", "0.2.0.dev0+gabc1234"),
    ],
)
def test_the_version_is_that_of_the_tag(described: str, expected: str) -> None:
    assert version_of(described, "0.2.0") == expected


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ("v0.3.0-0-gabc1234", "found the tag v0.3.0 on version 0.2.0 of the code, expected v0.2.0"),
        ("v0.2.0-4-gabc1234", "found 4 commits after v0.2.0 with its version 0.2.0, expected the next version"),
        ("release-2-gabc1234", "found the tag release, expected one such as v0.2.0"),
    ],
)
def test_a_tag_that_names_another_version_is_refused(described: str, message: str) -> None:
    with pytest.raises(Refused, match=re.escape(message)):
        version_of(described, "0.2.0")


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs the git repository")
    return _built(tmp_path_factory.mktemp("dist"))


def _built(out: Path) -> Path:
    command: list[str | Path] = [sys.executable, ROOT / "deploy" / "release" / "make_release.py", out]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (out / "version").write_text(done.stdout.strip())
    return out


def test_a_release_has_the_wheel_its_source_and_their_digests(dist: Path) -> None:
    version = (dist / "version").read_text()
    (wheel,), (source,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    assert (wheel.name, source.name) == (f"authz-{version}-py3-none-any.whl", f"authz-{version}.tar.gz")
    done = subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=dist, capture_output=True, text=True, check=True)
    assert done.stdout.count(": OK") == 2
    with tarfile.open(source) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    with zipfile.ZipFile(wheel) as packed:
        modules = {name for name in packed.namelist() if name.startswith("authz/")}
    assert len(modules) > 200
    assert modules - inside == set()


def test_the_same_commit_gives_the_same_wheel(dist: Path, tmp_path: Path) -> None:
    again = _built(tmp_path)
    (first,), (second,) = dist.glob("*.whl"), again.glob("*.whl")
    assert first.read_bytes() == second.read_bytes()


@pytest.fixture(scope="module")
def installed(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel. Its dependencies are those of the tests, without the editable project."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    (wheel,) = dist.glob("*.whl")
    uv: list[str | Path] = [
        Path(sys.executable).parent / "uv",
        "pip",
        "install",
        "--quiet",
        "--offline",
        "--no-deps",
        "--no-index",
    ]
    subprocess.run([*uv, "--python", folder / "bin" / "python", wheel], check=True)
    return folder / "bin" / "authz"


def test_the_installed_wheel_works(dist: Path, installed: Path, tmp_path: Path) -> None:
    listens = {f"AUTHZ_{front}__LISTEN": f"127.0.0.1:{free_port()}" for front in ("GRPC", "HTTP", "ADMIN")}
    env = {**os.environ, **listens, "AUTHZ_DRAIN": "0s"}
    env.pop("PYTHONPATH", None)

    def run(*words: str) -> str:
        done = subprocess.run(
            [installed, *words], cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run("--version").strip().endswith((dist / "version").read_text())
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "authz.yaml").write_text("snapshot: {path: lists.snapshot, trusted_keys: [keys/a.pub]}\n")
    run("keys", "generate", "keys", "--name", "a")
    run("snapshot", "build", "policy.yaml", "-o", "lists.snapshot", "--key", "keys/a.key")
    run("snapshot", "verify", "lists.snapshot", "--trusted-key", "keys/a.pub")
    run("explain", "203.0.113.9", "--config", "authz.yaml")
    for proxy in ("envoy", "nginx", "traefik", "caddy", "haproxy", "apache"):
        assert "127.0.0.1" in run("print-config", proxy, "--config", "authz.yaml")
    assert "authz_" in run("control", "init", "control")
    with Process([installed, "serve", "--config", "authz.yaml"], cwd=tmp_path, env=env) as sidecar:
        sidecar.wait_for_line("authz: serving$")


def test_a_release_is_signed_and_verified_as_the_page_says(dist: Path, tmp_path: Path) -> None:
    if shutil.which("ssh-keygen") is None:
        pytest.skip("needs ssh-keygen")
    for file in dist.iterdir():
        shutil.copy(file, tmp_path)

    def shell(line: str) -> int:
        return subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, check=False).returncode

    assert shell("ssh-keygen -q -t ed25519 -N '' -f release_key") == 0
    assert shell('echo "release@authz $(cat release_key.pub)" > allowed_signers') == 0
    verify, digests, sign = re.findall(r"^    ((?:ssh-keygen|sha256sum) .*)$", PAGE, re.MULTILINE)
    assert [shell(line) for line in (sign, verify, digests)] == [0, 0, 0]
    with (tmp_path / "SHA256SUMS").open("a") as sums:
        sums.write("0" * 64 + "  other.whl\n")
    assert shell(verify) != 0
