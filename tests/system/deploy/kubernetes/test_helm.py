"""The Helm charts: rendered, they are base/central and base/control; their schemas refuse what would not run."""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from kubernetes_validate import validate
from support.proxies.kubernetes.helm import CHARTS, RELEASES, helm, plain, render, template
from support.proxies.kubernetes.kustomize import KUBERNETES, ROOT, build
from support.proxies.kubernetes.mounted import in_bytes, mounted_sidecars
from support.proxies.kubernetes.references import YOURS, broken

from authz.control.config import load_control_config
from authz.snapshot.signing.signers import generate_keys

if TYPE_CHECKING:
    from pathlib import Path

    from support.proxies.kubernetes.cluster import Cluster
    from support.proxies.kubernetes.kustomize import Manifest

CHART = CHARTS / "authz"
MONITORING = KUBERNETES / "components" / "monitoring"
EXAMPLES = sorted(path.name for path in (CHART / "ci").glob("*.yaml"))
ALL_EXAMPLES = sorted(path for chart in RELEASES for path in (CHARTS / chart / "ci").glob("*.yaml"))


def by_name(manifests: list[Manifest]) -> dict[tuple[str, str], Manifest]:
    return {(manifest["kind"], manifest["metadata"]["name"]): manifest for manifest in map(plain, manifests)}


@pytest.mark.parametrize(("chart", "overlay"), [("authz", "central"), ("authz-control", "control")])
def test_what_the_chart_renders_is_what_kustomize_builds(chart: str, overlay: str) -> None:
    base = by_name(build(overlay))
    del base["Namespace", RELEASES[chart][1]]  # `helm install --create-namespace`
    rendered = by_name(render(chart))
    assert rendered.keys() == base.keys()
    for name, manifest in base.items():
        assert rendered[name] == manifest, name


def test_with_postgresql_the_chart_of_the_control_plane_renders_the_component() -> None:
    base = by_name(build("control postgresql"))
    rendered = by_name(render("authz-control", CHARTS / "authz-control" / "ci" / "postgresql.yaml"))
    apart = {("Namespace", "authz-control"), ("Secret", "control-store"), ("NetworkPolicy", "control-postgresql")}
    named = {(kind, name.partition("-store-")[0] + "-store" if kind == "Secret" else name) for kind, name in base}
    assert rendered.keys() == named - apart
    deployment = json.loads(
        re.sub(r"control-store-[a-z0-9]{10}", "control-store", json.dumps(base["Deployment", "control"]))
    )
    assert rendered["Deployment", "control"] == deployment
    assert rendered["PodDisruptionBudget", "control"] == base["PodDisruptionBudget", "control"]
    assert {"ports": [{"port": 5432}]} in rendered["NetworkPolicy", "control"]["spec"]["egress"]


@pytest.mark.parametrize("chart", RELEASES)
def test_helm_finds_nothing_wrong(chart: str) -> None:
    examples = [f"-f={path}" for path in ALL_EXAMPLES if path.parent.parent.name == chart]
    assert examples
    done = helm("lint", "--strict", "--kube-version", "1.37.0", CHARTS / chart, *examples)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "path", [path for path in ALL_EXAMPLES if "control" in path.parts[-3]], ids=lambda path: path.stem
)
def test_an_example_of_the_control_plane_fits_and_is_read_by_it(path: Path, tmp_path: Path) -> None:
    manifests = render("authz-control", path)
    for manifest in manifests:
        validate(manifest, "1.37", strict=True)
    yours = {"control-keys", "control-store", "control-public-keys"}
    assert [text for text in broken(manifests) if not yours & set(re.findall(r"[\w-]+", text))] == []
    (config,) = (manifest for manifest in manifests if manifest["kind"] == "ConfigMap")
    (tmp_path / "control.yaml").write_text(config["data"]["control.yaml"])
    assert load_control_config(tmp_path / "control.yaml", {}).signer is not None


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_rendered_to_manifests_that_fit_each_other(name: str, tmp_path: Path) -> None:
    manifests = render("authz", CHART / "ci" / name)
    for manifest in manifests:
        if not manifest["apiVersion"].startswith("monitoring."):
            validate(manifest, "1.37", strict=True)
    yours = [*(name for _, _, name in YOURS), "lists"]
    assert [text for text in broken(manifests) if text.split()[-3] not in yours] == []
    (sidecar,) = mounted_sidecars(manifests, tmp_path)
    layers = sidecar.config.layers_in_order()
    largest = sum(layer.max_size for layer in layers)
    assert in_bytes(sidecar.container["resources"]["limits"]["memory"]) >= 2 * largest + (96 << 20)
    for layer in layers:
        for path in (*((layer.path,) if layer.path else ()), *layer.trusted_keys):
            assert sidecar.volume_of(path)[1] is False
    assert sidecar.volume_of(sidecar.config.state_file)[1] is True


