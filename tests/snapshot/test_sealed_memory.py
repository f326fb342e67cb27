"""The private copy of a snapshot file: nobody can change it, whatever happens to the file."""

from __future__ import annotations

import fcntl
import mmap
import os
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, NamedTuple

import pytest
from support.suite.descriptors import descriptors

from authz.errors import SnapshotRefused
from authz.snapshot import sealed_memory as sealed
from authz.snapshot.read import read_snapshot
from authz.snapshot.sealed_memory import opened

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.publishing.publisher import Publisher

linux = pytest.mark.skipif(sys.platform != "linux", reason="memfd_create is Linux's")
LIMIT = 1 << 20
CONTENT = bytes(range(256)) * 40


@pytest.fixture(params=["memfd", "memory"])
def variant(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of copying: sealed memory where there is a memfd, and ordinary memory elsewhere."""
    if request.param == "memfd" and sys.platform != "linux":
        pytest.skip("memfd_create is Linux's")
    if request.param == "memory":
        monkeypatch.setattr(sealed, "sys", SimpleNamespace(platform="darwin"))
    return str(request.param)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with CONTENT."""
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


def sealed_copy(path: Path, limit: int) -> memoryview:
    """Return a copy of all of a file."""
    with opened(path, limit) as source:
        return source.seal()[0]


class Watched(NamedTuple):
    """A copy, and a descriptor of the memory behind it that the code itself has closed."""

    view: memoryview
    memory: int


@pytest.fixture
def watched(file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    """A copy of `file` whose memory we have kept a descriptor of."""
    kept: list[int] = []
    create = os.memfd_create

    def create_and_keep(name: str, flags: int) -> int:
        descriptor = create(name, flags)
        kept.append(os.dup(descriptor))
        return descriptor

    monkeypatch.setattr(os, "memfd_create", create_and_keep)
    view = sealed_copy(file, LIMIT)
    yield Watched(view, kept[0])
    os.close(kept[0])


@pytest.mark.usefixtures("variant")
@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 100_000])
def test_the_copy_has_the_content_of_the_file(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    (tmp_path / "file").write_bytes(content)
    assert bytes(sealed_copy(tmp_path / "file", LIMIT)) == content


@pytest.mark.usefixtures("variant")
def test_a_file_of_many_chunks_is_copied_whole(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed, "STEP", 100)
    assert bytes(sealed_copy(file, LIMIT)) == CONTENT


@pytest.mark.usefixtures("variant")
@pytest.mark.parametrize("size", [0, 1, 250, len(CONTENT), len(CONTENT) + 1])
def test_what_is_read_first_is_not_in_the_copy(file: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(sealed, "STEP", 100)
    with opened(file, len(CONTENT)) as source:
        assert source.size == len(CONTENT)
        assert (source.read(size), bytes(source.seal()[0])) == (CONTENT[:size], CONTENT[size:])


@pytest.mark.usefixtures("variant")
def test_the_file_may_change_after_the_copy(file: Path) -> None:
    view = sealed_copy(file, LIMIT)
    with file.open("r+b") as handle:
        handle.write(b"x" * len(CONTENT))
    assert bytes(view) == CONTENT


@pytest.mark.usefixtures("variant")
def test_the_file_may_be_cut_after_the_copy(file: Path) -> None:
    view = sealed_copy(file, LIMIT)
    os.truncate(file, 0)
    assert bytes(view) == CONTENT
    file.unlink()
    assert bytes(view) == CONTENT


@pytest.mark.usefixtures("variant")
def test_a_checked_snapshot_does_not_change_with_its_file(publisher: Publisher) -> None:
    path = publisher.publish()
    snapshot = read_snapshot(path, [publisher.key()], now=0)
    before = {name: bytes(data) for name, data in snapshot.sections.items()}
    with path.open("r+b") as handle:
        handle.write(b"\xff" * snapshot.size)
    os.truncate(path, 10)
    assert {name: bytes(data) for name, data in snapshot.sections.items()} == before


@pytest.mark.usefixtures("variant")
def test_the_view_cannot_be_written_through(file: Path) -> None:
    view = sealed_copy(file, LIMIT)
    assert view.readonly
    with pytest.raises(TypeError):
        view[0] = 1


@linux
def test_the_memory_has_every_seal(watched: Watched) -> None:
    seals = fcntl.fcntl(watched.memory, fcntl.F_GET_SEALS)
    assert seals == fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


@linux
def test_the_memory_cannot_be_written(watched: Watched) -> None:
    with pytest.raises(PermissionError):
        os.pwrite(watched.memory, b"x", 0)
    with pytest.raises(PermissionError):
        mmap.mmap(watched.memory, len(CONTENT), prot=mmap.PROT_READ | mmap.PROT_WRITE)
    assert bytes(watched.view) == CONTENT


@linux
@pytest.mark.parametrize("size", [0, len(CONTENT) - 1, len(CONTENT) + 1])
def test_the_memory_cannot_be_cut_or_grown(watched: Watched, size: int) -> None:
    with pytest.raises(PermissionError):
        os.ftruncate(watched.memory, size)
    assert bytes(watched.view) == CONTENT


@linux
def test_no_descriptor_outlives_the_copy(file: Path) -> None:
    before = descriptors()
    views = [sealed_copy(file, LIMIT) for _ in range(3)]
    assert len(descriptors() - before) <= 2 * len(views), "one of the copy, and mmap keeps one of its own"
    views.clear()
    assert descriptors() - before == set()
    with pytest.raises(SnapshotRefused):
        sealed_copy(file, 10)
    with pytest.raises(SnapshotRefused):
        sealed_copy(file.parent, LIMIT)
    assert descriptors() - before == set()


@pytest.mark.usefixtures("variant")
def test_a_file_of_the_limit_is_copied_and_one_byte_more_is_refused(file: Path) -> None:
    assert len(sealed_copy(file, len(CONTENT))) == len(CONTENT)
    with pytest.raises(SnapshotRefused) as refused:
        sealed_copy(file, len(CONTENT) - 1)
    assert refused.value.code == "too_large"
    assert refused.value.message == f"{file}: found {len(CONTENT)} bytes, expected at most {len(CONTENT) - 1}"


@pytest.mark.usefixtures("variant")
def test_a_file_that_grows_while_it_is_copied_is_refused_at_the_limit(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = os.fstat

    def look_and_grow(descriptor: int) -> os.stat_result:
        status = look(descriptor)
        with file.open("ab") as handle:
            handle.write(b"x")
        return status

    monkeypatch.setattr(os, "fstat", look_and_grow)
    with pytest.raises(SnapshotRefused) as refused:
        sealed_copy(file, len(CONTENT))
    assert refused.value.code == "too_large"


def test_a_name_of_many_bytes_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / ("\u20ac" * 84)  # 252 bytes; a memfd's name has at most 249
    path.write_bytes(CONTENT)
    assert bytes(sealed_copy(path, LIMIT)) == CONTENT


def test_a_missing_file_is_refused_with_the_reason_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(SnapshotRefused) as refused:
        sealed_copy(tmp_path / "missing", LIMIT)
    assert (refused.value.code, refused.value.message) == (
        "absent",
        f"{tmp_path}/missing: No such file or directory",
    )
