"""What a feed gives: filters, bogons, repeats and nesting, and how much of each there was."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.publishing.feeds import networks, read_text
from support.suite.effort import tries

from authz.addresses import BITS, Network, parse_network
from authz.errors import InputError
from authz.publisher.feeds import collect
from authz.publisher.feeds.clean.bogons import BOGONS, find_bogons, why_bogon
from authz.publisher.feeds.clean.duplicates import merge
from authz.publisher.feeds.clean.shrink_guard import check_shrink
from authz.publisher.feeds.collect import Collector
from authz.publisher.feeds.feed import Bogon, FeedOptions
from authz.publisher.index.prefixes import Prefixes

ROOT = Path(__file__).parents[3]

# Prefixes of few bits, so that many are equal or nested; at both ends of the space, where sums overflow.
some_networks = st.lists(
    st.builds(
        lambda version, high, length: Network(
            version, ((high << (BITS[version] - 8)) >> (BITS[version] - length)) << (BITS[version] - length), length
        ),
        st.sampled_from([4, 6]),
        st.sampled_from([0, 1, 10, 100, 127, 128, 172, 192, 224, 239, 240, 252, 254, 255]),
        st.sampled_from([0, 1, 2, 3, 4, 5, 7, 8, 10, 12, 32]),
    )
    | st.sampled_from([*BOGONS])
    | st.builds(
        lambda bogon, cut: Network(
            bogon.version,
            bogon.value
            >> (BITS[bogon.version] - min(cut, bogon.length))
            << (BITS[bogon.version] - min(cut, bogon.length)),
            min(cut, bogon.length),
        ),
        st.sampled_from([*BOGONS]),
        st.integers(0, 128),
    )
    | st.tuples(st.integers((1 << 128) - 4, (1 << 128) - 1), st.sampled_from([128, 127, 126, 64])).map(
        lambda n: Network(6, n[0] >> (128 - n[1]) << (128 - n[1]), n[1])
    ),
    max_size=24,
)


def standard(network: Network) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(str(network))


def prefixes_of(networks: list[Network], version: int) -> Prefixes:
    return Prefixes.split(networks)[version]


# Counts


def test_every_count_of_a_feed_is_what_it_says(tmp_path: Path) -> None:
    feed = read_text(
        tmp_path,
        "192.0.2.0/24\n192.0.2.7\n192.0.2.7\n10.0.0.1\n198.51.100.0-198.51.100.2\nnonsense\n2001:db8::/32\n"
        "2001:db8::1\n192.0.2.0/24\n",
    )
    assert networks(feed) == [
        "192.0.2.0/24", "192.0.2.7", "198.51.100.0/31", "198.51.100.2", "2001:db8::/32", "2001:db8::1"
    ]  # fmt: skip
    assert (feed.taken, len(feed.skipped), feed.filtered) == (7, 1, 0)
    assert (feed.repeats, feed.nested, feed.merged) == (2, 2, 4)
    assert feed.bogons == (Bogon(4, parse_network("10.0.0.1"), "in 10.0.0.0/8 (private)"),)
    assert {version: lines.tolist() for version, lines in feed.lines.items()} == {4: [1, 2, 5, 5], 6: [7, 8]}


def test_networks_inside_others_are_kept_for_the_longest_may_decide(tmp_path: Path) -> None:
    assert networks(read_text(tmp_path, "192.0.2.7\n192.0.2.0/24\n")) == ["192.0.2.0/24", "192.0.2.7"]


@settings(max_examples=tries(300), deadline=None)
@given(some_networks)
def test_repeats_and_nesting_are_what_comparing_each_with_each_finds(networks: list[Network]) -> None:
    for version in (4, 6):
        mine = [network for network in networks if network.version == version]
        merged = merge(prefixes_of(networks, version))
        kept = [mine[place] for place in merged.places]
        assert kept == sorted(set(mine))
        assert [mine.index(network) for network in kept] == merged.places.tolist()
        unique = [standard(network) for network in kept]
        inside = [n for n in unique if any(n != other and n.subnet_of(other) for other in unique)]  # type: ignore[arg-type]  # one version
        assert merged.nested == len(inside)


# Bogons


@settings(max_examples=tries(300), deadline=None)
@given(some_networks)
def test_a_bogon_is_what_overlaps_special_space(found: list[Network]) -> None:
    for version in (4, 6):
        mine = [network for network in found if network.version == version]
        special = [standard(bogon) for bogon in BOGONS if bogon.version == version]
        expected = [any(standard(network).overlaps(bogon) for bogon in special) for network in mine]
        assert find_bogons(version, prefixes_of(found, version)).tolist() == expected
        assert [bool(why_bogon(network)) for network in mine] == expected


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("0.0.0.0/0", "contains 0.0.0.0/8 (this network)"),
        ("::/0", "contains ::/128 (unspecified)"),
        ("0.0.0.0/1", "contains 0.0.0.0/8 (this network)"),
        ("10.1.0.0/16", "in 10.0.0.0/8 (private)"),
        ("100.82.195.65", "in 100.64.0.0/10 (carrier-grade NAT)"),
        ("127.0.0.1", "in 127.0.0.0/8 (loopback)"),
        ("169.254.169.254", "in 169.254.0.0/16 (link-local)"),
        ("224.0.0.0/3", "contains 224.0.0.0/4 (multicast)"),
        ("255.255.255.255", "in 240.0.0.0/4 (reserved)"),
        ("::1", "in ::1/128 (loopback)"),
        ("::ffff:127.0.0.1", "in 127.0.0.0/8 (loopback)"),
        ("fd00::/8", "in fc00::/7 (unique local)"),
        ("fe80::1", "in fe80::/10 (link-local)"),
        ("ff02::1", "in ff00::/8 (multicast)"),
    ],
)
def test_a_bogon_is_dropped_and_told_unless_it_is_to_be_kept(tmp_path: Path, line: str, what: str) -> None:
    dropped = read_text(tmp_path, f"{line}\n198.51.100.1\n")
    assert networks(dropped) == ["198.51.100.1"]
    assert [(bogon.line, bogon.what) for bogon in dropped.bogons] == [(1, what)]
    kept = read_text(tmp_path, f"{line}\n198.51.100.1\n", bogons="keep")
    assert (len(networks(kept)), kept.taken, kept.bogons) == (2, 2, ())


@pytest.mark.parametrize(
    "line",
    ["192.0.2.1", "198.51.100.0/24", "203.0.113.7", "2001:db8::1", "3fff::/20", "64:ff9b::/96", "2001::/32",
     "2002::/16",
     "9.0.0.0/8", "11.0.0.0/8", "172.32.0.0/12", "172.0.0.0/12", "192.0.1.0/24", "223.0.0.0/8", "100.128.0.0/9",
     "2000::/16"],
)  # fmt: skip
def test_documentation_networks_and_what_lies_beside_bogons_are_kept(tmp_path: Path, line: str) -> None:
    assert read_text(tmp_path, line).bogons == ()


def test_a_feed_of_bogons_only_is_an_empty_feed_and_no_error(tmp_path: Path) -> None:
    feed = read_text(tmp_path, "10.0.0.0/8\n192.168.0.0/16\n")
    assert (feed.taken, len(feed.bogons)) == (0, 2)


def test_of_a_range_that_reaches_into_special_space_the_rest_is_taken(tmp_path: Path) -> None:
    feed = read_text(tmp_path, "9.255.255.0-10.0.0.255\n")
    assert (networks(feed), feed.taken) == (["9.255.255.0/24"], 1)
    assert [str(bogon.network) for bogon in feed.bogons] == ["10.0.0.0/24"]


# Filters

AWS = """{"prefixes": [
  {"ip_prefix": "192.0.2.0/26", "region": "eu-west-1", "service": "EC2"},
  {"ip_prefix": "192.0.2.64/26", "region": "eu-west-1", "service": "S3"},
  {"ip_prefix": "192.0.2.128/26", "region": "us-east-1", "service": "EC2"}],
 "ipv6_prefixes": [{"ipv6_prefix": "2001:db8::/32", "region": "eu-west-1", "service": "EC2"}]}"""
AZURE = """{"values": [
  {"name": "Storage", "properties": {"region": "", "systemService": "Blobs", "addressPrefixes": ["192.0.2.0/26"]}},
  {"name": "Sql.West", "properties": {"region": "west", "systemService": "Sql", "addressPrefixes": ["192.0.2.64/26"]}}
]}"""
ORACLE = """{"regions": [
  {"region": "a", "cidrs": [{"cidr": "192.0.2.0/26", "tags": ["OCI", "OSN"]},
                            {"cidr": "192.0.2.64/26", "tags": ["OCI"]}]},
  {"region": "b", "cidrs": [{"cidr": "192.0.2.128/26", "tags": ["OSN"]}]}
]}"""
BOTS = """{"sources": {"x-bot": {"operator": "X", "covers": ["one", "two"], "ipv4": ["192.0.2.0/26"]},
                       "y-bot": {"operator": "Y", "covers": [], "ipv4": ["192.0.2.64/26"]}}}"""


@pytest.mark.parametrize(
    ("text", "where", "expected"),
    [
        (AWS, {"service": "EC2", "region": "eu-west-1"}, ["192.0.2.0/26", "2001:db8::/32"]),
        (AWS, {"service": "S3"}, ["192.0.2.64/26"]),
        (AZURE, {"name": "Storage"}, ["192.0.2.0/26"]),
        (AZURE, {"systemService": "Sql", "region": "west"}, ["192.0.2.64/26"]),
        (ORACLE, {"region": "a"}, ["192.0.2.0/26", "192.0.2.64/26"]),
        (ORACLE, {"tags": "OSN"}, ["192.0.2.0/26", "192.0.2.128/26"]),
        (BOTS, {"source": "y-bot"}, ["192.0.2.64/26"]),
        (BOTS, {"operator": "X"}, ["192.0.2.0/26"]),
        (BOTS, {"covers": "two"}, ["192.0.2.0/26"]),
        ('"cidr","vendor"\n"192.0.2.0/26","AWS"\n"192.0.2.64/26","GCP"', {"vendor": "GCP"}, ["192.0.2.64/26"]),
        ("192.0.2.0,192.0.2.1,Some Inc,x\n192.0.2.2,192.0.2.3,Other,x", {"column3": "Other"}, ["192.0.2.2/31"]),
        ("192.0.2.0/26,NL,NL-NH,Ede,1\n192.0.2.64/26,US,,,", {"country": "NL", "city": "Ede"}, ["192.0.2.0/26"]),
        ("192.0.2.0/26,NL,,,\n192.0.2.64/26,US", {"country": "US"}, ["192.0.2.64/26"]),
        ("socks5://192.0.2.1:80\nhttp://192.0.2.2:80\n", {"scheme": "socks5"}, ["192.0.2.1"]),
        ("192.0.2.1:80\n192.0.2.2:3128\n192.0.2.3", {"port": "3128"}, ["192.0.2.2"]),
        ('{"ip":"192.0.2.1","port":80,"tls":true}\n{"ip":"192.0.2.2"}', {"port": "80", "tls": "true"}, ["192.0.2.1"]),
    ],
)
def test_where_takes_the_entries_that_have_all_the_values(
    tmp_path: Path, text: str, where: dict[str, str], expected: list[str]
) -> None:
    feed = read_text(tmp_path, text, where=where)
    assert networks(feed) == expected
    everything = read_text(tmp_path, text)
    assert feed.taken + feed.filtered == everything.taken
    assert everything.filtered == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (AWS, "where: found the column 'zone', expected ip_prefix, ipv6_prefix, region, service"),
        ("ip, port\n192.0.2.1, 80\n", "where: found the column 'zone', expected ip, port"),
        ("192.0.2.1:80\n", "where: found the column 'zone', expected port"),
        ("192.0.2.1\n", "where: found the column 'zone', expected none, since the format plain has no columns"),
        ('["192.0.2.1"]', "where: found the column 'zone', expected none, since the format json-list has no columns"),
    ],
)
def test_a_column_that_a_feed_does_not_have_is_an_error_that_lists_those_it_has(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        read_text(tmp_path, text, where={"zone": "x"})
    assert caught.value.message == f"{tmp_path}/feed: {message}"


def test_a_value_that_no_entry_has_is_an_error_that_lists_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_text(tmp_path, AWS, where={"service": "ec2", "region": "eu-west-1"})
    assert caught.value.message.endswith("found no entry of 4 that has service 'ec2' and region 'eu-west-1'")
    assert caught.value.hint == "service is one of EC2, S3; region is one of eu-west-1, us-east-1"


def test_of_many_values_only_some_are_listed(tmp_path: Path) -> None:
    rows = "\n".join(f"192.0.2.{n},{n:03}" for n in range(100))
    with pytest.raises(InputError) as caught:
        read_text(tmp_path, f"ip,n\n{rows}\n", where={"n": "x"})
    assert caught.value.hint.endswith("010, 011, ... (88 more)")


IPSUM = "# IP\tcount\n192.0.2.1\t10\n192.0.2.2\t3\n192.0.2.3\t2\nbad\t9\n"


def test_min_count_takes_the_addresses_that_enough_lists_have(tmp_path: Path) -> None:
    feed = read_text(tmp_path, IPSUM, min_count=3)
    assert networks(feed) == ["192.0.2.1", "192.0.2.2"]
    assert (feed.taken, feed.filtered, [skipped.line for skipped in feed.skipped]) == (2, 1, [5])
    assert read_text(tmp_path, IPSUM).taken == 3


def test_a_line_without_a_count_does_not_pass_min_count(tmp_path: Path) -> None:
    assert networks(read_text(tmp_path, "192.0.2.1\t3\n192.0.2.2\n192.0.2.3 x\n", min_count=1)) == ["192.0.2.1"]


def test_a_min_count_above_every_count_is_an_error_that_says_the_highest(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_text(tmp_path, IPSUM, min_count=11)
    message = "found no entry of 4 that has a count of 11 or more (the highest is 10)"
    assert caught.value.message == f"{tmp_path}/feed: {message}"


@pytest.mark.parametrize("text", ["192.0.2.1\n", AWS, "192.0.2.1:80\n", "ip,port\n192.0.2.1,80\n"])
def test_min_count_of_a_feed_without_counts_is_an_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match="min_count: found no count behind any address"):
        read_text(tmp_path, text, min_count=1)


@pytest.mark.parametrize("options", [{"where": {"zone": "x"}}, {"min_count": 3}])
def test_filters_on_an_empty_feed_are_no_mistake(tmp_path: Path, options: dict[str, object]) -> None:
    assert read_text(tmp_path, "# nothing today\n", **options).taken == 0


# Limits


def test_a_feed_of_too_many_networks_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "MAX_NETWORKS", 1000)
    collector = Collector()
    for _ in range(20):  # each range becomes 254 networks
        collector.take(1, "::1-ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe")
    with pytest.raises(InputError, match="found more than 1,000 networks"):
        collector.feed("plain")


def test_a_feed_of_too_many_bad_lines_is_an_error_that_shows_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "MAX_FAULTS", 10)
    collector = Collector()
    collector.take(1, "192.0.2.1")
    for line in range(2, 13):
        collector.take(line, "x")
    with pytest.raises(InputError, match="found more than 10 lines that are not entries; the last, 12: found 'x'"):
        collector.feed("plain")


def test_a_feed_of_too_many_bogons_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "MAX_FAULTS", 10)
    for bogons, refused in (("drop", True), ("keep", False)):
        collector = Collector(FeedOptions(bogons=bogons))  # type: ignore[arg-type]  # either literal
        for line in range(11):
            collector.take(line, f"10.0.0.{line}")
        if refused:
            with pytest.raises(InputError, match="found 11 networks of private or reserved space"):
                collector.feed("plain")
        else:
            assert collector.feed("plain").taken == 11


# The guard against shrinking


@pytest.mark.parametrize(
    ("now", "before", "max_shrink"),
    [(50, 100, 0.5), (100, 100, 0), (200, 100, 0.5), (0, None, 0.5), (0, 0, 0.5), (5, None, 0.0), (1, 100, 0.99),
     (0, 100, 1), (1, 100, 1.0), (1, 2, 0.5)],
)  # fmt: skip
def test_a_feed_that_is_new_or_not_much_shorter_passes(now: int, before: int | None, max_shrink: float) -> None:
    check_shrink("tor.txt", now, before, max_shrink)


@pytest.mark.parametrize(
    ("now", "before", "max_shrink"), [(49, 100, 0.5), (0, 1, 0.5), (0, 100, 0.999), (99, 100, 0), (1, 3, 0.5)]
)
def test_a_feed_that_is_empty_or_much_shorter_than_before_is_refused(now: int, before: int, max_shrink: float) -> None:
    with pytest.raises(InputError):
        check_shrink("tor.txt", now, before, max_shrink)


def test_the_refusal_says_both_numbers_and_how_to_override_it() -> None:
    with pytest.raises(InputError) as caught:
        check_shrink(Path("feeds/tor.txt"), 12, 1340)
    assert caught.value.message == (
        "feeds/tor.txt: found 12 entries, and 1,340 in the last build: 99 % fewer, expected at most 50 %"
    )
    assert "max_shrink: 1" in caught.value.hint


@given(st.integers(0, 10**6), st.integers(1, 10**6), st.integers(0, 100))
@example(0, 1, 100)
def test_the_guard_is_the_share_of_entries_lost(now: int, before: int, percent: int) -> None:
    passes = percent == 100 or (now > 0 and 100 * now >= before * (100 - percent))
    try:
        check_shrink("tor.txt", now, before, percent / 100)
    except InputError:
        assert not passes
    else:
        assert passes


def test_the_documents_name_every_bogon_and_no_other() -> None:
    text = (ROOT / "docs" / "reference" / "feeds.md").read_text().partition("They are what the IANA")[2]
    assert re.findall(r"`([^`]+)`", text.partition("A network that")[0]) == [str(bogon) for bogon in BOGONS]
