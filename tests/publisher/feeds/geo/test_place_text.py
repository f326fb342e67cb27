"""Countries as text: ranges, JSON and archives."""

from __future__ import annotations

import gzip
import io
import tarfile
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.publishing.covering import ranges_of
from support.publishing.places import both, countries, refusal

from authz.addresses import BITS, range_to_networks
from authz.errors import InputError
from authz.publisher.feeds.geo import ranges
from authz.publisher.feeds.geo.places import GeoWanted
from authz.publisher.feeds.geo.ranges import Ranges

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Ranges.
IPV4: Final = st.integers(0, 2**32 - 1)


IPV6: Final = st.one_of(
    st.integers(0, 2**128 - 1), st.integers(2**64 - 99, 2**64 + 99), st.integers(2**128 - 99, 2**128 - 1)
)


@given(st.sampled_from([4, 6]), st.data())
def test_many_ranges_become_the_networks_that_one_after_the_other_becomes(version: int, data: st.DataObject) -> None:
    address = IPV4 if version == 4 else IPV6
    pairs = [tuple(sorted(pair)) for pair in data.draw(st.lists(st.tuples(address, address), max_size=8))]
    pairs += [(0, (1 << BITS[version]) - 1), (0, 0)]
    made, origins = Ranges.of(version, [low for low, _ in pairs], [high for _, high in pairs]).networks()
    found = sorted(zip(origins.tolist(), ranges_of(version, made), strict=True))
    expected = [
        (number, (network.value, network.last))
        for number, (low, high) in enumerate(pairs)
        for network in range_to_networks(version, low, high)
    ]
    assert found == expected


def test_ranges_that_become_too_many_networks_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "MAX_NETWORKS", 100)
    with pytest.raises(InputError, match="more than 100 networks"):
        Ranges.of(6, [1], [2**128 - 2]).networks()
    assert len(Ranges.of(4, [1], [2**32 - 2]).networks()[0]) == 62


def test_no_ranges_are_no_networks() -> None:
    made, origins = Ranges.of(6, [], []).networks()
    assert (len(made), len(origins), made.high.dtype) == (0, 0, np.uint64)


def test_lines_of_ranges_are_read_in_every_spelling(written: Callable[..., Path]) -> None:
    path = written(
        "\ufeff# a comment\r\nstart_ip,end_ip,country\r\n\r\n"
        '"192.0.2.1","192.0.2.6","GB","United Kingdom"\r\n'
        "198.51.100.0 , 198.51.100.0,gb , x,y,z \r\n"
        "::ffff:203.0.113.0,::ffff:203.0.113.255,GB\r\n"
        "2001:db8::,2001:db8::1,GB\r\n"
        "203.0.113.0,203.0.113.255,-\r\n"
        '203.0.113.0,203.0.113.255,""',
        "ranges.csv",
    )
    result = countries(path, "GB")
    assert both(result.countries["GB"]) == {
        *("192.0.2.1/32", "192.0.2.2/31", "192.0.2.4/31", "192.0.2.6/32", "198.51.100.0/32", "203.0.113.0/24"),
        "2001:db8::/127",
    }
    assert result.databases[0].entries == {4: 3, 6: 1}


@pytest.mark.parametrize(
    "line",
    [
        "192.0.2.9,192.0.2.1,GB",
        "192.0.2.1,2001:db8::,GB",
        "192.0.2.1,192.0.2.9",
        "192.0.2.1,192.0.2.300,GB",
        "192.0.2.010,192.0.2.11,GB",
        "192.0.2.1,192.0.2.9,GBR",
        "start,end,country",
        "192.0.2.1",
        "\x00",
        "192.0.2.1,192.0.2.9," + "G" * 10_000,
    ],
)
def test_a_line_that_is_no_range_refuses_the_table(written: Callable[..., Path], line: str) -> None:
    path = written(f"192.0.2.0,192.0.2.0,GB\n{line}\n", "ranges.csv")
    assert refusal(path).message.startswith(f"{path}:2: found ")


def test_tables_without_a_range_are_refused(written: Callable[..., Path]) -> None:
    for content in ("start,end,country\n", "# nothing\n", " \n"):
        assert "found no line with a range" in refusal(written(content, "ranges.csv")).message


# JSON and archives.


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "{}",
        '{"countryCode": "GB"}',
        '{"countryCode": 7, "prefixes": {"ipv4": ["192.0.2.0/24"]}}',
        '{"countryCode": "-", "prefixes": {"ipv4": ["192.0.2.0/24"]}}',
        '{"countryCode": "GBR", "prefixes": {"ipv4": ["192.0.2.0/24"]}}',
        '{"countryCode": "GB", "prefixes": {"ipv4": "192.0.2.0/24"}}',
        '{"countryCode": "GB", "prefixes": {"ipv4": ["192.0.2.1/24"]}}',
        '{"countryCode": "GB", "prefixes": {"ipv6": [null]}}',
        "[" * 100_000,
    ],
)
def test_json_that_is_not_ipverses_is_refused(written: Callable[..., Path], content: str) -> None:
    path = written(content, "aggregated.json")
    assert str(path) in refusal(path).message


def test_json_of_a_country_without_networks_is_an_empty_country_and_so_an_error(written: Callable[..., Path]) -> None:
    path = written('{"countryCode": "GB", "prefixes": {}}', "aggregated.json")
    assert "found no networks of GB" in refusal(path, GeoWanted(frozenset({"GB"}))).message


def archive(files: dict[str, str], **fields: Any) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            for field, value in fields.items():
                setattr(member, field, value)
            tar.addfile(member, io.BytesIO(text.encode()))
    return content.getvalue()


def test_archives_are_read_by_the_names_of_their_files(written: Callable[..., Path]) -> None:
    files = {
        "LICENSE": "free",
        "ipv4/gb.cidr": "# comment\n192.0.2.0/24\n\n198.51.100.7",
        "ipv6/gb.cidr": "2001:db8::/32\n",
        "ipv4/../../etc/de.cidr": "203.0.113.0/24\n",
        "ipv4/readme.cidr": "no country",
    }
    for packed in (archive(files), gzip.compress(archive(files))):
        result = countries(written(packed, "blocks.tar"), "GB", "DE")
        assert both(result.countries["GB"]) == {"192.0.2.0/24", "198.51.100.7/32", "2001:db8::/32"}
        assert result.databases[0].entries == {4: 3, 6: 1}


def test_archives_that_are_damaged_or_of_something_else_are_refused(written: Callable[..., Path]) -> None:
    good = archive({"ipv4/gb.cidr": "192.0.2.0/24\n" * 100})
    assert "damaged archive" in refusal(written(good[:700], "x.tar")).message
    assert (
        "expected a plain one"
        in refusal(written(archive({"gb.cidr": ""}, type=tarfile.GNUTYPE_SPARSE), "x.tar")).message
    )
    error = refusal(written(archive({"GeoLite2-Country.mmdb": "x"}), "x.tar"))
    assert "found no file such as" in error.message
    assert "unpacked" in error.hint
    path = written(archive({"ipv4/gb.cidr": "192.0.2.0/24\n192.0.2.1/24\n"}), "x.tar")
    assert refusal(path).message.startswith(f"{path}: ipv4/gb.cidr:2: found '192.0.2.1/24'")
    assert (
        "networks of GB"
        in refusal(
            written(archive({"gb.cidr": "\n", "de.cidr": "::/1"}), "x.tar"), GeoWanted(frozenset({"GB"}))
        ).message
    )
