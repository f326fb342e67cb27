"""`authz feeds fetch`, against a web server on this machine: what is good replaces the copy, and nothing else does."""

from __future__ import annotations

import gzip
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from support.suite.commands import Commands, Ran

from authz.errors import InputError
from authz.publisher.feeds.fetch.download import DownloadLimits, Validators, download, make_client
from authz.publisher.feeds.fetch.fetch import Fetched, WantedFeed, fetch_feeds
from authz.publisher.feeds.fetch.presets import PRESETS
from authz.publisher.feeds.fetch.redirects import Target, public, redirected
from authz.publisher.policy.fetching import feeds_to_fetch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = 1_790_000_000


class Web:
    """A web server: `pages` by path, each (status, headers, body). asked: the headers of every request by path."""

    def __init__(self) -> None:
        self.pages: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.asked: dict[str, list[dict[str, str]]] = {}
        self.url = ""

    def put(self, path: str, body: str | bytes, status: int = 200, **headers: str) -> str:
        content = body.encode() if isinstance(body, str) else body
        self.pages[path] = (status, {name.replace("_", "-"): value for name, value in headers.items()}, content)
        return self.url + path


@contextmanager
def serving(web: Web) -> Iterator[Web]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            web.asked.setdefault(self.path, []).append({name.lower(): value for name, value in self.headers.items()})
            status, headers, body = web.pages.get(self.path, (404, {}, b"not here"))
            if status == 200 and headers.get("etag") and self.headers.get("if-none-match") == headers["etag"]:
                status, body = 304, b""
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if "content-length" not in headers:
                self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serving(Web()) as server:
        yield server


def lines(count: int) -> str:
    return "".join(f"5.0.{number // 256}.{number % 256}\n" for number in range(count))


def fetch(feed: WantedFeed, now: float = NOW, limits: DownloadLimits = DownloadLimits()) -> Fetched:  # noqa: B008
    with make_client(limits) as client:
        (fetched,) = fetch_feeds([feed], client, now=now, limits=limits)
    return fetched


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return tmp_path / "feeds" / "bad.txt"


def test_a_new_feed_is_fetched_into_a_folder_that_is_made(web: Web, copy: Path) -> None:
    url = web.put("/bad.txt", lines(10))
    assert fetch(WantedFeed(url, copy)) == Fetched(copy, "new", 10, NOW)
    assert copy.read_text() == lines(10)
    assert copy.stat().st_mode & 0o777 == 0o644
    assert web.asked["/bad.txt"][0]["user-agent"].startswith("authz/")
    assert sorted(path.name for path in copy.parent.iterdir()) == ["bad.txt", "bad.txt.fetch.json"]


def test_a_feed_is_asked_for_with_what_the_server_gave_and_unchanged_costs_nothing(web: Web, copy: Path) -> None:
    changed = "Sat, 28 Nov 2026 00:00:00 GMT"
    feed = WantedFeed(web.put("/bad.txt", lines(10), etag='"one"', last_modified=changed), copy)
    fetch(feed)
    assert fetch(feed, NOW + 5) == Fetched(copy, "unchanged", 10, NOW)
    asked = web.asked["/bad.txt"][1]
    assert (asked["if-none-match"], asked["if-modified-since"]) == ('"one"', changed)
    web.put("/bad.txt", lines(11), etag='"two"')
    assert fetch(feed, NOW + 9) == Fetched(copy, "new", 11, NOW + 9)


def test_the_same_content_without_validators_is_unchanged(web: Web, copy: Path) -> None:
    feed = WantedFeed(web.put("/bad.txt", lines(3)), copy)
    fetch(feed)
    assert fetch(feed, NOW + 60) == Fetched(copy, "unchanged", 3, NOW)


def test_a_copy_that_is_gone_or_of_another_address_is_fetched_whole(web: Web, copy: Path) -> None:
    feed = WantedFeed(web.put("/a", lines(3), etag='"a"'), copy)
    fetch(feed)
    copy.unlink()
    assert fetch(feed).outcome == "new"
    other = WantedFeed(web.put("/b", lines(4), etag='"a"'), copy)
    assert fetch(other) == Fetched(copy, "new", 4, NOW)


