"""Mistakes that were taken in silence: nobody is told of them until somebody is locked out, let in, or a file is gone.

As in test_mistakes, every message is quoted.
"""

# ruff: noqa: E501  # a message is quoted as it is printed

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from support.suite.commands import Commands

BUILD = "snapshot build policy.yaml -o new.snapshot --key keys/a.key"
SNAPSHOT = "snapshot: {path: lists.snapshot, trusted_keys: [keys/a.pub]}\n"
ENTRY = "version: 1\nentries:\n- {list: deny, networks: [203.0.113.0/24], %s}\n"

# What policy.yaml says: what the build warns of.
IDLE = {
    "except: [203.0.131.10]": "policy.yaml:3: entries[0].except[0]: found 203.0.131.10/32, which is in no network of the entry: the exception changes nothing",
    "except: [203.0.113.10, 198.51.100.0-198.51.100.9]": "policy.yaml:3: entries[0].except[1]: found 198.51.100.0/29 and more, which is in no network of the entry: the exception changes nothing",
    "id: abuse, except: [203.0.112.0/22]": "policy.yaml:3: entries[0].except: covers all networks of the entry 'abuse', which names nobody",
    "except: [203.0.113.0/25, 203.0.113.128/25]": "policy.yaml:3: entries[0].except: covers all networks of the entry, which names nobody",
}


@pytest.mark.parametrize("exceptions", IDLE)
def test_an_exception_that_changes_nothing_or_everything_is_warned_of(
    authz: Commands, tmp_path: Path, exceptions: str
) -> None:
    (tmp_path / "policy.yaml").write_text(ENTRY % exceptions)
    ran = authz(*BUILD.split())
    assert (ran.status, ran.err) == (0, f"authz: warning: {IDLE[exceptions]}")


@pytest.mark.parametrize("entry", ["except: [203.0.113.10]", "hosts: [localhost], except: [127.0.0.1]"])
def test_an_exception_that_may_do_something_is_not_warned_of(authz: Commands, tmp_path: Path, entry: str) -> None:
    (tmp_path / "policy.yaml").write_text(ENTRY % entry)
    ran = authz(*BUILD.split(), "--allow-unresolved")
    assert "except" not in ran.err


# What policy.yaml says: the mistake.
POLICIES = {
    "applications: {shop: {hosts: [bücher.example]}}": "2: applications.shop.hosts[0]: found 'b\\xfccher.example', expected a host name such as shop.example.com (did you mean 'xn--bcher-kva.example'?)",
    "applications: {shop: {hosts: [shop.example.com.]}}": "2: applications.shop.hosts[0]: found 'shop.example.com.', expected a host name such as shop.example.com (did you mean 'shop.example.com'?)",
    "entries: [{list: deny, networks: [203.0.113.9], applications: ['*']}]": "2: entries[0].applications[0]: found '*', expected letters, digits, '.', '_' and '-', at most 64, the first a letter or digit (leave the key out for all applications)",
}


@pytest.mark.parametrize("policy", POLICIES)
def test_a_mistake_in_a_policy_that_had_no_hint(authz: Commands, tmp_path: Path, policy: str) -> None:
    (tmp_path / "policy.yaml").write_text(f"version: 1\n{policy}\n")
    ran = authz(*BUILD.split())
    assert (ran.status, ran.err.splitlines()[0]) == (2, f"policy.yaml:{POLICIES[policy]}")


@pytest.mark.parametrize("output", ["keys/a.key", "authz.yaml", "keys"])
def test_no_serial_lets_a_build_replace_a_file_that_is_no_snapshot(
    authz: Commands, tmp_path: Path, output: str
) -> None:
    """The hint of the first message led to it: the signing key was gone."""
    before = (tmp_path / "keys" / "a.key").read_bytes(), (tmp_path / "authz.yaml").read_bytes()
    ran = authz("snapshot", "build", "policy.yaml", "-o", output, "--key", "keys/a.key", "--serial", "9")
    assert ran.status == 2
    assert ran.err.startswith(f"authz: error: {output}: exists, and is not a snapshot whose serial can be read: ")
    assert ran.err.endswith("hint: move it away")
    assert before == ((tmp_path / "keys" / "a.key").read_bytes(), (tmp_path / "authz.yaml").read_bytes())


