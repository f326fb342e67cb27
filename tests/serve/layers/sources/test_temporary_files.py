"""What is fetched is kept in the folder of the state while it is looked at: a sidecar may have no other one."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import tempfile
import time
from typing import TYPE_CHECKING

import pytest
from support.servers.web_server import WebServer
from support.sidecar.running import ALLOWED, HTTP_ONLY, run, running

from authz.errors import SnapshotRefused
from authz.serve.layers import fetched
from authz.serve.layers.config import LayerConfig
from authz.serve.layers.layers import make_source

if TYPE_CHECKING:
    from pathlib import Path

    from support.publishing.publisher import Publisher

    from authz.serve.layers.source import Source


def source(url: str, folder: Path) -> Source:
    return make_source(LayerConfig(name="policy", url=url, trusted_keys=()), folder)


def test_a_sidecar_that_can_write_to_the_folder_of_its_state_alone_fetches(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a read-only root, every layer with a url was refused, and everybody got 503."""

    def none(*_: object) -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    async def live() -> None:
        with WebServer(publisher.publish(serial=1).read_bytes()).running() as server:
            layers = f"layers: [{{name: policy, url: '{server.url}', trusted_keys: [keys/a.pub]}}]\n"
            async with running(publisher.folder, layers + HTTP_ONLY) as started:
                assert started.serial == 1
                assert (await started.ask(ALLOWED)).status == 200

    monkeypatch.setattr(tempfile, "_get_default_tempdir", none)
    monkeypatch.setattr(tempfile, "tempdir", None)
    run(live())
    assert not list((publisher.folder / "state").glob(".authz-fetched-*"))


def test_a_file_is_there_as_long_as_it_is_looked_at(tmp_path: Path) -> None:
    with WebServer(b"lists").running() as server, source(server.url, tmp_path).fetch() as path:
        assert path is not None
        assert (path.parent, path.read_bytes(), path.stat().st_mode & 0o777) == (tmp_path, b"lists", 0o600)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed_and_what_another_one_uses_is_not(tmp_path: Path) -> None:
    long_ago = time.time() - 2 * fetched._LEFT
    left, used, new, other = (
        tmp_path / name for name in (".authz-fetched-1", ".authz-fetched-2", ".authz-fetched-3", "a")
    )
    for path in (left, used, new, other):
        path.write_bytes(b"x")
        os.utime(path, None if path is new else (long_ago, long_ago))
    with used.open("rb") as file, WebServer(b"lists").running() as server:
        fcntl.flock(file, fcntl.LOCK_EX)
        with source(server.url, tmp_path).fetch() as fetched_path:
            assert fetched_path is not None
    assert sorted(tmp_path.iterdir()) == sorted([used, new, other])


def test_a_folder_that_cannot_be_written_to_is_named_and_no_server_is_accused(tmp_path: Path) -> None:
    with (
        WebServer(b"lists").running() as server,
        pytest.raises(SnapshotRefused) as caught,
        source(server.url, tmp_path / "absent").fetch(),
    ):
        pass
    assert caught.value.code == "state_unwritable"
    assert re.search(r"absent: No such file or directory: what was fetched cannot be kept$", caught.value.message)


def test_a_file_that_cannot_be_locked_is_told_and_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with (
        WebServer(b"lists").running() as server,
        pytest.raises(SnapshotRefused, match="No locks available: what was fetched cannot be kept"),
        source(server.url, tmp_path).fetch(),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(fetched, "_write", full)
    with (
        WebServer(b"lists").running() as server,
        pytest.raises(SnapshotRefused, match="No space left on device: what was fetched") as caught,
        source(server.url, tmp_path).fetch(),
    ):
        pass
    assert caught.value.code == "state_unwritable"
    assert list(tmp_path.iterdir()) == []
