"""The `authz` command: in this process, which is quick, or as a process of its own, which is real."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from authz.cli.main import run

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


class Ran(NamedTuple):
    """What a command has done. err: without trailing newline."""

    status: int
    out: str
    err: str

    def json(self) -> Any:
        """Return the one JSON value that was printed."""
        assert self.status == 0, self.err
        return json.loads(self.out)

    def lines(self) -> list[Any]:
        """Return the JSON values that were printed, one a line."""
        return [json.loads(line) for line in self.out.splitlines()]


class Commands:
    """Runs commands in a folder."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self._monkeypatch = monkeypatch

    def __call__(self, *arguments: str | Path, stdin: bytes = b"") -> Ran:
        """Run a command in this process. What it raises comes out: on a terminal that would be a traceback."""
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        with self._monkeypatch.context() as patch:
            patch.chdir(self.folder)
            patch.setattr(sys, "argv", ["authz", *map(str, arguments)])
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            try:
                run()
            except SystemExit as end:
                status = end.code
            finally:  # `serve` blocks SIGHUP, and every process that this one starts would have it blocked, too
                signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        assert isinstance(status, int)
        return Ran(status, *(stream.buffer.getvalue().decode().rstrip("\n") for stream in (out, err)))

    def real(self, *arguments: str | Path, stdin: bytes = b"", env: dict[str, str] | None = None) -> Ran:
        """Run `python -m authz`, on a wide terminal that has no colours."""
        wide = {**os.environ, "COLUMNS": "300", "TERMINAL_WIDTH": "300", **(env or {})}
        done = subprocess.run(
            [sys.executable, "-m", "authz", *map(str, arguments)],
            cwd=self.folder, env=wide, input=stdin, capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        assert b"Traceback" not in done.stderr, done.stderr.decode()
        return Ran(done.returncode, done.stdout.decode().rstrip("\n"), done.stderr.decode().rstrip("\n"))


def commands_with_bans(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """Return commands in a folder with a key and an empty bans file."""
    commands = Commands(folder, monkeypatch)
    assert commands("keys", "generate", "keys", "--name", "bans").status == 0
    assert commands("bans", "init", "bans.yaml", "--key", "keys/bans.key").status == 0
    return commands