# What authz.yaml says behind its snapshot: the mistake.
OVER = "expected a file of its own: the sidecar would write over it"
WRITTEN_OVER = {
    "decision_log: {path: lists.snapshot}\n": f"2: decision_log.path: found FOLDER/lists.snapshot, which is snapshot.path, {OVER}",
    "decision_log: {path: keys/../authz.yaml}\n": f"2: decision_log.path: found FOLDER/keys/../authz.yaml, which is this configuration, {OVER}",
    "decision_log: {path: state/authz.json}\n": "2: decision_log.path: found FOLDER/state/authz.json, which is snapshot.state, expected a file of its own",
    "admin: {token_file: token}\ndecision_log: {path: token}\n": f"3: decision_log.path: found FOLDER/token, which is admin.token_file, {OVER}",
}
STATES = {
    "lists.snapshot": f"1: snapshot.state: found FOLDER/lists.snapshot, which is snapshot.path, {OVER}",
    "authz.yaml": f"1: snapshot.state: found FOLDER/authz.yaml, which is this configuration, {OVER}",
    "keys/a.pub": f"1: snapshot.state: found FOLDER/keys/a.pub, which is snapshot.trusted_keys, {OVER}",
}


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        *((SNAPSHOT + text, mistake) for text, mistake in WRITTEN_OVER.items()),
        *((SNAPSHOT.replace("}", f", state: {state}}}"), mistake) for state, mistake in STATES.items()),
    ],
)
def test_a_sidecar_that_would_write_over_its_own_files_does_not_start(
    authz: Commands, tmp_path: Path, text: str, mistake: str
) -> None:
    """The snapshot, the configuration or the key was gone after the start."""
    (tmp_path / "authz.yaml").write_text(text)
    ran = authz("check-config", "authz.yaml")
    assert (ran.status, ran.err.splitlines()[0]) == (2, "authz.yaml:" + mistake.replace("FOLDER", str(tmp_path)))


# A variable: the mistake.
VARIABLES = {
    "AUTHZ_GRPC_LISTEN": "AUTHZ_GRPC__LISTEN",
    "AUTHZ_CLIENT_ADDRESS_TRUSTED_PROXIES": "AUTHZ_CLIENT_ADDRESS__TRUSTED_PROXIES",
    "AUTHZ_DECISION_LOG_PATH": "AUTHZ_DECISION_LOG__PATH",
}


@pytest.mark.parametrize("name", VARIABLES)
def test_a_variable_with_one_underscore_too_few_is_told(
    authz: Commands, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "off")
    ran = authz("check-config", "authz.yaml")
    told = f"authz.yaml:1: environment: found the variable {name}, expected {VARIABLES[name]}"
    assert (ran.status, ran.err.splitlines()[0]) == (2, told)


# What authz.yaml says: what `check-config` finds.
FOUND = {
    "http: {max_header: 10}\n": "warning: http.max_header: found 10, expected at least 4096: a request with longer headers is denied",
    "grpc: {max_message: 1000}\n": "warning: grpc.max_message: found 1000, expected at least 61440: Envoy's larger requests are denied",
    "http: {header_timeout: 0s}\n": "warning: http.header_timeout: found 0, expected at least 1: a request that takes longer is not answered",
    "http: {cache: 1h}\n": "warning: http.cache: found 1h, expected at most 1m: a new ban does not hold before",
    "client_address: {trusted_hops: 33}\n": "wrong: client_address.trusted_hops: found 33, expected at most 32: every request is denied",
    "admin: {token_file: none}\n": "wrong: admin.token_file: FOLDER/none: no such file",
    "admin: {token_file: empty}\n": "wrong: admin.token_file: FOLDER/empty: expected one token of 16 to 512 printable ASCII characters",
    "events: {url: 'http://127.0.0.1:1/v1/events', token_file: none}\n": "wrong: events.token_file: FOLDER/none: no such file",
    "decision_log: {path: keys}\n": "wrong: decision_log.path: FOLDER/keys: found a folder, expected a file",
    "http: {tls: {certificate: keys/a.pub, key: none}}\n": "wrong: http.tls.key: FOLDER/none: no such file",
}


@pytest.mark.parametrize("text", FOUND)
def test_check_config_finds_what_stops_the_sidecar_or_denies_everybody(
    authz: Commands, tmp_path: Path, text: str
) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "authz.yaml").write_text(SNAPSHOT + text)
    ran = authz("check-config", "authz.yaml")
    told = FOUND[text].replace("FOLDER", str(tmp_path))
    assert told in ran.out.splitlines()
    assert ran.status == (1 if told.startswith("wrong") else 0)


def test_check_config_finds_a_certificate_that_is_none(authz: Commands, tmp_path: Path) -> None:
    (tmp_path / "authz.yaml").write_text(SNAPSHOT + "http: {tls: {certificate: keys/a.pub, key: keys/a.key}}\n")
    ran = authz("check-config", "authz.yaml")
    assert ran.status == 1
    assert f"wrong: http.tls: {tmp_path}/keys/a.pub: found no certificate" in ran.out


