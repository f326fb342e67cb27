"""A serial alone names a change, unless two layers have one of that serial."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.control import control

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.control import Control


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Control]:
    with control(tmp_path / "control") as running:
        yield running


def in_policy(plane: Control) -> dict[str, int | str]:
    body = {"list": "allow", "networks": ["192.0.2.0/28"], "period": "forever"}
    added: dict[str, int | str] = plane.ok("POST", "/v1/entries", body)
    return added


def test_a_serial_alone_takes_back_the_one_change_that_has_it(plane: Control) -> None:
    allowed = in_policy(plane)
    assert allowed["layer"] == "policy"
    plane.ok("POST", "/v1/undo", {"serial": allowed["serial"]})
    assert plane.ok("GET", "/v1/entries")["items"] == []


def test_a_serial_that_two_layers_have_is_refused_until_the_layer_is_named(plane: Control) -> None:
    allowed, banned = in_policy(plane), plane.ok("POST", "/v1/bans", {"address": "203.0.113.9"})
    while allowed["serial"] != banned["serial"]:  # both count on from when they were made
        behind = allowed["serial"] < banned["serial"]
        if behind:
            plane.ok("DELETE", f"/v1/entries/{allowed['id']}", If_Match=f'"{allowed["id"]}.1"')
            allowed = in_policy(plane)
        else:
            plane.ok("DELETE", f"/v1/bans/{banned['id']}")
            banned = plane.ok("POST", "/v1/bans", {"address": "203.0.113.9"})
    refused = plane.ask("POST", "/v1/undo", {"serial": banned["serial"]})
    assert (refused.status_code, refused.json()["code"]) == (409, "ambiguous")
    assert "policy" in refused.json()["detail"]
    assert "bans" in refused.json()["detail"]
    plane.ok("POST", "/v1/undo", {"serial": banned["serial"], "layer": "bans"})
    assert [entry["id"] for entry in plane.ok("GET", "/v1/entries")["items"]] == [allowed["id"]]


def test_nobody_learns_from_a_refusal_that_another_tenant_has_a_change(plane: Control) -> None:
    allowed = in_policy(plane)
    token = plane.token_of("editor", "team-a", ("team-a-*",))
    assert plane.ask("POST", "/v1/undo", {"serial": allowed["serial"]}, token=token).status_code == 404
