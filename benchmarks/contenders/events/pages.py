"""The pages of the console over very many events and entries: how long each takes, as a browser would ask for it.

    python -m benchmarks.contenders.events.pages --keep FOLDER [--stores postgresql sqlite] [--rounds 20] [--json FILE]
                                                 [--plans FILE]

FOLDER: as `benchmarks.contenders.events.filled` makes it. A real `authz control serve` publishes the entries; then
every page is asked for in turn over one kept connection, from the request to the last byte. The first time is told
apart: then the store reads from its disk. Pages that took longer than LIMIT are asked for once more with PostgreSQL
explaining what it does: `--plans` keeps that.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote

import httpx
from sqlalchemy import text

from authz.control.store.events.writing import DAY
from authz.control.store.ledger.changes import read_heads
from authz.times import format_moment
from benchmarks.contenders.events.filled import CLIENTS, STORES, client_key, fill, opened, size_of
from benchmarks.load.control.stored_bans import Fill, number_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from authz.control.store.database import Store
    from benchmarks.contenders.events.filled import Filled, Wanted

LIMIT: Final = 100.0  # milliseconds that a page may take
PATIENCE: Final = 600.0  # seconds until a million entries are published
_SETTINGS: Final = """\
rate: 1000000
events: 365d
"""
_TRIGGER: Final = {
    "name": "login-guessing", "kind": "brute_force", "where": {"path": "/login", "method": "POST"},
    "count": {"over": "30", "within": "30s"}, "then": {"list": "deny", "period": "1h"},
}  # fmt: skip
_EXPLAIN: Final = (
    "session_preload_libraries = 'auto_explain'",
    "auto_explain.log_min_duration = '10ms'",
    "auto_explain.log_analyze = on",
    "auto_explain.log_buffers = on",
)


class Page(NamedTuple):
    """A page. form: what is posted; None: it is asked for by GET."""

    path: str
    form: dict[str, str] | None = None


def pages_of(wanted: Wanted, newest: int) -> dict[str, Page]:
    """Return every page of the console, those whose cost could grow with the store in all their ways.

    newest: the number of the newest change of a ban.
    """
    busy = _client(0)
    banned = Fill(wanted.entries).client(wanted.entries // 2)
    paths = {
        "overview": "/",
        "overview: denied most": "/busiest",
        "attention": "/attention",
        "attention: the count": "/attention/count",
        "approvals": "/approvals",
        "locked out": "/locked-out",
        "locked out: a network /16": f"/locked-out?networks={banned.rsplit('.', 2)[0]}.0.0/16",
        "map": "/map?layer=policy",
        "map: of the bans": "/map?layer=bans",
        "map: a /8 of the bans": "/map?layer=bans&of=33",
        "map: the picture": "/map/picture/bans",
        "map: what is there": "/map/at?network=33.7.0.0/16",
        "triggers": "/triggers",
        "triggers: new": "/triggers/new",
        "triggers: one": "/triggers/login-guessing",
        "feeds": "/feeds",
        "notifications": "/notifications",
        "applications": "/applications",
        "applications: one": "/applications/app-3",
        "publications": "/publications",
        "people": "/people",
        "sign on": "/sign-in",
    } | _of_entries(wanted, banned, newest) | _of_events(wanted, busy) | _of_changes(wanted, banned)  # fmt: skip
    pages = {name: Page(path) for name, path in paths.items()}
    for name, network in (("an address", busy), ("a network /24", busy.rsplit(".", 1)[0] + ".0/24")):
        form = {"list": "deny", "networks": network, "period": "1d", "reason": "a try"}
        pages[f"add: preview of {name}"] = Page("/add/preview", form)
    return pages


def _of_entries(wanted: Wanted, banned: str, newest: int) -> dict[str, str]:
    """Return the paths of lists, entries and what explains them."""
    hour, ban = DAY // 24, number_of(0)
    return {
        "lists": "/lists",
        "lists: deny": "/lists?list=deny",
        **{f"lists: by {sort}": f"/lists?sort={sort}" for sort in ("changed", "ends", "-ends", "list", "subject",
           "-subject", "reason", "author", "applications")},
        "lists: an address": f"/lists?q={banned}",
        "lists: a network /16": f"/lists?q={banned.rsplit('.', 2)[0]}.0.0/16",
        "lists: a text that all have": "/lists?q=scraping",
        "lists: a text that none has": "/lists?q=nothing%20like%20it",
        "lists: an author": "/lists?author=generator",
        "lists: an author of none": "/lists?author=nobody",
        "lists: a source of none": "/lists?source=nobody",
        "lists: an application": "/lists?application=app-3",
        "lists: exceptions": "/lists?only=exceptions",
        "lists: ends within a week": "/lists?ends=week",
        "lists: an hour ago": f"/lists?at={_moment(wanted.end + hour // 2)}",
        "entry": f"/entries/{ban}",
        "entry: edit": f"/entries/{ban}/edit",
        "entry: period": f"/entries/{ban}/period",
        "entry: how far it has come": f"/spread?done=bans.{newest}-{newest}",
        "add": "/add",
        "add: a range": "/ranges?from=203.0.113.1&to=203.0.114.77",
        "explain": "/explain",
        "explain: an address": f"/explain?address={banned}&application=app-3",
        "explain: an hour ago": f"/explain?address={banned}&application=app-3&at={_moment(wanted.end - hour)}",
        "find: an address": f"/find?q={banned}",
    }  # fmt: skip


def _of_events(wanted: Wanted, busy: str) -> dict[str, str]:
    """Return the paths of events; `busy` is the client with the most."""
    rare, ban = _client(CLIENTS - 7), number_of(0)
    return {
        "events": "/events",
        "events: live": "/events?live=yes",
        "events: how sidecars send them": "/events/setup",
        "events: a busy address": f"/events?address={busy}",
        "events: an address of few": f"/events?address={rare}",
        "events: an address of none": "/events?address=203.0.113.9",
        "events: a busy network": f"/events?address={busy.rsplit('.', 1)[0]}.0/24",
        "events: all of IPv4": "/events?address=0.0.0.0/0",
        "events: an entry": f"/events?entry={ban}",
        "events: an application": "/events?application=app-3",
        "events: an application of none": "/events?application=nobody",
        "events: denied": "/events?decision=deny",
        "events: a status of none": "/events?status=418",
        "events: a country": "/events?country=DE",
        "events: a reason": "/events?reason=blocklist",
        "events: two hours": f"/events?{_two_hours(wanted)}",
    }  # fmt: skip


def _of_changes(wanted: Wanted, banned: str) -> dict[str, str]:
    """Return the paths of changes and of what they made."""
    return {
        "history": "/history",
        "history: an address": f"/history?address={banned}",
        "history: a network /16": f"/history?address={banned.rsplit('.', 2)[0]}.0.0/16",
        "history: an actor": "/history?actor=generator",
        "history: an actor of none": "/history?actor=nobody",
        "history: two hours": f"/history?{_two_hours(wanted)}",
        "difference": "/difference",
        "difference: two hours": f"/difference?{_two_hours(wanted)}",
    }  # fmt: skip


def _two_hours(wanted: Wanted) -> str:
    hour = DAY // 24
    return f"since={_moment(wanted.end - 3 * hour)}&until={_moment(wanted.end - hour)}"


def _client(number: int) -> str:
    return ".".join(map(str, client_key(number)[12:]))


def _moment(micros: int) -> str:
    return quote(format_moment(micros / 1e6))


class Browser:
    """Somebody who has signed on, over one kept connection."""

    def __init__(self, url: str, token: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=PATIENCE, follow_redirects=False)
        self._client.post("/sign-in", data={"token": token, "to": "/add"})  # the answer's cookie is kept
        self._csrf = _found(r'name="csrf" value="([^"]+)"', self._client.get("/add").text)

    def ask(self, page: Page) -> tuple[httpx.Response, float]:
        """Return what a page answers, and in how many milliseconds. Raises RuntimeError where it is none."""
        begun = time.perf_counter()
        if page.form is None:
            answer = self._client.get(page.path)
        else:
            answer = self._client.post(page.path, data=page.form | {"csrf": self._csrf})
        taken = (time.perf_counter() - begun) * 1000
        if answer.status_code not in {httpx.codes.OK, httpx.codes.SEE_OTHER}:
            raise RuntimeError(f"{page.path}: {answer.status_code}: {answer.text[:500]}")
        return answer, taken

    def close(self) -> None:
        """End."""
        self._client.close()


def _found(pattern: str, content: str) -> str:
    match = re.search(pattern, content)
    if match is None:
        raise RuntimeError(f"found no '{pattern}' in:\n{content[:1000]}")
    return match[1]


def with_following(browser: Browser, pages: dict[str, Page]) -> dict[str, Page]:
    """Return the pages and, of lists, events and history, what their first page goes on with."""
    more = {}
    for name in ("lists", "lists: by subject", "events", "events: a country", "events: a busy address", "history"):
        link = re.search(r'href="(/(?:lists|events|history)\?[^"]*after=[^"]+)"', browser.ask(pages[name])[0].text)
        if link:
            more[f"{name}: the next page"] = Page(link[1].replace("&amp;", "&"))
    return pages | more


def measure(browser: Browser, pages: dict[str, Page], rounds: int) -> dict[str, dict[str, Any]]:
    """Ask for every page in turn, so often, and return milliseconds by page."""
    times: dict[str, list[float]] = {name: [] for name in pages}
    sizes = {}
    for _ in range(rounds + 1):
        for name, page in pages.items():
            answer, taken = browser.ask(page)
            times[name].append(taken)
            sizes[name] = len(answer.content)
    return {
        name: {
            "path": pages[name].path, "bytes": sizes[name], "first_ms": round(first, 1),
            "median_ms": round(statistics.median(rest), 1), "slowest_ms": round(max(rest), 1),
        }
        for name, (first, *rest) in times.items()
    }  # fmt: skip


@contextlib.contextmanager
def served(filled: Filled) -> Iterator[Browser]:
    """Give a browser before a control plane over a store, as soon as everything is published."""
    from benchmarks.load.control.control_plane import ControlPlane  # noqa: PLC0415  # once `opened` has said where support is

    config = filled.folder / "control.yaml"
    lines = [line for line in config.read_text().splitlines() if not line.startswith("store:")]
    if "rate: 1000000" not in lines:
        lines += _SETTINGS.splitlines()
    config.write_text("\n".join([*lines, f"store: {filled.database}", ""]))
    url = "http://" + _found(r'listen: "([^"]+)"', config.read_text())
    token = (filled.folder / "token").read_text()
    with ControlPlane(filled.folder, url) as plane:
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=PATIENCE) as api:
            if api.get("/v1/triggers/login-guessing").status_code == httpx.codes.NOT_FOUND:
                api.post("/v1/triggers", json=_TRIGGER).raise_for_status()
            for number in range(20):
                api.put(f"/v1/applications/app-{number}", json={}).raise_for_status()
            end = time.monotonic() + PATIENCE
            while api.get("/readyz").status_code != httpx.codes.OK:
                plane.check()
                if time.monotonic() > end:
                    raise RuntimeError(f"nothing is published: {plane.output[-2000:]}")
                time.sleep(0.5)
        browser = Browser(url, token)
        try:
            yield browser
        finally:
            browser.close()


def explained(filled: Filled, pages: dict[str, Page], log: Path) -> str:
    """Return what PostgreSQL does for pages: its plans, with times."""
    _explain(filled.store, on=True)
    plans = []
    try:
        with served(filled) as browser:
            for name, page in pages.items():
                start = log.stat().st_size
                taken = browser.ask(page)[1]
                time.sleep(0.2)
                said = log.read_bytes()[start:].decode(errors="replace")
                plans.append(f"== {name}: {page.path}: {taken:.1f} ms\n{said}")
    finally:
        _explain(filled.store, on=False)
    return "\n".join(plans)


def _explain(store: Store, *, on: bool) -> None:
    with store.writing() as tx:
        for setting in _EXPLAIN:
            name = setting.partition(" = ")[0]
            tx.execute(text(f"ALTER DATABASE bench {'SET ' + setting if on else 'RESET ' + name}"))


def one_store(folder: Path, name: str, rounds: int, plans: Path | None) -> dict[str, Any]:
    """Ask for the pages over one store."""
    log = folder / f"{name}.log"
    with opened(folder, name, 20_000_000, 1_000_000, log=log) as filled:
        if not fill(filled, 0.0):
            raise SystemExit(f"{folder}/{name}: is not filled: run benchmarks.contenders.events.filled first")
        with filled.store.reading() as tx:
            newest = read_heads(tx)["bans"].sequence
        with served(filled) as browser:
            pages = with_following(browser, pages_of(filled.wanted, newest))
            figures = measure(browser, pages, rounds)
        slow = [name for name, figure in figures.items() if figure["slowest_ms"] > LIMIT]
        if plans is not None and filled.store.is_postgresql and slow:
            plans.write_text(explained(filled, {name: pages[name] for name in slow}, log))
        return {
            "events": filled.wanted.events, "entries": filled.wanted.entries, "bytes": size_of(filled.store),
            "rounds": rounds, f"slower than {LIMIT:.0f} ms": slow, "pages": figures,
        }  # fmt: skip


def main() -> None:
    """Measure, and print JSON."""
    options = argparse.ArgumentParser()
    options.add_argument("--keep", type=Path, required=True, help="a folder with stores that are filled")
    options.add_argument("--stores", nargs="+", default=STORES, choices=STORES)
    options.add_argument("--rounds", type=int, default=20)
    options.add_argument("--json", type=Path)
    options.add_argument("--plans", type=Path)
    given = options.parse_args()
    figures = {}
    for name in given.stores:
        figures[name] = one_store(given.keep.resolve(), name, given.rounds, given.plans)
        content = json.dumps(figures, indent=2)
        if given.json:
            given.json.write_text(content + "\n")
        sys.stdout.write(content + "\n")


if __name__ == "__main__":
    main()
