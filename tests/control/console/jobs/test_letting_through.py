"""Letting one address of a denied network through: exceptions that are refused in time, and what to do instead."""

from __future__ import annotations

import re
from html import unescape
from typing import TYPE_CHECKING

import pytest
from support.console.forms import Console
from support.control import control

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.control import Control

NETWORK = "198.51.100.0/24"
FORM = {"list": "deny", "action": "block", "networks": NETWORK, "period": "until", "until": "2099-11-29T13:31:13Z"}


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Control]:
    with control(tmp_path / "control") as running:
        yield running


def ban(plane: Control, address: str = NETWORK) -> str:
    body = {"address": address, "expires": "2099-11-29T13:31:13Z", "applications": ["shop"]}
    return str(plane.ok("POST", "/v1/bans", body)["id"])


def test_an_exception_outside_of_the_network_is_refused_by_the_api(plane: Control) -> None:
    body = {"networks": ["192.0.2.0/24"], "except": ["192.0.2.8", "203.0.113.200"]}
    refused = plane.ask("POST", "/v1/entries", body)
    assert refused.status_code == 422
    assert refused.json()["errors"] == [
        {"pointer": "/except/1", "detail": "found '203.0.113.200', expected an address or network in 192.0.2.0/24"}
    ]
    plane.ok("POST", "/v1/entries", body | {"except": ["192.0.2.8"]})
    plane.ok("POST", "/v1/entries", {"networks": ["203.0.113.0/25", "2001:db8::/32"], "except": ["2001:db8::7"]})


def test_the_panel_says_that_an_exception_is_outside_of_the_network(plane: Control) -> None:
    console = Console(plane)
    fields = {"csrf": console.csrf, **FORM, "except": "203.0.113.10"}
    assert "expected an address or network in 198.51.100.0/24" in unescape(console.post("/add/preview", fields).text)


def test_the_panel_refuses_an_exception_of_a_ban_in_time_and_says_what_to_do(plane: Control) -> None:
    console, entry_id = Console(plane), ban(plane)
    fields = {"csrf": console.csrf, **FORM, "applications": "shop", "except": "198.51.100.7", "of": entry_id}
    text = console.post("/add/preview", fields).text
    assert "<dt>Layer</dt><dd><code>bans</code>" in text
    assert "put the address on the allow list, or delete this entry" in text
    link = re.search(r'href="(/add[?]list=allow[^"]*)"', text)
    assert link is not None
    form = console.get(unescape(link[1])).text
    assert ">198.51.100.7</textarea>" in form
    assert 'value="2099-11-29T13:31:13"' in form
    saved = console.post(f"/entries/{entry_id}/edit", {**fields, "seen": "1"})
    assert "put the address on the allow list" in saved.text
    assert 'value="2099-11-29T13:31:13"' in saved.text


def test_an_exception_is_refused_in_time_also_while_the_end_is_still_to_be_written(plane: Control) -> None:
    console, entry_id = Console(plane), ban(plane)
    fields = {"csrf": console.csrf, **FORM, "applications": "shop", "except": "198.51.100.7", "of": entry_id}
    fields |= {"until": ""}
    shown = console.post("/add/preview", fields)
    assert shown.status_code == 200
    assert "put the address on the allow list" in shown.text


def test_an_edit_that_changes_nothing_is_not_refused_as_a_double_of_itself(plane: Control) -> None:
    console, entry_id = Console(plane), ban(plane)
    fields = {"csrf": console.csrf, **FORM, "applications": "shop", "of": entry_id}
    text = console.post("/add/preview", fields).text
    assert "wrong" not in text
    assert "Overlaps" not in text


def test_explain_lets_one_address_of_a_denied_network_through_until_the_ban_ends(plane: Control) -> None:
    console, entry_id = Console(plane), ban(plane)
    text = console.get("/explain?address=198.51.100.7&application=shop").text
    assert re.search(r"until <time datetime=\"2099-11-29T13:31:13Z\"", text)
    assert f"/entries/{entry_id}/period?back=/explain%3Faddress%3D198.51.100.7" in text
    link = re.search(r'href="([^"]*)">Let this one address through', text)
    assert link is not None
    form = console.get(unescape(link[1])).text
    assert ">198.51.100.7</textarea>" in form
    assert 'value="allow" checked' in form
    assert 'value="2099-11-29T13:31:13"' in form
    assert 'name="applications" value="shop"' in form


def test_explain_offers_to_let_through_only_what_is_denied_as_part_of_a_network(plane: Control) -> None:
    ban(plane, "203.0.113.9")
    assert "Let this one" not in Console(plane).get("/explain?address=203.0.113.9&application=shop").text
    ban(plane)
    viewer = Console(plane, plane.token_of("viewer"))
    assert "Let this one" not in viewer.get("/explain?address=198.51.100.7&application=shop").text


def test_explain_says_who_denied_a_country_and_why(plane: Control) -> None:
    data = plane.folder / "geo"
    data.mkdir(exist_ok=True)
    (data / "country.csv").write_text("start,end,value\n198.51.100.0,198.51.100.255,KP\n")
    plane.ok("PUT", "/v1/policy", {"geo": {"country": "geo/country.csv"}})
    plane.ok("POST", "/v1/entries?wait=published", {"countries": ["KP"], "period": "forever", "reason": "sanctions"})
    text = Console(plane).get("/explain?address=198.51.100.7").text
    assert "added by <bdi>admin</bdi>" in text
    assert "sanctions" in text
    assert '<span class="kind">country</span> <bdi class="mono">KP</bdi>' in text
