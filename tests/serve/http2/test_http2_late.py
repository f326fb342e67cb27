"""Calls that waited for too long: for their turn, or for a peer. Each hole by its name; see SECURITY.md."""

from __future__ import annotations

import pytest
from support.sidecar.http2 import (
    DATA,
    END,
    HEADERS,
    INITIAL_WINDOW,
    WHOLE,
    Peer,
    frame,
    message,
    plain_block,
    window,
)
from support.sidecar.http2 import settings as settings_frame
from support.sidecar.http2_methods import (
    CHECKED,
    ECHO,
    NOTHING,
    Methods,
    held,
    works,
)

from authz.serve.http2 import connection as http2_connection
from authz.serve.http2 import streams as http2_streams


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def thread_time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(http2_streams, "time", clock)
    monkeypatch.setattr(http2_connection, "time", clock)
    return clock


@pytest.fixture
def short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few calls are answered in a turn; the others wait."""
    monkeypatch.setattr(http2_connection, "TURN", -1.0)


def crowded(methods: Methods, path: str, *fields: tuple[str, str]) -> Peer:
    """Return a peer that has sent 1,000 calls at once."""
    peer = Peer(methods.connections)
    head = plain_block(path, *fields)
    calls = b"".join(
        frame(HEADERS, WHOLE, stream, head) + frame(DATA, END, stream, message(b"x")) for stream in range(1, 2001, 2)
    )
    peer.connection.data_received(window(0, 1 << 20) + calls)
    return peer


def after(seconds: float, clock: Clock, methods: Methods, peer: Peer) -> int:
    """Let time pass before the second turn of a crowd, in which nothing is called. Return the calls of the first."""
    first = methods.calls
    assert 0 < first < 200
    clock.now += seconds
    peer.run_turns()
    peer.read()
    assert methods.calls == first
    return first


def test_a_call_whose_timeout_is_long_past_is_not_decided(methods: Methods, clock: Clock) -> None:
    """900 of them were."""
    peer = Peer(methods.connections)
    for _ in range(2):  # the second time its headers are known
        late, timely, patient = (peer.begin(ECHO, ("grpc-timeout", t)) for t in ("100m", "100m", "1H"))
        calls = methods.calls
        clock.now += 0.05
        peer.send(frame(DATA, END, timely, message(b"x")))
        clock.now += 0.06
        peer.send(frame(DATA, END, late, message(b"x")) + frame(DATA, END, patient, message(b"x")))
        assert methods.calls == calls + 2
        assert (peer.answers[late].status, peer.answers[timely].status, peer.answers[patient].status) == (4, 0, 0)
    assert held(peer.connection) == NOTHING
    assert methods.connections.undecided.late == 2


@pytest.mark.usefixtures("short_turns")
def test_calls_that_waited_for_their_turn_know_how_long(methods: Methods, clock: Clock) -> None:
    peer = crowded(methods, ECHO, ("grpc-timeout", "100m"))
    first = after(1.0, clock, methods, peer)
    assert {answer.status for answer in peer.answers.values()} == {0, 4}
    assert methods.connections.undecided.late == len(peer.answers) - first == 1000 - first


@pytest.mark.usefixtures("clock")
def test_a_deadline_is_not_looked_at_where_a_call_is_read_at_once(methods: Methods) -> None:
    """A look costs each call; one that has waited for less than 10 ms is decided, as configuration.md says."""
    peer = Peer(methods.connections)
    streams = [peer.call(ECHO, message(b"x"), ("grpc-timeout", "1n")) for _ in range(3)]
    assert {peer.answers[stream].status for stream in streams} == {0}
    assert methods.connections.undecided.late == 0


@pytest.mark.usefixtures("short_turns")
def test_calls_that_waited_for_too_long_are_refused_at_once_and_counted(methods: Methods, clock: Clock) -> None:
    """Under overload those that can still be answered in time are; before, all were answered late."""
    peer = crowded(methods, CHECKED)
    first = after(5.1, clock, methods, peer)
    assert {answer.status for answer in peer.answers.values()} == {0, 14}
    assert methods.connections.undecided.refused == len(peer.answers) - first == 1000 - first
    assert works(Peer(methods.connections))  # and others are answered


def test_calls_behind_a_window_of_nothing_are_not_refused_when_it_opens(methods: Methods, clock: Clock) -> None:
    """It was the peer who let us wait. They were: in a turn without new bytes the time since older ones counted."""
    peer = Peer(methods.connections, (INITIAL_WINDOW, 0))
    streams = [peer.call(CHECKED, message(bytes(4000))) for _ in range(200)]
    assert held(peer.connection)["parked"] > 50
    clock.now += 10.0
    peer.send(settings_frame((INITIAL_WINDOW, 1 << 20)) + window(0, 1 << 30))
    assert {peer.answers[stream].status for stream in streams} == {0}
    assert (methods.calls, methods.connections.undecided.refused) == (200, 0)


@pytest.mark.usefixtures("short_turns")
def test_calls_of_methods_that_are_not_refusable_are_answered_however_long_they_waited(
    methods: Methods, clock: Clock
) -> None:
    """Health checks: a sidecar under load is not a dead one."""
    peer = crowded(methods, ECHO)
    assert 0 < methods.calls < 200
    clock.now += 5.1
    peer.run_turns()
    peer.read()
    assert {answer.status for answer in peer.answers.values()} == {0}
    assert (methods.calls, methods.connections.undecided.refused) == (1000, 0)


@pytest.mark.usefixtures("short_turns")
def test_calls_that_were_late_under_overload_do_not_end_their_connection(methods: Methods, clock: Clock) -> None:
    """2,000 of them in ten seconds did: they counted as frames that carry no call, and a proxy lost all its calls."""
    peer = Peer(methods.connections)
    peer.send(window(0, 1 << 30))
    for begin in range(1, 10_001, 2000):
        calls = b"".join(
            frame(HEADERS, WHOLE, stream, plain_block(ECHO, ("grpc-timeout", "100m"), ("x-request-id", str(stream))))
            + frame(DATA, END, stream, message(b"x"))
            for stream in range(begin, begin + 2000, 2)
        )
        peer.connection.data_received(calls)
        clock.now += 1.0
        peer.run_turns()
        peer.read()
    assert len(peer.answers) == 5000
    assert {answer.status for answer in peer.answers.values()} == {0, 4}
