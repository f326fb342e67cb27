"""What a hostile site, tenant or client can do to somebody who uses the console: nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from litestar import Request
from sqlalchemy import event
from support.console.browser import viewer
from support.console.forms import COOKIE, HTML, Console
from support.control import Control, control
from support.processes import wait_for

from authz.control.api.common.cookies import no_session_cookie, own_cookie, own_path, session_cookie

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser
    from support.control import Running


@pytest.fixture(scope="module")
def shared_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    with control(tmp_path_factory.mktemp("security") / "control", extra="four_eyes: {allow: true}\n") as running:
        yield running


@pytest.fixture
def console(shared_plane: Control) -> Console:
    return Console(shared_plane)


BAN = {"networks": "203.0.113.9", "list": "deny", "period": "1h", "action": "block"}


def entries(plane: Control) -> list[str]:
    return [entry["networks"][0] for entry in plane.ok("GET", "/v1/entries")["items"]]


def test_csrf_a_form_without_the_token_changes_nothing(console: Console, shared_plane: Control) -> None:
    for fields in (BAN, BAN | {"csrf": ""}, BAN | {"csrf": "x" * 43}):
        answer = console.post("/add", fields)
        assert (answer.status_code, "csrf" in answer.text) == (403, True)
    assert entries(shared_plane) == []


def test_csrf_a_form_that_another_site_sends_changes_nothing(console: Console, shared_plane: Control) -> None:
    fields = BAN | {"csrf": console.csrf}
    for headers in ({"Sec_Fetch_Site": "cross-site"}, {"Origin": "https://evil.example"}):
        answer = console.post("/add", fields, **headers)
        assert answer.status_code == 403
    assert entries(shared_plane) == []


def test_a_change_of_many_rows_has_a_limit(console: Console) -> None:
    fields: dict[str, Any] = {"csrf": console.csrf, "do": "delete", "pick": [f"e-{n}.1" for n in range(201)]}
    answer = console.post("/lists/change", fields)
    assert (answer.status_code, "expected at most 200" in answer.text) == (422, True)


@pytest.mark.parametrize("path", ["/lists/change", "/sign-in"])
def test_a_form_of_a_million_fields_is_not_read(console: Console, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setattr(Request, "form", None)
    answer = console.client.post(path, content=b"a&" * 1000, headers=HTML, follow_redirects=False)
    assert (answer.status_code, "expected fewer" in answer.text) == (413, True)


def test_csrf_every_form_that_changes_something_needs_the_token(console: Console) -> None:
    routes = [route for route in console.client.app.routes if "POST" in route.methods]
    paths = {route.path for route in routes if not route.path.startswith("/v1/")} - {"/sign-in"}
    assert len(paths) > 15
    for path in paths:
        answer = console.post(re.sub(r"\{[^}]*\}", "x", path), {})
        assert (path, answer.status_code) == (path, 403)


def test_csrf_the_token_of_one_session_is_worth_nothing_in_another(shared_plane: Control) -> None:
    first = Console(shared_plane)
    token = first.csrf
    second = Console(shared_plane)
    assert second.post("/add", BAN | {"csrf": token}).status_code == 403


def test_login_csrf_another_site_cannot_sign_a_viewer_on(shared_plane: Control) -> None:
    console = Console(shared_plane)
    fields = {"token": shared_plane.token, "to": "/"}
    assert console.post("/sign-in", fields, Sec_Fetch_Site="cross-site").status_code == 403
    assert console.post("/sign-in", fields, Origin="https://evil.example").status_code == 403


def test_clickjacking_no_page_lets_itself_be_framed(console: Console) -> None:
    for path, status in (("/", 200), ("/lists", 200), ("/sign-in", 200), ("/entries/none", 404)):
        answer = console.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8"), path
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-frame-options"] == "DENY"


def test_the_policy_of_a_page_permits_no_script_or_style_in_it_and_no_third_party(console: Console) -> None:
    policy = console.get("/lists").headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "http" not in policy
    for part in (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
    ):
        assert part in policy
    for path in ("/lists", "/add", "/", "/map", "/triggers/new"):
        text = console.get(path).text
        assert re.findall(r"<script(?![^>]*\ssrc=)", text) == []
        assert re.findall(r"<style|\sstyle=|\son\w+=|javascript:", text) == []
        assert re.findall(r"""(?:src|href|action)=["']?(?:https?:)?//""", text) == []


