"""Bouncers of CrowdSec enforce our bans."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest
from support.control import Clock, Control, control
from support.processes import wait_for

from authz.control.api import bouncers, crowdsec
from authz.control.model.records import Entry
from authz.control.store.entries import find
from authz.times import format_moment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STREAM: Final = "/v1/decisions/stream"


def bouncer(plane: Control, path: str, key: str) -> Any:
    answer = plane.ask("GET", path, X_Api_Key=key, Authorization="")
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_bouncer_gets_all_at_startup_then_what_is_new_and_what_ended(store_url: str, tmp_path: Path) -> None:
    clock = Clock()
    with control(tmp_path / "c", store=store_url, clock=clock) as plane:
        key = plane.token_of("sidecar")
        first = plane.ok("POST", "/v1/bans", {"address": "203.0.113.9", "period": "2h", "reason": "guesses"})
        plane.ok("POST", "/v1/bans", {"address": "198.51.100.0/24", "period": "30m"})
        start = bouncer(plane, "/v1/decisions/stream?startup=true", key)
        assert {(d["value"], d["scope"], d["type"]) for d in start["new"]} == {
            ("203.0.113.9", "Ip", "ban"), ("198.51.100.0/24", "Range", "ban"),
        }  # fmt: skip
        assert next(d for d in start["new"] if d["scope"] == "Ip")["duration"] == "7200s"
        assert start["deleted"] == []
        clock.now += 1
        plane.ok("POST", "/v1/bans", {"address": "2001:db8::1"})
        plane.ok("DELETE", f"/v1/bans/{first['id']}")
        then = bouncer(plane, "/v1/decisions/stream", key)
        assert [d["value"] for d in then["new"]] == ["2001:db8::1"]
        assert [d["value"] for d in then["deleted"]] == ["203.0.113.9"]
        clock.now += 1800
        late = bouncer(plane, "/v1/decisions/stream", key)
        assert [d["value"] for d in late["deleted"]] == ["198.51.100.0/24"]


def test_a_bouncer_asks_for_one_address(plane: Control) -> None:
    key = plane.token_of("viewer")
    plane.ok("POST", "/v1/bans", {"address": "198.51.100.0/24", "reason": "botnet"})
    (decision,) = bouncer(plane, "/v1/decisions?ip=198.51.100.7", key)
    assert (decision["value"], decision["scenario"]) == ("198.51.100.0/24", "botnet")
    assert bouncer(plane, "/v1/decisions?ip=192.0.2.1", key) is None
    assert plane.ask("GET", "/v1/decisions?ip=192.0.2.1", Authorization="").status_code == 401


@pytest.fixture(scope="module")
def shared_bans(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Control, str]]:
    with control(tmp_path_factory.mktemp("bouncers") / "c") as plane:
        plane.ok("POST", "/v1/bans", {"address": "203.0.113.9", "reason": "ssh"})
        plane.ok("POST", "/v1/bans", {"address": "198.51.100.0/24", "reason": "scans"})
        yield plane, plane.token_of("sidecar")


def values(decisions: list[Any]) -> list[str]:
    return [decision["value"] for decision in decisions]


@pytest.fixture
def turned(store_url: str, tmp_path: Path) -> Iterator[tuple[Control, Clock, str]]:
    clock = Clock()
    with control(tmp_path / "c", store=store_url, clock=clock) as plane:
        yield plane, clock, plane.token_of("sidecar")


def test_a_bouncer_lets_in_who_is_allowed_and_bans_the_rest_of_the_network(turned: tuple[Control, Clock, str]) -> None:
    plane, clock, key = turned
    plane.ok("POST", "/v1/bans", {"address": "198.51.100.0/30"})
    plane.ok("POST", "/v1/bans", {"address": "203.0.113.9", "applications": ["shop"]})
    assert set(values(bouncer(plane, STREAM + "?startup=true", key)["new"])) == {"198.51.100.0/30", "203.0.113.9"}
    clock.now += 1
    allow = {"list": "allow", "networks": ["198.51.100.1", "203.0.113.9"], "period": "1h"}
    made = plane.ok("POST", "/v1/entries", allow)
    then = bouncer(plane, STREAM, key)
    assert values(then["new"]) == ["198.51.100.0", "198.51.100.2/31"]
    assert sorted(values(then["deleted"])) == ["198.51.100.0/30", "203.0.113.9"]
    assert bouncer(plane, "/v1/decisions?ip=198.51.100.1", key) is None
    assert values(bouncer(plane, "/v1/decisions?ip=198.51.100.2", key)) == ["198.51.100.2/31"]
    clock.now += 1
    plane.ok("DELETE", f"/v1/entries/{made['id']}", If_Match="*")
    back = bouncer(plane, STREAM, key)
    assert sorted(values(back["new"])) == ["198.51.100.0/30", "203.0.113.9"]
    assert values(back["deleted"]) == ["198.51.100.0", "198.51.100.2/31"]
    assert bouncer(plane, STREAM, key) == {"new": [], "deleted": []}


def test_who_is_allowed_for_one_application_is_banned_for_the_others(turned: tuple[Control, Clock, str]) -> None:
    plane, _, key = turned
    plane.ok("POST", "/v1/entries", {"list": "allow", "networks": ["203.0.113.0/24"], "applications": ["shop"]})
    plane.ok("POST", "/v1/bans", {"address": "203.0.113.9"})
    plane.ok("POST", "/v1/bans", {"address": "203.0.113.10", "applications": ["shop"]})
    assert values(bouncer(plane, STREAM + "?startup=true", key)["new"]) == ["203.0.113.9"]


def test_a_ban_that_begins_later_is_told_when_it_begins(turned: tuple[Control, Clock, str]) -> None:
    plane, clock, key = turned
    later = {"networks": ["203.0.113.9"], "starts": format_moment(int(clock.now) + 600), "period": "1h"}
    made = plane.ok("POST", "/v1/entries", later)
    assert bouncer(plane, STREAM + "?startup=true", key)["new"] == []
    plane.ok("POST", "/v1/entries", later | {"networks": ["203.0.113.10"]})
    assert bouncer(plane, STREAM, key) == {"new": [], "deleted": []}
    plane.ok("DELETE", f"/v1/bans/{made['id']}")
    sooner = plane.ok("POST", "/v1/entries", later | {"networks": ["203.0.113.11"]})
    assert bouncer(plane, STREAM, key) == {"new": [], "deleted": []}
    plane.ok("PATCH", f"/v1/entries/{sooner['id']}", {"starts": None}, If_Match="*")
    assert values(bouncer(plane, STREAM, key)["new"]) == ["203.0.113.11"]
    plane.ok("DELETE", f"/v1/bans/{sooner['id']}")
    assert values(bouncer(plane, STREAM, key)["deleted"]) == ["203.0.113.11"]
    clock.now += 601
    assert values(bouncer(plane, STREAM, key)["new"]) == ["203.0.113.10"]
    assert bouncer(plane, STREAM, key)["new"] == []


def test_an_unban_while_the_control_plane_was_started_again_reaches_the_bouncer(
    turned: tuple[Control, Clock, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plane, clock, key = turned
    made = plane.ok("POST", "/v1/bans", {"address": "203.0.113.9", "period": "forever"})
    assert values(bouncer(plane, STREAM + "?startup=true", key)["new"]) == ["203.0.113.9"]
    clock.now += 60
    plane.ok("DELETE", f"/v1/bans/{made['id']}")
    monkeypatch.setattr(crowdsec, "BOUNCERS", bouncers.Bouncers())
    assert values(bouncer(plane, STREAM, key)["deleted"]) == ["203.0.113.9"]


def test_a_bouncer_that_was_away_for_long_is_told_in_steps(
    turned: tuple[Control, Clock, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bouncers, "MAX_CHANGES", 4)
    plane, _, key = turned
    bouncer(plane, STREAM + "?startup=true", key)
    for number in range(10):
        plane.ok("POST", "/v1/bans", {"address": f"203.0.113.{number}"})
    told = [values(bouncer(plane, STREAM, key)["new"]) for _ in range(4)]
    assert [len(step) for step in told] == [4, 4, 2, 0]
    assert list(chain.from_iterable(told)) == [f"203.0.113.{number}" for number in range(10)]


def test_a_bouncer_that_asks_again_and_again_reads_no_ban_that_has_not_changed(
    turned: tuple[Control, Clock, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plane, clock, key = turned
    for number in range(20):
        plane.ok("POST", "/v1/bans", {"address": f"203.0.113.{number}", "period": "5m" if number else "1h"})
    bouncer(plane, STREAM + "?startup=true", key)
    decoded: list[Entry] = []

    def decode(text: str) -> Entry:
        decoded.append(msgspec.json.decode(text, type=Entry))
        return decoded[-1]

    monkeypatch.setattr(find, "_DECODE", decode)
    clock.now += 1
    assert bouncer(plane, STREAM, key) == {"new": [], "deleted": []}
    assert decoded == []
    clock.now += 301
    assert len(bouncer(plane, STREAM, key)["deleted"]) == 19
    assert len(decoded) == 19


@pytest.mark.parametrize(("query", "expected"), [
    ("scopes=ip", ["203.0.113.9"]), ("scopes=Range,country", ["198.51.100.0/24"]), ("scopes=country", []),
    ("origins=crowdsec,lists", []), ("origins=authz", ["198.51.100.0/24", "203.0.113.9"]),
    ("scenarios_containing=ssh,http", ["203.0.113.9"]), ("scenarios_not_containing=ssh", ["198.51.100.0/24"]),
    ("additional_pull=true&dedup=false&community_pull=true", ["198.51.100.0/24", "203.0.113.9"]),
])  # fmt: skip
def test_a_stream_has_what_a_bouncer_asks_for(
    shared_bans: tuple[Control, str], query: str, expected: list[str]
) -> None:
    plane, key = shared_bans
    assert sorted(values(bouncer(plane, f"{STREAM}?startup=true&{query}", key)["new"])) == expected


@pytest.mark.parametrize(("query", "expected"), [
    ("ip=203.0.113.9", ["203.0.113.9"]), ("scope=ip&value=203.0.113.9", ["203.0.113.9"]),
    ("scope=Range&value=198.51.100.0/24", ["198.51.100.0/24"]), ("range=198.51.100.0/25", ["198.51.100.0/24"]),
    ("scope=country&value=FR", None), ("scope=AS&value=64496", None), ("ip=203.0.113.9&type=captcha", None),
    ("ip=203.0.113.9&origins=cscli", None), ("ip=203.0.113.9&type=ban", ["203.0.113.9"]),
])  # fmt: skip
def test_a_decision_is_found_as_a_bouncer_asks_and_no_other(
    shared_bans: tuple[Control, str], query: str, expected: list[str] | None
) -> None:
    plane, key = shared_bans
    decisions = bouncer(plane, f"/v1/decisions?{query}", key)
    assert (decisions and values(decisions)) == expected


def test_answers_of_all_bans_are_made_few_at_a_time(
    shared_bans: tuple[Control, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plane, key = shared_bans
    making, most, lock, news = [0], [0], threading.Lock(), bouncers.news

    def slow(*arguments: Any, **named: Any) -> Any:
        with lock:
            making[0] += 1
            most[0] = max(most[0], making[0])
        wait_for(lambda: most[0] >= crowdsec.MAX_WHOLE, "as many are made as may be")
        time.sleep(0.05)  # in which one more would begin
        with lock:
            making[0] -= 1
        return news(*arguments, **named)

    monkeypatch.setattr(crowdsec, "news", slow)
    with ThreadPoolExecutor(6) as pool:
        told = list(pool.map(lambda _: bouncer(plane, STREAM + "?startup=true", key), range(6)))
    assert (most[0], [len(stream["new"]) for stream in told]) == (crowdsec.MAX_WHOLE, [2] * 6)


@pytest.mark.parametrize("path", ["/v1/decisions", STREAM])
def test_a_bouncer_tries_its_key_by_head(shared_bans: tuple[Control, str], path: str) -> None:
    plane, key = shared_bans
    assert plane.ask("HEAD", path, X_Api_Key=key, Authorization="").status_code == 200
    assert plane.ask("HEAD", path, X_Api_Key="wrong", Authorization="").status_code == 401
