"""What is remembered of decisions by their requests: never more than is allowed, and never longer than it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.publishing.publisher import Publisher
from support.sidecar.fronts import NOW, TRUSTING, Fronts

from authz.engine.decision import generation
from authz.engine.decision.decider import MAX_HOST
from authz.engine.decision.generation import MAX_RECENT
from authz.engine.request.request import Request

if TYPE_CHECKING:
    from pathlib import Path

POLICY = """\
version: 1
applications:
  shop: {hosts: [shop.example.com]}
  strict: {default: deny}
  soft: {mode: safe_blocking}
  careful: {match: path}
entries:
  - id: soon
    list: deny
    networks: [203.0.113.0/24]
    starts: 2027-01-15T08:10:00Z
    expires: 2027-01-15T08:20:00Z
    reason: x
  - {id: gray, list: gray, networks: [198.51.100.0/24], reason: x}
"""
PEER = "10.0.0.1"


@pytest.fixture
def fronts(tmp_path: Path) -> Fronts:
    return Fronts(Publisher(tmp_path), policy=POLICY)


def decide(fronts: Fronts, client: str = "203.0.113.9", **request: Any) -> str:
    asked = Request(**{"peer": PEER, "forwarded": [client], **request})
    outcome, _ = fronts.decider.check(asked, fronts.now)
    return f"{outcome.decision} {outcome.reason}"


def remembered(fronts: Fronts) -> int:
    assert fronts.decider._generation is not None
    return len(fronts.decider._generation.recent)


def test_a_second_request_is_not_looked_up_again(fronts: Fronts, monkeypatch: pytest.MonkeyPatch) -> None:
    first = decide(fronts)
    monkeypatch.setattr(generation.Generation, "outcome", None)
    assert decide(fronts) == first
    with pytest.raises(TypeError):
        decide(fronts, "203.0.113.10")


def test_a_decision_is_remembered_until_a_window_opens_or_closes(fronts: Fronts) -> None:
    decisions = []
    for second in (0, 599, 600, 1199, 1200, 1800):
        fronts.now = float(NOW + second)
        decisions += [decide(fronts), decide(fronts)]
    allowed, denied = ["allow default_allow"] * 4, ["deny denylisted"] * 4
    assert decisions == allowed + denied + allowed


def test_what_a_decision_depends_on_is_never_mixed_up(fronts: Fronts) -> None:
    for _ in range(2):
        assert decide(fronts) == "allow default_allow"
        assert decide(fronts, application="strict") == "deny default_deny"
        assert decide(fronts, application="shop") == "allow default_allow"
        assert decide(fronts, "198.51.100.1", application="soft") == "allow graylisted"
        assert decide(fronts, "198.51.100.1", application="soft", attack=True) == "deny graylisted_attack"
        assert decide(fronts, peer=None) == "deny peer_untrusted_transport"
        assert decide(fronts, peer="192.0.2.1") == "allow default_allow"  # no proxy: it is the client itself
        fronts.now = float(NOW + 900)
        assert decide(fronts) == "deny denylisted"
        assert decide(fronts, peer="192.0.2.1") == "allow default_allow"
        fronts.now = float(NOW)


def test_a_new_snapshot_begins_with_nothing_remembered(fronts: Fronts) -> None:
    decide(fronts)
    assert remembered(fronts) == 1
    fronts.load(POLICY.replace("list: deny", "list: allow").replace("08:10:00", "07:00:00"), serial=None)
    assert remembered(fronts) == 0
    assert decide(fronts) == "allow allowlisted"


def test_a_snapshot_that_has_become_stale_decides_nothing_more(tmp_path: Path) -> None:
    config = TRUSTING + "snapshot: {max_age: 60s, when_stale: deny}\n"
    base = "snapshot: {path: lists.snapshot, trusted_keys: [keys/a.pub], max_age: 60s, when_stale: deny}\n"
    fronts = Fronts(
        Publisher(tmp_path), base + config.partition("snapshot")[0] + 'decision_log: {path: "off"}\n', POLICY
    )
    assert decide(fronts) == "allow default_allow"
    fronts.now = float(NOW + 61)
    assert decide(fronts) == "deny stale_snapshot"


def test_only_so_many_are_remembered(fronts: Fronts) -> None:
    for number in range(2 * MAX_RECENT + 10):
        decide(fronts, f"192.0.{number >> 8}.{number & 255}")
        assert remembered(fronts) <= MAX_RECENT
    assert remembered(fronts) > 0


@pytest.mark.parametrize(
    "request_",
    [
        {"host": "h" * (MAX_HOST + 1)},
        {"application": "unknown" * 1000},
        {"application": "careful"},
        {"forwarded": ["198.51.100.200, " * 10 + "203.0.113.9"]},
        {"forwarded": ["198.51.100.200", "203.0.113.9"]},
        {"forwarded": []},
        {"forwarded": ["nobody"]},
    ],
    ids=["long host", "unknown name", "by path", "long chain", "two lines", "no header", "unresolved"],
)
def test_what_could_be_large_or_depends_on_more_is_not_remembered(fronts: Fronts, request_: dict[str, Any]) -> None:
    first = decide(fronts, **request_)
    assert remembered(fronts) == 0
    assert decide(fronts, **request_) == first


def test_only_so_many_outcomes_are_remembered_and_they_stay_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each entry has a match set, and so an outcome, of its own."""
    monkeypatch.setattr(generation, "MAX_OUTCOMES", 8)
    entries = "".join(
        f"  - {{id: e{n}, list: deny, networks: [203.0.113.{n}], action: {'warn' if n % 2 else 'block'}, reason: x}}\n"
        for n in range(50)
    )
    fronts = Fronts(Publisher(tmp_path), policy=f"version: 1\nentries:\n{entries}")
    current = fronts.decider._generation
    assert current is not None
    for _ in range(2):
        for number in range(50):
            outcome, _ = fronts.decider.check(Request(PEER, [f"203.0.113.{number}, 203.0.113.{number}"]), fronts.now)
            assert (outcome.entry, *outcome.warnings) == ((None, f"e{number}") if number % 2 else (f"e{number}",))
            assert sum(len(scope.outcomes) for scope in (*current.scopes.values(), current.unknown)) <= 8
            assert len(current._memos) <= 8


