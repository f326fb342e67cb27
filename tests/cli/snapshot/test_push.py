"""`authz snapshot push`: to a web server and to an object store, never over a newer serial."""

from __future__ import annotations

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from support.publishing.publisher import Publisher
from support.servers.raw_server import RawServer, answer
from support.sidecar.running import NEW_POLICY
from support.suite.commands import Commands

from authz.errors import InputError
from authz.publisher import push as pushing
from authz.publisher.bans.build import build_bans_layer
from authz.publisher.push import place_of, push

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Server(ThreadingHTTPServer):
    """A web server that keeps one file and knows the conditions of RFC 9110, 13."""

    content: bytes | None = None
    tags = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/lists.snapshot"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: Any) -> None:
        pass

    def _tag(self) -> str | None:
        content = self.server.content
        return None if content is None else f'"{hashlib.sha256(content).hexdigest()}"'

    def do_GET(self) -> None:
        content = self.server.content
        self.send_response(404 if content is None else 200)
        self.send_header("Content-Length", str(len(content or b"")))
        if content is not None and self.server.tags:
            self.send_header("ETag", self._tag() or "")
        self.end_headers()
        self.wfile.write(content or b"")

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        allowed = (
            self._tag() is None if self.headers["If-None-Match"] == "*" else self.headers["If-Match"] == self._tag()
        )
        if allowed:
            self.server.content = body
        self.send_response(204 if allowed else 412)
        self.end_headers()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def files(tmp_path: Path) -> dict[int, bytes]:
    """Return snapshots by serial."""
    publisher = Publisher(tmp_path)
    return {serial: publisher.publish(serial=serial).read_bytes() for serial in (7, 8)}


def test_a_file_is_put_where_nothing_is_and_over_an_older_serial(server: Server, files: dict[int, bytes]) -> None:
    assert push(files[7], server.url) is None
    assert server.content == files[7]
    before = push(files[8], server.url)
    assert before is not None
    assert before.serial == 7
    assert server.content == files[8]


def test_an_older_serial_is_never_put_over_a_newer(server: Server, files: dict[int, bytes]) -> None:
    server.content = files[8]
    with pytest.raises(InputError, match="has serial 8, found 7, expected a serial above it"):
        push(files[7], server.url)
    assert server.content == files[8]


def test_what_is_there_already_is_left(server: Server, files: dict[int, bytes]) -> None:
    server.content = files[8]
    before = push(files[8], server.url)
    assert before is not None
    assert before[:2] == (8, f'"{hashlib.sha256(files[8]).hexdigest()}"')


def test_another_snapshot_with_the_same_serial_is_not_taken_for_the_same(server: Server, tmp_path: Path) -> None:
    """It said "is there already" of what was not there."""
    publisher = Publisher(tmp_path)
    server.content = before = publisher.publish(serial=7).read_bytes()
    other = publisher.publish(NEW_POLICY, serial=7).read_bytes()
    with pytest.raises(InputError, match="has another snapshot with the same serial 7"):
        push(other, server.url)
    assert server.content == before


def test_the_snapshot_of_another_layer_is_not_replaced(server: Server, files: dict[int, bytes], tmp_path: Path) -> None:
    server.content = files[8]
    (tmp_path / "other").mkdir()
    bans = build_bans_layer([], layer="bans", serial=9, created=0, signers=[Publisher(tmp_path / "other").signer()])
    with pytest.raises(InputError, match="has a snapshot of the layer 'policy', and the file is one of 'bans'"):
        push(bans, server.url)
    assert server.content == files[8]


def test_of_two_that_push_at_once_the_slower_is_told(server: Server, files: dict[int, bytes]) -> None:
    server.content = files[7]
    place = place_of(server.url)
    before = place.look()
    server.content = files[8]
    with pytest.raises(InputError, match="was changed by somebody else just now"):
        place.put(files[7], before)
    server.content = files[8]
    with pytest.raises(InputError, match="was changed by somebody else just now"):
        place.put(files[7], None)
    assert server.content == files[8]


def test_a_server_without_etags_is_not_written_to(server: Server, files: dict[int, bytes]) -> None:
    server.content, server.tags = files[7], False
    with pytest.raises(InputError, match="found no strong ETag"):
        push(files[8], server.url)
    assert server.content == files[7]


def test_what_is_not_a_snapshot_is_not_overwritten(server: Server, files: dict[int, bytes]) -> None:
    server.content = b"<html>" * 100
    with pytest.raises(InputError, match="has something that is not a snapshot"):
        push(files[8], server.url)


def test_errors_repeat_no_password(files: dict[int, bytes]) -> None:
    with pytest.raises(InputError) as error:
        push(files[7], "http://user:secret@127.0.0.1:1/lists.snapshot")
    assert error.value.message.startswith("http://127.0.0.1:1/lists.snapshot: cannot be reached")
    for url in ("ftp://host/file", "lists.snapshot", "s3://bucket", "s3:///key"):
        with pytest.raises(InputError, match="URL: found"):
            push(files[7], url)