def test_session_fixation_signing_on_always_begins_a_new_session(shared_plane: Control) -> None:
    planted = "planted-by-somebody-else"
    shared_plane.client.cookies.clear()
    shared_plane.client.cookies.set(COOKIE, planted)
    answer = shared_plane.client.post("/sign-in", data={"token": shared_plane.token}, follow_redirects=False)
    assert answer.cookies[COOKIE] != planted
    shared_plane.client.cookies.clear()
    shared_plane.client.cookies.set(COOKIE, planted)
    assert shared_plane.client.get("/lists", follow_redirects=False).headers["location"].startswith("/sign-in")


def test_session_fixation_the_session_before_ends_with_the_next(shared_plane: Control) -> None:
    first = Console(shared_plane)
    first.become()
    shared_plane.client.post("/sign-in", data={"token": shared_plane.token}, follow_redirects=False)
    first.become()
    assert first.get("/lists").status_code == 303


def test_the_cookie_is_read_by_no_script_and_goes_to_no_other_site(shared_plane: Control) -> None:
    shared_plane.client.cookies.clear()
    answer = shared_plane.client.post("/sign-in", data={"token": shared_plane.token}, follow_redirects=False)
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie


def test_the_cookie_is_read_by_no_script_whichever_of_ours_it_is(shared_plane: Control) -> None:
    config = shared_plane.plane.config
    for cookie in (session_cookie(config, "s"), no_session_cookie(config), own_cookie(config, "state", "s", 60)):
        assert (cookie.httponly, cookie.samesite) == (True, "lax"), cookie.key


def test_after_signing_out_the_cookie_is_worth_nothing(shared_plane: Control) -> None:
    console = Console(shared_plane)
    assert console.post("/sign-out", {"csrf": console.csrf}).status_code == 303
    console.become()
    assert console.get("/lists").headers["location"].startswith("/sign-in")


ELSEWHERE = (
    "https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)", "\\\\evil.example",
    "/%0d%0aSet-Cookie:x=1\r\n", "http:/evil.example",
)  # fmt: skip


@pytest.mark.parametrize("to", ELSEWHERE)
def test_a_path_of_another_site_is_none_of_ours(to: str) -> None:
    assert own_path(to) == "/"
    assert own_path("/lists?q=203.0.113.9") == "/lists?q=203.0.113.9"


@pytest.mark.parametrize("to", ELSEWHERE)
def test_nobody_is_sent_to_another_site_after_signing_on(shared_plane: Control, to: str) -> None:
    shared_plane.client.cookies.clear()
    fields = {"token": shared_plane.token, "to": to}
    answer = shared_plane.client.post("/sign-in", data=fields, follow_redirects=False)
    assert answer.headers["location"] == "/"


def test_no_secret_is_in_an_address_or_a_page(console: Console, shared_plane: Control) -> None:
    for path in ("/lists", "/people", "/add"):
        text = console.get(path).text
        assert shared_plane.token not in text
        assert console.secret not in text
    refused = console.get("/sign-in?token=" + shared_plane.token)
    assert shared_plane.token not in refused.text
    assert refused.headers["referrer-policy"] == "same-origin"
    assert console.get("/lists").headers["cache-control"] == "no-store"


