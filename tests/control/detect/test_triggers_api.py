"""Triggers by API: written, versioned, tried on yesterday's events; beside those of triggers.yaml."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support.control import Clock, Control, control
from support.processes import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILE = """\
triggers:
  - {name: flood, kind: rate, where: {path: /flood}, count: {over: 50, within: 30s}}
"""
LOGIN: dict[str, Any] = {
    "name": "login",
    "kind": "brute_force",
    "where": {"path": "/login", "status": [401, 403]},
    "count": {"over": 5, "within": "30s"},
    "then": {"period": "1h", "grow": 2},
}


class Scene:
    """A control plane with triggers.yaml, and a clock that the test turns."""

    def __init__(self, plane: Control, clock: Clock) -> None:
        self.plane = plane
        self.clock = clock

    def send(self, count: int, client: str = "203.0.113.9", **values: Any) -> None:
        event = {"client": client, "application": "shop", "method": "POST", "path": "/login", "status": 401}
        lines = [
            json.dumps(event | {"time": self.clock.now - count + number} | values) for number in range(count)
        ]  # fmt: skip
        headers = {"Authorization": f"Bearer {self.plane.token}"}
        self.plane.client.post("/v1/events", content="\n".join(lines), headers=headers)
        intake = self.plane.plane.intake
        wait_for(lambda: not intake.waiting and intake.keeper.written + intake.keeper.lost >= intake.taken)

    def is_listed(self, client: str = "203.0.113.9") -> bool:
        return bool(self.plane.ok("GET", f"/v1/entries?address={client}")["items"])

    def state(self, name: str = "login") -> Any:
        return self.plane.ok("GET", f"/v1/triggers/{name}")


@pytest.fixture
def scene(store_url: str, tmp_path: Path) -> Iterator[Scene]:
    clock = Clock()
    (tmp_path / "control").mkdir()
    (tmp_path / "control" / "triggers.yaml").write_text(FILE)
    with control(tmp_path / "control", store=store_url, extra="triggers: triggers.yaml\n", clock=clock) as plane:
        yield Scene(plane, clock)


def test_a_trigger_of_the_api_works_at_once_until_it_is_deleted(scene: Scene) -> None:
    scene.send(6)
    assert not scene.is_listed()
    made = scene.plane.ask("POST", "/v1/triggers", LOGIN)
    assert (made.status_code, made.headers["ETag"]) == (201, '"login.1"')
    scene.send(6)
    assert scene.is_listed()
    state = scene.state()
    assert (state["listed"], state["source"], state["version"], state["actor"]) == (1, "api", 1, "admin")
    assert state["content"] == LOGIN
    assert scene.plane.ask("DELETE", "/v1/triggers/login", If_Match='"login.1"').status_code == 204
    scene.send(6, client="198.51.100.7")
    assert not scene.is_listed("198.51.100.7")
    assert scene.is_listed()


def test_a_change_names_the_version_that_was_seen_and_every_version_stays_known(scene: Scene) -> None:
    scene.plane.ok("POST", "/v1/triggers", LOGIN)
    looser = LOGIN | {"count": {"over": 50, "within": "30s"}}
    ask = scene.plane.ask
    assert ask("PUT", "/v1/triggers/login", looser).status_code == 428
    assert ask("PUT", "/v1/triggers/login", looser, If_Match='"login.7"').status_code == 412
    assert ask("PUT", "/v1/triggers/login", looser, If_Match='"login.1"').status_code == 200
    assert ask("PUT", "/v1/triggers/none", LOGIN | {"name": "none"}, If_Match='"none.1"').status_code == 404
    assert ask("DELETE", "/v1/triggers/login", If_Match='"login.1"').status_code == 412
    scene.send(20)
    assert not scene.is_listed()
    ask("DELETE", "/v1/triggers/login", If_Match='"login.2"')
    newest, first = scene.plane.ok("GET", "/v1/triggers/login/versions")
    assert (first["version"], first["content"], first["ended_by"]) == (1, LOGIN, "admin")
    assert (newest["version"], newest["content"]["count"]["over"], newest["until"] is None) == (2, 50, False)


def test_triggers_yaml_owns_its_names(scene: Scene) -> None:
    flood = LOGIN | {"name": "flood"}
    for method, path in (("POST", "/v1/triggers"), ("PUT", "/v1/triggers/flood")):
        answer = scene.plane.ask(method, path, flood, If_Match='"flood.1"')
        assert (answer.status_code, answer.json()["code"]) == (409, "owned_by_file")
    assert scene.plane.ask("DELETE", "/v1/triggers/flood", If_Match='"flood.1"').json()["code"] == "owned_by_file"
    assert scene.state("flood")["source"] == "file"


def test_a_name_that_the_file_takes_later_is_the_files(tmp_path: Path) -> None:
    from support.control import opened

    clock = Clock()
    with control(tmp_path / "control", clock=clock) as plane:
        plane.ok("POST", "/v1/triggers", LOGIN)
        token = plane.token
    (tmp_path / "control" / "triggers.yaml").write_text(FILE.replace("flood, kind", "login, kind"))
    with (tmp_path / "control" / "control.yaml").open("a") as file:
        file.write("triggers: triggers.yaml\n")
    with opened(tmp_path / "control", token, clock=clock) as plane:
        shown = {trigger["source"]: trigger["shadowed"] for trigger in plane.ok("GET", "/v1/triggers")["items"]}
        assert shown == {"file": False, "api": True}
        assert plane.ok("GET", "/v1/triggers/login")["kind"] == "rate"


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"kind": "dos"}, "/kind"),
        ({"count": {"over": 0, "within": "30s"}}, "/count/over"),
        ({"where": {"path": "/login", "status": [401, "4x"]}}, "/where/status/1"),
        ({"where": {}}, "/where/path"),
        ({"where": {"path": "/login", "country": "DE"}}, "/where/country"),
        ({"then": {"period": "1m"}}, "/then/period"),
        ({"else": {}}, "/else"),
        ({"name": "a\u0000b"}, "/name"),
    ],
)
def test_each_mistake_is_named_at_its_key(scene: Scene, change: dict[str, Any], pointer: str) -> None:
    answer = scene.plane.ask("POST", "/v1/triggers", LOGIN | change)
    assert answer.status_code == 422
    assert pointer in [error["pointer"] for error in answer.json()["errors"]]


def test_a_trigger_can_be_tried_on_the_events_of_the_last_day(scene: Scene) -> None:
    scene.send(8)
    scene.send(3, client="198.51.100.7")
    trial = scene.plane.ok("POST", "/v1/triggers/test", {"trigger": LOGIN})
    assert [(listing["network"], listing["count"]) for listing in trial["listings"]] == [("203.0.113.9", 6)]
    assert trial["events"] == 11
    assert not scene.is_listed()
    assert scene.plane.ask("POST", "/v1/triggers/test", {"trigger": {"name": "x"}}).status_code == 422


def test_only_editors_of_the_main_tenant_write_triggers(scene: Scene) -> None:
    for token in (scene.plane.token_of("operator"), scene.plane.token_of("admin", "team", ("shop",))):
        assert scene.plane.ask("POST", "/v1/triggers", LOGIN, token=token).status_code == 403
        assert scene.plane.ask("POST", "/v1/triggers/test", {"trigger": LOGIN}, token=token).status_code == 403
        assert scene.plane.ask("GET", "/v1/triggers", token=token).status_code == 200


def test_a_breaker_stays_open_over_a_restart_until_a_person_lets_the_trigger_go_on(tmp_path: Path) -> None:
    from support.control import opened

    clock = Clock()
    with control(tmp_path / "control", clock=clock) as plane:
        scene = Scene(plane, clock)
        plane.ok("POST", "/v1/triggers", LOGIN | {"breaker": {"listings": 2, "within": "1m"}})
        for number in range(4):
            scene.send(6, client=f"203.0.113.{number}")
        assert scene.state()["stopped"]
        assert scene.state()["suppressed"] == {"breaker": 2}
    with opened(tmp_path / "control", plane.token, clock=clock) as again:
        scene = Scene(again, clock)
        scene.send(6, client="203.0.113.10")
        assert not scene.is_listed("203.0.113.10")
        assert again.ok("POST", "/v1/triggers/login/resume")["stopped"] is None
        scene.send(6, client="203.0.113.10")
        assert scene.is_listed("203.0.113.10")


def test_explain_names_the_trigger_the_window_the_counts_and_sample_events(scene: Scene) -> None:
    scene.plane.ok("POST", "/v1/triggers", LOGIN)
    scene.send(6)
    [covering] = scene.plane.ok("GET", "/v1/explain?address=203.0.113.9&application=shop")["covering"]
    automatic = covering["automatic"]
    assert (automatic["trigger"], automatic["within"], automatic["counted"], automatic["limit"]) == (
        "login", "30s", 6, 5,
    )  # fmt: skip
    assert [sample["path"] for sample in automatic["samples"]] == ["/login"] * 3


def test_metrics_say_what_was_counted_listed_and_suppressed(scene: Scene) -> None:
    scene.plane.ok("POST", "/v1/triggers", LOGIN)
    scene.send(6)
    scene.send(6)
    text = scene.plane.ask("GET", "/metrics").text
    for line in (
        "authz_control_events_total 12.0",
        'authz_control_trigger_evaluations_total{trigger="login"} 12.0',
        'authz_control_trigger_listings_total{trigger="login"} 1.0',
        'authz_control_trigger_suppressed_total{trigger="login",reason="listed"} 1.0',
        'authz_control_trigger_stopped{trigger="flood"} 0.0',
        "authz_control_events_waiting 0.0",
    ):
        assert line in text.splitlines()
    assert "authz_control_events_lag_seconds " in text


def test_a_trigger_that_only_tells_lists_nobody(scene: Scene) -> None:
    scene.plane.ok("POST", "/v1/triggers", LOGIN | {"then": {"list": "notify"}})
    scene.send(6)
    assert not scene.is_listed()
    assert (scene.state()["tried"], scene.state()["listed"]) == (1, 0)


def test_a_trigger_by_api_lists_no_wider_networks_than_one_person_may(tmp_path: Path) -> None:
    with control(tmp_path / "control", extra="four_eyes: {addresses: 16}\n") as plane:
        wide = {"name": "wide", "kind": "rate", "count": {"over": 1, "within": "1m", "by": "network", "v4": "/16"}}
        answer = plane.ask("POST", "/v1/triggers", wide, token=plane.token_of("editor"))
        assert (answer.status_code, answer.json()["code"]) == (409, "four_eyes")
        plane.ok("POST", "/v1/triggers", wide | {"dry_run": True})
        made = plane.ask("GET", "/v1/triggers/wide")
        etag = made.headers["etag"]
        assert plane.ask("PUT", "/v1/triggers/wide", wide, If_Match=etag).json()["code"] == "four_eyes"
        plane.ok("POST", "/v1/triggers", LOGIN)
