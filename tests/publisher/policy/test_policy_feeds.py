"""The feeds of policy.yaml: their options, and mistakes in them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from support.publishing.policy_text import A_SOURCE, covered, entry

from authz.publisher.policy.subjects import SubjectOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from authz.publisher.policy.read import Policy

    Read = Callable[..., Policy]
    Wrong = Callable[..., list[str]]


# Mistakes: feeds


def test_a_feed_that_is_not_there_is_told(wrong: Wrong) -> None:
    assert wrong("version: 1\nfeeds:\n- source: tor\n  path: feeds/tor.txt") == [
        "4: feeds[0].path: feeds/tor.txt: cannot be read: No such file or directory"
    ]


def test_a_feed_that_is_a_folder_is_told(wrong: Wrong, tmp_path: Path) -> None:
    (tmp_path / "feeds").mkdir()
    assert wrong("version: 1\nfeeds: [{source: tor, path: feeds}]") == [
        "2: feeds[0].path: feeds: cannot be read: Is a directory"
    ]


def test_a_feed_without_one_good_line_is_told(wrong: Wrong, tmp_path: Path) -> None:
    (tmp_path / "tor.html").write_text("# moved\n<html>\n<p>Not found\n")
    (line,) = wrong("version: 1\nfeeds: [{source: tor, path: tor.html}]")
    assert line.startswith("2: feeds[0].path: tor.html: not recognised: the first line is '<html>'")
    (line,) = wrong("version: 1\nfeeds: [{source: tor, path: tor.html, format: plain}]")
    assert re.match(r"2: feeds\[0\].path: tor.html:( line )?2: found '<html>', expected ", line)


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("source: tor", "feeds[0].path: missing"),
        ("path: a.txt", "feeds[0].source: missing (or give a `preset`)"),
        ("source: Tor, path: a.txt", f"feeds[0].source: found 'Tor', expected {A_SOURCE}"),
        ("source: 1tor, path: a.txt", f"feeds[0].source: found '1tor', expected {A_SOURCE}"),
        ("source: tor, path: ", "feeds[0].path: found nothing, expected text"),
        ('source: tor, path: "a\\0.txt"', "feeds[0].path: found 'a\\x00.txt', expected text"),
        ("source: tor, path: [a.txt]", "feeds[0].path: found a list, expected text"),
        ("source: tor, path: a.txt, fromat: plain", "feeds[0].fromat: unknown key (did you mean 'format'?)"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_feed_is_told(wrong: Wrong, tmp_path: Path, rest: str, expected: str) -> None:
    (tmp_path / "a.txt").write_text("192.0.2.1\n")
    assert wrong(f"version: 1\nfeeds:\n- {{{rest}}}\n") == [f"3: {expected}"]


@pytest.mark.parametrize("name", ["netset2", "Plain", "mmdb"])
def test_a_format_that_cannot_be_read_is_told(wrong: Wrong, tmp_path: Path, name: str) -> None:
    (tmp_path / "a.txt").write_text("192.0.2.1\n")
    (line,) = wrong(f"version: 1\nfeeds: [{{source: tor, path: a.txt, format: {name}}}]")
    assert line.startswith(f"2: feeds[0].format: found '{name}', expected one of auto, plain, ")


# Options of feeds


def test_where_takes_the_entries_that_have_these_values(read: Read, tmp_path: Path) -> None:
    (tmp_path / "aws.json").write_text(
        '{"syncToken": "1", "prefixes": ['
        '{"ip_prefix": "3.0.0.0/24", "region": "eu-west-1", "service": "EC2", "network_border_group": "x"},'
        '{"ip_prefix": "3.0.1.0/24", "region": "eu-west-1", "service": "S3", "network_border_group": "x"},'
        '{"ip_prefix": "3.0.2.0/24", "region": "us-east-1", "service": "EC2", "network_border_group": "x"}]}'
    )
    (tmp_path / "proxies.txt").write_text("192.0.2.1:8080\n192.0.2.2:3128\n")
    policy = read("""\
