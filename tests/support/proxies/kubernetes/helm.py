"""Helm, as a program of its own: HELM names it, or it is in PATH."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from support.proxies.kubernetes.kustomize import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from support.proxies.kubernetes.kustomize import Manifest

CHARTS: Final = ROOT / "deploy" / "helm"
# The name and the namespace of a release that renders what kustomize builds.
RELEASES: Final = {"authz": ("authz", "authz"), "authz-control": ("control", "authz-control")}
_OF_HELM: Final = (
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/version",
    "helm.sh/chart",
)


def helm(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run helm, or skip the test."""
    program = os.environ.get("HELM") or shutil.which("helm")
    if program is None:
        pytest.skip("needs helm, in PATH or named by HELM")
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)


def template(chart: str, *values: Path, namespace: str = "") -> subprocess.CompletedProcess[str]:
    """Render a chart."""
    name, usual = RELEASES[chart]
    files = [word for path in values for word in ("-f", str(path))]
    return helm("template", name, CHARTS / chart, "-n", namespace or usual, "--kube-version", "1.37.0", *files)


def render(chart: str, *values: Path, namespace: str = "") -> list[Manifest]:
    """Return what a chart renders; fails where it does not."""
    done = template(chart, *values, namespace=namespace)
    assert done.returncode == 0, done.stderr
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


def plain(manifest: Manifest) -> Manifest:
    """Return a manifest without what Helm and kustomize add in ways of their own."""
    hashed = r"(authz-config|authz-keys|control-config)-[a-z0-9]{10}"
    copy: dict[str, Any] = json.loads(re.sub(hashed, r"\1", json.dumps(manifest)))
    for label in _OF_HELM:
        copy["metadata"].get("labels", {}).pop(label, None)
    if copy["kind"] == "ConfigMap":
        copy["metadata"].pop("labels", None)
        copy["data"] = {name: _content(name, text) for name, text in copy["data"].items()}
    if copy["kind"] == "Deployment":
        template = copy["spec"]["template"]
        template["metadata"].pop("annotations", None)  # of Helm, in the place of hashes in names
        template["spec"]["volumes"].sort(key=lambda volume: volume["name"])
    if copy["kind"] == "PersistentVolumeClaim":
        copy["metadata"].pop("annotations", None)  # `helm uninstall` leaves it
    return copy


def _content(name: str, text: str) -> Any:
    return yaml.safe_load(text) if name.endswith(".yaml") else re.findall(r"^[A-Za-z0-9+/=]{40,}$", text, re.MULTILINE)
