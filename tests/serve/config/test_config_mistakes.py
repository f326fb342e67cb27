"""What each kind of mistake in authz.yaml is answered with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.sidecar.config_text import LEAST

from authz.addresses import NETWORKS_EXPECTED
from authz.errors import InputError, InvalidDocument
from authz.serve.config.config import Config, load_config
from authz.times import parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    Load = Callable[..., Config]
    Mistakes = Callable[..., list[str]]

LISTEN = "ADDRESS:PORT such as 127.0.0.1:9191 or [::1]:9191, unix:///PATH, or off"
TIME = "a duration such as 250ms, 10s, 5m, 24h or 7d"


@pytest.fixture
def mistakes(load: Load, tmp_path: Path) -> Mistakes:
    """A function that returns the mistakes of a text, without the folder."""

    def lines(text: str, environment: Mapping[str, str] | None = None) -> list[str]:
        with pytest.raises(InvalidDocument) as error:
            load(text, environment)
        return [line.removeprefix(f"{tmp_path}/") for line in error.value.message.splitlines()]

    return lines


# Listeners.


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
    shown = text.encode("ascii", "backslashreplace").decode()
    [told] = mistakes(f'{LEAST}grpc: {{listen: "{text}"}}\n')
    assert told.partition(" (")[0] == f"authz.yaml:2: grpc.listen: found '{shown}', expected {LISTEN}"


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
    shown = f"found '{text.encode('ascii', 'backslashreplace').decode()}'" if text else "found nothing"
    hint = " (a number needs a unit: 10s, 10m, 10h or 10d)" if text == "10" else ""
    assert mistakes(f'{LEAST}drain: "{text}"\n') == [f"authz.yaml:2: drain: {shown}, expected {TIME}{hint}"]


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
    "snapshot.max_age: 24": f"found '24', expected {TIME} (a number needs a unit: 24s, 24m, 24h or 24d)",
    "snapshot.poll: 0s": "found 0 seconds, expected 0.01 or more",
    "grpc.engine: rust": "found 'rust', expected one of auto, native, grpcio",
    "grpc.unix_mode: 999": "found '999', expected rights in octal such as 660",
    "grpc.unix_mode: rw": "found 'rw', expected rights in octal such as 660",
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
    "decision_log.denied: 50%": "found '50%', expected a share from 0 to 1 (did you mean 0.5?)",
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
            f"found 'proxy.example.com', expected {NETWORKS_EXPECTED}",
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


def test_names_of_clients_need_an_authority_and_the_engine_native(mistakes: Mistakes) -> None:
    text = f"{LEAST}http:\n  tls: {{certificate: a, key: b, clients: [envoy.example.com]}}\n"
    assert mistakes(text) == [
        "authz.yaml:3: http.tls.clients: found without client_ca, expected the authority that signed them"
    ]
    text = f"{LEAST}grpc:\n  engine: grpcio\n  tls: {{certificate: a, key: b, client_ca: c, clients: [a.example]}}\n"
    assert mistakes(text) == [
        "authz.yaml:4: grpc.tls.clients: found with the engine grpcio, expected 'native' or 'auto'"
    ]
    assert mistakes(text.replace("clients: [a.example]", "client_crl: d")) == [
        "authz.yaml:4: grpc.tls.client_crl: found with the engine grpcio, expected 'native' or 'auto'"
    ]
    assert mistakes(f"{LEAST}http:\n  tls: {{certificate: a, key: b, client_crl: c}}\n") == [
        "authz.yaml:3: http.tls.client_crl: found without client_ca, expected the authority that signed them"
    ]


def test_an_emptied_list_of_clients_does_not_let_everybody_in(mistakes: Mistakes, load: Load) -> None:
    text = f"{LEAST}http:\n  tls: {{certificate: a, key: b, client_ca: c, clients: []}}\n"
    empty = "found an empty list, expected names, or no such key where any certificate of client_ca will do"
    assert mistakes(text) == [f"authz.yaml:3: http.tls.clients: {empty}"]
    assert mistakes(text.replace(", client_ca: c", "")) == [f"authz.yaml:3: http.tls.clients: {empty}"]
    tls = load(text.replace(", clients: []", "")).http.tls
    assert tls is not None
    assert tls.clients is None


@pytest.mark.parametrize("address", ["10.0.0.1", "'2001:db8::1'"])
def test_an_address_is_no_name_of_a_client(mistakes: Mistakes, address: str) -> None:
    (line,) = mistakes(f"{LEAST}http:\n  tls: {{certificate: a, key: b, client_ca: c, clients: [{address}]}}\n")
    where = f"authz.yaml:3: http.tls.clients[0]: found '{address.strip(chr(39))}', expected a name in the client's "
    assert line.startswith(where)
    assert line.endswith("(addresses in a certificate are not compared: give it a name)")


@pytest.mark.parametrize(("front", "most"), [("grpc", 1024), ("http", 4096)])
def test_one_address_cannot_have_more_connections_than_there_are(
    mistakes: Mistakes, load: Load, front: str, most: int
) -> None:
    key = f"{front}.max_connections_per_peer"
    assert mistakes(f"{LEAST}{front}: {{max_connections_per_peer: {most + 1}}}\n") == [
        f"authz.yaml:2: {key}: found {most + 1}, expected at most {most}, the value of max_connections"
    ]
    assert mistakes(f"{LEAST}{front}: {{max_connections: 5, max_connections_per_peer: 6}}\n") == [
        f"authz.yaml:2: {key}: found 6, expected at most 5, the value of max_connections"
    ]
    assert mistakes(f"{LEAST}{front}: {{max_connections: many, max_connections_per_peer: {most + 1}}}\n") == [
        f"authz.yaml:2: {front}.max_connections: found 'many', expected a whole number from 1"
    ]
    load(f"{LEAST}{front}: {{max_connections: 5, max_connections_per_peer: 5}}\n")


def test_one_front_at_least_is_on(mistakes: Mistakes, load: Load) -> None:
    assert mistakes(f"{LEAST}grpc: {{listen: off}}\nhttp: {{listen: off}}\n") == [
        "authz.yaml:2: grpc.listen: found 'off' here and at http.listen, expected at most one of them off"
    ]
    assert str(load(f"{LEAST}grpc: {{listen: off}}\nadmin: {{listen: off}}\n").grpc.listen) == "off"


# The environment.


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
        "authz.yaml:1: grpc.listn: unknown key (did you mean 'listen'? It is set in the environment)"
    ]


# Files.


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"authz.yaml: cannot be read: No such file or directory"):
        load_config(tmp_path / "authz.yaml", {})
    with pytest.raises(InputError, match=r": cannot be read: Is a directory"):
        load_config(tmp_path, {})


def test_a_file_that_is_no_utf_8_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "authz.yaml").write_bytes(b"drain: \xff\n")
    with pytest.raises(InputError, match=r"authz.yaml: not a text file: byte 7 is not UTF-8"):
        load_config(tmp_path / "authz.yaml", {})
