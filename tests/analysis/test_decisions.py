"""The decision of every address, against a scan of the policy address by address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.publishing.worlds import NOW, ZONES4, ZONES6, World, allow, deny, load, total, worlds

from authz.analysis.decisions import FIRST_DENYING, NO_ENTRY, REASONS, Deciding, alike
from authz.analysis.space import cut_of
from authz.engine.decision import verdict as d
from authz.engine.model import Application, DenyAnswer

if TYPE_CHECKING:
    from support.publishing.worlds import Zone

    from authz.engine.decision.verdict import Verdict
    from authz.engine.model import Match


@settings(deadline=None)
@given(worlds(), st.booleans(), st.sampled_from([NOW, 1500, 2000]))
def test_addresses_are_counted_by_reason_as_by_a_scan_of_all(world: World, attack: bool, now: int) -> None:
    deciding = Deciding(world.loaded(), now=now, attack=attack)
    for application in world.applications:
        for version, zones in ((4, ZONES4), (6, ZONES6)):
            by_reason: dict[str, list[Zone]] = {}
            for zone in zones:
                verdict = world.verdict(application.name, zone.address, now, attack=attack)
                by_reason.setdefault(verdict.reason, []).append(zone)
            counted = deciding.space(application, version).counts()
            assert counted == {reason: total(some, version) for reason, some in by_reason.items()}


@settings(deadline=None)
@given(worlds(), st.booleans())
def test_each_piece_is_decided_by_the_entry_that_a_look_up_finds(world: World, attack: bool) -> None:
    loaded = world.loaded()
    deciding = Deciding(loaded, now=NOW, attack=attack)
    for application in world.applications:
        decided = deciding.of(application)
        assert decided.enforced is not application.dry_run
        for zone in (*ZONES4, *ZONES6):
            number = loaded.index.find(zone.address.version, zone.address.value)
            verdict = world.verdict(application.name, zone.address, attack=attack)
            entry = int(decided.entries[number])
            assert REASONS[decided.reasons[number]] == verdict.reason
            assert (None if entry == NO_ENTRY else loaded.entries[entry]) == verdict.entry
            assert decided.denied[number] == world.denies(application.name, zone.address, attack=attack)


@settings(deadline=None)
@given(worlds())
def test_neighbours_with_the_same_reason_are_one_piece(world: World) -> None:
    for version in (4, 6):
        decided = Deciding(world.loaded(), now=NOW).space(world.applications[0], version)
        assert (decided.reasons[1:] != decided.reasons[:-1]).all()
        assert decided.cut.high[0] == decided.cut.low[0] == 0


def test_every_reason_of_a_decision_is_known_and_denies_or_not() -> None:
    verdicts = [
        d.decide(Application("a", mode=mode, default=default), [], attack=attack, now=0)
        for mode in ("block", "safe_blocking")
        for default in ("allow", "deny")
        for attack in (False, True)
    ]
    for verdict in verdicts:
        assert (REASONS.index(verdict.reason) >= FIRST_DENYING) == (verdict.decision == "deny")


def test_a_match_set_is_decided_once_for_all_applications_that_are_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    original = d.decide

    def counted(application: Application, matches: list[Match], *, attack: bool, now: float) -> Verdict:
        calls.append(application.name)
        return original(application, matches, attack=attack, now=now)

    monkeypatch.setattr(d, "decide", counted)
    alike = [Application("*"), Application("a", hosts=("a.example",), match="path")]
    others = [Application("b"), Application("c", default="deny")]
    loaded = load(
        [*alike, *others],
        [deny("bad", "192.0.2.0/24"), allow("office", "192.0.2.7", applications=frozenset({"b"}))],
    )
    deciding = Deciding(loaded, now=NOW)
    for _ in range(2):
        for application in loaded.applications:
            deciding.of(application)
    assert calls == ["*"] * 3 + ["b"] * 3 + ["c"] * 3  # no entry, bad, office and bad


@pytest.mark.parametrize(
    "other",
    [{"mode": "monitoring"}, {"default": "deny"}, {"precedence": "deny_first"}, {"dry_run": True},
     {"mode": "monitoring", "denylist_in_monitoring": False}],
)  # fmt: skip
def test_applications_that_differ_in_a_setting_are_not_alike(other: dict[str, Any]) -> None:
    base = {"mode": "monitoring"} if "denylist_in_monitoring" in other else {}
    assert alike(Application("a", **base), set()) != alike(Application("b", **other), set())  # type: ignore[arg-type]


def test_applications_that_only_answer_otherwise_are_alike() -> None:
    answers = Application("b", match="path", hosts=("b.example",), deny=DenyAnswer(429))
    assert alike(Application("a"), set()) == alike(answers, set())


def test_the_space_is_cut_only_where_the_decision_changes() -> None:
    loaded = load([Application("*")], [deny("a", "192.0.2.0/25"), deny("b", "192.0.2.128/25")])
    assert len(cut_of(loaded.index, 4)[0]) == 4
    assert len(Deciding(loaded, now=NOW).space(loaded.general, 4).cut) == 3
