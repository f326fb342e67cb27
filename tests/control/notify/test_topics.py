"""What is told of besides lists: breakers, first hits, refused layers, stale sidecars, broken feeds; and when."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from support.control import Clock, Control, control, opened
from support.processes import PATIENCE, wait_for
from support.servers.web_server import WebServer

from authz.control.notify import first_hits
from authz.control.notify.template import MAX_TEXT, render
from authz.control.publish.order import Refused
from authz.control.store.published.publications import Sidecar, put_sidecar
from authz.errors import AuthzError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.servers.receiver import Receiver

    from authz.control.publish.publisher import Publisher

TRIGGERS = """\
triggers:
  - {name: flood, kind: rate, where: {path: /flood}, count: {over: 1, within: 30s}, breaker: {listings: 1, within: 1m}}
  - {name: watch, kind: rate, where: {path: /watch}, count: {over: 1, within: 30s}, then: {list: notify}}
"""


class Told:
    """A control plane whose sender the test runs by hand."""

    def __init__(self, plane: Control, clock: Clock, receiver: Receiver) -> None:
        self.plane = plane
        self.clock = clock
        self.receiver = receiver
        plane.plane.sender.close()
        plane.plane.sender._end.clear()

    def send(self, *events: dict[str, Any]) -> None:
        body = "\n".join(json.dumps({"application": "shop", "time": self.clock.now} | event) for event in events)
        self.plane.client.post("/v1/events", content=body, headers={"Authorization": f"Bearer {self.plane.token}"})
        wait_for(lambda: not self.plane.plane.intake.waiting)

    def messages(self, pause: float = 31.0) -> list[Any]:
        """Return what is told when the gathering time is over."""
        self.receiver.got.clear()
        self.clock.now += pause
        self.plane.plane.sender.send_due()
        return self.receiver.messages()

    def look(self) -> None:
        self.plane.plane.sender._watch.look_now(of_all=True)  # type: ignore[union-attr]


def told(folder: Path, receiver: Receiver, more: str = "", store: str = "sqlite:///control.sqlite") -> Iterator[Told]:
    clock = Clock()
    (folder / "control").mkdir()
    (folder / "control" / "triggers.yaml").write_text(TRIGGERS)
    (folder / "control" / "hook.key").write_text("a secret")
    extra = (
        "triggers: triggers.yaml\nnotify:\n  channels:\n"
        f"    - {{name: ops, webhook: '{receiver.url}', secret_file: hook.key{more}}}\n"
    )
    with control(folder / "control", store=store, extra=extra, clock=clock) as plane:
        yield Told(plane, clock, receiver)


@pytest.fixture
def ops(tmp_path: Path, receiver: Receiver, store_url: str) -> Iterator[Told]:
    yield from told(tmp_path, receiver, store=store_url)


def test_a_stopped_trigger_calls_a_person_once(ops: Told) -> None:
    for number in range(4):
        ops.send(*[{"client": f"203.0.113.{number}", "path": "/flood"}] * 2)
    topics = {message["topic"]: message for message in ops.messages()}
    assert topics["breaker"]["count"] == 1
    assert "the trigger flood was stopped" in topics["breaker"]["text"]
    assert topics["listed"]["count"] == 1


def test_a_trigger_that_only_tells_says_what_it_counted(ops: Told) -> None:
    ops.send(*[{"client": "203.0.113.9", "path": "/watch"}] * 2)
    [message] = ops.messages()
    assert (message["topic"], message["text"]) == ("told", "1 address noticed by watch")
    assert message["items"][0]["networks"] == ["203.0.113.9"]


def test_the_first_hit_of_a_warn_entry_is_told_of_once(ops: Told) -> None:
    entry = ops.plane.ok("POST", "/v1/entries", {"networks": ["198.51.100.0/24"], "action": "warn", "reason": "trial"})
    ops.messages()
    for client in ("198.51.100.7", "198.51.100.8"):
        ops.send({"client": client, "warnings": [entry["id"]]})
    [message] = ops.messages()
    assert (message["topic"], message["items"][0]["client"]) == ("warned", "198.51.100.7")
    assert message["items"][0]["reason"] == "trial"
    with opened(ops.plane.folder, ops.plane.token, clock=ops.clock) as again:
        restarted = Told(again, ops.clock, ops.receiver)
        restarted.send({"client": "198.51.100.9", "warnings": [entry["id"]]})
        assert restarted.messages() == []


def test_a_tenant_uses_up_no_first_hit_of_another(ops: Told) -> None:
    of_shop = ops.plane.ok("POST", "/v1/entries", {
        "networks": ["198.51.100.0/24"], "action": "warn", "applications": ["shop"],
    })["id"]  # fmt: skip
    of_all = ops.plane.ok("POST", "/v1/entries", {"networks": ["192.0.2.0/24"], "action": "warn"})["id"]
    theirs = ops.plane.token_of("source", "team-a", ("team-a-*",))
    ops.messages()
    forged = {"client": "203.0.113.66", "application": "team-a-web", "warnings": [of_shop, of_all]}
    ops.plane.client.post("/v1/events", content=json.dumps(forged), headers={"Authorization": f"Bearer {theirs}"})
    wait_for(lambda: not ops.plane.plane.intake.waiting)
    [message] = ops.messages()
    assert [(item["id"], item["applications"]) for item in message["items"]] == [(of_all, ["team-a-web"])]
    ops.send({"client": "198.51.100.7", "warnings": [of_shop, of_all]})
    [message] = ops.messages()
    assert {(item["id"], item["client"]) for item in message["items"]} == {
        (of_shop, "198.51.100.7"), (of_all, "198.51.100.7"),
    }  # fmt: skip


def test_ids_that_events_make_up_are_told_of_in_bounded_number(ops: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_hits, "MAX_UNKNOWN", 3)
    ops.send(*({"client": "198.51.100.7", "warnings": [f"made-up-{number}"]} for number in range(20)))
    [message] = ops.messages()
    assert message["count"] == 3


def test_hits_that_events_make_up_keep_the_counting_up_a_few_times_a_batch(
    ops: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    hits, looked = ops.plane.plane.intake._first_hits, list[str]()
    monkeypatch.setattr(hits, "_tell", lambda entry, _: looked.append(entry))
    ops.send(*({"client": "198.51.100.7", "warnings": [f"made-up-{n}-{m}" for m in range(16)]} for n in range(20)))
    assert len(looked) == len(set(looked)) == first_hits.MAX_NEW
    ops.send({"client": "198.51.100.7", "warnings": ["made-up-0-0", "one-more"]})
    assert looked[first_hits.MAX_NEW :] == ["one-more"]


def closed(ops: Told) -> Publisher:
    """Return the publisher, which does nothing any more, and leads: the other threads would find that it does not."""
    for rounds in ops.plane.plane.inputs:
        rounds.close(PATIENCE)
    publisher = ops.plane.plane.publisher
    publisher.close()
    publisher.leading = True
    return publisher


def test_a_refused_layer_is_told_of_and_that_it_is_over(ops: Told) -> None:
    [bans] = [layer for layer in closed(ops)._layers if layer.layer == "bans"]
    bans.problem = Refused(code="not_permitted", message="a-1: /expires: too long")
    ops.look()
    ops.look()
    [message] = ops.messages()
    assert message["text"] == "the layer bans is not signed: a-1: /expires: too long"
    bans.problem = None
    ops.look()
    [message] = ops.messages()
    assert (message["topic"], message["text"]) == (
        "refused", "over: the layer bans is not signed: a-1: /expires: too long",
    )  # fmt: skip


def test_a_sidecar_that_refuses_is_behind_or_gone_is_told_of(ops: Told) -> None:
    store, now = ops.plane.plane.store, ops.plane.plane.store.now()
    wait_for(lambda: ops.plane.plane.offers.get("bans") is not None)
    with store.writing() as tx:
        put_sidecar(tx, Sidecar("edge-1", "bans", 0, "bad_signature", now, now + 400_000_000))
        put_sidecar(tx, Sidecar("edge-2", "bans", 1, "", now, now))
    ops.clock.now += 400
    ops.look()
    ops.look()
    by_topic = {message["topic"]: message for message in ops.messages()}
    assert by_topic["refused"]["text"] == "the sidecar edge-1 refuses the layer bans: bad_signature"
    texts = [item["text"] for item in by_topic["stale"]["items"]]
    assert len(texts) == 2
    assert re.fullmatch(r"the sidecar edge-1 serves bans 0, \d+ is offered", texts[0])
    assert texts[1].startswith("the sidecar edge-2 was last seen at 2027")


def test_a_feed_that_shrank_is_told_of(ops: Told) -> None:
    [policy] = [layer for layer in closed(ops)._layers if layer.layer == "policy"]
    policy._warnings = ("tor.txt: broken, so its last good content of 2026 is kept: 90 % fewer",)
    ops.look()
    [message] = ops.messages()
    assert (message["topic"], "90 % fewer" in message["text"]) == ("feed", True)


def wait_until_warned(ops: Told) -> None:
    """Wait until the policy is published with the feed, which no entry names."""
    publisher = ops.plane.plane.publisher
    wait_for(lambda: any("no entry names" in warning for warning in publisher.warnings["policy"]), "it is published")


def test_a_fetched_feed_that_shrinks_is_told_of_once_and_when_it_is_whole_again(
    tmp_path: Path, receiver: Receiver
) -> None:
    whole = b"".join(b"198.51.100.%d\n" % number for number in range(40))
    for ops in told(tmp_path, receiver):
        rounds = ops.plane.plane.feeds
        for other in ops.plane.plane.inputs:
            other.close()
        with WebServer(whole).running() as web:
            feed = {"source": "bad", "path": "feeds/bad.txt", "url": web.url, "interval": "1h", "format": "plain"}
            ops.plane.ok("PUT", "/v1/policy", {"feeds": [feed]})
            heard: list[list[str]] = []
            warned: list[str] = []
            for content in (whole, whole[:50], whole[:45], whole):
                web.put(content)
                ops.clock.now += 3700
                rounds.round()
                wait_until_warned(ops)
                ops.look()
                texts = [
                    item["text"]
                    for message in ops.messages()
                    if message["topic"] == "feed"
                    for item in message["items"]
                ]
                heard.append([text for text in texts if "the feed feeds/" in text])
                warned += [text for text in texts if "no entry names" in text]
        assert warned == [
            "the layer policy: feeds[0].source: no entry names the source type 'bad': the feed does nothing"
        ]
        assert heard[0] == heard[2] == []
        assert "the feed feeds/bad.txt" in heard[1][0]
        assert "fewer" in heard[1][0]
        assert heard[3][0].startswith("over: the feed feeds/bad.txt")


def test_in_quiet_hours_only_what_is_urgent_is_told_and_the_rest_afterwards(tmp_path: Path, receiver: Receiver) -> None:
    # The clock stands at 2027-01-15T08:00:00Z: 09:00 in Berlin.
    more = ", quiet: {from: '08:30', to: '09:30', zone: Europe/Berlin}"
    for ops in told(tmp_path, receiver, more):
        ops.plane.ok("POST", "/v1/bans", {"address": "203.0.113.9"})
        for number in range(3):
            ops.send(*[{"client": f"198.51.100.{number}", "path": "/flood"}] * 2)
        assert [message["topic"] for message in ops.messages()] == ["breaker"]
        ops.plane.ok("POST", "/v1/bans", {"address": "203.0.113.10"})
        messages = {message["topic"]: message["count"] for message in ops.messages(1800)}
        assert messages == {"entry": 2, "listed": 1}


def test_a_channel_has_no_more_messages_an_hour_than_it_wants(tmp_path: Path, receiver: Receiver) -> None:
    for ops in told(tmp_path, receiver, ", gather: 1s, at_most: 2, topics: [entry]"):
        counts = []
        for number in range(5):
            ops.plane.ok("POST", "/v1/bans", {"address": f"203.0.113.{number}"})
            counts += [message["count"] for message in ops.messages(2)]
        assert counts == [1, 1]
        assert [message["count"] for message in ops.messages(3600)] == [3]


def test_a_template_says_it_in_other_words(tmp_path: Path, receiver: Receiver) -> None:
    more = ', topics: [entry], text: "{{ count }}x {{ items[0].networks[0] }}{% if nothing.at.all %}{% endif %}"'
    for ops in told(tmp_path, receiver, more):
        ops.plane.ok("POST", "/v1/bans", {"address": "203.0.113.9"})
        assert [message["text"] for message in ops.messages()] == ["1 entry added by admin"]  # it fails: the plain text
    (tmp_path / "b").mkdir()
    for ops in told(tmp_path / "b", receiver, more.replace("{% if nothing.at.all %}{% endif %}", "")):
        ops.plane.ok("POST", "/v1/bans", {"address": "203.0.113.9"})
        assert [message["text"] for message in ops.messages()] == ["1x 203.0.113.9"]


VALUES = {"text": "plain", "items": [], "count": 7}


@pytest.mark.parametrize("text", ["{{ ''.__class__.__mro__ }}", "{{ items.__init__.__globals__ }}"])
def test_a_template_stays_in_its_sandbox(text: str) -> None:
    said = render(text, VALUES)
    assert "class" not in said
    assert "globals" not in said


@pytest.mark.parametrize(
    "text",
    ["{{ 9**9**9**9 }}", "{{ 'x' * 10000000000 }}", "{{ '%9999999999d' % 1 }}", "{{ lipsum(n=9999999) }}",
     "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}", "{{ 1 // 0 }}"],
)  # fmt: skip
def test_a_template_that_would_use_up_the_machine_says_the_plain_text(text: str) -> None:
    assert render(text, VALUES) == "plain"


def test_a_template_calculates_and_is_cut_where_it_gets_too_long() -> None:
    assert render("{{ count * 2 }} {{ count % 2 }} {{ '%03d' % count }}", VALUES) == "14 1 007"
    endless = "{% for a in range(99999) %}{% for b in range(99999) %}long{% endfor %}{% endfor %}"
    assert len(render(endless, VALUES)) == MAX_TEXT


def test_a_channel_of_a_tenant_is_told_of_its_entries_only(tmp_path: Path, receiver: Receiver) -> None:
    for ops in told(tmp_path, receiver, ", tenant: team, topics: [entry]"):
        token = ops.plane.token_of("editor", "team", ("blog",))
        ops.plane.ok("POST", "/v1/bans", {"address": "203.0.113.9", "applications": ["shop"]})
        ops.plane.ok("POST", "/v1/bans", {"address": "203.0.113.10", "applications": ["blog"]}, token=token)
        [message] = ops.messages()
        assert [item["networks"] for item in message["items"]] == [["203.0.113.10"]]


def test_what_was_told_is_seen_with_its_state(tmp_path: Path, receiver: Receiver) -> None:
    for ops in told(tmp_path, receiver, ", topics: [entry]"):
        ops.plane.ok("POST", "/v1/bans", {"address": "203.0.113.9"})
        receiver.status = 500
        ops.messages()
        ask = ops.plane.ok
        [item] = ask("GET", "/v1/notifications")["items"]
        assert (item["state"], item["tries"], item["error"]) == ("waiting", 1, "the receiver answered 500")
        receiver.status = 200
        ops.messages()
        [item] = ask("GET", "/v1/notifications")["items"]
        assert (item["state"], item["text"]) == ("sent", "1 entry added by admin")
        [channel] = ask("GET", "/v1/notifications")["channels"]
        assert (channel["kind"], channel["messages"]) == ("webhook", {"sent": 1})
        metrics = ops.plane.ask("GET", "/metrics").text.splitlines()
        assert 'authz_control_notifications{channel="ops",state="sent"} 1.0' in metrics
        assert "authz_control_notifications_waiting 0.0" in metrics


@pytest.mark.parametrize(
    ("channel", "expected"),
    [
        ("{name: a}", "notify.channels[0]: found no receiver, expected one of the keys webhook"),
        (
            "{name: a, webhook: 'http://h/', splunk: 'http://h/', secret_file: x}",
            "found webhook and splunk, expected one of the keys webhook",
        ),
        ("{name: a, webhook: 'http://h/'}", "secret_file: missing, and webhook needs one"),
        ("{name: a, syslog: 'http://h/'}", "syslog: found 'http://h/', expected udp://HOST:514"),
        ("{name: a, elastic: 'http://h:9200/'}", "elastic: found 'http://h:9200/', expected https://HOST:9200/INDEX"),
        ("{name: a, syslog: 'udp://h', text: '{{ x'}", "text: found '{{ x', expected a template"),
        ("{name: a, syslog: 'udp://h', quiet: {from: '25:00', to: '07:00'}}", "quiet.from: found '25:00', expected a"),
        ("{name: a, syslog: 'udp://h', quiet: {from: '22:00', to: '07:00', zone: Mars}}", "quiet.zone: found 'Mars'"),
        ("{name: a, syslog: 'udp://h', apprise_schemes: [mmost]}", "expected at notify.apprise_schemes"),
    ],
)
def test_a_channel_that_cannot_be_is_named(tmp_path: Path, channel: str, expected: str) -> None:
    with (
        pytest.raises(AuthzError, match=re.escape(expected)),
        control(tmp_path / "c", extra=f"notify:\n  channels:\n    - {channel}\n"),
    ):
        pass


def test_a_message_that_makes_a_library_fail_keeps_no_other_channel_back(tmp_path: Path, receiver: Receiver) -> None:
    more = "}\n    - {name: aaa, splunk: 'http://127.0.0.1:9/x', secret_file: bad.key"
    for ops in told(tmp_path, receiver, more):
        (tmp_path / "control" / "bad.key").write_bytes(b"\xff\xfe\x00")  # no header can carry it
        ops.plane.ok("POST", "/v1/bans", {"address": "203.0.113.9"})
        assert [message["topic"] for message in ops.messages()] == ["entry"]
        items = ops.plane.ok("GET", "/v1/notifications?channel=aaa")["items"]
        assert [(item["state"], item["tries"]) for item in items] == [("waiting", 1)]
        assert "internal error" in items[0]["error"]
