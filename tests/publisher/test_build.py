"""`authz snapshot build`, end to end: policies over feeds, databases and hosts."""

from __future__ import annotations

import json
import re
from typing import Any

from support.publishing.build_folder import Folder, entries_of
from support.publishing.mmdb import write_mmdb

from authz.engine.entries.opened_snapshot import OpenedSnapshot
from authz.snapshot.read import inspect_snapshot

FEEDS: dict[str, str] = {
    "ipsum.txt": "# IP<TAB>hits\n5.0.0.1\t9\n5.0.0.2\t2\n",
    "drop.netset": "; Spamhaus\n5.1.0.0/16 ; SBL1\n2a01:10::/32 ; SBL2\n",
    "ranges.txt": "5.2.0.0 - 5.2.0.9\n",
    "proxies.txt": "socks5://5.3.0.1:1080\nhttp://5.3.0.2:8080\n",
    "tor.csv": "fingerprint,ipaddr,port\n0008D9,5.4.0.1,443\n",
    "linode.csv": "5.5.0.0/24,US,US-CA,Fremont,\n2a01:50::/32,DE,DE-HE,Frankfurt,\n",
    "aws.json": json.dumps({
        "syncToken": "1", "createDate": "x",
        "prefixes": [
            {"ip_prefix": "5.6.0.0/24", "region": "eu-west-1", "service": "EC2", "network_border_group": "eu-west-1"},
            {"ip_prefix": "5.6.1.0/24", "region": "us-east-1", "service": "EC2", "network_border_group": "us-east-1"},
        ],
        "ipv6_prefixes": [
            {"ipv6_prefix": "2a01:60::/32", "region": "eu-west-1", "service": "S3", "network_border_group": "x"},
        ],
    }),
    "drop.jsonl": '{"cidr": "5.7.0.0/24", "sblid": "SBL1"}\n{"cidr": "5.7.1.0/24", "sblid": "SBL2"}\n',
}  # fmt: skip


def test_one_policy_has_feeds_of_many_formats_packed_or_not(folder: Folder) -> None:
    import gzip
    import lzma

    folder.write(FEEDS)
    folder.write(
        {"tor.csv": gzip.compress(FEEDS["tor.csv"].encode()), "drop.jsonl": lzma.compress(FEEDS["drop.jsonl"].encode())}
    )
    loaded = folder.built("""\
version: 1
entries:
- {id: bad, list: deny, sources: [malicious]}
- {id: anonymous, list: deny, sources: [proxy, tor]}
- {id: cloud, list: deny, sources: [linode, aws]}
feeds:
- {source: malicious, path: ipsum.txt, min_count: 3}
- {source: malicious, path: drop.netset}
- {source: malicious, path: ranges.txt}
- {source: malicious, path: drop.jsonl, where: {sblid: SBL2}}
- {source: proxy, path: proxies.txt, where: {scheme: socks5}}
- {source: tor, path: tor.csv, format: csv}
- {source: linode, path: linode.csv}
- {source: aws, path: aws.json, where: {region: eu-west-1}}
""")
    for address, expected in {
        "5.0.0.1": {"bad": "5.0.0.1/32"},
        "5.0.0.2": {},
        "5.1.255.255": {"bad": "5.1.0.0/16"},
        "2a01:10::1": {"bad": "2a01:10::/32"},
        "5.2.0.9": {"bad": "5.2.0.8/31"},
        "5.2.0.10": {},
        "5.3.0.1": {"anonymous": "5.3.0.1/32"},
        "5.3.0.2": {},
        "5.4.0.1": {"anonymous": "5.4.0.1/32"},
        "5.5.0.1": {"cloud": "5.5.0.0/24"},
        "2a01:50::1": {"cloud": "2a01:50::/32"},
        "5.6.0.1": {"cloud": "5.6.0.0/24"},
        "5.6.1.1": {},
        "2a01:60::1": {"cloud": "2a01:60::/32"},
        "5.7.0.1": {},
        "5.7.1.1": {"bad": "5.7.1.0/24"},
    }.items():
        assert entries_of(loaded, address) == expected, address
    manifest = inspect_snapshot(folder.path / "lists.snapshot").manifest
    assert [(feed.source, feed.path, feed.format, feed.entries) for feed in manifest.feeds] == [
        ("malicious", "ipsum.txt", "plain", 1),
        ("malicious", "drop.netset", "plain", 2),
        ("malicious", "ranges.txt", "plain", 1),
        ("malicious", "drop.jsonl", "json-lines", 1),
        ("proxy", "proxies.txt", "proxies", 1),
        ("tor", "tor.csv", "csv", 1),
        ("linode", "linode.csv", "geofeed", 2),
        ("aws", "aws.json", "aws", 2),
    ]


