"""Bouncers of CrowdSec enforce our bans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support.control import Clock, Control, control

if TYPE_CHECKING:
    from pathlib import Path


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
