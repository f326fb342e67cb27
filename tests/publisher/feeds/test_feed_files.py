"""Files of feeds: plain, gzip and xz by their first bytes, and nothing that is damaged, greedy or something else."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest
from support.publishing.feeds import networks, read_text

from authz.errors import InputError
from authz.publisher.feeds import decompress, files
from authz.publisher.feeds.files import read_content
from authz.publisher.feeds.read_feed import read_feed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TEXT = b"192.0.2.7\n198.51.100.0/24\n"
PACKERS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "xz": lzma.compress}
packers = pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS)


def content_of(folder: Path, content: bytes) -> bytes:
    (folder / "feed").write_bytes(content)
    return read_content(folder / "feed")


@packers
def test_a_packed_feed_is_unpacked_whatever_its_name(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    assert networks(read_text(tmp_path, pack(TEXT))) == ["192.0.2.7", "198.51.100.0/24"]


@packers
def test_a_packed_file_of_several_streams_is_one_feed(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    assert content_of(tmp_path, pack(TEXT) + pack(b"") + pack(TEXT)) == TEXT * 2


@packers
def test_padding_behind_a_packed_file_says_nothing(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    assert content_of(tmp_path, pack(TEXT) + bytes(512)) == TEXT


@packers
def test_a_packed_file_that_is_cut_short_anywhere_is_an_error(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    packed = pack(TEXT * 10)
    for length in range(6, len(packed)):
        with pytest.raises(InputError, match="damaged or cut short"):
            content_of(tmp_path, packed[:length])


@packers
def test_a_packed_file_with_any_bit_flipped_behind_its_head_is_never_read_as_something_else(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    packed = pack(TEXT)
    for place in range(10, len(packed)):
        flipped = packed[:place] + bytes([packed[place] ^ 16]) + packed[place + 1 :]
        try:
            assert content_of(tmp_path, flipped) == TEXT
        except InputError as error:
            assert "damaged or cut short" in error.message  # noqa: PT017 (either is right)


@packers
def test_rubbish_behind_a_packed_file_is_an_error(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    with pytest.raises(InputError, match="damaged"):
        content_of(tmp_path, pack(TEXT) + b"192.0.2.9\n")


@packers
def test_a_bomb_is_not_unpacked_beyond_the_cap(
    tmp_path: Path, pack: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAX_CONTENT", 1 << 20)
    assert len(content_of(tmp_path, pack(b"#" * (1 << 20)))) == 1 << 20
    for bomb in (pack(b"#" * ((1 << 20) + 1)), pack(bytes(8 << 20)), pack(b"#" * (1 << 19)) * 3):
        with pytest.raises(InputError, match="found more than 1048576 bytes, expected at most that, unpacked"):
            content_of(tmp_path, bomb)


def test_a_plain_file_has_the_same_cap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_CONTENT", 1 << 20)
    with pytest.raises(InputError, match="found more than 1048576 bytes"):
        content_of(tmp_path, b"#" * ((1 << 20) + 1))


def test_an_xz_file_that_asks_for_much_memory_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = lzma.compress(TEXT, preset=9)
    assert content_of(tmp_path, packed) == TEXT
    monkeypatch.setattr(decompress, "MAX_XZ_MEMORY", 32 << 20)
    with pytest.raises(InputError, match="Memory usage limit"):
        content_of(tmp_path, packed)


def test_an_xz_file_of_very_many_streams_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="more than 100 xz streams"):
        content_of(tmp_path, lzma.compress(b"") * 101)


def test_a_file_of_too_many_lines_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_LINES", 100)
    assert content_of(tmp_path, b"\n" * 100)
    for end in (b"\n", b"\r", b"\r\n"):
        with pytest.raises(InputError, match="found more than 100 lines"):
            content_of(tmp_path, end * 101)


def archive(kind: str) -> bytes:
    packed = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(packed, "w") as zipped:
            zipped.writestr("list.txt", TEXT)
    else:
        with tarfile.open(fileobj=packed, mode="w") as tarred:
            member = tarfile.TarInfo("list.txt")
            member.size = len(TEXT)
            tarred.addfile(member, io.BytesIO(TEXT))
    return packed.getvalue()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (archive("zip"), "a zip archive"),
        (archive("tar"), "a NUL byte"),
        (gzip.compress(archive("tar")), "a NUL byte"),
        (gzip.compress(archive("zip")), "a zip archive"),
        (bz2.compress(TEXT), "a bzip2 file"),
        (b"\x28\xb5\x2f\xfd\x04\x00", "a zstd file"),
        (TEXT.decode().encode("utf-16"), "UTF-16 text"),
        (b"\xfe\xff" + TEXT.decode().encode("utf-16-be"), "UTF-16 text"),
        (TEXT.decode().encode("utf-16-be"), "a NUL byte"),
    ],
)
def test_a_file_of_another_kind_is_an_error_that_says_which(tmp_path: Path, content: bytes, what: str) -> None:
    with pytest.raises(InputError, match=f"/feed: .*found {what}, expected"):
        read_text(tmp_path, content)


def test_lines_may_end_as_on_any_system(tmp_path: Path) -> None:
    assert content_of(tmp_path, b"\xef\xbb\xbfa\r\nb\rc\n\r\nd") == b"a\nb\nc\n\nd"


@pytest.mark.parametrize(("name", "why"), [("none", "No such file"), (".", "Is a directory"), ("a\0b", "null byte")])
def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path, name: str, why: str) -> None:
    with pytest.raises(InputError, match=f"cannot be read: .*{why}"):
        read_feed(tmp_path / name)
