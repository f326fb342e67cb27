"""The attacks that are measured are what they say: else a figure would be good because nothing was attacked."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import pytest
from hpack import Decoder
from support.processes import Process
from support.sidecar.http2 import PREFACE, read_frames

from authz.wire.envoy.v3.check_pb2 import CheckRequest
from benchmarks.attacks import peers

ROOT = Path(__file__).parents[2]


SMALL = {"gzip", "unread", "zero-windows", "small-bodies", "made-you-reset", "hpack-bomb"}


@pytest.mark.parametrize("name", sorted(SMALL))
def test_an_attack_is_made_of_whole_frames(name: str) -> None:
    data = peers.ATTACKS[name].data()
    frames, rest = read_frames(data.removeprefix(PREFACE))
    assert data.startswith(PREFACE)
    assert rest == b""
    assert sum(item.kind == peers.HEADERS for item in frames) >= 23


def test_requests_are_checks_of_their_clients_and_the_bomb_has_half_a_million_headers() -> None:
    source = CheckRequest.FromString(peers.request_of("192.0.2.7")).attributes.source
    assert source.address.socket_address.address == b"192.0.2.7"
    frames, _ = read_frames(peers.ATTACKS["gzip"].data().removeprefix(PREFACE))
    body = next(item.payload for item in frames if item.kind == peers.DATA)
    assert len(body) < 1200
    unpacked = CheckRequest.FromString(gzip.decompress(body[5:]))
    assert len(unpacked.attributes.request.http.header_map.headers) == 520_000


def test_a_bomb_of_hpack_stands_for_a_thousand_times_its_bytes() -> None:
    decoder = Decoder(max_header_list_size=1 << 30)
    frames, _ = read_frames(peers.ATTACKS["hpack-bomb"].data().removeprefix(PREFACE))
    first, second = [item.payload for item in frames if item.kind == peers.HEADERS][:2]
    decoder.decode(first)
    assert sum(len(value) for _, value in decoder.decode(second)) > 3_000 * len(second)


def test_each_attack_of_the_http_front_begins_with_a_request() -> None:
    for attack in peers.ATTACKS.values():
        if attack.front == "http":
            assert attack.data()[:5] in {b"GET /", b""}


def test_an_attack_is_measured_and_the_polite_client_is_answered(tmp_path: Path) -> None:
    output = tmp_path / "results.json"
    command = [sys.executable, "-m", "benchmarks.attacks.run", "gzip", "--output", str(output)]
    with Process(command, cwd=ROOT) as process:
        assert process.wait() == 0, process.output
    [result] = json.loads(output.read_text())
    assert (result["attack"], result["failed"]) == ("gzip", "")
    assert result["answers"] > 10
