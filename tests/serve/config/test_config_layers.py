"""`layers` of authz.yaml: the defaults, what is wrong with them, and what can change while the sidecar runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from authz.engine.entries.permissions import May
from authz.errors import InputError, InvalidDocument
from authz.serve.config.config import load_config
from authz.serve.config.reload import merge

if TYPE_CHECKING:
    from pathlib import Path

    from authz.serve.config.config import Config

POLICY = "  - {name: policy, path: lists.snapshot, trusted_keys: [a.pub]}\n"


def load(folder: Path, text: str) -> Config:
    (folder / "authz.yaml").write_text(text)
    return load_config(folder / "authz.yaml", {})


def test_the_short_form_is_one_layer_named_policy(tmp_path: Path) -> None:
    short = load(tmp_path, "snapshot: {path: lists.snapshot, trusted_keys: [a.pub], max_age: 1h}\n")
    long = load(tmp_path, "layers:\n" + POLICY.replace("]}", "], max_age: 1h}"))
    assert short.layers_in_order() == long.layers_in_order()
    assert short.state_file == long.state_file == tmp_path / "state/authz.json"
    assert short.policy_file == tmp_path / "lists.snapshot"


def test_a_state_beside_the_short_form_is_refused_where_it_was_ignored(tmp_path: Path) -> None:
    """The sidecar wrote to `state/` beside authz.yaml, or ended because it could not."""
    with pytest.raises(InvalidDocument, match=r"state: found beside snapshot, expected snapshot\.state"):
        load(tmp_path, "snapshot: {path: lists.snapshot, trusted_keys: [a.pub]}\nstate: /state/authz.json\n")


def test_a_later_layer_is_ignored_where_it_is_missing_and_may_do_little(tmp_path: Path) -> None:
    text = "layers:\n" + POLICY + "  - {name: bans, url: 'https://c.example/b', trusted_keys: [b.pub], may: {}}\n"
    policy, bans = load(tmp_path, text).layers_in_order()
    assert (policy.when_missing, bans.when_missing) == ("deny", "ignore")
    assert bans.may is not None
    assert bans.may.limits() == May()


def test_the_policy_of_a_url_is_found_in_its_last_good_copy(tmp_path: Path) -> None:
    config = load(tmp_path, "layers: [{name: main, url: 'https://c.example/b', trusted_keys: [a.pub]}]\n")
    assert config.policy_file == tmp_path / "state/last-good/main.snapshot"


@pytest.mark.parametrize(
    ("may", "totals"),
    [
        ("{}", (9, 24)),
        ("{widest_ipv4: 8, widest_ipv6: 20}", (8, 20)),
        ("{widest_ipv4: 8, total_ipv4: 0, total_ipv6: 32}", (0, 32)),
        ("{total_ipv4: 12}", (12, 24)),
    ],
)
def test_a_layer_may_cover_as_much_as_its_widest_network(tmp_path: Path, may: str, totals: tuple[int, int]) -> None:
    """`widest_ipv4: 8` alone did not start: the total was a /9 all the same."""
    text = f"layers:\n{POLICY}  - {{name: bans, path: b, trusted_keys: [b.pub], may: {may}}}\n"
    limits = load(tmp_path, text).layers_in_order()[1].may
    assert limits is not None
    assert (limits.limits().total_ipv4, limits.limits().total_ipv6) == totals


MISTAKES = {
    "{name: policy, path: b, trusted_keys: [b.pub]}": "layers[1].name: found 'policy' again, expected another name",
    "{name: bans, trusted_keys: [b.pub]}": "layers[1].path: missing, expected path or url",
    "{name: bans, path: b, url: 'https://h/b', trusted_keys: [b.pub]}":
        "layers[1].path: found both path and url, expected one",
    "{name: bans, path: b, trusted_keys: []}":
        "layers[1].trusted_keys: found an empty list, expected one or more files of public keys",
    "{name: bans, path: b, trusted_keys: [b.pub], threshold: 2}":
        "layers[1].threshold: found 2, expected at most 1, as many as trusted_keys",
    "{name: bans, path: b, trusted_keys: [b.pub], poll: 1ms}":
        "layers[1].poll: found 0.001 seconds, expected 0.01 or more",
    "{name: bans, path: b, trusted_keys: [b.pub], may: {widest_ipv4: 8, total_ipv4: 9}}":
        "layers[1].may.total_ipv4: found 9, expected at most 8: a network of widest_ipv4 has more addresses",
    "{name: bans, path: b, trusted_keys: [b.pub], when_missing: allow}":
        "layers[1].when_missing: found 'allow' in the second or a later layer",
    "{name: bans, url: 'http://h/b', trusted_keys: [b.pub], token: t}":
        "layers[1].token: found with a url of http, expected https: anybody on the way could read it",
    "{name: bans, url: 'https://h/b', trusted_keys: [b.pub], key: k}":
        "layers[1].certificate: found certificate or key alone, expected both or none",
    "{name: bans, path: b, trusted_keys: [b.pub], ca: c}": "layers[1].ca: found without a url of https, expected none",
    "{name: bans, url: 'ftp://h/b', trusted_keys: [b.pub]}":
        "layers[1].url: found 'ftp://h/b', expected https://HOST/PATH, s3://BUCKET/KEY, gs://BUCKET/KEY or "
        "az://CONTAINER/KEY",
    "{name: bans, url: 'https://user:pass@h/b', trusted_keys: [b.pub]}":
        "layers[1].url: found 'https://***@h/b', expected https://HOST/PATH, s3://BUCKET/KEY, gs://BUCKET/KEY or "
        "az://CONTAINER/KEY",
    "{name: bans, url: 's3://bucket', trusted_keys: [b.pub]}":
        "layers[1].url: found 's3://bucket', expected https://HOST/PATH, s3://BUCKET/KEY, gs://BUCKET/KEY or "
        "az://CONTAINER/KEY",
    "{name: bans, url: 's3://bucket/key?x', trusted_keys: [b.pub]}":
        "layers[1].url: found 's3://bucket/key?x', expected https://HOST/PATH, s3://BUCKET/KEY, gs://BUCKET/KEY or "
        "az://CONTAINER/KEY",
    "{name: ../bans, path: b, trusted_keys: [b.pub]}":
        "layers[1].name: found '../bans', expected a name of lower-case letters, digits, '.', '_' and '-'",
}  # fmt: skip


@pytest.mark.parametrize("layer", MISTAKES)
def test_a_mistake_in_a_layer_is_named_with_its_line(tmp_path: Path, layer: str) -> None:
    with pytest.raises(InvalidDocument) as caught:
        load(tmp_path, f"layers:\n{POLICY}  - {layer}\n")
    assert f"{tmp_path}/authz.yaml:3: {MISTAKES[layer]}" in caught.value.message.splitlines()


def test_the_first_layer_has_no_limits_and_is_not_ignored(tmp_path: Path) -> None:
    with pytest.raises(InvalidDocument) as caught:
        load(tmp_path, "layers:\n" + POLICY.replace("]}", "], may: {}, when_missing: ignore}"))
    assert "layers[0].when_missing: found 'ignore' in the first layer" in caught.value.message
    assert "layers[0].may: found in the first layer" in caught.value.message


def test_snapshot_and_layers_are_one_too_many(tmp_path: Path) -> None:
    with pytest.raises(InvalidDocument, match="found beside snapshot, expected one of the two"):
        load(tmp_path, "snapshot: {path: l, trusted_keys: [a.pub]}\nlayers:\n" + POLICY)


def test_what_cannot_change_stays_and_is_named_with_both_values(tmp_path: Path) -> None:
    old = load(tmp_path, "layers:\n" + POLICY)
    new = load(
        tmp_path,
        "layers:\n" + POLICY.replace("a.pub", "b.pub")
        + 'grpc: {listen: "127.0.0.1:1"}\n'
        + 'http: {listen: "127.0.0.1:2", max_connections: 7}\n'
        + "client_address: {header: x-real-ip, trusted_proxies: [10.0.0.0/8]}\n"
        + 'decision_log: {path: "off", allowed: 0.5}\nstate: elsewhere.json\ndrain: 1s\n',
    )  # fmt: skip
    merged, lines = merge(old, new)
    assert lines == [
        "grpc.listen: '127.0.0.1:9191' stays, found '127.0.0.1:1'",
        "http.listen: '127.0.0.1:9192' stays, found '127.0.0.1:2'",
        "client_address.header: 'x-forwarded-for' stays, found 'x-real-ip'",
        f"state: '{tmp_path}/state/authz.json' stays, found '{tmp_path}/elsewhere.json'",
        "decision_log.path: '-' stays, found 'off'",
    ]
    assert (merged.grpc, merged.http.listen, merged.state_file) == (old.grpc, old.http.listen, old.state_file)
    assert merged.policy.trusted_keys == (f"{tmp_path}/b.pub",)
    assert (merged.http.max_connections, merged.drain, merged.decision_log.allowed) == (7, 1.0, 0.5)
    assert merged.client_address.trusted_proxies == new.client_address.trusted_proxies
    assert merge(old, old) == (old, [])


def test_what_stays_is_told_in_the_form_of_the_file(tmp_path: Path) -> None:
    text = "layers:\n" + POLICY
    old = load(tmp_path, text + "http: {cache: 1s, unix_mode: 660}\ngrpc: {max_connection_age: 90m}\n")
    new = load(
        tmp_path,
        text + "http: {cache: 250ms, unix_mode: 600}\ngrpc: {max_connection_age: 0s, max_connections_per_peer: 9}\n"
        "workers: auto\noverlap: true\n",
    )
    merged, lines = merge(old, new)
    assert lines == [
        "grpc.max_connections_per_peer: 'null' stays, found '9'",
        "grpc.max_connection_age: '90m' stays, found '0s'",
        "http.unix_mode: '660' stays, found '600'",
        "http.cache: '1s' stays, found '250ms'",
        "workers: '1' stays, found 'auto'",
        "overlap: 'false' stays, found 'true'",
    ]
    assert (merged.workers, merged.overlap) == (1, False)


def test_files_and_clients_of_tls_change_but_tls_is_not_turned_on_or_off(tmp_path: Path) -> None:
    tls = "tls: {certificate: %s, key: k, client_ca: c}"
    first, second = (
        load(tmp_path, f"layers:\n{POLICY}grpc: {{{tls % name}}}\nhttp: {{{tls % name}}}\n") for name in "ab"
    )
    assert merge(first, second) == (second, [])
    plain = load(tmp_path, "layers:\n" + POLICY)
    for old, new in ((plain, first), (first, plain)):
        merged, lines = merge(old, new)
        assert (merged.grpc, merged.http) == (old.grpc, old.http)
        assert [line.split(":")[0] for line in lines] == ["grpc.tls", "http.tls"]
    first, second = (
        load(tmp_path, f"layers:\n{POLICY}grpc: {{engine: grpcio, {tls % name}}}\n") for name in "ab"
    )  # whose files are read once
    assert merge(first, second)[0].grpc == first.grpc


def test_another_first_layer_is_refused_while_the_sidecar_runs(tmp_path: Path) -> None:
    """Two lines that changed places: bans were the policy, and its applications had settings that nobody meant."""
    bans = "  - {name: bans, path: bans.snapshot, trusted_keys: [b.pub]}\n"
    third = bans.replace("bans", "team")
    old = load(tmp_path, "layers:\n" + POLICY + bans + third)
    with pytest.raises(InputError, match="layers: found 'bans' first, expected 'policy'"):
        merge(old, load(tmp_path, "layers:\n" + bans + POLICY))
    assert [layer.name for layer in merge(old, load(tmp_path, "layers:\n" + POLICY + third + bans))[0].layers] == [
        "policy", "team", "bans",
    ]  # fmt: skip
