"""`authz print-config`: the printed configurations are valid, and are what the sidecar's configuration asks for."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.proxies.configurations import AWKWARD, CONFIGURATIONS, POLICY, SNAPSHOT
from support.proxies.programs.envoy import check_of as filter_of
from support.proxies.programs.envoy import endpoint_of, validate_envoy
from support.proxies.programs.nginx import adapt_nginx, validate_nginx
from support.publishing.publisher import Publisher
from support.sidecar.fronts import Fronts

from authz.cli.sidecar import proxy_config
from authz.cli.sidecar.proxy_config import render
from authz.cli.sidecar.proxy_config.template import fill
from authz.errors import InputError
from authz.serve.config.config import load_config
from authz.serve.grpc.responses import APPLICATION_HEADER, CLIENT_HEADER, LIST_HEADER, REMOVED
from authz.serve.http1.messages import RequestHead

ROOT = Path(__file__).parents[3]


def printed(folder: Path, proxy: str, configuration: str) -> str:
    file = folder / "authz.yaml"
    file.write_text(SNAPSHOT + configuration)
    return render(proxy, load_config(file, {}))


def envoy(folder: Path, configuration: str) -> Any:
    return yaml.safe_load(printed(folder, "envoy", configuration))


def check_of(config: Any) -> Any:
    """Return the settings of the ext_authz filter."""
    return filter_of(manager_of(config))


def manager_of(config: Any) -> Any:
    return config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]


def sidecar_of(config: Any) -> Any:
    """Return the cluster of the sidecar."""
    return config["static_resources"]["clusters"][0]


def head(text: str) -> str:
    """Return the comment at the head, as one line."""
    return " ".join(line.lstrip("# ") for line in text.partition("\n\n")[0].splitlines())


# For both


@pytest.mark.parametrize("configuration", CONFIGURATIONS.values(), ids=list(CONFIGURATIONS))
def test_envoy_takes_it(short_path: Path, configuration: str) -> None:
    (short_path / "envoy.yaml").write_text(printed(short_path, "envoy", configuration))
    validate_envoy(short_path / "envoy.yaml")


@pytest.mark.parametrize("configuration", CONFIGURATIONS.values(), ids=list(CONFIGURATIONS))
def test_nginx_takes_it(short_path: Path, configuration: str) -> None:
    (short_path / "nginx.conf").write_text(adapt_nginx(printed(short_path, "nginx", configuration)))
    validate_nginx(short_path)


@pytest.mark.parametrize("configuration", CONFIGURATIONS.values(), ids=list(CONFIGURATIONS))
@pytest.mark.parametrize("proxy", ["envoy", "nginx"])
def test_nothing_of_a_template_is_left_in_what_is_printed(tmp_path: Path, proxy: str, configuration: str) -> None:
    text = printed(tmp_path, proxy, configuration)
    assert not re.search(r"\{\{ | \}\}", text)
    assert text.endswith("}\n")
    assert [line for line in text.splitlines() if line != line.rstrip()] == []


@pytest.mark.parametrize("proxy", ["envoy", "nginx"])
def test_the_command_prints_the_same(tmp_path: Path, proxy: str) -> None:
    text = printed(tmp_path, proxy, "")
    command = [sys.executable, "-m", "authz", "print-config", proxy, "--config", "authz.yaml"]
    assert subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout == text


@pytest.mark.parametrize(
    ("proxy", "front", "listen", "message"),
    [
        ("envoy", "grpc", '"off"', "grpc.listen: found 'off', expected a listener for envoy"),
        ("nginx", "http", '"off"', "http.listen: found 'off', expected a listener for nginx"),
        ("envoy", "grpc", "127.0.0.1:0", "grpc.listen: found port 0, expected the port that envoy is to ask"),
        ("nginx", "http", "127.0.0.1:0", "http.listen: found port 0, expected the port that nginx is to ask"),
    ],
)
def test_a_sidecar_that_does_not_listen_for_the_proxy_is_an_error(
    tmp_path: Path, proxy: str, front: str, listen: str, message: str
) -> None:
    with pytest.raises(InputError) as error:
        printed(tmp_path, proxy, f"{front}: {{listen: {listen}}}\n")
    assert error.value.message == message
    command = [sys.executable, "-m", "authz", "print-config", proxy, "--config", "authz.yaml"]
    done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"authz: error: {message}\nhint: ")


def test_the_templates_are_part_of_the_package() -> None:
    package_data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["authz"]
    packed = {path for pattern in package_data for path in (ROOT / "authz").glob(pattern)}
    templates = set((Path(proxy_config.__file__).parent / "templates").iterdir())
    assert templates <= packed
    assert len(templates) == 9


def test_a_name_without_a_value_in_a_template_is_an_error() -> None:
    lines = "a\n{{ if yes }}\n  b: {{ name }}\n{{ if no }}\nc\n{{ end }}\n{{ end }}\n{{ if not no }}\nd\n{{ end }}"
    assert fill(lines, {"yes": True, "no": "", "name": "x"}) == "a\n  b: x\nd\n"
    with pytest.raises(KeyError):
        fill("{{ other }}", {})


# The applications of the policy


def test_the_applications_of_the_policy_or_the_snapshot_are_printed(publisher: Publisher) -> None:
    folder = publisher.folder
    (folder / "authz.yaml").write_text(SNAPSHOT)

    def run(proxy: str, *more: str) -> str:
        command = [sys.executable, "-m", "authz", "print-config", proxy, "--config", "authz.yaml", *more]
        return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout

    assert "The applications are examples" in run("envoy")
    publisher.publish(POLICY)
    for proxy in ("envoy", "nginx"):
        assert run(proxy) == run(proxy, "--policy", "policy.yaml") == run(proxy, "--snapshot", "lists.snapshot")
    hosts = manager_of(yaml.safe_load(run("envoy")))["route_config"]["virtual_hosts"]
    names = ["shop.example.com", "buy.example.com"]
    assert hosts[0]["domains"] == [form for name in names for form in (name, f"{name}:", f"{name}:*")]
    assert [route["match"].get("path_separated_prefix") for route in hosts[1]["routes"]].count("/a.b-c") == 1
    assert "server_name shop.example.com buy.example.com;" in run("nginx")
    assert 'location ~ "^/a\\\\.b-c([/;]|%3[bB]|$)"' in run("nginx")


def test_an_envoy_that_is_too_old_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "authz.yaml").write_text(SNAPSHOT)
    for version, warned in (("1.36.9", True), ("1.37.0", False), ("2.1.0", False)):
        (tmp_path / "envoy").write_text(f"#!/bin/sh\necho 'envoy  version: abc/{version}/Clean/RELEASE/BoringSSL'\n")
        (tmp_path / "envoy").chmod(0o755)
        command = [sys.executable, "-m", "authz", "print-config", "envoy", "--config", "authz.yaml"]
        done = subprocess.run(
            command, cwd=tmp_path, check=True, capture_output=True, text=True, env=os.environ | {"PATH": str(tmp_path)}
        )
        assert ("expected 1.37 or newer" in done.stderr) == warned


# Envoy


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("127.0.0.1:9191", {"socket_address": {"address": "127.0.0.1", "port_value": 9191}}),
        ("[::1]:9191", {"socket_address": {"address": "::1", "port_value": 9191}}),
        ("10.1.2.3:1", {"socket_address": {"address": "10.1.2.3", "port_value": 1}}),
        ("0.0.0.0:9191", {"socket_address": {"address": "127.0.0.1", "port_value": 9191}}),
        ("[::]:9191", {"socket_address": {"address": "::1", "port_value": 9191}}),
        ("unix:///run/authz/grpc.sock", {"pipe": {"path": "/run/authz/grpc.sock"}}),
    ],
)
def test_envoy_asks_where_the_sidecar_listens(tmp_path: Path, listen: str, address: Any) -> None:
    config = envoy(tmp_path, f'grpc: {{listen: "{listen}"}}\n')
    assert endpoint_of(sidecar_of(config)) == address
    assert "transport_socket" not in sidecar_of(config)


def test_envoy_names_applications_by_the_configured_key_however_it_is_written(tmp_path: Path) -> None:
    config = envoy(tmp_path, CONFIGURATIONS["awkward names"])
    assert endpoint_of(sidecar_of(config))["pipe"]["path"] == str(tmp_path / AWKWARD)
    hosts = manager_of(config)["route_config"]["virtual_hosts"]
    settings = [place["typed_per_filter_config"] for host in hosts for place in (host, *host["routes"])
                if "typed_per_filter_config" in place]  # fmt: skip
    extensions = [
        setting["envoy.filters.http.ext_authz"]["check_settings"]["context_extensions"]
        for setting in settings
        if "check_settings" in setting["envoy.filters.http.ext_authz"]
    ]
    assert extensions == [{AWKWARD: "admin"}, {AWKWARD: "shop"}, {AWKWARD: "shop"}, {AWKWARD: "api"}, {AWKWARD: "api"}]


def test_envoy_sends_the_headers_that_the_sidecar_reads_and_no_other(tmp_path: Path) -> None:
    patterns = check_of(envoy(tmp_path, ""))["allowed_headers"]["patterns"]
    assert [pattern.get("exact", pattern.get("prefix")) for pattern in patterns] == [
        "x-forwarded-for",
        "x-authz-",
        "x-request-id",
    ]
    signal = CONFIGURATIONS["an attack signal"]
    config = check_of(envoy(tmp_path, "client_address: {header: x-real-ip}\n" + signal))
    patterns = config["allowed_headers"]["patterns"]
    assert [p.get("exact", p.get("prefix")) for p in patterns] == [
        "x-real-ip",
        "x-authz-",
        "x-request-id",
        "x-waf-attack",
    ]
    assert config["metadata_context_namespaces"] == ["a.waf"]


def test_envoy_fails_closed_and_tells_an_error_from_a_denial(tmp_path: Path) -> None:
    check = check_of(envoy(tmp_path, ""))
    assert check["failure_mode_allow"] is False
    assert check["status_on_error"] == {"code": "ServiceUnavailable"}
    assert check["validate_mutations"] is True
    service = check["grpc_service"]
    assert service["envoy_grpc"] == {"cluster_name": "authz", "skip_envoy_headers": True}
    assert "retry_policy" in service


def test_envoy_chooses_a_route_by_the_path_that_the_application_sees(tmp_path: Path) -> None:
    manager = manager_of(envoy(tmp_path, ""))
    assert manager["use_remote_address"] is True
    assert manager["normalize_path"] is True
    assert manager["merge_slashes"] is True


def test_envoy_speaks_tls_where_the_sidecar_does_and_shows_a_certificate_where_it_is_asked_to(tmp_path: Path) -> None:
    tls = "grpc: {tls: {certificate: a.pem, key: a.key}}\n"
    context = sidecar_of(envoy(tmp_path, tls))["transport_socket"]["typed_config"]["common_tls_context"]
    assert context == {
        "alpn_protocols": ["h2"],
        "validation_context": {"trusted_ca": {"filename": str(tmp_path / "a.pem")}},
    }
    config = envoy(tmp_path, tls.replace("}}", ", client_ca: ca.pem}}"))
    context = sidecar_of(config)["transport_socket"]["typed_config"]["common_tls_context"]
    assert "tls_certificates" in context


@pytest.mark.parametrize(
    ("configuration", "note"),
    [
        ("", "NOTE: client_address.trusted_proxies is empty: who connects to this Envoy is the client."),
        (CONFIGURATIONS["hops"], "NOTE: client_address.trusted_hops counts"),
        (CONFIGURATIONS["Envoy's own header"], "set xff_num_trusted_hops"),
        (CONFIGURATIONS["one address"], "NOTE: client_address.header is x-real-ip, which Envoy passes on as it comes."),
        ("grpc: {tls: {certificate: a, key: b, client_ca: c}}\n", "NOTE: the sidecar wants a certificate of Envoy"),
    ],
)
def test_envoy_s_configuration_says_what_to_know(tmp_path: Path, configuration: str, note: str) -> None:
    assert note in head(printed(tmp_path, "envoy", configuration))


# nginx


@pytest.mark.parametrize(
    ("listen", "server"),
    [
        ("127.0.0.1:9192", "server 127.0.0.1:9192;"),
        ("[::1]:9192", "server [::1]:9192;"),
        ("0.0.0.0:9192", "server 127.0.0.1:9192;"),
        ("[::]:9192", "server [::1]:9192;"),
        ("unix:///run/authz/http.sock", 'server "unix:/run/authz/http.sock";'),
    ],
)
def test_nginx_asks_where_the_sidecar_listens(tmp_path: Path, listen: str, server: str) -> None:
    assert f"        {server}\n        keepalive 32;" in printed(tmp_path, "nginx", f'http: {{listen: "{listen}"}}\n')


@pytest.mark.parametrize(("idle", "keepalive"), [("75s", "60s"), ("1500ms", "1s"), ("500ms", "400ms"), ("1ms", "1ms")])
def test_nginx_closes_an_idle_connection_before_the_sidecar_does(tmp_path: Path, idle: str, keepalive: str) -> None:
    assert f"keepalive_timeout {keepalive};" in printed(tmp_path, "nginx", f"http: {{idle_timeout: {idle}}}\n")


def test_nginx_drops_every_header_that_a_client_could_make_up_to_look_like_ours(tmp_path: Path) -> None:
    text = printed(tmp_path, "nginx", "")
    for name in REMOVED:
        assert re.search(rf'proxy_set_header {name} +"";', text, re.IGNORECASE), name
    set_to = ((CLIENT_HEADER, "client"), (LIST_HEADER, "list"), (APPLICATION_HEADER, "application"))
    for name, variable in set_to:
        assert re.search(rf"proxy_set_header {name} +\$authz_{variable};", text, re.IGNORECASE), name


ALL_TOLD = """\
version: 1
applications: {shop: {dry_run: true}}
entries:
  - {id: bad, list: deny, networks: [203.0.113.0/24]}
  - {id: watched, list: deny, networks: [203.0.113.9], action: warn}
