"""The whole table of decisions against a slow twin, written from the text of section 5 of the design."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any, get_args

from hypothesis import given, settings
from hypothesis import strategies as st
from support.engine.verdicts import MODES, NOW
from support.suite.effort import tries

from authz.engine.decision.verdict import decide
from authz.engine.model import Application, Default, Entry, ListName, Match, Precedence

if TYPE_CHECKING:
    from collections.abc import Iterator


# The whole table against a slow twin, written from the text of section 5 of the design


def in_window(entry: Entry, now: float) -> bool:
    """Tell whether no bound of the entry speaks against `now`; `expires` is the first second after the window."""
    begun = True if entry.starts is None else now >= entry.starts
    over = False if entry.expires is None else now >= entry.expires
    return begun and not over


def twin(application: Application, matches: list[Match], *, attack: bool, now: float) -> tuple[str, str, str, set[str]]:
    """Return decision, reason, list and the ids that are reported."""
    left = [match for match in matches if in_window(match.entry, now)]
    left = [m for m in left if m.entry.applications == frozenset() or application.name in m.entry.applications]
    reported = {match.entry.id for match in left if match.entry.action == "warn"}
    left = [match for match in left if match.entry.action != "warn"]
    if not application.denylist_in_monitoring and application.mode in ("off", "monitoring"):
        reported |= {match.entry.id for match in left if match.entry.list == "deny"}
        left = [match for match in left if match.entry.list != "deny"]
    if application.mode in ("off", "monitoring", "block"):
        left = [match for match in left if match.entry.list != "gray"]
    if application.precedence == "most_specific" and left:
        longest = max(match.length for match in left)
        left = [match for match in left if match.length == longest]
    order = ["deny", "allow", "gray"] if application.precedence == "deny_first" else ["allow", "deny", "gray"]
    lists = {match.entry.list for match in left}
    name = next((list_ for list_ in order if list_ in lists), "none")
    if name == "allow":
        return "allow", "allowlisted", name, reported
    if name == "deny":
        return "deny", "denylisted", name, reported
    if name == "gray" and attack:
        return "deny", "graylisted_attack", name, reported
    if name == "gray":
        return "allow", "graylisted", name, reported
    if attack and application.mode == "block":
        return "deny", "attack", name, reported
    return application.default, f"default_{application.default}", name, reported


def applications() -> Iterator[Application]:
    """Yield every setting that a decision depends on."""
    for mode, default, precedence, denying in itertools.product(
        MODES, get_args(Default), get_args(Precedence), (True, False)
    ):
        yield Application("shop", mode, default, precedence, denylist_in_monitoring=denying)


def states(name: Any) -> Iterator[Entry | None]:
    """Yield every state in which an entry of a list may be."""
    yield None
    yield Entry(name, name)
    yield Entry(name, name, "warn")
    yield Entry(name, name, applications=frozenset({"shop"}), starts=NOW, expires=NOW + 1)
    yield Entry(name, name, applications=frozenset({"admin"}))
    yield Entry(name, name, expires=NOW)
    yield Entry(name, name, starts=NOW + 1)


def test_every_combination_of_settings_lists_states_and_lengths_is_decided_as_the_slow_twin_does() -> None:
    lengths = [(24, 24, 24), (24, 24, 16), (24, 16, 24), (16, 24, 24), (24, 16, 8), (8, 16, 24), (16, 24, 8)]
    seen = set()
    for entries in itertools.product(*(list(states(name)) for name in get_args(ListName))):
        for several in lengths:
            matches = [Match(e, length) for e, length in zip(entries, several, strict=True) if e is not None]
            for application in applications():
                if application.precedence != "most_specific" and several != lengths[0]:
                    continue
                for attack in (False, True):
                    verdict = decide(application, matches, attack=attack, now=NOW)
                    decided = (verdict.decision, verdict.reason, verdict.list, set(verdict.warnings))
                    assert decided == twin(application, matches, attack=attack, now=NOW), (application, matches, attack)
                    assert (verdict.entry.list if verdict.entry else "none") == verdict.list
                    seen.add(verdict.reason)
    assert seen == {"allowlisted", "denylisted", "graylisted", "graylisted_attack", "attack", "default_allow",
                    "default_deny"}  # fmt: skip


BOUND = st.one_of(st.none(), st.integers(-5, 25))


ENTRIES = st.builds(
    Entry,
    id=st.just("-"),
    list=st.sampled_from(get_args(ListName)),
    action=st.sampled_from(["block", "block", "warn"]),
    applications=st.sampled_from([frozenset(), frozenset({"shop"}), frozenset({"admin"})]),
    starts=BOUND,
    expires=BOUND,
)


MATCHES = st.lists(st.builds(Match, ENTRIES, st.sampled_from([0, 8, 24, 32])), max_size=6).map(
    lambda matches: [Match(m.entry._replace(id=str(n)), m.length) for n, m in enumerate(matches)]
)


APPLICATIONS = st.sampled_from(list(applications()))
TIMES = st.one_of(st.integers(-7, 27), st.floats(-7, 27))


@settings(max_examples=tries(300))
@given(APPLICATIONS, MATCHES, st.booleans(), TIMES)
def test_any_entries_in_any_windows_are_decided_as_the_slow_twin_does(
    application: Application, matches: list[Match], attack: bool, now: float
) -> None:
    verdict = decide(application, matches, attack=attack, now=now)
    decided = (verdict.decision, verdict.reason, verdict.list, set(verdict.warnings))
    assert decided == twin(application, matches, attack=attack, now=now)
    assert len(verdict.warnings) == len(set(verdict.warnings))


# How long a verdict holds


@settings(max_examples=tries(400))
@given(APPLICATIONS, MATCHES, st.booleans(), TIMES, st.lists(TIMES, min_size=5, max_size=10))
def test_a_verdict_is_the_same_everywhere_from_since_until_before_until(
    application: Application, matches: list[Match], attack: bool, now: float, others: list[float]
) -> None:
    verdict = decide(application, matches, attack=attack, now=now)
    assert verdict.since <= now < verdict.until
    before = math.nextafter(verdict.until, -math.inf)
    for other in (verdict.since, before, *others):
        if math.isfinite(other) and verdict.since <= other < verdict.until:
            assert decide(application, matches, attack=attack, now=other) == verdict
