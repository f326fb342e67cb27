"""Plain feeds: an address, network or range a line, read as they come."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.suite.effort import tries
from support.suite.shared import shared

from authz.addresses import Network, parse_networks
from authz.errors import AddressError, InputError
from authz.publisher.feeds.formats.plain import Feed, Skipped, parse_plain, read_plain

if TYPE_CHECKING:
    from pathlib import Path

EXPECTED = "an address, a network such as 192.0.2.0/24, or a range such as 192.0.2.1-192.0.2.9"

BACKWARDS = "a range whose end is not before its start"


def networks(feed: Feed) -> set[Network]:
    taken = set()
    for version, prefixes in feed.networks.items():
        for high, low, length in zip(*prefixes, strict=True):
            value = int(high) << 64 | int(low)
            taken.add(Network(version, value >> (96 if version == 4 else 0), int(length)))
    return taken


def named(*texts: str) -> set[Network]:
    return {network for text in texts for network in parse_networks(text)}


def feed(tmp_path: Path, content: str | bytes) -> Feed:
    path = tmp_path / "feed.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_plain(path)


def test_addresses_networks_and_ranges_of_both_versions_are_taken(tmp_path: Path) -> None:
    parsed = feed(tmp_path, "192.0.2.7\n198.51.100.0/24\n2001:db8::1\n2001:DB8:5::/48\n::ffff:203.0.113.9\n"
                           "203.0.113.1-203.0.113.6\n2001:db8:9:: - 2001:db8:9::ffff\n")  # fmt: skip
    assert networks(parsed) == named(
        "192.0.2.7", "198.51.100.0/24", "2001:db8::1", "2001:db8:5::/48", "203.0.113.9", "203.0.113.1-203.0.113.6",
        "2001:db8:9::/112",
    )  # fmt: skip
    assert (parsed.taken, parsed.skipped) == (7, ())


def test_comments_and_blank_lines_say_nothing(tmp_path: Path) -> None:
    text = """\
# a list
; another comment

   \t
192.0.2.1 # the first
192.0.2.2;the second
\t192.0.2.3 \t ; the third # really
   # indented
