"""Object stores that are broken or hostile: what they do ends soon, costs little, and tells nobody a secret."""

from __future__ import annotations

import json
import logging
import os
import sys
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.processes import wait_for
from support.servers.raw_server import RawServer, answer
from support.sidecar.running import HTTP_ONLY, run, running, until

from authz.errors import Refusal, SnapshotRefused
from authz.serve.layers import fetched as fetched_module
from authz.serve.layers.config import LayerConfig
from authz.serve.layers.layers import make_source

if TYPE_CHECKING:
    from support.publishing.publisher import Publisher

    from authz.serve.layers.fetched import FetchedSource

pytest.importorskip("obstore", reason="needs the extra stores")

SECRETS = ("SECRETKEY", "SESSIONTOKEN")
CREDENTIALS = {"ACCESS_KEY_ID": "AKIDTEST", "SECRET_ACCESS_KEY": SECRETS[0], "SESSION_TOKEN": SECRETS[1]}
CHUNKED = b'HTTP/1.1 200 OK\r\nETag: "a"\r\nTransfer-Encoding: chunked\r\n\r\n'


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*os.environ]:
        if name.lower().endswith("_proxy") or name.startswith(("AWS_", "GOOGLE_", "AZURE_")):
            monkeypatch.delenv(name)
    for name, value in {**CREDENTIALS, "REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)


@pytest.fixture
def of_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that makes the source of a scheme at a server."""

    def make(scheme: str, server: RawServer, **options: Any) -> FetchedSource:
        endpoint = f"http://127.0.0.1:{server.port}"
        monkeypatch.setenv("AWS_ENDPOINT", endpoint)
        account = {"gcs_base_url": endpoint, "disable_oauth": True, "client_email": "", "private_key": "",
                   "private_key_id": ""}  # fmt: skip
        (tmp_path / "google.json").write_text(json.dumps(account))
        monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", str(tmp_path / "google.json"))
        source = make_source(LayerConfig(name="bans", url=f"{scheme}://lists/edge/b", trusted_keys=(), **options))
        assert isinstance(source, fetched_module.FetchedSource)
        return source

    return make


def fetched(source: FetchedSource) -> bytes | None:
    with source.fetch() as path:
        return None if path is None else path.read_bytes()


def refusal(source: FetchedSource) -> str:
    with pytest.raises(SnapshotRefused) as caught, source.fetch():
        pass
    assert not any(secret in f"{caught.value.message}{caught.value.hint}" for secret in SECRETS)
    return f"{caught.value.code}: {caught.value.message.removeprefix(f'{source.name}: ')}"


BAD: list[tuple[str, dict[str, Any], str, str]] = [
    ("no word", {"silent": True}, "unreachable: timed out", "unreachable: timed out"),
    ("a byte of the head now and then", {"answer": b"HTTP/1.1 200 OK\r\n", "again": b"X", "pause": 0.02},
     "unreachable: timed out", "unreachable: timed out"),
    ("100 Continue without end", {"again": b"HTTP/1.1 100 Continue\r\n\r\n" * 100},
     "bad_answer: not HTTP: HTTPException", "unreachable: timed out"),
    ("a body that stops", {"answer": answer(b"abc", length=1000), "silent": True},
     "unreachable: timed out", "unreachable: "),
    ("a body that is cut off", {"answer": answer(b"abc", length=10)},
     "bad_answer: the answer ended 7 bytes early", "unreachable: "),
    ("a body without end", {"answer": CHUNKED, "again": b"1000\r\n" + b"x" * 4096 + b"\r\n"},
     "too_large: found more than 100000 bytes, expected at most 100000", "unreachable: "),
    ("a large body", {"answer": answer(b"x", length=1 << 40)},
     f"too_large: found {1 << 40} bytes, expected at most 100000",
     f"too_large: found {1 << 40} bytes, expected at most 100000"),
    ("304 without a question", {"answer": answer(status="304 Not Modified")},
     "bad_answer: found the status 304, expected 200",
     "bad_answer: found the status 304, expected 200: no file was named"),
    ("an error with a code", {"answer": answer(b"<Error><Code>AccessDenied</Code></Error>", "403 Forbidden")},
     "bad_answer: found the status 403 AccessDenied, expected 200", "unreachable: found the status 403, expected 200"),
    ("an error that repeats what was asked", {"answer": answer(b"<Code>SESSIONTOKEN\x1b[31m</Code>", "400 Bad")},
     "bad_answer: found the status 400, expected 200", "unreachable: found the status 400, expected 200"),
    ("busy, for ever", {"answer": answer(status="503 Slow Down", Retry_After="99999")},
     "bad_answer: found the status 503, expected 200", "unreachable: found the status 503, expected 200"),
    ("nothing there", {"answer": answer(b"<Code>NoSuchBucket</Code>", "404 Not Found")},
     "absent: no such object (NoSuchBucket)", "absent: no such object"),
    ("no HTTP", {"answer": b"\0\1\r\n\r\n"}, "bad_answer: not HTTP: BadStatusLine", "unreachable: "),
    ("another region", {"answer": answer(b"<Code>PermanentRedirect</Code>", "301 Moved Permanently")},
     "bad_answer: found the status 301 PermanentRedirect, expected 200",
     "unreachable: Received redirect without LOCATION"),
]  # fmt: skip


@pytest.mark.parametrize("scheme", ["s3", "gs"])
@pytest.mark.parametrize("case", BAD, ids=[case[0] for case in BAD])
def test_what_a_broken_store_answers_ends_soon_and_is_told(
    of_store: Any, scheme: str, case: tuple[str, dict[str, Any], str, str]
) -> None:
    """`304` was taken for "nothing new", a cut body for an "internal error"; texts were cut off before the reason."""
    _, behaviour, of_s3, of_google = case
    expected = of_s3 if scheme == "s3" else of_google
    waits = "timed out" in expected or behaviour.get("silent")  # else a busy machine may take its time
    options: dict[str, Any] = {"timeout": 0.1 if waits else 20.0, "max_size": 100_000}
    with RawServer(**behaviour).running() as server:
        said = refusal(of_store(scheme, server, **options))
        assert said.startswith(expected)
        assert said == refusal(of_store(scheme, server, **options))  # so it is logged once


@pytest.mark.parametrize("status", ["403 Forbidden", "404 Not Found", "500 Oops"])
def test_the_body_of_an_error_of_s3_is_not_read(of_store: Any, status: str) -> None:
    """All of it was kept, several times, and written into the text of the error: 1 GB ended the sidecar."""
    with RawServer(answer(status=status, length=1 << 30), again=b"<" * (1 << 16), most=1 << 30).running() as server:
        source = of_store("s3", server)
        tracemalloc.start()
        said = refusal(source)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert status[:3] in said or said == "absent: no such object"
    assert len(said) < 200
    assert most < 5_000_000
    assert server.sent < 50_000_000  # what the buffers of three connections take


def test_a_store_leads_to_no_other_host(of_store: Any) -> None:
    """obstore followed: it asked whatever host the store named, and showed it the session token and the URL."""
    with RawServer(answer(b"stolen")).running() as other:
        where = f"http://localhost:{other.port}/latest/meta-data?X-Amz-Security-Token={SECRETS[1]}"
        with RawServer(answer(status="307 Temporary Redirect", Location=where)).running() as server:
            said = refusal(of_store("s3", server))
        assert said == (
            f"bad_answer: redirected to 'http://localhost:{other.port}/latest/meta-data', expected the same host"
        )
        assert other.requests == []


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_an_object_may_take_longer_than_the_limit_of_a_piece(of_store: Any, scheme: str) -> None:
    """`timeout` was the limit of the whole object: a large one on a slow line was never loaded."""
    whole = b"x" * 15
    behaviour: dict[str, Any] = {"again": b"x", "pause": 0.2}
    with RawServer(answer(length=len(whole)), **behaviour).running() as server:
        assert fetched(of_store(scheme, server, timeout=2.0)) == whole
        assert len(server.requests) == 1


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_an_object_has_a_time_in_which_it_must_be_there(
    of_store: Any, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("fetched", "web", "store"):
        monkeypatch.setattr(f"authz.serve.layers.{module}.MAX_TIME", 0.3)
    with RawServer(answer(length=1000), again=b"x", pause=0.02).running() as server:
        assert refusal(of_store(scheme, server, timeout=0.3)).startswith("unreachable: ")


@pytest.mark.parametrize("tag", ["", '"' + "x" * 5000 + '"', '"' + "x" * (1 << 20) + '"', '"a\x01b"'])
def test_an_etag_of_a_store_that_is_none_is_not_sent_back(of_store: Any, tag: str) -> None:
    with RawServer(lambda number: answer(b"%d" % number, ETag=tag)).running() as server:
        source = of_store("s3", server)
        if len(tag) > 1 << 16:
            assert refusal(source) == "bad_answer: not HTTP: LineTooLong"
            return
        assert [fetched(source), fetched(source)] == [b"1", b"2"]
        assert not any("If-None-Match" in request for request in server.requests)


def test_a_store_that_is_busy_for_a_moment_is_asked_again(of_store: Any) -> None:
    with RawServer(lambda number: answer(b"one" if number == 3 else b"", "200 OK" if number == 3 else "500 No")
                   ).running() as server:  # fmt: skip
        assert fetched(of_store("s3", server)) == b"one"


def test_what_is_asked_of_s3_is_signed_and_says_nothing_of_this_machine(of_store: Any) -> None:
    with RawServer(answer(b"one")).running() as server:
        source = of_store("s3", server)
        source.refused = "bad_digest"
        fetched(source)
        head = server.requests[0]
        assert head.startswith("GET /lists/edge/b?X-Amz-Algorithm=AWS4-HMAC-SHA256&")
        assert "X-Amz-Signature=" in head
        assert not any(name in head for name in (SECRETS[0], "Authz-", "Prefer", "Authorization"))


def test_without_credentials_it_is_told_what_is_missing(of_store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1")
    with RawServer().running() as server:
        assert refusal(of_store("s3", server, timeout=0.2)).startswith("unreachable: cannot be signed: ")
        assert server.requests == []


@pytest.mark.parametrize("code", [Refusal.BAD_DIGEST, Refusal.TRUNCATED])
def test_a_file_that_was_damaged_on_its_way_is_fetched_again(
    of_store: Any, code: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its entity tag was that of the good one: nothing came until the next publication, hours later."""
    now = [1000.0]
    monkeypatch.setattr("authz.serve.layers.fetched.time.monotonic", lambda: now[0])

    def answered(number: int) -> bytes:
        if "If-None-Match" in server.requests[-1]:
            return answer(status="304 Not Modified")
        return answer(b"damaged" if number < 4 else b"good")

    with RawServer(answered).running() as server:
        source = of_store("s3", server)
        assert fetched(source) == b"damaged"
        source.refused = code
        assert fetched(source) is None  # the same: no reason to refuse it once more
        assert "If-None-Match" not in server.requests[-1]
        assert fetched(source) is None
        assert "If-None-Match" in server.requests[-1]  # not all the time: it may be large
        now[0] += 1.0
        assert fetched(source) == b"good"
        source.refused = ""
        assert fetched(source) is None


def test_the_same_file_under_another_tag_is_not_loaded_again(of_store: Any) -> None:
    """Two servers behind a balancer, with tags of their own, had the sidecar load its file at each poll."""
    with RawServer(lambda number: answer(b"one", ETag=f'"{number}"')).running() as server:
        source = of_store("s3", server)
        assert [fetched(source), fetched(source)] == [b"one", None]
        assert 'If-None-Match: "1"' in server.requests[1]
        source.forget()
        assert fetched(source) == b"one"


def test_nothing_of_the_credentials_is_logged_or_shown(
    of_store: Any, publisher: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    publisher.publish(serial=1)
    layers = (
        "layers: [{name: policy, path: lists.snapshot, trusted_keys: [keys/a.pub]}, "
        "{name: bans, url: 's3://lists/edge/b', trusted_keys: [keys/a.pub], poll: 10ms}]\n"
    )

    def echo(number: int) -> bytes:
        return answer(server.requests[number - 1].encode(), "403 Forbidden")

    async def live() -> None:
        async with running(publisher.folder, layers + HTTP_ONLY) as started:
            await until(lambda: [*started.sidecar.layers][1].refusal is not None)
            refused = [*started.sidecar.layers][1].refusal
            assert refused is not None
            assert refused.message == "s3://lists/edge/b: found the status 403, expected 200"

    with RawServer(echo).running() as server:
        of_store("s3", server)
        run(live())
    assert "found the status 403" in caplog.text
    assert not any(secret in caplog.text for secret in (*SECRETS, "AKIDTEST", "X-Amz-"))


@pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors and threads in /proc")
@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_a_hundred_failures_leave_no_descriptor_and_no_thread_behind(of_store: Any, scheme: str) -> None:
    def held() -> int:
        return len([*Path("/proc/self/fd").iterdir()]) + len([*Path("/proc/self/task").iterdir()])

    with RawServer(answer(b"x" * 1000, "403 Forbidden")).running() as server:
        source = of_store(scheme, server)
        refusal(source)  # which loads a library, with threads of its own
        before = held()
        for _ in range(100):
            refusal(source)
        assert len(server.requests) == 101
        wait_for(lambda: held() <= before + 3, "all is given back")
