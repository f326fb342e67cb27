"""One form for all sources, and nothing in it that is longer than it may be."""

from __future__ import annotations

import orjson
import pytest

from authz.control.detect.event import MAX_EVENT, MAX_PATH, MAX_TOKEN, as_json, read_event
from authz.errors import BadLine


def test_an_event_is_read_as_it_is_written() -> None:
    line = (
        b'{"time": "2026-12-01T00:00:00Z", "client": "::ffff:192.0.2.1", "application": "shop", "method": "post",'
        b' "path": "/login?a=1", "status": 401, "attacks": ["sqli"], "request_id": "r1", "unknown": [1, 2]}'
    )
    event = read_event(line, 5.0)
    assert (event.time, event.client.text, event.method, event.path) == (
        1796083200.0,
        "192.0.2.1",
        "POST",
        "/login?a=1",
    )
    assert read_event(orjson.dumps(as_json(event)), 5.0) == event


def test_an_event_of_the_first_second_of_1970_keeps_its_time() -> None:
    event = read_event(b'{"client": "192.0.2.1", "time": 0}', 5.0)
    assert read_event(orjson.dumps(as_json(event)), 6.0) == event


def test_an_event_without_a_time_has_that_of_its_arrival() -> None:
    assert read_event(b'{"client": "192.0.2.1"}', 5.0).time == 5.0


def test_long_texts_are_cut() -> None:
    line = orjson.dumps({"client": "192.0.2.1", "path": "/" * 50_000, "host": "h" * 5000, "attacks": ["a" * 999] * 10})
    event = read_event(line, 0.0)
    assert (len(event.path), len(event.host), len(event.attacks[0])) == (MAX_PATH, MAX_TOKEN, MAX_TOKEN)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"nonsense", "malformed"),
        (b"[]", "Expected `object`"),
        (b"{}", "missing required field `client`"),
        (b'{"client": "192.0.2.999"}', "client: found '192.0.2.999', expected an IPv4 or IPv6 address"),
        (b'{"client": "192.0.2.1", "time": "yesterday"}', "time: found 'yesterday'"),
        (b'{"client": "192.0.2.1", "time": -1}', "time: found -1.0, expected seconds since 1970"),
        (
            b'{"client": "192.0.2.1", "time": "1013-12-05T00:00:00Z"}',
            "time: found 1013-12-05T00:00:00Z, expected seconds",
        ),
        (b'{"client": "192.0.2.1", "status": 4040}', "status: found 4040, expected a number from 100 to 599"),
        (b'{"client": "\xff"}', "invalid start byte"),
        (b" " * (MAX_EVENT + 1), f"found {MAX_EVENT + 1} bytes, expected at most {MAX_EVENT}"),
    ],
)
def test_what_is_no_event_is_refused(line: bytes, message: str) -> None:
    with pytest.raises(BadLine) as caught:
        read_event(line, 0.0)
    assert message in str(caught.value)


def test_a_nul_in_a_name_does_not_stop_the_batch_that_it_comes_with() -> None:
    line = b'{"client": "192.0.2.1", "application": "sh\\u0000op", "entry": "\\u0000a", "warnings": ["b\\u0000"]}'
    event = read_event(line, 5.0)
    assert (event.application, event.entry, event.warnings) == ("shop", "a", ("b",))
