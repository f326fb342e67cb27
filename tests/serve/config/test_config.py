"""authz.yaml: defaults, values, paths, listeners, the environment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.sidecar.config_text import LEAST

from authz.addresses import parse_networks
from authz.serve.config.config import Config, GrpcConfig, HttpConfig, load_config
from authz.serve.config.values import Listen
from authz.serve.workers.worker import workers_part

if TYPE_CHECKING:
    from collections.abc import Callable

    Load = Callable[..., Config]


# Defaults and values.


def test_a_snapshot_and_a_key_are_enough(load: Load, tmp_path: Path) -> None:
    config = load(LEAST)
    assert config.policy.path == f"{tmp_path}/lists.snapshot"
    assert config.policy.trusted_keys == (f"{tmp_path}/a.pub",)


def test_every_default_is_safe_on_loopback(load: Load, tmp_path: Path) -> None:
    config = load(LEAST)
    assert [str(section.listen) for section in (config.grpc, config.http, config.admin)] == [
        "127.0.0.1:9191",
        "127.0.0.1:9192",
        "127.0.0.1:9193",
    ]
    assert (config.policy.threshold, config.policy.max_age, config.policy.poll) == (1, 86400.0, 10.0)
    assert (config.policy.when_missing, config.policy.when_stale) == ("deny", "keep")
    assert str(config.state_file) == f"{tmp_path}/state/authz.json"
    assert (config.grpc.engine, config.grpc.tls, config.grpc.unix_mode) == ("auto", None, 0o660)
    rules = config.client_address.rules()
    assert (rules.header, rules.missing, rules.trust_unix, rules.trusted_hops) == ("x-forwarded-for", "deny", False, 0)
    assert config.client_address.trusted_proxies == ()
    assert (config.application.context_key, config.application.http, config.application.unknown) == (
        "application",
        "path",
        "auto",
    )
    assert config.attack_signal.header is None
    assert (config.decision_log.path, config.decision_log.denied, config.decision_log.allowed) == ("-", 1.0, 0.0)
    assert config.drain == 5.0


def test_sections_may_be_empty(load: Load) -> None:
    empty = "".join(f"{name}:\n" for name in ("grpc", "http", "admin", "client_address", "decision_log"))
    assert load(LEAST + empty) == load(LEAST)


def test_every_key_can_be_set(load: Load, tmp_path: Path) -> None:
    config = load("""
snapshot: {path: /a, trusted_keys: [/b, c], threshold: 2, state: s, max_age: 7d, when_missing: allow, when_stale: deny,
           poll: 250ms}
grpc: {listen: "0.0.0.0:1", engine: grpcio, tls: {certificate: c.pem, key: k.pem, client_ca: /ca.pem}, unix_mode: 600}
http: {listen: "[::]:2", unix_mode: "0666", max_header: 8192, idle_timeout: 5m, header_timeout: 1s,
       max_connections: 10}
admin: {listen: off, unix_mode: 600}
client_address: {trusted_proxies: [10.0.0.0/8, 192.0.2.1-192.0.2.3, "::1"], header: X-Real-IP, missing: peer,
                 trust_unix: true}
