"""authz.yaml: defaults, and what each kind of mistake is answered with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from authz.addresses import NETWORK_EXPECTED, parse_networks
from authz.errors import InputError, InvalidDocument
from authz.serve.config import Config, load_config
from authz.serve.config_values import Listen
from authz.times import parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Load = Callable[..., Config]
    Mistakes = Callable[..., list[str]]

LEAST = "snapshot: {path: lists.snapshot, trusted_keys: [a.pub]}\n"
LISTEN = "ADDRESS:PORT such as 127.0.0.1:9191 or [::1]:9191, unix:///PATH, or off"
TIME = "a time such as 250ms, 10s, 5m, 24h or 7d"


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """A function that loads a text as authz.yaml."""

    def load_text(text: str, environment: Mapping[str, str] | None = None) -> Config:
        (tmp_path / "authz.yaml").write_text(text)
        return load_config(tmp_path / "authz.yaml", environment or {})

    return load_text


@pytest.fixture
def mistakes(load: Load, tmp_path: Path) -> Mistakes:
    """A function that returns the mistakes of a text, without the folder."""

    def lines(text: str, environment: Mapping[str, str] | None = None) -> list[str]:
        with pytest.raises(InvalidDocument) as error:
            load(text, environment)
        return [line.removeprefix(f"{tmp_path}/") for line in error.value.message.splitlines()]

    return lines


# Defaults and values.


def test_a_snapshot_and_a_key_are_enough(load: Load, tmp_path: Path) -> None:
    config = load(LEAST)
    assert config.policy.path == f"{tmp_path}/lists.snapshot"
    assert config.policy.trusted_keys == (f"{tmp_path}/a.pub",)


def test_every_default_is_safe_on_loopback(load: Load, tmp_path: Path) -> None:
    config = load(LEAST)
    assert [str(one.listen) for one in (config.grpc, config.http, config.admin)] == [
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
grpc: {listen: "0.0.0.0:1", engine: grpcio, tls: {certificate: c.pem, key: k.pem, client_ca: /ca.pem}, unix_mode: 600,
       reuse_port: true}
http: {listen: "[::]:2", unix_mode: "0666", reuse_port: true, max_header: 8192, idle_timeout: 5m, header_timeout: 1s,
       max_connections: 10}
admin: {listen: off, unix_mode: 600}
client_address: {trusted_proxies: [10.0.0.0/8, 192.0.2.1-192.0.2.3, "::1"], header: X-Real-IP, missing: peer,
                 trust_unix: true}
application: {context_key: app, http: header, header: X-App, unknown: deny}
attack_signal: {header: X-WAF, metadata: {namespace: waf, key: attack}}
decision_log: {path: log.jsonl, denied: 0.5, allowed: 1, queue: 5}
drain: 0s
""")
    assert config.policy.trusted_keys == ("/b", f"{tmp_path}/c")
    assert str(config.state_file) == f"{tmp_path}/s"
    assert (config.policy.path, config.policy.threshold, config.policy.max_age) == ("/a", 2, 604800.0)
    assert (config.policy.when_missing, config.policy.when_stale, config.policy.poll) == ("allow", "deny", 0.25)
    assert config.grpc.tls is not None
    assert config.grpc.tls.certificate == f"{tmp_path}/c.pem"
    assert (config.grpc.tls.key, config.grpc.tls.client_ca) == (f"{tmp_path}/k.pem", "/ca.pem")
    assert (config.grpc.engine, config.grpc.unix_mode, config.grpc.reuse_port) == ("grpcio", 0o600, True)
    assert (str(config.http.listen), config.http.unix_mode, config.http.reuse_port) == ("[::]:2", 0o666, True)
    assert (config.http.max_header, config.http.max_connections) == (8192, 10)
    assert (config.http.idle_timeout, config.http.header_timeout) == (300.0, 1.0)
    assert (str(config.admin.listen), config.admin.unix_mode) == ("off", 0o600)
    assert [network for one in config.client_address.trusted_proxies for network in one] == [
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
    assert config.drain == 0.0


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


NO_LISTENERS = (
    *(
        "localhost:80",
        "127.0.0.1",
        "127.0.0.1:",
        ":80",
        "80",
        "*:80",
        "on",
        "Off",
        "http://127.0.0.1:80",
        "127.0.0.1/8:80",
    ),
    *("127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:http", "127.0.0.1:\uff18\uff10", "127.0.0.1 :80", "127.0.0.01:80"),
    *("::1:80", "::1", "[::1]", "[::1:80", "::1]:80", "[127.0.0.1]:80", "[fe80::1%eth0]:80"),
)


@pytest.mark.parametrize("text", NO_LISTENERS)
def test_what_is_no_listener_is_refused(mistakes: Mistakes, text: str) -> None:
    found = text.encode("ascii", "backslashreplace").decode()
    [told] = mistakes(f'{LEAST}grpc: {{listen: "{text}"}}\n')
    assert told.partition(" (")[0] == f"authz.yaml:2: grpc.listen: found '{found}', expected {LISTEN}"


@pytest.mark.parametrize("path", ["", "//", "/" + 100 * "a", "/\N{GREEK SMALL LETTER ALPHA}" + 98 * "a"])
def test_the_path_of_a_unix_socket_has_one_to_a_hundred_bytes(mistakes: Mistakes, path: str) -> None:
    (line,) = mistakes(f'{LEAST}http: {{listen: "unix:{path}"}}\n')
    assert line.startswith("authz.yaml:2: http.listen: found 'unix:")
    assert line.endswith(f"expected {LISTEN} (a unix socket's path has 1 to 100 bytes)")


# Durations and other scalars.


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("0s", 0.0), ("10s", 10.0), ("5m", 300.0), ("24h", 86400.0), ("7d", 604800.0)],
)
def test_a_time_is_a_number_with_a_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


