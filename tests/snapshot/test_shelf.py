"""A shelf of broken snapshots, each refused with its own code, and places that are no file."""

from __future__ import annotations

import ast
import gc
import logging
import os
import re
import socket
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from support.processes import wait_for
from support.sidecar.loading import Loading
from support.snapshot.refusal import documented_codes
from support.snapshot.shelf import SERIAL, SHELF, payload_with

from authz.errors import Refusal, SnapshotRefused
from authz.snapshot import layout, read
from authz.snapshot.read import read_snapshot
from authz.snapshot.signing import envelope as envelope_module
from authz.snapshot.signing.envelope import parse_envelope

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.publishing.publisher import Publisher
    from support.snapshot.forge import Forge

ROOT = Path(__file__).parents[2]


@pytest.fixture
def running(base: Publisher, tmp_path: Path) -> Loading:
    """What has loaded a good snapshot with the serial SERIAL."""
    loading = Loading(tmp_path, [base.key()])
    loading.put(base.publish(to="older", serial=SERIAL).read_bytes())
    assert loading.load() == "ok"
    assert loading.decider.ruleset is not None
    return loading


# The shelf.


@pytest.mark.parametrize("name", SHELF)
def test_a_broken_snapshot_is_refused_with_its_code_and_the_loaded_one_serves_on(
    name: str, good: Forge, running: Loading, caplog: pytest.LogCaptureFixture
) -> None:
    code, make = SHELF[name]
    broken = make(good)
    running.put(broken)
    before = running.standing()
    with caplog.at_level(logging.WARNING, "authz"):
        assert running.load() == code
        assert running.load() == code, "looked at again, and unchanged"
    assert running.standing() == before
    assert running.decider.ruleset is before.ruleset
    assert running.path.read_bytes() == broken
    assert running.metrics.loads() == {"ok": 1, code: 1}
    assert len(caplog.messages) == 1
    assert f": {code}: " in caplog.messages[0]
    assert f"serial {SERIAL} serves on" in caplog.messages[0]
    running.put(good.data)
    assert running.load() == "ok"
    assert running.layer.refusal is None
    assert [serial for _, _, serial in running.standing().decisions] == [SERIAL + 1] * 4


def place_nothing(path: Path) -> None:
    path.unlink()


