"""Geo databases with damaged trees and records."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import maxminddb
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.publishing.mmdb import MARKER, encode, pointer, raw_mmdb, write_mmdb
from support.publishing.places import GB, KABUL, OXFORD, both, countries, refusal

from authz.errors import InputError
from authz.publisher.feeds.geo.places import GeoWanted, read_geo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def damage(written: Callable[..., Path], content: bytes) -> str:
    return refusal(written(content), GeoWanted(frozenset({"GB"}))).message


def test_a_loop_on_one_side_is_refused(written: Callable[..., Path]) -> None:
    assert "a node has two parents" in damage(written, raw_mmdb([(0, 1)], GB))
    assert "a node has two parents" in damage(written, raw_mmdb([(0, 1)], GB, ip_version=4))


def test_a_path_that_is_longer_than_an_address_is_refused(written: Callable[..., Path]) -> None:
    chain = [(number + 1, 200) for number in range(200)]
    assert "a path of more than 32 bits" in damage(written, raw_mmdb(chain, GB))
    assert "a path of more than 32 bits" in damage(written, raw_mmdb(chain[:40], GB, ip_version=4))
    right = [(201, number + 1) for number in range(201)]
    assert "a path of more than 128 bits" in damage(written, raw_mmdb(right, GB))


def test_nodes_that_are_shared_do_not_multiply(written: Callable[..., Path]) -> None:
    # Two ways to each of 30 nodes: a walk of all paths would meet two to the power of 30.
    shared_nodes = [(number + 1, number + 1) for number in range(29)] + [(30 + 16, 30 + 16)]
    assert "a node has two parents" in damage(written, raw_mmdb(shared_nodes, GB, ip_version=4))


def test_nodes_that_nothing_leads_to_are_refused(written: Callable[..., Path]) -> None:
    assert "1 of 2 nodes" in damage(written, raw_mmdb([(2 + 16, 2), (2, 2)], GB, ip_version=4))


@pytest.mark.parametrize("link", [2, 16, 17 + len(GB), 0xFFFFFF])
def test_links_that_lead_to_no_record_are_refused(written: Callable[..., Path], link: int) -> None:
    assert "a record outside" in damage(written, raw_mmdb([(link, 1)], GB, ip_version=4))


@pytest.mark.parametrize(
    "metadata",
    [
        {"binary_format_major_version": 3},
        {"ip_version": 5},
        {"record_size": 20},
        {"record_size": "24"},
        {"node_count": 0},
        {"node_count": 2**32},
        {"node_count": {}},
    ],
)
def test_metadata_that_cannot_be_is_refused(written: Callable[..., Path], metadata: dict[str, Any]) -> None:
    assert "found " in damage(written, raw_mmdb([(17, 1)], GB, ip_version=4, metadata=metadata))


def test_pointers_that_go_in_circles_end(written: Callable[..., Path]) -> None:
    record = encode({"country": pointer(0), "continent": pointer(0)})
    assert "found no country" in damage(written, raw_mmdb([(17, 1)], record, ip_version=4))
    to_itself = raw_mmdb([(17, 1)], pointer(0), ip_version=4)
    assert "found no country" in damage(written, to_itself)
    keys = raw_mmdb([(17, 1)], b"\xe1" + pointer(1) + encode("GB"), ip_version=4)
    assert "a key that is not text" in damage(written, keys)


def test_maps_inside_maps_do_not_fill_the_stack(written: Callable[..., Path]) -> None:
    deep = b"\xe1\x41x" * 100_000 + encode("end")
    assert "found no country" in damage(written, raw_mmdb([(17, 1)], deep, ip_version=4))


def test_arrays_of_pointers_to_arrays_do_not_multiply(written: Callable[..., Path]) -> None:
    # Written out, the last would have a thousand to the power of ten items.
    data = bytearray(encode("x"))
    place = 0
    for _ in range(10):
        item, place = pointer(place), len(data)
        data += encode([item] * 1000)
    place = len(data)
    data += encode({"country": {"iso_code": "GB"}, "subdivisions": pointer(0), "names": pointer(place - 5007)})
    path = written(raw_mmdb([(17 + place, 1)], bytes(data), ip_version=4))
    assert both(countries(path, "GB").countries["GB"]) == {"0.0.0.0/1"}


def test_records_that_lie_over_one_another_end_in_an_error(written: Callable[..., Path]) -> None:
    # Each of 256 records has all the later ones in it: 5 million steps, were there no budget.
    depth = 20_000
    inner = [(2 * number + 1, 2 * number + 2) for number in range(127)]
    leaves = [(255 + 16 + 6 * number, 255 + 16 + 6 * number + 3) for number in range(128)]
    data = b"\xe1\x41x" * depth + encode("end")
    assert "records overlap" in damage(written, raw_mmdb(inner + leaves, data, ip_version=4))


@pytest.mark.parametrize("record", [b"\xe1", b"\xe1\x42x", b"\xe1\x41x\xff\xff\xff\xff", b"\xff\xff\xff\xff", b"\x00"])
def test_values_that_reach_past_the_end_are_refused(written: Callable[..., Path], record: bytes) -> None:
    assert "the data is damaged" in damage(written, raw_mmdb([(17, 1)], record, ip_version=4))


@pytest.mark.parametrize("kind", [b"\x00\x05", b"\x00\x06", b"\x00\xff"])
def test_values_of_unknown_kinds_are_refused(written: Callable[..., Path], kind: bytes) -> None:
    record = b"\xe2\x41x" + kind + encode("country_code") + encode("GB")
    assert "unknown kind" in damage(written, raw_mmdb([(17, 1)], record, ip_version=4))


def test_pointers_of_all_lengths_are_followed(written: Callable[..., Path]) -> None:
    for form, base in ((b"\x20", 0), (b"\x28", 2048), (b"\x30", 526336), (b"\x38", 0)):
        width = (form[0] >> 3 & 3) + 1
        record = b"\xe1" + encode("country_code") + form + (300 if width == 4 else 44).to_bytes(width, "big")
        target = 300 if width == 4 else base + 44
        data = record.ljust(target, b"\0") + encode("GB")
        path = written(raw_mmdb([(17, 1)], data, ip_version=4))
        with maxminddb.open_database(path) as reader:
            assert reader.get("0.0.0.1") == {"country_code": "GB"}
        assert both(countries(path, "GB").countries["GB"]) == {"0.0.0.0/1"}


@functools.cache
def small_database() -> bytes:
    return write_mmdb({"192.0.2.0/24": OXFORD, "2001:db8::/32": KABUL}, aliases=["2002::/16"])


def test_a_database_cut_short_anywhere_is_refused(written: Callable[..., Path]) -> None:
    content = small_database()
    for length in [*range(0, len(content), 7), *range(len(content) - 300, len(content))]:
        assert damage(written, content[:length])


@given(st.integers(0, len(small_database()) - 1), st.integers(1, 255))
def test_a_changed_byte_is_refused_or_changes_what_it_says(
    tmp_path_factory: pytest.TempPathFactory, at: int, by: int
) -> None:
    content = bytearray(small_database())
    content[at] ^= by
    path = tmp_path_factory.getbasetemp() / "changed.mmdb"
    path.write_bytes(content)
    try:
        result = read_geo([path], GeoWanted(frozenset({"GB", "AF"})))
    except InputError:
        return
    assert all(both(networks) for networks in result.countries.values())


@given(st.binary(max_size=300), st.sampled_from([b"", MARKER]))
def test_bytes_of_no_meaning_are_refused(tmp_path_factory: pytest.TempPathFactory, start: bytes, marker: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.bin"
    path.write_bytes(start + marker + start)
    assert str(path) in refusal(path).message