NO_TIMES = ("", "10", "s", "1.5s", "-1s", "+1s", "1 s", "01s", "1S", "1w", "1s1s", "\uff11s", "9999999999s")


@pytest.mark.parametrize("text", NO_TIMES)
def test_what_is_no_time_is_refused(mistakes: Mistakes, text: str) -> None:
    found = f"found '{text.encode('ascii', 'backslashreplace').decode()}'" if text else "found nothing"
    assert mistakes(f'{LEAST}drain: "{text}"\n') == [f"authz.yaml:2: drain: {found}, expected {TIME}"]


WRONG_VALUES = {
    "snapshot.threshold: 0": "found '0', expected a whole number from 1",
    "snapshot.threshold: 1.0": "found '1.0', expected a whole number from 1",
    "snapshot.threshold: -1": "found '-1', expected a whole number from 1",
    "snapshot.path: [a]": "found a list, expected text",
    "snapshot.path: ": "found nothing, expected text",
    'snapshot.path: "a\\0b"': "found 'a\\x00b', expected text",
    "snapshot.trusted_keys: a.pub": "found 'a.pub', expected a list",
    "snapshot.when_missing: keep": "found 'keep', expected one of deny, allow",
    "snapshot.when_stale: block": "found 'block', expected one of keep, deny, allow",
    "snapshot.max_age: 24": f"found '24', expected {TIME}",
    "snapshot.poll: 0s": "found 0 seconds, expected 0.01 or more",
    "grpc.engine: rust": "found 'rust', expected one of auto, native, grpcio",
    "grpc.unix_mode: 999": "found '999', expected rights in octal such as 660",
    "grpc.unix_mode: rw": "found 'rw', expected rights in octal such as 660",
    "grpc.reuse_port: yes": "found 'yes', expected true or false",
    "grpc.reuse_port: 1": "found '1', expected true or false",
    'grpc.reuse_port: "true"': "found 'true', expected true or false",
    "grpc.tls: on": "found 'on', expected keys with values",
    "http.max_header: 64k": "found '64k', expected a whole number from 1",
    "http.max_connections: 0": "found '0', expected a whole number from 1",
    "client_address.header: x forwarded": "found 'x forwarded', expected the name of a header",
    "client_address.header: 'x-forwarded-for:'": "found 'x-forwarded-for:', expected the name of a header",
    "client_address.missing: allow": "found 'allow', expected one of deny, peer",
    "client_address.trust_unix: maybe": "found 'maybe', expected true or false",
    "client_address.trusted_hops: 0": "found '0', expected a whole number from 1",
    "client_address.trusted_proxies: 10.0.0.0/8": "found '10.0.0.0/8', expected a list",
    "application.http: host": "found 'host', expected one of path, header",
    "application.unknown: allow": "found 'allow', expected one of auto, default, deny",
    "attack_signal.metadata: waf": "found 'waf', expected keys with values",
    "decision_log.denied: 1.1": "found '1.1', expected a share from 0 to 1",
    "decision_log.denied: 50%": "found '50%', expected a share from 0 to 1",
    "decision_log.allowed: -0.1": "found '-0.1', expected a share from 0 to 1",
}


