"""Pages of what is set up and what waits: tokens, approvals, settings, channels; in process, without a browser."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from support.console.forms import Console
from support.control import Control, control
from support.processes import wait_for

from authz.control.console.lists import listing
from authz.control.console.space import tiles

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EXTRA = """\
four_eyes: {addresses: 256, allow: true}
protected: [192.0.2.0/28]
"""


@pytest.fixture(scope="module")
def eyes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    with control(tmp_path_factory.mktemp("setup") / "control", extra=EXTRA) as running:
        yield running


def add(console: Console, **fields: str) -> str:
    """Send the form that adds; return where it leads."""
    values = {"list": "deny", "period": "1h", "action": "block", "csrf": console.csrf} | fields
    answer = console.post("/add", values)
    return str(answer.headers.get("location", answer.text))


def test_what_needs_a_second_person_waits_with_its_preview_until_somebody_else_agrees(eyes: Control) -> None:
    first = Console(eyes)
    eyes.ok("POST", "/v1/events", {"client": "198.51.100.7", "application": "shop"})
    path = add(first, networks="198.51.96.0/20", reason="a wide one")
    assert path.startswith("/approvals/a-")
    page = first.get(path).text
    assert "waiting for a second person" in page
    assert "What it would do" in page
    assert 'value="approve"' not in page
    refused = first.post(path, {"csrf": first.csrf, "do": "approve"})
    assert "a second person must approve" in refused.text
    second = Console(eyes, eyes.token_of("approver"))
    assert "198.51.96.0/20" in second.get("/approvals").text
    assert "1 waiting for approval" in second.get("/attention").text
    assert second.get("/attention/count").text == '<span class="count">1</span>'
    assert second.post(path, {"csrf": re.search(r'name="csrf" value="([^"]+)"', second.get(path).text)[1],  # type: ignore[index]
                              "do": "approve"}).headers["location"] == path  # fmt: skip
    assert eyes.ok("GET", "/v1/entries?address=198.51.96.1")["items"][0]["reason"] == "a wide one"
    assert "approved" in second.get(path).text


def test_a_change_that_waits_can_be_taken_back_by_who_asked(eyes: Control) -> None:
    console = Console(eyes)
    path = add(console, networks="203.0.113.1", list="allow")
    assert "Withdraw" in console.get(path).text
    console.post(path, {"csrf": console.csrf, "do": "reject"})
    assert "rejected" in console.get(path).text


def test_a_lock_out_is_refused_beside_the_form_and_forced_only_where_it_may_be(eyes: Control) -> None:
    console = Console(eyes)
    page = add(console, networks="192.0.2.1")
    assert "the protected network 192.0.2.0/28" in page
    assert 'name="force"' not in page  # every sidecar would refuse the file
    other = add(console, networks="192.0.2.1 192.0.2.200", **{"except": "192.0.2.200"})
    assert 'name="force"' in other


def test_the_secret_of_a_new_token_is_on_one_page_only(eyes: Control) -> None:
    console = Console(eyes)
    fields = {"csrf": console.csrf, "name": "anna", "role": "operator", "tenant": "main", "period": "30d"}
    made = console.post("/people/tokens", fields).text
    secret = re.search(r"authz_[\w-]{40,}", made)
    assert secret is not None
    assert secret[0] not in console.get("/people").text
    anna = Console(eyes, secret[0])
    assert "/lists?done=bans." in add(anna, networks="203.0.113.77")
    assert "may ban one address" in add(anna, networks="203.0.113.78 203.0.113.79")
    console.become()
    token = re.search(r'name="id" value="(t-[0-9a-f]+)">Revoke<span class="off"> anna', console.get("/people").text)
    assert token is not None
    console.post("/people/tokens/revoke", {"csrf": console.csrf, "id": token[1]})
    anna.become()
    assert anna.get("/lists").headers["location"].startswith("/sign-in")


def test_a_token_that_cannot_be_made_is_told_with_what_was_written(eyes: Control) -> None:
    console = Console(eyes)
    fields = {"csrf": console.csrf, "name": "bert", "role": "viewer", "networks": "10.0.0.1/8"}
    answer = console.post("/people/tokens", fields)
    assert answer.status_code == 422
    assert 'value="bert"' in answer.text


def test_settings_are_yaml_whose_mistakes_are_told_by_key(eyes: Control) -> None:
    console = Console(eyes)
    good = "protected: [198.18.0.0/24]\nlimits: {widest_ipv4: 10}\n"
    assert console.post("/feeds", {"csrf": console.csrf, "settings": good}).status_code == 303
    assert eyes.ok("GET", "/v1/policy")["protected"] == ["198.18.0.0/24"]
    assert "198.18.0.0/24" in console.get("/feeds").text
    for text, told in (
        ("geo: {city: x}", "city"), ("nonsense: 1", "nonsense"), ("a: [", "settings"), ("[1]", "expected keys"),
        ("a: &x [1]\nb: *x\n", "alias"),
    ):  # fmt: skip
        answer = console.post("/feeds", {"csrf": console.csrf, "settings": text})
        assert (answer.status_code, told in answer.text) == (422, True), text
    assert eyes.ok("GET", "/v1/policy")["limits"] == {"widest_ipv4": 10}


def test_an_application_keeps_what_its_form_does_not_say(eyes: Control) -> None:
    console = Console(eyes)
    fields = {
        "csrf": console.csrf,
        "do": "save",
        "mode": "safe_blocking",
        "dry_run": "yes",
        "hosts": "shop.example.com",
    }
    assert console.post("/applications/shop", fields).status_code == 303
    settings = {application["name"]: application["settings"] for application in eyes.ok("GET", "/v1/applications")}
    assert settings["shop"] == {"mode": "safe_blocking", "dry_run": True, "hosts": ["shop.example.com"]}
    wrong = console.post("/applications/shop", fields | {"deny_status": "999"})
    assert wrong.status_code == 422
    assert "dry run" in console.get("/applications").text


@pytest.mark.parametrize(
    ("hosts", "told"),
    [
        ("shop.example.com:80", "found &#39;shop.example.com:80&#39;"),
        ("a.example.com bücher.example", "did you mean &#39;xn--bcher-kva.example&#39;?"),
    ],
)
def test_a_host_that_is_none_is_told_beside_its_field(eyes: Control, hosts: str, told: str) -> None:
    """It was a 500: the page looked for a mistake of another name."""
    console = Console(eyes)
    answer = console.post("/applications/shop", {"csrf": console.csrf, "do": "save", "hosts": hosts})
    assert (answer.status_code, told in answer.text) == (422, True)


def test_a_protected_network_with_host_bits_is_a_mistake_and_no_fault(eyes: Control) -> None:
    """It was a 500, of the API and of the console."""
    told = "found '203.0.113.9/24', expected a network without host bits (did you mean '203.0.113.0/24'?)"
    answer = eyes.ask("PUT", "/v1/policy", {"protected": ["198.51.100.0/24", "203.0.113.9/24"]})
    assert (answer.status_code, answer.json()["errors"]) == (422, [{"pointer": "/protected/1", "detail": told}])
    console = Console(eyes)
    answer = console.post("/feeds", {"csrf": console.csrf, "settings": "protected: [203.0.113.9/24]"})
    assert answer.status_code == 422


def test_an_entry_that_is_over_before_it_is_added_is_refused(eyes: Control) -> None:
    """The page said `Added ..., until 2020`."""
    entry = {"list": "deny", "networks": ["198.18.9.9"], "starts": "2020-01-01T00:00:00Z", "period": "1h"}
    answer = eyes.ask("POST", "/v1/entries", entry)
    (mistake,) = answer.json()["errors"]
    assert (answer.status_code, mistake["pointer"]) == (422, "/starts")
    given = "found a start from which the entry lasts until 2020-01-01T01:00:00Z"
    assert mistake["detail"] == f"{given}, expected at least 300 seconds from now"


def test_an_entry_whose_exceptions_cover_all_of_it_is_refused(eyes: Control) -> None:
    entry = {"list": "deny", "networks": ["198.18.9.0/24"], "except": ["198.18.8.0/23"], "period": "1h"}
    answer = eyes.ask("POST", "/v1/entries", entry)
    told = {"pointer": "/except", "detail": "covers all networks of the entry, which would name nobody"}
    assert (answer.status_code, answer.json()["errors"]) == (422, [told])


def test_a_text_that_is_too_long_is_told_in_plain_words(eyes: Control) -> None:
    answer = eyes.ask("POST", "/v1/bans", {"address": "198.18.9.9", "reason": "x" * 1001})
    told = {"pointer": "/reason", "detail": "found a longer text, expected at most 1000 characters"}
    assert (answer.status_code, answer.json()["errors"]) == (422, [told])
    console = Console(eyes)
    assert told["detail"] in add(console, networks="198.18.9.9", reason="x" * 1001)


def test_a_trigger_is_written_changed_and_deleted_by_its_form(eyes: Control) -> None:
    console = Console(eyes)
    fields = {
        "csrf": console.csrf, "do": "save", "name": "login", "kind": "brute_force", "path": "/login", "over": "30",
        "within": "30s", "by": "address", "list": "deny", "period": "1h", "dry_run": "yes",
    }  # fmt: skip
    assert console.post("/triggers", fields).headers["location"] == "/triggers?told=saved"
    form = console.get("/triggers/login").text
    assert 'name="over" value="30"' in form
    seen = re.search(r'name="seen" value="(\d+)"', form)
    assert seen is not None
    changed = fields | {"of": "login", "seen": seen[1], "over": "50"}
    assert console.post("/triggers", changed).headers["location"] == "/triggers?told=saved"
    assert eyes.ok("GET", "/v1/triggers/login")["over"] == 50
    assert console.post("/triggers", changed).status_code == 412  # somebody else's form, of the version before
    version = eyes.ok("GET", "/v1/triggers/login")["version"]
    console.post("/triggers/login", {"csrf": console.csrf, "do": "delete", "seen": str(version)})
    assert console.get("/triggers/login").status_code == 404


def test_who_adds_from_the_allow_list_adds_to_the_allow_list(eyes: Control) -> None:
    console = Console(eyes)
    assert 'href="/add?list=allow" data-key="a"' in console.get("/lists?list=allow").text
    assert 'href="/add" data-key="a"' in console.get("/lists?list=deny").text
    assert 'href="/add" data-key="a"' in console.get("/lists?list=%22%3E").text


def test_a_form_of_a_period_that_is_sent_as_it_is_changes_no_end(eyes: Control) -> None:
    made = eyes.ok("POST", "/v1/bans", {"address": "203.0.113.46", "period": "7d"})
    console = Console(eyes)
    path = f"/entries/{made['id']}/period"
    page = console.get(path).text
    assert 'value="until" checked' in page
    until = re.search(r'name="until"[^>]* value="([^"]+)"', page)
    assert until is not None
    console.post(path, {"csrf": console.csrf, "seen": "1", "period": "until", "until": until[1], "reason": "looked"})
    assert eyes.ok("GET", f"/v1/entries/{made['id']}")["expires"] == made["expires"]


def test_two_people_who_change_one_entry_do_not_overwrite_each_other(eyes: Control) -> None:
    made = eyes.ok("POST", "/v1/bans", {"address": "203.0.113.5"})
    console = Console(eyes)
    page = console.get(f"/entries/{made['id']}/edit").text
    assert 'name="seen" value="1"' in page
    eyes.ok("PATCH", f"/v1/entries/{made['id']}", {"reason": "meanwhile"}, If_Match=f'"{made["id"]}.1"')
    answer = console.post(f"/entries/{made['id']}/edit", {
        "csrf": console.csrf, "seen": "1", "networks": "203.0.113.5", "list": "deny", "action": "block", "period": "7d",
    })  # fmt: skip
    assert answer.status_code == 412
    assert "Somebody else has changed it since you opened this form" in answer.text


def test_what_changed_between_two_times_is_told_once_however_often_it_changed(eyes: Control) -> None:
    since = eyes.plane.store.now() // 1_000_000
    made = eyes.ok("POST", "/v1/bans", {"address": "203.0.113.90", "reason": "first"})
    eyes.ok("PATCH", f"/v1/entries/{made['id']}", {"period": "7d"}, If_Match=f'"{made["id"]}.1"')
    gone = eyes.ok("POST", "/v1/bans", {"address": "203.0.113.91"})
    eyes.ok("DELETE", f"/v1/bans/{gone['id']}")
    from authz.times import format_moment

    page = Console(eyes).get(f"/difference?since={format_moment(since)}").text
    assert page.count("203.0.113.90</bdi>") == 1
    assert "203.0.113.91" not in page


def test_the_overview_names_the_entries_that_deny_most_and_the_sidecars_with_their_serials(eyes: Control) -> None:
    made = eyes.ok("POST", "/v1/bans?wait=published", {"address": "203.0.113.40", "reason": "busy"})
    event = {"client": "203.0.113.40", "application": "shop", "decision": "deny", "entry": made["id"], "status": 403}
    eyes.ok("POST", "/v1/events", event)
    published = eyes.ok("GET", "/v1/publications?layer=bans")["items"][0]
    serial = published["serial"]
    eyes.plane.sidecars.report("edge-1", "bans", published["digest"], "")
    console = Console(eyes)
    wait_for(lambda: made["id"] in console.get("/busiest").text, "the event is kept")
    entries = console.get("/busiest").text.partition("By entry")[2]
    assert 'title="' + made["id"] in entries
    assert ">203.0.113.40</bdi></a>" in entries
    assert re.search(rf"edge-1.*bans {serial}", console.get("/").text)


def test_a_sidecar_that_does_not_take_a_file_is_shown_with_what_to_do(eyes: Control) -> None:
    eyes.plane.sidecars.report("edge-2", "bans", "", "not_permitted_endless")
    console = Console(eyes)
    for path in ("/attention", "/publications"):
        page = console.get(path).text
        assert "edge-2" in page
        assert "longest" in page
        assert "not_permitted_endless" in page


def test_what_fits_on_every_page_is_changed_in_one_go_and_too_many_are_refused(
    eyes: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        {"list": "deny", "networks": [f"198.18.{n}.1"], "reason": "bulk of pages", "period": "1h"} for n in range(70)
    ]
    eyes.ok("POST", "/v1/entries/bulk", rows)
    console = Console(eyes)
    page = console.get("/lists?q=bulk+of+pages").text
    assert page.count('name="pick"') == 50
    assert "all matching entries, on every page (at most 1,000)" in page
    fields = {
        "csrf": console.csrf,
        "back": "/lists?q=bulk+of+pages",
        "do": "period:7d",
        "all": "yes",
        "reason": "longer",
    }
    assert "/lists?q=bulk+of+pages&done=bans." in console.post("/lists/change", fields).headers["location"]
    assert eyes.ok("GET", "/v1/history?limit=1")["items"][0]["reason"] == "longer"
    monkeypatch.setattr(listing, "MAX_DONE", 60)
    refused = console.post("/lists/change", fields | {"do": "delete"})
    assert refused.status_code == 409
    assert "more entries match than can be changed at once, at most 60" in refused.text
    assert "No entry matches" not in console.get("/lists?q=bulk+of+pages").text
    monkeypatch.undo()
    assert "&done=bans." in console.post("/lists/change", fields | {"do": "delete"}).headers["location"]
    assert "No entry matches" in console.get("/lists?q=bulk+of+pages").text


def test_all_that_fit_are_those_of_the_tenant(eyes: Control) -> None:
    eyes.ok("POST", "/v1/bans", {"address": "203.0.113.60", "reason": "mine alone"})
    other = Console(eyes, eyes.token_of("editor", "team-b", ("team-b-*",)))
    fields = {"csrf": other.csrf, "back": "/lists?q=mine+alone", "do": "delete", "all": "yes"}
    assert other.post("/lists/change", fields).headers["location"] == "/lists?q=mine+alone"
    assert eyes.ok("GET", "/v1/entries?address=203.0.113.60")["items"]


def test_nobody_is_told_of_anything_yet_and_the_page_says_how(eyes: Control) -> None:
    assert "control.yaml" in Console(eyes).get("/notifications").text


def test_the_map_of_bans_has_those_in_the_parts_but_not_what_was_taken_back(tmp_path: Path) -> None:
    from authz.control.console.space.tiles import Maps, Wanted, legend

    with control(tmp_path / "control") as running:
        plane = running.plane
        kept = running.ok("POST", "/v1/bans?wait=published", {"address": "203.0.113.5"})
        gone = running.ok("POST", "/v1/bans?wait=published", {"address": "203.0.113.6"})
        with plane.store.reading() as tx:
            part = plane.opened.at(tx, "bans", plane.store.now())
            assert plane.opened.parts_at(tx, "bans", plane.store.now()) == []
        assert part is not None
        running.ok("DELETE", f"/v1/bans/{gone['id']}?wait=published")
        assert kept["layer"] == "bans"
        with plane.store.reading() as tx:
            head = plane.opened.at(tx, "bans", plane.store.now())
        assert head is not None
        head.singles, head.tombstones = None, frozenset({int(gone["id"].removeprefix("b-"), 16)})
        rows = legend(Maps().get(head, lambda: [part], Wanted("bans", "*", None), plane.store.clock()))
        assert [row.amount for row in rows if "single addresses banned" in row.amount] == ["single addresses banned: 1"]


def test_a_map_is_drawn_and_packed_once_also_for_applications_that_nobody_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with control(tmp_path / "control") as running:
        console = Console(running)
        wait_for(lambda: 'class="muted">serial' in console.get("/map?layer=policy").text, "the map is drawn")
        work: list[str] = []
        for name in ("decision_map", "encode_png"):
            monkeypatch.setattr(tiles, name, lambda *_, name=name, **__: work.append(name))
        for application in ("", "no-such", "another", "y" * 50):
            for look in ("", "&look=dark"):
                answer = console.get(f"/map/picture/policy?application={application}{look}")
                assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
        assert work == []
