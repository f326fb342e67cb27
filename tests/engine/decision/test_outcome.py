"""An outcome: immutable, for it is the answer to the next request too; renderers keep their parts apart."""

from __future__ import annotations

import dataclasses
import gc
import weakref
from typing import TYPE_CHECKING

import pytest
from support.publishing.publisher import Publisher
from support.sidecar.fronts import Fronts

from authz.engine.decision.outcome import make_outcome
from authz.engine.decision.verdict import Verdict
from authz.engine.model import Application
from authz.engine.request.request import Request

if TYPE_CHECKING:
    from pathlib import Path

ALLOWED = make_outcome(Application("shop"), Verdict("allow", "default_allow"), 7)


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(ALLOWED)])
def test_nothing_of_an_outcome_can_be_changed(name: str) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(ALLOWED, name, getattr(ALLOWED, name))


def test_a_remembered_outcome_cannot_change_the_next_answer(tmp_path: Path) -> None:
    fronts = Fronts(Publisher(tmp_path))
    request = Request("203.0.113.9")
    outcome, _ = fronts.decider.check(request, fronts.now)
    with pytest.raises(dataclasses.FrozenInstanceError):
        outcome.decision = "allow"  # type: ignore[misc]
    assert fronts.decider.check(request, fronts.now)[0] is outcome
    assert outcome.decision == "deny"


def test_outcomes_share_a_memo_where_they_differ_in_the_entry_alone(tmp_path: Path) -> None:
    policy = """\
version: 1
entries:
  - {id: one, list: deny, networks: [192.0.2.1], reason: x}
  - {id: two, list: deny, networks: [192.0.2.2], reason: x}
"""
    fronts = Fronts(Publisher(tmp_path), policy=policy)
    first, two, none = (fronts.decider.check(Request(f"192.0.2.{n}"), fronts.now)[0] for n in (1, 2, 3))
    assert (first.entry, two.entry, none.entry) == ("one", "two", None)
    assert first.memo is two.memo
    assert first.memo is not none.memo


def test_a_pinned_decider_stays_with_its_ruleset(tmp_path: Path) -> None:
    fronts = Fronts(Publisher(tmp_path))
    pinned = fronts.decider.pinned()
    fronts.load("version: 1\n")
    assert pinned.check(Request("203.0.113.9"), fronts.now)[0].decision == "deny"
    assert fronts.decider.check(Request("203.0.113.9"), fronts.now)[0].decision == "allow"


def test_a_pinned_decider_holds_its_ruleset_no_longer_than_somebody_asks_it(tmp_path: Path) -> None:
    """It did, in a circle: a reload behind a question of an operator (gc.freeze) kept the lists before it for good."""
    fronts = Fronts(Publisher(tmp_path))
    gc.disable()
    try:
        pinned = fronts.decider.pinned()
        pinned.check(Request("203.0.113.9"), fronts.now)
        freed = weakref.ref(pinned)
        del pinned
        assert freed() is None
    finally:
        gc.enable()
