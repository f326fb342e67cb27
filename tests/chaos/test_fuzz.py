"""The fuzzed functions on their seeds, on the corpora that are kept, and on changed ones: documented errors only."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from support.fuzz.targets import TARGETS, kept

if TYPE_CHECKING:
    from pathlib import Path


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
