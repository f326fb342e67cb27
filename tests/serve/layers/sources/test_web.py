"""A layer whose file comes from a web server: conditional, held back, bounded, and never believed."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from support.servers.certificates import Authority
from support.servers.web_server import WebServer
from support.sidecar.running import ALLOWED, HTTP_ONLY, NEW_POLICY, run, running, until

from authz.errors import SnapshotRefused
from authz.serve.layers import fetched as fetched_module
from authz.serve.layers.config import LayerConfig
from authz.serve.layers.fetched import MAX_BACKOFF, Pace
from authz.serve.layers.web import WebSource

if TYPE_CHECKING:
    from pathlib import Path

    from support.publishing.publisher import Publisher

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def config(url: str, rest: str = "poll: 20ms") -> str:
    return f"layers: [{{name: policy, url: '{url}', trusted_keys: [keys/a.pub], {rest}}}]\n" + HTTP_ONLY


def source(url: str, **options: object) -> WebSource:
    return WebSource(LayerConfig(name="policy", url=url, trusted_keys=(), **options))  # type: ignore[arg-type]


def fetched(web: WebSource) -> bytes | None:
    with web.fetch() as path:
        return None if path is None else path.read_bytes()


def refusal(web: WebSource) -> str:
    with pytest.raises(SnapshotRefused) as caught, web.fetch():
        pass
    return f"{caught.value.code}: {caught.value.message.removeprefix(f'{web.name}: ')}"


def test_a_new_file_of_a_web_server_is_loaded_and_an_old_one_is_not_sent_again(publisher: Publisher) -> None:
    async def live() -> None:
        with WebServer(publisher.publish(serial=1).read_bytes()).running() as server:
            async with running(publisher.folder, config(server.url)) as started:
                assert started.serial == 1
                await until(lambda: len(server.requests) > 3)
                assert started.loads == {"ok": 1}
                assert server.requests[-1]["if-none-match"] == '"1"'
                server.put(publisher.publish(NEW_POLICY, serial=2).read_bytes())
                await until(lambda: started.serial == 2)
                assert (await started.ask(ALLOWED)).status == 403

    run(live())


def test_a_server_that_holds_its_answer_back_is_asked_once_for_each_change(publisher: Publisher) -> None:
    async def live() -> None:
        with WebServer(publisher.publish(serial=1).read_bytes()).running() as server:
            server.holds = True
            async with running(publisher.folder, config(server.url, "poll: 20ms, wait: 30s")) as started:
                await until(lambda: len(server.requests) == 2)
                assert "if-none-match" not in server.requests[0]
                assert server.requests[1]["prefer"] == "wait=30"
                for serial in (2, 3, 4):
                    server.put(publisher.publish(serial=serial).read_bytes())
                    await until(lambda: started.serial == serial)  # noqa: B023
                await until(lambda: len(server.requests) == 5)

    run(live())


def test_a_server_that_held_its_answer_back_is_asked_again_at_once_and_any_other_after_the_poll() -> None:
    with WebServer(b"one").running() as server:
        web = source(server.url, poll=3600.0, wait=60.0)
        assert fetched(web) == b"one"
        assert web._pace.next() > 1000.0
        server.holds = True
        threading.Timer(0.05, server.put, [b"two"]).start()
        assert fetched(web) == b"two"
        assert web._pace.next() == 0.0
        server.holds = False
        assert fetched(web) is None
        assert web._pace.next() > 1000.0
        server.holds, web._wait = True, 1.0
        assert fetched(web) is None  # after the second for which it was held
        assert web._pace.next() == 0.0


def test_a_server_that_says_it_held_its_answer_and_did_not_is_not_asked_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was asked again at once, each time with a new connection: a core of the sidecar's machine was its own."""
    monkeypatch.setattr(fetched_module, "MIN_HELD", 60.0)  # however long the machine takes for an answer
    pace = Pace(3600.0)
    pace.succeeded(held=True, in_vain=True)
    assert 0.5 <= pace.next() <= 1.0
    pace.succeeded(held=True)
    assert (pace.next(), pace.next(refused=True) >= 0.5) == (0.0, True)
    with WebServer(b"one").running() as server:
        web = source(server.url, poll=3600.0, wait=0.01)
        server.holds = True
        assert fetched(web) == b"one"
        assert fetched(web) is None
        assert web._pace.next() >= 0.5


