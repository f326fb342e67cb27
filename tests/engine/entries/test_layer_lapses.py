"""Layers that are missing or stale, and applications that no layer has."""

from __future__ import annotations

import math
from typing import Any

import pytest
from support.engine.small_layers import GENERAL, check, decider, layer, policy
from support.publishing.worlds import NOW, allow, deny, load, subject

from authz.engine.decision.decider import Decider
from authz.engine.decision.explain import explain
from authz.engine.entries.ruleset import Ruleset
from authz.engine.request.request import Request
from authz.engine.settings import LayerSettings, Settings

BANS = LayerSettings("bans")


# Layers that are missing or stale.


def test_a_missing_layer_is_ignored_by_default() -> None:
    decide = decider(policy(), layers=(BANS,))
    assert check(decide, "192.0.2.1").reason == "default_allow"
    (lapse,) = decide.lapses(NOW)
    assert (lapse.layer, lapse.reason, lapse.then) == ("bans", "no_snapshot", "ignore")


def test_a_missing_layer_may_deny_everything() -> None:
    decide = decider(policy(), layers=(BANS._replace(when_missing="deny"),))
    outcome = check(decide, "192.0.2.1")
    assert (outcome.reason, outcome.status, outcome.layer) == ("no_snapshot", 503, "bans")
    decide.load(Ruleset([policy(), layer("bans")]))
    assert check(decide, "192.0.2.1").status == 200


STALE_BANS = layer("bans", deny("ban", "192.0.2.1"))  # created NOW


@pytest.mark.parametrize(
    ("then", "fresh", "stale", "other"),
    [
        ("keep", ("denylisted", 403), ("denylisted", 403), ("default_allow", 200)),
        ("ignore", ("denylisted", 403), ("default_allow", 200), ("default_allow", 200)),
        ("deny", ("denylisted", 403), ("stale_snapshot", 503), ("stale_snapshot", 503)),
    ],
)
def test_a_stale_layer_does_as_it_is_told(then: Any, fresh: object, stale: object, other: object) -> None:
    decide = decider(policy(), STALE_BANS, layers=(BANS._replace(when_stale=then, max_age=100),))
    for _ in range(2):  # the clock may go back
        for at, address, expected in (
            (NOW + 99, "192.0.2.1", fresh),
            (NOW + 100, "192.0.2.1", stale),
            (NOW + 100, "192.0.2.2", other),
            (NOW + 500, "192.0.2.1", stale),
        ):
            outcome = check(decide, address, now=at)
            assert (outcome.reason, outcome.status) == expected
    assert [lapse.layer for lapse in decide.lapses(NOW + 99)] == []
    assert [(lapse.layer, lapse.then) for lapse in decide.lapses(NOW + 100)] == [("bans", then)]


def test_layers_are_ignored_one_after_the_other() -> None:
    more = layer("more", deny("more", "192.0.2.2"))
    ignored = (BANS._replace(when_stale="ignore", max_age=100), LayerSettings("more", "ignore", "ignore", 200))
    decide = decider(policy(), STALE_BANS, more, layers=ignored)
    decisions = [
        [check(decide, address, now=NOW + after).decision for address in ("192.0.2.1", "192.0.2.2")]
        for after in (0, 100, 200, 150, 50)
    ]
    assert decisions == [["deny", "deny"], ["allow", "deny"], ["allow", "allow"], ["allow", "deny"], ["deny", "deny"]]


def test_what_is_decided_without_an_ignored_layer_is_remembered_too() -> None:
    decide = decider(policy(), STALE_BANS, layers=(BANS._replace(when_stale="ignore", max_age=100),))
    request = Request("192.0.2.1", ("192.0.2.1",), "shop")
    decide.decide(request, NOW + 100)
    again = decide.decide(request, NOW + 101)
    assert again[2] is not None
    assert decide.decide(request, NOW + 102) is again


