"""`authz snapshot build`, as an operator types it."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest
from support.ground.refusals import refused

from authz.snapshot.read import inspect_snapshot

if TYPE_CHECKING:
    from pathlib import Path

    from support.publishing.publisher import Publisher
    from support.suite.commands import Commands

BUILD = ("snapshot", "build", "policy.yaml", "-o", "lists.snapshot", "--key", "keys/a.key")


@pytest.mark.usefixtures("shop")
def test_a_policy_is_built(authz: Commands, tmp_path: Path) -> None:
    built = authz(*BUILD, "--serial", "9", "--json").json()
    assert {name: built[name] for name in ("file", "serial", "applications", "entries")} == {
        "file": "lists.snapshot",
        "serial": 9,
        "applications": 3,
        "entries": 3,
    }
    assert built["size"] == (tmp_path / "lists.snapshot").stat().st_size
    assert inspect_snapshot(tmp_path / "lists.snapshot").manifest.serial == 9


@pytest.mark.usefixtures("shop")
def test_a_build_is_shown_to_a_person(authz: Commands) -> None:
    ran = authz.real(*BUILD, "--serial", "9")
    assert (ran.status, ran.err) == (0, "")
    rows = dict(line.rsplit(None, 1) for line in ran.out.splitlines())
    assert (rows["built"], rows["serial"], rows["match sets"]) == ("lists.snapshot", "9", rows["match sets"])


def test_a_serial_that_sidecars_would_refuse_is_refused_before_it_is_written(shop: Publisher, authz: Commands) -> None:
    before = (shop.folder / "lists.snapshot").read_bytes()
    for serial in ("7", "6"):
        refused(
            authz(*BUILD, "--serial", serial),
            f"authz: error: --serial: found {serial}, expected above 7, which lists.snapshot has",
            "hint: sidecars refuse a serial that is not above the last; to start over, move the file away",
        )
    assert (shop.folder / "lists.snapshot").read_bytes() == before
    assert authz(*BUILD, "--serial", "8").status == 0


@pytest.mark.usefixtures("shop")
def test_a_serial_is_the_time_or_one_more_than_the_last(authz: Commands) -> None:
    first = authz(*BUILD, "--json").json()["serial"]
    assert abs(first - time.time()) < 600
    assert authz(*BUILD, "--serial", str(first + 1000), "--json").json()["serial"] == first + 1000
    assert authz(*BUILD, "--json").json()["serial"] == first + 1001


@pytest.mark.usefixtures("shop")
def test_two_keys_sign(authz: Commands) -> None:
    authz(*BUILD, "--key", "keys/b.key")
    verify = ("snapshot", "verify", "lists.snapshot", "--trusted-key", "keys/a.pub", "--trusted-key", "keys/b.pub")
    assert len(authz(*verify, "--threshold", "2", "--json").json()["signed_by"]) == 2


@pytest.mark.usefixtures("shop")
def test_an_expiry_is_counted_from_now(authz: Commands, tmp_path: Path) -> None:
    authz(*BUILD, "--valid-for", "7d")
    manifest = inspect_snapshot(tmp_path / "lists.snapshot").manifest
    assert manifest.expires - manifest.created == 7 * 86400


@pytest.mark.parametrize("text", ["7", "soon", "-1d", "0s", "250ms"])
@pytest.mark.usefixtures("shop")
def test_a_wrong_expiry_is_refused(authz: Commands, text: str) -> None:
    expected = "a second or more" if text in {"0s", "250ms"} else "a duration such as 250ms, 10s, 5m, 24h or 7d"
    hints = ["hint: a number needs a unit: 7s, 7m, 7h or 7d"] if text == "7" else []
    refused(
        authz(*BUILD, "--valid-for", text), f"authz: error: --valid-for: found '{text}', expected {expected}", *hints
    )


MISTAKEN = """\
version: 1
applications:
  shop: {mode: of}
entries:
  - {id: office, list: allow, networks: [192.0.2.0/24, 10.0.0.2/10]}
  - {id: bad, list: denied, network: [203.0.113.0/24]}
  - {id: wide, list: deny, networks: [0.0.0.0/0], applications: [shp]}