@pytest.mark.parametrize("tag", ['"' + "x" * 5000 + '"', '"a\x01b"'])
def test_an_etag_that_no_server_would_take_back_is_not_sent(tag: str) -> None:
    """The next request was refused for good, also by a server that had come to itself."""
    with WebServer(b"one").running() as server:
        web = source(server.url)
        server.tag = tag
        assert fetched(web) == b"one"
        server.put(b"two")
        assert fetched(web) == b"two"
        assert "if-none-match" not in server.requests[-1]


def test_a_server_that_goes_and_comes_again_is_told_and_the_snapshot_serves_on(publisher: Publisher) -> None:
    async def live() -> None:
        server = WebServer(publisher.publish(serial=1).read_bytes())
        with server.running():
            async with running(publisher.folder, config(server.url)) as started:
                server.status = 503
                await until(lambda: "bad_answer" in started.loads)
                assert await started.readiness() == (200, ["bad_answer"])
                assert (await started.ask()).status == 200
                server.status = 0
                await until(lambda: started.sidecar.layers.policy.refusal is None)
                assert started.loads["ok"] == 1  # nothing was sent again
                assert {"bad_answer"} < {request.get("authz-refused") for request in server.requests}
                await until(lambda: "authz-refused" not in server.requests[-1])  # else it would be behind for hours

    run(live())


def test_an_etag_is_sent_back_and_forgotten_when_told() -> None:
    with WebServer(b"one").running() as server:
        web = source(server.url)
        assert [fetched(web), fetched(web)] == [b"one", None]
        web.forget()
        assert fetched(web) == b"one"
        server.put(b"two")
        assert fetched(web) == b"two"
        assert server.requests[0]["authz-sidecar"].startswith(f"{socket.gethostname()}:")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"status": 500}, "bad_answer: found the status 500, expected 200"),
        ({"content": None}, "bad_answer: found the status 404, expected 200"),
        ({"announced": 5}, "bad_answer: the answer ended 5 bytes early"),
        ({"content": b"x" * 101}, "too_large: found 101 bytes, expected at most 100"),
        ({"announced": 1000}, "too_large: found 1003 bytes, expected at most 100"),
        ({"status": 302, "location": "http://127.0.0.2/x"},
         "bad_answer: redirected to 'http://127.0.0.2/x', expected the same host"),
        ({"status": 302, "location": "file:///etc/passwd"},
         "bad_answer: redirected to 'file:///etc/passwd', expected the same host"),
        ({"status": 302, "location": "/again"}, "bad_answer: more than 5 redirects"),
    ],
)  # fmt: skip
def test_a_bad_answer_is_refused(change: dict[str, object], expected: str) -> None:
    with WebServer(b"one").running() as server:
        for name, value in change.items():
            setattr(server, name, value)
        assert refusal(source(server.url, max_size=100)) == expected


def test_a_server_that_is_not_there_or_speaks_no_http_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/x"
    assert refusal(source(url)) == "unreachable: Connection refused"
    with WebServer(b"one").running() as server:
        web = source(server.url.replace("http:", "https:"))
        assert refusal(web).startswith("unreachable: ")


def test_a_server_that_never_answers_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        web = source(f"http://127.0.0.1:{silent.getsockname()[1]}/x", timeout=0.05, wait=0.0)
        assert refusal(web) == "unreachable: timed out"