def test_a_fresh_copy_is_not_asked_for(web: Web, copy: Path) -> None:
    feed = WantedFeed(web.put("/bad.txt", lines(3)), copy, interval=100)
    fetch(feed)
    assert fetch(feed, NOW + 99) == Fetched(copy, "fresh", 3, NOW)
    assert fetch(feed, NOW + 100).outcome == "unchanged"
    assert len(web.asked["/bad.txt"]) == 2


def test_a_copy_that_the_server_says_is_unchanged_is_fresh_again(web: Web, copy: Path) -> None:
    feed = WantedFeed(web.put("/bad.txt", lines(3), etag='"one"'), copy, interval=100)
    assert [fetch(feed, NOW + later).outcome for later in (0, 100, 150)] == ["new", "unchanged", "fresh"]


def test_a_page_that_links_to_a_feed_is_no_validator_of_it(web: Web, copy: Path) -> None:
    for day in (1, 2):  # the second day's file has the ETag that the first one's had
        web.put(f"/ranges_{day}.txt", lines(day + 5), etag='"same"')
    page = web.put("/page", f"{web.url}/ranges_1.txt")
    link = re.escape(web.url) + r"/ranges_\d\.txt"
    assert fetch(WantedFeed(page, copy, link=link)).entries == 6
    web.put("/page", f"{web.url}/ranges_2.txt")
    assert fetch(WantedFeed(page, copy, link=link)).entries == 7


def test_packed_content_is_read_by_what_it_is(web: Web, copy: Path) -> None:
    packed = gzip.compress(lines(10).encode())
    assert fetch(WantedFeed(web.put("/a.gz", packed), copy)).entries == 10
    assert fetch(WantedFeed(web.put("/a.txt", packed, content_encoding="gzip"), copy.with_name("b"))).entries == 10


@pytest.mark.parametrize(
    ("page", "problem"),
    [
        ((404, {}, b"gone"), "found status 404, expected 200"),
        ((500, {}, b""), "found status 500, expected 200"),
        ((200, {}, b"<!DOCTYPE html><p>Too many requests"), "not recognised: the first line is '<!DOCTYPE html>"),
        ((200, {}, b""), "found 0 entries, and 10 in the last build"),
        ((200, {}, lines(4).encode()), "found 4 entries, and 10 in the last build: 60 % fewer, expected at most 50 %"),
        ((200, {"content-length": "9999"}, lines(10).encode()), "cannot be fetched: "),
        ((200, {"content-encoding": "gzip"}, b"no gzip"), "cannot be fetched: "),
        ((302, {"location": "ftp://127.0.0.1/x"}, b""), "found a redirect to ftp://127.0.0.1/x, expected"),
        ((200, {}, b"PK\x03\x04 zip"), "found a zip archive, expected UTF-8 text"),
        ((200, {}, bytes(300_000)), "found more than 200,000 bytes, expected at most that many"),
    ],
    ids=["404", "500", "page", "empty", "shrunk", "cut", "no gzip", "redirect", "zip", "large"],
)  # fmt: skip
def test_what_is_wrong_replaces_nothing_and_is_told(
    web: Web, copy: Path, page: tuple[int, dict[str, str], bytes], problem: str
) -> None:
    feed = WantedFeed(web.put("/bad.txt", lines(10), etag='"one"'), copy)
    fetch(feed)
    state = copy.with_name("bad.txt.fetch.json").read_bytes()
    web.pages["/bad.txt"] = page
    limits = DownloadLimits(size=200_000)
    if "content-length" in page[1]:
        limits = limits._replace(silence=2.0)  # the rest never comes
    fetched = fetch(feed, NOW + 50, limits)
    assert fetched[:4] == (copy, "kept", 10, NOW)
    assert problem in fetched.problem
    assert fetched.problem.startswith(f"{web.url}/bad.txt: ")
    assert copy.read_text() == lines(10)
    assert copy.with_name("bad.txt.fetch.json").read_bytes() == state
    assert len(list(copy.parent.iterdir())) == 2


def test_a_feed_that_was_never_fetched_is_missing(web: Web, copy: Path) -> None:
    fetched = fetch(WantedFeed(f"{web.url}/nothing", copy))
    assert (fetched.outcome, fetched.entries, fetched.changed) == ("missing", 0, None)
    assert not copy.exists()


