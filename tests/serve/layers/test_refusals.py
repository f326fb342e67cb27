"""A refused snapshot changes nothing, and is told once."""

from __future__ import annotations

import asyncio
import errno
import functools
import logging
import os
import threading
from typing import TYPE_CHECKING, Any, Final

import pytest
from support.sidecar.running import (
    DENIED,
    NEW_POLICY,
    config,
    run,
    running,
    until,
)

from authz.serve.layers import accept as accept_module
from authz.serve.layers import layer as layer_module
from authz.snapshot.read import read_with_bytes
from authz.snapshot.rollback_guard import State, load_states

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.publishing.publisher import Publisher

    from authz.engine.entries.ruleset import Ruleset


def half(publisher: Publisher) -> None:
    data = (publisher.folder / "lists.snapshot").read_bytes()
    beside = publisher.folder / "half"
    beside.write_bytes(data[: len(data) // 2])
    beside.rename(publisher.folder / "lists.snapshot")


def garbage(publisher: Publisher) -> None:
    (publisher.folder / "garbage").write_bytes(b"no snapshot at all")
    (publisher.folder / "garbage").rename(publisher.folder / "lists.snapshot")


REFUSALS: Final[dict[str, Callable[[Publisher], object]]] = {
    "bad_magic": garbage,
    "truncated": half,
    "unknown_key": lambda publisher: publisher.publish(serial=12, keys=["b"]),
    "rolled_back": lambda publisher: publisher.publish(serial=9),
    "expired": lambda publisher: publisher.publish(serial=12, created=1_700_000_000, expires=1_700_000_001),
    "absent": lambda publisher: (publisher.folder / "lists.snapshot").unlink(),
}


@pytest.mark.parametrize("code", REFUSALS)
def test_a_refused_snapshot_changes_nothing_and_is_told_once(
    publisher: Publisher, caplog: pytest.LogCaptureFixture, code: str
) -> None:
    publisher.publish(serial=10)

    async def live() -> None:
        async with running(publisher.folder, config("poll: 20ms")) as started:
            REFUSALS[code](publisher)
            await until(lambda: code in started.loads)
            await asyncio.sleep(0.2)  # ten polls, which find nothing new

            assert started.loads == {"ok": 1, code: 1}
            assert started.serial == 10
            assert (await started.ask()).status == 200
            assert (await started.ask(DENIED)).status == 403
            assert await started.readiness() == (200, [code])
            content = await started.snapshot()
            assert content["loaded"]["serial"] == 10
            assert content["refused"]["code"] == code
            assert code in (await started.page("/readyz")).body.decode()
            refusals = [record for record in caplog.records if "refused" in record.getMessage()]
            assert len(refusals) == 1
            assert refusals[0].levelno == logging.WARNING
            assert f"{code}: " in refusals[0].getMessage()
            assert "serial 10 serves on" in refusals[0].getMessage()

            publisher.publish(NEW_POLICY, serial=13)
            await until(lambda: started.serial == 13)
            assert await started.readiness() == (200, [])
            assert (await started.snapshot())["refused"] is None

    with caplog.at_level(logging.INFO):
        run(live())


def test_a_refusal_is_gone_in_the_turn_in_which_the_new_snapshot_decides(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were not: the decider was swapped in a thread, and for a while /readyz named what was no longer so."""
    publisher.publish(serial=10)
    seen: list[tuple[int | None, list[str]]] = []

    async def live() -> None:
        async with running(publisher.folder, config("poll: 20ms")) as started:
            garbage(publisher)
            await until(lambda: "bad_magic" in started.loads)
            swap = started.sidecar.decider.load

            def look(ruleset: Ruleset) -> None:
                swap(ruleset)
                status = started.sidecar._status
                asyncio.get_running_loop().call_soon(lambda: seen.append((started.serial, status.reasons())))

            monkeypatch.setattr(started.sidecar.decider, "load", look)
            publisher.publish(NEW_POLICY, serial=13)
            await until(lambda: seen)
        assert seen == [(13, [])]

    run(live())


def test_a_fault_while_loading_is_told_and_loading_is_tried_again(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    publisher.publish(serial=10)
    reading, faults = read_with_bytes, [MemoryError(), RuntimeError("can't start new thread")]

    def read(*arguments: Any, **options: Any) -> Any:
        if faults:
            raise faults[-1]
        return reading(*arguments, **options)

    async def live() -> None:
        async with running(publisher.folder, config("poll: 20ms")) as started:
            monkeypatch.setattr(accept_module, "read_with_bytes", read)
            publisher.publish(NEW_POLICY, serial=11)
            for goal in (3, 6):  # it is tried again and again
                await until(functools.partial(lambda least: started.loads.get("internal_error", 0) >= least, goal))
                assert (await started.ask()).status == 200
                assert await started.readiness() == (200, ["internal_error"])
                faults.pop()
            await until(lambda: started.serial == 11)
            assert started.loads["ok"] == 2
            assert await started.readiness() == (200, [])
        refusals = [record for record in caplog.records if "refused" in record.getMessage()]
        assert len(refusals) == 2  # each is said once

    with caplog.at_level(logging.WARNING):
        run(live())


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.EACCES])
def test_a_fault_of_the_machine_is_not_taken_for_one_of_the_file(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """It was: the same file was never tried again, and its bans never came."""
    monkeypatch.setattr(layer_module, "_RETRY", 0.01)
    publisher.publish(serial=10)
    opening, faults = os.open, [number, number]

    def failing(path: Any, *arguments: Any, **options: Any) -> int:
        if faults and str(path).endswith("lists.snapshot") and threading.current_thread() != threading.main_thread():
            raise OSError(faults.pop(), os.strerror(number))
        return opening(path, *arguments, **options)

    async def live() -> None:
        async with running(publisher.folder, config()) as started:  # which polls once an hour
            monkeypatch.setattr(os, "open", failing)
            publisher.publish(NEW_POLICY, serial=11)
            await until(lambda: started.serial == 11)
            assert started.loads == {"ok": 2, "unreadable": 2}

    run(live())


def test_a_file_over_the_configured_size_is_refused_before_it_is_copied(publisher: Publisher) -> None:
    publisher.publish(serial=10)

    async def live() -> None:
        async with running(publisher.folder, config("max_size: 1000")) as started:
            assert started.loads == {"too_large": 1}
            assert await started.readiness() == (503, ["no_snapshot", "too_large"])

    run(live())


def test_a_refused_snapshot_does_not_change_the_state(publisher: Publisher) -> None:
    publisher.publish(serial=10)

    async def live() -> None:
        async with running(publisher.folder) as started:
            before = load_states(publisher.folder / "state" / "authz.json").get("policy")
            publisher.publish(serial=99, keys=["b"])
            await until(lambda: len(started.loads) == 2)
            assert load_states(publisher.folder / "state" / "authz.json").get("policy") == before
            assert before is not None
            assert before.serial == 10

    run(live())


def test_a_lower_serial_is_refused_even_after_a_restart_and_the_same_file_is_not(publisher: Publisher) -> None:
    publisher.publish(serial=5)

    async def live() -> None:
        for _ in range(2):
            async with running(publisher.folder) as started:
                assert started.loads == {"ok": 1}
        publisher.publish(serial=4)
        async with running(publisher.folder) as started:
            assert started.loads == {"rolled_back": 1}
            assert started.serial == 5  # the last good copy
            assert (await started.ask()).status == 200
            assert await started.readiness() == (200, ["last_good", "rolled_back"])
            assert "found serial 4, expected above 5" in (await started.page("/readyz")).body.decode()
            publisher.publish(NEW_POLICY, serial=5)  # another file with the serial that was accepted
            await until(lambda: started.loads == {"rolled_back": 2})
            publisher.publish(serial=6)
            await until(lambda: started.serial == 6)
        state = load_states(publisher.folder / "state" / "authz.json").get("policy")
        assert isinstance(state, State)
        assert state.serial == 6

    run(live())


def test_where_the_serial_cannot_be_remembered_the_snapshot_is_not_used(
    publisher: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    publisher.publish(serial=1)

    async def live() -> None:
        async with running(publisher.folder) as started:
            state = publisher.folder / "state" / "authz.json"
            state.unlink()
            state.mkdir()
            publisher.publish(NEW_POLICY, serial=2)
            await until(lambda: "state_unwritable" in started.loads)
            assert started.serial == 1
            assert (await started.ask()).status == 200
            assert await started.readiness() == (200, ["state_unwritable"])

    with caplog.at_level(logging.INFO):
        run(live())
    assert "let the sidecar write to it" in caplog.text
