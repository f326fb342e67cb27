"""TLS between a sidecar and a real Envoy or nginx that asks: who may connect, and how a proxy knows its sidecar."""

from __future__ import annotations

import os
import re
import signal
from typing import TYPE_CHECKING

import pytest
import yaml
from support.processes import wait_for
from support.proxies import stack as stack_module
from support.proxies.certificates import make_certificate
from support.proxies.client import Traffic
from support.proxies.configurations import SNAPSHOT
from support.proxies.stack import OFFICE, POLICY, EnvoyStack, NginxStack
from support.servers.certificates import Authority

from authz.cli.sidecar import proxy_config
from authz.cli.sidecar.proxy_config import render
from authz.errors import InputError
from authz.serve.config.config import load_config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.processes import Sidecar
    from support.proxies.stack import Stack


@pytest.fixture(params=[EnvoyStack, NginxStack])
def stack(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stack]:
    """A proxy that asks over mutual TLS, and no sidecar yet."""
    stack: Stack = request.param(tmp_path, "tls")
    stack.publisher.publish(POLICY)
    with stack:
        yield stack


def change(stack: Stack, sidecar: Sidecar, rule: str) -> None:
    """Give the sidecar another rule for its clients, and wait until it holds."""
    text = stack.sidecar_config
    client_ca = f"client_ca: {stack.proxy}.pem"
    assert client_ca in text
    (stack.folder / "authz.yaml").write_text(text.replace(client_ca, client_ca + rule))
    before = sidecar.output.count("the certificates were read again")
    os.kill(sidecar.pid, signal.SIGHUP)
    wait_for(lambda: sidecar.output.count("the certificates were read again") > before, "the new rule")


def test_no_request_fails_while_rules_change_that_the_proxy_meets(stack: Stack) -> None:
    own = stack.folder / f"{stack.proxy}.pem"
    make_certificate(stack.folder, "other")
    with stack.start_sidecar() as sidecar:
        wait_for(lambda: stack.ask("/shop/", OFFICE).status == 200, "the first answer")
        with Traffic(lambda: stack.client(OFFICE), "/shop/") as traffic:
            for name in (stack.proxy, "*", "other"):
                own.write_bytes(own.read_bytes() + (stack.folder / "other.pem").read_bytes())
                change(stack, sidecar, f', clients: ["{name}.example.com", {stack.proxy}.example.com]')
                traffic.wait_for_more(200)
                change(stack, sidecar, "")
                traffic.wait_for_more(200)
        assert traffic.failures == []
        assert {reply.status for reply in traffic.replies} == {200}
        assert "connections end" not in sidecar.output


def test_a_proxy_that_may_connect_no_more_lets_nobody_in_until_it_may_again(stack: Stack) -> None:
    with stack.start_sidecar() as sidecar:
        wait_for(lambda: stack.ask("/shop/", OFFICE).status == 200, "the first answer")
        with Traffic(lambda: stack.client(OFFICE), "/shop/") as traffic:
            traffic.wait_for_more(100)
            change(stack, sidecar, ", clients: [other.example.com]")
            sidecar.wait_for_line("their clients may connect no more")
            wait_for(lambda: traffic.replies[-1].status != 200, "the first refusal")
            traffic.wait_for_each(3)  # one was on its way, and nginx may ask once more on a connection that ends
            shut, seen = len(traffic.replies), len(stack.upstream.seen)
            traffic.wait_for_more(50)
            assert {reply.status for reply in traffic.replies[shut:]} == {503}
            assert len(stack.upstream.seen) == seen
            change(stack, sidecar, "")
            wait_for(lambda: traffic.replies[-1].status == 200, "an answer again")
            traffic.wait_for_each(3)
            begin = len(traffic.replies)
            traffic.wait_for_more(100)
            assert {reply.status for reply in traffic.replies[begin:]} == {200}
        assert traffic.failures == []


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Sign the sidecar's certificates."""
    return Authority(tmp_path, "lists")


@pytest.fixture
def stack_by_ca(
    stack_class: type[Stack], authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stack]:
    """A proxy whose configuration was printed with --ca, and no sidecar yet."""

    def make(folder: Path, name: str) -> None:
        if name == stack_class.proxy:
            make_certificate(folder, name)
        else:
            issue(authority, name, f"{name}.example.com")

    monkeypatch.setattr(stack_module, "make_certificate", make)
    monkeypatch.setattr(stack_class, "ca", str(authority.path))
    stack: Stack = stack_class(tmp_path, "tls")  # type: ignore[call-arg]  # as both are made
    stack.publisher.publish(POLICY)
    with stack:
        yield stack


def issue(authority: Authority, file: str, name: str, address: str = "192.0.2.1") -> None:
    """Write FILE.pem and FILE.key."""
    certificate, key = authority.issue(file, address, name)
    key.replace(certificate.with_suffix(".key"))


