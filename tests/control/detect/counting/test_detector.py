"""Events in, listings out: the stories of the kinds of triggers, and what an attacker may not bring about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from authz.addresses import parse_address, parse_network
from authz.control.detect.counting.detector import Detector, Listing
from authz.control.detect.event import Event
from authz.control.detect.listing.offences import MemoryOffences, grown_period
from authz.control.detect.triggers.file import Reaction, read_triggers
from authz.control.model.holds import held, make_hold

if TYPE_CHECKING:
    from pathlib import Path

    from authz.control.detect.triggers.file import Trigger

GUESSER = "203.0.113.9"
START = 1_790_000_000.0


def event_at(second: float, client: str = GUESSER, **values: Any) -> Event:
    return Event(START + second, parse_address(client), **({"application": "shop"} | values))


class Scene:
    """A detector with one trigger, and a clock that moves with the events."""

    def __init__(self, folder: Path, trigger: str) -> None:
        path = folder / "triggers.yaml"
        path.write_text(f"triggers:\n  - {trigger}\n")
        [self.trigger] = read_triggers(path).triggers
        self.refusals: dict[str, str] = {}  # by network: why the guard refuses it
        self.asked = 0  # how often the guard was
        self.detector = Detector([self.trigger], self.guard, MemoryOffences())

    def guard(self, listing: Listing) -> str | None:
        self.asked += 1
        return self.refusals.get(str(listing.subject))

    def at(self, second: float, client: str = GUESSER, **values: Any) -> list[Listing]:
        event = event_at(second, client, **values)
        return self.detector.feed(event, event.time)


LOGIN = (
    "{name: login, kind: brute_force, where: {application: shop, path: /login, method: POST, status: [401, 403]},"
    " count: {over: 5, within: 30s}, then: {period: 1h, grow: 2, max: 7d}}"
)
GUESS: dict[str, Any] = {"method": "POST", "path": "/login?next=/", "status": 401}


def test_a_password_guesser_is_listed_after_the_threshold_in_that_application_only(tmp_path: Path) -> None:
    scene = Scene(tmp_path, LOGIN)
    assert [scene.at(second, **GUESS) for second in range(5)] == [[]] * 5
    [listing] = scene.at(5, **GUESS)
    assert (str(listing.subject), listing.applications, listing.period) == (f"{GUESSER}/32", ("shop",), 3600.0)
    assert (listing.counted, listing.offence) == (6, 1)
    assert [sample.time for sample in listing.samples] == [START + 3, START + 4, START + 5]


def test_a_guesser_who_writes_the_path_otherwise_is_counted_all_the_same(tmp_path: Path) -> None:
    scene = Scene(tmp_path, LOGIN)
    paths = ["//login", "/./login", "/x/../login", "/login;jsessionid=1", "/%6cogin", "/login/"]
    listings = [scene.at(second, **GUESS | {"path": path}) for second, path in enumerate(paths)]
    assert [len(listed) for listed in listings] == [0, 0, 0, 0, 0, 1]


def test_guesses_that_come_slowly_are_not_listed(tmp_path: Path) -> None:
    scene = Scene(tmp_path, LOGIN)
    assert all(scene.at(second * 6.0, **GUESS) == [] for second in range(100))


@pytest.mark.parametrize(
    "values",
    [{"method": "GET"}, {"path": "/loginx"}, {"status": 200}, {"application": "blog"}, {"decision": "deny"}],
)
def test_what_the_trigger_does_not_name_is_not_counted(tmp_path: Path, values: dict[str, Any]) -> None:
    scene = Scene(tmp_path, LOGIN)
    assert all(scene.at(0, **GUESS | values) == [] for _ in range(20))


def test_clients_are_counted_each_by_itself(tmp_path: Path) -> None:
    scene = Scene(tmp_path, LOGIN)
    assert all(scene.at(1, client=f"203.0.113.{number % 50}", **GUESS) == [] for number in range(250))


def test_an_ipv6_client_is_its_64(tmp_path: Path) -> None:
    scene = Scene(tmp_path, LOGIN)
    listings = [scene.at(1, client=f"2001:db8::{number:x}", **GUESS) for number in range(1, 7)]
    assert [str(listing.subject) for listing in listings[-1]] == ["2001:db8::/64"]


def test_a_crawler_that_gets_404s_is_listed(tmp_path: Path) -> None:
    scene = Scene(tmp_path, "{name: crawl, kind: forced_browsing, count: {over: 100, within: 1m, by: network}}")
    listings = [scene.at(number / 10, path=f"/{number}", status=404) for number in range(101)]
    assert listings[:100] == [[]] * 100
    assert str(listings[100][0].subject) == "203.0.113.0/24"


def test_object_ids_that_are_walked_are_listed_but_not_one_that_is_read_often(tmp_path: Path) -> None:
    walk = "{name: walk, kind: bola, where: {path: '/orders/{id}'}, count: {over: 20, within: 10m}}"
    scene = Scene(tmp_path, walk)
    assert all(scene.at(number, path="/orders/17") == [] for number in range(200))
    of_each = [scene.at(200 + number, path=f"/orders/{number + 1000}") for number in range(25)]
    assert [bool(listings) for listings in of_each].count(True) == 1


def test_four_different_payloads_in_an_hour_are_listed_but_not_one_that_is_repeated(tmp_path: Path) -> None:
    scene = Scene(tmp_path, "{name: waf, kind: payloads, count: {over: 3, within: 1h}}")
    attack: dict[str, Any] = {"attacks": ("sqli",)}
    assert all(scene.at(number, path="/?q=1'", payload="1'", **attack) == [] for number in range(20))
    assert scene.at(100, payload="2'", **attack) == scene.at(200, payload="3'", **attack) == []
    assert len(scene.at(300, payload="4'", **attack)) == 1
    assert scene.at(400, payload="5'") == []  # no attack, says the WAF


def test_many_users_behind_one_address_stay_under_a_rate(tmp_path: Path) -> None:
    scene = Scene(tmp_path, "{name: flood, kind: rate, count: {over: 1000, within: 10s}}")
    assert all(scene.at(number / 90) == [] for number in range(2000))
    listings = [scene.at(100 + number / 500) for number in range(2000)]
    assert sum(map(len, listings)) == 1


def test_who_is_listed_again_is_listed_for_longer_up_to_a_limit(tmp_path: Path) -> None:
    scene = Scene(tmp_path, LOGIN)
    listings = [listing for second in range(60) for listing in scene.at(second / 2, **GUESS)]
    assert [(listing.offence, listing.period) for listing in listings[:3]] == [(1, 3600), (2, 7200), (3, 14400)]
    assert grown_period(Reaction(period=3600.0, grow=10.0, max=7200.0), 50) == 7200.0
    assert grown_period(Reaction(period=None, grow=10.0), 3) is None


def test_an_offence_is_forgotten_after_its_time(tmp_path: Path) -> None:
    scene = Scene(tmp_path, LOGIN)
    first = [listing for second in range(6) for listing in scene.at(second, **GUESS)]
    later = [listing for second in range(6) for listing in scene.at(31 * 86400 + second, **GUESS)]
    assert [listing.offence for listing in first + later] == [1, 1]


def test_whom_the_guard_protects_is_never_listed_and_it_is_counted_why(tmp_path: Path) -> None:
    scene = Scene(tmp_path, LOGIN)
    scene.refusals[f"{GUESSER}/32"] = "allowlisted"
    assert all(scene.at(second / 10, **GUESS) == [] for second in range(12))
    assert scene.detector.suppressed == {("login", "allowlisted"): 2}


def test_a_trigger_that_lists_too_many_stops_until_a_person_lets_it_go_on(tmp_path: Path) -> None:
    text = "{name: flood, kind: rate, count: {over: 1, within: 1m}, breaker: {listings: 3, within: 1m}}"
    scene = Scene(tmp_path, text)
    of_each = [scene.at(0, client=f"203.0.113.{number // 2}") for number in range(20)]
    assert sum(map(len, of_each)) == 3
    assert scene.detector.stopped == ["flood"]
    assert scene.detector.suppressed[("flood", "breaker")] == 7
    scene.detector.resume("flood")
    assert scene.detector.stopped == []
    assert sum(len(scene.at(1, client="198.51.100.1")) for _ in range(2)) == 1


PAYLOADS = "{name: waf, kind: payloads, count: {over: 3, within: 1h}}"


@pytest.mark.parametrize(("refusal", "reason"), [(None, "listed"), ("allowlisted", "allowlisted")])
def test_one_client_with_many_payloads_in_a_batch_is_asked_about_once_and_stops_no_trigger(
    tmp_path: Path, refusal: str | None, reason: str
) -> None:
    scene = Scene(tmp_path, PAYLOADS)
    if refusal:
        scene.refusals[f"{GUESSER}/32"] = refusal
    batch = [event_at(0, payload=str(number), attacks=("sqli",)) for number in range(2000)]
    listings = scene.detector.feed_batch(batch, START)
    assert (scene.asked, len(listings), scene.detector.stopped) == (1, 0 if refusal else 1, [])
    assert scene.detector.suppressed == {("waf", reason): 500 if refusal else 499}
    scene.detector.feed_batch(batch, START)  # another batch, at the same time
    assert scene.asked == 2


def test_what_was_found_of_a_client_holds_for_no_other_client_and_no_other_application(tmp_path: Path) -> None:
    scene = Scene(tmp_path, PAYLOADS)
    batch = [
        event_at(0, client, application=application, payload=str(number), attacks=("sqli",))
        for client in (GUESSER, "198.51.100.7")
        for application in ("shop", "blog")
        for number in range(8)
    ]
    assert (len(scene.detector.feed_batch(batch, START)), scene.asked) == (4, 4)


def test_for_a_trigger_that_is_stopped_nothing_is_asked(tmp_path: Path) -> None:
    scene = Scene(tmp_path, PAYLOADS)
    scene.detector.stop(["waf"])
    for number in range(400):
        scene.at(number, payload=str(number), attacks=("sqli",))
    assert (scene.asked, scene.detector.suppressed) == (0, {("waf", "breaker"): 100})


def test_a_clock_that_is_ahead_does_not_move_the_window(tmp_path: Path) -> None:
    scene = Scene(tmp_path, LOGIN)
    for second in range(5):
        scene.at(second, **GUESS)
    wrong = Event(START + 10_000, parse_address("198.51.100.7"), "shop", "POST", "", "/login", 401)
    assert scene.detector.feed(wrong, START + 5) == []
    assert len(scene.at(5, **GUESS)) == 1


def test_random_addresses_of_a_32_cost_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from authz.control.detect.counting import budget

    monkeypatch.setattr(budget, "MAX_BYTES", 100_000)
    scene = Scene(tmp_path, LOGIN)
    for number in range(5000):
        scene.at(number / 1000, client=f"2001:db8:{number:x}::1", **GUESS)
    assert scene.detector.memory <= 100_000
    assert scene.detector.evicted >= 4000


def test_events_of_clients_near_a_limit_are_bounded_and_the_newest_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from authz.control.detect.counting import samples

    monkeypatch.setattr(samples, "MAX_SAMPLED", 50)
    scene = Scene(tmp_path, LOGIN)
    long_path = GUESS | {"path": "/login?" + "x" * 2000}
    for number in range(500):
        for second in range(4):
            scene.at(second, client=f"203.0.{number // 250}.{number % 250}", **long_path)
    assert len(scene.detector._samples) <= 50
    [listing] = [made for second in (4, 5) for made in scene.at(second, client="203.0.1.249", **long_path)]
    assert [len(sample.path) for sample in listing.samples] == [512] * 3


def test_names_of_applications_from_outside_cost_bounded_memory(tmp_path: Path) -> None:
    from authz.control.detect.counting import detector

    scene = Scene(tmp_path, LOGIN)
    for number in range(9000):
        scene.at(0, application=f"x{number}", **GUESS)
    assert len(scene.detector._by_kind) <= detector.MAX_KINDS


# Holds.


def hold_of(trigger: Trigger, period: float | None = 3600.0) -> tuple[bool, bool]:
    """Return whether a hold of an hour's entry is on just before its end and at its end."""
    subject = parse_network("203.0.113.9")
    hold = make_hold(subject, period, START)
    return held([hold], trigger, subject, hold.until - 1), held([hold], trigger, subject, hold.until)