def test_what_was_remembered_is_forgotten_a_little_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it at once kept every request waiting for some 20 ms, each time as many banned clients had asked."""
    monkeypatch.setattr(generation, "MAX_OUTCOMES", 20)
    entries = "".join(f"  - {{id: e{n}, list: deny, networks: [203.0.113.{n}], reason: x}}\n" for n in range(100))
    fronts = Fronts(Publisher(tmp_path), policy=f"version: 1\nentries:\n{entries}")
    current = fronts.decider._generation
    assert current is not None
    before, most = 0, 0
    for number in range(100):
        fronts.decider.check(Request(PEER, [f"203.0.113.{number}, 203.0.113.{number}"]), fronts.now)
        past = sum(map(len, current._past))
        kept = past + sum(len(scope.outcomes) for scope in (*current.scopes.values(), current.unknown))
        assert kept >= before - generation._FORGOTTEN
        before, most = kept, max(most, past)
    assert 0 < most <= 2 * 20
    while current.give_up(7):
        pass
    assert not any(current._past)


def test_what_was_remembered_is_gone_before_the_memory_starts_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was not where each outcome has a memo of its own, by the entries that warn: some of it was never freed."""
    monkeypatch.setattr(generation, "MAX_OUTCOMES", 16)
    entries = "".join(
        f"  - {{id: e{n}, list: deny, networks: [203.0.113.{n}], action: warn, reason: x}}\n" for n in range(160)
    )
    fronts = Fronts(Publisher(tmp_path), policy=f"version: 1\nentries:\n{entries}")
    current = fronts.decider._generation
    assert current is not None
    left = []
    for number in range(160):
        outcome, _ = fronts.decider.check(Request(PEER, [f"203.0.113.{number}, 203.0.113.{number}"]), fronts.now)
        outcome.memo.update(dict.fromkeys(("answer", "line", "counts")))
        if current._remembered == 16:
            left.append(sum(map(len, current._past)))
    assert left == [0] * 10
