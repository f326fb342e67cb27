"""The store owns the policy: feeds are fetched and host names resolved on a schedule, with last good copies."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from support.control import Clock, Control, control
from support.processes import wait_for
from support.servers.web_server import WebServer

from authz.control.store.ledger.changes import read_heads
from authz.control.store.published.inputs import list_inputs
from authz.publisher.feeds import hosts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FEED = b"\n".join(b"198.51.100.%d" % number for number in range(40)) + b"\n"


@pytest.fixture
def web() -> Iterator[WebServer]:
    with WebServer(FEED).running() as server:
        yield server


@contextmanager
def by_hand(plane: Control) -> Iterator[Control]:
    """Give the control plane with its rounds and publishing done by the test alone."""
    wait_for(lambda: plane.client.get("/readyz").status_code == 200)
    for rounds in plane.plane.inputs:
        rounds.close()
    yield plane


def with_feed(plane: Control, web: WebServer, **more: Any) -> None:
    feed = {"source": "malicious", "path": "feeds/bad.txt", "url": web.url, "interval": "1h", "format": "plain"} | more
    plane.ok("PUT", "/v1/policy", {"feeds": [feed]})
    plane.ok("POST", "/v1/entries", {"sources": ["malicious"], "list": "deny", "expires": "forever"})


def decision(plane: Control, address: str) -> str:
    return str(plane.ok("GET", f"/v1/explain?address={address}")["decision"])


def published(plane: Control) -> bool:
    layer = plane.plane.offers.get("policy")
    with plane.plane.store.reading() as tx:
        return layer is not None and layer.publication.serial >= read_heads(tx)["policy"].sequence


def test_a_feed_is_fetched_and_denies_without_anybody_doing_anything(plane: Control, web: WebServer) -> None:
    with_feed(plane, web)
    assert wait_for(lambda: decision(plane, "198.51.100.7") == "deny")
    assert decision(plane, "198.51.100.70") == "allow"
    (feed,) = plane.ok("GET", "/v1/feeds")
    assert (feed["path"], feed["entries"], feed["problem"]) == ("feeds/bad.txt", 40, "")


def test_a_feed_is_asked_for_again_after_its_interval_and_by_its_etag(tmp_path: Path, web: WebServer) -> None:
    clock = Clock()
    with control(tmp_path / "c", clock=clock) as started, by_hand(started) as plane:
        with_feed(plane, web)
        assert len(plane.plane.feeds.round()) == 1
        asked = len(web.requests)
        clock.now += 1800
        plane.plane.feeds.round()
        assert len(web.requests) == asked
        clock.now += 1801
        assert plane.plane.feeds.round() == []
        assert len(web.requests) == asked + 1
        assert web.requests[-1]["if-none-match"]


def test_half_a_feed_or_an_error_page_replaces_nothing_and_is_told(tmp_path: Path, web: WebServer) -> None:
    clock = Clock()
    with control(tmp_path / "c", clock=clock) as started, by_hand(started) as plane:
        with_feed(plane, web)
        plane.plane.feeds.round()
        for content, told in ((FEED[:50], "fewer"), (b"<html>Sorry</html>", "found"), (None, "404")):
            web.put(content)
            clock.now += 3700
            assert plane.plane.feeds.round() == []
            (feed,) = plane.ok("GET", "/v1/feeds")
            assert feed["entries"] == 40
            assert told in feed["problem"]
        assert wait_for(lambda: published(plane))
        assert decision(plane, "198.51.100.39") == "deny"
        web.put(FEED + b"198.51.100.99\n")
        clock.now += 3700
        assert plane.plane.feeds.round() == ["feeds/bad.txt has 41 entries"]
        assert wait_for(lambda: decision(plane, "198.51.100.99") == "deny")
        assert plane.ok("GET", "/v1/feeds")[0]["problem"] == ""


def test_a_feed_that_cannot_be_fetched_keeps_no_other_change_from_being_published(plane: Control) -> None:
    feed = {"source": "malicious", "path": "feeds/none.txt", "url": "http://127.0.0.1:9/none.txt"}
    plane.ok("PUT", "/v1/policy", {"feeds": [feed]})
    plane.ok("POST", "/v1/entries", {"sources": ["malicious"], "expires": "forever"})
    made = plane.ok("POST", "/v1/entries?wait=published&timeout=30",
                    {"list": "allow", "networks": ["192.0.2.1"], "expires": "forever"})  # fmt: skip
    assert made["published"] is True
    assert wait_for(lambda: plane.ok("GET", "/v1/feeds")[0]["problem"])
    assert plane.ok("GET", "/v1/feeds")[0]["changed"] is None


def test_the_next_leader_has_the_copies_of_the_one_before(tmp_path: Path, web: WebServer) -> None:
    with control(tmp_path / "c") as started, by_hand(started) as plane:
        with_feed(plane, web)
        plane.plane.feeds.round()
        copy = plane.folder / "feeds" / "bad.txt"
        assert copy.read_bytes() == FEED
        for path in (copy, copy.with_name("bad.txt.fetch.json")):
            path.unlink()
        web.put(None)
        plane.plane.feeds.prepare()
        assert copy.read_bytes() == FEED
        with plane.plane.store.reading() as tx:
            assert [input_.entries for input_ in list_inputs(tx)] == [40]


@pytest.mark.parametrize("path", ["../outside.txt", "/tmp/outside.txt", "feeds/../../outside.txt"])
def test_a_fetched_feed_is_written_below_the_folder_only(plane: Control, path: str) -> None:
    feed = {"source": "malicious", "path": path, "url": "http://127.0.0.1:9/x.txt"}
    answer = plane.ask("PUT", "/v1/policy", {"feeds": [feed]})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/feeds/0/path")


@pytest.mark.parametrize("settings", [
    {"feeds": [{"source": "secret", "path": "/etc/passwd"}]},
    {"feeds": [{"source": "secret", "path": "keys/control.pem"}]},
    {"feeds": [{"source": "secret", "path": "feeds/../control.yaml"}]},
    {"feeds": [{"source": "secret", "path": "feeds/link"}]},
    {"feeds": [{"source": "secret", "path": "feeds"}]},
    {"geo": {"country": "/etc/passwd"}},
    {"geo": {"asn": ["geo/asn.csv", "../x.csv"]}},
])  # fmt: skip
def test_a_policy_by_api_names_no_other_file_of_the_machine(plane: Control, settings: dict[str, Any]) -> None:
    (plane.folder / "feeds").mkdir(exist_ok=True)
    (plane.folder / "feeds" / "link").symlink_to("/etc/passwd")
    answer = plane.ask("PUT", "/v1/policy", settings)
    assert (answer.status_code, "policy_files" in answer.text) == (422, True)
    assert plane.ok("GET", "/v1/policy") == {}


@pytest.mark.parametrize("path", ["control.yaml", "state/signer.policy.json", "state/hosts.json", "control.sqlite"])
def test_a_fetched_feed_takes_the_place_of_no_file_of_the_control_plane(
    plane: Control, web: WebServer, path: str
) -> None:
    answer = plane.ask("PUT", "/v1/policy", {"feeds": [{"source": "malicious", "path": path, "url": web.url}]})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/feeds/0/path")


def test_what_an_import_named_may_stay_but_is_not_fetched_to(tmp_path: Path) -> None:
    with control(tmp_path / "c", extra="policy_files: [feeds, lists]\n") as plane:
        settings = {"feeds": [{"source": "own", "path": "lists/own.txt"}]}
        (plane.folder / "lists").mkdir()
        (plane.folder / "lists" / "own.txt").write_text("203.0.113.9\n")
        plane.ok("PUT", "/v1/policy", settings)
        plane.plane.config = msgspec.structs.replace(plane.plane.config, policy_files=("feeds",))
        plane.ok("PUT", "/v1/policy", settings | {"protected": ["192.0.2.0/24"]})
        settings["feeds"][0]["url"] = "http://127.0.0.1:9/own.txt"
        assert plane.ask("PUT", "/v1/policy", settings).status_code == 422


@pytest.mark.parametrize(("settings", "pointer"), [
    ({"geo": {"country": "geo/missing.mmdb"}}, "/geo/country"),
    ({"geo": {"country": ["geo/whole.csv", "geo/broken.mmdb"]}}, "/geo/country/1"),
    ({"geo": {"asn": "geo/broken.mmdb"}}, "/geo/asn"),
    ({"feeds": [{"source": "own", "path": "feeds/missing.txt"}]}, "/feeds/0/path"),
])  # fmt: skip
def test_a_file_that_cannot_be_read_is_refused_by_who_names_it_and_keeps_nothing_unpublished(
    plane: Control, settings: dict[str, Any], pointer: str
) -> None:
    (plane.folder / "geo").mkdir()
    (plane.folder / "geo" / "whole.csv").write_text("start,end,country\n198.51.100.0,198.51.100.127,CH\n")
    (plane.folder / "geo" / "broken.mmdb").write_bytes(b"\0" * 100)
    answer = plane.ask("PUT", "/v1/policy", settings)
    assert (answer.status_code, answer.json()["code"]) == (422, "unreadable"), answer.text
    [mistake] = answer.json()["errors"]
    assert mistake["pointer"] == pointer
    assert str(plane.folder) not in answer.text
    assert plane.ok("GET", "/v1/policy") == {}


@pytest.mark.parametrize("entry", [{"list": "allow"}, {"list": "gray"}, {"action": "warn"}, {}])
def test_an_entry_whose_database_is_gone_is_refused_on_whatever_list(plane: Control, entry: dict[str, str]) -> None:
    (plane.folder / "geo").mkdir()
    database = plane.folder / "geo" / "country.csv"
    database.write_text("start,end,country\n198.51.100.0,198.51.100.127,CH\n")
    plane.ok("PUT", "/v1/policy", {"geo": {"country": "geo/country.csv"}})
    plane.ok("PUT", "/v1/policy", {"geo": {"country": "geo/country.csv"}, "protected": ["192.0.2.1"]})
    database.unlink()
    answer = plane.ask("POST", "/v1/entries", {"countries": ["CH"], **entry})
    assert (answer.status_code, answer.json()["code"]) == (422, "unresolvable"), answer.text
    assert "geo/country.csv" in answer.text


@pytest.mark.parametrize(("feed", "missing"), [
    ({"source": "malicious", "url": "http://127.0.0.1:9/x.txt"}, "path"), ({"path": "feeds/x.txt"}, "source"),
])  # fmt: skip
def test_a_feed_without_a_path_is_refused_and_does_not_stop_the_publishing(
    plane: Control, feed: dict[str, str], missing: str
) -> None:
    answer = plane.ask("PUT", "/v1/policy", {"feeds": [feed]})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, f"/feeds/0/{missing}")


class Names:
    """A name server. answers: by name; a name without one is not known."""

    def __init__(self) -> None:
        self.answers: dict[str, list[str]] = {}

    def ask(self, name: str) -> list[str]:
        if name not in self.answers:
            raise OSError(f"unknown: {name}")
        return self.answers[name]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    names = Names()
    real = hosts.resolve_hosts
    monkeypatch.setattr(
        "authz.control.publish.inputs.copies.resolve_hosts",
        lambda wanted, options, **more: real(wanted, options, ask=names.ask, **more),
    )
    return names


def test_host_names_are_asked_for_again_and_the_last_good_answer_outlives_the_name_server(
    tmp_path: Path, names: Names
) -> None:
    clock = Clock()
    names.answers["vpn.example.com"] = ["192.0.2.1"]
    with control(tmp_path / "c", clock=clock, extra="hosts: 5m\n") as started, by_hand(started) as plane:
        body = {"list": "deny", "hosts": ["vpn.example.com"], "expires": "forever"}
        made = plane.ok("POST", "/v1/entries?wait=published&timeout=30", body)
        assert made["published"] is True
        assert decision(plane, "192.0.2.1") == "deny"
        names.answers["vpn.example.com"] = ["192.0.2.2"]
        clock.now += 301
        assert plane.plane.feeds.round() == ["vpn.example.com has other addresses"]
        assert wait_for(lambda: decision(plane, "192.0.2.2") == "deny")
        names.answers.clear()
        clock.now += 301
        assert plane.plane.feeds.round() == []
        plane.ok("POST", "/v1/entries?wait=published&timeout=30",
                 {"list": "allow", "networks": ["192.0.2.9"], "expires": "forever"})  # fmt: skip
        assert decision(plane, "192.0.2.2") == "deny"
