"""`authz snapshot verify`, as an operator types it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from support.ground.refusals import refused
from support.snapshot.forge import Forge
from support.suite.commands import Commands, Ran

if TYPE_CHECKING:
    from pathlib import Path

    from support.publishing.publisher import Publisher

VERIFY = ("snapshot", "verify", "lists.snapshot", "--trusted-key", "keys/a.pub")


def test_a_good_snapshot_is_good(shop: Publisher, authz: Commands) -> None:
    keyid = shop.key().keyid
    assert authz.real(*VERIFY) == Ran(0, f"good: serial 7, signed by {keyid[:16]}", "")
    checked = authz(*VERIFY, "--json").json()
    assert (checked["good"], checked["serial"], checked["signed_by"]) == (True, 7, [keyid])


def test_a_snapshot_of_another_publisher_is_refused(shop: Publisher, authz: Commands) -> None:
    other = (*VERIFY[:3], "--trusted-key", "keys/b.pub")
    signed, expected = shop.key("a").keyid[:16], shop.key("b").keyid[:16]
    refused(
        authz.real(*other),
        f"authz: error: lists.snapshot: unknown_key: signed by {signed}, expected {expected}",
        "hint: add its publisher's .pub file to trusted_keys in authz.yaml, if you trust it",
        status=1,
    )
    ran = authz(*other, "--json")
    assert ran.status == 1
    assert json.loads(ran.out) == {
        "good": False,
        "code": "unknown_key",
        "message": f"signed by {signed}, expected {expected}",
    }


@pytest.mark.usefixtures("shop")
def test_a_snapshot_with_too_few_signatures_is_refused(authz: Commands) -> None:
    refused(
        authz(*VERIFY, "--trusted-key", "keys/b.pub", "--threshold", "2"),
        "authz: error: lists.snapshot: threshold_not_met: found 1 good signature, expected 2",
        status=1,
    )


@pytest.mark.usefixtures("shop")
def test_a_threshold_above_the_number_of_keys_is_a_mistake(authz: Commands) -> None:
    refused(
        authz(*VERIFY, "--threshold", "2"),
        "authz: error: --threshold: found 2, expected at most 1, the number of keys",
    )


@pytest.mark.usefixtures("shop")
def test_a_snapshot_that_is_not_there_is_refused(authz: Commands) -> None:
    refused(
        authz("snapshot", "verify", "no.snapshot", "--trusted-key", "keys/a.pub"),
        "authz: error: no.snapshot: absent: No such file or directory",
        status=1,
    )


def test_an_expired_snapshot_is_refused(shop: Publisher, authz: Commands) -> None:
    shop.publish(serial=8, created=1000, expires=2000)
    ran = authz(*VERIFY)
    assert ran.status == 1
    assert re.fullmatch(
        r"authz: error: lists.snapshot: expired: expired \d+ seconds ago, expected a newer snapshot", ran.err
    )


def test_verify_looks_at_every_element_of_the_index(shop: Publisher, authz: Commands, tmp_path: Path) -> None:
    good = Forge((tmp_path / "lists.snapshot").read_bytes(), {"a": shop.signer()})
    starts = good.sections["v4.starts"]
    swapped = starts[:8] + starts[12:16] + starts[8:12] + starts[16:]
    (tmp_path / "lists.snapshot").write_bytes(good.with_sections(lambda s: s.update({"v4.starts": swapped})))
    refused(
        authz(*VERIFY),
        "authz: error: lists.snapshot: bad_section: v4.starts: position 3 is not above the one before it",
        status=1,
    )


@pytest.mark.parametrize(
    ("key", "lines"),
    [
        (
            "keys/a.key",
            [
                "authz: error: keys/a.key: found a private key, expected a public key",
                "hint: give the .pub file, and keep the .key file away from the sidecar",
            ],
        ),
        ("no.pub", ["authz: error: no.pub: cannot be read: No such file or directory"]),
        (
            "policy.yaml",
            [
                "authz: error: policy.yaml: found no public key in PEM form that can be used, expected one",
                "hint: `authz keys generate DIR --name NAME` makes a pair",
            ],
        ),
    ],
)
@pytest.mark.usefixtures("shop")
def test_a_wrong_trusted_key_is_a_mistake(authz: Commands, key: str, lines: list[str]) -> None:
    refused(authz("snapshot", "verify", "lists.snapshot", "--trusted-key", key), *lines)
