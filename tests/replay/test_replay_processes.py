"""A log is replayed by several processes, block by block, as by one."""

from __future__ import annotations

import functools
import io
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.proxies.access_logs import AGAINST, CONFIG, JSONL, Replay, combined
from support.suite.commands import Ran

from authz.errors import InputError
from authz.replay import run

if TYPE_CHECKING:
    from collections.abc import Iterable


# Blocks and processes.


@given(
    st.lists(st.binary(max_size=30).filter(lambda line: b"\n" not in line), max_size=40),
    st.booleans(),
    st.integers(32, 200),
)
def test_blocks_are_whole_lines_that_add_up_to_the_file(lines: list[bytes], end: bool, size: int) -> None:
    content = b"\n".join(lines) + (b"\n" if end else b"")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "BLOCK", size)
        blocks = list(run.blocks(io.BytesIO(content), "x"))
    assert b"".join(block for _, block in blocks) == content
    assert all(block.endswith(b"\n") for _, block in blocks[:-1])
    assert [number for number, _ in blocks] == [
        1 + b"".join(block for _, block in blocks[:place]).count(b"\n") for place in range(len(blocks))
    ]


@pytest.mark.parametrize("size", [48, 49, 50, 51, 97, 98, 99, 1000])
def test_decisions_do_not_depend_on_where_a_block_ends(
    replay: Replay, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    log = [f'{{"peer": "203.0.{112 + number % 2}.{number}", "application": "shop"}}' for number in range(40)]
    expected = replay(log)
    counts = replay(log, "--summary", "--json").json()
    assert len(expected.lines()) == 40
    monkeypatch.setattr(run, "BLOCK", size)
    assert replay(log) == expected
    assert replay("\r\n".join(log)) == expected
    assert replay(log, "--summary", "--json").json() == counts


MANY = "import authz.cli.replay as r, authz.replay.run as n, authz.cli.main as m; r.SMALL = 0; n.BLOCK = 3000; m.run()"


def in_processes(replay: Replay, log: Iterable[str], *options: str) -> Ran:
    """Replay in two processes, as is done with a large file."""
    (replay.folder / "access.log").write_text("".join(f"{line}\n" for line in log))
    command = [sys.executable, "-c", MANY, "replay", "access.log", "--config", "authz.yaml", "--workers", "2", *options]
    done = subprocess.run(command, cwd=replay.folder, capture_output=True, timeout=60, check=False)
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return Ran(done.returncode, done.stdout.decode().rstrip("\n"), done.stderr.decode().rstrip("\n"))


def a_log(count: int) -> list[str]:
    return [combined(f"{('203.0.113', '192.0.2', '198.18.0')[n % 3]}.{n % 250}") for n in range(count)]


def test_several_processes_decide_the_same_in_the_same_order(replay: Replay) -> None:
    alone = replay(a_log(400), *AGAINST)
    assert len(alone.lines()) == 400
    assert in_processes(replay, a_log(400), *AGAINST) == alone
    counts = replay(a_log(400), *AGAINST, "--summary", "--json").json()
    assert in_processes(replay, a_log(400), *AGAINST, "--summary", "--json").json() == counts


@pytest.mark.parametrize("processes", [1, 2])
def test_a_bad_line_is_named_and_what_stands_before_it_is_printed(replay: Replay, processes: int) -> None:
    log = a_log(400)
    expected = replay(log).out.splitlines()
    log[321] = "nonsense"
    ran = replay(log) if processes == 1 else in_processes(replay, log)
    assert ran.status == 2
    assert ran.out.splitlines() == expected[:321]
    assert ran.err.startswith("authz: error: access.log:322: found nonsense: is ")


@pytest.mark.parametrize("processes", [1, 2])
def test_bad_lines_are_passed_over_and_counted_where_that_is_asked_for(replay: Replay, processes: int) -> None:
    log = a_log(400)
    expected = replay(log).out.splitlines()
    log[321] = "nonsense"
    log[7] = "cut sho"
    run = functools.partial(replay, log) if processes == 1 else functools.partial(in_processes, replay, log)
    ran = run("--skip")
    assert ran.status == 0
    assert ran.out.splitlines() == [line for number, line in enumerate(expected) if number not in {7, 321}]
    assert "authz: warning: passed over 2 lines that cannot be read; the first: access.log:8: is " in ran.err


@pytest.mark.parametrize("processes", [1, 2])
def test_a_line_that_is_too_long_is_named_and_what_stands_before_it_is_printed(
    replay: Replay, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    monkeypatch.setattr(run, "BLOCK", 3000)
    log = a_log(400)
    expected = replay(log).out.splitlines()
    log[200] += "x" * 9000
    ran = replay(log) if processes == 1 else in_processes(replay, log)
    assert (ran.status, ran.err) == (
        2, "authz: error: access.log:201: found more than 3000 bytes, expected a shorter line"
    )  # fmt: skip
    assert ran.out.splitlines() == expected[:200]


def test_a_snapshot_that_is_refused_ends_a_replay_in_several_processes(replay: Replay) -> None:
    snapshot = replay.folder / "lists.snapshot"
    snapshot.write_bytes(snapshot.read_bytes()[:-1])
    ran = in_processes(replay, a_log(9))
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith(f"authz: error: {snapshot}: truncated: ")


def test_standard_input_is_read_as_a_file_is(replay: Replay) -> None:
    log = "".join(f"{line}\n" for line in a_log(20))
    expected = replay(log)
    ran = replay.authz("replay", "-", "--config", "authz.yaml", stdin=log.encode())
    assert ran == expected
    bad = replay.authz("replay", "-", "--config", "authz.yaml", stdin=b"nonsense\n")
    assert bad.err.startswith("authz: error: -:1: found nonsense: ")


# The memory of a summary.


def test_a_job_is_made_once_where_one_process_decides(replay: Replay) -> None:
    made = []

    def make_job() -> run.Job:
        from authz.cli.replay import _make_job

        made.append(1)
        root = replay.folder
        (root / "abs.yaml").write_text(CONFIG.replace("lists.", f"{root}/lists.").replace("keys/", f"{root}/keys/"))
        return _make_job(root / "abs.yaml", None, None, "auto", None, None, lines=True, only_changed=False, skip=False)

    done = list(run.replay(io.BytesIO(f"{JSONL}\n".encode()), "x", make_job, 1))
    assert (len(made), len(done), done[0].error) == (1, 1, None)
    with pytest.raises(InputError):
        list(run.replay(io.BytesIO(b""), "x", functools.partial(_fail), 2))


def _fail() -> run.Job:
    raise InputError("no job")
