"""Who is told of changes: gathered, signed, sent once, and not lost by a kill -9."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import re
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from support.control import Clock, ControlProcess, control, init
from support.processes import wait_for

from authz.control.config import load_control_config
from authz.control.notify.outbox import count_waiting, due_messages, gather
from authz.control.notify.trial import try_channel
from authz.errors import AuthzError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.control import Control
    from support.servers.receiver import Receiver

SECRET = b"a secret of the test"
BAN = {"address": "203.0.113.9", "reason": "guesses"}


def channels(folder: Path, url: str, gather: str, topics: str = "[listed, entry]") -> str:
    (folder.parent / "hook.key").write_bytes(SECRET + b"\n")
    return (
        "notify:\n  channels:\n"
        f"    - {{name: ops, webhook: '{url}', secret_file: ../hook.key, gather: {gather}, topics: {topics}}}\n"
    )


@pytest.fixture
def told(tmp_path: Path, store_url: str, receiver: Receiver) -> Iterator[tuple[Control, Clock]]:
    """Give a control plane whose sender the test runs by hand."""
    clock = Clock()
    folder = tmp_path / "control"
    extra = channels(folder, receiver.url, "5m")
    with control(folder, store=store_url, extra=extra, clock=clock) as plane:
        plane.plane.sender.close()
        plane.plane.sender._end.clear()
        yield plane, clock


def waiting(plane: Control) -> int:
    with plane.plane.store.reading() as tx:
        return count_waiting(tx)


def test_what_waits_to_be_told_has_a_limit_and_says_how_much_was_dropped(
    told: tuple[Control, Clock], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("authz.control.notify.outbox.MAX_WAITING", 10)
    plane, clock = told
    for number in range(25):
        plane.ok("POST", "/v1/bans", {"address": f"203.0.113.{number}"})
    clock.now += 301
    plane.plane.sender.send_due()
    [message] = receiver.messages()
    assert message["count"] == 10
    assert waiting(plane) == 0
    dropped = [item for item in plane.ok("GET", "/v1/notifications")["items"] if item["state"] == "dropped"]
    assert [(item["count"], item["text"]) for item in dropped] == [(15, "15 notices were dropped: 10 wait already")]


def test_changes_of_five_minutes_are_one_message(told: tuple[Control, Clock], receiver: Receiver) -> None:
    plane, clock = told
    for number in range(37):
        plane.ok("POST", "/v1/bans", {"address": f"203.0.113.{number}"})
    plane.plane.sender.send_due()
    assert receiver.got == []
    clock.now += 301
    plane.plane.sender.send_due()
    plane.plane.sender.send_due()
    [message] = receiver.messages()
    assert (message["topic"], message["count"], message["text"]) == ("entry", 37, "37 entries added by admin")
    assert message["items"][0]["networks"] == ["203.0.113.0"]
    assert waiting(plane) == 0


def test_a_message_is_signed_with_the_channels_secret(told: tuple[Control, Clock], receiver: Receiver) -> None:
    plane, clock = told
    plane.ok("POST", "/v1/bans", BAN)
    clock.now += 301
    plane.plane.sender.send_due()
    [(headers, body)] = receiver.got
    seconds, _, given = headers["Authz-Signature"].removeprefix("t=").partition(",v1=")
    assert int(seconds) == int(clock.now)
    expected = hmac.new(SECRET, f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    assert hmac.compare_digest(given, expected)
    assert headers["Authz-Delivery"] == json.loads(body)["delivery"]


def test_a_message_is_what_the_page_shows_and_its_check_takes_it(
    told: tuple[Control, Clock], receiver: Receiver
) -> None:
    page = (Path(__file__).parents[3] / "docs" / "guides" / "notifications.md").read_text()
    plane, clock = told
    plane.ok("POST", "/v1/bans", BAN)
    clock.now += 301
    plane.plane.sender.send_due()
    [(headers, body)] = receiver.got
    shown = page.partition("    POST /authz\n")[2].partition("\n\n`items`")[0]
    for name in re.findall(r"^    ([A-Z][\w-]+):", shown, re.MULTILINE):
        assert name in headers
    sent = json.loads(body)
    item = re.findall(r'"(\w+)"', shown.partition('"items": [{')[2])
    assert sent["items"][0].keys() == set(item)
    assert sent.keys() == set(re.findall(r'"(\w+)":', shown))
    t, _, given = headers["Authz-Signature"].removeprefix("t=").partition(",v1=")
    code = "".join(re.findall(r"^    (expected = .*\n)|^    (hmac\.compare_digest.*?\n)", page, re.MULTILINE)[0])
    names = {"hmac": hmac, "hashlib": hashlib, "secret": SECRET, "t": t, "body": body, "given": given}
    exec(compile(code, "notifications.md", "exec"), names)  # our own page
    assert hmac.compare_digest(str(names["expected"]), given)


def test_what_is_not_taken_is_sent_again_later_under_the_same_id(
    told: tuple[Control, Clock], receiver: Receiver
) -> None:
    plane, clock = told
    plane.ok("POST", "/v1/bans", BAN)
    clock.now += 301
    receiver.status = 500
    for pause in (0, 1, 2, 4):
        clock.now += pause
        plane.plane.sender.send_due()
        plane.plane.sender.send_due()  # not before its time
    assert len(receiver.got) == 4
    clock.now += 8
    receiver.status = 200
    plane.plane.sender.send_due()
    assert len({message["delivery"] for message in receiver.messages()}) == 1
    assert waiting(plane) == 0


def test_what_nobody_takes_for_a_day_is_dropped(told: tuple[Control, Clock], receiver: Receiver) -> None:
    plane, clock = told
    receiver.status = 302
    plane.ok("POST", "/v1/bans", BAN)
    clock.now += 301
    plane.plane.sender.send_due()
    assert waiting(plane) == 1
    clock.now += 86401
    plane.plane.sender.send_due()
    assert (waiting(plane), len(receiver.got)) == (0, 2)


def test_a_change_that_is_refused_tells_nobody(told: tuple[Control, Clock]) -> None:
    plane, _ = told
    plane.ok("POST", "/v1/bans", BAN)
    assert plane.ask("POST", "/v1/bans", BAN).status_code == 409
    assert waiting(plane) == 1


def test_a_message_sent_before_a_crash_keeps_its_id(told: tuple[Control, Clock], receiver: Receiver) -> None:
    plane, clock = told
    plane.ok("POST", "/v1/bans", BAN)
    clock.now += 301
    with plane.plane.store.writing() as tx:
        gather(tx, plane.plane.config.notify, plane.plane.store.now())
    with plane.plane.store.reading() as tx:
        [before] = due_messages(tx, plane.plane.store.now())
    plane.ok("POST", "/v1/bans", {"address": "203.0.113.10"})  # goes into the next
    clock.now += 1
    plane.plane.sender.send_due()
    assert [message["delivery"] for message in receiver.messages()] == [before.message.delivery]
    assert receiver.messages()[0]["count"] == 1


def test_a_notification_survives_kill_9_before_it_is_sent(tmp_path: Path, receiver: Receiver) -> None:
    folder = tmp_path / "control"
    url, token = init(folder)
    with (folder / "control.yaml").open("a") as file:
        file.write(channels(folder, receiver.url, "1h"))
    process = ControlProcess(folder)
    try:
        answer = httpx.post(f"{url}/v1/bans", json=BAN, headers={"Authorization": f"Bearer {token}"}, timeout=30)
        assert answer.status_code == 201
        process.popen.kill()
        process.end()
        assert receiver.got == []
        with contextlib.closing(sqlite3.connect(folder / "control.sqlite")) as store, store:
            store.execute("UPDATE outbox SET next_try = 0")  # as if the hour were over
        process = ControlProcess(folder)
        wait_for(lambda: receiver.got)
    finally:
        process.end()
    [message] = receiver.messages()
    assert message["items"][0]["networks"] == ["203.0.113.9"]


def test_what_a_webhook_has_answered_200_is_not_sent_again_after_kill_9(tmp_path: Path, receiver: Receiver) -> None:
    folder = tmp_path / "control"
    url, token = init(folder)
    with (folder / "control.yaml").open("a") as file:
        file.write(channels(folder, receiver.url, "1s"))
    headers = {"Authorization": f"Bearer {token}"}
    process = ControlProcess(folder)
    try:
        httpx.post(f"{url}/v1/bans", json=BAN, headers=headers, timeout=30).raise_for_status()
        wait_for(lambda: [
            notification["state"]
            for notification in httpx.get(f"{url}/v1/notifications", headers=headers, timeout=30).json()["items"]
        ] == ["sent"])  # fmt: skip
        process.popen.kill()
        process.end()
        process = ControlProcess(folder)
        httpx.post(f"{url}/v1/bans", json=BAN | {"address": "203.0.113.10"}, headers=headers, timeout=30)
        wait_for(lambda: len(receiver.got) > 1)
    finally:
        process.end()
    first, second = receiver.messages()
    assert first["items"][0]["networks"] == ["203.0.113.9"]
    assert second["items"][0]["networks"] == ["203.0.113.10"]


def test_an_answer_that_the_store_could_not_note_at_once_is_not_sent_again(
    told: tuple[Control, Clock], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    from authz.control.model.problems import NotReady
    from authz.control.notify import sender

    def away(*_: object) -> None:
        raise NotReady("the store is away")

    plane, clock = told
    plane.ok("POST", "/v1/bans", BAN)
    clock.now += 301
    with monkeypatch.context() as broken:
        broken.setattr(sender, "taken", away)
        with pytest.raises(NotReady):
            plane.plane.sender.send_due()
    plane.plane.sender.send_due()
    assert (len(receiver.got), waiting(plane)) == (1, 0)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (("webhook: 'http", "webhook: 'file"), "notify.channels[0].webhook"),
        (("name: ops", "name: 'o s'"), "notify.channels[0].name"),
        (("[listed, entry]", "[all]"), "notify.channels[0].topics"),
    ],
)
def test_a_channel_that_cannot_be_is_named(tmp_path: Path, changed: tuple[str, str], expected: str) -> None:
    text = channels(tmp_path / "c", "http://127.0.0.1:1/hook", "1s").replace(*changed)
    with pytest.raises(AuthzError, match=re.escape(expected)), control(tmp_path / "c", extra=text):
        pass


def test_what_a_trigger_lists_is_told_of_together(tmp_path: Path, store_url: str, receiver: Receiver) -> None:
    clock, folder = Clock(), tmp_path / "control"
    folder.mkdir()
    trigger = "{name: flood, kind: rate, where: {path: /flood}, count: {over: 5, within: 30s}}"
    (folder / "triggers.yaml").write_text(f"triggers:\n  - {trigger}\n")
    extra = "triggers: triggers.yaml\n" + channels(folder, receiver.url, "5m", "[listed]")
    with control(folder, store=store_url, extra=extra, clock=clock) as plane:
        plane.plane.sender.close()
        plane.plane.sender._end.clear()
        events = [
            {"client": f"198.51.100.{client}", "application": "shop", "path": "/flood", "time": clock.now - 10 + number}
            for client in range(1, 4)
            for number in range(6)
        ]
        body = "\n".join(json.dumps(event) for event in events)
        answer = plane.client.post("/v1/events", content=body, headers={"Authorization": f"Bearer {plane.token}"})
        assert answer.status_code == 202
        wait_for(lambda: waiting(plane) == 3)
        plane.ok("POST", "/v1/bans", BAN)  # a topic that the channel does not have
        clock.now += 301
        plane.plane.sender.send_due()
    [message] = receiver.messages()
    assert message["text"] == "3 addresses listed by flood"
    assert {item["networks"][0] for item in message["items"]} == {f"198.51.100.{client}" for client in range(1, 4)}


def test_a_channel_can_be_tried(tmp_path: Path, receiver: Receiver) -> None:
    folder = tmp_path / "control"
    init(folder)
    with (folder / "control.yaml").open("a") as file:
        file.write(channels(folder, receiver.url, "5m"))
    notify = load_control_config(folder / "control.yaml", {}).notify
    assert try_channel(notify, "ops").startswith("ops: taken")
    assert receiver.messages()[0]["topic"] == "test"
    receiver.status = 403
    for name, why in (("ops", "answered 403"), ("other", "found no channel 'other', expected one of ops")):
        with pytest.raises(AuthzError, match=why):
            try_channel(notify, name)
