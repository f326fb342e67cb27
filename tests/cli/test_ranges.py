"""`authz ranges`, as an operator types it."""

from __future__ import annotations

import pytest
from support.ground.refusals import refused
from support.suite.commands import Commands, Ran


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
