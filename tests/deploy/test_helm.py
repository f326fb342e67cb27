"""The Helm chart: rendered, it is the manifests of base/central; its schema refuses what would not run."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from kubernetes_validate import validate
from support.proxies.kubernetes.kustomize import KUBERNETES, ROOT, build
from support.proxies.kubernetes.mounted import in_bytes, mounted_sidecars
from support.proxies.kubernetes.references import YOURS, broken

if TYPE_CHECKING:
    from pathlib import Path

    from support.proxies.kubernetes.cluster import Cluster
    from support.proxies.kubernetes.kustomize import Manifest

CHART = ROOT / "deploy" / "helm" / "authz"
MONITORING = KUBERNETES / "components" / "monitoring"
EXAMPLES = sorted(path.name for path in (CHART / "ci").glob("*.yaml"))
OF_HELM = ("app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "app.kubernetes.io/version", "helm.sh/chart")


def helm(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run helm (HELM names it, or it is in PATH), or skip the test."""
    program = os.environ.get("HELM") or shutil.which("helm")
    if program is None:
        pytest.skip("needs helm, in PATH or named by HELM")
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)


def render(*values: Path, namespace: str = "authz") -> list[Manifest]:
    """Return what the chart renders; fails where it does not."""
    files = [word for path in values for word in ("-f", str(path))]
    done = helm("template", "authz", CHART, "-n", namespace, "--kube-version", "1.37.0", *files)
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def plain(manifest: Manifest) -> Manifest:
    """Return a manifest without what Helm and kustomize add in ways of their own."""
    one = json.loads(re.sub(r"authz-(config|keys)-[a-z0-9]{10}", r"authz-\1", json.dumps(manifest)))
    for label in OF_HELM:
        one["metadata"].get("labels", {}).pop(label, None)
    if one["kind"] == "ConfigMap":
        one["metadata"].pop("labels", None)
        one["data"] = {
            name: yaml.safe_load(text)
            if name == "authz.yaml"
            else re.findall(r"^[A-Za-z0-9+/=]{40,}$", text, re.MULTILINE)
            for name, text in one["data"].items()
        }
    if one["kind"] == "Deployment":
        one["spec"]["template"]["metadata"].pop("annotations", None)  # of Helm, in the place of hashes in names
    return dict(one)


def test_what_the_chart_renders_is_what_kustomize_builds() -> None:
    base = {(one["kind"], one["metadata"]["name"]): one for one in map(plain, build("central"))}
    del base["Namespace", "authz"]  # `helm install --create-namespace`
    chart = {(one["kind"], one["metadata"]["name"]): one for one in map(plain, render())}
    assert chart.keys() == base.keys()
    for name, one in base.items():
        assert chart[name] == one, name


def test_helm_finds_nothing_wrong() -> None:
    done = helm(
        "lint", "--strict", "--kube-version", "1.37.0", CHART, *(f"-f={CHART / 'ci' / one}" for one in EXAMPLES)
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_rendered_to_manifests_that_fit_each_other(name: str, tmp_path: Path) -> None:
    manifests = render(CHART / "ci" / name)
    for one in manifests:
        if not one["apiVersion"].startswith("monitoring."):
            validate(one, "1.37", strict=True)
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


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_admitted_by_a_real_api_server(name: str, cluster: Cluster) -> None:
    cluster.make_namespace("chart")
    manifests = [one for one in render(CHART / "ci" / name, namespace="chart") if "monitoring" not in one["apiVersion"]]
    said = cluster.apply("--force-conflicts", manifests=manifests)
    assert said.status == 0, said.err
    assert "Warning" not in said.err


WRONG: dict[str, dict[str, Any]] = {
    "a key that is not there": {"replica": 3},
    "a private key": {"publicKeys": {"2026.pub": "-----BEGIN PRIVATE KEY-----"}},
    "a source that is not there": {"snapshot": {"source": "s3"}},
    "no layer": {"config": {"layers": []}},
    "a layer without a place": {"config": {"layers": [{"name": "policy", "trusted_keys": ["a"]}]}},
    "admin where the kubelet cannot ask": {"config": {"admin": {"listen": "127.0.0.1:9193"}}},
    "a state that no volume has": {"config": {"state": "/var/lib/other.json"}},
    "everybody may ask": {"networkPolicy": {"clients": None}},
    "a size without a unit": {"state": {"size": "256"}},
}


@pytest.mark.parametrize("mistake", WRONG)
def test_the_schema_of_the_values_refuses(mistake: str, tmp_path: Path) -> None:
    values = copy.deepcopy(WRONG[mistake])
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
    done = helm("template", "authz", CHART, "--kube-version", "1.37.0", "-f", tmp_path / "values.yaml")
    assert done.returncode != 0, done.stdout[:500]
    assert "values don't meet the specifications of the schema" in done.stderr


def test_the_chart_has_the_alerts_and_dashboards_of_the_component() -> None:
    for path in (MONITORING / "alerts.yaml", *(MONITORING / "dashboards").glob("*.json")):
        assert (CHART / "files" / path.name).read_text() == path.read_text(), (
            f"copy {path.name} to deploy/helm/authz/files"
        )


def test_the_chart_has_the_version_of_the_project() -> None:
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == version[1]
