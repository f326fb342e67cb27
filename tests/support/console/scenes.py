"""What pages look like when things are not as usual: mistakes, refusals, trouble, hostile texts, nothing there yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import httpx

from support.processes import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

    from support.control import Running

HOSTILE: Final = "<script>alert(1)</script> \u202egnihsihp\u202c 'quoted' \"twice\" &amp; " + "W" * 300
LONG: Final = "a-very-long-name-" + "x" * 44
TRIGGERS: Final = (
    {"name": "stopped-by-its-breaker", "kind": "rate", "where": {"path": "/storm"},
     "count": {"over": 1, "within": "1m"}, "then": {"list": "deny", "period": "1h"},
     "breaker": {"listings": 1, "within": "1m"}},
    {"name": "only-tries", "kind": "rate", "where": {"path": "/storm"}, "count": {"over": 1, "within": "1m"},
     "then": {"list": "deny", "period": "1h"}, "dry_run": True},
)  # fmt: skip
EMPTY: Final = (
    "/", "/lists", "/lists?list=allow", "/lists?only=exceptions", "/attention", "/approvals", "/events", "/history",
    "/triggers", "/feeds", "/notifications", "/publications", "/locked-out", "/map", "/difference",
)  # fmt: skip
RED: Final = {"publications": "/publications", "attention": "/attention", "overview": "/", "feeds": "/feeds"}
AWAY: Final = 75  # seconds after which a sidecar that does not ask is away
CLIENT: Final = "2001:db8:bad:cafe:1234:5678:9abc:def0"


def be_away(running: Running) -> None:
    """Be a sidecar that asks once, and then no more: after a minute it is away."""
    secret = running.ok("POST", "/v1/tokens", {"name": "edge", "role": "sidecar"})["secret"]
    headers = {"Authorization": f"Bearer {secret}", "Authz-Sidecar": "edge-frankfurt-1:4711"}
    with httpx.Client(base_url=running.url, headers=headers) as client:
        for layer in ("policy", "bans"):
            answer = client.get(f"/v1/layers/{layer}")
            client.get(f"/v1/layers/{layer}", headers={"If-None-Match": answer.headers["etag"]})


def trouble(running: Running) -> None:
    """Let a breaker stop a trigger, a dry run find somebody, and hostile texts be everywhere."""
    for trigger in TRIGGERS:
        running.ok("POST", "/v1/triggers", trigger)
    running.ok("PUT", f"/v1/applications/{LONG}", {"hosts": ["shop.example.com"]})
    running.ok("POST", "/v1/entries", {
        "list": "deny", "networks": ["203.0.113.77"], "reason": HOSTILE, "applications": [LONG], "period": "1h",
    })  # fmt: skip
    running.ok("POST", "/v1/tokens", {"name": "Wolfeschlegelsteinhausenbergerdorff " * 2, "role": "viewer"})
    lines: list[dict[str, Any]] = [
        {"client": f"203.0.113.{n % 5}", "path": "/storm", "method": "GET"} for n in range(20)
    ]
    lines += [{"client": CLIENT, "path": "/" + HOSTILE, "host": HOSTILE, "application": LONG, "method": "GET",
               "decision": "deny", "status": 403}]  # fmt: skip
    for line in lines:
        running.ok("POST", "/v1/events", line)
    wait_for(lambda: running.ok("GET", "/v1/triggers/only-tries")["newest_tried"], "the dry run has found somebody")


def unpublished(running: Running) -> str:
    """Take a database away: the first layer cannot be published. Return the page after a change."""
    (running.folder / "geo/iptoasn-country.mmdb").unlink()
    entry = {"list": "allow", "networks": ["192.0.2.200"], "period": "1d", "reason": "partners"}
    made = running.ok("POST", "/v1/entries?wait=published&timeout=8", entry)
    return f"/lists?done=policy.{made['serials']['policy']}-{made['serials']['policy']}"


def mistakes(page: Page) -> None:
    """Send a form with something wrong in three fields."""
    page.goto("/add")
    page.get_by_label("Addresses, networks, ranges").fill("300.1.2.3\n10.0.0.7/8")
    page.get_by_text("Other", exact=True).click()
    page.locator("#other").fill("2 hours")
    page.get_by_label("Applications").fill("no such name!")
    page.get_by_role("button", name="Add", exact=True).click()
    page.locator("#other-wrong").wait_for()


def overlapping(page: Page) -> None:
    """Write an entry that overlaps others, on the allow list."""
    page.goto("/add")
    page.get_by_text("Allow", exact=True).last.click()
    page.get_by_label("Addresses, networks, ranges").fill("203.0.113.0/24\n198.51.100.0/25")
    page.get_by_text("Overlaps").wait_for()


def range_written(page: Page) -> None:
    """Write a range, and see its networks."""
    page.goto("/add")
    page.get_by_text("Range", exact=True).click()
    page.locator("#from").fill("192.0.2.10")
    page.locator("#to").fill("192.0.2.77")
    page.locator("#range .chips").wait_for()


def picked(page: Page) -> None:
    """Pick two rows."""
    page.goto("/lists?list=deny")
    for number in (0, 1):
        page.locator("[name=pick]").nth(number).check()


def tried(page: Page) -> None:
    """Try a trigger on the last day."""
    page.goto("/triggers/new")
    page.get_by_label("Name", exact=True).fill("Login Guessing")
    page.get_by_label("What it counts").select_option("rate")
    page.get_by_label("More than").fill("2")
    page.get_by_label("Within").fill("12h")
    page.get_by_role("button", name="Try on the last 24 hours").click()
    page.locator(".wrong").first.wait_for()
    page.get_by_label("Name", exact=True).fill("guessing")
    page.get_by_role("button", name="Try on the last 24 hours").click()
    page.get_by_text("Would have listed").wait_for()


def account(page: Page) -> None:
    """Open the menu of the account, and on a phone that of the pages."""
    page.goto("/lists?list=gray")
    page.locator(".menu summary").click()


def menu(page: Page) -> None:
    """Open the help of the keyboard."""
    page.goto("/lists?list=allow")
    page.keyboard.press("?")
    page.locator("#help").wait_for()


SCENES: Final[dict[str, Callable[[Page], None]]] = {
    "mistakes": mistakes, "overlaps": overlapping, "range": range_written, "picked": picked, "tried": tried,
    "account": account, "keyboard": menu,
}  # fmt: skip
PATHS: Final = {
    "missing-page": "/nonsense", "missing-entry": "/entries/none", "map-of-a-list": "/map?list=deny",
    "triggers": "/triggers", "hostile-events": f"/events?address={CLIENT}", "hostile-list": "/lists?q=203.0.113.77",
    "hostile-history": "/history?address=203.0.113.77", "applications": "/applications", "people": "/people",
    "publications": "/publications", "attention": "/attention", "overview": "/", "dry-run": "/triggers/only-tries",
    "explained": "/explain?address=198.51.100.9", "allowed": "/explain?address=192.0.2.3&application=shop",
    "past": "/lists?at=2026-01-01T00:00:00Z", "wrong-time": "/history?since=yesterday&address=10.0.0.7/8",
}  # fmt: skip
