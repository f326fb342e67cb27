"""The life of a sidecar: start, reload, staleness, drain, end; and what the operator sees of it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import os
import re
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import uvloop
from prometheus_client.parser import text_string_to_metric_families
from support.envoy_api import check_request, read_answer
from support.fronts import HttpAnswer, HttpClient
from support.processes import Process, Sidecar, wait_for
from support.publisher import POLICY, Publisher

from authz.addresses import parse_address
from authz.engine.decider import Decider
from authz.errors import InputError, SnapshotRefused, StartError
from authz.serve import sidecar as sidecar_module
from authz.serve.config import load_config
from authz.serve.grpc.check import GrpcCheck
from authz.serve.http1.front import HttpFront
from authz.serve.layers import loader as reload_module
from authz.serve.layers.loader import Loader
from authz.serve.layers.watch import FolderWatch
from authz.serve.observe.decision_log import DecisionLog
from authz.serve.observe.metrics import Metrics
from authz.serve.observe.recorder import Recorder
from authz.serve.sockets import clear_unix_path
from authz.snapshot.read import read_snapshot
from authz.snapshot.rollback_guard import State, load_state

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

    from authz.serve.config import Config


NEW_POLICY: Final = POLICY.replace("203.0.113.0/24", "192.0.2.0/25").replace("list: allow", "list: gray")
ALLOWED: Final = "192.0.2.7"  # by POLICY; NEW_POLICY denies it
DENIED: Final = "203.0.113.9"  # by POLICY
PATIENCE: Final = 20.0


def config(snapshot: str = "poll: 1h", rest: str = "") -> str:
    """Return a configuration; `snapshot` and `rest` are added to it."""
    return (
        f"snapshot: {{path: lists.snapshot, trusted_keys: [keys/a.pub], {snapshot}}}\n"
        'grpc: {listen: "off"}\n'
        'http: {listen: "127.0.0.1:0"}\n'
        'admin: {listen: "127.0.0.1:0"}\n'
        'client_address: {trusted_proxies: ["127.0.0.0/8"]}\n'
        'decision_log: {path: "off"}\n'
        "drain: 0s\n" + rest
    )


def write(folder: Path, text: str) -> Path:
    """Write a configuration."""
    path = folder / "authz.yaml"
    path.write_text(text)
    return path


def get(port: int, target: str, client: str | None = None, method: str = "GET") -> HttpAnswer:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        headers = [] if client is None else [f"X-Forwarded-For: {client}"]
        return HttpClient(connection).ask(target, *headers, method=method)


class Running:
    """A sidecar in this process, with ways to ask it that do not block its event loop."""

    def __init__(self, sidecar: sidecar_module.Sidecar) -> None:
        self.sidecar = sidecar

    async def ask(self, client: str = ALLOWED) -> HttpAnswer:
        """Return the answer for a client."""
        return await asyncio.to_thread(get, self.sidecar.ports["http"], "/v1/auth/shop", client)

    async def page(self, target: str) -> HttpAnswer:
        """Return a page of the admin listener."""
        return await asyncio.to_thread(get, self.sidecar.ports["admin"], target)

    async def readiness(self) -> tuple[int, list[str]]:
        """Return the status of /readyz, and the reasons without what follows their codes."""
        answer = await self.page("/readyz")
        content = json.loads(answer.body)
        assert content["ready"] == (answer.status == 200)
        return answer.status, [reason.partition(":")[0] for reason in content["reasons"]]

    async def snapshot(self) -> dict[str, Any]:
        """Return what is loaded."""
        return dict(json.loads((await self.page("/snapshot")).body))

    @property
    def serial(self) -> int | None:
        """The serial that decides."""
        loaded = self.sidecar.decider.loaded
        return None if loaded is None else loaded.serial

    @property
    def loads(self) -> dict[str, int]:
        """How often a snapshot was loaded or refused, by result."""
        return self.sidecar.metrics.loads


async def until(what: Callable[[], Any]) -> None:
    """Wait until `what` is true; fails after PATIENCE."""
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end, "not in time"
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def running(folder: Path, text: str | None = None) -> AsyncIterator[Running]:
    sidecar = sidecar_module.Sidecar(load_config(write(folder, config() if text is None else text), {}))

    await sidecar.start()
    try:
        yield Running(sidecar)
    finally:
        await sidecar.stop()


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run it in the event loop that `authz serve` has; nothing may be left running."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(coroutine, 60))
    left = {thread.name for thread in threading.enumerate()} & {"grpc", "decision-log"}
    assert left == set()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the end of a sidecar in this process take less time than for real."""
    monkeypatch.setattr(sidecar_module, "_GOODBYE", 0.01)


# The start.


@pytest.mark.parametrize("poll", ["1h", "50ms"])
def test_without_a_snapshot_it_serves_cannot_decide_until_one_appears(publisher: Publisher, poll: str) -> None:
    async def live() -> None:
        async with running(publisher.folder, config(f"poll: {poll}")) as one:
            answer = await one.ask()
            assert (answer.status, answer.header("reason")) == (503, "no_snapshot")
            assert await one.readiness() == (503, ["no_snapshot", "unreadable"])
            content = await one.snapshot()
            assert content["loaded"] is None
            assert content["refused"]["code"] == "unreadable"
            assert (await one.page("/livez")).status == 200

            publisher.publish(serial=7)
            await until(lambda: one.serial == 7)

            assert (await one.ask()).status == 200
            assert (await one.ask(DENIED)).status == 403
            assert await one.readiness() == (200, [])
            content = await one.snapshot()
            assert content["refused"] is None
            assert content["loaded"]["serial"] == 7
            assert content["loaded"]["signed_by"] == [publisher.key().keyid]

    run(live())


