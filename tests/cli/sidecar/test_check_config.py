"""`authz check-config`: what it finds in a configuration that is well written, and what exists."""

from __future__ import annotations

import json
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest
from support.processes import free_port
from support.servers.certificates import Authority
from support.suite.commands import Commands

if TYPE_CHECKING:
    from pathlib import Path

    from support.publishing.publisher import Publisher

POLICY = """\
version: 1
applications:
  shop: {hosts: [shop.example.com], dry_run: true}
  admin: {default: deny}
"""
LISTENS = 'grpc: {listen: "127.0.0.1:0"}\nhttp: {listen: "127.0.0.1:0"}\nadmin: {listen: "127.0.0.1:0"}\n'
SNAPSHOT = "snapshot: {path: lists.snapshot, trusted_keys: [keys/a.pub]}\n"


def check(folder: Path, text: str) -> tuple[int, list[str]]:
    """Return the exit status and the lines that are printed; JSON says the same."""
    (folder / "authz.yaml").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        authz = Commands(folder, patch)
        ran = authz("check-config", "authz.yaml")
        as_json: dict[str, Any] = json.loads(authz("check-config", "authz.yaml", "--json").out)
    assert as_json["good"] == (ran.status == 0)
    lines = ran.out.splitlines()
    assert [f"{finding['level']}: {finding['key']}: {finding['text']}" for finding in as_json["findings"]] == [
        line for line in lines if not line.startswith((" ", "good", "wrong: authz.yaml"))
    ]
    return ran.status, lines


def test_a_good_configuration_is_good_and_says_which_applications_exist(publisher: Publisher) -> None:
    publisher.publish(POLICY)
    status, lines = check(publisher.folder, SNAPSHOT + LISTENS)
    assert (status, lines[:8]) == (
        0,
        [
            "good: authz.yaml",
            "  grpc on 127.0.0.1:0",
            "  http on 127.0.0.1:0",
            "  admin on 127.0.0.1:0",
            f"  trusts key {publisher.key().keyid}",
            "  application *: mode block, default allow",
            "  application shop: mode block, default allow, hosts shop.example.com",
            "  application admin: mode block, default deny",
        ],
    )
    assert "warning: application shop: dry_run: every request is allowed" in lines


@pytest.mark.parametrize("network", ["0.0.0.0/0", "::/0"])
def test_everybody_as_a_trusted_proxy_is_wrong(publisher: Publisher, network: str) -> None:
    publisher.publish(POLICY)
    text = f'client_address: {{trusted_proxies: ["{network}"]}}\n'
    status, lines = check(publisher.folder, SNAPSHOT + LISTENS + text)
    expected = f"wrong: client_address.trusted_proxies: {network}: everybody can name any client: expected"
    assert status == 1
    assert any(line.startswith(expected) for line in lines)


def test_a_snapshot_that_is_absent_is_warned_of_and_one_that_is_refused_is_wrong(publisher: Publisher) -> None:
    status, lines = check(publisher.folder, SNAPSHOT + LISTENS)
    path = publisher.folder / "lists.snapshot"
    expected = f"warning: snapshot.path: {path}: found no file; until there is one, when_missing applies: deny"
    assert (status, lines[-1]) == (0, expected)
    path.write_bytes(b"AZSNAP01 no snapshot")
    status, lines = check(publisher.folder, SNAPSHOT + LISTENS)
    assert status == 1
    assert lines[-1].startswith(f"wrong: snapshot.path: {path}: the sidecar would refuse it: too_large: ")


def test_of_a_layer_from_a_server_that_was_not_loaded_yet_the_url_is_named(publisher: Publisher) -> None:
    """The warning was of `path`, which is not configured, and of a file below the state folder."""
    layers = "layers: [{name: policy, url: 'http://127.0.0.1:1/lists', trusted_keys: [keys/a.pub]}]\n"
    status, lines = check(publisher.folder, layers + LISTENS)
    expected = (
        "warning: layers[0].url: no file of it was loaded here yet; until there is one, when_missing applies: deny"
    )
    assert (status, lines[-1]) == (0, expected)


def test_a_stale_snapshot_is_warned_of_with_its_age_and_what_follows(publisher: Publisher) -> None:
    path = publisher.publish(POLICY, created=int(time.time()) - 9000)
    text = SNAPSHOT.replace("}", ", max_age: 2h, when_stale: deny}")
    status, lines = check(publisher.folder, text + LISTENS)
    age = "found a file made 2.5 hours ago, expected at most max_age, 2.0 hours"
    assert status == 0
    assert f"warning: snapshot.path: {path}: {age}: it is stale, and when_stale applies: deny" in lines


def test_a_deny_list_that_denies_nobody_is_warned_of(publisher: Publisher) -> None:
    publisher.publish(POLICY.replace("dry_run: true", "mode: monitoring, denylist_in_monitoring: false"))
    _, lines = check(publisher.folder, SNAPSHOT + LISTENS)
    problem = "mode monitoring, denylist_in_monitoring false: entries of the deny list deny nobody"
    assert f"warning: application shop: {problem}" in lines


