"""What a command answers to a mistake."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from support.suite.commands import Ran

NO_SNAPSHOT = "found 'version:', expected 'AZSNAP01': this is not a snapshot"
WRONG_TIME = "expected a time such as 2026-12-01T00:00:00Z"


def refused(ran: Ran, *lines: str, status: int = 2) -> None:
    """Check that a command printed these lines to standard error, and nothing else."""
    assert ran.err.splitlines() == list(lines)
    assert (ran.status, ran.out) == (status, "")


def write_requests(folder: Path, *requests: dict[str, Any] | str) -> None:
    lines = [request if isinstance(request, str) else json.dumps(request) for request in requests]
    (folder / "requests.jsonl").write_text("".join(f"{line}\n" for line in lines))