def test_when_missing_allow_it_is_ready_and_lets_through_until_one_appears(publisher: Publisher) -> None:
    async def live() -> None:
        async with running(publisher.folder, config("when_missing: allow")) as one:
            answer = await one.ask(DENIED)
            assert (answer.status, answer.header("reason")) == (200, "no_snapshot")
            assert await one.readiness() == (200, ["no_snapshot", "unreadable"])

            publisher.publish()
            await until(lambda: one.serial == 1)

            assert (await one.ask(DENIED)).status == 403

    run(live())


def test_the_real_command_starts_without_a_snapshot_and_becomes_ready(publisher: Publisher) -> None:
    with Sidecar(publisher.folder) as sidecar:
        assert "authz: serving, not ready: no snapshot" in sidecar.output
        assert "unreadable" in sidecar.output
        assert get(sidecar.ports["admin"], "/readyz").status == 503
        assert get(sidecar.ports["http"], "/v1/auth", ALLOWED).status == 503

        publisher.publish()

        wait_for(lambda: get(sidecar.ports["admin"], "/readyz").status == 200)
        assert get(sidecar.ports["http"], "/v1/auth", ALLOWED).status == 200
        sidecar.wait_for_line("loaded serial 1")


@pytest.mark.parametrize("front", ["http", "admin", "grpc-native", "grpc-grpcio"])
def test_a_port_in_use_is_an_error_that_names_the_key_and_leaves_nothing(publisher: Publisher, front: str) -> None:
    publisher.publish()
    name, _, engine = front.partition("-")

    async def live() -> None:
        before = asyncio.all_tasks()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            key = f"{name}: {{listen: "
            text = (
                config()
                .replace(f'{key}"off"', f'{key}"127.0.0.1:0"')
                .replace(f'{key}"127.0.0.1:0"', f'{key}"127.0.0.1:{port}"')
            )
            if engine:
                text = text.replace(key, f"{name}: {{engine: {engine}, listen: ")
            with pytest.raises(StartError) as caught:
                async with running(publisher.folder, text):
                    pass
        assert caught.value.message.startswith(f"{name}.listen: 127.0.0.1:{port}: ")
        assert caught.value.hint == "is another authz running?"

        await asyncio.sleep(0)  # for what was cancelled to end
        assert asyncio.all_tasks() == before

    run(live())


def test_the_real_command_ends_with_2_where_a_port_is_in_use(publisher: Publisher) -> None:
    publisher.publish()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (publisher.folder / "authz.yaml").write_text(config().replace("127.0.0.1:0", f"127.0.0.1:{port}", 1))
        command = [sys.executable, "-m", "authz", "serve", "--config", "authz.yaml"]
        with Process(command, cwd=publisher.folder) as process:
            assert process.wait() == 2

    assert f"authz: error: http.listen: 127.0.0.1:{port}: " in process.output.replace("\n", " ")
    assert "ddress already in use" in process.output
    assert process.lines[-1] == "hint: is another authz running?"
    assert "Traceback" not in process.output


@pytest.mark.parametrize("name", ["http", "admin", "grpc-native", "grpc-grpcio"])
def test_a_unix_path_is_taken_only_where_nobody_listens(publisher: Publisher, name: str) -> None:
    publisher.publish()
    path = publisher.folder / "s"
    front, _, engine = name.partition("-")
    listen = f"{front}: {{{f'engine: {engine}, ' if engine else ''}listen: "
    text = re.sub(rf'{front}: {{listen: "[^"]*"', f'{listen}"unix://{path}"', config())

    async def refused(message: str) -> None:
        with pytest.raises(StartError) as caught:
            async with running(publisher.folder, text):
                pass
        assert caught.value.message == f"{path}: {message}"

    async def live() -> None:
        path.write_text("a file of somebody")
        await refused("exists and is no socket, expected nothing there")
        assert path.read_text() == "a file of somebody"
        path.unlink()

        path.mkdir()
        await refused("exists and is no socket, expected nothing there")
        path.rmdir()

        async with running(publisher.folder, text) as one:
            assert path.is_socket()
            await refused("somebody listens there already")
            assert path.is_socket()
            assert (await one.page("/livez")).status == 200 if front != "admin" else True
        assert not path.exists()

        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        assert path.is_socket()
        async with running(publisher.folder, text):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
        assert not path.exists()

    run(live())


def test_a_unix_path_in_no_folder_is_an_error(publisher: Publisher) -> None:
    path = publisher.folder / "nowhere" / "s"
    with pytest.raises(StartError) as caught:
        clear_unix_path(path)

    assert caught.value.message == f"{path}: no such folder: {path.parent}"