@pytest.mark.parametrize(
    ("head", "again", "expected"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n", "bad_answer: not HTTP: HTTPException"),
        (b"HTTP/1.1 200 OK\r\n", b"", "unreachable: "),
        (CHUNKED, b"1\r\nx\r\n",
         "bad_answer: found 10001 pieces of less than 1024 bytes, expected at most 10000"),
        (CHUNKED + b"worse\r\n", b"", "bad_answer: not HTTP: IncompleteRead"),
    ],
    ids=["100 Continue without end", "a byte of the head now and then", "a byte in each chunk", "no chunk"],
)  # fmt: skip
def test_an_answer_that_does_not_end_is_given_up(head: bytes, again: bytes, expected: str) -> None:
    """http.client passed over `100 Continue` for ever: a thread computed all the time, and nothing told of it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with contextlib.suppress(OSError), listener.accept()[0] as connection:
                connection.recv(1 << 16)
                connection.sendall(head)
                while True:
                    connection.sendall(again * 500 or b"X")
                    time.sleep(0 if again else 0.02)

        thread = threading.Thread(target=answer)
        thread.start()
        timeout = 0.2 if expected == "unreachable: " else 20.0  # short only where it is waited for
        said = refusal(source(f"http://127.0.0.1:{listener.getsockname()[1]}/a", wait=0.1, timeout=timeout))
        thread.join(10)
    assert said.startswith(expected)
    assert not thread.is_alive()


def test_what_is_trusted_is_read_again_only_where_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All authorities of the system were read for each question: 20 ms of CPU beside the decisions."""
    made: list[ssl.SSLContext] = []
    real = ssl.create_default_context

    def make(**options: Any) -> ssl.SSLContext:
        made.append(real(**options))
        return made[-1]

    monkeypatch.setattr(ssl, "create_default_context", make)
    authority = Authority(tmp_path, "own")
    web = source("https://127.0.0.1:9/a", ca=str(authority.path))
    assert web._context() is web._context()
    assert len(made) == 1
    before = web._context()
    authority.path.unlink()
    Authority(tmp_path, "own")
    assert web._context() is not before
    assert len(made) == 2


def test_certificates_are_checked_and_a_client_certificate_is_shown(tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    certificate, key = ours.issue("server", "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(ours.path)
    mine, my_key = ours.issue("client", "127.0.0.1")
    client = {"certificate": str(mine), "key": str(my_key)}
    token = tmp_path / "token"
    token.write_text("secret\n")
    with WebServer(b"one").running(context) as server:
        assert fetched(source(server.url, ca=str(ours.path), token=str(token), **client)) == b"one"
        assert server.requests[-1]["authorization"] == "Bearer secret"
        assert "certificate verify failed" in refusal(source(server.url, ca=str(theirs.path), **client))
        assert refusal(source(server.url, ca=str(ours.path))).startswith("unreachable: ")
        assert "certificate verify failed" in refusal(source(server.url, **client))


def test_a_token_that_could_be_no_header_is_not_sent(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_bytes(b"secret\r\nX-More: 1\n")
    with WebServer(b"one").running() as server:
        said = refusal(source(server.url, token=str(token)))
        assert said == f"unreachable: {token}: expected a token of printable ASCII"
        assert server.requests == []


def test_a_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with WebServer(b"by the proxy").running() as proxy:
        monkeypatch.setenv("http_proxy", f"http://user:pass%21@127.0.0.1:{proxy.port}")
        assert fetched(source("http://lists.example.com/x?y")) == b"by the proxy"
        assert proxy.requests[0]["path"] == "http://lists.example.com/x?y"
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert fetched(source(f"http://127.0.0.1:{proxy.port}/direct")) == b"by the proxy"
        assert proxy.requests[1]["path"] == "/direct"


def test_a_server_is_asked_less_and_less_often_while_it_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda _, most: most)
    pace = Pace(10.0)
    pace.succeeded(held=False)
    assert pace.next() == pytest.approx(11.0)
    waits = []
    for _ in range(8):
        pace.failed()
        waits.append(pace.next())
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, MAX_BACKOFF, MAX_BACKOFF]
    pace.succeeded(held=True)
    assert pace.next() == 0.0
