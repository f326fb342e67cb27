"""Building overlays as `kubectl apply -k` does."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from support.proxies.kubernetes.plain_build import plainly_built

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[4]
KUBERNETES = ROOT / "deploy" / "kubernetes"

Manifest = dict[str, Any]

GATEWAYS = sorted(path.parent.name for path in KUBERNETES.glob("gateways/*/kustomization.yaml"))
# What an operator's own kustomization would name: what it starts from, components, and its namespace.
OVERLAYS: dict[str, tuple[Sequence[str], Sequence[str], str | None]] = {
    "sidecar": (["base/sidecar"], [], "edge"),
    "central": (["base/central"], [], None),
    "control": (["base/control"], [], None),
    "inject": (["inject"], [], None),
    "inject namespace": (["inject/namespace"], [], "injected"),
    **{f"gateway {name}": ([f"gateways/{name}"], [], None) for name in GATEWAYS},
    **{
        f"{base} {name}": ([f"base/{base}"], [f"components/{name}"], namespace)
        for base, namespace in (("sidecar", "edge"), ("central", None))
        for name in ("layers-url", "object-store", "snapshot-pvc", "monitoring")
    },
    "central tls": (["base/central"], ["components/tls"], None),
    **{f"control {name}": (["base/control"], [f"components/{name}"], None) for name in ("postgresql", "kms", "feeds")},
    "control all": (["base/control"], ["components/postgresql", "components/kms", "components/feeds"], None),
    "gateway with all": (
        ["gateways/envoy-gateway", "base/control"], ["components/layers-url", "components/monitoring"], None,
    ),
}  # fmt: skip


def kubectl() -> list[str]:
    """Return the command of kubectl, or skip the test."""
    box, plain = os.environ.get("KUBEBOX"), shutil.which("kubectl")
    if box:
        return [box, "kubectl"]
    if plain is None:
        pytest.skip("needs kubectl, or KUBEBOX")
    return [plain]


def write_overlay(folder: Path, name: str) -> Path:
    """Write the kustomization of OVERLAYS into a folder, and return the folder."""
    resources, components, namespace = OVERLAYS[name]
    folder.mkdir(parents=True, exist_ok=True)

    def there(part: str) -> str:
        return os.path.relpath(KUBERNETES / part, folder.resolve())

    content: Manifest = {
        "resources": [there(resource) for resource in resources],
        "components": [there(c) for c in components],
    }
    if namespace:
        content["namespace"] = namespace
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(content))
    return folder


@functools.cache
def _built(name: str) -> str:
    if not _have_kubectl():
        return _without_kubectl(name)
    with tempfile.TemporaryDirectory() as folder:
        command = [*kubectl(), "kustomize", str(write_overlay(Path(folder), name))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    return done.stdout


def _have_kubectl() -> bool:
    return bool(os.environ.get("KUBEBOX") or shutil.which("kubectl"))


def _without_kubectl(name: str) -> str:
    resources, components, namespace = OVERLAYS[name]
    if components:
        kubectl()  # skips
    return yaml.safe_dump_all(
        [manifest for part in resources for manifest in plainly_built(KUBERNETES / part, namespace)]
    )


def build(name: str) -> list[Manifest]:
    """Return the manifests of an overlay; changing them changes nothing."""
    return [manifest for manifest in yaml.safe_load_all(_built(name)) if manifest]


def pod_spec(manifest: Manifest) -> Manifest | None:
    """Return the specification of the pods that a manifest makes; None where it makes none."""
    spec: Manifest = manifest.get("spec", {})
    if manifest["kind"] == "Pod":
        return spec
    if manifest["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    template: Manifest | None = spec.get("template")
    return None if template is None or "spec" not in template else dict(template["spec"])


def pod_labels(manifest: Manifest) -> dict[str, str]:
    """Return the labels of the pods that a manifest makes."""
    if manifest["kind"] == "Pod":
        return dict(manifest["metadata"].get("labels", {}))
    spec = manifest["spec"]["jobTemplate"]["spec"] if manifest["kind"] == "CronJob" else manifest["spec"]
    return dict(spec["template"]["metadata"]["labels"])


def containers_of(spec: Manifest) -> list[Manifest]:
    """Return all containers of a pod."""
    return [*spec.get("initContainers", ()), *spec["containers"]]