def test_what_is_remembered_without_an_ignored_layer_does_not_outlive_a_clock_that_goes_back() -> None:
    """A clock that was ahead for a moment must not let the banned in until the next file comes."""
    decide = decider(policy(), STALE_BANS, layers=(BANS._replace(when_stale="ignore", max_age=100),))
    request = Request("192.0.2.1", ("192.0.2.1",), "shop")
    decisions = [decide.check(request, NOW + after)[0].decision for after in (0, 100, 101, 50, 51, 102, 99)]
    assert decisions == ["deny", "allow", "allow", "deny", "deny", "allow", "deny"]


def test_a_layer_that_denies_counts_before_a_policy_that_allows() -> None:
    decide = decider(policy(), when_stale="allow", max_age=0, layers=(BANS._replace(when_missing="deny"),))
    assert check(decide, "192.0.2.1").status == 503
    assert check(decider(policy(), when_stale="allow", max_age=0), "192.0.2.1").reason == "stale_snapshot"


def test_without_a_policy_only_that_counts() -> None:
    decide = Decider(Settings(layers=(BANS,)))
    (lapse,) = decide.lapses(NOW)
    assert (lapse.layer, lapse.reason, lapse.since, lapse.then) == ("policy", "no_snapshot", -math.inf, "deny")


def test_an_outcome_of_one_ruleset_does_not_outlive_it() -> None:
    decide = decider(policy(), STALE_BANS)
    assert check(decide, "192.0.2.1").decision == "deny"
    decide.load(Ruleset([policy(), layer("bans")]))
    assert check(decide, "192.0.2.1").decision == "allow"


def test_warnings_of_all_layers_are_reported() -> None:
    watch = subject("watch", "deny", "192.0.2.0/24", action="warn")
    decide = decider(policy(watch), layer("bans", subject("watch2", "deny", "192.0.2.1", action="warn")))
    assert check(decide, "192.0.2.1").warnings == ("watch", "watch2")


# Explained.


def explained(decide: Decider, address: str, application: str = "shop", now: float = NOW) -> dict[str, Any]:
    return explain(decide, Request(address, (), application), now)


def test_explain_shows_the_layers_and_what_is_missing_of_them() -> None:
    decide = decider(policy(), layer("bans", serial=90), layers=(BANS, LayerSettings("team", when_missing="deny")))
    layers = explained(decide, "192.0.2.1")["layers"]
    assert [(layer["layer"], layer["serial"], layer["lapse"]) for layer in layers] == [
        ("policy", 7, None),
        ("bans", 90, None),
        ("team", None, "no_snapshot: deny"),
    ]


def test_explain_tells_entries_of_one_id_apart_by_their_layer() -> None:
    decide = decider(policy(allow("a", "192.0.2.0/24")), layer("bans", deny("a", "192.0.2.1")))
    covering = explained(decide, "192.0.2.1")["covering"]
    assert [(match["layer"], match["verdict"]) for match in covering] == [
        ("policy", "decides"),
        ("bans", "loses by precedence allow_first"),
    ]


def test_explain_says_that_an_application_is_unknown_and_which_there_are() -> None:
    content = explained(decider(policy(deny("bad", "192.0.2.1"))), "192.0.2.1", "shopp")
    assert content["unknown_application"] == "shopp"
    assert content["applications"] == ["*", "shop"]
    assert content["decision"]["reason"] == "unknown_application"
    assert [match["verdict"] for match in content["covering"]] == ["not looked at: unknown_application"]
    assert explained(decider(policy()), "192.0.2.1")["unknown_application"] is None
    none = explain(decider(policy()), Request("192.0.2.1", (), None, "a.example"), NOW)
    assert none["unknown_application"] == "none, with the host a.example"


def test_explain_says_that_an_entry_was_added_later() -> None:
    decide = decider(policy(deny("bad", "192.0.2.1", added=NOW - 10)))
    assert explained(decide, "192.0.2.1")["covering"][0]["verdict"] == "decides"
    before = explained(decide, "192.0.2.1", now=NOW - 11)["covering"][0]["verdict"]
    assert before == "decides; the entry was not there yet: it was added 1970-01-01T00:16:30Z"


# Applications that the policy does not have.