def test_a_copy_that_somebody_else_brought_is_compared_and_kept(web: Web, copy: Path) -> None:
    copy.parent.mkdir()
    copy.write_text(lines(10))
    fetched = fetch(WantedFeed(web.put("/bad.txt", lines(2)), copy))
    assert (fetched.outcome, fetched.entries) == ("kept", 10)
    assert copy.read_text() == lines(10)


def test_a_server_that_is_down_does_not_keep_the_next_feed_waiting(web: Web, copy: Path) -> None:
    down = WantedFeed("http://127.0.0.1:1/x", copy)
    good = WantedFeed(web.put("/good", lines(2)), copy.with_name("good.txt"))
    with make_client() as client:
        outcomes = [result.outcome for result in fetch_feeds([down, good], client, now=NOW)]
    assert outcomes == ["missing", "new"]


def test_a_bomb_is_given_up_at_the_cap(web: Web, copy: Path) -> None:
    bomb = gzip.compress(bytes(1 << 24))
    fetched = fetch(
        WantedFeed(web.put("/bomb", bomb, content_encoding="gzip"), copy), limits=DownloadLimits(size=1 << 20)
    )
    assert "found more than 1,048,576 bytes" in fetched.problem


def test_redirects_are_followed_and_not_for_ever(web: Web, copy: Path) -> None:
    web.put("/end", lines(2))
    start = web.put("/start", "", 302, location="/end")
    assert fetch(WantedFeed(start, copy)).entries == 2
    loop = web.put("/loop", "", 302, location="/loop")
    assert "found more than 5 redirects, expected fewer" in fetch(WantedFeed(loop, copy.with_name("x"))).problem


def test_a_redirect_away_from_https_is_refused() -> None:
    assert redirected(Target("https://a/x"), "/y") == Target("https://a/y")
    for location in ("http://a/x", "http://93.184.215.14/y", "ftp://a/x"):
        with pytest.raises(InputError, match="expected"):
            redirected(Target("https://a/x"), location)


@pytest.mark.parametrize(
    "where", ["169.254.169.254", "10.0.0.8", "[::1]", "[fd00::1]", "[::ffff:10.0.0.1]", "224.0.0.1"]
)
def test_a_feed_that_redirects_into_our_own_network_is_refused(web: Web, copy: Path, where: str) -> None:
    start = web.put("/start", "", 302, location=f"http://{where}/latest/meta-data")
    problem = fetch(WantedFeed(start, copy)).problem
    assert f"found a redirect to http://{where.strip('[]')}" in problem
    assert "expected the same host or public addresses" in problem


def test_a_feed_that_redirects_to_another_port_of_this_machine_asks_nobody_there(web: Web, copy: Path) -> None:
    inner = Web()
    with serving(inner):
        secret = inner.put("/secret", lines(3))
        for location in (secret, secret.replace("127.0.0.1", "localhost")):
            assert (
                "expected the same host" in fetch(WantedFeed(web.put("/out", "", 302, location=location), copy)).problem
            )
    assert not inner.asked


def test_a_name_that_means_another_address_after_the_check_is_not_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("https_proxy", raising=False)
    answers = iter([[(2, 1, 6, "", ("93.184.215.14", 443))], [(2, 1, 6, "", ("127.0.0.1", 443))]])
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: next(answers))
    target = redirected(Target("https://a/x"), "https://cdn.example/y?z=1#f")
    url, headers, extensions = target.request()
    assert url == "https://93.184.215.14/y?z=1"
    assert (headers, extensions) == ({"host": "cdn.example"}, {"sni_hostname": "cdn.example"})
    assert redirected(target, "/z").pinned == "93.184.215.14"  # the same host: not resolved again
    with pytest.raises(InputError, match=r"127\.0\.0\.1"):
        redirected(target, "https://other.example/")


def test_a_page_is_searched_for_the_link_to_the_feed(web: Web, copy: Path) -> None:
    web.put("/download/ranges_20261128.txt", lines(7))
    page = web.put("/page.html", f'<a href="{web.url}/download/ranges_20261128.txt">Download</a>')
    link = re.escape(f"{web.url}/download/") + r"ranges_\d{8}\.txt"
    assert fetch(WantedFeed(page, copy, link=link)).entries == 7
    web.put("/page.html", "moved")
    assert "found no link such as" in fetch(WantedFeed(page, copy, link=link)).problem


