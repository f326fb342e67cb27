"""A running sidecar without disk, memory or a good clock: it decides by what it has, and recovers by itself."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.fuzz.failpoints import needs_strace
from support.processes import Process, Sidecar, wait_for
from support.publishing.publisher import POLICY
from support.sidecar.running import ALLOWED, DENIED, NEW_POLICY, config, get

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.publishing.publisher import Publisher

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="prlimit is Linux's")
SOURCE = Path(__file__).with_name("clock.c")
DAY = 86_400


def asked(sidecar: Sidecar, client: str) -> tuple[int, str | None]:
    """Return the status of the answer for a client, and the serial that decided."""
    answer = get(sidecar.ports["http"], "/v1/auth/shop", client)
    return answer.status, answer.header("serial")


@contextlib.contextmanager
def limited(process: Process, which: int, soft: int) -> Iterator[None]:
    """Take a resource away from a running process meanwhile."""
    before, hard = resource.prlimit(process.pid, which)
    resource.prlimit(process.pid, which, (soft, hard))
    try:
        yield
    finally:
        resource.prlimit(process.pid, which, (before, hard))


@contextlib.contextmanager
def full_disk(process: Process, folder: Path) -> Iterator[None]:
    """Have every fsync and every new file of the process fail as on a full disk meanwhile."""
    calls = "fsync,mkdir,rename"
    command = ["strace", "-f", "-qq", "-p", str(process.pid), "-e", f"trace={calls}",
               "-e", f"inject={calls}:error=ENOSPC"]  # fmt: skip
    with Process(command, cwd=folder) as strace:
        status = Path(f"/proc/{process.pid}/status")
        wait_for(lambda: "TracerPid:\t0\n" not in status.read_text() or strace.popen.poll() is not None)
        assert strace.popen.poll() is None, strace.output
        yield


def test_a_full_disk_refuses_the_new_snapshot_which_loads_once_there_is_room(publisher: Publisher) -> None:
    needs_strace()
    publisher.publish(serial=1)
    with Sidecar(publisher.folder, config()) as sidecar:
        with full_disk(sidecar, publisher.folder):
            publisher.publish(NEW_POLICY, serial=2)
            sidecar.wait_for_line("refused .*: state_unwritable: .*No space left on device.*; serial 1 serves on")
            assert asked(sidecar, ALLOWED) == (200, "1")
            assert asked(sidecar, DENIED) == (403, "1")
        sidecar.wait_for_line("loaded serial 2")
        assert asked(sidecar, ALLOWED) == (403, "2")


def test_without_memory_the_old_snapshot_serves_on_and_the_new_one_loads_once_there_is_some(
    publisher: Publisher,
) -> None:
    publisher.publish(serial=1)
    with Sidecar(publisher.folder, config()) as sidecar:
        assert asked(sidecar, ALLOWED) == (200, "1")
        with limited(sidecar, resource.RLIMIT_AS, 1 << 20):  # nothing more can be mapped, and no thread begins
            publisher.publish(NEW_POLICY, serial=2)
            sidecar.wait_for_line("refused .*; serial 1 serves on")
            for _ in range(20):
                assert asked(sidecar, ALLOWED) == (200, "1")
                assert asked(sidecar, DENIED) == (403, "1")
        sidecar.wait_for_line("loaded serial 2")
        assert asked(sidecar, ALLOWED) == (403, "2")


class Clock:
    """The clock of a process, by a library that is preloaded: `move` it at any time."""

    def __init__(self, folder: Path) -> None:
        library = folder / "clock.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, SOURCE], check=True)
        self._file = folder / "clock"
        self._file.write_bytes(bytes(8))
        self.env = {**os.environ, "LD_PRELOAD": str(library), "CLOCK_OFFSET": str(self._file)}

    def move(self, seconds: int) -> None:
        """Let it be so many seconds later than it is."""
        with self._file.open("r+b", buffering=0) as file:
            file.write(seconds.to_bytes(8, sys.byteorder, signed=True))


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler (Debian package gcc)")
def test_a_clock_that_is_set_a_day_off_and_back_moves_only_what_ends_in_between(publisher: Publisher) -> None:
    now = int(time.time())
    end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now + DAY // 2))
    ban = f'  - {{id: soon-over, list: deny, networks: ["{ALLOWED}"], expires: "{end}", reason: x}}\n'
    policy = POLICY.replace("list: allow, ", "list: gray, ") + ban
    publisher.publish(policy, serial=1)
    clock = Clock(publisher.folder)
    with Sidecar(publisher.folder, config("poll: 1h, max_age: 23h"), env=clock.env) as sidecar:
        assert asked(sidecar, ALLOWED) == (403, "1"), sidecar.output
        clock.move(DAY)
        sidecar.wait_for_line("stale: serial 1 was made at")
        assert asked(sidecar, ALLOWED) == (200, "1")
        assert asked(sidecar, DENIED) == (403, "1")
        clock.move(-DAY)
        wait_for(lambda: "fresh again" in sidecar.output)
        assert asked(sidecar, ALLOWED) == (403, "1")
        publisher.publish(policy, serial=2)
        sidecar.wait_for_line("serial 2 was made at .*, in the future")
        assert asked(sidecar, ALLOWED) == (403, "2")
        clock.move(0)
        assert asked(sidecar, ALLOWED) == (403, "2")
        assert asked(sidecar, DENIED) == (403, "2")
        assert get(sidecar.ports["admin"], "/readyz").status == 200
