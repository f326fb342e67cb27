"""Every overlay is applied to a real API server that enforces the Pod Security Standard `restricted`. `make kube-test`.

The server validates strictly, and the custom resources of the gateways by the definitions that their projects publish.
No node runs the pods; each is admitted as one (`--dry-run=server`).
"""

from __future__ import annotations

import copy
import os
import random
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support.docs.blocks import ROOT
from support.docs.follow import follow
from support.docs.plan import read_plan
from support.processes import wait_for
from support.proxies.kubernetes.kustomize import OVERLAYS, build, pod_labels, pod_spec, write_overlay
from support.publishing.publisher import Publisher
from support.suite.shared import shared

if TYPE_CHECKING:
    from pathlib import Path

    from support.proxies.kubernetes.cluster import Cluster, Said
    from support.proxies.kubernetes.kustomize import Manifest

PUBLIC = [first for first in range(1, 224) if first not in {10, 100, 127, 169, 172, 192, 198, 203}]  # of addresses
# Groups of objects that need definitions of others.
OTHERS = (
    "gateway.",
    "istio.",
    "projectcontour.",
    "getambassador.",
    "traefik.",
    "apisix.",
    "cert-manager.",
    "monitoring.",
)


@pytest.fixture(scope="module")
def ready(cluster: Cluster) -> Cluster:
    """The server with the namespaces that overlays put objects into."""
    for name in ("shop", "istio-ingress", "emissary", "edge"):
        cluster.make_namespace(name)
    cluster.make_namespace("injected", {"authz-inject": "enabled"})
    return cluster


_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # eight megabytes


def newest(definition: Manifest) -> Manifest:
    """Return a definition of Emissary's with its newest version alone: its older ones are no structural schemas."""
    if definition["kind"] == "CustomResourceDefinition" and definition["spec"]["group"] == "getambassador.io":
        version = {**definition["spec"]["versions"][-1], "served": True, "storage": True}
        spec = {key: value for key, value in definition["spec"].items() if key != "conversion"}
        return {**definition, "spec": {**spec, "versions": [version]}}
    return definition


@pytest.fixture(scope="module")
def with_definitions(ready: Cluster) -> Cluster:
    """The same, with the custom resource definitions of ten projects."""
    for folder in sorted(shared("kubernetes/crds").iterdir()):
        definitions = [
            newest(manifest)
            for file in folder.iterdir()
            for manifest in yaml.load_all(file.read_text(), _Loader)
            if manifest
        ]
        said = ready.kubectl("apply", "--server-side", "-f", "-", manifests=definitions)
        assert said.status == 0, f"{folder.name}: {said.err[:2000]}"
    said = ready.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
    assert said.status == 0, said.err
    return ready


def needs_definitions(name: str) -> bool:
    return any(
        manifest["apiVersion"].startswith(OTHERS) or any(o in manifest["apiVersion"] for o in OTHERS)
        for manifest in build(name)
    )


@pytest.fixture
def server(request: pytest.FixtureRequest, name: str) -> Cluster:
    """The server that an overlay needs; skips where the definitions are not there."""
    cluster: Cluster = request.getfixturevalue("with_definitions" if needs_definitions(name) else "ready")
    return cluster