@pytest.mark.parametrize(("stack_class", "file"), [(EnvoyStack, "grpc"), (NginxStack, "http")])
def test_a_proxy_that_knows_the_ca_takes_each_new_certificate_of_its_sidecar_and_none_of_others(
    stack_by_ca: Stack, authority: Authority, file: str
) -> None:
    """As printed before, it took the first one alone: after its renewal nobody was let in."""
    with stack_by_ca.start_sidecar():
        wait_for(lambda: stack_by_ca.ask("/shop/", OFFICE).status == 200, "the first answer")
    issue(authority, file, f"{file}.example.com")
    with stack_by_ca.start_sidecar():
        wait_for(lambda: stack_by_ca.ask("/shop/", OFFICE).status == 200, "an answer of the next one")
    issue(authority, file, "other.example.com", "192.0.2.2")
    with stack_by_ca.start_sidecar() as sidecar:
        assert {stack_by_ca.ask("/shop/", OFFICE).status for _ in range(5)} == {503}
        assert sidecar.popen.poll() is None
    issue(authority, file, f"{file}.example.com")
    with stack_by_ca.start_sidecar():
        wait_for(lambda: stack_by_ca.ask("/shop/", OFFICE).status == 200, "an answer again")


def printed(folder: Path, proxy: str, configuration: str, ca: str) -> str:
    (folder / "authz.yaml").write_text(SNAPSHOT + configuration)
    return render(proxy, load_config(folder / "authz.yaml", {}), ca=ca)


def test_a_proxy_recognises_the_sidecar_by_the_ca_and_the_names_of_its_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "lists")
    certificate, key = authority.issue("a", "192.0.2.1", "authz.example.com", "spiffe://example.com/authz")
    tls = f"tls: {{certificate: '{certificate}', key: '{key}'}}"
    ca = str(authority.path)
    envoy = yaml.safe_load(printed(tmp_path, "envoy", f"grpc: {{{tls}}}\n", ca))
    context = envoy["static_resources"]["clusters"][0]["transport_socket"]["typed_config"]["common_tls_context"]
    assert context["validation_context"] == {
        "trusted_ca": {"filename": ca},
        "match_typed_subject_alt_names": [
            {"san_type": "DNS", "matcher": {"exact": "authz.example.com"}},
            {"san_type": "URI", "matcher": {"exact": "spiffe://example.com/authz"}},
            {"san_type": "IP_ADDRESS", "matcher": {"exact": "192.0.2.1"}},
        ],
    }
    nginx = printed(tmp_path, "nginx", f"http: {{{tls}}}\n", ca)
    assert f'proxy_ssl_trusted_certificate "{ca}";' in nginx
    assert re.search("proxy_ssl_name +authz.example.com;", nginx)
    for proxy, front in (("envoy", "grpc"), ("nginx", "http")):
        told = "trusts the present certificate of the sidecar and no other"
        assert told not in printed(tmp_path, proxy, f"{front}: {{{tls}}}\n", ca)
        config = load_config(tmp_path / "authz.yaml", {})
        assert any(told in warning for warning in proxy_config.warnings_of(proxy, config))
        assert not any(told in warning for warning in proxy_config.warnings_of(proxy, config, ca))
        assert "present certificate" in render(proxy, config).partition("\n\n")[0]


@pytest.mark.parametrize(
    ("proxy", "configuration", "ca", "message"),
    [
        ("envoy", "", "ca.pem", "--ca: found without grpc.tls, expected it with TLS"),
        ("nginx", "http: {tls: {certificate: a, key: b}}\n", "ca.pem", "--ca: ca.pem: No such file or directory"),
        ("envoy", "grpc: {tls: {certificate: a, key: b}}\n", "/dev/null", "--ca: /dev/null: found no certificate"),
        (
            "caddy",
            "http: {tls: {certificate: a, key: b}}\n",
            "ca.pem",
            "--ca: found with caddy, expected it with envoy or",
        ),
    ],
)
def test_a_ca_that_cannot_be_used_is_told(
    tmp_path: Path, proxy: str, configuration: str, ca: str, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        printed(tmp_path, proxy, configuration, ca)
    assert caught.value.message.startswith(message)


def test_a_ca_without_a_name_to_compare_would_let_others_answer_for_the_sidecar(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "lists")
    certificate, key = authority.issue("a", "192.0.2.1")
    tls = f"http: {{tls: {{certificate: '{certificate}', key: '{key}'}}}}\n"
    with pytest.raises(InputError, match=r"found no name in it that the proxy compares, expected a host name \(SAN\)"):
        printed(tmp_path, "nginx", tls, str(authority.path))