@pytest.mark.parametrize(
    ("unknown", "names_some", "named", "expected"),
    [
        ("auto", True, "shopp", "deny unknown_application"),
        ("auto", True, None, "deny unknown_application"),
        ("auto", True, "*", "allow default_allow"),
        ("auto", True, "shop", "allow default_allow"),
        ("auto", False, "shopp", "allow default_allow"),
        ("auto", False, None, "allow default_allow"),
        ("default", True, "shopp", "allow default_allow"),
        ("default", True, None, "allow default_allow"),
        ("deny", False, "shopp", "deny unknown_application"),
        ("deny", False, None, "deny unknown_application"),
        ("deny", False, "*", "allow default_allow"),
    ],
)
def test_what_an_unknown_application_is(unknown: Any, names_some: bool, named: str | None, expected: str) -> None:
    first = policy() if names_some else load((GENERAL,), [])
    decide = decider(first, unknown=unknown)
    for _ in range(2):
        outcome, client = decide.check(Request("192.0.2.1", (), named), NOW)
        assert f"{outcome.decision} {outcome.reason}" == expected
        assert client is not None
        assert client.text == "192.0.2.1"
    names_an_unknown_one = named == "shopp" or (named is None and (names_some or unknown == "deny"))
    assert outcome.unknown is names_an_unknown_one


def test_names_of_unknown_applications_are_told_but_not_those_of_a_question() -> None:
    decide = decider(policy())
    names: list[str] = []
    decide.on_unknown = names.append
    for name in ("shop", "shopp", None, "*"):
        decide.check(Request("192.0.2.1", (), name), NOW)
    explained(decide, "192.0.2.1", "nobody")
    assert names == ["shopp"]


# What deliberate faults survived.


def test_a_layer_that_denies_counts_though_the_policy_was_to_allow_before_it() -> None:
    stale = {"when_stale": "allow", "max_age": 50, "layers": (BANS._replace(when_stale="deny", max_age=100),)}
    decide = decider(policy(), layer("bans"), **stale)
    outcomes = [check(decide, "192.0.2.1", now=NOW + after) for after in (0, 50, 100)]
    assert [(outcome.reason, outcome.layer) for outcome in outcomes] == [
        ("default_allow", None),
        ("stale_snapshot", "policy"),
        ("stale_snapshot", "bans"),
    ]
    assert [outcome.status for outcome in outcomes] == [200, 200, 503]


@pytest.mark.parametrize("names", [("shopp", None), (None, "shopp")])
def test_an_unknown_application_is_told_apart_where_a_layer_has_lapsed(names: tuple[str | None, ...]) -> None:
    """Without any application in the policy, no name at all means `*`."""
    decide = decider(load((GENERAL,), []), layers=(BANS._replace(when_missing="deny"),))
    outcomes = [decide.check(Request("192.0.2.1", (), name), NOW)[0] for name in names]
    assert [outcome.reason for outcome in outcomes] == ["no_snapshot", "no_snapshot"]
    assert [outcome.unknown for outcome in outcomes] == [name is not None for name in names]


def test_an_unknown_application_stays_unknown_without_an_ignored_layer() -> None:
    ignored = (BANS._replace(when_stale="ignore", max_age=100),)
    decide = decider(policy(), STALE_BANS, unknown="default", layers=ignored)
    for name, unknown in (("shopp", True), ("*", False), ("shop", False)):
        assert [check(decide, "192.0.2.2", name, NOW + after).unknown for after in (0, 100)] == [unknown] * 2


def test_a_decision_without_a_stale_layer_holds_although_a_missing_one_would_deny() -> None:
    """It had ended before it began: nothing was remembered, and each request was decided anew."""
    bans = BANS._replace(when_missing="deny", when_stale="ignore", max_age=100)
    decide = decider(policy(), STALE_BANS, layers=(bans,))
    outcome = check(decide, "192.0.2.1", now=NOW + 100)
    assert (outcome.reason, outcome.until) == ("default_allow", math.inf)
    assert check(decide, "192.0.2.1", now=NOW + 101) is outcome