def place_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def place_socket(path: Path) -> None:
    path.unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def place_dangling_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def place_circle(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def place_endless_device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def place_giant(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(layout.MAX_FILE + 1)  # a sparse file: takes no room


PLACES: dict[Callable[[Path], None], str] = {
    place_nothing: "absent",
    place_folder: "unreadable",
    place_socket: "unreadable",
    place_dangling_link: "absent",
    place_circle: "unreadable",
    place_endless_device: "unreadable",
    place_giant: "too_large",
}


@pytest.mark.parametrize("place", PLACES)
def test_what_is_no_file_of_bounded_size_is_refused(
    place: Callable[[Path], None], running: Loading, good: Forge
) -> None:
    place(running.path)
    before = running.standing()
    assert running.load() == PLACES[place]
    assert running.standing() == before
    if running.path.is_dir():
        running.path.rmdir()
    running.put(good.data)
    assert running.load() == "ok"


def test_a_pipe_in_the_place_of_the_file_is_not_waited_for(running: Loading) -> None:
    running.path.unlink()
    os.mkfifo(running.path)
    rescued = threading.Event()

    def rescue() -> None:  # opening the other end lets go who waits, so that this test ends either way
        rescued.set()
        os.close(os.open(running.path, os.O_RDWR))

    timer = threading.Timer(10.0, rescue)
    timer.start()
    assert running.load() == "unreadable"
    timer.cancel()
    assert not rescued.is_set()


def test_a_file_whose_rights_change_is_tried_again(running: Loading) -> None:
    running.path.write_bytes(b"not yet")
    assert running.load() == "truncated"
    running.path.chmod(0o600)
    assert running.load() == "truncated"
    assert running.metrics.loads()["truncated"] == 2


def test_the_very_same_file_is_no_error(running: Loading) -> None:
    assert running.load(force=True) == "ok"
    running.put(running.path.read_bytes())
    assert running.load() == "ok"
    assert running.metrics.loads() == {"ok": 3}


# Caps: lowered, so that a small file passes them.


def test_a_file_above_the_cap_is_refused(
    base: Publisher, good: Forge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").write_bytes(good.data)
    monkeypatch.setattr(read, "MAX_FILE", len(good.data))
    assert read_snapshot(tmp_path / "f", [base.key()], now=0).size == len(good.data)
    monkeypatch.setattr(read, "MAX_FILE", len(good.data) - 1)
    with pytest.raises(SnapshotRefused, match=f"found {len(good.data)} bytes, expected at most {len(good.data) - 1}"):
        read_snapshot(tmp_path / "f", [base.key()], now=0)


def test_the_caps_are_those_of_the_documents() -> None:
    assert (layout.MAX_FILE, layout.MAX_ENVELOPE) == (4 << 30, 8 << 20)
    page = (ROOT / "docs" / "internals" / "snapshot-format.md").read_text()
    assert "at most 8 MiB" in page
    assert "4 GiB at most" in page


# The codes are documented, all of them and no other.


def codes_in_the_code() -> set[str]:
    codes = set()
    for path in (ROOT / "authz").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "Refusal" and path.stem != "errors":
                codes.add(str(Refusal[node.attr]))
    return codes


def test_every_code_is_documented_and_no_other() -> None:
    page = (ROOT / "docs" / "internals" / "snapshot-format.md").read_text().partition("| refused with |")[2]
    assert documented_codes() == codes_in_the_code()
    assert set(re.findall(r"`([a-z]+_?[a-z_]*)`", page.partition("\n\n")[0])) == codes_in_the_code()


def test_the_shelf_has_every_code_that_a_file_can_have() -> None:
    elsewhere = {
        "threshold_not_met",
        "state_unwritable",
        "internal_error",
        "wrong_layer",
        "wrong_part",
        "unreachable",
        "bad_answer",
    }
    elsewhere |= {"part_missing"} | {
        code for code in Refusal if code.startswith("not_permitted_")
    }  # tests/serve/layers/test_layers.py
    assert {code for code, _ in SHELF.values()} | set(PLACES.values()) == codes_in_the_code() - elsewhere


@pytest.mark.skipif(sys.platform != "linux", reason="memfd_create is Linux's")
def test_the_memory_of_replaced_and_refused_snapshots_is_given_back(good: Forge, running: Loading) -> None:
    def copies() -> int:
        return Path("/proc/self/maps").read_text().count("memfd:authz-snapshot")

    gc.collect()  # what other tests left
    before = copies()
    for code, make in SHELF.values():
        running.put(make(good))
        assert running.load() == code
    wait_for(lambda: copies() <= before, "what was refused or replaced is given back by a thread")
    for serial in range(SERIAL + 1, SERIAL + 11):
        running.put(good.with_payload(payload_with(good, serial=serial)))
        assert running.load() == "ok"
    wait_for(lambda: copies() <= before, "what was replaced is given back by a thread")


def test_nothing_but_the_short_end_of_an_envelope_is_parsed_before_the_signatures_are_good(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parsed: list[int] = []

    def loads(text: bytes) -> None:
        parsed.append(len(text))
        raise ValueError

    monkeypatch.setattr(envelope_module, "json", SimpleNamespace(loads=loads))
    lists = b"[" + b"[]," * 1_000_000 + b"0]"
    for data in (lists, b'{"payload":"","x":' + lists + b"}", b'{"payload":"' + b"A" * 4_000_000):
        with pytest.raises(SnapshotRefused) as error:
            parse_envelope(data)
        assert error.value.code == "bad_envelope"
    assert parsed == []