def addresses_of(console: Console) -> list[str]:
    """Return the addresses of all pages that name no entry or the like."""
    routes = [route for route in console.client.app.routes if "GET" in getattr(route, "methods", ())]
    paths = sorted(
        route.path for route in routes if not re.search(r"^/v1|^/static|\{|^/(live|ready)z|^/metrics", route.path)
    )
    assert len(paths) > 20
    return paths


def test_cross_tenant_addresses_of_pages_show_nothing_of_another_tenant(shared_plane: Control) -> None:
    theirs = shared_plane.token_of("editor", "team-b", ("b-*",))
    secret = {"applications": ["b-shop"], "reason": "secret of b", "period": "1d"}
    made = shared_plane.ok("POST", "/v1/entries", secret | {"networks": ["192.0.2.99"]}, token=theirs)
    shared_plane.ok("POST", "/v1/entries", secret | {"networks": ["192.0.2.98"], "list": "allow"}, token=theirs)
    [waiting] = shared_plane.ok("GET", "/v1/approvals", token=theirs)
    event = {"client": "192.0.2.99", "application": "b-shop", "path": "/secret of b", "decision": "deny"}
    shared_plane.ok("POST", "/v1/events", event | {"entry": made["id"]})
    wait_for(lambda: shared_plane.ok("GET", "/v1/events?application=b-shop")["items"], "the event is kept")
    console = Console(shared_plane, shared_plane.token_of("admin", "team-a", ("a-*",)))
    token = console.csrf
    entry, serial = made["id"], made["serial"]
    for path in (f"/entries/{entry}", f"/entries/{entry}/edit", f"/entries/{entry}/period",
                 f"/approvals/{waiting['id']}", "/map"):  # fmt: skip
        assert (path, console.get(path).status_code) == (path, 404)
    for path in (*addresses_of(console), "/lists?q=192.0.2.99", "/lists?at=2100-01-01T00:00:00Z",
                 f"/history?id={entry}", "/history?address=192.0.2.99", f"/events?entry={entry}",
                 "/events?address=192.0.2.99", "/explain?address=192.0.2.99", "/approvals?state=waiting",
                 f"/lists?done={made['layer']}.{serial}-{serial}", f"/spread?done={made['layer']}.{serial}-{serial}",
                 "/map/at?network=192.0.2.0/24", "/locked-out?networks=192.0.2.99", f"/find?q={entry}"):  # fmt: skip
        text = console.get(path).text
        for told in ("secret of b", "b-shop", "team-b", waiting["id"]):
            assert told not in text, path
        assert entry not in re.sub(rf"=\"?{entry}", "", text), path  # but for what was asked
    assert console.get(f"/find?q={entry}").headers["location"] == f"/lists?q={entry}"  # as one that there is not
    seen = {"csrf": token, "seen": "1"}
    for path, fields in (
        (f"/entries/{entry}/delete", seen), (f"/entries/{entry}/period", seen | {"period": "7d"}),
        ("/lists/delete", {"csrf": token, "only": f"{entry}.1"}),
        ("/lists/change", {"csrf": token, "pick": f"{entry}.1", "do": "delete"}),
        ("/undo", {"csrf": token, "done": f"{made['layer']}.{serial}-{serial}"}),
    ):  # fmt: skip
        console.post(path, fields)
    assert shared_plane.ok("GET", f"/v1/entries/{entry}")["version"] == 1


def test_cross_tenant_entries_about_ones_own_application_are_changed_by_nobody_else(shared_plane: Control) -> None:
    subjects = {"networks": ["192.0.2.96"], "applications": ["a-shop"], "period": "1d"}
    made = shared_plane.ok("POST", "/v1/entries", subjects)  # of the main tenant, which is not team-a
    console = Console(shared_plane, shared_plane.token_of("admin", "team-a", ("a-*",)))
    entry, token, done = made["id"], console.csrf, f"{made['layer']}.{made['serial']}-{made['serial']}"
    for path, fields in (
        (f"/entries/{entry}/delete", {"seen": "1"}), (f"/entries/{entry}/period", {"seen": "1", "period": "7d"}),
        ("/lists/delete", {"only": f"{entry}.1"}), ("/lists/change", {"pick": f"{entry}.1", "do": "delete"}),
        ("/lists/change", {"pick": f"{entry}.1", "do": "period:7d"}), ("/undo", {"done": done}),
    ):  # fmt: skip
        console.post(path, fields | {"csrf": token})
        assert (path, shared_plane.ok("GET", f"/v1/entries/{entry}")["version"]) == (path, 1)


