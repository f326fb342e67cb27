"""The host of a request: one name however it is written, and none where it could be read in two ways."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.sidecar.fronts import Fronts

from authz.engine.request.hosts import host_name
from authz.engine.request.request import Request

if TYPE_CHECKING:
    from support.publishing.publisher import Publisher

POLICY = """\
version: 1
applications:
  admin: {hosts: [admin.example.com], default: deny, deny: {status: 404}}
"""
AMBIGUOUS = [
    "admin.example.com..",
    "[admin.example.com]",
    "x@admin.example.com",
    "admin.example.com:x",
    ".admin.example.com",
    "admin.example.com, x",
    "admin.example.com/x",
    "admin.example.com\\",
    "a b",
    "::1",
    "[::1",
    "\xe4.example",
    "admin..example.com",
    ":80",
    ".",
]


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("admin.example.com", "admin.example.com"),
        ("ADMIN.example.com.", "admin.example.com"),
        ("admin.example.com.:8080", "admin.example.com"),
        ("admin.example.com:", "admin.example.com"),
        ("192.0.2.1:80", "192.0.2.1"),
        ("[2001:DB8::1]:80", "[2001:db8::1]"),
        ("a_b-c", "a_b-c"),
    ],
)
def test_a_host_is_one_name_however_it_is_written(written: str, name: str) -> None:
    assert host_name(written) == name


@pytest.mark.parametrize("host", AMBIGUOUS)
def test_a_host_that_could_be_taken_for_another_application_is_denied_and_not_decided_by_the_general_settings(
    publisher: Publisher, host: str
) -> None:
    """`[admin.example.com]` and `x@admin.example.com` fell to `*`, which allows."""
    fronts = Fronts(publisher, "", POLICY)
    assert host_name(host) is None
    outcome, _ = fronts.decider.check(Request("192.0.2.1", host=host), fronts.now)
    assert (outcome.decision, outcome.reason) == ("deny", "malformed_request")
    for other in ("other.example.com", ""):
        assert fronts.decider.check(Request("192.0.2.1", host=other), fronts.now)[0].decision == "allow"


def test_where_no_application_has_hosts_a_host_decides_nothing(publisher: Publisher) -> None:
    fronts = Fronts(publisher, "", "version: 1\n")
    assert fronts.decider.check(Request("192.0.2.1", host="x@y"), fronts.now)[0].decision == "allow"
