"""Each gateway's authz.yaml: `authz check-config` takes it, and a real sidecar answers for the right client."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import yaml
from support.processes import free_port
from support.proxies.client import ask
from support.proxies.envoy_api import check_request, read_answer
from support.proxies.kubernetes.kustomize import GATEWAYS, KUBERNETES, ROOT, build
from support.proxies.kubernetes.started import moved, start_behind, with_keys
from support.proxies.programs.haproxy import haproxy_path
from support.proxies.programs.process import ProxyPorts, ProxyProcess
from support.proxies.upstream import Upstream

from authz.serve.grpc.check import CHECK_METHOD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from support.proxies.kubernetes.started import Deployed

GOOD, BAD, FORGED = "198.51.100.7", "203.0.113.9", "192.0.2.1"  # on no list, on the deny list, on the allow list
CONFIGURATIONS = sorted(path for path in (ROOT / "deploy").rglob("authz.yaml"))
# Gateways whose Envoy appends who connected, or whose proxy does, to what the client wrote.
OVER_HTTP: dict[str, Callable[[str], dict[str, str]]] = {
    "istio-http": lambda client: {"X-Forwarded-For": f"{FORGED}, {client}"},
    "traefik": lambda client: {"X-Forwarded-For": f"{FORGED}, {client}"},
    "ingress-nginx": lambda client: {"X-Forwarded-For": client, "X-Real-IP": client},
    "apisix": lambda client: {"X-Forwarded-For": client},
    "haproxy": lambda client: {"X-Real-IP": client},  # it deletes X-Forwarded-For
}
OVER_GRPC = [name for name in GATEWAYS if name not in OVER_HTTP]


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.parent.relative_to(ROOT / "deploy").as_posix())
def test_check_config_takes_it_and_finds_nothing_wrong(path: Path, tmp_path: Path) -> None:
    with_keys(tmp_path)
    command = [sys.executable, "-m", "authz", "check-config", str(moved(path, tmp_path))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", GATEWAYS)
def test_the_configuration_in_the_overlay_is_the_gateway_s(name: str) -> None:
    (config,) = (
        manifest for manifest in build(f"gateway {name}") if manifest["metadata"]["name"].startswith("authz-config")
    )
    assert config["data"]["authz.yaml"] == (KUBERNETES / "gateways" / name / "authz.yaml").read_text()


@pytest.fixture
def deployed(name: str, tmp_path: Path) -> Iterator[Deployed]:
    with start_behind(name, tmp_path) as started:
        yield started


def target_of(name: str) -> str:
    """Return the path that a gateway asks for, as its manifests or its mesh configuration say."""
    folder = KUBERNETES / "gateways" / name
    if name == "istio-http":
        (provider,) = yaml.safe_load((folder / "meshconfig.yaml").read_text())["extensionProviders"]
        return f"{provider['envoyExtAuthzHttp']['pathPrefix']}/admin/../cart?id=7"
    (target,) = re.findall(r"http://authz\.authz[a-z.]*:9192(/\S+)", (folder / "route.yaml").read_text())
    return str(target)


@pytest.mark.parametrize("name", OVER_HTTP)
def test_a_gateway_that_asks_over_http_gets_the_answer_for_its_client(name: str, deployed: Deployed) -> None:
    for client, status in ((GOOD, 200), (BAD, 403)):
        headers = [f"{key}: {value}" for key, value in OVER_HTTP[name](client).items()]
        answer = ask_http(deployed.ports["http"], target_of(name), headers)
        assert answer.status == status, (client, deployed.process.output)
    line = deployed.process.wait_for_line(r'.*"decision":"deny".*')[0]
    assert f'"client":"{BAD}"' in line
    assert '"application":"shop"' in line


@pytest.mark.parametrize("name", OVER_HTTP)
def test_a_gateway_is_believed_whatever_network_the_pods_have(name: str) -> None:
    """A guess that is wrong would make the gateway the client of all its requests: nobody would be denied."""
    config = yaml.safe_load((KUBERNETES / "gateways" / name / "authz.yaml").read_text())
    assert config["client_address"].get("trusted_proxies", []) == []
    assert config["client_address"]["trusted_hops"] == 1


def ask_http(port: int, target: str, headers: Sequence[str]) -> Any:
    import socket

    from support.sidecar.fronts import HttpClient

    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        return HttpClient(connection).ask(target, *headers)


def context_of(name: str) -> dict[str, str]:
    """Return the context that a gateway sends, as its manifests say; most send none."""
    sent: dict[str, str] = {}
    for manifest in build(f"gateway {name}"):
        spec = manifest.get("spec") or {}
        if manifest["kind"] == "SecurityPolicy":
            sent |= {each["name"]: each["value"] for each in spec["extAuth"]["contextExtensions"]}
        elif manifest["kind"] == "HTTPProxy":
            sent |= spec["virtualhost"]["authorization"]["authPolicy"]["context"]
        elif manifest["kind"] == "Mapping":
            sent |= spec["auth_context_extensions"]
    return sent


@pytest.mark.parametrize("name", OVER_GRPC)
def test_a_gateway_that_asks_over_grpc_gets_the_answer_for_its_client(name: str, deployed: Deployed) -> None:
    """Where no context is sent, the policy's `hosts` name the application."""
    context = context_of(name)
    assert context in ({"application": "shop"}, {})
    host = "anything.example.com" if context else "shop.example.com"
    with grpc.insecure_channel(f"127.0.0.1:{deployed.ports['grpc']}") as channel:
        ask = channel.unary_unary(CHECK_METHOD, lambda request: request, lambda answer: answer)
        for client, status in ((GOOD, 0), (BAD, 7)):
            headers = {"x-forwarded-for": FORGED, ":authority": host}
            answer = read_answer(ask(check_request(client, headers=headers, context=context, host=host), timeout=10))
            assert answer.code == status, (client, deployed.process.output)
            assert answer.metadata["client"] == client
            assert answer.metadata["application"] == "shop"


