"""Real processes that are killed, or get an error, at the Nth system call that changes a disk: injected by strace.

Nothing of this is in the product: strace stops the process where it enters the call, so the Nth call and all after it
have not happened.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

RENAMES: Final = "rename,renameat,renameat2"
CHANGES: Final = f"{RENAMES},write,writev,pwrite64,fsync,fdatasync,fchmod,ftruncate,unlink,mkdir,link,linkat,flock"
ROOM: Final = f"{RENAMES},write,writev,pwrite64,fsync,mkdir"  # calls that fail where a disk is full
KILL, FULL = "signal=KILL", "error=ENOSPC"


class Ended(NamedTuple):
    """How a process ended. status: negative: by this signal.

    call: the system calls with the fault, as strace has them: the Nth of each kind.
    """

    status: int
    output: str
    call: str


def needs_strace() -> None:
    """Skip the test where strace is missing or may trace nothing."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace (Debian package strace)")
    if subprocess.run(["strace", "-qq", "-e", "trace=none", "true"], capture_output=True, check=False).returncode:
        pytest.skip("strace may trace no process here")


def run_with_fault(command: Sequence[str | Path], folder: Path, calls: str, number: int, fault: str) -> Ended:
    """Run a command in `folder` whose `number`th call of `calls` (of a thread) meets a fault: KILL or FULL."""
    log = folder.parent / f"{folder.name}.strace"
    strace: list[str | Path] = ["strace", "-f", "-qq", "-o", log, "-e", f"trace={calls}",
              "-e", f"inject={calls}:{fault}:when={number}"]  # fmt: skip
    done = subprocess.run(
        [*strace, *command], cwd=folder, capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    lines = log.read_text().splitlines()
    met = [line for line in lines if "INJECTED" in line] or (lines[-1:] if done.returncode == -signal.SIGKILL else [])
    return Ended(done.returncode, done.stdout + done.stderr, "\n".join(met))


def every_fault(
    command: Sequence[str | Path], template: Path, calls: str, fault: str, *, most: int | None = None
) -> Iterator[tuple[Path, Ended]]:
    """Run a command once for each call that it makes, each time in a new copy of the folder `template`.

    Yields the copy, and how the command ended. The last run, which met no fault, is not yielded: it must have ended
    well. most: stop after so many faults; None: after all.
    """
    for number in itertools.count(1) if most is None else range(1, most + 1):
        folder = template.parent / f"fault-{number}"
        shutil.copytree(template, folder, symlinks=True)
        ended = run_with_fault(command, folder, calls, number, fault)
        if not ended.call:
            assert ended.status == 0, ended.output
            assert number > 1, "the command has made no such call"
            return
        yield folder, ended
        shutil.rmtree(folder)
