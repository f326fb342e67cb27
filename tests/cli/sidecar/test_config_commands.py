"""`authz check-config` and `authz print-config`, as an operator types them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.ground.refusals import refused, write_requests
from support.processes import CONFIG

if TYPE_CHECKING:
    from pathlib import Path

    from support.publishing.publisher import Publisher
    from support.suite.commands import Commands


@pytest.mark.usefixtures("shop")
def test_the_environment_counts_for_every_command(authz: Commands) -> None:
    ran = authz.real("check-config", "authz.yaml", env={"AUTHZ_GRPC__LISTEN": "0.0.0.0:9191"})
    assert "  grpc on 0.0.0.0:9191" in ran.out


@pytest.mark.usefixtures("shop")
def test_every_mistake_of_a_configuration_is_printed(authz: Commands, tmp_path: Path) -> None:
    (tmp_path / "authz.yaml").write_text("""\
snapshot: {path: lists.snapshot, trusted_keys: [keys/a.pub], treshold: 1}
grpc: {listen: "localhost:9191"}
client_address: {trusted_proxies: [10.0.0.1/8]}
""")
    refused(
        authz.real("check-config", "authz.yaml"),
        "authz.yaml:1: snapshot.treshold: unknown key (did you mean 'threshold'?)",
        "authz.yaml:2: grpc.listen: found 'localhost:9191', expected ADDRESS:PORT such as 127.0.0.1:9191 or "
        "[::1]:9191, unix:///PATH, or off (an address, not a name: 127.0.0.1:9191)",
        "authz.yaml:3: client_address.trusted_proxies[0]: found '10.0.0.1/8', expected a network without host bits "
        "(did you mean '10.0.0.0/8'?)",
        "authz: error: 3 mistakes in authz.yaml",
    )


@pytest.mark.parametrize("command", ["check-config", "explain", "replay", "serve", "print-config"])
@pytest.mark.usefixtures("shop")
def test_a_wrong_configuration_is_told_by_every_command_that_reads_it(
    authz: Commands, tmp_path: Path, command: str
) -> None:
    (tmp_path / "authz.yaml").write_text("snapshot: {path: lists.snapshot}\n")
    write_requests(tmp_path)
    first = {"explain": ["192.0.2.1"], "replay": ["requests.jsonl"], "print-config": ["envoy"]}.get(command, [])
    option = [] if command == "check-config" else ["--config"]
    refused(
        authz(command, *first, *option, "authz.yaml"),
        "authz.yaml:1: snapshot.trusted_keys: missing",
        "authz: error: 1 mistake in authz.yaml",
    )
    refused(
        authz(command, *first, *option, "no.yaml"), "authz: error: no.yaml: cannot be read: No such file or directory"
    )


def test_a_configuration_with_a_wrong_key_is_refused(shop: Publisher, authz: Commands) -> None:
    shop.public["a"].write_bytes(shop.private["a"].read_bytes())
    refused(
        authz("check-config", "authz.yaml"),
        f"authz: error: {shop.public['a']}: found a private key, expected a public key",
        "hint: give the .pub file, and keep the .key file away from the sidecar",
    )


@pytest.mark.parametrize("proxy", ["envoy", "nginx"])
@pytest.mark.usefixtures("shop")
def test_a_configuration_for_the_proxy_is_printed(authz: Commands, tmp_path: Path, proxy: str) -> None:
    text = CONFIG
    for port in (9999, 9998, 9997):
        text = text.replace("127.0.0.1:0", f"127.0.0.1:{port}", 1)
    (tmp_path / "authz.yaml").write_text(text)
    ran = authz("print-config", proxy, "--config", "authz.yaml")
    assert (ran.status, ran.err) == (0, "")
    assert {"envoy": "9999", "nginx": "9998"}[proxy] in ran.out


def test_nginx_keeps_answers_no_longer_than_its_configuration_says(authz: Commands, tmp_path: Path) -> None:
    """It said "kept for less than 1s", and a ban took five: the sidecar says for how long, by http.cache."""
    path = tmp_path / "authz.yaml"
    usual = "snapshot: {path: lists.snapshot, trusted_keys: [keys/a.pub]}\n"
    ask = ("print-config", "nginx", "--config", "authz.yaml", "--cache", "1s")
    path.write_text(usual + "http: {cache: 5s}\n")
    ran = authz(*ask)
    assert (ran.status, ran.out) == (2, "")
    assert "--cache: found 1s, expected 5s, which http.cache in the configuration has" in ran.err
    for cache, noted in (("1s", False), ("0s", True)):
        path.write_text(usual + f"http: {{cache: {cache}}}\n")
        ran = authz(*ask)
        assert (ran.status, "proxy_cache " in ran.out) == (0, True)
        assert ("set http.cache: 1s in authz.yaml, or nginx keeps no answer" in ran.err) == noted
        assert "a new ban does not hold before" not in ran.err


@pytest.mark.parametrize("own", ["0s", "1h"])
def test_a_long_period_of_nginx_is_warned_of_whether_or_not_http_cache_has_it(
    authz: Commands, tmp_path: Path, own: str
) -> None:
    usual = "snapshot: {path: lists.snapshot, trusted_keys: [keys/a.pub]}\n"
    (tmp_path / "authz.yaml").write_text(usual + f"http: {{cache: {own}}}\n")
    ran = authz("print-config", "nginx", "--config", "authz.yaml", "--cache", "1h")
    assert ran.status == 0
    warning = "nginx keeps answers for 1h, expected at most 1m: a new ban does not hold before"
    assert f"authz: warning: {warning}" in ran.err
    assert f"# WARNING: {warning}" in ran.out
