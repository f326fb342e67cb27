"""What kustomize makes of a folder without components and patches, where no kubectl is: names without hashes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_UNDERSTOOD: Final = {
    "apiVersion", "kind", "namespace", "resources", "configMapGenerator", "generatorOptions", "images",
}  # fmt: skip
_OF_THE_CLUSTER: Final = ("Namespace", "MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding")


def plainly_built(folder: Path, namespace: str | None) -> list[dict[str, Any]]:
    """Return the manifests of a folder.

    Raises:
        NotImplementedError: The folder has what only kustomize knows, such as components.
    """
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    if unknown := kustomization.keys() - _UNDERSTOOD:
        raise NotImplementedError(f"{folder.name}: {sorted(unknown)}")
    manifests = [manifest for name in kustomization.get("resources", ()) for manifest in _resource(folder / name)]
    for made in kustomization.get("configMapGenerator", ()):
        _add(manifests, folder, made)
    images = {image["name"]: image for image in kustomization.get("images", ())}
    for manifest in manifests:
        if (namespace or kustomization.get("namespace")) and manifest["kind"] not in _OF_THE_CLUSTER:
            manifest["metadata"]["namespace"] = namespace or kustomization["namespace"]
        for container in _containers(manifest):
            image = images.get(container["image"], {})
            container["image"] = image.get("newName", container["image"])
            container["image"] += f":{image['newTag']}" if "newTag" in image else ""
    return manifests


def _resource(path: Path) -> list[dict[str, Any]]:
    if path.is_dir():
        return plainly_built(path, None)
    return [manifest for manifest in yaml.safe_load_all(path.read_text()) if manifest]


def _add(manifests: list[dict[str, Any]], folder: Path, made: dict[str, Any]) -> None:
    """Add a generated ConfigMap, or give the one that is there other files."""
    data = {(folder / name).name: (folder / name).read_text() for name in made["files"]}
    if made.get("behavior") == "replace":
        (there,) = [m for m in manifests if (m["kind"], m["metadata"]["name"]) == ("ConfigMap", made["name"])]
        there["data"] = data
        return
    metadata = {"name": made["name"]} | ({"namespace": made["namespace"]} if "namespace" in made else {})
    manifests.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})


def _containers(manifest: dict[str, Any]) -> Iterator[dict[str, Any]]:
    spec = manifest.get("spec", {}).get("template", {}).get("spec", {})
    yield from (*spec.get("initContainers", ()), *spec.get("containers", ()))
