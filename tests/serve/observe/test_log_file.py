"""The file of the decision log: whole lines or none, whatever is in its place and whatever the disk does."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest
from support.processes import Sidecar, wait_for
from support.sidecar.running import DENIED, get, logging_to

from authz.serve.observe.log.file import LogFile

if TYPE_CHECKING:
    from pathlib import Path

    from support.publishing.publisher import Publisher


def test_a_line_that_a_full_disk_cut_never_joins_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = LogFile(str(tmp_path / "log"))
    file.open()
    write, room = os.write, [5]

    def nearly_full(descriptor: int, data: memoryview) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = write(descriptor, data[: room[0]])
        room[0] -= taken
        return taken

    monkeypatch.setattr(os, "write", nearly_full)
    with pytest.raises(OSError, match="No space left"):
        file.write(b"a first line\n")
    with pytest.raises(OSError, match="No space left"):
        file.write(b"a second line\n")
    room[0] = 1000
    file.write(b"a third line\n")
    file.write(b"a fourth line\n")
    file.close()
    assert (tmp_path / "log").read_bytes() == b"a fir\na third line\na fourth line\n"


@pytest.mark.parametrize(("before", "after"), [(b"whole\nha", b"whole\nha\nnext\n"), (b"whole\n", b"whole\nnext\n")])
def test_a_file_is_appended_to_and_a_line_that_was_left_half_written_is_ended(
    tmp_path: Path, before: bytes, after: bytes
) -> None:
    (tmp_path / "log").write_bytes(before)
    file = LogFile(str(tmp_path / "log"))
    file.open()
    file.write(b"next\n")
    file.close()
    file.close()
    assert (tmp_path / "log").read_bytes() == after


def test_a_named_pipe_without_a_reader_does_not_block_the_start(publisher: Publisher) -> None:
    """It did, for ever; and lines are lost only until somebody reads, and again when he goes."""
    publisher.publish()
    pipe = publisher.folder / "decisions.jsonl"
    os.mkfifo(pipe)
    with Sidecar(publisher.folder, logging_to()) as sidecar:
        assert get(sidecar.ports["http"], "/v1/auth/shop", DENIED).status == 403
        sidecar.wait_for_line("the decision log cannot be written: nobody reads the named pipe")
        for _ in range(2):
            reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
            assert get(sidecar.ports["http"], "/v1/auth/shop", DENIED).status == 403
            line = wait_for(lambda: os.read(reader, 1 << 16), "a line")  # noqa: B023
            assert line.startswith(b'{"time":')
            os.close(reader)
            assert get(sidecar.ports["http"], "/v1/auth/shop", DENIED).status == 403
            wait_for(lambda: "Broken pipe" in sidecar.output, "the reader's end is told")