def test_what_became_of_the_entries_of_each_feed_is_told(folder: Folder) -> None:
    lines = ["5.1.1.1 7", "5.1.1.1 9", "5.1.1.0/24 3", "10.0.0.1 5", "nonsense 5", "5.1.2.1 2", "5.1.3.1 8"]
    folder.write({"feed.txt": "".join(f"{line}\n" for line in lines)})
    policy = """version: 1
entries: [{id: bad, list: deny, sources: [bad]}]
feeds: [{source: bad, path: feed.txt, min_count: 3}]
"""
    expected = {"taken": 4, "skipped": 1, "filtered": 1, "bogons": 1, "merged": 2}
    feeds = folder.build(policy, "--json").json()["feeds"]
    assert feeds == [{"source": "bad", "path": "feed.txt", "format": "plain", **expected}]
    said = ", ".join(f"{count} {name}" for name, count in expected.items())
    assert folder.build(policy).out.splitlines()[-1] == f"feed feed.txt: plain: {said}"


def test_countries_regions_continents_and_asns_are_those_of_the_databases(folder: Folder) -> None:
    def place(continent: str, country: str, *regions: str) -> dict[str, Any]:
        return {"continent": {"code": continent}, "country": {"iso_code": country},
                "subdivisions": [{"iso_code": region} for region in regions]}  # fmt: skip

    folder.write({
        "city.mmdb": write_mmdb({
            "6.0.0.0/24": place("NA", "US", "CA"), "6.0.1.0/24": place("NA", "US", "NY"),
            "6.0.2.0/24": place("AF", "ZA"), "6.0.3.0/24": place("AS", "AF"), "2a02::/32": place("NA", "US", "CA"),
        }, kind="GeoLite2-City", record_size=28),
        "extra.csv": "6.0.4.0,6.0.4.127,US\n",
        "asn4.csv": "6.1.0.0,6.1.0.5,64496,One\n6.1.0.6,6.1.0.7,64497,Other\n",
        "asn6.mmdb": write_mmdb({"2a03::/32": {"autonomous_system_number": 64496}}, kind="GeoLite2-ASN"),
    })  # fmt: skip
    loaded = folder.built("""\
version: 1
entries:
- {id: us, list: deny, countries: [US]}
- {id: california, list: gray, regions: [US-CA]}
- {id: africa, list: deny, continents: [AF], except: [6.0.2.9]}
- {id: afghanistan, list: deny, countries: [AF]}
- {id: as64496, list: allow, asns: [64496]}
geo: {country: [city.mmdb, extra.csv], asn: [asn4.csv, asn6.mmdb]}
""")
    for address, expected in {
        "6.0.0.1": {"us", "california"},
        "6.0.1.1": {"us"},
        "6.0.2.1": {"africa"},
        "6.0.2.9": set(),
        "6.0.3.1": {"afghanistan"},
        "2a02::1": {"us", "california"},
        "6.0.4.127": {"us"},
        "6.0.4.128": set(),
        "6.1.0.5": {"as64496"},
        "6.1.0.6": set(),
        "2a03::1": {"as64496"},
    }.items():
        assert entries_of(loaded, address).keys() == expected, address
    assert [entry.subjects for entry in loaded.entries] == [
        ("country US",), ("region US-CA",), ("continent AF",), ("country AF",), ("asn 64496",)
    ]  # fmt: skip


def test_a_host_is_its_addresses_when_the_snapshot_is_built(folder: Folder) -> None:
    loaded = folder.built("version: 1\nentries: [{id: own, list: allow, hosts: [localhost]}]\n")
    cached = json.loads((folder.path / "lists.snapshot.hosts.json").read_text())["localhost"]["addresses"]
    assert set(cached) <= {"127.0.0.1", "::1"}
    for address in cached:
        assert entries_of(loaded, address).keys() == {"own"}
    assert entries_of(loaded, "127.0.0.2") == {}


def test_a_host_without_an_address_is_a_mistake_or_where_it_is_allowed_a_warning(folder: Folder) -> None:
    policy = "version: 1\nentries: [{id: own, list: allow, hosts: [gone.invalid], networks: [192.0.2.1]}]\n"
    message = "'gone.invalid' does not resolve: offline"
    assert folder.refused(policy, "--offline") == [
        f"policy.yaml:2: entries[0].hosts: {message} (--allow-unresolved takes it)",
        "authz: error: 1 mistake in policy.yaml",
    ]
    ran = folder.build(policy, "--offline", "--allow-unresolved")
    assert (ran.status, ran.err) == (0, f"authz: warning: {message}")


def test_offline_takes_the_last_answer_and_says_how_old_it_is(folder: Folder) -> None:
    folder.write({"cache.json": '{"vpn.example.com": {"addresses": ["192.0.2.44"], "at": 1790000000}}'})
    policy = "version: 1\nentries: [{id: own, list: allow, hosts: [vpn.example.com]}]\n"
    ran = folder.build(policy, "--offline", "--host-cache", "cache.json")
    assert (ran.status, bool(re.fullmatch(
        r"authz: warning: 'vpn.example.com': offline; took the answer of \d+ seconds ago", ran.err
    ))) == (0, True)  # fmt: skip
    loaded = OpenedSnapshot(inspect_snapshot(folder.path / "lists.snapshot"))
    assert entries_of(loaded, "192.0.2.44") == {"own": "192.0.2.44/32"}