@pytest.mark.parametrize("setting", WRONG_VALUES)
def test_a_wrong_value_is_named_with_what_was_expected(mistakes: Mistakes, setting: str) -> None:
    key, _, value = setting.partition(": ")
    section, _, name = key.partition(".")
    settings = {"snapshot": {"path": "lists.snapshot", "trusted_keys": "[a.pub]"}}
    settings.setdefault(section, {})[name] = value
    text = "".join(
        f"{section}:\n" + "".join(f"  {name}: {value}\n" for name, value in keys.items())
        for section, keys in settings.items()
    )
    line = next(n for n, written in enumerate(text.splitlines(), 1) if written == f"  {name}: {value}")
    assert f"authz.yaml:{line}: {key}: {WRONG_VALUES[setting]}" in mistakes(text)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("10.0.0.1/8", "found '10.0.0.1/8', expected a network without host bits (did you mean '10.0.0.0/8'?)"),
        (
            "proxy.example.com",
            f"found 'proxy.example.com', expected {NETWORK_EXPECTED}",
        ),
    ],
)
def test_a_wrong_trusted_proxy_is_named_with_its_place(mistakes: Mistakes, network: str, message: str) -> None:
    text = f"{LEAST}client_address:\n  trusted_proxies:\n    - 192.0.2.1\n    - {network}\n"
    assert mistakes(text) == [f"authz.yaml:5: client_address.trusted_proxies[1]: {message}"]


# Keys.


def test_an_empty_file_misses_the_snapshot(mistakes: Mistakes) -> None:
    assert mistakes("") == [
        "authz.yaml:1: snapshot: missing, expected snapshot or layers: nothing says what to decide by"
    ]
    assert mistakes("# nothing yet\n") == [
        "authz.yaml:1: snapshot: missing, expected snapshot or layers: nothing says what to decide by"
    ]


def test_what_is_missing_is_named(mistakes: Mistakes) -> None:
    assert mistakes("drain: 1s\nsnapshot:\n  threshold: 1\n") == [
        "authz.yaml:3: snapshot.path: missing",
        "authz.yaml:3: snapshot.trusted_keys: missing",
    ]
    assert mistakes(f"{LEAST}attack_signal: {{metadata: {{key: a}}}}\n") == [
        "authz.yaml:2: attack_signal.metadata.namespace: missing"
    ]
    assert mistakes(f"{LEAST}grpc: {{tls: {{certificate: a}}}}\n") == ["authz.yaml:2: grpc.tls.key: missing"]


def test_an_unknown_key_is_refused_with_the_nearest_one(mistakes: Mistakes) -> None:
    assert mistakes(f"{LEAST}client_address: {{trusted_proxy: [10.0.0.0/8]}}\n") == [
        "authz.yaml:2: client_address.trusted_proxy: unknown key (did you mean 'trusted_proxies'?)"
    ]


def test_an_unknown_key_without_a_near_one_is_refused_with_all_that_are_known(mistakes: Mistakes) -> None:
    assert mistakes(f"{LEAST}attack_signal: {{zzz: 1}}\n") == [
        "authz.yaml:2: attack_signal.zzz: unknown key (known here: header, metadata)"
    ]


def test_a_key_twice_is_refused(mistakes: Mistakes) -> None:
    assert mistakes(f"{LEAST}drain: 1s\ndrain: 2s\n") == ["authz.yaml:3: drain: found twice, expected once"]


def test_what_is_no_mapping_is_refused(mistakes: Mistakes) -> None:
    assert mistakes("- snapshot\n") == [
        "authz.yaml:1: document: found a list, expected keys with values",
        "authz.yaml:1: snapshot: missing, expected snapshot or layers: nothing says what to decide by",
    ]


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("snapshot: {path: a\n", 2, "did not find expected ',' or '}' at column 1"),
        ("snapshot:\n\tpath: a\n", 2, "found a tab at column 1, expected spaces"),
        ("snapshot: *keys\n", 1, "found undefined alias at column 11"),
        ("a: b\n---\nc: d\n", 2, "found another document at column 1"),
    ],
)
def test_what_is_no_yaml_is_refused_with_its_line(mistakes: Mistakes, text: str, line: int, problem: str) -> None:
    assert mistakes(text) == [f"authz.yaml:{line}: document: not YAML: {problem}"]


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(mistakes: Mistakes) -> None:
    assert mistakes("""\
grpc: {listen: here, engine: rust}
snapshot:
  path: lists.snapshot
  trusted_keys: [a.pub]
  threshold: 2
client_address:
  trusted_proxies: [10.0.0.0/33]
  headr: forwarded
drain: soon
""") == [
        "authz.yaml:1: grpc.engine: found 'rust', expected one of auto, native, grpcio",
        f"authz.yaml:1: grpc.listen: found 'here', expected {LISTEN}",
        "authz.yaml:5: snapshot.threshold: found 2, expected at most 1, as many as trusted_keys",
        "authz.yaml:7: client_address.trusted_proxies[0]: found '10.0.0.0/33', expected a prefix length from 0 to 32",
        "authz.yaml:8: client_address.headr: unknown key (did you mean 'header'?)",
        f"authz.yaml:9: drain: found 'soon', expected {TIME}",
    ]