"""


def test_every_mistake_of_a_policy_is_printed_and_the_old_snapshot_stays(
    shop: Publisher, authz: Commands, tmp_path: Path
) -> None:
    before = (tmp_path / "lists.snapshot").read_bytes()
    (tmp_path / "policy.yaml").write_text(MISTAKEN)
    names = sorted(path.name for path in tmp_path.iterdir())
    ran = authz.real(*BUILD)
    assert (ran.status, ran.out) == (2, "")
    *lines, count = ran.err.splitlines()
    expected = [
        "policy.yaml:3: applications.shop.mode: found 'of', expected one of off, monitoring, safe_blocking, block",
        "policy.yaml:5: entries[0].networks[1]: found '10.0.0.2/10', expected a network without host bits",
        "policy.yaml:6: entries[1].list: found 'denied', expected one of allow, deny, gray",
        "policy.yaml:6: entries[1].network: unknown key (did you mean 'networks'?)",
        "policy.yaml:7: entries[2].applications: found 'shp', expected a name under applications (known: shop)",
        "policy.yaml:7: entries[2].networks[0]: found 0.0.0.0/0, expected a network of /12 or longer",
    ]
    assert [any(line.startswith(start) for line in lines) for start in expected] == [True] * len(expected), ran.err
    assert count == f"authz: error: {len(lines)} mistakes in policy.yaml"
    assert (tmp_path / "lists.snapshot").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lists.snapshot.lock", *names]
    assert shop.folder == tmp_path


@pytest.mark.usefixtures("shop")
def test_a_policy_with_one_mistake_writes_no_file(authz: Commands, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("version: 2\n")
    refused(
        authz("snapshot", "build", "policy.yaml", "-o", "new.snapshot", "--key", "keys/a.key"),
        "policy.yaml:1: version: found '2', expected 1",
        "authz: error: 1 mistake in policy.yaml",
    )
    assert not (tmp_path / "new.snapshot").exists()


@pytest.mark.usefixtures("shop")
def test_lenient_takes_the_network_that_was_meant(authz: Commands, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(
        "version: 1\nlimits: {widest_ipv4: 8}\nentries: [{id: a, list: deny, networks: [10.0.0.2/10]}]\n"
    )
    assert "did you mean '10.0.0.0/10'? --lenient takes it" in authz(*BUILD).err
    assert authz(*BUILD, "--lenient", "--force", "--json").json()["networks"] == 1
    content = authz("explain", "10.63.255.255", "--config", "authz.yaml", "--json").json()
    assert [match["network"] for match in content["covering"]] == ["10.0.0.0/10"]


@pytest.mark.usefixtures("shop")
def test_a_line_of_a_feed_that_is_skipped_is_told(authz: Commands, tmp_path: Path) -> None:
    (tmp_path / "tor.txt").write_text("192.0.2.1\nnot an address\n192.0.2.2\n")
    (tmp_path / "policy.yaml").write_text(
        "version: 1\nentries: [{id: a, list: deny, sources: [tor]}]\nfeeds: [{source: tor, path: tor.txt}]\n"
    )
    ran = authz(*BUILD, "--force", "--json")
    assert ran.json()["networks"] == 2
    assert re.match(r"authz: warning: .*tor.txt:2: ", ran.err)


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({"policy.yaml": "no.yaml"}, ["authz: error: no.yaml: cannot be read: No such file or directory"]),
        ({"policy.yaml": "keys"}, ["authz: error: keys: cannot be read: Is a directory"]),
        ({"keys/a.key": "no.key"}, ["authz: error: no.key: cannot be read: No such file or directory"]),
        (
            {"keys/a.key": "keys/a.pub"},
            ["authz: error: keys/a.pub: found a public key, expected a private key", "hint: give the .key file"],
        ),
        (
            {"keys/a.key": "policy.yaml"},
            [
                "authz: error: policy.yaml: found no private key in PEM form that can be used, expected one",
                "hint: `authz keys generate DIR --name NAME` makes a pair",
            ],
        ),
        (
            {"keys/a.key": "awskms:arn:aws:kms:key"},
            ["authz: error: --key awskms:...: no --public-key, expected the PEM file of the key's public half"],
        ),
        (
            {"lists.snapshot": "no/lists.snapshot"},
            ["authz: error: no/lists.snapshot: cannot be written: No such file or directory"],
        ),
        (
            {"lists.snapshot": "policy.yaml"},
            ["authz: error: --output: found policy.yaml, which is the policy, expected another file"],
        ),
        (
            {"lists.snapshot": "authz.yaml"},
            [
                (
                    "authz: error: authz.yaml: exists, and is not a snapshot whose serial can be read: "
                    "found 'snapshot', expected 'AZSNAP01': this is not a snapshot"
                ),
                "hint: move it away",
            ],
        ),
    ],
)
@pytest.mark.usefixtures("shop")
def test_a_build_that_cannot_be_done_says_why(
    authz: Commands, tmp_path: Path, changes: dict[str, str], lines: list[str]
) -> None:
    def files() -> dict[Path, bytes]:
        """Return what is there, but for the locks of builds, which stay."""
        return {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"}

    before = files()
    refused(authz(*(changes.get(argument, argument) for argument in BUILD)), *lines)
    assert files() == before
