"""What a sidecar answers after a restart, by what became of its file: the table of docs/reference/configuration.md."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from support.processes import free_port
from support.servers.web_server import WebServer
from support.sidecar.running import DENIED, HTTP_ONLY, run, running

from authz.serve.layers import layer as layer_module

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.publishing.publisher import Publisher

PAGE: Final = Path(__file__).parents[3] / "docs" / "reference" / "configuration.md"


def flipped(publisher: Publisher) -> bytes:
    data = bytearray(publisher.publish(serial=6).read_bytes())
    data[-1] ^= 1
    return bytes(data)


def unchanged(publisher: Publisher) -> bytes:
    return (publisher.folder / "lists.snapshot").read_bytes()


def older(publisher: Publisher) -> bytes:
    return publisher.publish(serial=4).read_bytes()


def expired(publisher: Publisher) -> bytes:
    now = int(time.time())
    return publisher.publish(serial=6, created=now - 100, expires=now - 50).read_bytes()


FILES: Final[dict[str, Callable[[Publisher], bytes | None]]] = {
    "flipped": flipped,
    "truncated": lambda publisher: publisher.publish(serial=6).read_bytes()[:-100],
    "absent": lambda _: None,
    "older": older,
    "expired": expired,
    "unreadable": unchanged,
    "server down": unchanged,
    "server in trouble": unchanged,
    "server answering garbage": lambda _: b"<html>It works!</html>",
}


def rows() -> dict[str, tuple[str, str, str]]:
    """Return the table of the page: the code, the answer with a last good copy, and the one without."""
    table = PAGE.read_text().partition("<!-- the restart table -->")[2].partition("\n\n")[0]
    cells = re.findall(r"^\| ([a-z ]+) \| `(\w+)` \| (.+?) \| (.+?) \|$", table, re.MULTILINE)
    return {name: (code, with_copy, without) for name, code, with_copy, without in cells}


def config(source: str) -> str:
    return f"layers: [{{name: policy, {source}, trusted_keys: [keys/a.pub]}}]\n" + HTTP_ONLY


def test_the_table_has_every_case() -> None:
    assert set(rows()) == set(FILES)


@pytest.mark.parametrize("last_good", [True, False], ids=["with last good", "without"])
@pytest.mark.parametrize("name", FILES)
def test_after_a_restart_the_answers_are_those_of_the_table(
    publisher: Publisher, name: str, last_good: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer_module, "PATIENCE", 10.0)
    code, with_copy, without = rows()[name]
    server = WebServer()
    path = publisher.folder / "lists.snapshot"

    async def live() -> None:
        publisher.publish(serial=5)
        async with running(publisher.folder, config("path: lists.snapshot")) as started:
            assert started.serial == 5
        if not last_good:
            (publisher.folder / "state" / "last-good" / "policy.snapshot").unlink()
        content = FILES[name](publisher)
        path.unlink()
        with server.running():
            source = "path: lists.snapshot"
            if name.startswith("server"):
                source = f"url: '{server.url}'"
                server.put(content)
                server.status = 503 if name == "server in trouble" else 0
                if name == "server down":
                    source = f"url: 'http://127.0.0.1:{free_port()}/lists.snapshot'"
            elif name == "unreadable":
                path.mkdir()
            elif content is not None:
                path.write_bytes(content)
            async with running(publisher.folder, config(source)) as started:
                answer = await started.ask()
                status, reasons = await started.readiness()
                if last_good:
                    assert with_copy == "200, decides by serial 5; ready, `last_good`"
                    assert (answer.status, started.serial) == (200, 5)
                    assert (status, reasons) == (200, ["last_good", code])
                else:
                    assert without == "503 `no_snapshot`; not ready"
                    assert (answer.status, answer.header("reason")) == (503, "no_snapshot")
                    assert (status, reasons) == (503, ["no_snapshot", code])

    run(live())


@pytest.mark.parametrize(("when_stale", "status"), [("keep", 403), ("deny", 503), ("allow", 200)])
def test_a_last_good_copy_that_has_expired_is_used_as_when_stale_says(
    publisher: Publisher, when_stale: str, status: int
) -> None:
    folder, now = publisher.folder, int(time.time())
    copy = folder / "state" / "last-good" / "policy.snapshot"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(publisher.publish(serial=5, created=now - 100, expires=now - 50).read_bytes())
    (folder / "lists.snapshot").unlink()

    async def live() -> None:
        async with running(folder, config(f"path: lists.snapshot, when_stale: {when_stale}")) as started:
            assert (await started.ask(DENIED)).status == status
            reasons = (await started.readiness())[1]
            assert reasons == ["stale_snapshot", "last_good", "absent"]

    run(live())