def test_the_command_says_what_it_did(server: Server, files: dict[int, bytes], tmp_path: Path,
                                      monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    authz = Commands(tmp_path, monkeypatch)
    (tmp_path / "seven").write_bytes(files[7])
    (tmp_path / "eight").write_bytes(files[8])
    assert authz("snapshot", "push", "seven", server.url).out == "pushed serial 7"
    assert authz("snapshot", "push", "eight", server.url, "--json").json() == {
        "file": "eight", "serial": 8, "pushed": True, "replaced": 7,
    }  # fmt: skip
    assert authz("snapshot", "push", "eight", server.url).out == "serial 8 is there already"
    assert authz("snapshot", "push", "seven", server.url).status == 2
    (tmp_path / "eight").write_bytes(files[8][:-1])
    assert "eight: truncated" in authz("snapshot", "push", "eight", server.url).err


def test_an_object_store_is_pushed_to_under_the_same_rules(
    files: dict[int, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    boto3, moto = pytest.importorskip("boto3"), pytest.importorskip("moto.server")
    pytest.importorskip("obstore")
    service = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    service.start()
    try:
        host, port = service.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        for name, value in (("ACCESS_KEY_ID", "k"), ("SECRET_ACCESS_KEY", "s"), ("REGION", "us-east-1"),
                            ("ENDPOINT", endpoint), ("ALLOW_HTTP", "true")):  # fmt: skip
            monkeypatch.setenv(f"AWS_{name}", value)
        s3 = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
        s3.create_bucket(Bucket="lists")
        url = "s3://lists/a/policy.snapshot"
        assert push(files[7], url) is None
        assert s3.get_object(Bucket="lists", Key="a/policy.snapshot")["Body"].read() == files[7]
        before = push(files[8], url)
        assert before is not None
        assert before.serial == 7
        with pytest.raises(InputError, match="has serial 8, found 7"):
            push(files[7], url)
        with pytest.raises(InputError, match="was changed by somebody else"):
            place_of(url).put(files[7], None)
        assert s3.get_object(Bucket="lists", Key="a/policy.snapshot")["Body"].read() == files[8]
        assert pushing.place_of("s3://lists/none").look() is None
    finally:
        service.stop()


@pytest.mark.parametrize("version", [None, "1795"])
def test_what_a_store_calls_its_version_goes_with_the_tag(version: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Google compares the version alone: without it a second push was an error there."""
    obstore = pytest.importorskip("obstore", reason="needs the extra stores")
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "REGION"):
        monkeypatch.setenv(f"AWS_{name}", "test")
    place = pushing.place_of("s3://lists/key")
    modes = []
    monkeypatch.setattr(obstore, "put", lambda *_, mode, **__: modes.append(mode))
    place.put(b"", pushing.There(7, "tag", version))
    place.put(b"", None)
    assert modes == [{"e_tag": "tag"} | ({"version": version} if version else {}), "create"]


@pytest.mark.parametrize("status", ["200 OK", "201 Created", "204 No Content"])
def test_a_server_that_keeps_nothing_of_what_it_takes_is_found_out(files: dict[int, bytes], status: str) -> None:
    """`authz snapshot push` said that it had pushed, and sidecars never saw the file."""

    def answered(number: int) -> bytes:
        put = raw.requests[number - 1].startswith("PUT ")
        return answer(status=status) if put else answer(files[7], ETag='"seven"')

    with RawServer(answered).running() as raw:
        with pytest.raises(InputError, match="took serial 8, and has serial 7 now"):
            push(files[8], f"http://127.0.0.1:{raw.port}/lists.snapshot")
        assert [request.partition(" ")[0] for request in raw.requests] == ["GET", "PUT", "GET"]


def test_a_server_that_says_412_for_ever_is_asked_once(files: dict[int, bytes]) -> None:
    def answered(number: int) -> bytes:
        put = raw.requests[number - 1].startswith("PUT ")
        return answer(status="412 Precondition Failed") if put else answer(files[7])

    with RawServer(answered).running() as raw:
        with pytest.raises(InputError, match="was changed by somebody else just now"):
            push(files[8], f"http://127.0.0.1:{raw.port}/lists.snapshot")
        assert len(raw.requests) == 2


@pytest.mark.parametrize(
    "behaviour",
    [{"silent": True}, {"answer": b"HTTP/1.1 200 OK\r\n", "again": b"X", "pause": 0.02}],
    ids=["no word", "a byte now and then"],
)
def test_a_push_to_a_server_that_never_ends_its_answer_ends(
    files: dict[int, bytes], behaviour: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that pushes each minute hung for ever, and each minute there was another one."""
    monkeypatch.setattr(pushing, "MAX_TIME", 0.3)
    monkeypatch.setattr(pushing, "TIMEOUT", 3.0)
    with (
        RawServer(**behaviour).running() as server,
        pytest.raises(InputError, match=r"has not answered within 0\.3 seconds"),
    ):
        push(files[8], f"http://127.0.0.1:{server.port}/lists.snapshot")


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [(answer(b"<Code>SECRETKEY</Code>", "403 Forbidden"), "cannot be read: found the status 403, expected 200"),
     (answer(status="307 No", Location="/other"), "cannot be read: HTTP error: error following redirect")],
    ids=["403", "redirects without end"],
)  # fmt: skip
def test_why_a_store_takes_nothing_is_told_without_what_it_wrote(
    files: dict[int, bytes], behaviour: bytes, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text was cut off before the status; a store that repeats a request would have had it printed."""
    pytest.importorskip("obstore", reason="needs the extra stores")
    for name, value in {"ACCESS_KEY_ID": "AKID", "SECRET_ACCESS_KEY": "SECRETKEY", "REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    with RawServer(behaviour).running() as server:
        monkeypatch.setenv("AWS_ENDPOINT", f"http://127.0.0.1:{server.port}")
        with pytest.raises(InputError, match=expected) as caught:
            push(files[8], "s3://lists/policy.snapshot")
    assert "SECRETKEY" not in caught.value.message
