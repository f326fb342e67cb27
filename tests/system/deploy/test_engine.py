"""The images, built by a container engine by the commands of deploy/README.md, and run as they are meant to run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from support.docs.blocks import ROOT, blocks
from support.processes import Process, free_port, wait_for
from support.proxies.client import ask
from support.publishing.publisher import Publisher

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.long

# The engine sees no cgroup, and gets no right that a build or a container does not need.
BUILD = """\
#!/bin/sh
shift
exec buildah bud --quiet --isolation chroot --network host "$@"
"""
RUN = [
    "podman", "run", "--rm", "--network", "host", "--cgroups", "disabled", "--read-only", "--cap-drop", "ALL",
    "--security-opt", "no-new-privileges", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024",
]  # fmt: skip


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for files that containers see; the images are there, and are removed at the end."""
    base = os.environ.get("BASE_IMAGE")
    if not base:
        pytest.skip("needs BASE_IMAGE, a Python image that buildah has, by its digest: localhost/python@sha256:...")
    if not shutil.which("buildah") or not shutil.which("podman"):
        pytest.skip("needs the Debian packages buildah and podman")
    folder = tmp_path_factory.mktemp("engine")
    (folder / "docker").write_text(BUILD)
    (folder / "docker").chmod(0o755)
    (block,) = [block.text for block in blocks("deploy/README.md") if block.first.startswith("BASE=")]
    lines = [line for line in block.splitlines() if line.startswith("docker build")]
    assert len(lines) == 2
    env = os.environ | {"PYTHON": base, "PATH": f"{folder}:{os.environ['PATH']}"}
    for line in lines:
        done = subprocess.run(["sh", "-c", line], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    yield folder
    subprocess.run(["podman", "rmi", "authz:0.1.0", "authz-control:0.1.0"], capture_output=True, check=False)


def inspect(image: str) -> dict[str, Any]:
    done = subprocess.run(["podman", "image", "inspect", image], capture_output=True, text=True, check=True)
    (content,) = json.loads(done.stdout)
    return dict(content)


def test_the_images_are_built_by_an_engine(engine: Path) -> None:
    """README.md of deploy/."""
    assert engine.exists()
    sizes = {}
    for image, command in (("authz:0.1.0", "serve"), ("authz-control:0.1.0", "control")):
        inspected = inspect(image)
        assert inspected["User"] == "65532:65532"
        assert inspected["Config"]["Entrypoint"] == ["/opt/authz/bin/authz"]
        assert inspected["Config"]["Cmd"][0] == command
        assert inspected["Labels"]["org.opencontainers.image.title"] == "authz"
        sizes[image] = inspected["Size"]
    assert sizes["authz:0.1.0"] < sizes["authz-control:0.1.0"]


@pytest.mark.usefixtures("engine")
def test_a_base_without_a_digest_is_refused() -> None:
    command = ["buildah", "bud", "--isolation", "chroot", "-f", "deploy/Dockerfile"]
    tag = os.environ["BASE_IMAGE"].partition("@")[0] + ":3.11"
    done = subprocess.run(
        [*command, "--build-arg", f"PYTHON={tag}", "."], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "expected the base image by its digest" in done.stderr + done.stdout


def test_the_sidecar_s_image_serves_without_a_right_and_with_read_only_files(engine: Path) -> None:
    (engine / "pod").mkdir()
    publisher = Publisher(engine / "pod")
    publisher.publish()
    (engine / "pod" / "keys").chmod(0o755)
    http, admin = free_port(), free_port()
    (engine / "pod" / "authz.yaml").write_text(
        "snapshot: {path: /pod/lists.snapshot, trusted_keys: [/pod/keys/a.pub], state: /state/authz.json}\n"
        f'grpc: {{listen: "off"}}\nhttp: {{listen: "127.0.0.1:{http}"}}\nadmin: {{listen: "127.0.0.1:{admin}"}}\n'
        "client_address: {trusted_proxies: [127.0.0.1]}\ndrain: 0s\n"
    )
    volumes = ["-v", f"{engine}/pod:/pod:ro", "--tmpfs", "/state:mode=0777"]
    command = [*RUN, *volumes, "authz:0.1.0", "serve", "--config", "/pod/authz.yaml"]
    with Process(without_unified(command), cwd=engine) as container:
        wait_for(lambda: ask(admin, "/readyz").status == 200, "it is ready", patience=60)
        bad = [("X-Forwarded-For", "203.0.113.9")]
        assert ask(http, "/v1/auth/shop", bad).status == 403
        assert ask(http, "/v1/auth/shop", [("X-Forwarded-For", "198.51.100.7")]).status == 200
        assert container.popen.poll() is None


def test_the_control_plane_s_image_makes_its_store_and_serves(engine: Path) -> None:
    (engine / "plane").mkdir()
    (engine / "plane").chmod(0o777)
    port = free_port()
    volume = ["-v", f"{engine}/plane:/plane", "authz-control:0.1.0"]
    init = [*RUN, *volume, "control", "init", "/plane/control", "--listen", f"127.0.0.1:{port}"]
    done = subprocess.run(without_unified(init), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "authz_" in done.stdout
    serve = [*RUN, "--tmpfs", "/tmp", *volume, "control", "serve", "--config", "/plane/control/control.yaml"]
    with Process(without_unified(serve), cwd=engine):
        wait_for(lambda: ask(port, "/readyz").status == 200, "it is ready", patience=60)


@pytest.mark.parametrize(
    ("target", "wanted"),
    [("stores", "obstore"), ("control-kms", "boto3, google.cloud.kms, azure.keyvault.keys")],
)
def test_an_image_with_more_has_what_it_is_for(target: str, wanted: str, engine: Path) -> None:
    base, image = os.environ["BASE_IMAGE"], f"authz-{target}:tests"
    words = ["build", "-f", "deploy/Dockerfile", "--target", target, "--build-arg", f"PYTHON={base}", "-t", image, "."]
    done = subprocess.run([engine / "docker", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    try:
        code = f"import authz, {wanted}; print(authz.__version__)"
        program = ["--entrypoint", "/opt/authz/bin/python", image, "-c", code]
        done = subprocess.run(without_unified([*RUN, *program]), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip().endswith("0.1.0")
    finally:
        subprocess.run(["podman", "rmi", image], capture_output=True, check=False)


def without_unified(command: list[str]) -> list[str]:
    """Return a command whose engine does not see a cgroup tree of the second kind beside one of the first."""
    hidden = 'mountpoint -q /sys/fs/cgroup/unified && umount /sys/fs/cgroup/unified; exec "$@"'
    return ["unshare", "--mount", "sh", "-c", hidden, "sh", *command]