def test_secrets_of_an_address_are_in_no_error_and_no_state(web: Web, copy: Path) -> None:
    secret = web.url.replace("http://", "http://user:s3cret@") + "/list?key=s3cret"
    assert public(secret) == f"{web.url}/list"
    assert "s3cret" not in fetch(WantedFeed(secret, copy)).problem
    web.put("/list?key=s3cret", lines(2))
    assert fetch(WantedFeed(secret, copy)).outcome == "new"
    assert "s3cret" not in copy.with_name("bad.txt.fetch.json").read_text()


def test_validators_of_a_hostile_server_are_not_kept(web: Web, tmp_path: Path) -> None:
    url = web.put("/a", lines(1), etag='"' + "x" * 600 + '"')
    with make_client() as client, (tmp_path / "f").open("wb") as file:
        assert download(client, url, Validators(), file) == Validators("", "")


# The command.

POLICY = """\
version: 1
entries: [{list: deny, sources: [malicious, tor]}]
feeds:
- {source: malicious, path: bad.txt, url: "%(url)s/bad.txt", interval: 1h}
- {preset: tor, url: "%(url)s/tor"}
- {source: malicious, path: own.txt}
"""


@pytest.fixture
def authz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    return Commands(tmp_path, monkeypatch)


def test_the_command_fetches_every_feed_that_has_an_address(web: Web, authz: Commands, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY % {"url": web.url})
    web.put("/bad.txt", lines(3))
    web.put("/tor", "5.1.0.1\n")
    assert authz("feeds", "fetch", "policy.yaml") == Ran(
        0, "bad.txt: new, 3 entries\nfeeds/tor.txt: new, 1 entry\n2 feeds", ""
    )
    assert (tmp_path / "feeds/tor.txt").read_text() == "5.1.0.1\n"
    web.put("/bad.txt", "")
    again = authz("feeds", "fetch", "policy.yaml")  # both are fresh
    assert again.status == 0
    assert "bad.txt: fresh, so not asked for, 3 entries, of " in again.out
    forced = authz("feeds", "fetch", "policy.yaml", "--force", "--json")
    assert forced.status == 1
    first, second = json.loads(forced.out)["feeds"]
    assert (first["outcome"], first["entries"], second["outcome"]) == ("kept", 3, "unchanged")
    assert "found 0 entries, and 3 in the last build" in first["problem"]


def test_a_policy_with_mistakes_fetches_nothing(authz: Commands, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("version: 1\nfeeds: [{preset: torr}, {source: x, path: y, url: ftp://z}]\n")
    ran = authz("feeds", "fetch", "policy.yaml")
    assert ran.status == 2
    assert f"policy.yaml:2: feeds[0].preset: found 'torr', expected one of {', '.join(PRESETS)}" in ran.err
    assert "feeds[1].url: found 'ftp://z', expected an address such as https://example.com/list.txt" in ran.err


def test_one_path_has_one_address(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    feeds = "- {source: a, path: x, url: 'http://a/1', where: {b: c}}\n- {source: b, path: x, url: 'http://a/%s'}\n"
    policy.write_text(f"version: 1\nfeeds:\n{feeds % 1}")
    assert [wanted.options.where for wanted in feeds_to_fetch(policy)] == [{}]
    policy.write_text("version: 1\nfeeds: [{preset: ipsum}]\n")
    assert [wanted.options.min_count for wanted in feeds_to_fetch(policy)] == [0]  # the whole file is compared
    policy.write_text(f"version: 1\nfeeds:\n{feeds % 2}")
    with pytest.raises(InputError, match="found two addresses for the path 'x', expected one"):
        feeds_to_fetch(policy)


def test_presets_are_shown(authz: Commands) -> None:
    out = authz.real("feeds", "presets").out
    assert "tor: gives tor\n  https://check.torproject.org/torbulkexitlist\n" in out
    assert set(authz("feeds", "presets", "--json").json()) == set(PRESETS)


def test_a_fetch_takes_no_longer_than_its_total(web: Web, copy: Path) -> None:
    fetched = fetch(WantedFeed(web.put("/a", lines(100)), copy), limits=DownloadLimits(total=-1))
    assert "not complete after -1 seconds" in fetched.problem
