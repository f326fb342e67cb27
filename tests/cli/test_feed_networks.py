"""`authz feeds networks`: what a CDN publishes, as the lines that authz.yaml takes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from support.ground.refusals import refused
from support.suite.commands import Commands, Ran

if TYPE_CHECKING:
    from pathlib import Path

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
        "authz: error: found 'service', expected COLUMN=VALUE",
    )