version: 1
entries: [{list: deny, sources: [aws]}, {list: deny, sources: [proxy]}]
feeds:
- {source: aws, path: aws.json, where: {service: EC2, region: eu-west-1}}
- {source: proxy, path: proxies.txt, where: {port: 8080}}
""")
    assert (covered(policy, 0), covered(policy, 1)) == (["3.0.0.0/24"], ["192.0.2.1/32"])


def test_min_count_and_bogons_say_what_of_a_feed_is_taken(read: Read, tmp_path: Path) -> None:
    (tmp_path / "ipsum.txt").write_text("# counts\n192.0.2.1\t9\n192.0.2.2\t3\n192.0.2.3\t2\n10.0.0.1\t9\n")
    feeds = "feeds: [{{source: bad, path: ipsum.txt, min_count: 3{}}}]"
    policy = read(entry("sources: [bad]") + feeds.format(""))
    assert covered(policy) == ["192.0.2.1/32", "192.0.2.2/32"]
    (warning,) = policy.warnings
    assert warning.startswith("ipsum.txt:5: dropped 10.0.0.1/32: ")
    kept = read(entry("sources: [bad]") + feeds.format(", bogons: keep"))
    assert (covered(kept), kept.warnings) == (["10.0.0.1/32", "192.0.2.1/32", "192.0.2.2/32"], ())


@pytest.mark.parametrize(
    ("taken", "max_shrink", "refused"),
    [(100, "", False), (99, "", False), (50, "", False), (49, "", True), (0, "", True),
     (49, "0.51", False), (89, "0.1", True), (99, "0", True), (100, "0", False), (0, "0.99", True), (0, "1", False),
     (0, "1.0", False)],
)  # fmt: skip
def test_a_feed_may_lose_as_much_as_max_shrink_says(
    read: Read, wrong: Wrong, tmp_path: Path, taken: int, max_shrink: str, refused: bool
) -> None:
    (tmp_path / "a.txt").write_text("".join(f"192.0.2.{number}\n" for number in range(taken)))
    option = f", max_shrink: {max_shrink}" if max_shrink else ""
    text = entry("sources: [bad]") + f"feeds: [{{source: bad, path: a.txt{option}}}]"
    before = SubjectOptions(before={("bad", "a.txt"): [100], ("other", "a.txt"): [100_000]})
    if refused:
        (line,) = wrong(text, options=before)
        share = round(100 * float(max_shrink or 0.5))
        assert line == (
            f"4: feeds[0].path: a.txt: found {taken} entries, and 100 in the last build: {100 - taken} % fewer, "
            f"expected at most {share} % (a broken download? "
            "if the feed is really that short, set max_shrink: 1 on it for one build)"
        )
    else:
        assert len(covered(read(text, options=before))) == taken


def test_a_feed_that_was_empty_or_unknown_before_may_have_any_length(read: Read, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("")
    lasts: list[dict[tuple[str, str], list[int]]] = [
        {}, {("bad", "a.txt"): [0]}, {("bad", "b.txt"): [9]}, {("bad", "a.txt"): []}
    ]  # fmt: skip
    for before in lasts:
        text = entry("sources: [bad]") + "feeds: [{source: bad, path: a.txt, max_shrink: 0}]"
        assert covered(read(text, options=SubjectOptions(before=before))) == []


def test_a_feed_is_read_once_for_each_way_of_reading_it(read: Read, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("192.0.2.1\t1\n192.0.2.2\t5\n")
    policy = read("""\
version: 1
entries: [{list: deny, sources: [all]}, {list: deny, sources: [some]}, {list: allow, sources: [same]}]
feeds: [{source: all, path: a.txt}, {source: some, path: a.txt, min_count: 2}, {source: same, path: a.txt}]
""")
    assert [covered(policy, number) for number in range(3)] == [
        ["192.0.2.1/32", "192.0.2.2/32"], ["192.0.2.2/32"], ["192.0.2.1/32", "192.0.2.2/32"]
    ]  # fmt: skip
    every, _, same = policy.feeds
    assert every.feed is same.feed


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("where: EC2", "where: found 'EC2', expected keys with values"),
        ("where: {service: [EC2]}", "where.service: found a list, expected text"),
        ("where: {service: }", "where.service: found nothing, expected text"),
        ("min_count: -1", "min_count: found '-1', expected a whole number from 0"),
        ("min_count: 1.5", "min_count: found '1.5', expected a whole number from 0"),
        ("min_count: many", "min_count: found 'many', expected a whole number from 0"),
        ("bogons: false", "bogons: found 'false', expected one of drop, keep"),
        ("max_shrink: 2", "max_shrink: found '2', expected a share from 0 to 1"),
        ("max_shrink: 50 %", "max_shrink: found '50 %', expected a share from 0 to 1 (did you mean 0.5?)"),
        ("max_shrink: -0.5", "max_shrink: found '-0.5', expected a share from 0 to 1"),
        ("max_shrink: .5", "max_shrink: found '.5', expected a share from 0 to 1"),
        ("max_shrink: 1.01", "max_shrink: found '1.01', expected a share from 0 to 1"),
    ],
)
def test_a_wrong_option_of_a_feed_is_told(wrong: Wrong, tmp_path: Path, rest: str, expected: str) -> None:
    (tmp_path / "a.txt").write_text("192.0.2.1\n")
    assert wrong(f"version: 1\nfeeds:\n- {{source: tor, path: a.txt, {rest}}}\n") == [f"3: feeds[0].{expected}"]


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("where: {colour: red}", "colour"),
        ("min_count: 2", "min_count"),
        ("format: aws", "found no JSON"),
    ],
)
def test_an_option_that_the_feed_cannot_answer_is_told(wrong: Wrong, tmp_path: Path, rest: str, expected: str) -> None:
    (tmp_path / "a.txt").write_text("192.0.2.1\n")
    (line,) = wrong(f"version: 1\nfeeds:\n- {{source: tor, path: a.txt, {rest}}}\n")
    assert line.startswith("3: feeds[0].path: a.txt")
    assert expected in line
