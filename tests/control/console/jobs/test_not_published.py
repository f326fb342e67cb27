"""What pages say where a change is not published, and of sidecars that are away."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from support.console.forms import Console

if TYPE_CHECKING:
    from support.control import Clock, Control


def fetch(plane: Control, *layers: str, token: str = "") -> str:
    """Be a sidecar that has the newest files; return its token."""
    token = token or plane.token_of("sidecar")
    for layer in layers:
        headers = {"Authorization": f"Bearer {token}", "Authz-Sidecar": "edge:1"}
        tag = plane.client.get(f"/v1/layers/{layer}", headers=headers | {"Prefer": "wait=20"}).headers["etag"]
        plane.client.get(f"/v1/layers/{layer}", headers=headers | {"If-None-Match": tag})
    return token


def break_publishing(plane: Control, token: str) -> None:
    """Take a database away: the first layer, which has an entry by country, cannot be published any more."""
    (plane.folder / "geo").mkdir(exist_ok=True)
    (plane.folder / "geo/country.csv").write_text("start,end,value\n198.51.100.0,198.51.100.255,KP\n")
    plane.ok("PUT", "/v1/policy", {"geo": {"country": "geo/country.csv"}})
    plane.ok("POST", "/v1/entries?wait=published", {"list": "allow", "countries": ["KP"], "period": "1d"})
    fetch(plane, "policy", "bans", token=token)
    (plane.folder / "geo/country.csv").unlink()
    plane.ok("POST", "/v1/entries?wait=published&timeout=5", {"list": "allow", "networks": ["192.0.2.1"]})


def test_settings_that_are_saved_say_so_and_how_far_they_came(plane: Control) -> None:
    console = Console(plane)
    saved = console.post("/feeds", {"csrf": console.csrf, "settings": "protected: [192.0.2.0/28]", "reason": "office"})
    assert saved.headers["location"].startswith("/feeds?done=policy.")
    text = console.get(saved.headers["location"]).text
    assert "Added " in text or "Changed " in text
    assert "/spread?done=policy." in text


def test_a_hint_leads_to_the_page_of_feeds(plane: Control) -> None:
    text = Console(plane).get("/add").text
    assert text.count('<a href="/feeds">add one under Feeds</a>') == 3
    assert "Setup, Feeds" not in text


def test_a_sidecar_is_not_up_to_date_while_the_newest_change_is_not_published(plane: Control) -> None:
    token = fetch(plane, "policy", "bans")
    assert Console(plane).get("/publications").text.count("up to date") == 2
    break_publishing(plane, token)
    text = Console(plane).get("/publications").text
    assert "the latest change is not published" in text
    assert text.count("up to date") == 1
    assert "the latest change is not published" in Console(plane).get("/").text


def test_a_sidecar_that_is_away_stands_on_publications_with_when_it_was_seen(plane: Control, clock: Clock) -> None:
    fetch(plane, "policy", "bans")
    clock.now += 300
    text = Console(plane).get("/publications").text
    assert "No sidecar is connected" not in text
    assert len(re.findall(r'edge:1</bdi>.*?badge deny">disconnected</span>.*?<span class="ago">', text)) == 2
    assert "1 sidecar disconnected" in Console(plane).get("/").text
    assert "authz control init" not in Console(plane).get("/").text


def test_a_sidecar_that_is_away_needs_attention_once(plane: Control, clock: Clock) -> None:
    fetch(plane, "policy", "bans")
    clock.now += 300
    console = Console(plane)
    assert console.get("/attention").text.count("The sidecar edge:1 is disconnected") == 1
    assert "It no longer asks for bans and policy" in console.get("/attention").text


def test_a_file_of_the_settings_that_is_missing_is_told_of_beside_them(plane: Control) -> None:
    console = Console(plane)
    fields = {"csrf": console.csrf, "settings": "geo: {country: geo/country.csv}"}
    refused = console.post("/feeds", fields)
    assert refused.status_code == 422
    wrong = re.search(r'<div class="wrong" id="settings-wrong"[^>]*>(.*?)</div>', refused.text)
    assert wrong is not None
    assert "/geo/country" in wrong[1]
    assert 'aria-describedby="settings-wrong"' in refused.text
    assert plane.ok("GET", "/v1/policy") == {}


def test_an_entry_whose_database_is_missing_is_refused_and_the_panel_says_so(plane: Control) -> None:
    console = Console(plane)
    fields = {"csrf": console.csrf, "list": "allow", "countries": "KP", "period": "1d", "action": "block"}
    assert 'class="wrong"' in console.post("/add/preview", fields).text
    assert console.post("/add", fields).status_code == 422
    assert plane.ok("GET", "/v1/entries")["items"] == []
