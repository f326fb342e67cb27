"""Whom the NetworkPolicies of each overlay let through: gateways, sidecars, Prometheus, and nobody else."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
from support.proxies.kubernetes.helm import CHARTS, render
from support.proxies.kubernetes.kustomize import OVERLAYS, build
from support.proxies.kubernetes.mounted import mounted_sidecars
from support.proxies.kubernetes.network_policies import NAME_SERVER, Port, cut_off, lets_in, lets_out, named

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.proxies.kubernetes.kustomize import Manifest

NAME = "kubernetes.io/metadata.name"
STRANGER = {NAME: "somebody"}
GATEWAY = {NAME: "gateways", "authz-client": "true"}
WITH_SIDECARS = [name for name in OVERLAYS if not name.startswith(("control", "inject"))]
CENTRAL = [name for name in WITH_SIDECARS if not name.startswith("sidecar")]
CONTROL = [name for name in OVERLAYS if name.startswith("control")]


def deployment(manifests: list[Manifest], name: str) -> Manifest:
    (pods,) = (m for m in manifests if m["kind"] == "Deployment" and m["metadata"]["name"] == name)
    return pods


def fronts(pods: Manifest) -> list[Port]:
    """Return the ports that pods of authz answer on; the component tls has one of them."""
    names = {port.get("name") for port in pods["spec"]["template"]["spec"]["containers"][0]["ports"]}
    return [named(pods, name) for name in sorted(names & {"grpc", "http"})]


@pytest.mark.parametrize("name", WITH_SIDECARS)
def test_a_sidecar_reaches_where_its_layers_come_from(name: str, tmp_path: Path) -> None:
    manifests = build(name)
    assert [
        problem for sidecar in mounted_sidecars(manifests, tmp_path) for problem in cut_off(manifests, sidecar)
    ] == []


@pytest.mark.parametrize("example", sorted((CHARTS / "authz" / "ci").glob("*.yaml")), ids=lambda path: path.stem)
def test_so_does_one_of_the_chart(example: Path, tmp_path: Path) -> None:
    manifests = render("authz", example)
    (sidecar,) = mounted_sidecars(manifests, tmp_path)
    assert cut_off(manifests, sidecar) == []


@pytest.mark.parametrize("name", CENTRAL)
def test_namespaces_with_the_label_may_ask_authz_and_no_others(name: str) -> None:
    """Who reaches the HTTP front can say who the client is."""
    manifests = build(name)
    pods = deployment(manifests, "authz")
    assert fronts(pods)
    for port in fronts(pods):
        assert lets_in(manifests, pods, GATEWAY, port)
        assert not lets_in(manifests, pods, STRANGER, port)


@pytest.mark.parametrize("name", WITH_SIDECARS)
def test_metrics_are_for_the_namespace_monitoring(name: str) -> None:
    manifests = build(name)
    pods = deployment(manifests, "edge" if name.startswith("sidecar") else "authz")
    port = named(pods, "authz-admin")
    assert lets_in(manifests, pods, {NAME: "monitoring"}, port)
    assert not lets_in(manifests, pods, GATEWAY, port)


@pytest.mark.parametrize("name", CONTROL)
def test_sidecars_and_people_with_the_label_reach_the_control_plane_and_no_others(name: str) -> None:
    manifests = build(name)
    pods = deployment(manifests, "control")
    for namespace in ({NAME: "shop", "authz-control-client": "true"}, {NAME: "authz"}, {NAME: "monitoring"}):
        assert lets_in(manifests, pods, namespace, named(pods, "api"))
    assert not lets_in(manifests, pods, STRANGER, named(pods, "api"))
    assert all(lets_out(manifests, pods, {NAME: "kube-system"}, port) for port in NAME_SERVER)
    assert lets_out(manifests, pods, {}, Port(5432)) is (name in {"control postgresql", "control all"})
    assert lets_out(manifests, pods, {}, Port(443)) is (name in {"control kms", "control all"})


def test_fetched_feeds_come_in_and_nobody_else_does() -> None:
    manifests = build("control feeds")
    (job,) = (manifest for manifest in manifests if manifest["kind"] == "CronJob")
    assert lets_out(manifests, job, {}, Port(443))
    assert all(lets_out(manifests, job, {NAME: "kube-system"}, port) for port in NAME_SERVER)
    assert not lets_in(manifests, job, {NAME: "authz-control"}, Port(9194))


# A mistake is seen


def ports(rule: Any, *numbers: int) -> None:
    rule["ports"] = [{"port": number} for number in numbers]


WRONG: dict[str, tuple[str, Callable[[Any], object], str]] = {
    "another port": ("authz-layers", lambda spec: ports(spec["egress"][0], 9195), "let nothing out to authz-control"),
    "another namespace": (
        "authz-layers",
        lambda spec: spec["egress"][0]["to"][0]["namespaceSelector"]["matchLabels"].update({NAME: "control"}),
        "let nothing out to authz-control",
    ),
    "no rule": ("authz-layers", lambda spec: spec.update(egress=[]), "let nothing out to authz-control"),
    "names by TCP alone": ("authz-layers", lambda spec: ports(spec["egress"][1], 53), "name server"),
    "other pods": (
        "authz-layers",
        lambda spec: spec["podSelector"]["matchLabels"].update({"x": "y"}),
        "let nothing out to authz-control",
    ),
    "sidecars forgotten": (
        "control",
        lambda spec: spec["ingress"][0]["from"].pop(1),
        "the policies of authz-control let the sidecar's namespace not in",
    ),
    "the port of something else": ("control", lambda spec: ports(spec["ingress"][0], 9191), "not in"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", WRONG)
def test_a_policy_that_cuts_the_control_plane_off_is_found(mistake: str, tmp_path: Path) -> None:
    policy, how, text = WRONG[mistake]
    manifests = copy.deepcopy(build("gateway with all"))
    (spec,) = (m["spec"] for m in manifests if m["kind"] == "NetworkPolicy" and m["metadata"]["name"] == policy)
    how(spec)
    (sidecar,) = mounted_sidecars(manifests, tmp_path)
    problems = cut_off(manifests, sidecar)
    assert any(text in problem for problem in problems), problems


def test_a_url_of_a_port_that_the_control_plane_does_not_have_is_found(tmp_path: Path) -> None:
    manifests = copy.deepcopy(build("gateway with all"))
    (service,) = (m for m in manifests if m["kind"] == "Service" and m["metadata"]["name"] == "control")
    service["spec"]["ports"][0]["port"] = 80
    (sidecar,) = mounted_sidecars(manifests, tmp_path)
    assert any("the service has no port 9194" in problem for problem in cut_off(manifests, sidecar))


def test_a_policy_without_peers_is_for_everybody() -> None:
    manifests = copy.deepcopy(build("central"))
    (policy,) = (manifest for manifest in manifests if manifest["kind"] == "NetworkPolicy")
    del policy["spec"]["ingress"][0]["from"]
    pods = deployment(manifests, "authz")
    assert all(lets_in(manifests, pods, STRANGER, port) for port in fronts(pods))