def test_cross_tenant_names_of_entries_are_not_told_to_who_has_an_event_of_one(shared_plane: Control) -> None:
    theirs = shared_plane.token_of("editor", "team-b", ("b-*",))
    subjects = {"networks": ["192.0.2.97"], "applications": ["b-shop"], "period": "1d"}
    made = shared_plane.ok("POST", "/v1/entries", subjects, token=theirs)
    event = {"client": "203.0.113.99", "application": "a-shop", "decision": "deny", "entry": made["id"]}
    shared_plane.ok("POST", "/v1/events", event)
    wait_for(lambda: shared_plane.ok("GET", "/v1/events?application=a-shop")["items"], "the event is kept")
    console = Console(shared_plane, shared_plane.token_of("admin", "team-a", ("a-*",)))
    for path in ("/events", "/busiest"):
        text = console.get(path).text
        assert made["id"] in text  # which is in its own event
        assert "192.0.2.97" not in text


def test_cross_tenant_applications_are_not_shown_to_another_tenant(shared_plane: Control) -> None:
    shared_plane.ok("PUT", "/v1/applications/b-till", {"hosts": ["till.b.example"], "deny": {"body": "secret of b"}})
    console = Console(shared_plane, shared_plane.token_of("admin", "team-a", ("a-*",)))
    assert console.get("/applications/b-till").status_code == 404
    answer = console.post("/applications/b-till", {"csrf": console.csrf, "mode": "off"})
    assert (answer.status_code, "till.b.example" in answer.text) == (404, False)
    for path in ("/lists", "/add", "/explain", "/applications"):
        assert "b-till" not in console.get(path).text, path


def test_cross_tenant_settings_are_not_explained_to_another_tenant(shared_plane: Control) -> None:
    shared_plane.ok("PUT", "/v1/applications/b-till", {"deny": {"body": "secret of b"}})
    theirs = shared_plane.token_of("admin", "team-a", ("a-*",))
    asked = "address=192.0.2.99&application=b-till"
    assert shared_plane.ask("GET", f"/v1/explain?{asked}", token=theirs).status_code == 404
    assert shared_plane.ask("GET", "/v1/explain?address=192.0.2.99&application=a-1", token=theirs).status_code == 200
    assert Console(shared_plane, theirs).get(f"/explain?{asked}").status_code == 404


def test_undo_of_a_layer_that_is_not_there_is_told_and_no_fault(console: Console) -> None:
    assert console.post("/undo", {"csrf": console.csrf, "done": "none.1-2"}).status_code == 404


