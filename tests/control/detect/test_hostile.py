"""What attackers send: very many addresses and paths, log lines of any bytes, forged ids, clocks apart, repetitions.

Whatever they send, memory is bounded, who attacks is listed, and nobody is listed for what another client wrote. The
long forms send a million.
"""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest

from authz.addresses import Address, format_address, parse_address
from authz.control.detect.counting import budget
from authz.control.detect.counting.detector import Detector
from authz.control.detect.counting.repeated import Repeated
from authz.control.detect.event import Event, read_event
from authz.control.detect.listing.offences import MemoryOffences
from authz.control.detect.logs import parser
from authz.control.detect.sources.syslog import line_of
from authz.control.detect.triggers.file import read_triggers
from authz.errors import BadLine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

START = 1_790_000_000.0
TRIGGERS = """\
triggers:
  - {name: login, kind: brute_force, where: {path: /login, status: 401}, count: {over: 30, within: 5m}}
  - {name: missing, kind: forced_browsing, count: {over: 50, within: 5m, distinct: path}}
  - {name: orders, kind: bola, where: {path: "/orders/{id}"}, count: {over: 200, within: 5m}}
  - {name: payloads, kind: payloads, count: {over: 3, within: 1h}}
  - {name: flood, kind: rate, count: {over: 500, within: 1m, by: network}}
"""
GUESSER, VICTIM = parse_address("203.0.113.9"), parse_address("198.51.100.1")
SHORT, LONG = 20_000, 1_000_000
MANY = pytest.mark.parametrize("count", [SHORT, pytest.param(LONG, marks=pytest.mark.long)])


@pytest.fixture
def detector(tmp_path: Path) -> Detector:
    path = tmp_path / "triggers.yaml"
    path.write_text(TRIGGERS)
    return Detector(read_triggers(path).triggers, lambda _: None, MemoryOffences())


def listed(detector: Detector, events: Iterator[Event]) -> set[str]:
    """Return whom the triggers list. The clock is the events'."""
    networks: set[str] = set()
    for event in events:
        networks |= {listing.network for listing in detector.feed(event, event.time)}
    return networks


def random_client(choose: random.Random) -> Address:
    if choose.random() < 0.5:
        return Address(4, value := choose.getrandbits(32) | 1 << 31, format_address(4, value))
    value = 0x20010DB8 << 96 | choose.getrandbits(96)
    return Address(6, value, format_address(6, value))


