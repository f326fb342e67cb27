"""Whatever a feed contains, it gives a feed or an InputError, and nothing else."""

from __future__ import annotations

import contextlib
import gzip
import json
import lzma
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.publishing.feed_samples import SAMPLES
from support.publishing.feeds import networks, read_text
from support.suite.effort import tries

from authz.errors import InputError
from authz.publisher.feeds.read_feed import FORMATS

if TYPE_CHECKING:
    from pathlib import Path

    from authz.publisher.feeds.feed import Feed

unchecked = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
fuzz = settings(max_examples=tries(300), deadline=None, suppress_health_check=unchecked)
options = st.fixed_dictionaries(
    {},
    optional={
        "format": st.sampled_from(FORMATS),
        "where": st.dictionaries(st.sampled_from(["ip", "port", "name", "column2"]), st.text(max_size=3), max_size=2),
        "min_count": st.integers(0, 20),
        "bogons": st.sampled_from(["drop", "keep"]),
    },
)
pieces = st.sampled_from(
    ["192.0.2.7", "192.0.2.0/24", "10.0.0.1", "2001:db8::1", ":80", "-", " - ", ",", ";", "#", "\t", " ", "\n", "\r",
     "\0", '"', "{", "}", "[", "]", ":", "null", "1e999", "1" * 40, "ip", "cidr", "start", "end", "prefixes", "list",
     '{"ip":"192.0.2.7"}', '{"prefixes":', '"ipv4":["192.0.2.7"]', "http://", "NL", "\ufeff", "\x1c", "\u2028", "\xe9"]
)  # fmt: skip
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | pieces
keys = st.sampled_from(
    ["prefixes", "ipv6_prefixes", "ip_prefix", "ipv4Prefix", "values", "properties", "addressPrefixes", "regions",
     "cidrs", "cidr", "tags", "result", "ipv4_cidrs", "ipv6_cidrs", "addresses", "ipv6_addresses", "list", "sources",
     "ipv4", "ipv6", "name", "ip"]
)  # fmt: skip
documents = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


def survives(folder: Path, content: str | bytes, **given_options: Any) -> Feed | None:
    """Read a feed, and check it or the error. Any other exception fails the test."""
    feed, refusal = None, None
    try:
        feed = read_text(folder, content, **given_options)
    except InputError as error:
        refusal = error.message
    if feed is None:
        assert refusal is not None
        assert refusal.startswith(f"{folder}/feed: ")
        assert len(refusal) < 1000
        assert refusal.isprintable()
        return None
    shown = networks(feed)
    assert len(set(shown)) == len(shown)
    assert feed.taken <= len(shown) + feed.repeats
    assert {version: len(lines) for version, lines in feed.lines.items()} == {
        version: len(prefixes) for version, prefixes in feed.networks.items()
    }
    return feed


@fuzz
@given(st.binary(max_size=300), options)
@example(b"\x1f\x8b", {})
@example(b"\xfd7zXZ\x00", {})
@example(b"\x1f\x8b\x08\x00", {})
@example(b"\xef\xbb\xbf", {})
def test_any_bytes(tmp_path: Path, content: bytes, given_options: dict[str, Any]) -> None:
    survives(tmp_path, content, **given_options)


@fuzz
@given(st.lists(pieces, max_size=30).map("".join), options)
@example('192.0.2.7\t"{"ip', {"format": "geofeed"})
def test_any_pieces_of_feeds(tmp_path: Path, content: str, given_options: dict[str, Any]) -> None:
    survives(tmp_path, content, **given_options)


@fuzz
@given(documents, options)
@example([], {"format": "aws"})
def test_any_json(tmp_path: Path, document: object, given_options: dict[str, Any]) -> None:
    survives(tmp_path, json.dumps(document), **given_options)


@fuzz
@given(st.sampled_from([text for _, text, _ in SAMPLES.values()]), st.data(), options)
def test_any_sample_with_something_cut_out_or_put_in(
    tmp_path: Path, text: str, data: st.DataObject, given_options: dict[str, Any]
) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    survives(tmp_path, text[:start] + data.draw(pieces | st.just("")) + text[end:], **given_options)


@fuzz
@given(st.sampled_from([gzip.compress, lzma.compress]), st.data())
def test_any_damage_of_a_packed_file(tmp_path: Path, pack: Any, data: st.DataObject) -> None:
    packed = bytearray(pack(b"192.0.2.7\n" * 100))
    for _ in range(data.draw(st.integers(1, 3))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    survives(tmp_path, bytes(packed[: data.draw(st.integers(0, len(packed)))]))


@pytest.mark.parametrize("depth", [100, 254, 255, 500, 900, 1000, 1023, 1024, 1025, 100_000])
@pytest.mark.parametrize("form", ["{}", '{{"list":[{}]}}', '{{"values":[{{"properties":{{"addressPrefixes":[{}]}}}}]}}',
                                  '[{{"ip":{}}}]', '{{"sources":{{"a":{{"ipv4":[{}]}}}}}}', '{{"ip":{}}}'])  # fmt: skip
def test_json_that_is_nested_deep(tmp_path: Path, depth: int, form: str) -> None:
    for left, right in (("[", "]"), ('{"ip":', "}")):
        for inner in (left * depth + "1" + right * depth, left * depth):
            assert survives(tmp_path, form.format(inner)) is None


@pytest.mark.parametrize("number", ["9" * 400, "-1", "1e999", "1" + "0" * 10_000, "0.1", "18446744073709551616"])
def test_huge_numbers(tmp_path: Path, number: str) -> None:
    survives(tmp_path, f'[{{"ip":"192.0.2.7","n":{number}}}]', where={"n": "1"})
    survives(tmp_path, f"192.0.2.7\t{number}\n", min_count=1)
    survives(tmp_path, f"192.0.2.7:{number}\n")
    survives(tmp_path, f"192.0.2.0/{number}\n")
    survives(tmp_path, f"ip,n\n192.0.2.7,{number}\n", where={"n": "1"})


def test_long_lines_and_cells(tmp_path: Path) -> None:
    long = "9" * 300_000
    for text in (long, f'"{long}"', f"192.0.2.7,{long}", f'"192.0.2.7","{long}"', f"192.0.2.7 {' ' * 300_000}- x"):
        survives(tmp_path, f"{text}\n192.0.2.8\n")
        survives(tmp_path, f"ip,x\n{text}\n192.0.2.8,x\n", format="csv")
    with contextlib.suppress(InputError):
        read_text(tmp_path, json.dumps([{long: "192.0.2.7"}, {"ip": long}]), where={long: "x"})
