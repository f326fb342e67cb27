"""`authz ranges` and `authz feeds networks`: networks as lines, as an operator types it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from support.ground.refusals import refused
from support.suite.commands import Commands, Ran

if TYPE_CHECKING:
    from pathlib import Path


def test_a_range_is_the_fewest_networks(authz: Commands) -> None:
    ran = authz.real("ranges", "10.0.0.1-10.0.0.10")
    assert ran == Ran(0, "10.0.0.1/32\n10.0.0.2/31\n10.0.0.4/30\n10.0.0.8/31\n10.0.0.10/32", "")


def test_ranges_are_told_by_what_was_asked(authz: Commands) -> None:
    assert authz("ranges", "--json", "192.0.2.1", "2001:db8::-2001:db8::1", "10.0.0.0/8").json() == {
        "192.0.2.1": ["192.0.2.1/32"],
        "2001:db8::-2001:db8::1": ["2001:db8::/127"],
        "10.0.0.0/8": ["10.0.0.0/8"],
    }


def test_host_bits_are_a_mistake_that_names_the_network_meant(authz: Commands) -> None:
    refused(
        authz.real("ranges", "10.0.0.2/10"),
        "authz: error: found '10.0.0.2/10', expected a network without host bits",
        "hint: did you mean '10.0.0.0/10'?",
    )
    assert authz("ranges", "--lenient", "10.0.0.2/10").out == "10.0.0.0/10"


@pytest.mark.parametrize("text", ["example.com", "10.0.0", "10.0.0.1-", "010.0.0.1", "10.0.0.1/33", "\x1b[2J"])
def test_what_is_no_range_is_a_mistake(authz: Commands, text: str) -> None:
    ran = authz("ranges", "--", text)
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith(
        f"authz: error: found '{text}'" if text.isprintable() else r"authz: error: found '\x1b[2J'"
    )


RANGES = {"prefixes": [
    {"ip_prefix": "198.51.100.0/25", "region": "GLOBAL", "service": "CLOUDFRONT", "network_border_group": "GLOBAL"},
    {"ip_prefix": "203.0.113.0/24", "region": "eu-west-1", "service": "EC2", "network_border_group": "eu-west-1"},
], "ipv6_prefixes": [{"ipv6_prefix": "2001:db8::/40", "region": "GLOBAL", "service": "CLOUDFRONT",
                      "network_border_group": "GLOBAL"}]}  # fmt: skip


def test_the_networks_of_one_service_are_printed_one_a_line(authz: Commands, tmp_path: Path) -> None:
    file = tmp_path / "aws.json"
    file.write_text(json.dumps({"syncToken": "1", **RANGES}))
    ran = authz.real("feeds", "networks", str(file), "--where", "service=CLOUDFRONT")
    assert ran == Ran(0, "198.51.100.0/25\n2001:db8::/40", "")
    assert authz("feeds", "networks", "--json", str(file)).json() == [
        "198.51.100.0/25",
        "203.0.113.0/24",
        "2001:db8::/40",
    ]


def test_lines_that_are_no_networks_are_told_and_left_out(authz: Commands, tmp_path: Path) -> None:
    file = tmp_path / "cdn.txt"
    file.write_text("198.51.100.0/24\n198.51.100.1/24\n")
    ran = authz("feeds", "networks", str(file), "--format", "plain")
    assert (ran.status, ran.out) == (0, "198.51.100.0/24")
    assert f"authz: warning: {file}, line 2" in ran.err


def test_a_filter_that_is_none_is_a_mistake(authz: Commands, tmp_path: Path) -> None:
    file = tmp_path / "cdn.txt"
    file.write_text("198.51.100.0/24\n")
    refused(
        authz("feeds", "networks", str(file), "--where", "service"),
        "authz: error: --where: found 'service', expected COLUMN=VALUE",
    )