def test_after_a_manual_delete_nobody_is_listed_before_half_of_the_period(tmp_path: Path) -> None:
    trigger = Scene(tmp_path, LOGIN).trigger
    assert make_hold(parse_network("203.0.113.9"), 3600.0, START).until == START + 1800
    assert make_hold(parse_network("203.0.113.9"), None, START).until == START + 86400
    assert hold_of(trigger) == (True, False)


def test_a_hold_covers_a_network_over_the_address_and_no_neighbour(tmp_path: Path) -> None:
    trigger = Scene(tmp_path, LOGIN).trigger
    hold = make_hold(parse_network("203.0.113.9"), 3600.0, START)
    assert held([hold], trigger, parse_network("203.0.113.0/24"), START)
    assert not held([hold], trigger, parse_network("203.0.113.10"), START)
    assert not held([hold], trigger, parse_network("2001:db8::9"), START)


def test_api_abuse_ignores_holds(tmp_path: Path) -> None:
    trigger = Scene(tmp_path, "{name: bots, kind: api_abuse, count: {over: 5, within: 1m}}").trigger
    assert hold_of(trigger) == (False, False)


def test_a_hold_keeps_other_triggers_off_unless_it_is_narrowed(tmp_path: Path) -> None:
    other = Scene(tmp_path, "{name: flood, kind: rate, count: {over: 5, within: 1m}}").trigger
    trigger = Scene(tmp_path, LOGIN).trigger
    subject = parse_network("203.0.113.9")
    assert held([make_hold(subject, 3600.0, START)], other, subject, START)
    assert not held([make_hold(subject, 3600.0, START, trigger.name)], other, subject, START)