def test_a_listener_that_is_too_busy_to_accept_is_not_taken_for_a_dead_one(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as clients:
        listener.bind(str(path))
        listener.listen(0)
        with contextlib.suppress(BlockingIOError):
            for _ in range(10):
                client = clients.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                client.connect(str(path))
        with pytest.raises(StartError, match="somebody listens there already"):
            clear_unix_path(path)

    assert path.is_socket()


@pytest.mark.parametrize("state", ["file/state.json", "file/below/state.json", "/proc/authz/state.json"])
def test_a_state_folder_that_cannot_be_written_is_an_error_at_the_start(publisher: Publisher, state: str) -> None:
    publisher.publish()
    (publisher.folder / "file").write_text("")

    async def live() -> None:
        with pytest.raises((StartError, InputError)) as caught:
            async with running(publisher.folder, config(f"state: {state}")):
                pass
        assert str((publisher.folder / state).parent) in caught.value.message
        assert re.search("No such file or directory|Not a directory", caught.value.message)

    run(live())


def test_a_state_folder_without_rights_is_an_error_at_the_start(publisher: Publisher) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    folder = publisher.folder / "locked"
    folder.mkdir(mode=0o500)

    async def live() -> None:
        with pytest.raises(StartError, match="Permission denied"):
            async with running(publisher.folder, config("state: locked/state.json")):
                pass

    run(live())


# Reload.


def by_rename(publisher: Publisher) -> None:
    publisher.publish(NEW_POLICY, serial=2)


def in_place(publisher: Publisher) -> None:
    data = publisher.publish(NEW_POLICY, serial=2, to="other").read_bytes()
    (publisher.folder / "lists.snapshot").write_bytes(data)


def in_place_and_slowly(publisher: Publisher) -> None:
    data = publisher.publish(NEW_POLICY, serial=2, to="other").read_bytes()
    step = len(data) // 12 + 1
    with (publisher.folder / "lists.snapshot").open("wb", buffering=0) as file:
        for start in range(0, len(data), step):
            file.write(data[start : start + step])
            time.sleep(0.05)


def in_place_without_truncating(publisher: Publisher) -> None:
    data = publisher.publish(NEW_POLICY, serial=2, to="other").read_bytes()
    with (publisher.folder / "lists.snapshot").open("r+b", buffering=0) as file:
        for start in range(0, len(data), 1 << 16):
            file.write(data[start : start + (1 << 16)])
        file.truncate(len(data))


def removed_and_written(publisher: Publisher) -> None:
    (publisher.folder / "lists.snapshot").unlink()
    time.sleep(0.1)
    publisher.publish(NEW_POLICY, serial=2)


CHANGES: Final = [by_rename, in_place, in_place_and_slowly, in_place_without_truncating, removed_and_written]


@pytest.mark.parametrize("noticed", ["by the watch", "by the poll"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_new_snapshot_is_loaded_however_it_is_put_there(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch, change: Callable[[Publisher], None], noticed: str
) -> None:
    if noticed == "by the poll":
        monkeypatch.setattr(FolderWatch, "follow", lambda *_: (True, False))
    poll = "poll: 50ms" if noticed == "by the poll" else "poll: 1h"
    publisher.publish(serial=1)

    async def live() -> None:
        async with running(publisher.folder, config(poll)) as one:
            assert (await one.ask()).status == 200
            writer = asyncio.create_task(asyncio.to_thread(change, publisher))
            while not writer.done():  # whatever is half written, the old one decides
                assert (await one.ask()).status in ({200} if one.serial == 1 else {200, 403})
            await writer
            await until(lambda: one.serial == 2)
            assert (await one.ask()).status == 403
            assert await one.readiness() == (200, [])
            assert one.loads["ok"] >= 2

    run(live())


def test_a_kubernetes_volume_is_followed_from_one_swap_to_the_next(publisher: Publisher) -> None:
    """A ConfigMap or Secret: the file is a link to ..data/file, and ..data a link that is swapped."""
    volume = publisher.folder / "volume"

    def put(number: int) -> None:
        folder = volume / f"..2026_{number}"
        folder.mkdir(parents=True)
        policy = NEW_POLICY if number % 2 else POLICY
        publisher.publish(policy, serial=number, to=f"volume/..2026_{number}/lists.snapshot")
        (volume / "..data_tmp").symlink_to(folder.name)
        (volume / "..data_tmp").rename(volume / "..data")
        if number > 1:
            before = volume / f"..2026_{number - 1}"
            (before / "lists.snapshot").unlink()
            before.rmdir()

    put(1)
    (volume / "lists.snapshot").symlink_to("..data/lists.snapshot")

    async def live() -> None:
        text = config().replace("path: lists.snapshot", "path: volume/lists.snapshot")
        async with running(publisher.folder, text) as one:
            for number in (2, 3, 4):
                await asyncio.to_thread(put, number)
                await until(lambda: one.serial == number)  # noqa: B023
                assert (await one.ask()).status == (403 if number % 2 else 200)
            assert one.loads == {"ok": 4}

    run(live())


def test_a_file_that_changes_while_it_is_read_is_read_again_before_it_is_refused(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    publisher.publish(serial=1)
    data = publisher.publish(NEW_POLICY, serial=2, to="other").read_bytes()
    path = publisher.folder / "lists.snapshot"
    original = Loader._try_load

    def written_meanwhile(self: Loader) -> SnapshotRefused | None:
        error = original(self)
        if error is not None:
            path.write_bytes(data)
        return error

    async def live() -> None:
        async with running(publisher.folder, config("poll: 20ms")) as one:
            monkeypatch.setattr(Loader, "_try_load", written_meanwhile)
            path.write_bytes(data[: len(data) // 2])
            await until(lambda: one.serial == 2)
            assert set(one.loads) == {"ok"}

    with caplog.at_level(logging.INFO):
        run(live())
    assert "refused" not in caplog.text


def test_the_watch_ends_even_where_the_file_changes_at_that_very_moment(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched: list[Callable[[], None]] = []

    class Told(FolderWatch):
        def __init__(self, loop: asyncio.AbstractEventLoop, changed: Callable[[], None], settle: float) -> None:
            super().__init__(loop, changed, settle)
            watched.append(changed)

    monkeypatch.setattr(reload_module, "FolderWatch", Told)
    settings = load_config(write(publisher.folder, config()), {})
    decider = Decider(settings.decision_settings())

    async def live() -> None:
        watch = asyncio.create_task(Loader(settings.snapshot, [publisher.key()], None, decider, Metrics()).watch())
        await until(lambda: watched)
        await asyncio.sleep(0.05)  # for it to wait
        watched[0]()
        await asyncio.sleep(0)
        watch.cancel()
        await asyncio.wait({watch}, timeout=PATIENCE)
        assert watch.cancelled()

    run(live())


def test_sighup_loads_the_same_file_again(publisher: Publisher) -> None:
    publisher.publish()
    with Sidecar(publisher.folder, config()) as sidecar:
        for count in (2, 3):
            sidecar.popen.send_signal(signal.SIGHUP)
            line = f'authz_snapshot_loads_total{{result="ok"}} {count}.0'
            wait_for(lambda: line in get(sidecar.ports["admin"], "/metrics").body.decode(), line)  # noqa: B023
        assert get(sidecar.ports["http"], "/v1/auth", ALLOWED).status == 200


# Refusals.


def half(publisher: Publisher) -> None:
    data = (publisher.folder / "lists.snapshot").read_bytes()
    beside = publisher.folder / "half"
    beside.write_bytes(data[: len(data) // 2])
    beside.rename(publisher.folder / "lists.snapshot")


def garbage(publisher: Publisher) -> None:
    (publisher.folder / "garbage").write_bytes(b"no snapshot at all")
    (publisher.folder / "garbage").rename(publisher.folder / "lists.snapshot")


REFUSALS: Final[dict[str, Callable[[Publisher], object]]] = {
    "bad_magic": garbage,
    "truncated": half,
    "unknown_key": lambda publisher: publisher.publish(serial=12, keys=["b"]),
    "rolled_back": lambda publisher: publisher.publish(serial=9),
    "expired": lambda publisher: publisher.publish(serial=12, created=1_700_000_000, expires=1_700_000_001),
    "unreadable": lambda publisher: (publisher.folder / "lists.snapshot").unlink(),
}


@pytest.mark.parametrize("code", REFUSALS)
def test_a_refused_snapshot_changes_nothing_and_is_told_once(
    publisher: Publisher, caplog: pytest.LogCaptureFixture, code: str
) -> None:
    publisher.publish(serial=10)

    async def live() -> None:
        async with running(publisher.folder, config("poll: 20ms")) as one:
            REFUSALS[code](publisher)
            await until(lambda: code in one.loads)
            await asyncio.sleep(0.2)  # ten polls, which find nothing new

            assert one.loads == {"ok": 1, code: 1}
            assert one.serial == 10
            assert (await one.ask()).status == 200
            assert (await one.ask(DENIED)).status == 403
            assert await one.readiness() == (200, [code])
            content = await one.snapshot()
            assert content["loaded"]["serial"] == 10
            assert content["refused"]["code"] == code
            assert code in (await one.page("/readyz")).body.decode()
            refusals = [record for record in caplog.records if "refused" in record.getMessage()]
            assert len(refusals) == 1
            assert refusals[0].levelno == logging.WARNING
            assert f"{code}: " in refusals[0].getMessage()
            assert "serial 10 serves on" in refusals[0].getMessage()

            publisher.publish(NEW_POLICY, serial=13)
            await until(lambda: one.serial == 13)
            assert await one.readiness() == (200, [])
            assert (await one.snapshot())["refused"] is None

    with caplog.at_level(logging.INFO):
        run(live())


def test_a_fault_while_loading_is_told_and_loading_is_tried_again(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    publisher.publish(serial=10)
    reading, faults = read_snapshot, [MemoryError(), RuntimeError("can't start new thread")]

    def read(*arguments: Any, **options: Any) -> Any:
        if faults:
            raise faults[-1]
        return reading(*arguments, **options)

    async def live() -> None:
        async with running(publisher.folder, config("poll: 20ms")) as one:
            monkeypatch.setattr(reload_module, "read_snapshot", read)
            publisher.publish(NEW_POLICY, serial=11)
            for goal in (3, 6):  # it is tried again and again
                await until(functools.partial(lambda least: one.loads.get("internal_error", 0) >= least, goal))
                assert (await one.ask()).status == 200
                assert await one.readiness() == (200, ["internal_error"])
                faults.pop()
            await until(lambda: one.serial == 11)
            assert one.loads["ok"] == 2
            assert await one.readiness() == (200, [])
        refusals = [record for record in caplog.records if "refused" in record.getMessage()]
        assert len(refusals) == 2  # each is said once

    with caplog.at_level(logging.WARNING):
        run(live())


def test_a_file_over_the_configured_size_is_refused_before_it_is_copied(publisher: Publisher) -> None:
    publisher.publish(serial=10)

    async def live() -> None:
        async with running(publisher.folder, config("max_size: 1000")) as one:
            assert one.loads == {"too_large": 1}
            assert await one.readiness() == (503, ["no_snapshot", "too_large"])

    run(live())


def test_a_refused_snapshot_does_not_change_the_state(publisher: Publisher) -> None:
    publisher.publish(serial=10)

    async def live() -> None:
        async with running(publisher.folder) as one:
            before = load_state(publisher.folder / "state" / "authz.json")
            publisher.publish(serial=99, keys=["b"])
            await until(lambda: len(one.loads) == 2)
            assert load_state(publisher.folder / "state" / "authz.json") == before
            assert before is not None
            assert before.serial == 10

    run(live())


def test_a_lower_serial_is_refused_even_after_a_restart_and_the_same_file_is_not(publisher: Publisher) -> None:
    publisher.publish(serial=5)

    async def live() -> None:
        for _ in range(2):
            async with running(publisher.folder) as one:
                assert one.loads == {"ok": 1}
        publisher.publish(serial=4)
        async with running(publisher.folder) as one:
            assert one.loads == {"rolled_back": 1}
            answer = await one.ask()
            assert (answer.status, answer.header("reason")) == (503, "no_snapshot")
            assert await one.readiness() == (503, ["no_snapshot", "rolled_back"])
            assert "found serial 4, expected above 5" in (await one.page("/readyz")).body.decode()
            publisher.publish(NEW_POLICY, serial=5)  # another file with the serial that was accepted
            await until(lambda: one.loads == {"rolled_back": 2})
            publisher.publish(serial=6)
            await until(lambda: one.serial == 6)
        state = load_state(publisher.folder / "state" / "authz.json")
        assert isinstance(state, State)
        assert state.serial == 6

    run(live())


def test_where_the_serial_cannot_be_remembered_the_snapshot_is_not_used(
    publisher: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    publisher.publish(serial=1)

    async def live() -> None:
        async with running(publisher.folder) as one:
            state = publisher.folder / "state" / "authz.json"
            state.unlink()
            state.mkdir()
            publisher.publish(NEW_POLICY, serial=2)
            await until(lambda: "state_unwritable" in one.loads)
            assert one.serial == 1
            assert (await one.ask()).status == 200
            assert await one.readiness() == (200, ["state_unwritable"])

    with caplog.at_level(logging.INFO):
        run(live())
    assert "let the sidecar write to it" in caplog.text


# Staleness and time.


@pytest.mark.parametrize(
    ("when_stale", "status", "reason"),
    [("keep", 200, "allowlisted"), ("deny", 503, "stale_snapshot"), ("allow", 200, "stale_snapshot")],
)
def test_an_old_snapshot_is_reported_and_kept_or_not(
    publisher: Publisher, when_stale: str, status: int, reason: str
) -> None:
    publisher.publish(created=int(time.time()) - 7200)

    async def live() -> None:
        async with running(publisher.folder, config(f"max_age: 1h, when_stale: {when_stale}")) as one:
            answer = await one.ask()
            assert (answer.status, answer.header("reason")) == (status, reason)
            assert (await one.readiness())[1] == ["stale_snapshot"]
            assert (await one.snapshot())["loaded"]["stale"] is True
            assert "authz_snapshot_stale 1.0" in (await one.page("/metrics")).body.decode()

            publisher.publish()
            await until(lambda: one.serial == 2)
            assert (await one.ask()).header("reason") == "allowlisted"
            assert await one.readiness() == (200, [])
            assert "authz_snapshot_stale 0.0" in (await one.page("/metrics")).body.decode()

    run(live())


def test_a_snapshot_that_expires_while_it_serves_is_stale(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = [time.time()]
    monkeypatch.setattr(sidecar_module, "HttpFront", functools.partial(HttpFront, clock=lambda: moment[0]))
    publisher.publish(expires=int(moment[0]) + 3600)

    async def live() -> None:
        async with running(publisher.folder, config("when_stale: deny")) as one:
            assert (await one.ask()).status == 200
            moment[0] += 3601
            assert (await one.ask()).header("reason") == "stale_snapshot"

    run(live())


def test_the_window_of_an_entry_ends_while_it_serves_on_both_fronts(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = [1_800_000_000.0]  # 2027-01-15T08:00:00Z
    checks: list[GrpcCheck] = []

    def make_check(settings: Config, decider: Decider, recorder: Recorder) -> GrpcCheck:
        checks.append(GrpcCheck(settings, decider, recorder, lambda: moment[0]))

        return checks[-1]

    monkeypatch.setattr(sidecar_module, "HttpFront", functools.partial(HttpFront, clock=lambda: moment[0]))
    monkeypatch.setattr(sidecar_module, "GrpcCheck", make_check)
    publisher.publish(
        """\
version: 1
entries:
  - {id: sale, list: deny, networks: [192.0.2.0/24], starts: 2027-01-15T08:10:00Z, expires: 2027-01-15T08:20:00Z}
"""
    )

    async def live() -> None:
        async with running(publisher.folder, config().replace('"off"', '"127.0.0.1:0"', 1)) as one:
            payload = check_request("127.0.0.1", {"x-forwarded-for": ALLOWED})
            for seconds, status in ((0, 200), (599, 200), (600, 403), (1199.5, 403), (1200, 200), (700, 403)):
                moment[0] = 1_800_000_000 + seconds
                assert (await one.ask()).status == status
                assert read_answer(checks[0](payload)).kind == ("ok" if status == 200 else "denied")

    run(live())


# The end.


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_a_second_one_ends_at_once(publisher: Publisher, number: signal.Signals) -> None:
    publisher.publish()
    text = config().replace("drain: 0s", "drain: 1h").replace('"off"', f'"unix://{publisher.folder}/g.sock"', 1)
    with (
        Sidecar(publisher.folder, text) as sidecar,
        socket.create_connection(("127.0.0.1", sidecar.ports["http"]), timeout=PATIENCE) as connection,
    ):
        kept = HttpClient(connection)
        assert kept.ask("/v1/auth", f"X-Forwarded-For: {ALLOWED}").status == 200
        assert (publisher.folder / "g.sock").is_socket()

        sidecar.popen.send_signal(number)
        wait_for(lambda: get(sidecar.ports["admin"], "/readyz").status == 503)

        readiness = json.loads(get(sidecar.ports["admin"], "/readyz").body)
        assert readiness == {"ready": False, "reasons": ["draining: the process was told to end"]}
        assert get(sidecar.ports["admin"], "/livez").status == 200
        assert kept.ask("/v1/auth", f"X-Forwarded-For: {ALLOWED}").status == 200
        assert get(sidecar.ports["http"], "/v1/auth", DENIED).status == 403
        sidecar.popen.send_signal(signal.SIGHUP)  # changes nothing
        assert sidecar.popen.poll() is None

        sidecar.popen.send_signal(number)
        assert sidecar.wait() == 0
        assert kept.rest() == b""

    assert not (publisher.folder / "g.sock").exists()
    steps = re.findall(r"authz: (\w+): ended", sidecar.output)

    assert steps == ["http", "grpc", "admin", "decision_log"]
    assert sidecar.lines[-1].endswith("authz: ended")
    assert "Traceback" not in sidecar.output


def test_after_the_drain_it_ends_by_itself_and_its_sockets_are_gone(publisher: Publisher) -> None:
    publisher.publish()
    text = config().replace("drain: 0s", "drain: 100ms")
    for name in ("grpc", "http", "admin"):
        text = re.sub(rf'{name}: {{listen: "[^"]*"', f'{name}: {{listen: "unix:{name}.sock"', text)
    with Sidecar(publisher.folder, text) as sidecar:
        sockets = [publisher.folder / f"{name}.sock" for name in ("grpc", "http", "admin")]
        assert all(path.is_socket() for path in sockets)
        sidecar.popen.terminate()
        assert sidecar.wait() == 0

    assert not any(path.exists() for path in sockets)


def test_the_socket_of_a_successor_stays_when_the_old_process_ends(publisher: Publisher) -> None:
    publisher.publish()
    text = config().replace('http: {listen: "127.0.0.1:0"', 'http: {listen: "unix:http.sock"')
    path = publisher.folder / "http.sock"

    async def live() -> None:
        async with running(publisher.folder, text):
            path.rename(publisher.folder / "old.sock")
            path.touch()
        assert path.exists()

    run(live())


def test_a_request_in_the_last_moment_is_answered_whole(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sidecar_module, "_GOODBYE", 0.2)
    publisher.publish()

    async def live() -> None:
        async with running(publisher.folder) as one:
            reader, writer = await asyncio.open_connection("127.0.0.1", one.sidecar.ports["http"])
            writer.write(f"GET /v1/auth HTTP/1.1\r\nX-Forwarded-For: {ALLOWED}\r\n\r\n".encode() * 100)
            await one.sidecar.stop()
            answers = await reader.read()
            writer.close()
        assert answers.count(b"HTTP/1.1 200 OK\r\n") == 100
        assert answers.endswith(b"\r\n\r\n")

    run(live())


def test_stopping_twice_is_harmless(publisher: Publisher) -> None:
    publisher.publish()

    async def live() -> None:
        async with running(publisher.folder) as one:
            await one.sidecar.stop()
            await one.sidecar.stop()

    run(live())


# The admin listener and the metrics.


def test_the_admin_pages(publisher: Publisher) -> None:
    publisher.publish(serial=3, created=1_800_000_000)

    async def live() -> None:
        async with running(publisher.folder) as one:
            assert (await one.page("/livez")).body == b"ok\n"
            content = (await one.snapshot())["loaded"]
            digest = content.pop("digest")
            assert re.fullmatch("[0-9a-f]{64}", digest)
            assert content == {
                "serial": 3,
                "created": "2027-01-15T08:00:00Z",
                "signed_by": [publisher.key().keyid],
                "bytes": (publisher.folder / "lists.snapshot").stat().st_size,
                "entries": 3,
                "applications": ["*", "shop", "admin"],
                "pieces": content["pieces"],
                "match_sets": content["match_sets"],
                "stale": False,
            }
            assert (await one.page("/nothing")).status == 404
            posted = await asyncio.to_thread(get, one.sidecar.ports["admin"], "/livez", None, "POST")
            assert posted.status == 405
            assert (await one.page("/metrics")).headers["content-type"].startswith("text/plain; version=0.0.4")

    run(live())


DOCUMENTED: Final = {
    "authz_info": {"version"},
    "authz_decisions": {"front", "application", "decision", "reason", "list", "enforced"},
    "authz_snapshot_loads": {"result"},
    "authz_http_faults": {"status"},
    "authz_http_connections": set(),
    "authz_ready": set(),
    "authz_decision_log_dropped": set(),
    "authz_decision_log_written": set(),
    "authz_snapshot_serial": set(),
    "authz_snapshot_created_seconds": set(),
    "authz_snapshot_stale": set(),
    "authz_snapshot_entries": set(),
    "authz_snapshot_bytes": set(),
}  # of README.md; counters without their _total


def test_the_metrics_are_the_documented_ones_and_count_what_happened(publisher: Publisher) -> None:
    size = publisher.publish(serial=3, created=1_800_000_000).stat().st_size

    async def live() -> None:
        async with running(publisher.folder) as one:
            for client in (ALLOWED, ALLOWED, DENIED, "unknown"):
                await one.ask(client)
            await asyncio.to_thread(get, one.sidecar.ports["http"], "/nowhere")
            await until(lambda: one.sidecar.metrics.http_connections == 0)
            publisher.publish(serial=2)
            await until(lambda: one.loads.get("rolled_back"))
            text = (await one.page("/metrics")).body.decode()
        families = {family.name: family for family in text_string_to_metric_families(text)}

        assert set(families) == set(DOCUMENTED)
        for name, family in families.items():
            assert family.documentation
            assert all(set(sample.labels) == DOCUMENTED[name] for sample in family.samples), name
        counters = {"authz_decisions", "authz_snapshot_loads", "authz_http_faults"}
        assert {name for name, family in families.items() if family.type == "counter"} == {
            *counters, "authz_decision_log_dropped", "authz_decision_log_written",
        }  # fmt: skip

        def value(sample_name: str, **labels: str) -> float:
            samples = [sample for family in families.values() for sample in family.samples]
            return next(s.value for s in samples if s.name == sample_name and s.labels == labels)

        usual = {"front": "http", "application": "shop", "enforced": "true"}
        allowed = {**usual, "decision": "allow", "reason": "allowlisted", "list": "allow"}
        denied = {**usual, "decision": "deny", "reason": "denylisted", "list": "deny"}
        unresolved = {**usual, "decision": "deny", "reason": "client_unresolved", "list": "none"}
        assert [value("authz_decisions_total", **labels) for labels in (allowed, denied, unresolved)] == [2, 1, 1]
        assert value("authz_snapshot_loads_total", result="ok") == 1
        assert value("authz_snapshot_loads_total", result="rolled_back") == 1
        assert value("authz_http_faults_total", status="404") == 1
        assert value("authz_ready") == 1
        assert value("authz_snapshot_serial") == 3
        assert value("authz_snapshot_created_seconds") == 1_800_000_000
        assert value("authz_snapshot_entries") == 3
        assert value("authz_snapshot_bytes") == size

    run(live())


def test_a_label_may_have_any_character() -> None:
    metrics, strange = Metrics(), 'a"b\\c\nd,e="f"} 1'
    metrics.count_load(strange)
    families = list(text_string_to_metric_families(metrics.text().decode()))
    samples = [sample for family in families if family.name == "authz_snapshot_loads" for sample in family.samples]
    assert [(sample.labels, sample.value) for sample in samples] == [({"result": strange}, 1)]


def test_every_metric_is_in_the_readme() -> None:
    """`_created_seconds` and its like stand for the prefix of the metric before them."""
    table = (Path(__file__).parents[2] / "README.md").read_text()
    for name in DOCUMENTED:
        assert name in table or any(
            f"`_{name.removeprefix(prefix)}" in table for prefix in ("authz_snapshot_", "authz_decision_log_")
        ), name


# The decision log.

FIELDS: Final = {
    "time", "front", "peer", "decision", "reason", "list", "entry", "client", "application", "serial", "status",
    "enforced", "warnings",
}  # fmt: skip


def logging_to(**settings: object) -> str:
    keys = ", ".join(f"{name}: {value}" for name, value in {"path": "decisions.jsonl", **settings}.items())
    return config().replace('decision_log: {path: "off"}', f"decision_log: {{{keys}}}")


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "decisions.jsonl").read_text().splitlines()]


def test_a_line_of_the_decision_log_says_all_of_a_decision(publisher: Publisher) -> None:
    publisher.publish(serial=3)

    async def live() -> None:
        async with running(publisher.folder, logging_to(allowed=1.0)) as one:
            await one.ask("2001:DB8:1:0::0F")
            await one.ask(f"::ffff:{DENIED}")
            await one.ask("unknown")
            assert one.sidecar.metrics.gauges()["authz_decision_log_dropped_total"][1] == 0

    before = time.time()
    run(live())
    allowed, denied, unresolved = lines_of(publisher.folder)

    assert set(allowed) == set(denied) == set(unresolved) == FIELDS
    moment = allowed.pop("time")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", moment)
    assert abs(time.mktime(time.strptime(moment[:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone - before) < 3600
    assert allowed == {
        "front": "http", "peer": "127.0.0.1", "decision": "allow", "reason": "allowlisted", "list": "allow",
        "entry": "office", "client": "2001:db8:1::f", "application": "shop", "serial": 3, "status": 200,
        "enforced": True, "warnings": [],
    }  # fmt: skip
    assert (denied["client"], denied["decision"], denied["entry"]) == (DENIED, "deny", "bad")
    assert (unresolved["client"], unresolved["reason"]) == (None, "client_unresolved")


@pytest.mark.parametrize(
    ("settings", "clients"),
    [
        ({}, [DENIED]),
        ({"denied": 0.0}, None),
        ({"denied": 0.0, "allowed": 1.0}, [ALLOWED]),
        ({"denied": 1.0, "allowed": 1.0}, [ALLOWED, DENIED]),
    ],
)
def test_shares_of_none_and_all_are_exact(
    publisher: Publisher, settings: dict[str, object], clients: list[str] | None
) -> None:
    publisher.publish()

    async def live() -> None:
        async with running(publisher.folder, logging_to(**settings)) as one:
            for _ in range(20):
                await one.ask(ALLOWED)
                await one.ask(DENIED)

    run(live())
    if clients is None:
        assert not (publisher.folder / "decisions.jsonl").exists()
    else:
        assert [line["client"] for line in lines_of(publisher.folder)] == clients * 20


def test_a_share_is_drawn_for_each_decision(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    draws = iter([0.24, 0.25, 0.0, 0.99, 0.1])
    monkeypatch.setattr("random.random", lambda: next(draws))
    publisher.publish()

    async def live() -> None:
        async with running(publisher.folder, logging_to(allowed=0.25)) as one:
            for number in range(5):
                await one.ask(f"192.0.2.{number}")

    run(live())
    assert [line["client"] for line in lines_of(publisher.folder)] == ["192.0.2.0", "192.0.2.2", "192.0.2.4"]


def test_what_dry_run_would_have_denied_is_logged_as_denied(publisher: Publisher) -> None:
    publisher.publish(POLICY.replace("hosts: [shop.example.com]", "dry_run: true"))

    async def live() -> None:
        async with running(publisher.folder, logging_to()) as one:
            assert (await one.ask(DENIED)).status == 200

    run(live())
    assert [(line["decision"], line["enforced"]) for line in lines_of(publisher.folder)] == [("allow", False)]


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Make the writer of the decision log wait until the event is set."""
    go = threading.Event()
    original = DecisionLog._write_all

    def slow(self: DecisionLog, *arguments: Any) -> None:
        go.wait(PATIENCE)
        original(self, *arguments)

    monkeypatch.setattr(DecisionLog, "_write_all", slow)
    yield go
    go.set()


def test_a_decision_log_that_was_moved_away_is_opened_again_when_told(publisher: Publisher) -> None:
    publisher.publish()
    text = config().replace('decision_log: {path: "off"}', "decision_log: {path: decisions.log}")
    log, moved = publisher.folder / "decisions.log", publisher.folder / "decisions.log.1"

    async def live() -> None:
        async with running(publisher.folder, text) as one:
            await one.ask(DENIED)
            await until(lambda: log.read_bytes().count(b"\n") == 1)
            log.rename(moved)
            await one.ask(DENIED)
            await until(lambda: moved.read_bytes().count(b"\n") == 2)
            one.sidecar.reload()
            await one.ask(DENIED)
            await until(lambda: log.exists() and log.read_bytes().count(b"\n") == 1)
        assert moved.read_bytes().count(b"\n") == 2

    run(live())


def test_a_slow_disk_loses_lines_which_are_counted_and_never_slows_a_decision(
    publisher: Publisher, stuck: threading.Event
) -> None:
    publisher.publish()

    async def live() -> None:
        async with running(publisher.folder, logging_to(queue=10)) as one:
            reader, writer = await asyncio.open_connection("127.0.0.1", one.sidecar.ports["http"])
            for _ in range(1000):
                writer.write(f"GET /v1/auth HTTP/1.1\r\nX-Forwarded-For: {DENIED}\r\n\r\n".encode())
                assert await reader.readuntil(b"\r\n\r\n")
            writer.close()
            gauges = one.sidecar.metrics.gauges()
            dropped = gauges["authz_decision_log_dropped_total"][1]
            assert gauges["authz_decision_log_written_total"][1] == 0
            assert 1000 - 2 * 10 - 1 <= dropped < 1000  # the queue, and what the writer had taken of it
            stuck.set()
            await until(lambda: one.sidecar.metrics.gauges()["authz_decision_log_written_total"][1] == 1000 - dropped)
            assert len(lines_of(publisher.folder)) == 1000 - dropped
            await one.ask(DENIED)  # and now it goes on
            await until(lambda: len(lines_of(publisher.folder)) == 1001 - dropped)

    run(live())


def test_a_full_disk_is_told_once_and_counted_and_decisions_go_on(
    publisher: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    publisher.publish()

    async def live() -> None:
        text = logging_to().replace("decisions.jsonl", "/dev/full")
        async with running(publisher.folder, text) as one:
            for count in range(1, 6):
                assert (await one.ask(DENIED)).status == 403
                await until(
                    lambda: one.sidecar.metrics.gauges()["authz_decision_log_dropped_total"][1] == count  # noqa: B023
                )

    with caplog.at_level(logging.INFO):
        run(live())
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
        "the decision log cannot be written: No space left on device"
    ]


def test_a_decision_log_that_cannot_be_opened_is_an_error_at_the_start(publisher: Publisher) -> None:
    async def live() -> None:
        text = logging_to().replace("decisions.jsonl", "nowhere/decisions.jsonl")
        with pytest.raises(StartError) as caught:
            async with running(publisher.folder, text):
                pass
        path = publisher.folder / "nowhere/decisions.jsonl"
        assert caught.value.message == f"decision_log.path: {path}: No such file or directory"

    run(live())


def test_the_decision_log_is_appended_to(publisher: Publisher) -> None:
    publisher.publish()

    async def live() -> None:
        for _ in range(2):
            async with running(publisher.folder, logging_to()) as one:
                await one.ask(DENIED)

    run(live())
    assert len(lines_of(publisher.folder)) == 2


def test_the_decision_log_goes_to_standard_output_where_it_is_told(publisher: Publisher) -> None:
    publisher.publish()
    with Sidecar(publisher.folder) as sidecar:
        for client in (ALLOWED, DENIED, "::FFFF:cb00:7109", "2001:DB8:BAD:0::1"):
            get(sidecar.ports["http"], "/v1/auth/shop", client)
        wait_for(lambda: sum(line.startswith("{") for line in sidecar.lines) == 4)
        lines = [json.loads(line) for line in sidecar.lines if line.startswith("{")]

    assert all(set(line) == FIELDS for line in lines)
    assert [line["client"] for line in lines] == [ALLOWED, DENIED, DENIED, "2001:db8:bad::1"]


def test_a_client_is_canonical_text_in_every_log(publisher: Publisher, caplog: pytest.LogCaptureFixture) -> None:
    """And what a client wrote in the place of an address is in none."""
    publisher.publish()
    texts = [
        "2001:DB8:1:0:0:0:0:AB",
        "::ffff:203.0.113.9",
        "[2001:db8::1]:80",
        "203.0.113.9:99",
        "evil<b>",
        "1.2.3.4%",
    ]
    text = logging_to(allowed=1.0).replace('"off"', '"127.0.0.1:0"', 1)

    async def live() -> None:
        async with running(publisher.folder, text) as one:
            for each in texts:
                await one.ask(each)
            recorder = Recorder("grpc", one.sidecar.metrics, one.sidecar._log)
            check = GrpcCheck(one.sidecar.config, one.sidecar.decider, recorder)
            for peer in ("::FFFF:192.0.2.7", "2001:DB8::7", "evil\n<b>"):
                check(check_request(peer))

    with caplog.at_level(logging.DEBUG):
        run(live())
    written = (publisher.folder / "decisions.jsonl").read_text()

    for line in lines_of(publisher.folder):
        client = line["client"]
        assert client is None or parse_address(client).text == client
    assert [line["client"] for line in lines_of(publisher.folder)] == [
        "2001:db8:1::ab", DENIED, "2001:db8::1", DENIED, None, None, ALLOWED, "2001:db8::7", None,
    ]  # fmt: skip
    assert written.isascii()
    assert "<b>" not in caplog.text
