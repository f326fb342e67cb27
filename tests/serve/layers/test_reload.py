"""A new snapshot is noticed and loaded, however it is put there."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from typing import TYPE_CHECKING, Any, Final

import pytest
from support.processes import Sidecar, wait_for
from support.publishing.publisher import POLICY, Publisher
from support.sidecar.loading import Loading
from support.sidecar.running import (
    ALLOWED,
    HTTP_ONLY,
    NEW_POLICY,
    PATIENCE,
    config,
    get,
    run,
    running,
    until,
)

from authz.addresses import parse_network
from authz.errors import SnapshotRefused
from authz.publisher.bans import Ban, build_bans_layer
from authz.serve.layers import file as file_module
from authz.serve.layers.accept import Acceptor
from authz.serve.layers.file import FileSource
from authz.serve.layers.watch import FolderWatch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from authz.engine.entries.opened_snapshot import OpenedSnapshot


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
        async with running(publisher.folder, config(poll)) as started:
            assert (await started.ask()).status == 200
            writer = asyncio.create_task(asyncio.to_thread(change, publisher))
            while not writer.done():  # whatever is half written, the old one decides
                assert (await started.ask()).status in ({200} if started.serial == 1 else {200, 403})
            await writer
            await until(lambda: started.serial == 2)
            assert (await started.ask()).status == 403
            assert await started.readiness() == (200, [])
            assert started.loads["ok"] >= 2

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
        async with running(publisher.folder, text) as started:
            for number in (2, 3, 4):
                await asyncio.to_thread(put, number)
                await until(lambda: started.serial == number)  # noqa: B023
                assert (await started.ask()).status == (403 if number % 2 else 200)
            assert started.loads == {"ok": 4}

    run(live())


def test_a_file_that_changes_while_it_is_read_is_read_again_before_it_is_refused(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    publisher.publish(serial=1)
    data = publisher.publish(NEW_POLICY, serial=2, to="other").read_bytes()
    path = publisher.folder / "lists.snapshot"
    original = Acceptor.accept

    def written_meanwhile(self: Acceptor, copy: Path, fetch_part: Any) -> OpenedSnapshot:
        try:
            return original(self, copy, fetch_part)
        except SnapshotRefused:
            path.write_bytes(data)
            raise

    async def live() -> None:
        async with running(publisher.folder, config("poll: 20ms")) as started:
            monkeypatch.setattr(Acceptor, "accept", written_meanwhile)
            path.write_bytes(data[: len(data) // 2])
            await until(lambda: started.serial == 2)
            assert set(started.loads) == {"ok"}

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

    monkeypatch.setattr(file_module, "FolderWatch", Told)

    async def live() -> None:
        loading = Loading(publisher.folder, [publisher.key()])
        watch = asyncio.create_task(loading.layer.watch())
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
            line = f'authz_snapshot_loads_total{{layer="policy",result="ok"}} {count}.0'
            wait_for(lambda: line in get(sidecar.ports["admin"], "/metrics").body.decode(), line)  # noqa: B023
        assert get(sidecar.ports["http"], "/v1/auth", ALLOWED).status == 200


def test_a_file_of_the_same_size_written_in_place_is_another_one(tmp_path: Path) -> None:
    """Device, inode, size and mtime are as they were: only ctime tells, which nobody can set."""
    path = tmp_path / "lists.snapshot"
    path.write_bytes(b"one")
    before = path.stat()
    source = FileSource(path, poll=1)
    fetched = []
    for content in (None, None, b"two", None):
        if content is not None:
            while path.stat().st_ctime_ns == before.st_ctime_ns:  # a clock of some milliseconds
                path.write_bytes(content)
                os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        with source.fetch() as started:
            fetched.append(started)
    after = path.stat()
    assert (after.st_ino, after.st_size, after.st_mtime_ns) == (before.st_ino, before.st_size, before.st_mtime_ns)
    assert fetched == [path, None, path, None]


LAYERS: Final = "layers:\n  - {name: policy, path: lists.snapshot, trusted_keys: [keys/a.pub]}\n"
BANS: Final = "  - {name: bans, path: bans.snapshot, trusted_keys: [keys/b.pub]}\n"


def test_a_layer_that_leaves_the_configuration_is_told_and_has_no_effect_any_more(publisher: Publisher) -> None:
    publisher.publish(serial=3)
    folder, now = publisher.folder, int(time.time())
    ban = Ban("b-1", parse_network("198.51.100.7"), expires=now + 3600, added=now)
    signers = [publisher.signer("b")]
    (folder / "bans.snapshot").write_bytes(
        build_bans_layer([ban], layer="bans", serial=1, created=now, signers=signers)
    )
    with Sidecar(folder, LAYERS + BANS + HTTP_ONLY) as sidecar:

        def status() -> int:
            return get(sidecar.ports["http"], "/v1/auth/shop", "198.51.100.7").status

        wait_for(lambda: status() == 403, "the ban")
        (folder / "authz.yaml").write_text(LAYERS + HTTP_ONLY)
        os.kill(sidecar.pid, signal.SIGHUP)
        sidecar.wait_for_line("bans: the configuration has no such layer any more: continuing without it")
        wait_for(lambda: status() == 200, "the end of the ban")
