"""What a container of ours finds in its pod: its configuration, as the kubelet would mount it, and its volumes."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from authz.serve.config.config import Config, load_config
from support.proxies.kubernetes.kustomize import containers_of, pod_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from support.proxies.kubernetes.kustomize import Manifest

_UNITS = {"": 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}


class Mounted(NamedTuple):
    """A container with `authz serve`, its pod, and its configuration. data_of: the files of a ConfigMap.

    manifest: what makes the pod.
    """

    manifest: Manifest
    spec: Manifest
    container: Manifest
    config: Config
    data_of: Callable[[str], dict[str, str]]

    def missing_keys(self) -> list[str]:
        """Return the trusted keys that are not where the configuration says."""
        paths = [path for layer in self.config.layers_in_order() for path in layer.trusted_keys]
        return [str(path) for path in paths if not self._is_there(path)]

    def _is_there(self, path: str | Path) -> bool:
        volume, _ = self.volume_of(path)
        sources = volume.get("projected", {}).get("sources", [volume])
        maps = [source["configMap"]["name"] for source in sources if "configMap" in source]
        (at,) = (mount["mountPath"] for mount in self.container["volumeMounts"] if mount["name"] == volume["name"])
        return str(Path(path).relative_to(at)) in {name for source in maps for name in self.data_of(source)}

    def volume_of(self, path: str | Path) -> tuple[Manifest, bool]:
        """Return the volume that a path lies in, and whether the container may write to it."""
        mounts = [mount for mount in self.container["volumeMounts"] if Path(path).is_relative_to(mount["mountPath"])]
        assert len(mounts) == 1, (path, [mount["mountPath"] for mount in self.container["volumeMounts"]])
        volume = next(volume for volume in self.spec["volumes"] if volume["name"] == mounts[0]["name"])
        return volume, not mounts[0].get("readOnly", False)


def mounted_sidecars(manifests: Sequence[Manifest], folder: Path) -> Iterator[Mounted]:
    """Yield the sidecars of an overlay, each with the configuration that it would read. folder: for the files."""
    maps = {(manifest["metadata"].get("namespace"), manifest["metadata"]["name"]): manifest for manifest in manifests}
    for manifest in manifests:
        spec = pod_spec(manifest)
        for container in containers_of(spec) if spec else ():
            if spec is not None and container["name"] == "authz":
                namespace = manifest["metadata"].get("namespace")
                data_of = functools.partial(_data, maps, namespace)
                text = _configuration(spec, data_of)
                (folder / "authz.yaml").write_text(text)
                environment = {
                    variable["name"]: variable["value"] for variable in container.get("env", ()) if "value" in variable
                }
                yield Mounted(manifest, spec, container, load_config(folder / "authz.yaml", environment), data_of)


def _data(maps: Mapping[tuple[str | None, str], Manifest], namespace: str | None, name: str) -> dict[str, str]:
    return dict(maps[namespace, name]["data"])


def _configuration(spec: Manifest, data_of: Callable[[str], dict[str, str]]) -> str:
    for volume in spec["volumes"]:
        for source in volume.get("projected", {}).get("sources", ()):
            data = data_of(source["configMap"]["name"])
            if "authz.yaml" in data:
                return str(data["authz.yaml"])
    raise AssertionError("no authz.yaml is mounted")


def in_bytes(quantity: str) -> int:
    """Return a quantity of Kubernetes, such as 256Mi, in bytes."""
    match = re.fullmatch(r"(\d+)(|Ki|Mi|Gi)", str(quantity))
    assert match is not None, quantity
    return int(match[1]) * _UNITS[match[2]]
