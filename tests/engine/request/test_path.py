"""`match: path`: the deny list against every address of the chain, and the allow list where the default is deny."""

from __future__ import annotations

from typing import Any

import pytest
from support.publishing.worlds import NOW, allow, deny, load, subject

from authz.addresses import NetworkSet, parse_networks
from authz.engine.decision.decider import Decider
from authz.engine.entries.ruleset import Ruleset
from authz.engine.model import Application
from authz.engine.request.client_address import Rules
from authz.engine.request.request import Request
from authz.engine.settings import Settings

CLIENT, OFFICE_PROXY, STRANGER, BAD = "192.0.2.7", "192.0.2.8", "198.51.100.1", "203.0.113.9"
ENTRIES = [allow("office", "192.0.2.0/24", "2001:db8::/32"), deny("bad", "203.0.113.0/24", "2001:db8:bad::/48")]
TRUSTED = Rules(NetworkSet(parse_networks("10.0.0.0/8")))


def decider(rules: Rules = TRUSTED, *subjects: Any, **application: Any) -> Decider:
    shop = Application("shop", **{"match": "path", "default": "deny", **application})
    decider = Decider(Settings(rules))
    decider.load(Ruleset([load((Application("*"), shop), subjects or ENTRIES)]))
    return decider


def asked(decide: Decider, *chain: str, peer: str | None = "10.0.0.1", now: float = NOW) -> str:
    """Return what is decided of a request with this X-Forwarded-For."""
    outcome, client = decide.check(Request(peer, [", ".join(chain)] if chain else [], "shop"), now)
    return f"{outcome.decision} {outcome.reason} {client.text if client else None}"


def test_every_address_behind_the_client_must_be_allowed_where_the_default_is_deny() -> None:
    decide = decider()
    assert asked(decide, CLIENT) == f"allow allowlisted {CLIENT}"
    assert asked(decide, OFFICE_PROXY, CLIENT) == f"allow allowlisted {CLIENT}"
    assert asked(decide, STRANGER, CLIENT) == f"deny default_deny {CLIENT}"
    assert asked(decide, BAD, CLIENT) == f"deny denylisted {CLIENT}"
    assert asked(decide, STRANGER, OFFICE_PROXY, CLIENT) == f"deny default_deny {CLIENT}"
    assert asked(decide, CLIENT, STRANGER) == f"deny default_deny {STRANGER}"


def test_our_own_proxies_need_not_be_on_the_allow_list() -> None:
    decide = decider()
    assert asked(decide, CLIENT, "10.0.0.9", "10.0.0.8") == f"allow allowlisted {CLIENT}"
    assert asked(decide, "10.0.0.7", CLIENT) == f"allow allowlisted {CLIENT}"
    hops = decider(Rules(trusted_hops=2))
    assert asked(hops, CLIENT, STRANGER, peer=STRANGER) == f"allow allowlisted {CLIENT}"
    assert asked(hops, BAD, CLIENT, "198.51.100.2", peer=STRANGER) == f"deny denylisted {CLIENT}"


def test_what_is_no_address_behind_the_client_is_passed_over() -> None:
    assert asked(decider(), "unknown", "", CLIENT) == f"allow allowlisted {CLIENT}"


def test_an_untrusted_peer_is_the_whole_chain() -> None:
    assert asked(decider(), STRANGER, peer=CLIENT) == f"allow allowlisted {CLIENT}"


def test_where_the_default_is_allow_only_the_deny_list_counts() -> None:
    decide = decider(default="allow", precedence="deny_first")
    assert asked(decide, STRANGER, CLIENT) == f"allow allowlisted {CLIENT}"
    assert asked(decide, BAD, CLIENT) == f"deny denylisted {CLIENT}"


def test_a_denial_by_the_path_is_let_through_and_told_in_a_dry_run() -> None:
    decide = decider(dry_run=True)
    outcome, _ = decide.check(Request("10.0.0.1", [f"{STRANGER}, {CLIENT}"], "shop"), NOW)
    assert (outcome.decision, outcome.verdict, outcome.reason, outcome.warned) == (
        "allow",
        "deny",
        "default_deny",
        True,
    )


def test_each_address_is_decided_at_its_own_time() -> None:
    short = allow("guest", STRANGER, expires=NOW + 60)
    decide = decider(TRUSTED, *ENTRIES, short)
    assert asked(decide, STRANGER, CLIENT).startswith("allow")
    assert asked(decide, STRANGER, CLIENT, now=NOW + 60).startswith("deny default_deny")


def test_covering_shows_what_covers_the_addresses_behind() -> None:
    decide = decider()
    request = Request("10.0.0.1", [f"{OFFICE_PROXY}, {BAD}, {CLIENT}"], "shop")
    _, client = decide.check(request, NOW)
    covering = [(c.entry.id, str(c.network)) for c in decide.covering(request, client)]
    assert covering == [("office", "192.0.2.0/24"), ("bad", "203.0.113.0/24"), ("office", "192.0.2.0/24")]


# What tests did not notice: a prefix of IPv4 beside one of IPv6.


def test_a_hop_of_ipv4_is_as_specific_as_its_prefix_says_beside_an_ipv6_client() -> None:
    """An IPv4 /24 counts as /120: else the allow entry of the client would be the more specific one."""
    entries = [allow("mine", "2001:db8::/64"), deny("hop", "203.0.113.0/24")]
    decide = decider(TRUSTED, *entries, default="allow", precedence="most_specific")
    assert asked(decide, BAD, "2001:db8::1") == "deny denylisted 2001:db8::1"
    assert asked(decide, "2001:db8::1", BAD) == "deny denylisted 203.0.113.9"


@pytest.mark.parametrize("client", ["203.0.113.200", "192.0.2.1"])
def test_a_longer_deny_match_of_the_path_counts_for_an_entry_that_covers_the_client_too(client: str) -> None:
    """`mixed` covers the client by /24, a hop by /32; `mine` covers the client by /28."""
    mine = {"203.0.113.200": "203.0.113.192/28", "192.0.2.1": "192.0.2.0/28"}[client]
    entries = [deny("mixed", "203.0.113.0/24", "192.0.2.0/24", "203.0.113.9"), allow("mine", mine)]
    decide = decider(TRUSTED, *entries, default="allow", precedence="most_specific")
    assert asked(decide, client) == f"allow allowlisted {client}"
    assert asked(decide, BAD, client) == f"deny denylisted {client}"


def test_the_gray_list_is_not_held_against_the_path() -> None:
    """It makes an attack by the client a denial, and says nothing of those behind him."""
    decide = decider(TRUSTED, subject("gray", "gray", STRANGER), default="allow", mode="safe_blocking")
    for chain, reason in ((f"{STRANGER}, {CLIENT}", "default_allow"), (STRANGER, "graylisted_attack")):
        assert decide.check(Request("10.0.0.1", [chain], "shop", attack=True), NOW)[0].reason == reason


def test_an_address_behind_the_client_that_a_later_layer_alone_denies_is_denied() -> None:
    shop = Application("shop", match="path")
    decide = Decider(Settings(TRUSTED))
    decide.load(
        Ruleset([load((Application("*"), shop), []), load((Application("*"),), [deny("ban", BAD)], layer="bans")])
    )
    assert asked(decide, CLIENT) == f"allow default_allow {CLIENT}"
    assert asked(decide, BAD, CLIENT) == f"deny denylisted {CLIENT}"