@pytest.mark.parametrize("path", ALL_EXAMPLES, ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_an_example_is_admitted_by_a_real_api_server(path: Path, cluster: Cluster) -> None:
    cluster.make_namespace("chart")
    rendered = render(path.parts[-3], path, namespace="chart")
    manifests = [manifest for manifest in rendered if "monitoring" not in manifest["apiVersion"]]
    said = cluster.apply("--force-conflicts", manifests=manifests)
    assert said.status == 0, said.err
    assert "Warning" not in said.err


WRONG: dict[str, tuple[str, dict[str, Any]]] = {
    "a key that is not there": ("authz", {"replica": 3}),
    "a private key": ("authz", {"publicKeys": {"2026.pub": "-----BEGIN PRIVATE KEY-----"}}),
    "a source that is not there": ("authz", {"snapshot": {"source": "s3"}}),
    "no layer": ("authz", {"config": {"layers": []}}),
    "a layer without a place": ("authz", {"config": {"layers": [{"name": "policy", "trusted_keys": ["a"]}]}}),
    "admin where the kubelet cannot ask": ("authz", {"config": {"admin": {"listen": "127.0.0.1:9193"}}}),
    "a state that no volume has": ("authz", {"config": {"state": "/var/lib/other.json"}}),
    "everybody may ask": ("authz", {"networkPolicy": {"clients": None}}),
    "no filter of system calls": ("authz", {"seccompProfile": {"type": "Unconfined"}}),
    "a profile without a name": ("authz", {"seccompProfile": {"type": "Localhost"}}),
    "a size without a unit": ("authz", {"state": {"size": "256"}}),
    "two of one volume": ("authz-control", {"replicas": 2}),
    "a store that no volume has": ("authz-control", {"config": {"store": "sqlite:///control.sqlite"}}),
    "no key for a layer": ("authz-control", {"config": {"layers": [{"name": "policy"}]}}),
    "an API that nobody reaches": ("authz-control", {"config": {"listen": "127.0.0.1:9194"}}),
    "everybody may connect": ("authz-control", {"networkPolicy": {"clients": None}}),
    "no limit of memory": ("authz-control", {"resources": {"control": {"limits": None}}}),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_the_schema_of_the_values_refuses(mistake: str, tmp_path: Path) -> None:
    chart, values = WRONG[mistake]
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
    done = template(chart, tmp_path / "values.yaml")
    assert done.returncode != 0, done.stdout[:500]
    assert "values don't meet the specifications of the schema" in done.stderr


def test_the_chart_is_installed_upgraded_and_rolled_back_as_its_notes_say(cluster: Cluster, tmp_path: Path) -> None:
    """Into a namespace and under a name of somebody's own."""

    def say(*arguments: str | Path) -> str:
        done = helm(*arguments, "--kubeconfig", cluster.kubeconfig)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def key_there() -> str:
        path = r"jsonpath={.data.2026\.pub}"
        return cluster.kubectl("-n", "press", "get", "configmap", "edge-authz-keys", "-o", path).out

    notes = say("install", "edge", CHART, "-n", "press", "--create-namespace")
    assert "kubectl -n press create configmap authz-snapshot --from-file=lists.snapshot" in notes
    assert "a placeholder takes its place" in notes
    (upgrade,) = re.findall(r"^  helm (upgrade .+)$", notes, re.MULTILINE)
    _, key = generate_keys(tmp_path, "2026")
    said = say(*shlex.split(upgrade.replace("CHART", str(CHART)).replace("keys/2026.pub", str(key))))
    assert "placeholder" not in said
    assert key_there() == key.read_text()
    say("rollback", "edge", "1", "-n", "press")
    assert "placeholder" in key_there()


YOURS_ALONE = "-----BEGIN PUBLIC KEY-----\nyours\n-----END PUBLIC KEY-----\n"


def with_key(trusted: str) -> dict[str, Any]:
    """Return the values of somebody whose key has a name of its own."""
    layer = {"name": "policy", "path": "/a", "trusted_keys": [trusted], "max_size": 1 << 20}
    return {"publicKeys": {"press.pub": YOURS_ALONE}, "config": {"layers": [layer]}}


def test_a_key_of_another_name_leaves_no_placeholder_beside_it(tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(with_key("/etc/authz/press.pub")))
    rendered = render("authz", tmp_path / "values.yaml")
    (keys,) = (manifest["data"] for manifest in rendered if manifest["metadata"]["name"] == "authz-keys")
    assert keys == {"press.pub": YOURS_ALONE}


def test_a_layer_that_trusts_a_key_which_is_not_given_is_refused(tmp_path: Path) -> None:
    """Its pods would start over and over."""
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(with_key("/etc/authz/2026.pub")))
    done = template("authz", tmp_path / "values.yaml")
    assert done.returncode != 0
    assert "policy: trusted_keys has /etc/authz/2026.pub, but publicKeys has press.pub" in done.stderr


@pytest.mark.parametrize(("values", "message"), [
    ({"resources": {"limits": {"memory": "200Mi"}}}, "resources.limits.memory is 200Mi, expected 224Mi or more"),
    ({"state": {"size": "100Mi"}}, "state.size is 100Mi, expected 128Mi or more"),
    ({"config": {"layers": [{"name": "policy", "path": "/a", "trusted_keys": ["/etc/authz/2026.pub"]}]}},
     "resources.limits.memory is 256Mi, expected 608Mi or more: twice max_size of all layers"),
])  # fmt: skip
def test_a_pod_that_would_be_killed_by_its_next_snapshot_is_refused(
    values: dict[str, Any], message: str, tmp_path: Path
) -> None:
    assert message in refused(values, tmp_path)


def refused(values: dict[str, Any], folder: Path) -> str:
    (folder / "values.yaml").write_text(yaml.safe_dump(values))
    done = template("authz", folder / "values.yaml")
    assert done.returncode != 0
    return done.stderr


@pytest.mark.parametrize("values", [
    {"autoscaling": {"minReplicas": 1}}, {"autoscaling": {"enabled": False}, "replicas": 1},
    {"podDisruptionBudget": {"minAvailable": 2}}, {"podDisruptionBudget": {"minAvailable": "100%"}},
])  # fmt: skip
def test_pods_of_which_none_may_be_evicted_are_refused(values: dict[str, Any], tmp_path: Path) -> None:
    """A node with one of them could not be drained."""
    assert "no node with a pod could be drained" in refused(values, tmp_path)


def test_one_pod_without_a_budget_is_taken(tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text(
        "{replicas: 1, autoscaling: {enabled: false}, podDisruptionBudget: {enabled: false}}"
    )
    assert render("authz", tmp_path / "values.yaml")


@pytest.mark.parametrize("values", [{"config": {"drain": "30s"}}, {"config": {"drain": "1m"}}, {"preStopSeconds": 20}])
def test_a_pod_that_is_killed_before_its_drain_is_over_is_refused(values: dict[str, Any], tmp_path: Path) -> None:
    assert "terminationGracePeriodSeconds is 30, expected " in refused(values, tmp_path)


BY_URL = {
    "name": "policy",
    "url": "https://control.example/v1/layers/policy",
    "trusted_keys": ["/etc/authz/2026.pub"],
    "max_size": 1 << 20,
}


@pytest.mark.parametrize("config", [{"layers": [BY_URL]}, {"events": {"url": "https://control.example/v1/events"}}])
def test_a_control_plane_that_the_network_policy_cuts_off_is_refused(config: dict[str, Any], tmp_path: Path) -> None:
    assert "nothing may go out to https://control.example/v1/" in refused({"config": config}, tmp_path)


def test_a_path_that_no_volume_has_is_refused(tmp_path: Path) -> None:
    assert "policy: its path is /var/lib/authz/snapshot/lists.snapshot, but" in refused(
        {"snapshot": {"source": "none"}}, tmp_path
    )


@pytest.mark.parametrize("values", [
    {"env": [{"name": "AUTHZ_GRPC__TLS", "value": "{certificate: a, key: b}"}]},
    {"config": {"grpc": {"tls": {"certificate": "/a", "key": "/b"}}}},
])  # fmt: skip
def test_a_service_with_tls_does_not_say_that_it_speaks_plainly(values: dict[str, Any], tmp_path: Path) -> None:
    """Gateways choose their protocol by it. The chart said h2c where the component `tls` says https."""
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
    (service,) = (manifest for manifest in render("authz", tmp_path / "values.yaml") if manifest["kind"] == "Service")
    assert {port["name"]: port["appProtocol"] for port in service["spec"]["ports"]} == {"grpc": "https", "http": "http"}


def test_the_chart_has_the_placeholder_of_the_base() -> None:
    assert (CHART / "files" / "2026.pub").read_text() == (KUBERNETES / "base/central/keys/2026.pub").read_text()


def test_the_chart_has_the_alerts_and_dashboards_of_the_component() -> None:
    for path in (MONITORING / "alerts.yaml", *(MONITORING / "dashboards").glob("*.json")):
        assert (CHART / "files" / path.name).read_text() == path.read_text(), (
            f"copy {path.name} to deploy/helm/authz/files"
        )


def test_prometheus_finds_the_monitors_by_its_label_and_alerts_lead_to_the_page() -> None:
    """The stack of Prometheus that most have takes nothing without the label of its release."""
    rendered = by_name(render("authz", CHART / "ci" / "volume-and-tls.yaml"))
    for kind in ("PodMonitor", "PrometheusRule"):
        assert rendered[kind, "authz"]["metadata"]["labels"]["release"] == "kube-prometheus-stack"
    rules = json.dumps(rendered["PrometheusRule", "authz"]["spec"])
    assert "https://docs.example/authz/guides/alerts.html#authznotready" in rules
    assert "docs/guides/alerts.md" not in rules


@pytest.mark.parametrize("chart", RELEASES)
def test_the_chart_has_the_version_of_the_project(chart: str) -> None:
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    assert yaml.safe_load((CHARTS / chart / "Chart.yaml").read_text())["appVersion"] == version[1]