application: {context_key: app, http: header, header: X-App, unknown: deny}
attack_signal: {header: X-WAF, metadata: {namespace: waf, key: attack}}
decision_log: {path: log.jsonl, denied: 0.5, allowed: 1, queue: 5}
overlap: true
drain: 0s
""")
    assert config.policy.trusted_keys == ("/b", f"{tmp_path}/c")
    assert str(config.state_file) == f"{tmp_path}/s"
    assert (config.policy.path, config.policy.threshold, config.policy.max_age) == ("/a", 2, 604800.0)
    assert (config.policy.when_missing, config.policy.when_stale, config.policy.poll) == ("allow", "deny", 0.25)
    assert config.grpc.tls is not None
    assert config.grpc.tls.certificate == f"{tmp_path}/c.pem"
    assert (config.grpc.tls.key, config.grpc.tls.client_ca) == (f"{tmp_path}/k.pem", "/ca.pem")
    assert (config.grpc.engine, config.grpc.unix_mode) == ("grpcio", 0o600)
    assert (str(config.http.listen), config.http.unix_mode) == ("[::]:2", 0o666)
    assert (config.http.max_header, config.http.max_connections) == (8192, 10)
    assert (config.http.idle_timeout, config.http.header_timeout) == (300.0, 1.0)
    assert (str(config.admin.listen), config.admin.unix_mode) == ("off", 0o600)
    assert [network for networks in config.client_address.trusted_proxies for network in networks] == [
        *parse_networks("10.0.0.0/8"),
        *parse_networks("192.0.2.1-192.0.2.3"),
        *parse_networks("::1"),
    ]
    assert (config.client_address.header, config.client_address.missing) == ("x-real-ip", "peer")
    assert config.client_address.trust_unix
    assert (config.application.context_key, config.application.http) == ("app", "header")
    assert (config.application.header, config.application.unknown) == ("x-app", "deny")
    assert config.attack_signal.header == "x-waf"
    assert config.attack_signal.metadata is not None
    assert (config.attack_signal.metadata.namespace, config.attack_signal.metadata.key) == ("waf", "attack")
    assert config.decision_log.path == f"{tmp_path}/log.jsonl"
    assert (config.decision_log.denied, config.decision_log.allowed, config.decision_log.queue) == (0.5, 1.0, 5)
    assert (config.overlap, config.drain) == (True, 0.0)


def test_an_address_may_have_three_quarters_of_the_connections_if_nothing_else_is_said() -> None:
    assert (GrpcConfig().of_a_peer, HttpConfig().of_a_peer) == (768, 3072)
    config = Config(
        grpc=GrpcConfig(max_connections=5), http=HttpConfig(max_connections_per_peer=7), layers=(), workers=2
    )
    assert (config.grpc.of_a_peer, config.http.of_a_peer) == (4, 7)
    part = workers_part(config, 2)
    assert (part.grpc.of_a_peer, part.http.of_a_peer) == (2, 4)


def test_a_configuration_does_not_change_after_it_was_read(load: Load) -> None:
    config = load(LEAST)
    for part in (config, config.snapshot, config.grpc):
        with pytest.raises(AttributeError):
            part.listen = Listen()  # type: ignore[misc,union-attr]


# Paths.


def test_paths_are_relative_to_the_folder_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "authz.yaml").write_text(
        "snapshot: {path: ../lists, trusted_keys: [keys/a.pub]}\ngrpc: {listen: unix:run/a.sock}\n"
    )
    monkeypatch.chdir(tmp_path)
    config = load_config(Path("etc/authz.yaml"), {})
    assert config.policy.path == f"{folder}/../lists"
    assert config.policy.trusted_keys == (f"{folder}/keys/a.pub",)
    assert str(config.state_file) == f"{folder}/state/authz.json"
    assert config.grpc.listen.path == folder / "run" / "a.sock"


@pytest.mark.parametrize("path", ["-", "off"])
def test_the_decision_log_may_go_nowhere_or_to_standard_output(load: Load, path: str) -> None:
    assert load(f"{LEAST}decision_log: {{path: '{path}'}}\n").decision_log.path == path


# Listeners.


@pytest.mark.parametrize(
    ("text", "host", "port", "shown"),
    [
        ("127.0.0.1:9191", "127.0.0.1", 9191, "127.0.0.1:9191"),
        ("0.0.0.0:0", "0.0.0.0", 0, "0.0.0.0:0"),
        ("127.0.0.1:65535", "127.0.0.1", 65535, "127.0.0.1:65535"),
        ("[::1]:9191", "::1", 9191, "[::1]:9191"),
        ("[2001:DB8:0::1]:80", "2001:db8::1", 80, "[2001:db8::1]:80"),
        ("[::]:80", "::", 80, "[::]:80"),
        ("[::ffff:192.0.2.1]:80", "192.0.2.1", 80, "192.0.2.1:80"),
        ("off", None, 0, "off"),
    ],
)
def test_a_listener_is_an_address_with_a_port_or_off(
    load: Load, text: str, host: str | None, port: int, shown: str
) -> None:
    listen = load(f'{LEAST}grpc: {{listen: "{text}"}}\n').grpc.listen
    assert (listen.host, listen.port, listen.path, str(listen)) == (host, port, None, shown)


@pytest.mark.parametrize("text", ["unix:///run/authz.sock", "unix:/run/authz.sock"])
def test_a_listener_may_be_a_unix_socket(load: Load, text: str) -> None:
    listen = load(f'{LEAST}grpc: {{listen: "{text}"}}\n').grpc.listen
    assert (listen.host, listen.path, str(listen)) == (None, Path("/run/authz.sock"), "unix:///run/authz.sock")


# The environment.


def test_the_environment_takes_the_place_of_keys(load: Load, tmp_path: Path) -> None:
    config = load(
        LEAST + "grpc: {listen: '127.0.0.1:1', engine: native}\ndrain: 1s\n",
        {
            "AUTHZ_GRPC__LISTEN": "0.0.0.0:2",
            "AUTHZ_HTTP__LISTEN": '"[::1]:3"',
            "AUTHZ_DRAIN": "10s",
            "AUTHZ_SNAPSHOT__TRUSTED_KEYS": "[b.pub, /c.pub]",
            "AUTHZ_SNAPSHOT__THRESHOLD": "2",
            "AUTHZ_CLIENT_ADDRESS__TRUSTED_PROXIES": "[10.0.0.0/8]",
            "AUTHZ_ATTACK_SIGNAL__METADATA__NAMESPACE": "waf",
            "AUTHZ_ATTACK_SIGNAL__METADATA__KEY": "attack",
            "AUTHZ_ADMIN": "{listen: off}",
        },
    )
    assert (str(config.grpc.listen), config.grpc.engine, str(config.http.listen)) == ("0.0.0.0:2", "native", "[::1]:3")
    assert (config.drain, str(config.admin.listen)) == (10.0, "off")
    assert config.policy.trusted_keys == (f"{tmp_path}/b.pub", "/c.pub")
    assert len(config.client_address.trusted_proxies) == 1
    assert config.attack_signal.metadata is not None
    assert config.attack_signal.metadata.namespace == "waf"


def test_the_environment_alone_is_a_configuration(load: Load, tmp_path: Path) -> None:
    config = load("", {"AUTHZ_SNAPSHOT__PATH": "lists", "AUTHZ_SNAPSHOT__TRUSTED_KEYS": "[a.pub]"})
    assert config.policy.path == f"{tmp_path}/lists"


def test_other_variables_are_not_ours(load: Load) -> None:
    other = {
        "AUTHZ_PORT_9191_TCP_ADDR": "10.0.0.1",
        "AUTHZ_SERVICE_HOST": "10.0.0.1",
        "AUTHZ_GRPC_SERVICE_PORT": "1",
        "GRPC__LISTEN": "x",
        "PATH": "/bin",
    }
    assert load(LEAST, other) == load(LEAST)