"""


def test_nginx_reads_all_that_it_is_told_and_is_told_all_that_it_reads(tmp_path: Path) -> None:
    fronts = Fronts(Publisher(tmp_path), "client_address: {trusted_proxies: [127.0.0.1]}\n", ALL_TOLD)
    asked = RequestHead(b"GET", b"/v1/nginx/shop", {b"x-forwarded-for": [b"203.0.113.9"]}, "127.0.0.1")
    told = re.findall(r"^([\w-]+): \S", fronts.http.handle(asked).head.decode(), re.MULTILINE)
    text = printed(tmp_path, "nginx", "")
    assert "/v1/nginx;" in text
    read = re.findall(r"auth_request_set \$\w+ +\$upstream_http_(\w+);", text)
    assert sorted(name.lower().replace("-", "_") for name in told) == sorted(read)


def test_nginx_sends_only_what_the_sidecar_reads_but_for_an_attack_signal(tmp_path: Path) -> None:
    assert "proxy_pass_request_headers off;" in printed(tmp_path, "nginx", "")
    text = printed(tmp_path, "nginx", CONFIGURATIONS["an attack signal"])
    assert "proxy_pass_request_headers off;" not in text
    assert re.search(r'proxy_set_header Cookie +"";', text)
    assert re.search(r'proxy_set_header Authorization +"";', text)


@pytest.mark.parametrize(
    ("header", "line"),
    [
        ("x-forwarded-for", "proxy_set_header X-Forwarded-For   $proxy_add_x_forwarded_for;"),
        ("x-real-ip", "proxy_set_header X-Real-Ip $remote_addr;"),
        ("forwarded", "proxy_set_header Forwarded         $authz_forwarded;"),
    ],
)
def test_nginx_says_who_the_client_is_in_the_header_that_the_sidecar_reads(
    tmp_path: Path, header: str, line: str
) -> None:
    text = printed(tmp_path, "nginx", f"client_address: {{header: {header}}}\n")
    assert text.count(line) == 2  # in each server


def test_nobody_else_makes_the_folder_of_the_answers_that_nginx_keeps(tmp_path: Path) -> None:
    text = printed(tmp_path, "nginx", "http: {listen: 127.0.0.1:9192, cache: 1s}\n")
    [parent] = [Path(folder).parent for folder in re.findall(r"proxy_cache_path (\S+)", text)]
    assert parent.is_absolute()
    assert not parent.stat().st_mode & 0o002


def test_nginx_never_sets_a_variable_on_the_level_of_the_server(tmp_path: Path) -> None:
    for configuration in CONFIGURATIONS.values():
        assert not re.search(r"^ *set ", printed(tmp_path, "nginx", configuration), re.MULTILINE)


@pytest.mark.parametrize(
    ("configuration", "note"),
    [
        ("", "WARNING: client_address.trusted_proxies has no 127.0.0.1, from where nginx asks"),
        ('http: {listen: "[::1]:1"}\n', "WARNING: client_address.trusted_proxies has no ::1, from where nginx asks"),
        ('http: {listen: "10.0.0.1:1"}\n', "NOTE: the address from which nginx asks must be in"),
        ("http: {listen: unix:a}\n", "WARNING: client_address.trust_unix is off"),
        (CONFIGURATIONS["hops"], "NOTE: client_address.trusted_hops counts"),
        ("http: {tls: {certificate: a, key: b, client_ca: c}}\n", "NOTE: the sidecar wants a certificate of nginx"),
    ],
)
def test_nginx_s_configuration_warns_of_what_cannot_work(tmp_path: Path, configuration: str, note: str) -> None:
    assert note in head(printed(tmp_path, "nginx", configuration))


@pytest.mark.parametrize(
    "configuration",
    [
        "client_address: {trusted_proxies: [127.0.0.0/8]}\n",
        'http: {listen: "[::]:1"}\nclient_address: {trusted_proxies: ["::1"]}\n',
        "http: {listen: unix:a}\nclient_address: {trust_unix: true}\n",
    ],
)
def test_nginx_s_configuration_warns_of_nothing_where_all_is_well(tmp_path: Path, configuration: str) -> None:
    assert not re.search("WARNING|NOTE", head(printed(tmp_path, "nginx", configuration)))