HOSTILE = {
    "script": "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">",
    "attribute": '" autofocus onfocus="document.title=\'owned\'" x="',
    "template": "{{ 7*7 }}{% raw %}",
    "turned": "bad\u202egnp.exe\u2066\u200b\u0000"[:-1],
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_content_shows_as_text(browser: Browser, shared: Running, kind: str) -> None:
    reason = HOSTILE[kind]
    address = f"198.51.100.{1 + [*HOSTILE].index(kind)}"
    entry = shared.ok("POST", "/v1/bans", {"address": address, "reason": reason})["id"]
    event = {"client": address, "application": reason[:60], "path": "/" + reason, "host": reason, "method": "GET",
             "attacks": [reason], "entry": entry, "decision": "deny"}  # fmt: skip
    shared.ok("POST", "/v1/events", event)
    with viewer(browser, shared.url, shared.token) as (page, faults):
        for path in (f"/lists?q={address}", f"/entries/{entry}", f"/entries/{entry}/edit", f"/history?id={entry}",
                     f"/explain?address={address}", f"/events?address={address}"):  # fmt: skip
            page.goto(path)
            page.wait_for_load_state("networkidle")
            assert "owned" not in page.title()
            text = page.locator("main").inner_text()
            assert not re.search("[\u200b-\u200f\u202a-\u202e\u2066-\u2069]", text)
        page.goto(f"/lists?q={address}")
        shown = page.locator("tbody tr").first.inner_text()
        expected = reason.replace("\u202e", "\\u202e").replace("\u2066", "\\u2066").replace("\u200b", "\\u200b")
        assert expected[:60] in shown
        page.goto(f"/entries/{entry}/edit")
        assert page.get_by_label("Reason").input_value() == reason
        assert faults == []


def test_hostile_content_of_64_kb_neither_breaks_nor_bloats_a_page(console: Console) -> None:
    huge = "A" * 60_000 + "<b>"
    for path in (f"/lists?q={huge}", f"/explain?address={huge}", f"/events?address={huge}", f"/history?actor={huge}",
                 f"/entries/{huge}", f"/find?q={huge}", f"/lists?done={huge}", f"/lists?after={huge}"):  # fmt: skip
        answer = console.get(path.replace("<b>", "%3Cb%3E"))
        assert answer.status_code in {200, 303, 400, 404, 422}, (path[:30], answer.status_code)
        assert "<b>" not in answer.text
    answer = console.post("/add", BAN | {"csrf": console.csrf, "reason": huge, "networks": huge})
    assert answer.status_code == 422
    assert "<b>" not in answer.text


@pytest.mark.parametrize("formula", ["=1+1", "+1", "-1", "@x", " =2", "\uff1d3"])
def test_a_reason_is_no_formula_in_the_exported_table(console: Console, shared_plane: Control, formula: str) -> None:
    shared_plane.ok("POST", "/v1/bans", {"address": f"203.0.113.{sum(map(ord, formula)) % 250}", "reason": formula})
    assert f",{formula}" not in console.get("/history.csv").text


def test_an_address_that_names_thousands_of_changes_asks_the_store_a_few_times(console: Console) -> None:
    asked: list[str] = []
    engine = console.plane.plane.store.engine

    def note(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        asked.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        assert console.get("/lists?done=" + ",".join(f"bans.{n}001-{n + 1}000" for n in range(1, 9))).status_code == 200
    finally:
        event.remove(engine, "before_cursor_execute", note)
    assert len(asked) < 100  # with those of the publisher beside


def test_a_preview_of_many_networks_does_not_hold_all_writers(shared_plane: Control) -> None:
    """A viewer's preview asked the store for each network, in the transaction of a writer: 2 to 4 s for 1,000."""
    viewer = shared_plane.token_of("viewer")
    networks = [f"10.{number // 250}.{number % 250}.1" for number in range(1500)]
    asked: list[str] = []
    engine = shared_plane.plane.store.engine

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        shown = shared_plane.ok("POST", "/v1/preview", {"networks": networks, "period": "1d"}, token=viewer)
    finally:
        event.remove(engine, "before_cursor_execute", note)
    assert shown["addresses"] == 1500
    assert len(asked) < 400


def test_an_address_puts_nothing_of_its_own_into_what_htmx_asks_for(console: Console, shared_plane: Control) -> None:
    made = shared_plane.ok("POST", "/v1/bans", {"address": "192.0.2.99"})
    done = f"bans.{made['serial']}-{made['serial']}"
    eight = ",".join([done] * 8)
    text = console.get(f"/lists?done={eight},,,,,%26evil=1%22%20hx-get=%22/sign-out").text
    asked = [value for value in re.findall(r'\shx-get="([^"]*)"', text) if "spread" in value]
    assert asked == [f"/spread?done={eight}"]
