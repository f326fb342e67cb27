"""The decision: the mode tables row by row, precedence, windows, applications, warnings."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any, get_args

import pytest
from support.engine.verdicts import MODES, NOW

from authz.engine.decision.verdict import MAX_WARNINGS, Verdict, decide, only_warns
from authz.engine.model import Application, Entry, ListName, Match, Precedence

if TYPE_CHECKING:
    from collections.abc import Iterable

SHOP = Application("shop")


LISTS = {
    "allow": Entry("office", "allow"),
    "deny": Entry("bad", "deny"),
    "gray": Entry("strange", "gray"),
}


def on(*lists: str, length: int = 32) -> list[Match]:
    """Return a match on each of these lists, all with the same length."""
    return [Match(LISTS[name], length) for name in lists]


def outcome(application: Application, matches: Iterable[Match], *, attack: bool = False, now: float = NOW) -> str:
    """Return a verdict in two words, as `deny attack`."""
    verdict = decide(application, matches, attack=attack, now=now)
    return f"{verdict.decision} {verdict.reason}"


def decider(application: Application, matches: Iterable[Match], *, now: float = NOW) -> str:
    """Return the id of the entry that decides, or ""."""
    entry = decide(application, matches, attack=False, now=now).entry
    return entry.id if entry else ""


# The tables of the modes. Each row: the list that the client is on, then the outcome without and with an attack signal.


LENIENT = {
    "allow": ("allow allowlisted", "allow allowlisted"),
    "deny": ("deny denylisted", "deny denylisted"),
    "gray": ("allow default_allow", "allow default_allow"),
    "": ("allow default_allow", "allow default_allow"),
}


TABLES = {
    "off": LENIENT,
    "monitoring": LENIENT,
    "safe_blocking": LENIENT | {"gray": ("allow graylisted", "deny graylisted_attack")},
    "block": LENIENT | {"gray": ("allow default_allow", "deny attack"), "": ("allow default_allow", "deny attack")},
}


ROWS = [
    pytest.param(mode, name, *cells, id=f"{mode}, {name or 'no list'}")
    for mode, table in TABLES.items()
    for name, cells in table.items()
]


@pytest.mark.parametrize(("mode", "name", "quiet", "attacked"), ROWS)
def test_a_row_of_the_mode_table_says_what_becomes_of_a_client(mode: Any, name: str, quiet: str, attacked: str) -> None:
    application = SHOP._replace(mode=mode)
    matches = on(name) if name else []
    assert outcome(application, matches) == quiet
    assert outcome(application, matches, attack=True) == attacked


@pytest.mark.parametrize(("mode", "name", "quiet", "attacked"), ROWS)
def test_a_default_of_deny_changes_the_rows_that_end_in_the_default_and_no_others(
    mode: Any, name: str, quiet: str, attacked: str
) -> None:
    application = SHOP._replace(mode=mode, default="deny")
    matches = on(name) if name else []
    assert outcome(application, matches) == quiet.replace("allow default_allow", "deny default_deny")
    assert outcome(application, matches, attack=True) == attacked.replace("allow default_allow", "deny default_deny")


def test_a_verdict_names_the_list_and_the_entry() -> None:
    assert decide(SHOP, on("deny"), attack=False, now=NOW) == Verdict("deny", "denylisted", "deny", LISTS["deny"], "")
    gray = SHOP._replace(mode="safe_blocking")
    assert decide(gray, on("gray"), attack=True, now=NOW) == Verdict(
        "deny", "graylisted_attack", "gray", LISTS["gray"], ""
    )


@pytest.mark.parametrize("attack", [False, True])
def test_a_verdict_on_no_list_names_no_entry(attack: bool) -> None:
    verdict = decide(SHOP, on("gray"), attack=attack, now=NOW)
    assert (verdict.list, verdict.entry) == ("none", None)


def test_dry_run_does_not_change_the_verdict() -> None:
    assert outcome(SHOP._replace(dry_run=True), on("deny")) == "deny denylisted"


# Precedence


@pytest.mark.parametrize(
    ("precedence", "first", "second"),
    [("allow_first", "office", "bad"), ("deny_first", "bad", "office"), ("most_specific", "office", "bad")],
)
def test_the_first_list_of_the_precedence_decides(precedence: Any, first: str, second: str) -> None:
    application = SHOP._replace(precedence=precedence, mode="safe_blocking")
    for matches in itertools.permutations(on("allow", "deny", "gray")):
        assert decider(application, matches) == first
        assert decider(application, [match for match in matches if match.entry.id != first]) == second
    assert decider(application, on("gray")) == "strange"


@pytest.mark.parametrize(("precedence", "first"), [("allow_first", "office"), ("deny_first", "bad")])
def test_length_counts_for_nothing_between_lists_unless_the_precedence_is_most_specific(
    precedence: Any, first: str
) -> None:
    application = SHOP._replace(precedence=precedence)
    for one, other in ((8, 32), (32, 8)):
        matches = [Match(LISTS["allow"], one), Match(LISTS["deny"], other)]
        assert decider(application, matches) == first


@pytest.mark.parametrize("lengths", list(itertools.permutations((8, 24, 32))))
def test_the_longest_prefix_decides_where_the_precedence_is_most_specific(lengths: tuple[int, ...]) -> None:
    application = SHOP._replace(precedence="most_specific", mode="safe_blocking")
    matches = [Match(entry, length) for entry, length in zip(LISTS.values(), lengths, strict=True)]
    longest = max(matches, key=lambda match: match.length).entry.id
    for order in itertools.permutations(matches):
        assert decider(application, order) == longest


@pytest.mark.parametrize(
    ("tied", "first"), [(("allow", "deny"), "office"), (("deny", "gray"), "bad"), (("allow", "gray"), "office")]
)
def test_allow_goes_before_deny_before_gray_where_the_longest_prefixes_are_of_equal_length(
    tied: tuple[str, str], first: str
) -> None:
    application = SHOP._replace(precedence="most_specific", mode="safe_blocking")
    shorter = [Match(Entry(name, name, "block"), 23) for name in get_args(ListName)]
    for order in itertools.permutations(on(*tied, length=24) + shorter):
        assert decider(application, order) == first


@pytest.mark.parametrize("precedence", get_args(Precedence))
def test_the_longest_prefix_of_a_list_is_the_entry_that_is_named(precedence: Any) -> None:
    application = SHOP._replace(precedence=precedence)
    matches = [Match(Entry(str(length), "deny"), length) for length in (8, 24, 16)]
    for order in itertools.permutations(matches):
        assert decider(application, order) == "24"


@pytest.mark.parametrize("mode", ["off", "monitoring", "block"])
def test_a_gray_entry_that_is_not_looked_at_hides_no_other_entry(mode: Any) -> None:
    application = SHOP._replace(mode=mode, precedence="most_specific")
    matches = [Match(LISTS["gray"], 32), Match(LISTS["deny"], 24), Match(LISTS["allow"], 8)]
    assert decider(application, matches) == "bad"


# Windows


@pytest.mark.parametrize(
    ("now", "expected"),
    [(NOW - 1, "allow"), (NOW - 0.001, "allow"), (NOW, "deny"), (NOW + 299, "deny"), (NOW + 299.999, "deny"),
     (NOW + 300, "allow"), (NOW + 301, "allow")],
)  # fmt: skip
def test_an_entry_counts_from_its_start_until_its_expiry_to_the_second(now: float, expected: str) -> None:
    entry = Entry("campaign", "deny", starts=NOW, expires=NOW + 300)
    assert decide(SHOP, [Match(entry, 32)], attack=False, now=now).decision == expected


def test_an_entry_without_a_start_has_always_begun_and_without_an_expiry_never_ends() -> None:
    for entry in (Entry("old", "deny", expires=NOW), Entry("new", "deny", starts=NOW), Entry("ever", "deny")):
        decisions = [decide(SHOP, [Match(entry, 32)], attack=False, now=now).decision for now in (0, NOW, 1e12)]
        assert decisions == {"old": ["deny", "allow", "allow"], "new": ["allow", "deny", "deny"]}.get(
            entry.id, ["deny"] * 3
        )


def test_the_next_entry_decides_when_the_first_has_expired() -> None:
    office = Match(Entry("office", "allow", expires=NOW + 3600), 24)
    tor = Match(Entry("tor", "deny"), 32)
    assert outcome(SHOP, [tor, office]) == "allow allowlisted"
    assert outcome(SHOP, [tor, office], now=NOW + 3600) == "deny denylisted"


# Applications


def test_an_entry_that_names_no_application_is_for_all() -> None:
    for name in ("shop", "admin", "*"):
        assert outcome(Application(name), on("deny")) == "deny denylisted"


def test_an_entry_counts_only_for_the_applications_that_it_names() -> None:
    matches = [Match(Entry("scrapers", "deny", applications=frozenset({"shop", "api"})), 32)]
    assert outcome(Application("shop"), matches) == "deny denylisted"
    assert outcome(Application("api"), matches) == "deny denylisted"
    assert outcome(Application("admin"), matches) == "allow default_allow"
    assert outcome(Application("*"), matches) == "allow default_allow"


# Warnings


def test_an_entry_that_warns_is_reported_and_the_rest_decides() -> None:
    trial = Match(Entry("trial", "deny", "warn"), 32)
    for precedence in get_args(Precedence):
        application = SHOP._replace(precedence=precedence)
        for matches, reason in (([trial], "default_allow"), ([trial, *on("deny", length=8)], "denylisted")):
            verdict = decide(application, matches, attack=False, now=NOW)
            assert (verdict.reason, verdict.warnings) == (reason, ("trial",))


def test_an_entry_that_would_warn_is_not_reported_out_of_its_window_or_application() -> None:
    late = Match(Entry("late", "deny", "warn", starts=NOW + 1), 32)
    over = Match(Entry("over", "deny", "warn", expires=NOW), 32)
    other = Match(Entry("other", "deny", "warn", frozenset({"admin"})), 32)
    assert decide(SHOP, [late, over, other], attack=False, now=NOW).warnings == ()


def test_warnings_are_reported_in_the_order_of_the_matches() -> None:
    matches = [Match(Entry(name, "deny", "warn"), length) for name, length in (("b", 8), ("a", 32), ("c", 24))]
    assert decide(SHOP, matches, attack=False, now=NOW).warnings == ("b", "a", "c")


def test_a_verdict_names_a_bounded_number_of_warnings() -> None:
    matches = [Match(Entry(f"w{number}", "deny", "warn"), 32) for number in range(MAX_WARNINGS + 1)]
    verdict = decide(SHOP, matches, attack=False, now=NOW)
    assert verdict.warnings == tuple(f"w{number}" for number in range(MAX_WARNINGS))
    assert len(verdict.warned) == MAX_WARNINGS + 1


def test_an_entry_that_warns_does_not_keep_an_attack_from_being_denied() -> None:
    matches = [Match(Entry("trial", "deny", "warn"), 32)]
    assert outcome(SHOP, matches, attack=True) == "deny attack"


# denylist_in_monitoring


@pytest.mark.parametrize("mode", ["off", "monitoring"])
@pytest.mark.parametrize("precedence", get_args(Precedence))
def test_without_denylist_in_monitoring_the_deny_list_is_reported_only(mode: Any, precedence: Any) -> None:
    application = SHOP._replace(mode=mode, precedence=precedence, denylist_in_monitoring=False)
    verdict = decide(application, on("deny"), attack=False, now=NOW)
    assert (verdict.decision, verdict.reason, verdict.list) == ("allow", "default_allow", "none")
    assert verdict.warnings == ("bad",)
    verdict = decide(application._replace(default="deny"), on("deny"), attack=False, now=NOW)
    assert (verdict.decision, verdict.reason, verdict.warnings) == ("deny", "default_deny", ("bad",))
    assert decider(application, on("deny", "allow")) == "office"


@pytest.mark.parametrize("mode", ["safe_blocking", "block"])
def test_denylist_in_monitoring_says_nothing_about_the_modes_that_block(mode: Any) -> None:
    application = SHOP._replace(mode=mode, denylist_in_monitoring=False)
    assert outcome(application, on("deny")) == "deny denylisted"
    assert not only_warns(application, LISTS["deny"])


@pytest.mark.parametrize("mode", MODES)
def test_the_allow_list_is_never_reported_only(mode: Any) -> None:
    application = SHOP._replace(mode=mode, denylist_in_monitoring=False)
    assert not only_warns(application, LISTS["allow"])
    assert outcome(application, on("allow")) == "allow allowlisted"


# How long a verdict holds


def test_a_verdict_on_entries_without_windows_holds_for_ever() -> None:
    verdict = decide(SHOP, on("deny", "allow"), attack=False, now=NOW)
    assert (verdict.since, verdict.until) == (-math.inf, math.inf)


def test_a_verdict_holds_from_the_last_bound_before_now_until_the_next() -> None:
    matches = [
        Match(Entry("a", "deny", starts=10, expires=40), 32),
        Match(Entry("b", "allow", starts=20, expires=30), 8),
    ]
    for now, since, until in ((5, -math.inf, 10), (10, 10, 20), (19.5, 10, 20), (20, 20, 30), (39, 30, 40),
                              (40, 40, math.inf)):  # fmt: skip
        verdict = decide(SHOP, matches, attack=False, now=now)
        assert (verdict.since, verdict.until) == (since, until)


def test_entries_of_other_applications_do_not_end_a_verdict() -> None:
    matches = [Match(Entry("other", "deny", applications=frozenset({"admin"}), starts=10, expires=40), 32)]
    verdict = decide(SHOP, matches, attack=False, now=20)
    assert (verdict.since, verdict.until) == (-math.inf, math.inf)
