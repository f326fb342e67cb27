"""The control plane of base/control: started from its files as its pod would, and a sidecar of layers-url beside it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml
from support.processes import PATIENCE, Process, free_port, ports_of, wait_for
from support.proxies.kubernetes.kustomize import KUBERNETES, build, containers_of, pod_spec
from support.servers.web_server import WebServer
from support.sidecar.running import get

from authz.control.config import load_control_config
from authz.control.lists.rules.files import Folders
from authz.publisher.policy.fetching import feeds_to_fetch
from authz.snapshot.signing.signers import generate_keys

if TYPE_CHECKING:
    from support.proxies.kubernetes.kustomize import Manifest

OVERLAYS = ["control", "control postgresql", "control kms", "control feeds", "control all"]
FOLDERS = ("/etc/authz-layers", "/etc/authz-keys", "/etc/authz", "/var/lib/authz-data", "/var/lib/authz", "/run/authz")
READ_ONLY = ("/etc/authz", "/etc/authz-keys")
# Runs a program for which the rights of files count also where we are root: without CAP_DAC_OVERRIDE (1), which
# PR_CAPBSET_DROP (24) takes from what it may get.
LIMITED = "import ctypes, os, sys; ctypes.CDLL(None).prctl(24, 1, 0, 0, 0); os.execvp(sys.argv[1], sys.argv[1:])"
FEED = b"".join(b"198.51.100.%d\n" % number for number in range(40))


def containers(name: str) -> dict[str, Manifest]:
    (deployment,) = (manifest for manifest in build(name) if manifest["kind"] == "Deployment")
    return {container["name"]: container for container in containers_of(pod_spec(deployment) or {})}


def environment(container: Manifest) -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in container.get("env", ()) if "value" in variable}


def mounts(container: Manifest) -> dict[str, bool]:
    """Return the paths that a container has, and whether it may write there."""
    return {mount["mountPath"]: not mount.get("readOnly", False) for mount in container["volumeMounts"]}


def config_of(name: str, container: Manifest, folder: Path) -> Any:
    (text,) = (
        manifest["data"]["control.yaml"] for manifest in build(name) if "control.yaml" in manifest.get("data", {})
    )
    (folder / "control.yaml").write_text(text)
    return load_control_config(folder / "control.yaml", environment(container))


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_container_finds_what_its_configuration_names(name: str, tmp_path: Path) -> None:
    by_name = containers(name)
    for container in (by_name["signer"], by_name["control"]):
        config = config_of(name, container, tmp_path)
        at = mounts(container)
        assert at[str(Path(config.signer).parent)] is True
        assert at[str(Path(config.signer_state).parent)] is True
        assert at[config.data] is (container["name"] == "control")  # the signer reads it
    for layer in config_of(name, by_name["signer"], tmp_path).layers:
        file = layer.public_key or layer.key  # of a KMS only the public half is a file
        assert str(Path(file).parent) in mounts(by_name["signer"]), file
    config = config_of(name, by_name["control"], tmp_path)
    assert by_name["control"]["ports"][0]["containerPort"] == config.listen.port
    # What a sidecar of layers-url allows is what the control plane makes.
    (sidecar,) = (variable["value"] for variable in sidecar_of()["env"] if variable["name"] == "AUTHZ_LAYERS")
    may = {layer["name"]: layer["may"] for layer in yaml.safe_load(sidecar) if "may" in layer}
    bans = next(layer for layer in config.layers if layer.name == "bans")
    assert (may["bans"]["widest_ipv4"], may["bans"]["widest_ipv6"]) == (bans.may.widest_ipv4, bans.may.widest_ipv6)
    assert tuple(may["bans"]["lists"]) == bans.may.lists


def sidecar_of() -> Manifest:
    (deployment,) = (manifest for manifest in build("central layers-url") if manifest["kind"] == "Deployment")
    (container,) = containers_of(pod_spec(deployment) or {})
    return container


def test_the_job_fetches_feeds_to_where_the_signer_reads(tmp_path: Path) -> None:
    (job,) = (manifest for manifest in build("control feeds") if manifest["kind"] == "CronJob")
    (container,) = containers_of(pod_spec(job) or {})
    (tmp_path / "feeds.yaml").write_text((KUBERNETES / "components" / "feeds" / "feeds.yaml").read_text())
    feeds = feeds_to_fetch(tmp_path / "feeds.yaml", fresh=True)
    assert feeds
    assert container["args"] == ["feeds", "fetch", "/etc/authz/feeds.yaml"]
    (folder,) = {str(feed.path.parent) for feed in feeds}
    assert mounts(container)[folder] is True
    for name in ("signer", "control"):
        assert mounts(containers("control feeds")[name])[folder] is False
    # A policy of the store may name the files, and the lock-out guard reads them.
    config = config_of("control feeds", containers("control feeds")["control"], tmp_path)
    assert all(Folders(Path(config.data), config.policy_files).have(str(feed.path)) for feed in feeds)


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
        for folder in READ_ONLY:
            (root / folder[1:]).chmod(0o555)

    def moved(self, text: str) -> str:
        """Return a text with the paths of the pod below `root`."""
        return re.sub("|".join(FOLDERS), lambda match: f"{self.root}{match[0]}", text)

    def process(self, name: str) -> Process:
        """Start a container."""
        arguments = [self.moved(word) for word in containers("control")[name]["args"]]
        return Process([sys.executable, "-c", LIMITED, sys.executable, "-m", "authz", *arguments], cwd=self.root)

    def may_write(self, folder: str) -> bool:
        """Return whether a container may write there."""
        file = self.root / folder[1:] / "tried"
        command = [sys.executable, "-c", LIMITED, "touch", str(file)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_a_ban_a_feed_and_a_host_name_reach_a_sidecar_where_the_folder_of_control_yaml_is_read_only(
    tmp_path: Path,
) -> None:
    pod = Pod(tmp_path)
    if pod.may_write("/etc/authz"):
        pytest.skip("needs a folder that a process cannot write to; root without CAP_SETPCAP writes everywhere")
    with pod.process("prepare") as prepare:
        assert prepare.wait() == 0, prepare.output
    token = (tmp_path / "var/lib/authz/first-token").read_text().strip()
    with ExitStack() as stack:
        signer = stack.enter_context(pod.process("signer"))
        signer.wait_for_line("signer: listening on")
        control = stack.enter_context(pod.process("control"))
        control.wait_for_line("control: listening on")
        url = f"http://127.0.0.1:{pod.port}"
        wait_for(lambda: httpx.get(f"{url}/readyz", timeout=PATIENCE).status_code == 200, "the layers are signed")

        sidecar = stack.enter_context(start_sidecar(tmp_path, url))
        sidecar.wait_for_line("authz: serving$")
        port = ports_of(sidecar.output)["http"]
        assert get(port, "/v1/auth", "203.0.113.9").status == 200
        headers = {"Authorization": f"Bearer {token}"}
        api = stack.enter_context(httpx.Client(base_url=url, headers=headers, timeout=PATIENCE))
        ask(api, "POST", "/v1/bans", {"address": "203.0.113.9", "period": "1h", "reason": "test"})
        wait_for(lambda: get(port, "/v1/auth", "203.0.113.9").status == 403, "the ban holds")

        web = stack.enter_context(WebServer(FEED).running())
        feed = {"source": "malicious", "path": "feeds/bad.txt", "url": web.url, "format": "plain"}
        ask(api, "PUT", "/v1/policy", {"feeds": [feed]})
        deny = {"list": "deny", "expires": "forever", "force": True}
        ask(api, "POST", "/v1/entries", deny | {"sources": ["malicious"]})
        ask(api, "POST", "/v1/entries", deny | {"hosts": ["localhost"]})
        wait_for(lambda: get(port, "/v1/auth", "198.51.100.7").status == 403, "the feed is fetched")
        wait_for(lambda: get(port, "/v1/auth", "127.0.0.1").status == 403, "the host name has an address")
        assert get(port, "/v1/auth", "198.51.100.70").status == 200
        assert "authz_control_input_failed" in (metrics := api.get("/metrics").text)
        assert not re.findall(r"^authz_control_(?:input_failed|publish_refused){.*} 1\.0$", metrics, re.MULTILINE)
    assert [path.name for path in (tmp_path / "etc/authz").iterdir()] == ["control.yaml"]


def test_a_control_plane_whose_data_folder_is_read_only_says_so_at_its_start(tmp_path: Path) -> None:
    pod = Pod(tmp_path)
    if pod.may_write("/etc/authz"):
        pytest.skip("needs a folder that a process cannot write to; root without CAP_SETPCAP writes everywhere")
    file = tmp_path / "etc/authz/control.yaml"
    file.write_text(re.sub(r"^data:.*$", "data: .", file.read_text(), flags=re.MULTILINE))
    with pod.process("control") as control:
        assert control.wait() == 2
    told = f"data: {tmp_path}/etc/authz: cannot be written: Permission denied, expected a folder where this process"
    assert told in control.output


def ask(api: httpx.Client, method: str, path: str, body: object) -> None:
    answer = api.request(method, path, json=body)
    assert answer.is_success, answer.text


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
