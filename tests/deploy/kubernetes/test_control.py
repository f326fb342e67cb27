"""The control plane of base/control: started from its files as its pod would, and a sidecar of layers-url beside it."""

from __future__ import annotations

import os
import re
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml
from support.processes import Process, free_port, ports_of, wait_for
from support.proxies.kubernetes.kustomize import KUBERNETES, build, containers_of, pod_spec
from support.sidecar.running import get

from authz.control.config import load_control_config
from authz.publisher.policy.fetching import feeds_to_fetch
from authz.snapshot.signing.signers import generate_keys

if TYPE_CHECKING:
    from support.proxies.kubernetes.kustomize import Manifest

OVERLAYS = ["control", "control postgresql", "control kms", "control feeds", "control all"]
FOLDERS = ("/etc/authz-layers", "/etc/authz-keys", "/etc/authz", "/var/lib/authz", "/run/authz")


def containers(name: str) -> dict[str, Manifest]:
    (deployment,) = (one for one in build(name) if one["kind"] == "Deployment")
    return {one["name"]: one for one in containers_of(pod_spec(deployment) or {})}


def environment(container: Manifest) -> dict[str, str]:
    return {one["name"]: one["value"] for one in container.get("env", ()) if "value" in one}


def mounts(container: Manifest) -> dict[str, bool]:
    """Return the paths that a container has, and whether it may write there."""
    return {mount["mountPath"]: not mount.get("readOnly", False) for mount in container["volumeMounts"]}


def config_of(name: str, container: Manifest, folder: Path) -> Any:
    (text,) = (one["data"]["control.yaml"] for one in build(name) if "control.yaml" in one.get("data", {}))
    (folder / "control.yaml").write_text(text)
    return load_control_config(folder / "control.yaml", environment(container))


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_container_finds_what_its_configuration_names(name: str, tmp_path: Path) -> None:
    found = containers(name)
    for container in (found["signer"], found["control"]):
        config = config_of(name, container, tmp_path)
        at = mounts(container)
        assert at[str(Path(config.signer).parent)] is True
        assert at[str(Path(config.signer_state).parent)] is True
    for layer in config_of(name, found["signer"], tmp_path).layers:
        file = layer.public_key or layer.key  # of a KMS only the public half is a file
        assert str(Path(file).parent) in mounts(found["signer"]), file
    config = config_of(name, found["control"], tmp_path)
    assert found["control"]["ports"][0]["containerPort"] == config.listen.port
    # What a sidecar of layers-url allows is what the control plane makes.
    (sidecar,) = (one["value"] for one in sidecar_of()["env"] if one["name"] == "AUTHZ_LAYERS")
    may = {layer["name"]: layer["may"] for layer in yaml.safe_load(sidecar) if "may" in layer}
    bans = next(layer for layer in config.layers if layer.name == "bans")
    assert (may["bans"]["widest_ipv4"], may["bans"]["widest_ipv6"]) == (bans.may.widest_ipv4, bans.may.widest_ipv6)
    assert tuple(may["bans"]["lists"]) == bans.may.lists


def sidecar_of() -> Manifest:
    (deployment,) = (one for one in build("central layers-url") if one["kind"] == "Deployment")
    (container,) = containers_of(pod_spec(deployment) or {})
    return container


def test_the_job_fetches_feeds_to_where_the_signer_reads(tmp_path: Path) -> None:
    (job,) = (one for one in build("control feeds") if one["kind"] == "CronJob")
    (container,) = containers_of(pod_spec(job) or {})
    (tmp_path / "feeds.yaml").write_text((KUBERNETES / "components" / "feeds" / "feeds.yaml").read_text())
    feeds = feeds_to_fetch(tmp_path / "feeds.yaml", fresh=True)
    assert feeds
    assert container["args"] == ["feeds", "fetch", "/etc/authz/feeds.yaml"]
    (folder,) = {str(feed.path.parent) for feed in feeds}
    assert mounts(container)[folder] is True
    assert mounts(containers("control feeds")["signer"])[folder] is False


class Pod:
    """The containers of base/control as processes, with their folders below `root` and a free port."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.port = free_port()
        for folder in FOLDERS:
            (root / folder[1:]).mkdir(parents=True)
        for name in ("policy", "bans"):
            generate_keys(root / "etc/authz-keys", name)
        text = (KUBERNETES / "base" / "control" / "control.yaml").read_text()
        text = self.moved(text).replace("0.0.0.0:9194", f"127.0.0.1:{self.port}")
        (root / "etc/authz/control.yaml").write_text(text)

    def moved(self, text: str) -> str:
        """Return a text with the paths of the pod below `root`."""
        return re.sub("|".join(FOLDERS), lambda found: f"{self.root}{found[0]}", text)

    def process(self, name: str) -> Process:
        """Start a container."""
        arguments = [self.moved(word) for word in containers("control")[name]["args"]]
        return Process([sys.executable, "-m", "authz", *arguments], cwd=self.root)


def test_a_ban_reaches_a_sidecar_of_the_component_from_the_files_of_the_base(tmp_path: Path) -> None:
    pod = Pod(tmp_path)
    with pod.process("prepare") as prepare:
        assert prepare.wait() == 0, prepare.output
    token = (tmp_path / "var/lib/authz/first-token").read_text().strip()
    with ExitStack() as stack:
        signer = stack.enter_context(pod.process("signer"))
        signer.wait_for_line("signer: listening on")
        control = stack.enter_context(pod.process("control"))
        control.wait_for_line("control: listening on")
        url = f"http://127.0.0.1:{pod.port}"
        wait_for(lambda: httpx.get(f"{url}/readyz").status_code == 200, "the layers are signed")

        sidecar = stack.enter_context(start_sidecar(tmp_path, url))
        sidecar.wait_for_line("authz: serving$")
        port = ports_of(sidecar.output)["http"]
        assert get(port, "/v1/auth", "203.0.113.9").status == 200
        ban = {"address": "203.0.113.9", "period": "1h", "reason": "test"}
        answer = httpx.post(f"{url}/v1/bans", json=ban, headers={"Authorization": f"Bearer {token}"})
        assert answer.is_success, answer.text
        wait_for(lambda: get(port, "/v1/auth", "203.0.113.9").status == 403, "the ban holds")


def start_sidecar(folder: Path, url: str) -> Process:
    """Start a sidecar with the layers of the component, at another address."""
    layers = environment(sidecar_of())["AUTHZ_LAYERS"].replace("http://control.authz-control.svc:9194", url)
    layers = layers.replace("/etc/authz-layers", f"{folder}/etc/authz-keys")
    home = folder / "sidecar"
    home.mkdir()
    (home / "authz.yaml").write_text(
        "layers: [{name: policy, path: x, trusted_keys: [x]}]\nstate: state/authz.json\n"
        'grpc: {listen: "off"}\nhttp: {listen: "127.0.0.1:0"}\nadmin: {listen: "127.0.0.1:0"}\n'
        "client_address: {trusted_hops: 1}\ndrain: 0s\n"
    )
    command = [sys.executable, "-m", "authz", "serve", "--config", "authz.yaml"]
    return Process(command, cwd=home, env={**os.environ, "AUTHZ_LAYERS": layers})