# Mistakes between keys.


def test_no_trusted_key_is_a_mistake(mistakes: Mistakes) -> None:
    assert mistakes("snapshot:\n  path: a\n  trusted_keys: []\n") == [
        "authz.yaml:3: snapshot.trusted_keys: found an empty list, expected one or more files of public keys"
    ]


def test_a_wrong_key_file_is_not_also_counted_as_missing(mistakes: Mistakes) -> None:
    assert mistakes("snapshot:\n  path: a\n  trusted_keys: [{b: c}]\n") == [
        "authz.yaml:3: snapshot.trusted_keys[0]: found a mapping, expected text"
    ]


def test_hops_and_proxies_exclude_each_other(mistakes: Mistakes) -> None:
    text = f"{LEAST}client_address:\n  trusted_hops: 1\n  trusted_proxies: [10.0.0.0/8]\n"
    assert mistakes(text) == [
        "authz.yaml:3: client_address.trusted_hops: found beside trusted_proxies, expected one of the two"
    ]


def test_two_fronts_have_no_listener_in_common(mistakes: Mistakes) -> None:
    assert mistakes(LEAST + 'grpc: {listen: "127.0.0.1:9192"}\nadmin: {listen: "unix:///a"}\n') == [
        "authz.yaml:1: http.listen: found 127.0.0.1:9192, where grpc listens already"
    ]
    assert mistakes(LEAST + "http: {listen: 'unix:///run/a'}\nadmin: {listen: 'unix:/run/a'}\n") == [
        "authz.yaml:3: admin.listen: found unix:///run/a, where http listens already"
    ]


def test_the_native_engine_has_no_tls(mistakes: Mistakes) -> None:
    text = f"{LEAST}grpc:\n  engine: native\n  tls: {{certificate: a, key: b}}\n"
    assert mistakes(text) == ["authz.yaml:3: grpc.engine: found 'native' with tls, expected 'grpcio' or 'auto'"]


def test_one_front_at_least_is_on(mistakes: Mistakes, load: Load) -> None:
    assert mistakes(f"{LEAST}grpc: {{listen: off}}\nhttp: {{listen: off}}\n") == [
        "authz.yaml:2: grpc.listen: found 'off' here and at http.listen, expected at most one of them off"
    ]
    assert str(load(f"{LEAST}grpc: {{listen: off}}\nadmin: {{listen: off}}\n").grpc.listen) == "off"


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


ENVIRONMENT_MISTAKES = {
    "AUTHZ_GRPC__LISTEN=here": f"grpc.listen: found 'here', expected {LISTEN}",
    "AUTHZ_GRPC__LISTEN=": f"grpc.listen: found nothing, expected {LISTEN}",
    "AUTHZ_GRPC__LISTEN=[::1]:80": "grpc.listen: not YAML: did not find expected node content",
    "AUTHZ_DRAIN=soon": f"drain: found 'soon', expected {TIME}",
    "AUTHZ_SNAPSHOT__THRESHOLD=2": "snapshot.threshold: found 2, expected at most 1, as many as trusted_keys",
    'AUTHZ_CLIENT_ADDRESS__TRUSTED_PROXIES=["::1/129"]': (
        "client_address.trusted_proxies[0]: found '::1/129', expected a prefix length from 0 to 128"
    ),
}


@pytest.mark.parametrize("variable", ENVIRONMENT_MISTAKES)
def test_a_mistake_of_the_environment_says_so(mistakes: Mistakes, variable: str) -> None:
    name, _, value = variable.partition("=")
    message = ENVIRONMENT_MISTAKES[variable]
    assert mistakes(LEAST, {name: value}) == [f"authz.yaml:1: {message} (set in the environment)"]


def test_an_unknown_key_of_the_environment_is_refused(mistakes: Mistakes) -> None:
    assert mistakes(LEAST, {"AUTHZ_GRPC__LISTN": "a"}) == [
        "authz.yaml:1: grpc.listn: unknown key (did you mean 'listen'?; set in the environment)"
    ]


# Files.


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"authz.yaml: cannot be read: No such file or directory"):
        load_config(tmp_path / "authz.yaml", {})
    with pytest.raises(InputError, match=r": cannot be read: Is a directory"):
        load_config(tmp_path, {})


def test_a_file_that_is_no_utf_8_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "authz.yaml").write_bytes(b"drain: \xff\n")
    with pytest.raises(InputError, match=r"authz.yaml: byte 7 is not UTF-8"):
        load_config(tmp_path / "authz.yaml", {})
