"""The fast reading of bare IPv4 lines, against reading line by line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.publishing.feeds import networks
from support.suite.effort import tries
from support.suite.shared import shared

from authz.addresses import parse_network
from authz.errors import AddressError
from authz.publisher.feeds.collect import Collector
from authz.publisher.feeds.fast_ipv4 import parse_bare_lines
from authz.publisher.feeds.feed import FeedOptions
from authz.publisher.feeds.formats.plain import collect_plain, parse_plain

if TYPE_CHECKING:
    from collections.abc import Sequence

octets = st.sampled_from(["0", "1", "7", "9", "10", "99", "100", "199", "255", "192"])
bad_octets = st.sampled_from(
    ["", "00", "01", "010", "256", "999", "1000", "99999999999", "-1", "a", "1a", " 1", "\xb2"]
)
lengths = st.sampled_from(["", "/0", "/8", "/9", "/24", "/31", "/32", "/33", "/032", "/", "/1/2", "/a", "/4294967296"])
almost = st.builds(
    lambda parts, length, around: f"{around[0]}{'.'.join(parts)}{length}{around[1]}",
    st.lists(octets | octets | octets | bad_octets, min_size=4, max_size=4) | st.lists(octets, min_size=1, max_size=6),
    lengths,
    st.sampled_from([("", ""), ("", " "), (" ", ""), ("", "\t7"), ("", "\r"), ("#", ""), ("", " ;x"), ("", "\x00")]),
)
lines = almost | st.sampled_from(["", ".", "/", "...", "....", ".../", "1.2.3.4.", ".1.2.3.4", "2001:db8::1"])
texts = st.lists(lines, min_size=1, max_size=12)


def is_bare(line: str) -> bool:
    """Say whether a line is an IPv4 address or network and nothing else, by the strict parser."""
    try:
        return line == line.strip() and parse_network(line).version == 4 and ":" not in line
    except AddressError:
        return False


@settings(max_examples=tries(500), deadline=None)
@given(texts)
@example(["1.2.3.4"])
@example(["0.0.0.0/0", "255.255.255.255/32", "10.0.0.1/8"])
@example(["", "", "1.2.3.4", ""])
def test_bare_lines_are_read_as_the_strict_parser_reads_them(text: Sequence[str]) -> None:
    content = "".join(f"{line}\n" for line in text).encode()
    bare = parse_bare_lines(content)
    found = dict(zip(bare.lines.tolist(), zip(bare.values.tolist(), bare.lengths.tolist(), strict=True), strict=True))
    expected = {}
    for number, line in enumerate(text):
        if is_bare(line):
            network = parse_network(line)
            expected[number] = (network.value, network.length)
    assert found == expected
    others = {
        number: content[start:end].decode()
        for number, start, end in zip(*(c.tolist() for c in (bare.others, bare.starts, bare.ends)), strict=True)
    }
    assert others == {number: line for number, line in enumerate(text) if number not in expected}


@settings(max_examples=tries(200), deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_split_into_lines_and_none_is_lost(content: bytes) -> None:
    bare = parse_bare_lines(content + b"\n")
    assert sorted([*bare.lines, *bare.others]) == list(range(content.count(b"\n") + 1))


@settings(max_examples=tries(200), deadline=None)
@given(texts)
def test_a_list_read_at_once_is_the_list_read_line_by_line(text: Sequence[str]) -> None:
    text = [line.replace("\r", "") for line in text] + ["198.51.100.99"]
    slow = parse_plain(text)
    collector = Collector(FeedOptions(bogons="keep"))
    collect_plain("\n".join(text).encode(), collector)
    fast = collector.feed("plain")
    assert networks(fast) == networks(slow)
    assert fast[1:8] == slow[1:8]
    assert {version: lines.tolist() for version, lines in fast.lines.items()} == {
        version: lines.tolist() for version, lines in slow.lines.items()
    }


def test_a_real_list_read_at_once_is_the_list_read_line_by_line() -> None:
    path = shared("data/feeds/firehol2016-firehol_level1.netset")
    collector = Collector(FeedOptions(bogons="keep"))
    collect_plain(path.read_bytes(), collector)
    slow = parse_plain(path.read_text().splitlines())
    assert networks(collector.feed("plain")) == networks(slow)