def test_check_config_warns_of_a_layer_whose_key_may_sign_the_policy_or_that_may_allow(
    authz: Commands, tmp_path: Path
) -> None:
    (tmp_path / "authz.yaml").write_text(
        "layers:\n- {name: policy, path: lists.snapshot, trusted_keys: [keys/a.pub]}\n"
        "- {name: bans, path: bans.snapshot, trusted_keys: [keys/a.pub], may: {lists: [allow, deny]}}\n"
    )
    ran = authz("check-config", "authz.yaml")
    assert "which 'policy' trusts too: whoever signs this layer can sign the policy" in ran.out
    assert "warning: layers[1].may.lists: allow: whoever signs this layer can let anybody in" in ran.out.splitlines()


@pytest.mark.parametrize("form", ["fail2ban", "nginx", "csv"])
def test_an_import_that_finds_nobody_is_an_error(authz: Commands, tmp_path: Path, form: str) -> None:
    """`fail2ban-client status sshd` instead of `get sshd banip` gave an empty policy, and status 0."""
    text = {"fail2ban": "Status for the jail: sshd\n", "nginx": "limit_req zone=a;\n", "csv": "network,reason\n"}[form]
    (tmp_path / "list").write_text(text)
    ran = authz("import", form, "list")
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.splitlines()[-1] == f"authz: error: list: found no entry, expected a list of {form}"


@pytest.mark.parametrize("url", ["https://control.example", "http://127.0.0.1:9194/"])
def test_a_url_for_events_without_its_path_is_refused(authz: Commands, tmp_path: Path, url: str) -> None:
    """Every batch was answered by 404, and was lost."""
    (tmp_path / "authz.yaml").write_text(f"{SNAPSHOT}events: {{url: '{url}'}}\n")
    ran = authz("check-config", "authz.yaml")
    told = f"authz.yaml:2: events.url: found '{url}', expected https://HOST/v1/events"
    assert (ran.status, ran.err.splitlines()[0]) == (2, told)


def ban_file(authz: Commands) -> None:
    """Make a bans file beside the policy."""
    for command in (
        "keys generate keys --name bans",
        "bans init bans.yaml --key keys/bans.key --snapshot bans.snapshot --policy lists.snapshot",
    ):
        assert authz(*command.split()).status == 0


def test_a_ban_for_an_application_that_the_policy_does_not_have_is_warned_of(authz: Commands) -> None:
    """It said `banned`, and denied nobody who asked for the shop."""
    ban_file(authz)
    ran = authz("ban", "203.0.113.77", "--application", "shoop")
    told = (
        "authz: warning: the policy has no application shoop (it has admin, shop): there the ban concerns only requests "
        "for an application of exactly this name"
    )
    assert (ran.status, ran.err) == (0, told)
    assert authz("ban", "203.0.113.77", "--application", "shop").err == ""


def test_an_address_that_another_ban_still_covers_is_not_said_to_be_free(authz: Commands) -> None:
    ban_file(authz)
    wide = authz("ban", "198.51.100.0/24", "--json").json()
    authz("ban", "198.51.100.7")
    ran = authz("unban", "198.51.100.7")
    told = f"authz: warning: 198.51.100.7 is still banned, by 198.51.100.0/24: `authz unban {wide['id']}` ends that"
    assert (ran.status, ran.err) == (0, told)
    assert authz("unban", "198.51.100.0/24").err == ""


@pytest.mark.parametrize(
    ("command", "file", "layers"),
    [
        ("bans init more.yaml --key keys/bans.key --snapshot lists.snapshot", "lists.snapshot", ("policy", "bans")),
        ("snapshot build policy.yaml -o bans.snapshot --key keys/a.key", "bans.snapshot", ("bans", "policy")),
    ],
)
def test_the_file_of_one_layer_is_not_replaced_by_that_of_another(
    authz: Commands, tmp_path: Path, command: str, file: str, layers: tuple[str, str]
) -> None:
    """The policy was gone, and sidecars refused what stood there."""
    ban_file(authz)
    before = (tmp_path / file).read_bytes()
    ran = authz(*command.split())
    found, expected = layers
    told = f"authz: error: {file}: found the snapshot of the layer '{found}', expected one of '{expected}', or no file"
    assert (ran.status, ran.err.splitlines()) == (2, [told, "hint: each layer has a file of its own"])
    assert (tmp_path / file).read_bytes() == before
    assert not (tmp_path / "more.yaml").exists()
