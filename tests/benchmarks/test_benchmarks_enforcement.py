"""The benchmarks of bans through real proxies, and of storms of reloads: smoke runs, whose figures nobody looks at."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.processes import wait_for

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.mark.parametrize(
    "ways", [["file"], pytest.param(["web server", "object store"], marks=pytest.mark.long)], ids=["file", "others"]
)
def test_bans_and_unbans_are_seen_at_both_proxies_and_requests_are_compared_with_a_control(ways: list[str]) -> None:
    from benchmarks.parts import enforcement
    from benchmarks.scale import QUICK

    scale = QUICK._replace(enforced=2 if ways == ["file"] else 10, steady=0.5, ways=tuple(ways), watch=1)
    part = enforcement.run(scale, lambda _: None)
    if part.skipped:
        pytest.skip(part.skipped)
    assert part.wrong == []
    labels = [measure.labels for measure in part.measures if measure.name == "of a million requests, over 10 ms"]
    assert {label["bans"] for label in labels} == set(ways)
    assert {label["when"] for label in labels} == {"at rest", "while bans change elsewhere", "while bans change"}
    assert {label["proxy"] for label in labels} == {"Envoy", "nginx", "a process that sleeps"}
    changes = {measure.labels["change"] for measure in part.measures if measure.name.startswith("from the command")}
    assert changes == {"ban", "unban"}


def test_requests_in_a_storm_of_reloads_are_compared_with_those_between() -> None:
    from benchmarks.parts import reload_storm
    from benchmarks.scale import QUICK

    part = reload_storm.run(QUICK, lambda _: None)
    if part.skipped:
        pytest.skip(part.skipped)
    assert part.wrong == []
    labels = [measure.labels for measure in part.measures]
    assert {label["when"] for label in labels} == {"no reload", "reloads one after the other"}
    assert {label["of"] for label in labels} == {"requests", "a process that sleeps"}
    assert {measure.name for measure in part.measures} <= {"wait", "late"}  # nobody watched


def test_a_process_that_runs_first_does_so_with_its_threads_and_children() -> None:
    from benchmarks.processes import run_first

    program = (
        "import subprocess, sys, threading, time; threading.Thread(target=time.sleep, args=(60,), daemon=True).start();"
        "child = subprocess.Popen(['sleep', '60']); print(child.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        try:
            run_first(process.pid)
            threads = [int(path.name) for path in Path(f"/proc/{process.pid}/task").iterdir()]
            assert len(threads) == 2
            assert {os.sched_getscheduler(pid) for pid in [child, *threads]} == {os.SCHED_RR}
        except PermissionError:
            pytest.skip("needs the right to a real-time priority")
        finally:
            os.kill(child, signal.SIGKILL)
            process.kill()


def test_cores_that_are_kept_awake_have_a_process_that_gives_way_to_all_others() -> None:
    from benchmarks.load.noise.awake import awake

    def spinning() -> dict[int, set[int]]:
        spinners = {}
        for children in Path("/proc/self/task").glob("*/children"):
            for child in map(int, children.read_text(encoding="ascii").split()):
                if b"awake.py" in Path(f"/proc/{child}/cmdline").read_bytes():
                    spinners[child] = os.sched_getaffinity(child)
        return spinners

    def pauses(pid: int) -> int:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
        return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])

    cores = [{core} for core in sorted(os.sched_getaffinity(0))]
    with awake():
        wait_for(lambda: sorted(map(list, spinning().values())) == [list(core) for core in cores], "one on each core")
        wait_for(lambda: {os.sched_getscheduler(pid) for pid in spinning()} == {os.SCHED_IDLE}, "all give way")
        before = {pid: pauses(pid) for pid in spinning()}  # to start took some
        # On a core that is busy all the time, one that gives way runs seldom.
        wait_for(lambda: all(pauses(pid) > count + 2 for pid, count in before.items()), "all pause", patience=300)
    assert spinning() == {}
    with awake(but=cores[-1]):
        wait_for(lambda: sorted(map(list, spinning().values())) == [list(core) for core in cores[:-1]], "on the others")
        time.sleep(0.3)  # a late one would be seen
        assert len(spinning()) == len(cores) - 1


def test_of_a_wait_only_what_overlaps_with_standstills_of_a_core_is_the_machines() -> None:
    from benchmarks.load.noise.sleeper import Wake, overlap, standstills

    ms = 1_000_000
    wakes = [Wake(50 * ms, 10 * ms), Wake(10 * ms, 4 * ms), Wake(12 * ms, 5 * ms), Wake(30 * ms, ms // 10)]
    spans = standstills(wakes)
    assert spans == [(10 * ms, 22 * ms), (50 * ms, 70 * ms)]  # as long again: what had waited is made up for
    of_the_machine = {(0, 9): 0, (0, 12): 2, (11, 13): 2, (21, 55): 6, (0, 100): 32, (70, 80): 0, (22, 50): 0}
    assert {(begin, end): overlap(spans, begin * ms, end * ms) // ms for begin, end in of_the_machine} == of_the_machine
    assert overlap([], 0, ms) == 0
