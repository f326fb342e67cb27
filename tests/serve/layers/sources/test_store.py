"""A layer whose file comes from an object store: S3, as moto plays it."""

from __future__ import annotations

import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from support.sidecar.running import ALLOWED, HTTP_ONLY, NEW_POLICY, run, running, until

from authz.serve.config.config import load_config
from authz.serve.layers import layers as layers_module
from authz.serve.layers.config import LayerConfig
from authz.serve.layers.layers import make_source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.publishing.publisher import Publisher

    from authz.serve.layers.source import Source

pytest.importorskip("obstore", reason="needs the extra stores")
moto_server = pytest.importorskip("moto.server", reason="needs moto, which plays S3")

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": "us-east-1",
    "AWS_ALLOW_HTTP": "true",
}


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A store with the bucket `lists`."""
    import obstore

    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = moto_server.ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {**ENVIRONMENT, "AWS_ENDPOINT": f"http://{host}:{port}"}.items():
        monkeypatch.setenv(name, value)
    import urllib.request

    request = urllib.request.Request(f"http://{host}:{port}/lists", method="PUT")
    with urllib.request.urlopen(request):
        yield obstore.store.S3Store("lists")
    server.stop()


def config(url: str) -> str:
    return f"layers: [{{name: policy, url: '{url}', trusted_keys: [keys/a.pub], poll: 20ms}}]\n" + HTTP_ONLY


def test_a_new_object_is_loaded_and_an_old_one_is_not_sent_again(publisher: Publisher, bucket: Any) -> None:
    bucket.put("edge/lists.snapshot", publisher.publish(serial=1).read_bytes())

    async def live() -> None:
        async with running(publisher.folder, config("s3://lists/edge/lists.snapshot")) as started:
            assert started.serial == 1
            bucket.put("edge/lists.snapshot", publisher.publish(NEW_POLICY, serial=2).read_bytes())
            await until(lambda: started.serial == 2)
            assert (await started.ask(ALLOWED)).status == 403
            assert started.loads == {"ok": 2}

    run(live())


def test_an_object_that_is_not_there_is_told(publisher: Publisher, bucket: Any) -> None:
    async def live() -> None:
        async with running(publisher.folder, config("s3://lists/nothing")) as started:
            assert await started.readiness() == (503, ["no_snapshot", "absent"])
            bucket.put("nothing", publisher.publish(serial=1).read_bytes())
            await until(lambda: started.serial == 1)

    run(live())


def test_an_object_over_the_limit_is_refused(bucket: Any) -> None:
    from authz.errors import SnapshotRefused

    bucket.put("large", b"x" * 101)
    source = make_source(LayerConfig(name="policy", url="s3://lists/large", trusted_keys=(), max_size=100))
    with pytest.raises(SnapshotRefused, match="found 101 bytes, expected at most 100"), source.fetch():
        pass


def test_a_store_that_fails_is_asked_three_times_and_then_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself obstore went on for three minutes, during which nobody saw that the store does not answer."""
    from authz.errors import SnapshotRefused

    class Failing(BaseHTTPRequestHandler):
        asked = 0

        def do_GET(self) -> None:
            Failing.asked += 1
            self.send_response(500)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Failing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for name, value in ENVIRONMENT.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        source = make_source(LayerConfig(name="bans", url="s3://lists/bans.snapshot", trusted_keys=("a.pub",)))
        with pytest.raises(SnapshotRefused) as caught, source.fetch():
            pass
        server.shutdown()
    assert (caught.value.code, Failing.asked) == ("bad_answer", 3)


def test_a_store_that_cannot_be_asked_here_changes_nothing_of_the_configuration(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The keys of the layers before it were the new ones already when the configuration was refused."""
    publisher.publish(serial=1)
    first = config("").replace("url: ''", "path: lists.snapshot")
    second = first.replace("keys/a.pub", "keys/b.pub").replace(
        "}]\n", "}, {name: bans, url: 's3://lists/bans.snapshot', trusted_keys: [keys/a.pub]}]\n", 1
    )

    async def live() -> None:
        async with running(publisher.folder, first) as started:
            monkeypatch.setitem(sys.modules, "obstore", None)
            (publisher.folder / "authz.yaml").write_text(second)
            monkeypatch.setattr(started.sidecar, "_read", lambda: load_config(publisher.folder / "authz.yaml", {}))
            made = by_thread(monkeypatch)
            started.sidecar.reload()
            await until(lambda: "stays as it was: s3://lists/bans.snapshot: no obstore" in caplog.text)
            assert made
            assert threading.get_ident() not in made
            publisher.publish(NEW_POLICY, serial=2)
            await until(lambda: started.serial == 2)

    run(live())


def by_thread(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the threads in which sources are made from now on: one may load a library."""
    threads: list[int] = []

    def make(config: LayerConfig, folder: Path) -> Source:
        threads.append(threading.get_ident())
        return make_source(config, folder)

    monkeypatch.setattr(layers_module, "make_source", make)
    return threads
