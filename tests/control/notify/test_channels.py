"""Each channel against a receiver on loopback: what it is sent, and what counts as taken."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from support.processes import PATIENCE

from authz.control.model.problems import NotTaken
from authz.control.notify.channels import http
from authz.control.notify.channels.messengers import check_scheme
from authz.control.notify.channels.send import send
from authz.control.notify.channels.syslog import cef
from authz.control.notify.config import Channel
from authz.control.notify.message import make_message
from authz.control.notify.messenger_schemes import HOSTED, OWN
from authz.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from support.servers.receiver import Receiver

    from authz.control.notify.message import Message

ITEM: dict[str, Any] = {
    "time": "2026-12-01T00:00:00Z", "action": "add", "id": "a-1", "list": "deny", "networks": ["203.0.113.9"],
    "applications": ["shop"], "actor": "login", "tenant": "main", "reason": "login: 31 requests | a=b\\c\nx",
    "expires": "2026-12-01T01:00:00Z",
}  # fmt: skip


def message(many: int = 1) -> Message:
    items = [ITEM | {"networks": [f"203.0.113.{number}"]} for number in range(9, 9 + many)]
    return make_message("d-1", "listed", items, 1_790_000_000_000_000, most=500)


def test_splunk_gets_an_event_for_each_listing(tmp_path: Path, receiver: Receiver) -> None:
    (tmp_path / "token").write_text("b5c4\n")
    receiver.status = 200
    url = receiver.url.replace("/hook", "/services/collector/event")
    send(Channel(name="hec", splunk=url, secret_file=str(tmp_path / "token")), message(3), 0)
    [(headers, body)] = receiver.got
    assert (headers["Path"], headers["Authorization"]) == ("/services/collector/event", "Splunk b5c4")
    events = [json.loads(line) for line in body.splitlines()]
    assert [event["event"]["networks"] for event in events] == [["203.0.113.9"], ["203.0.113.10"], ["203.0.113.11"]]
    assert (events[0]["time"], events[0]["sourcetype"]) == (1796083200, "authz:listed")


def test_splunk_that_refuses_has_not_taken_it(tmp_path: Path, receiver: Receiver) -> None:
    (tmp_path / "token").write_text("wrong")
    receiver.status = 403
    with pytest.raises(NotTaken, match="answered 403"):
        send(Channel(name="hec", splunk=receiver.url, secret_file=str(tmp_path / "token")), message(), 0)


def test_elastic_gets_documents_of_ecs_with_ids_that_stay(tmp_path: Path, receiver: Receiver) -> None:
    (tmp_path / "key").write_text("abc")
    receiver.status, receiver.answer = (
        200,
        b'{"errors":false,"items":[{"create":{"status":201}},{"create":{"status":409}}]}',
    )
    channel = Channel(
        name="es", elastic=receiver.url.replace("/hook", "/authz-alerts"), secret_file=str(tmp_path / "key")
    )
    send(channel, message(2), 0)
    [(headers, body)] = receiver.got
    assert (headers["Path"], headers["Authorization"]) == ("/_bulk", "ApiKey abc")
    lines = [json.loads(line) for line in body.splitlines()]
    assert [line["create"]["_id"] for line in lines[::2]] == ["d-1-0", "d-1-1"]
    assert lines[0]["create"]["_index"] == "authz-alerts"
    document = lines[1]
    assert (document["@timestamp"], document["source"]["ip"]) == ("2026-12-01T00:00:00Z", "203.0.113.9")
    assert (document["event"]["kind"], document["event"]["action"], document["user"]["name"]) == (
        "alert", "listed.add", "login",
    )  # fmt: skip


@pytest.mark.parametrize(
    "answer", [b'{"errors":true,"items":[{"create":{"status":429}}]}', b"<html>", b'{"items":[7]}', b'{"items":[{}]}']
)
def test_elastic_that_keeps_no_document_has_not_taken_it(receiver: Receiver, answer: bytes) -> None:
    receiver.status, receiver.answer = 200, answer
    with pytest.raises(NotTaken):
        send(Channel(name="es", elastic=receiver.url), message(), 0)


HEAD = rb"<85>1 2026-12-01T00:00:00Z \S+ authz - listed - CEF:0\|authz\|control\|1\|listed\|"


def test_syslog_by_udp_gets_a_line_of_cef_for_each_listing() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)
        send(Channel(name="log", syslog=f"udp://127.0.0.1:{server.getsockname()[1]}"), message(2), 0)
        first, second = (server.recv(65536) for _ in range(2))
    assert re.match(HEAD, first)
    assert b" src=203.0.113.9 " in first
    assert b" src=203.0.113.10 " in second


def test_syslog_by_tcp_frames_by_octet_counts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        send(Channel(name="log", syslog=f"tcp://127.0.0.1:{server.getsockname()[1]}"), message(2), 0)
        connection, _ = server.accept()
        with connection:
            content = b"".join(iter(lambda: connection.recv(65536), b""))
    lines = []
    while content:
        length, _, content = content.partition(b" ")
        lines.append(content[: int(length)])
        content = content[int(length) :]
    assert len(lines) == 2
    assert all(re.match(HEAD, line) for line in lines)


def test_syslog_by_a_unix_socket(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "log"))
        server.settimeout(10)
        send(Channel(name="log", syslog=f"unix://{tmp_path}/log"), message(), 0)
        assert re.match(HEAD, server.recv(65536))
    with pytest.raises(NotTaken):
        send(Channel(name="log", syslog=f"unix://{tmp_path}/none"), message(), 0)


def test_what_clients_wrote_cannot_forge_a_field_or_a_line_of_cef() -> None:
    said = cef(message(), ITEM | {"reason": "x=1|src=192.0.2.1\n<85>1 forged\x00\u2028", "text": "a|b\\"})
    assert "\n" not in said
    assert "\u2028" in said or " " in said
    head, extension = said.split("|", 7)[:7], said.split("|")[-1]
    assert head[0] == "CEF:0"
    assert "reason=x\\=1|src\\=192.0.2.1 <85>1 forged" in said
    assert " src=192.0.2.1" not in extension


def test_a_messenger_on_an_own_host_gets_the_text(tmp_path: Path, receiver: Receiver) -> None:
    receiver.status = 200
    host = receiver.url.removeprefix("http://").removesuffix("/hook")
    (tmp_path / "urls").write_text(f"# ours\nmmost://{host}/3ccdd113474722377935511fc85d3dd4\n")
    channel = Channel(name="chat", apprise_file=str(tmp_path / "urls"), apprise_schemes=("mmost",))
    send(channel, message(2), 0)
    [(_, body)] = receiver.got
    assert "2 addresses listed by login" in json.loads(body)["text"]
    receiver.status = 500
    with pytest.raises(NotTaken, match="a messenger refused it"):
        send(channel, message(), 0)


@pytest.mark.parametrize(
    "scheme", ["json", "jsons", "xml", "xmls", "form", "forms", "syslog", "rsyslog", "file", "http", ""]
)
def test_schemes_that_reach_any_host_are_refused(tmp_path: Path, receiver: Receiver, scheme: str) -> None:
    host = receiver.url.removeprefix("http://")
    (tmp_path / "urls").write_text(f"{scheme}://{host}\n")
    for own in ((), tuple(sorted(OWN))):
        with pytest.raises(InputError, match="found the scheme"):
            send(Channel(name="x", apprise_file=str(tmp_path / "urls"), apprise_schemes=own), message(), 0)
    assert receiver.got == []


def test_messengers_on_own_hosts_need_to_be_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found the scheme 'mmost'"):
        check_scheme("mmost://127.0.0.1/token", "urls", ())
    check_scheme("mmost://127.0.0.1/token", "urls", ("mmost",))
    check_scheme("SLACK://a/b/c", "urls")
    assert HOSTED.isdisjoint(OWN)
    (tmp_path / "urls").write_text("# none\n")
    with pytest.raises(InputError, match="found 0 URLs"):
        send(Channel(name="x", apprise_file=str(tmp_path / "urls")), message(), 0)


def test_an_answer_that_never_ends_keeps_no_other_message_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("s")
    monkeypatch.setattr(http, "WHOLE", 0.3)
    asked, ended = threading.Event(), threading.Event()

    class Timer(threading.Timer):
        def run(self) -> None:
            asked.wait(PATIENCE)  # however long it takes to connect
            super().run()

    monkeypatch.setattr(threading, "Timer", Timer)

    def trickle(listening: socket.socket) -> None:
        taken, _ = listening.accept()
        with taken, contextlib.suppress(OSError):  # until the other side has gone
            taken.recv(1)
            asked.set()
            taken.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
            while not ended.wait(0.02):
                taken.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=trickle, args=(listening,))
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/hook"
        with pytest.raises(NotTaken):
            send(Channel(name="slow", webhook=url, secret_file=str(tmp_path / "secret")), message(), 0)
        ended.set()
        thread.join()