def test_a_port_in_use_is_found(publisher: Publisher) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        text = LISTENS.replace('http: {listen: "127.0.0.1:0"}', f'http: {{listen: "127.0.0.1:{port}"}}')
        _, lines = check(publisher.folder, SNAPSHOT + text)
    problem = "Address already in use: perhaps the sidecar already runs"
    assert f"warning: http.listen: 127.0.0.1:{port}: {problem}" in lines
    _, lines = check(publisher.folder, SNAPSHOT + text.replace(str(port), str(free_port())))
    assert not any("in use" in line for line in lines)


def test_a_log_folder_that_is_missing_is_found(publisher: Publisher) -> None:
    publisher.publish(POLICY)
    status, lines = check(publisher.folder, SNAPSHOT + LISTENS + "decision_log: {path: no/such/decisions.log}\n")
    assert status == 1
    assert f"wrong: decision_log.path: {publisher.folder / 'no/such'}: no such folder" in lines


TLS_FILES = {
    # certificate, key, client_ca: what is found
    ("a.key.pem", "a.pem", "a.ca.pem"): "FOLDER/a.key.pem: found a private key, expected a certificate, as PEM",
    (
        "a.pem",
        "b.key.pem",
        "a.ca.pem",
    ): "FOLDER/b.key.pem: found another key, expected that of the certificate FOLDER/a.pem",
    ("a.pem", "a.key.pem", "a.key.pem"): "FOLDER/a.key.pem: expected certificates, as PEM",
}


@pytest.mark.parametrize(("files", "text"), TLS_FILES.items())
def test_a_file_of_tls_that_the_sidecar_could_not_use_is_wrong(
    publisher: Publisher, files: tuple[str, str, str], text: str
) -> None:
    folder = publisher.folder
    publisher.publish(POLICY)
    authority = Authority(folder, "a")
    authority.issue("a", "127.0.0.1")
    authority.issue("b", "127.0.0.1")
    tls = "tls: {{certificate: {}, key: {}, client_ca: {}}}"
    listens = LISTENS.replace('http: {listen: "127.0.0.1:0"', 'http: {listen: "127.0.0.1:0", ' + tls.format(*files))
    status, lines = check(folder, SNAPSHOT + listens)
    assert (status, lines[0]) == (1, "wrong: authz.yaml")
    assert f"wrong: http.tls: {text.replace('FOLDER', str(folder))}" in lines
    status, lines = check(
        folder, SNAPSHOT + listens.replace(tls.format(*files), tls.format("a.pem", "a.key.pem", "a.ca.pem"))
    )
    assert (status, [line for line in lines if "tls" in line]) == (0, [])


def test_a_certificate_that_is_not_valid_and_a_key_of_everybody_are_warned_of(publisher: Publisher) -> None:
    """Those of a front, and those that the sidecar shows to others."""
    folder = publisher.folder
    publisher.publish(POLICY)
    authority = Authority(folder, "a")
    authority.issue("a", "127.0.0.1", seconds=-60)
    authority.issue("b", "127.0.0.1", begins=3600)[1].chmod(0o644)
    text = SNAPSHOT + LISTENS.replace(
        'http: {listen: "127.0.0.1:0"', 'http: {listen: "127.0.0.1:0", tls: {certificate: a.pem, key: a.key.pem}'
    )
    text += "events: {url: 'https://control.example/v1/events', certificate: b.pem, key: b.key.pem}\n"
    status, lines = check(folder, text)
    warned = [line for line in lines if ".pem: " in line]
    assert status == 0
    assert warned[0].startswith(f"warning: http.tls.certificate: {folder}/a.pem: found a certificate that expired at ")
    assert warned[1].startswith(f"warning: events.certificate: {folder}/b.pem: found a certificate that begins at ")
    mode = "found the mode 644, expected 600 or 640: every user of this machine can read it"
    assert warned[2:] == [f"warning: events.key: {folder}/b.key.pem: {mode}"]


def test_an_authority_by_which_nobody_can_connect_is_wrong(publisher: Publisher) -> None:
    folder = publisher.folder
    publisher.publish(POLICY)
    Authority(folder, "a").issue("a", "127.0.0.1")
    tls = "tls: {certificate: a.pem, key: a.key.pem, client_ca: a.pem}"
    text = SNAPSHOT + LISTENS.replace('grpc: {listen: "127.0.0.1:0"', 'grpc: {listen: "127.0.0.1:0", ' + tls)
    status, lines = check(folder, text)
    assert status == 1
    start = f"wrong: grpc.tls: {folder}/a.pem: found no authority, expected one that signed itself (a root): nobody can"
    assert any(line.startswith(start) for line in lines)
    assert check(folder, text.replace("grpc: {", "grpc: {engine: grpcio, "))[0] == 0  # which takes any