198.51.100.0/24 ; SBL123
"""
    parsed = feed(tmp_path, text)
    assert networks(parsed) == named("192.0.2.1", "192.0.2.2", "192.0.2.3", "198.51.100.0/24")
    assert (parsed.taken, parsed.skipped) == (4, ())


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
def test_lines_may_end_as_on_any_system_the_last_one_without_an_end(tmp_path: Path, end: str, last: bool) -> None:
    lines = ["192.0.2.1", "# comment", "", "192.0.2.2-192.0.2.3", "2001:db8::/32", "nonsense", "192.0.2.4"]
    parsed = feed(tmp_path, end.join(lines) + (end if last else ""))
    assert networks(parsed) == named("192.0.2.1", "192.0.2.2/31", "2001:db8::/32", "192.0.2.4")
    assert parsed.taken == 4
    assert [skipped.line for skipped in parsed.skipped] == [6]


def test_a_byte_order_mark_does_not_cost_the_first_line(tmp_path: Path) -> None:
    parsed = feed(tmp_path, b"\xef\xbb\xbf192.0.2.1\n192.0.2.2\n")
    assert networks(parsed) == named("192.0.2.1", "192.0.2.2")
    assert parsed.skipped == ()


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("nonsense", f"found 'nonsense', expected {EXPECTED}"),
        ("192.0.2.300", f"found '192.0.2.300', expected {EXPECTED}"),
        (
            "192.0.2.010",
            "found '192.0.2.010', expected no leading zeros, such as 192.0.2.10: some programs read them as octal",
        ),
        ("192.0.2.7:80", f"found '192.0.2.7:80', expected {EXPECTED} (did you mean '192.0.2.7'?)"),
        ("http://192.0.2.7", f"found 'http://192.0.2.7', expected {EXPECTED}"),
        ("192.0.2.7,proxy", f"found '192.0.2.7,proxy', expected {EXPECTED}"),
        ("fe80::1%eth0", "found 'fe80::1%eth0', expected no zone, such as fe80::1"),
        ("192.0.2.0/33", "found '192.0.2.0/33', expected a prefix length from 0 to 32"),
        ("192.0.2.7/24",
         "found '192.0.2.7/24', expected a network without host bits (did you mean '192.0.2.0/24'?)"),
        ("203.0.113.9-::1", "found '203.0.113.9-::1', expected a range of one version, not IPv4 and IPv6"),
        ("9.0.0.0-1.0.0.0",
         f"found '9.0.0.0-1.0.0.0', expected {BACKWARDS} (did you mean '1.0.0.0-9.0.0.0'?)"),
        ("192.0.2.1\0", f"found '192.0.2.1\\x00', expected {EXPECTED}"),
        ("\u0661.2.3.4", f"found '\\u0661.2.3.4', expected {EXPECTED}"),
    ],
)  # fmt: skip
def test_a_bad_line_is_skipped_with_its_number_and_what_is_wrong_with_it(tmp_path: Path, line: str, why: str) -> None:
    parsed = feed(tmp_path, f"# head\n192.0.2.1\n{line}\n192.0.2.2\n")
    assert networks(parsed) == named("192.0.2.1", "192.0.2.2")
    assert parsed.taken == 2
    assert parsed.skipped == (Skipped(3, why),)


@pytest.mark.parametrize("line", ["192.0.2.1 192.0.2.9", "192.0.2.1\t192.0.2.9", "192.0.2.1, 192.0.2.9",
                                  "192.0.2.1 192.0.2.0/24", "2001:db8::1 2001:db8::9"])  # fmt: skip
def test_a_line_with_two_addresses_is_skipped_for_it_may_mean_either_thing(tmp_path: Path, line: str) -> None:
    parsed = feed(tmp_path, f"{line}\n198.51.100.1\n")
    assert networks(parsed) == named("198.51.100.1")
    assert [skipped.line for skipped in parsed.skipped] == [1]


def test_all_bad_lines_are_told_in_order(tmp_path: Path) -> None:
    parsed = feed(tmp_path, "bad\n192.0.2.1\n\nworse\n192.0.2.1/2\n")
    assert [skipped.line for skipped in parsed.skipped] == [1, 4, 5]


def test_a_line_that_is_not_utf_8_is_skipped_and_the_others_are_taken(tmp_path: Path) -> None:
    parsed = feed(tmp_path, b"192.0.2.1\n192.0.2.2 # caf\xe9\n192.0.2.\xff\n192.0.2.3\n")
    assert networks(parsed) == named("192.0.2.1", "192.0.2.2", "192.0.2.3")
    assert parsed.skipped == (Skipped(3, f"found '192.0.2.\\xff', expected {EXPECTED}"),)


def test_a_long_line_is_skipped_and_not_repeated_in_full(tmp_path: Path) -> None:
    parsed = feed(tmp_path, f"192.0.2.1\n{'9' * 1_000_000}\n192.0.2.{'0' * 100_000}2\n192.0.2.3\n")
    assert networks(parsed) == named("192.0.2.1", "192.0.2.3")
    assert [skipped.line for skipped in parsed.skipped] == [2, 3]
    assert all(len(skipped.why) < 300 for skipped in parsed.skipped)


def test_a_long_comment_does_not_hide_the_address_before_it(tmp_path: Path) -> None:
    parsed = feed(tmp_path, f"192.0.2.1 # {'x' * 100_000}\n# {'x' * 100_000}\n192.0.2.2\n")
    assert networks(parsed) == named("192.0.2.1", "192.0.2.2")
    assert parsed.skipped == ()


@pytest.mark.parametrize("content", ["", "\n", "\n\n  \n", "# nothing", "# nothing\n;\n", "\r\n#\r\n"])
def test_a_feed_without_anything_in_it_is_an_empty_feed(tmp_path: Path, content: str) -> None:
    parsed = feed(tmp_path, content)
    assert (networks(parsed), parsed.taken, parsed.skipped) == (set(), 0, ())


@pytest.mark.parametrize(
    "content", ["<html>\n<p>Not found\n", "ip,country\n192.0.2.1,DE\n", '{"a":1}', "404", "\0\1\2"]
)
def test_a_file_without_one_good_line_is_an_error_that_shows_the_first(tmp_path: Path, content: str) -> None:
    with pytest.raises(InputError) as caught:
        feed(tmp_path, f"# head\n\n{content}")
    first = re.escape(content.partition("\n")[0].replace("\0\1\2", "\\x00\\x01\\x02"))
    pattern = rf"{tmp_path}/feed.txt:( line )?3: found '{first}', expected {EXPECTED}; no line of the file is an .*"
    assert re.fullmatch(pattern, caught.value.message)


def test_one_good_line_makes_a_feed(tmp_path: Path) -> None:
    parsed = feed(tmp_path, "<html>\n<p>\n192.0.2.1\n")
    assert (networks(parsed), len(parsed.skipped)) == (named("192.0.2.1"), 2)


def test_a_feed_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_plain(tmp_path / "none.txt")
    assert caught.value.message == f"{tmp_path}/none.txt: cannot be read: No such file or directory"


def test_a_folder_is_no_feed(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_plain(tmp_path)
    assert caught.value.message == f"{tmp_path}: cannot be read: Is a directory"


def test_a_path_with_a_nul_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_plain(tmp_path / "a\0b")
    assert caught.value.message.endswith("cannot be read: embedded null byte")


def test_repeats_and_networks_in_networks_are_taken_as_they_come(tmp_path: Path) -> None:
    parsed = feed(tmp_path, "192.0.2.0/24\n192.0.2.1\n192.0.2.1\n192.0.2.0-192.0.2.255\n")
    assert networks(parsed) == named("192.0.2.0/24", "192.0.2.1")
    assert parsed.taken == 4


def test_the_widest_and_the_last_networks_are_taken_exactly(tmp_path: Path) -> None:
    texts = ("0.0.0.0/0", "::/0", "255.255.255.255", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "128.0.0.0/1",
             "0.0.0.0-255.255.255.254")  # fmt: skip
    assert networks(feed(tmp_path, "\n".join(texts))) == named(*texts)


# The slow twin

TOKENS = ["192.0.2.7", "192.0.2.0/24", "192.0.2.7/24", "1.2.3", "1.2.3.4.5", "01.2.3.4", "1.2.3.256", "0.0.0.0/0",
          "1.2.3.4/", "1.2.3.4/33", "1.2.3.4/032", "/", ".", "...", "1..2.3", "1.2.3.4/32/32", "+1.2.3.4", "1.2.3.4e",
          "255.255.255.255/32", "10.0.0.0/8", "2001:db8::/32", "::", "::ffff:1.2.3.4", "1.2.3.4-1.2.3.9", "-", " ",
          "\t", "#", ";", "# 1.2.3.4", "x", "\x0b", "\x0c", "\x1c", "\u2028", "\x85", "\u00a0", "\u0661.1.1.1", "",
          "9" * 300, "1.2.3.4\x00"]  # fmt: skip
LINES = st.lists(st.lists(st.sampled_from(TOKENS), max_size=3).map("".join), max_size=12)


def entry_of(line: str) -> str:
    return re.sub(r"\s*-\s*", "-", re.split("[#;]", line)[0].strip(), count=1)


def twin(lines: list[str]) -> tuple[set[Network], set[int]]:
    """Return the networks and the lines that are skipped; only for lines of one column."""
    taken: set[Network] = set()
    skipped = set()
    for number, line in enumerate(lines, start=1):
        text = entry_of(line).strip()
        try:
            taken |= set(parse_networks(text)) if text else set()
        except AddressError:
            skipped.add(number)
    return taken, skipped


@settings(max_examples=tries(300), suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(LINES)
@example(["1.2.3.4", "", "1.2.3.4/24", "5.6.7.8"])
@example(["x" * 5000, "1.2.3.4"])
def test_a_feed_is_read_at_once_as_it_would_be_line_by_line(tmp_path: Path, lines: list[str]) -> None:
    # Columns have a test of their own: here a line is one entry, or nothing.
    lines = [line for line in lines if len(entry_of(line).split()) <= 1]
    expected, bad = twin(lines)
    for at_once in (True, False):
        try:
            found = feed(tmp_path, "\n".join(lines)) if at_once else parse_plain(lines)
        except InputError:
            assert bad
            assert not expected
        else:
            assert networks(found) == expected
            assert {skipped.line for skipped in found.skipped} == bad


# Real feeds


@pytest.mark.parametrize(
    ("name", "ipv4", "ipv6"),
    [
        ("x4bnet-manual-comments-only.txt", 0, 0),
        ("tor-exit-nodes-2024.lst", 1127, 619),  # IPv6 with leading zeros
        ("spamhaus-drop-2024.txt", 989, 0),  # a space behind every line
        ("firehol2016-firehol_level1.netset", 17_257, 0),  # a head of comments, private networks
        ("mitchellkrogza-bad-ip-addresses.list", 9969, 31),
        ("goodbots-yandex.ips", 14, 1),  # no end of the last line
        ("bingbot-disposable.txt", 28, 0),
        ("apple-private-relay-ipv6.txt", 0, 10_455),
    ],
)
def test_a_real_feed_gives_every_entry_that_was_counted_in_it(name: str, ipv4: int, ipv6: int) -> None:
    feed = read_plain(shared(f"data/feeds/{name}"))
    assert {version: len(prefixes) for version, prefixes in feed.networks.items()} == {4: ipv4, 6: ipv6}
    assert (feed.taken, feed.skipped) == (ipv4 + ipv6, ())


def test_a_real_feed_of_another_format_is_refused() -> None:
    with pytest.raises(InputError):
        read_plain(shared("data/feeds/tor-exits-onionoo.csv"))
