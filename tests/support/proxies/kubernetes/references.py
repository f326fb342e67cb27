"""What manifests name in each other and must be there. The API server takes a pod whose probe names no port of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from support.proxies.kubernetes.kustomize import containers_of, pod_labels, pod_spec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from support.proxies.kubernetes.kustomize import Manifest

# Made by the operator, or by a controller.
YOURS: Final = {
    ("Secret", "authz-control", "control-keys"),
    ("Secret", "authz", "authz-tls"),
}
_PREFERRED: Final = "preferredDuringSchedulingIgnoredDuringExecution"
PROBES: Final = ("startupProbe", "readinessProbe", "livenessProbe")


def broken(manifests: Sequence[Manifest]) -> list[str]:
    """Return what is named and is not there, and what no label selects."""
    return sorted({text for manifest in manifests for text in Checked(manifests).of(manifest)})


class Checked:
    """The manifests of an overlay, by what others name."""

    def __init__(self, manifests: Sequence[Manifest]) -> None:
        self.all = manifests
        self.named = {
            (manifest["kind"], _namespace(manifest), manifest["metadata"]["name"]): manifest for manifest in manifests
        }
        self.pods = [manifest for manifest in manifests if pod_spec(manifest) is not None]

    def of(self, manifest: Manifest) -> Iterator[str]:
        """Yield what is wrong with one manifest."""
        where = f"{manifest['kind']} {manifest['metadata']['name']}"
        spec = pod_spec(manifest)
        missing = [*self._pod(manifest, spec)] if spec is not None else []
        kind = manifest["kind"]
        if kind == "Service":
            missing += self._service(manifest)
        elif kind == "PodDisruptionBudget":
            missing += self._budget(manifest)
        elif kind == "NetworkPolicy":
            missing += self._policy(manifest)
        elif kind == "HorizontalPodAutoscaler":
            target = manifest["spec"]["scaleTargetRef"]
            missing += self._is_there(target["kind"], _namespace(manifest), target["name"])
        elif kind in {"PodMonitor", "ServiceMonitor"}:
            missing += self._monitor(manifest)
        missing += self._asked(manifest)
        yield from (f"{where}: {text}" for text in missing)

    def _is_there(self, kind: str, namespace: str, name: str, key: str | None = None) -> Iterator[str]:
        manifest = self.named.get((kind, namespace, name))
        if manifest is None:
            if (kind, namespace, name) not in YOURS:
                yield f"no {kind} {name} in {namespace!r}"
        elif key is not None and key not in {**manifest.get("data", {}), **manifest.get("stringData", {})}:
            yield f"{kind} {name} has no key {key}"

    def _pod(self, manifest: Manifest, spec: Manifest) -> Iterator[str]:
        namespace = _namespace(manifest)
        if "serviceAccountName" in spec:
            yield from self._is_there("ServiceAccount", namespace, spec["serviceAccountName"])
        volumes = {volume["name"]: volume for volume in spec.get("volumes", ())}
        for volume in volumes.values():
            yield from self._volume(namespace, volume)
        mounted = {mount["name"] for container in containers_of(spec) for mount in container.get("volumeMounts", ())}
        yield from (f"no volume {name}, which is mounted" for name in sorted(mounted - volumes.keys()))
        yield from (f"the volume {name} is mounted nowhere" for name in sorted(volumes.keys() - mounted))
        for container in containers_of(spec):
            yield from (f"{container['name']}: {text}" for text in self._container(namespace, container))
        selector = manifest["spec"].get("selector", {}).get("matchLabels", {})
        if not selector.items() <= pod_labels(manifest).items():
            yield f"its selector {selector} is not of its own pods"
        for spread in spec.get("topologySpreadConstraints", ()):
            if not spread["labelSelector"]["matchLabels"].items() <= pod_labels(manifest).items():
                yield f"it is spread by labels that its pods do not have: {spread['labelSelector']['matchLabels']}"
        for near in spec.get("affinity", {}).get("podAffinity", {}).get(_PREFERRED, ()):
            yield from self._selects(manifest, near["podAffinityTerm"]["labelSelector"]["matchLabels"])

    def _volume(self, namespace: str, volume: Manifest) -> Iterator[str]:
        for source in volume.get("projected", {}).get("sources", [volume]):
            for kind, at, name in (("ConfigMap", "configMap", "name"), ("Secret", "secret", "secretName")):
                named = source.get(at)
                if named is None or named.get("optional"):
                    continue
                called = named.get(name) or named["name"]
                yield from self._is_there(kind, namespace, called)
                for item in named.get("items", ()):
                    yield from self._is_there(kind, namespace, called, item["key"])
        claim = volume.get("persistentVolumeClaim")
        if claim:
            yield from self._is_there("PersistentVolumeClaim", namespace, claim["claimName"])

    def _container(self, namespace: str, container: Manifest) -> Iterator[str]:
        ports = {port.get("name") for port in container.get("ports", ())}
        for probe in (name for name in PROBES if "httpGet" in container.get(name, {})):
            port = container[probe]["httpGet"]["port"]
            if port not in ports:
                yield f"{probe}: no port {port}"
        for variable in container.get("env", ()):
            for kind, at in (("ConfigMap", "configMapKeyRef"), ("Secret", "secretKeyRef")):
                ref = variable.get("valueFrom", {}).get(at)
                if ref:
                    yield from self._is_there(kind, namespace, ref["name"], ref["key"])
        for variable in container.get("envFrom", ()):
            if "secretRef" in variable:
                yield from self._is_there("Secret", namespace, variable["secretRef"]["name"])

    def _selected(self, namespace: str, labels: Mapping[str, str]) -> list[Manifest]:
        return [pod for pod in self.pods if _namespace(pod) == namespace and labels.items() <= pod_labels(pod).items()]

    def _selects(self, manifest: Manifest, labels: Mapping[str, str]) -> Iterator[str]:
        if not self._selected(_namespace(manifest), labels):
            yield f"selects no pod: {labels}"

    def _budget(self, manifest: Manifest) -> Iterator[str]:
        labels, kept = manifest["spec"]["selector"]["matchLabels"], manifest["spec"].get("minAvailable", 0)
        yield from self._selects(manifest, labels)
        for pods in self._selected(_namespace(manifest), labels):
            if kept >= (fewest := self._fewest(pods)):
                yield f"keeps {kept} of {fewest} pods, so no node can be drained"

    def _fewest(self, pods: Manifest) -> int:
        scaler = self.named.get(("HorizontalPodAutoscaler", _namespace(pods), pods["metadata"]["name"]))
        return int(scaler["spec"]["minReplicas"] if scaler else pods["spec"].get("replicas", 1))

    def _ports(self, manifests: Sequence[Manifest]) -> set[Any]:
        specs = [spec for manifest in manifests if (spec := pod_spec(manifest)) is not None]
        ports = [port for spec in specs for container in containers_of(spec) for port in container.get("ports", ())]
        return {port.get("name") for port in ports} | {port["containerPort"] for port in ports}

    def _service(self, manifest: Manifest) -> Iterator[str]:
        pods = self._selected(_namespace(manifest), manifest["spec"]["selector"])
        if not pods:
            yield f"selects no pod: {manifest['spec']['selector']}"
        for port in manifest["spec"]["ports"]:
            if port["targetPort"] not in self._ports(pods):
                yield f"no port {port['targetPort']} in its pods"
            elif port["name"] in self._ports(pods) - {port["targetPort"]}:
                yield f"its port {port['name']} leads to {port['targetPort']}"

    def _policy(self, manifest: Manifest) -> Iterator[str]:
        labels = manifest["spec"]["podSelector"]["matchLabels"]
        pods = self._selected(_namespace(manifest), labels)
        if not pods and manifest["metadata"]["name"] not in ADDED:
            yield f"selects no pod: {labels}"
        for port in (port["port"] for rule in manifest["spec"].get("ingress", ()) for port in rule.get("ports", ())):
            if pods and port not in self._ports(pods) and port not in SWITCHED_OFF:
                yield f"no port {port} in its pods"

    def _monitor(self, manifest: Manifest) -> Iterator[str]:
        spec = manifest["spec"]
        endpoints = spec.get("podMetricsEndpoints") or spec.get("endpoints")
        if manifest["kind"] == "PodMonitor":
            ports = self._ports([pod for pod in self.pods if _matches(spec["selector"], pod_labels(pod))])
        else:
            services = [manifest for manifest in self.all if manifest["kind"] == "Service"]
            watched = [service for service in services if _matches(spec["selector"], service["metadata"]["labels"])]
            ports = {port["name"] for service in watched for port in service["spec"]["ports"]}
        if ports:  # one overlay need not have all that a monitor looks for
            yield from (
                f"no port {endpoint['port']} where it looks" for endpoint in endpoints if endpoint["port"] not in ports
            )

    def _asked(self, manifest: Manifest) -> Iterator[str]:
        """Yield ports of the service `authz` that gateways ask and it does not have."""
        text = str(manifest) if manifest.get("metadata", {}).get("namespace") != "authz" else ""
        asked = {int(port) for port in re.findall(r"authz\.authz[a-z.]*:(\d+)", text)}
        asked |= {int(port) for port in re.findall(r"'name': 'authz', 'namespace': 'authz', 'port': (\d+)", text)}
        if manifest["kind"] == "ExtensionService":
            asked |= {service["port"] for service in manifest["spec"]["services"] if service["name"] == "authz"}
        service = self.named.get(("Service", "authz", "authz"))
        ports = {port["port"] for port in service["spec"]["ports"]} if service else set()
        yield from (f"the service authz has no port {port}" for port in sorted(asked - ports))


ADDED: Final = {
    "authz-layers",
    "authz-object-store",
}  # of components, for pods of base/central; there with base/sidecar, too
SWITCHED_OFF: Final = {"http"}  # by the component tls


def _matches(selector: Manifest, labels: Mapping[str, str]) -> bool:
    """Return whether a selector of labels and of `In` has these labels."""
    expressions = all(
        labels.get(expression["key"]) in expression["values"] for expression in selector.get("matchExpressions", ())
    )
    return expressions and selector.get("matchLabels", {}).items() <= labels.items()


def _namespace(manifest: Manifest) -> str:
    return str(manifest["metadata"].get("namespace", ""))