@MANY
def test_many_addresses_and_paths_hide_no_attacker_and_list_nobody_else(
    detector: Detector, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if count == SHORT:
        monkeypatch.setattr(budget, "MAX_BYTES", 2_000_000)
        detector = Detector(detector.triggers, lambda _: None, MemoryOffences())
    choose, most = random.Random(1), 0

    def events() -> Iterator[Event]:
        nonlocal most
        for number in range(count):
            now = START + 120 * number / count
            if number % (count // 40) == 0:
                yield Event(now, GUESSER, "shop", "POST", "", "/login", 401)
            path = choose.choice(["/login", f"/orders/{number}", f"/{choose.getrandbits(64):x}", "/a" * 900])
            status = choose.choice([401, 404, 200])
            yield Event(now, random_client(choose), "shop", "POST", "", path, status, ("sqli",), str(number))
            most = max(most, detector.memory)

    assert listed(detector, events()) == {GUESSER.text}
    assert most <= budget.MAX_BYTES
    assert detector.evicted > 0 or count == LONG


@MANY
def test_one_client_with_many_paths_and_payloads_costs_what_one_client_costs(detector: Detector, count: int) -> None:
    def events() -> Iterator[Event]:
        for number in range(count):
            yield Event(START + number / 1000, GUESSER, "shop", "GET", "", f"/{number}", 404, ("x",), str(number))

    assert listed(detector, events()) <= {GUESSER.text, "203.0.113.0/24"}
    assert detector.memory < 100_000


def nginx_escaped(text: bytes) -> bytes:
    """Return what nginx writes into a log for the bytes of a client (ngx_http_log_escape)."""
    return b"".join(
        bytes([byte]) if 0x20 <= byte < 0x7F and byte not in b'"\\' else b"\\x%02X" % byte for byte in text
    )  # fmt: skip


def combined(text: bytes, client: str = GUESSER.text) -> bytes:
    line = nginx_escaped(text)
    return (b'%s - %s [21/Sep/2026:14:13:20 +0000] "POST %s HTTP/1.1" 401 9 "%s" "%s"'
            % (client.encode(), line, line, line, line))  # fmt: skip


def as_json(text: bytes, client: str = GUESSER.text) -> bytes:
    said = text.decode("latin-1")
    names = ("request_uri", "http_host", "http_x_request_id", "request_method", "http_user_agent")
    return json.dumps({"remote_addr": client, "status": "401"} | dict.fromkeys(names, said)).encode()


FORGED = [
    VICTIM.text.encode(),
    f'" 401 0 "-" "-"\n{VICTIM.text} - - [21/Sep/2026:14:13:20 +0000] "POST /login HTTP/1.1" 401 0 "-" "-"'.encode(),
    f'- [21/Sep/2026:14:13:20 +0000] "POST /login HTTP/1.1" 401 {VICTIM.text}'.encode(),
    f'/login","client":"{VICTIM.text}","remote_addr":"{VICTIM.text}","x":"'.encode(),
    f"/login\r\n<190>Sep 21 14:13:20 host nginx: {VICTIM.text} - - ".encode(),
    b"\0\xff\xfe\x80\\x22\\u0000\xed\xa0\x80",
    b'"' * 5000,
    b"\\" * 5000,
]


@pytest.mark.parametrize("written", [combined, as_json])
@pytest.mark.parametrize("text", FORGED)
def test_whatever_a_client_writes_into_a_log_line_the_line_is_its_own(
    written: Callable[[bytes], bytes], text: bytes
) -> None:
    line = written(text)
    assert b"\n" not in line
    read = parser("nginx" if written is combined else "nginx-json")
    for message in (line, line_of(b"<190>Sep 21 14:13:20 host nginx: " + line)):
        event = read(message, START)
        assert (event.client, event.status) == (GUESSER, 401)


@pytest.mark.parametrize("name", ["x [y", "[" * 4000, "a [b] c", " [21/Sep/2026:14:13:20 +0000] ", "- [] \\x22GET /"])
def test_a_user_name_with_brackets_hides_no_line_of_nginx(name: str) -> None:
    """nginx logs the name of Basic authorization as the client wrote it, but for quotes."""
    line = combined(b"/login").replace(b" - %s [" % nginx_escaped(b"/login"), b" - %s [" % name.encode(), 1)
    assert name.encode() in line
    assert (parser("nginx")(line, START).client, parser("nginx")(line, START).status) == (GUESSER, 401)


@MANY
@pytest.mark.parametrize("name", ["nginx", "nginx-json", "event"])
def test_lines_of_any_bytes_are_events_or_refused(detector: Detector, name: str, count: int) -> None:
    choose = random.Random(2)
    good = {"nginx": combined(b"/login"), "nginx-json": as_json(b"/login"), "event": b'{"client": "203.0.113.9"}'}[name]
    read = read_event if name == "event" else parser(name)
    own = 0 if name == "event" else good.index(GUESSER.text.encode()) + len(GUESSER.text) + 1  # what the proxy wrote
    clients = set()
    for _ in range(count // 10):
        line = bytearray(good)
        for _ in range(choose.randrange(1, 5)):
            place = choose.randrange(own, len(line) + 1)
            line[place : place + choose.randrange(3)] = choose.randbytes(choose.randrange(4))
        try:
            event = read(bytes(line), START)
        except BadLine:
            continue
        clients.add(event.client.text)
        detector.feed(event, START)
    assert clients
    assert not own or clients == {GUESSER.text}


def test_requests_with_a_forged_id_all_count(detector: Detector) -> None:
    repeated = Repeated()
    sent = [
        Event(START + number, GUESSER, "shop", "POST", "", "/login", 401, request_id="same") for number in range(31)
    ]
    fresh = [event for event in sent if not repeated.before(hash(event), event.time)]
    assert listed(detector, iter(fresh)) == {GUESSER.text}


def test_a_request_id_that_a_client_took_from_another_hides_nothing_of_that_one() -> None:
    repeated = Repeated()
    for client in (GUESSER, VICTIM):
        assert not repeated.before(hash(Event(START, client, "shop", request_id="taken")), START)


@pytest.mark.parametrize("apart", [-3600.0, -60.0, 3.0, 60.0, 3600.0])
def test_machines_whose_clocks_are_apart_list_the_guesser_and_nobody_else(detector: Detector, apart: float) -> None:
    """Half of all events come from a machine whose clock is wrong; ours is right."""
    networks: set[str] = set()

    def send(client: Address, second: float, wrong: bool, **values: Any) -> None:
        event = Event(START + second + (apart if wrong else 0), client, "shop", **values)
        networks.update(listing.network for listing in detector.feed(event, START + second))

    guess = {"method": "POST", "path": "/login", "status": 401}
    for second in range(0, 280, 4):
        send(GUESSER, second, wrong=second % 8 == 0, **guess)
        for number in range(20):  # each of these makes ten guesses in the time
            if second % 28 == 0:
                send(parse_address(f"198.51.100.{number}"), second, wrong=number % 2 == 0, **guess)
    assert networks == {GUESSER.text}


def test_a_clock_that_is_wrong_for_a_while_stops_no_counting_afterwards(detector: Detector) -> None:
    wrong = Event(START + 1e9, VICTIM, "shop", "POST", "", "/login", 401)
    assert detector.feed(wrong, START) == []
    right = (Event(START + number, GUESSER, "shop", "POST", "", "/login", 401) for number in range(31))
    assert listed(detector, right) == {GUESSER.text}


def test_a_waf_that_repeats_events_lists_nobody_for_one_payload(detector: Detector) -> None:
    attack = Event(START, GUESSER, "shop", "GET", "", "/?q=1", 403, ("sqli",), "1' or 1=1")
    repeats = (attack._replace(time=START + number, request_id=str(number % 3)) for number in range(400))
    assert listed(detector, repeats) == set()
