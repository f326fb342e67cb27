"""A CrowdSec LAPI as a feed of the layer of bans."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from support.control import Clock, Control, control

from authz.control.config import CrowdSec
from authz.control.publish.inputs.crowdsec import Follower
from authz.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Lapi:
    """A LAPI. decisions: by id; news: what the next question without startup tells."""

    def __init__(self) -> None:
        self.decisions: dict[int, dict[str, Any]] = {}
        self.news: dict[str, list[dict[str, Any]] | None] = {"new": None, "deleted": None}
        self.asked: list[str] = []
        self.status = 200

    def decide(self, number: int, value: str, duration: str = "4h0m0s", **more: str) -> dict[str, Any]:
        decision = {"id": number, "scope": "Ip", "value": value, "type": "ban", "duration": duration, "origin": "cscli",
               "scenario": "ssh-bf", "uuid": "u"} | more  # fmt: skip
        self.decisions[number] = decision
        return decision

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.status != 200 or request.headers["x-api-key"] != "secret":
            return httpx.Response(self.status if self.status != 200 else 403)
        self.asked.append(request.url.params["startup"])
        if request.url.params["startup"] == "true":
            return httpx.Response(200, content=json.dumps({"new": list(self.decisions.values()), "deleted": None}))
        news, self.news = self.news, {"new": None, "deleted": None}
        return httpx.Response(200, content=json.dumps(news))


class Followed(Control):
    """A control plane that follows a LAPI, and its clock."""

    lapi: Lapi
    follower: Follower
    clock: Clock


@pytest.fixture
def followed(tmp_path: Path) -> Iterator[Followed]:
    clock, lapi = Clock(), Lapi()
    (tmp_path / "key").write_text("secret\n")
    with control(tmp_path / "c", clock=clock) as plane:
        config = CrowdSec(name="office", url="http://127.0.0.1:8080", key_file=str(tmp_path / "key"))
        plane.__class__ = Followed
        assert isinstance(plane, Followed)
        plane.lapi, plane.clock = lapi, clock
        plane.follower = Follower(plane.plane, config, httpx.MockTransport(lapi))
        yield plane


def banned(plane: Followed) -> dict[str, str]:
    return {ban["networks"][0]: ban["list"] for ban in plane.ok("GET", "/v1/bans")["items"]}


def test_what_the_lapi_decides_is_banned_here_and_ends_with_it(followed: Followed) -> None:
    lapi = followed.lapi
    lapi.decide(1, "203.0.113.1")
    lapi.decide(2, "2001:db8::7", type="captcha")
    lapi.decide(3, "198.51.100.0/24", scope="Range")
    assert followed.follower.round() == 3
    assert banned(followed) == {"203.0.113.1": "deny", "2001:db8::7": "gray", "198.51.100.0/24": "deny"}
    item = followed.ok("GET", "/v1/history?address=203.0.113.1")["items"][0]
    assert (item["actor"], item["reason"], item["after"]["owner"]) == ("crowdsec:office", "ssh-bf", "feed")
    lapi.news = {"new": [lapi.decide(4, "203.0.113.4")], "deleted": [lapi.decisions[1]]}
    assert followed.follower.round() == 2
    assert banned(followed).keys() == {"2001:db8::7", "198.51.100.0/24", "203.0.113.4"}
    assert lapi.asked == ["true", "false"]
    followed.clock.now += 4 * 3600 + 1
    assert banned(followed) == {}


def test_an_address_with_two_decisions_stays_until_the_last_of_them_ends(followed: Followed) -> None:
    lapi = followed.lapi
    first = lapi.decide(1, "203.0.113.1", "1h")
    lapi.decide(2, "203.0.113.1", "9h30m")
    followed.follower.round()
    (entry,) = followed.ok("GET", "/v1/bans")["items"]
    lapi.news = {"new": None, "deleted": [first]}
    assert followed.follower.round() == 0
    lapi.news = {"new": None, "deleted": [lapi.decisions[2]]}
    assert followed.follower.round() == 1
    assert entry["reason"] == "ssh-bf"
    assert banned(followed) == {}


def test_after_a_restart_or_a_failure_all_is_asked_for_and_only_differences_are_written(followed: Followed) -> None:
    lapi = followed.lapi
    for number in range(5):
        lapi.decide(number, f"203.0.113.{number}")
    followed.follower.round()
    again = Follower(followed.plane, followed.follower.config, httpx.MockTransport(lapi))
    assert again.round() == 0
    del lapi.decisions[3]
    lapi.status = 500
    with pytest.raises(InputError, match="found status 500"):
        again.round()
    lapi.status = 200
    assert again.round() == 1
    assert "203.0.113.3" not in banned(followed)


def test_a_person_who_deletes_or_has_banned_already_is_not_overruled_by_the_same_decision(followed: Followed) -> None:
    mine = followed.ok("POST", "/v1/bans", {"address": "203.0.113.1", "period": "7d", "reason": "by hand"})
    followed.lapi.decide(1, "203.0.113.1")
    followed.follower.round()
    (entry,) = followed.ok("GET", "/v1/bans")["items"]
    assert (entry["id"], entry["reason"]) == (mine["id"], "by hand")
    followed.ok("PUT", "/v1/policy", {"protected": ["192.0.2.0/24"]})
    followed.lapi.news = {"new": [followed.lapi.decide(2, "192.0.2.7")], "deleted": None}
    assert followed.follower.round() == 0
    assert len(banned(followed)) == 1


@pytest.mark.parametrize(
    "more",
    [{"scope": "Country", "value": "KP"}, {"type": "throttle"}, {"value": "not an address"}, {"duration": "-3m"},
     {"duration": "soon"}],
)  # fmt: skip
def test_what_is_no_ban_of_an_address_is_passed_over(followed: Followed, more: dict[str, str]) -> None:
    followed.lapi.decide(1, "203.0.113.1")
    followed.lapi.decisions[2] = followed.lapi.decide(2, "203.0.113.2") | more
    followed.follower.round()
    assert banned(followed) == {"203.0.113.1": "deny"}
