"""The fuzzed functions on their seeds, on the corpora that are kept, and on changed ones: documented errors only."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest
from support.fuzz import run as fuzz_run
from support.fuzz.spent import SPENT, Spent, add, read, table, total
from support.fuzz.targets import TARGETS, dictionary, kept

PAGE = Path(__file__).parents[3] / "docs/internals/reliability.md"


@pytest.fixture
def inputs(tmp_path: Path, name: str) -> list[bytes]:
    folder = tmp_path / "seeds"
    folder.mkdir()
    return [*TARGETS[name].seeds(folder), *kept(name)]


def changed(data: bytes, choose: random.Random) -> bytes:
    """Return the bytes with some of them set, inserted or taken out."""
    result = bytearray(data or b"\0")
    for _ in range(choose.randint(1, 4)):
        place = choose.randrange(len(result))
        match choose.randrange(3):
            case 0:
                result[place] = choose.randrange(256)
            case 1:
                result[place:place] = choose.choice([b"\0", b"\xff\xff", b'"', b"9" * 30, result[place : place + 9]])
            case _ if len(result) > 1:
                del result[place]
    return bytes(result)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_seeds_and_what_resembles_them_raise_documented_errors_only(
    name: str, inputs: list[bytes], tmp_path: Path
) -> None:
    run, choose = TARGETS[name].make(tmp_path), random.Random(name)
    for data in inputs:
        run(data)
    for _ in range(100):
        run(changed(choose.choice(inputs), choose))


def test_words_of_the_seeds_make_a_dictionary_that_libfuzzer_reads() -> None:
    assert dictionary([b"GET /v1/auth HTTP/1.1\r\nHost: a", b"Host: b\0ab"]) == [
        r'"\x47\x45\x54"', r'"\x48\x54\x54\x50\x2f\x31\x2e\x31"', r'"\x48\x6f\x73\x74\x3a"',
        r'"\x76\x31\x2f\x61\x75\x74\x68"',
    ]  # fmt: skip


def test_cpu_time_adds_up_over_runs_and_commits(tmp_path: Path) -> None:
    path = tmp_path / "fuzzed.json"
    for commit, seconds, inputs in (("a", 60.5, 1000), ("a", 30.0, 500), ("b", 9.5, 20)):
        add(path, "http2", commit, Spent(seconds, inputs))
    assert read(path)["http2"] == {
        "a": {"cpu_seconds": 90.5, "inputs": 1500}, "b": {"cpu_seconds": 9.5, "inputs": 20},
    }  # fmt: skip
    assert total(read(path), "http2") == (100.0, 1520)
    assert table(read(path))[-1] == "| http2 | 1,520 | 1.7 | 2 |"


@pytest.mark.parametrize("asked", [False, True])
def test_a_run_notes_its_time_beside_its_corpus_unless_it_is_told_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    """A few seconds of fuzzing changed a file in git."""
    kept_before, work, told = SPENT.read_bytes(), tmp_path / "work", tmp_path / "told.json"
    monkeypatch.setattr(fuzz_run, "fuzz", lambda *_: (0, Spent(3.0, 70)))
    monkeypatch.setattr(sys, "argv", ["run", "hpack", "--work", str(work), *(["--spent", str(told)] if asked else [])])
    assert fuzz_run.main() == 0
    assert total(read(told if asked else work / "spent.json"), "hpack") == (3.0, 70)
    assert (work / "spent.json").exists() != asked
    assert SPENT.read_bytes() == kept_before


def test_the_page_says_what_was_fuzzed() -> None:
    noted = read(SPENT)
    assert set(noted) <= set(TARGETS)
    assert "\n".join(table(noted)) in PAGE.read_text()