def pods_of(manifests: list[Manifest]) -> list[Manifest]:
    """Return the pods that a controller would make of the manifests."""
    made = []
    for manifest in manifests:
        spec = pod_spec(manifest)
        if spec is not None:
            metadata = {"namespace": manifest["metadata"]["namespace"], "labels": pod_labels(manifest)}
            metadata["name"] = f"{manifest['metadata']['name']}-0"
            made.append({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    return made


def admit(cluster: Cluster, pods: list[Manifest]) -> Said:
    """Have the server admit pods, and forget them."""
    return cluster.kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", manifests=pods)


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_is_applied_and_its_pods_are_admitted(name: str, server: Cluster, tmp_path: Path) -> None:
    said = server.apply("-k", write_overlay(tmp_path / "overlay", name))
    assert said.status == 0, said.err
    applied = said.out.count("serverside-applied")
    assert applied == len(build(name)), said.out
    assert "Warning" not in said.err, said.err
    pods = pods_of(build(name))
    if pods:
        said = admit(server, pods)
        assert said.status == 0, said.err
        assert "Warning" not in said.err, said.err


def changed_pod(name: str, **context: Any) -> Manifest:
    pod = copy.deepcopy(pods_of(build(name))[0])
    pod["spec"]["containers"][0]["securityContext"].update(context)
    return pod


@pytest.mark.parametrize(
    "context", [{"privileged": True, "allowPrivilegeEscalation": True}, {"capabilities": {"add": ["NET_ADMIN"]}},
                {"runAsUser": 0}, {"allowPrivilegeEscalation": True}],
)  # fmt: skip
def test_a_pod_with_rights_is_not_admitted(ready: Cluster, context: dict[str, Any]) -> None:
    assert (
        ready.apply(manifests=[manifest for manifest in build("central") if manifest["kind"] == "Namespace"]).status
        == 0
    )
    ready.apply(manifests=[manifest for manifest in build("central") if manifest["kind"] == "ServiceAccount"])
    assert admit(ready, [changed_pod("central")]).status == 0
    said = admit(ready, [changed_pod("central", **context)])
    assert said.status != 0
    assert 'violates PodSecurity "restricted' in said.err


@pytest.mark.parametrize(("wrong", "text"), [
    ({"replica": 2}, ".spec.replica: field not declared"),
    ({"template": None}, "spec.template"),
    ({"strategy": {"type": "Recreated"}}, "Unsupported value"),
])  # fmt: skip
def test_a_manifest_with_a_mistake_is_refused(ready: Cluster, wrong: dict[str, Any], text: str) -> None:
    deployment = copy.deepcopy(next(manifest for manifest in build("sidecar") if manifest["kind"] == "Deployment"))
    deployment["metadata"]["name"] = "mistaken"
    deployment["spec"].update(wrong)
    said = ready.apply(manifests=[deployment])
    assert said.status != 0
    assert text in said.err


def test_a_gateway_s_object_with_a_mistake_is_refused(with_definitions: Cluster) -> None:
    policy = next(manifest for manifest in build("gateway envoy-gateway") if manifest["kind"] == "SecurityPolicy")
    for wrong, text in (({"statusOnEror": 503}, "not declared"), ({"statusOnError": 999}, "Unsupported value")):
        mistaken = copy.deepcopy(policy)
        mistaken["spec"]["extAuth"].update(wrong)
        said = with_definitions.apply(manifests=[mistaken])
        assert said.status != 0
        assert text in said.err


# Injection


def plain_pod(labels: dict[str, str]) -> Manifest:
    rights = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    container = {"name": "nginx", "image": "nginx", "securityContext": rights, "volumeMounts": []}
    spec = {
        "containers": [container],
        "securityContext": {"runAsNonRoot": True, "runAsUser": 101, "seccompProfile": {"type": "RuntimeDefault"}},
        "automountServiceAccountToken": False,
    }
    metadata = {"name": "web", "namespace": "injected", "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def created(cluster: Cluster, pod: Manifest) -> Manifest:
    """Return a pod as the server would keep it."""
    said = cluster.kubectl("create", "--dry-run=server", "-o", "yaml", "-f", "-", manifests=[pod])
    assert said.status == 0, said.err
    kept: Manifest = yaml.safe_load(said.out)
    return kept


@pytest.fixture
def injecting(ready: Cluster, tmp_path: Path) -> Cluster:
    """The server with the policy, and an account for pods."""
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "injected"}}
    assert ready.apply(manifests=[account]).status == 0
    said = ready.apply("-k", write_overlay(tmp_path / "inject", "inject"))
    assert said.status == 0, said.err
    return ready


def test_a_pod_that_asks_for_it_gets_the_sidecar_of_the_base(injecting: Cluster) -> None:
    def sidecar_is_there() -> Manifest | None:
        pod = created(injecting, plain_pod({"authz-inject": "true"}))
        return pod if "initContainers" in pod["spec"] else None

    kept = wait_for(sidecar_is_there, "a new policy is in force within a second or two", pause=0.5)
    (injected,) = kept["spec"]["initContainers"]
    manifests = [manifest for manifest in build("sidecar") if manifest["kind"] == "Deployment"]
    (base,) = (pod_spec(manifests[0]) or {})["initContainers"]
    for same in ("name", "args", "restartPolicy", "image", "resources"):
        assert injected[same] == base[same], same
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert base[probe].items() <= {**injected[probe], "httpGet": base[probe]["httpGet"]}.items()
        assert base[probe]["httpGet"].items() <= injected[probe]["httpGet"].items()
    assert base["securityContext"].items() <= injected["securityContext"].items()
    mounts = {mount["name"]: mount["mountPath"] for mount in injected["volumeMounts"]}
    wanted = {mount["name"]: mount["mountPath"] for mount in base["volumeMounts"] if mount["name"] != "authz-socket"}
    assert wanted.items() <= mounts.items()
    assert wanted.keys() <= {volume["name"] for volume in kept["spec"]["volumes"]}


def test_other_pods_are_left_as_they_are(injecting: Cluster) -> None:
    assert "initContainers" not in created(injecting, plain_pod({"app": "web"}))["spec"]


# The snapshot in a ConfigMap


def snapshot_of(addresses: int, folder: Path) -> Path:
    """Build a snapshot of that many single addresses, which are spread over the whole Internet."""
    made = random.Random(addresses)  # the same in each run
    chosen: set[str] = set()
    while len(chosen) < addresses:
        chosen.add(f"{made.choice(PUBLIC)}.{made.randrange(256)}.{made.randrange(256)}.{made.randrange(256)}")
    (folder / "bad.txt").write_text("\n".join(sorted(chosen)))
    entry = {"list": "deny", "sources": ["bad"], "reason": "abuse"}
    feed = {"source": "bad", "path": "bad.txt", "format": "plain"}
    return Publisher(folder).publish(yaml.safe_dump({"version": 1, "feeds": [feed], "entries": [entry]}))


def test_a_config_map_holds_as_many_addresses_as_the_page_says(ready: Cluster, tmp_path: Path) -> None:
    """The page said that 33,000 fit, when 32,768 filled it: the directory doubled at the 65,537th piece."""
    page = " ".join((ROOT / "deploy" / "README.md").read_text().split())
    said = re.search(r"1 MiB: ([\d,]+) single addresses fit, ([\d,]+) do not. .* fails from about ([\d,]+),", page)
    assert said is not None
    fits, too_many, too_many_by_client = (int(number.replace(",", "")) for number in said.groups())
    symptoms = (ROOT / "docs" / "operations" / "troubleshooting.md").read_text()

    def apply(addresses: int, *options: str) -> Said:
        (tmp_path / str(addresses)).mkdir(exist_ok=True)
        file = snapshot_of(addresses, tmp_path / str(addresses))
        create = ("create", "configmap", f"of-{addresses}", f"--from-file={file}", "--dry-run=client", "-o", "yaml")
        made = ready.kubectl("-n", "edge", *create)
        assert made.status == 0, made.err
        return ready.kubectl("-n", "edge", "apply", *options, "-f", "-", manifests=[yaml.safe_load(made.out)])

    assert apply(fits, "--server-side").status == 0
    for refused, words in (
        (apply(too_many, "--server-side"), "Too long: may not be more than 1048576 bytes"),
        (apply(too_many_by_client), "metadata.annotations: Too long"),
    ):
        assert refused.status != 0
        assert words in refused.err
        assert words in symptoms


def test_the_commands_of_the_page_are_taken(with_definitions: Cluster, tmp_path: Path) -> None:
    """deploy/README.md, as it stands."""
    programs = tmp_path / "programs"
    programs.mkdir()
    with_definitions.write_command(programs / "kubectl")
    if helm := os.environ.get("HELM"):
        (programs / "helm").write_text(f'#!/bin/sh\nexec {helm} --kubeconfig {with_definitions.kubeconfig} "$@"\n')
        (programs / "helm").chmod(0o755)
    (guide,) = [guide for guide in read_plan().values() if guide.cluster]
    follow(guide.steps, tmp_path, programs)