def test_a_revocation_list_by_which_everybody_would_be_refused_is_wrong(publisher: Publisher) -> None:
    folder = publisher.folder
    publisher.publish(POLICY)
    authority = Authority(folder, "a")
    authority.issue("a", "127.0.0.1")
    tls = "tls: {certificate: a.pem, key: a.key.pem, client_ca: a.ca.pem, client_crl: a.crl.pem}"
    listens = LISTENS.replace('http: {listen: "127.0.0.1:0"', 'http: {listen: "127.0.0.1:0", ' + tls)
    (folder / "a.crl.pem").write_bytes(authority.revoke(seconds=-1))
    status, lines = check(folder, SNAPSHOT + listens)
    assert status == 1
    start = f"wrong: http.tls: {folder}/a.crl.pem: found the list of 'CN=a' that expired at "
    assert any(line.startswith(start) for line in lines)
    (folder / "a.crl.pem").write_bytes(authority.revoke())
    status, lines = check(folder, SNAPSHOT + listens)
    assert (status, [line for line in lines if "tls" in line]) == (0, [])


def test_the_file_may_be_given_as_for_other_commands(publisher: Publisher) -> None:
    publisher.publish(POLICY)
    (publisher.folder / "authz.yaml").write_text(SNAPSHOT + LISTENS)
    with pytest.MonkeyPatch.context() as patch:
        authz = Commands(publisher.folder, patch)
        assert authz("check-config", "--config", "authz.yaml").out == authz("check-config", "authz.yaml").out
        expected = "expected one\nhint: for example: authz check-config authz.yaml"
        for arguments, given in (((), "found no file"), (("authz.yaml", "--config", "x"), "found FILE and --config")):
            ran = authz("check-config", *arguments)
            assert (ran.status, ran.err.strip()) == (2, f"authz: error: {given}, {expected}")


def test_a_threshold_that_the_keys_can_never_meet_is_found_also_where_a_key_is_there_twice(
    publisher: Publisher,
) -> None:
    publisher.publish(POLICY)
    (publisher.folder / "keys" / "same.pub").write_bytes((publisher.folder / "keys" / "a.pub").read_bytes())
    text = "snapshot: {path: lists.snapshot, trusted_keys: [keys/a.pub, keys/same.pub], threshold: 2}\n"
    status, lines = check(publisher.folder, text + LISTENS)
    assert status == 1
    assert f"warning: snapshot.trusted_keys: found the key {publisher.key().keyid} 2 times: it counts once" in lines
    assert "wrong: snapshot.threshold: found 2, expected at most 1, the number of different trusted_keys" in lines


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "client_address: {trusted_proxies: [0.0.0.0/1]}\n",
            "warning: client_address.trusted_proxies: 0.0.0.0/1: expected /8 or longer: ",
        ),
        ("client_address: {missing: peer}\n", "warning: client_address.missing: peer: without a forwarding"),
        ("client_address: {trusted_hops: 1}\n", "warning: client_address.trusted_hops: 1: every peer can name any"),
        ("application: {http: header}\n", "warning: application.http: header: a client can choose its application"),
        (
            "client_address: {trusted_proxies: [127.0.0.1]}\n",
            "note: client_address.trusted_proxies: loopback is trusted: for peers",
        ),
        ("", "note: application.unknown: default: an application that the policy does not name gets"),
    ],
)
def test_a_configuration_that_grants_more_than_it_seems_is_found(publisher: Publisher, text: str, line: str) -> None:
    publisher.publish(POLICY.replace("dry_run: true", "mode: block"))
    unknown = "" if text.startswith("application") else "application: {unknown: default}\n"
    status, lines = check(publisher.folder, SNAPSHOT + LISTENS + text + unknown)
    assert status == 0
    assert any(printed.startswith(line) for printed in lines), lines


@pytest.mark.parametrize(
    ("listens", "line"),
    [
        ('admin: {listen: "0.0.0.0:0"}\n', "warning: admin.listen: 0.0.0.0:0 is not loopback: whoever reaches"),
        (
            'http: {listen: "0.0.0.0:0"}\n',
            "warning: http.listen: 0.0.0.0:0 is not loopback: whoever reaches it can ask",
        ),
        (
            "http: {listen: unix:http.sock, unix_mode: 666}\n",
            "warning: http.unix_mode: found 666: every user of this machine can ask",
        ),
        ("http: {listen: unix:no/such/http.sock}\n", "wrong: http.listen: "),
    ],
)
def test_listeners_that_are_open_to_more_than_the_proxy_are_found(
    publisher: Publisher, listens: str, line: str
) -> None:
    kept = [kept_line for kept_line in LISTENS.splitlines(keepends=True) if kept_line[:4] != listens[:4]]
    _, lines = check(publisher.folder, SNAPSHOT + "".join(kept) + listens)
    assert any(printed.startswith(line) for printed in lines), lines


def test_letting_everybody_in_meanwhile_is_found(publisher: Publisher) -> None:
    text = SNAPSHOT.replace("}", ", when_missing: allow, when_stale: allow}")
    _, lines = check(publisher.folder, text + LISTENS)
    for state in ("missing", "stale"):
        assert f"warning: policy.when_{state}: allow: every request is allowed while the snapshot is {state}" in lines