def test_nginx_gateway_fabric_has_a_warning_and_nothing_to_apply() -> None:
    """It sends no address of the client: whatever is configured, authz denies everybody or believes an attacker."""
    folder = KUBERNETES / "gateways" / "nginx-gateway-fabric"
    assert [path.name for path in folder.iterdir()] == ["README.md"]
    assert "do not use it" in (folder / "README.md").read_text()


def test_what_a_gateway_answers_while_authz_is_away_is_not_a_denial_where_it_can_be_told() -> None:
    says_503 = {}
    for name in GATEWAYS:
        text = "".join(path.read_text() for path in sorted((KUBERNETES / "gateways" / name).glob("*.yaml")))
        says_503[name] = bool(re.search(r"(statusOnError|status_on_error): (\"?503|\{code: 503)", text))
    cannot = {"contour", "gateway-api", "traefik", "haproxy", "ingress-nginx"}  # fixed at 403 or 500: the files say so
    assert {name for name, can in says_503.items() if not can} == cannot


OPENS = re.compile(r"(failOpen|failure_mode_allow|failureModeAllow|allow_degradation)\W+true|auth-always-allow")


@pytest.mark.parametrize("name", GATEWAYS)
def test_no_gateway_is_told_to_let_everybody_in_while_authz_is_away(name: str) -> None:
    assert not OPENS.search(json.dumps(build(f"gateway {name}")))
    assert not [
        path for path in (KUBERNETES / "gateways" / name).glob("meshconfig.yaml") if OPENS.search(path.read_text())
    ]


def test_a_gateway_that_is_told_so_is_found() -> None:
    text = json.dumps(build("gateway apisix")) + json.dumps(build("gateway emissary"))
    assert OPENS.search(text.replace('"allow_degradation": false', '"allow_degradation": true'))
    assert OPENS.search(text.replace('"failure_mode_allow": false', '"failure_mode_allow": true'))


# What a client made up


def named_in_answers() -> set[str]:
    """Return the names of the headers that an answer over HTTP can have."""
    return set(re.findall(r"X-Authz-[A-Z][A-Za-z-]+", (ROOT / "authz/serve/http1/answers.py").read_text()))


@pytest.mark.parametrize("name", ["apisix", "ingress-nginx", "traefik"])
def test_a_gateway_takes_every_header_of_ours_from_the_answer_or_from_nobody(name: str) -> None:
    """These delete a header that is named and not in the answer; one that is not named is the client's."""
    ours = named_in_answers()
    assert len(ours) > 8
    text = (KUBERNETES / "gateways" / name / "route.yaml").read_text()
    assert ours - set(re.findall(r"X-Authz-[A-Z][A-Za-z-]+", text)) == set()


def test_haproxy_ingress_is_told_headers_in_lower_case() -> None:
    """It compares patterns with names that HAProxy gives in lower case, and would send no header otherwise."""
    (route,) = (manifest for manifest in build("gateway haproxy") if manifest["kind"] == "Ingress")
    named = {key: text for key, text in route["metadata"]["annotations"].items() if "auth-headers" in key}
    assert len(named) == 3
    assert {key: text for key, text in named.items() if text != text.lower()} == {}


def test_haproxy_deletes_what_a_client_made_up_by_the_lines_for_its_controller(tmp_path: Path) -> None:
    """The answer's headers are added to those of the request."""
    lines = yaml.safe_load((KUBERNETES / "gateways/haproxy/config.yaml").read_text())["config-frontend"]
    port = free_port()
    with Upstream() as upstream:
        (tmp_path / "haproxy.cfg").write_text(
            "defaults\n    mode http\n    timeout connect 5s\n    timeout client 10s\n    timeout server 10s\n"
            f"frontend edge\n    bind 127.0.0.1:{port}\n    {lines.strip()}\n    default_backend app\n"
            f"backend app\n    server app 127.0.0.1:{upstream.port}\n"
        )
        command: list[str | Path] = [haproxy_path(), "-f", "haproxy.cfg", "-db"]
        with ProxyProcess(command, tmp_path, ProxyPorts(port, port)):
            forged = [("X-Authz-List", "allow"), ("x-AUTHZ-client-address", FORGED), ("X-Author", "me")]
            assert ask(port, "/cart", forged).status == 200
            seen = {name for name in upstream.last().headers if name.startswith("x-a")}
            assert seen == {"x-author"}
            assert ask(port, "/cart", [("X-Forwarded-Host", "admin.example.com"), ("X-Original-URL", "/admin"),
                                       ("Connection", "Upgrade"), ("Upgrade", "h2c")]).status == 200  # fmt: skip
            assert not {"x-forwarded-host", "x-original-url", "upgrade"} & upstream.last().headers.keys()
