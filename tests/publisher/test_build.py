"""`authz snapshot build`, end to end: policies over feeds, databases and hosts, and what is refused, not written."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from support.commands import Commands, Ran
from support.mmdb import write_mmdb
from support.publisher import Publisher

from authz.addresses import parse_address
from authz.engine.decider import Decider
from authz.engine.explain import explain
from authz.engine.opened_snapshot import OpenedSnapshot
from authz.engine.request import Request
from authz.engine.ruleset import Ruleset
from authz.engine.settings import Settings
from authz.publisher.builder import builder_name
from authz.snapshot.read import inspect_snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

BUILD = ("snapshot", "build", "policy.yaml", "-o", "lists.snapshot", "--key", "keys/a.key")
NOTHING_WRITTEN = "hint: nothing was written; --force writes it, with your name in the snapshot"


class Folder:
    """A folder with keys, and a publisher at work in it."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        Publisher(path)  # makes the keys
        self.path = path
        self.authz = Commands(path, monkeypatch)

    def write(self, files: Mapping[str, str | bytes]) -> None:
        for name, content in files.items():
            (self.path / name).write_bytes(content.encode() if isinstance(content, str) else content)

    def build(self, policy: str, *options: str) -> Ran:
        """Write the policy and build it in a process of its own."""
        self.write({"policy.yaml": policy})
        return self.authz.real(*BUILD, *options)

    def built(self, policy: str, *options: str) -> OpenedSnapshot:
        """Build a policy and load the snapshot."""
        self.write({"policy.yaml": policy})
        ran = self.authz(*BUILD, *options)  # in this process, which is quick
        assert ran.status == 0, ran.err
        return OpenedSnapshot(inspect_snapshot(self.path / "lists.snapshot"))

    def refused(self, policy: str, *options: str) -> list[str]:
        """Build what is refused: the lines that were printed. What is on the disk stays as it is."""
        self.write({"policy.yaml": policy})
        before = self.files()
        ran = self.authz.real(*BUILD, *options)
        assert (ran.status, ran.out) == (2, ""), ran
        assert self.files() == before
        return ran.err.splitlines()

    def files(self) -> dict[str, bytes]:
        return {
            path.name: path.read_bytes()
            for path in self.path.iterdir()
            if path.is_file() and path.name != ".lists.snapshot.lock"  # stays, and says nothing
        }


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    return Folder(tmp_path, monkeypatch)


def entries_of(loaded: OpenedSnapshot, address: str) -> dict[str, str]:
    """Return what covers an address: the longest network by entry."""
    return {covering.entry.id: str(covering.network) for covering in loaded.covering(parse_address(address))}


# What is built.


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


# Broken downloads.


ONE_FEED = "version: 1\nentries: [{id: bad, list: deny, sources: [bad]}]\nfeeds: [{source: bad, path: bad.txt%s}]\n"


def lines(count: int) -> str:
    return "".join(f"5.0.0.{number}\n" for number in range(count))


def test_a_feed_that_has_shrunk_too_much_since_the_last_build_is_refused(folder: Folder) -> None:
    folder.write({"bad.txt": lines(10)})
    folder.built(ONE_FEED % "")
    folder.write({"bad.txt": lines(4)})
    assert folder.refused(ONE_FEED % "") == [
        (
            "policy.yaml:3: feeds[0].path: bad.txt: found 4 entries, and 10 in the last build: 60 % fewer, "
            "expected at most 50 % (a broken download? "
            "if the feed is really that short, set max_shrink: 1 on it for one build)"
        ),
        "authz: error: 1 mistake in policy.yaml",
    ]
    assert entries_of(folder.built(ONE_FEED % ", max_shrink: 0.6", "--force"), "5.0.0.4") == {}
    # That build is the last one now.
    folder.write({"bad.txt": lines(3)})
    folder.built(ONE_FEED % "")


@pytest.mark.parametrize("content", ["", "# the list is being made\n"])
def test_an_empty_download_after_a_full_one_is_refused(folder: Folder, content: str) -> None:
    folder.write({"bad.txt": lines(3)})
    folder.built(ONE_FEED % "")
    folder.write({"bad.txt": content})
    (line, _) = folder.refused(ONE_FEED % ", max_shrink: 0.99")
    assert "found 0 entries, and 3 in the last build: 100 % fewer" in line
    assert entries_of(OpenedSnapshot(inspect_snapshot(folder.path / "lists.snapshot")), "5.0.0.1") == {
        "bad": "5.0.0.1/32"
    }
    assert entries_of(folder.built(ONE_FEED % ", max_shrink: 1", "--force"), "5.0.0.1") == {}


def test_each_part_of_a_file_is_compared_with_the_same_part_of_the_last_build(folder: Folder) -> None:
    def ranges(ec2: int, s3: int) -> str:
        services = [*["EC2"] * ec2, *["S3"] * s3]
        return json.dumps({"syncToken": "1", "prefixes": [
            {"ip_prefix": f"5.6.{number}.0/24", "region": "a", "service": service, "network_border_group": "a"}
            for number, service in enumerate(services)
        ]})  # fmt: skip

    policy = """\
version: 1
entries: [{list: deny, sources: [aws]}]
feeds:
- {source: aws, path: ranges.json, where: {service: EC2}}
- {source: aws, path: ranges.json, where: {service: S3}}
"""
    folder.write({"ranges.json": ranges(3, 20)})
    folder.built(policy)
    folder.built(policy)  # nothing has changed
    folder.write({"ranges.json": ranges(1, 20)})
    (line, _) = folder.refused(policy)
    assert line.startswith(
        "policy.yaml:4: feeds[0].path: ranges.json: found 1 entries, and 3 in the last build: 67 % fewer"
    )


def test_another_file_is_not_compared_with_the_last_build(folder: Folder) -> None:
    folder.write({"bad.txt": lines(10), "new.txt": lines(1)})
    folder.built(ONE_FEED % "")
    folder.built((ONE_FEED % "").replace("bad.txt", "new.txt"), "--force")


def test_a_page_instead_of_a_list_is_refused(folder: Folder) -> None:
    folder.write({"bad.txt": "<!DOCTYPE html>\n<html><body>Too many requests\n"})
    line, count = folder.refused(ONE_FEED % "")
    assert line.startswith("policy.yaml:3: feeds[0].path: bad.txt: not recognised: the first line is '<!DOCTYPE html>'")
    assert count == "authz: error: 1 mistake in policy.yaml"


def test_bogons_in_a_feed_are_dropped_with_a_warning(folder: Folder) -> None:
    folder.write({"bad.txt": "0.0.0.0/0\n10.0.0.0/8\n5.0.0.1\n::/0\n"})
    ran = folder.build(ONE_FEED % "")
    assert ran.status == 0
    warnings = ran.err.splitlines()
    assert [re.sub(r": dropped (\S+): .*", r" \1", line) for line in warnings] == [
        "authz: warning: bad.txt:1 0.0.0.0/0",
        "authz: warning: bad.txt:2 10.0.0.0/8",
        "authz: warning: bad.txt:4 ::/0",
    ]
    loaded = OpenedSnapshot(inspect_snapshot(folder.path / "lists.snapshot"))
    assert (entries_of(loaded, "10.0.0.1"), entries_of(loaded, "5.0.0.1")) == ({}, {"bad": "5.0.0.1/32"})
    assert entries_of(folder.built(ONE_FEED % ", bogons: keep"), "10.0.0.1") == {"bad": "10.0.0.0/8"}


def test_many_warnings_of_a_feed_are_cut_short_and_counted(folder: Folder) -> None:
    folder.write({"bad.txt": lines(30) + "".join(f"nonsense {number}\n" for number in range(9))})
    warnings = folder.build(ONE_FEED % "").err.splitlines()
    assert [line.partition(": skipped")[0] for line in warnings[:-1]] == [
        f"authz: warning: bad.txt:{number}" for number in range(31, 36)
    ]
    assert warnings[-1] == "authz: warning: bad.txt: 4 more lines skipped or dropped"


DATABASE = write_mmdb({"6.0.0.0/24": {"country": {"iso_code": "US"}}, "6.0.1.0/24": {"country": {"iso_code": "NO"}}})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        DATABASE[: len(DATABASE) // 2],
        DATABASE[:-1],
        DATABASE[100:],
        DATABASE.replace(b"iso_code", b"iso_cod"),
        b"<html>\n",
    ],
    ids=["empty", "half", "without its end", "without its start", "a letter less", "a page"],
)
def test_a_damaged_database_is_refused(folder: Folder, content: bytes) -> None:
    folder.write({"country.mmdb": DATABASE})
    policy = "version: 1\nentries: [{list: deny, countries: [US]}]\ngeo: {country: country.mmdb}\n"
    folder.built(policy)
    folder.write({"country.mmdb": content})
    line, *_, last = folder.refused(policy)
    assert line.startswith("policy.yaml:3: geo.country: country.mmdb")
    assert last == "authz: error: 1 mistake in policy.yaml"


# Protected networks.


def protecting(*entries: str, protected: str = "192.0.2.0/24", applications: str = "{shop: {}}") -> str:
    rows = "".join(f"- {{{entry}}}\n" for entry in entries)
    return f"version: 1\napplications: {applications}\nentries:\n{rows}protected: [{protected}]\n"


def later(hours: int) -> str:
    return (datetime.now(UTC) + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:00:00Z")


def test_a_build_that_would_deny_a_protected_address_is_refused(folder: Folder) -> None:
    folder.built(protecting("id: oops, list: allow, networks: [192.0.2.0/24]"))
    assert folder.refused(
        protecting("id: oops, list: deny, networks: [192.0.2.128/25], applications: [shop]")
    ) == [
        "authz: error: protected 192.0.2.0/24: 192.0.2.128/25 is denied in application 'shop' by entry oops",
        NOTHING_WRITTEN,
    ]  # fmt: skip


def test_a_feed_that_has_a_protected_address_is_refused_by_the_name_of_its_entry(folder: Folder) -> None:
    folder.write({"bad.txt": "5.0.0.1\n192.0.2.77\n"})
    assert folder.refused(ONE_FEED % "" + "protected: [192.0.2.0/24, '2001:db8::/32']\n") == [
        "authz: error: protected 192.0.2.0/24: 192.0.2.77/32 is denied in application '*' by entry bad",
        NOTHING_WRITTEN,
    ]


def test_an_allowance_that_expires_protects_until_then_only(folder: Folder) -> None:
    deny = "id: range, list: deny, networks: [192.0.2.0/24]"
    folder.built(protecting(deny, "id: office, list: allow, networks: [192.0.2.0/24]"))
    expires = later(48)
    first, second, hint = folder.refused(
        protecting(deny, f"id: office, list: allow, networks: [192.0.2.0/24], expires: {expires}")
    )
    told = "protected 192.0.2.0/24: 192.0.2.0/24 is denied in application '%s' by entry range from %s on"
    assert first == f"authz: error: {told % ('*', expires)}"
    assert second == told % ("shop", expires)
    assert hint == NOTHING_WRITTEN


def test_a_denial_that_begins_later_is_told_now(folder: Folder) -> None:
    starts = later(24)
    (line, *_) = folder.refused(protecting(f"id: later, list: deny, networks: [192.0.2.9], starts: {starts}"))
    assert line == (
        "authz: error: protected 192.0.2.0/24: 192.0.2.9/32 is denied in application '*' "
        f"by entry later from {starts} on"
    )


def test_an_application_that_denies_by_default_denies_who_is_protected(folder: Folder) -> None:
    entry = "id: office, list: allow, networks: [192.0.2.0/25]"
    assert folder.refused(protecting(entry, applications="{admin: {default: deny}}")) == [
        "authz: error: protected 192.0.2.0/24: 192.0.2.128/25 is denied in application 'admin' by default_deny",
        NOTHING_WRITTEN,
    ]


@pytest.mark.parametrize(
    "policy",
    [
        protecting("id: oops, list: deny, networks: [192.0.2.0/24], action: warn"),
        protecting("id: oops, list: deny, networks: [192.0.2.0/24]", applications='{"*": {dry_run: true}}'),
        protecting("id: oops, list: deny, networks: [198.51.100.0/24]"),
        protecting("id: oops, list: deny, networks: [192.0.0.0/16], except: [192.0.2.0/24]"),
    ],
    ids=["warn", "dry run", "elsewhere", "except"],
)
def test_who_is_not_denied_needs_no_protection(folder: Folder, policy: str) -> None:
    assert folder.build(policy).err == ""


def test_force_writes_it_and_inspect_shows_who_and_what(folder: Folder) -> None:
    policy = protecting("id: oops, list: deny, networks: [192.0.2.9], applications: [shop]")
    folder.refused(policy)
    ran = folder.build(policy, "--force")
    refusal = "protected 192.0.2.0/24: 192.0.2.9/32 is denied in application 'shop' by entry oops"
    assert (ran.status, ran.err) == (0, f"authz: warning: forced: {refusal}")
    shown = folder.authz("snapshot", "inspect", "lists.snapshot", "--json").json()
    assert shown["forced"] == [f"{builder_name()}: {refusal}"]
    assert refusal in folder.authz.real("snapshot", "inspect", "lists.snapshot").out
    # It is part of what is signed.
    assert folder.authz("snapshot", "verify", "lists.snapshot", "--trusted-key", "keys/a.pub").status == 0


def test_force_that_was_not_needed_is_not_written_down(folder: Folder) -> None:
    folder.build(protecting("id: fine, list: deny, networks: [198.51.100.9]"), "--force")
    assert folder.authz("snapshot", "inspect", "lists.snapshot", "--json").json()["forced"] == []


def test_many_denials_are_cut_short_and_counted(folder: Folder) -> None:
    entries = [
        f"id: oops-{number}, list: deny, networks: [192.0.2.{number}], applications: [shop]" for number in range(25)
    ]
    told = folder.refused(protecting(*entries))
    assert len(told) == 22
    assert told[-2:] == ["and 5 more", NOTHING_WRITTEN]


# Round trip: what a small policy says, looked up in the text, and in the snapshot that it becomes.


NETWORKS = [f"10.0.0.{n}/{length}" for length in (28, 29, 30, 31, 32) for n in range(0, 16, 1 << (32 - length))]
NETWORKS += [f"2001:db8::{n:x}/{length}" for length in (125, 126, 127, 128) for n in range(0, 8, 1 << (128 - length))]
ADDRESSES = [f"10.0.0.{n}" for n in range(17)] + [f"2001:db8::{n:x}" for n in range(9)]
WINDOWS: list[dict[str, str]] = [
    {}, {}, {"starts": "2026-01-01T00:00:00Z"}, {"expires": "2026-01-01T00:00:00Z"},
    {"starts": "2025-01-01T00:00:00Z", "expires": "2027-01-01T00:00:00Z"},
]  # fmt: skip
MOMENTS = [datetime(2025, 6, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 6, 1, tzinfo=UTC)]
some_networks = st.lists(st.sampled_from(NETWORKS), min_size=1, max_size=4)


@st.composite
def small_entries(draw: st.DrawFn) -> dict[str, Any]:
    entry: dict[str, Any] = {"list": draw(st.sampled_from(["allow", "deny", "gray"])), "networks": draw(some_networks)}
    if draw(st.booleans()):
        entry["except"] = draw(some_networks)
    if draw(st.booleans()):
        entry["applications"] = draw(st.sampled_from([["shop"], ["bank"], ["shop", "bank"]]))
    if entry["list"] == "deny" and draw(st.booleans()):
        entry["action"] = "warn"
    return entry | draw(st.sampled_from(WINDOWS))


small_policies = st.builds(
    lambda shop, entries: {
        "version": 1,
        "applications": {"shop": shop, "bank": {"default": "deny"}},
        "entries": [{"id": f"e{number}", **entry} for number, entry in enumerate(entries)],
    },
    st.fixed_dictionaries({
        "mode": st.sampled_from(["off", "monitoring", "safe_blocking", "block"]),
        "precedence": st.sampled_from(["allow_first", "deny_first", "most_specific"]),
        "default": st.sampled_from(["allow", "deny"]),
        "dry_run": st.booleans(),
    }),
    st.lists(small_entries(), max_size=6),
)  # fmt: skip


def within(network: str, address: str) -> bool:
    one: IPv4Network | IPv6Network = ip_network(network)
    return ip_address(address) in one


def covering_by_text(policy: dict[str, Any], address: str) -> dict[str, int]:
    """Return the entries that cover an address, with the length of their longest network, by the policy's text."""
    found = {}
    for entry in policy["entries"]:
        lengths = [int(network.partition("/")[2]) for network in entry["networks"] if within(network, address)]
        if lengths and not any(within(network, address) for network in entry.get("except", ())):
            found[entry["id"]] = max(lengths)
    return found


def decision_by_text(
    policy: dict[str, Any], name: str, address: str, at: datetime
) -> tuple[str, str, set[str], set[str]]:
    """Return decision, list, entries of which one decides, and warnings, by the rules of docs/policy.md."""
    application: dict[str, Any] = {"mode": "block", "precedence": "allow_first", "default": "allow", "dry_run": False}
    application |= policy["applications"][name]
    by_id = {entry["id"]: entry for entry in policy["entries"]}
    covering = {
        key: length
        for key, length in covering_by_text(policy, address).items()
        if name in by_id[key].get("applications", [name])
        and ("starts" not in by_id[key] or datetime.fromisoformat(by_id[key]["starts"]) <= at)
        and ("expires" not in by_id[key] or at < datetime.fromisoformat(by_id[key]["expires"]))
    }
    warnings = {key for key in covering if by_id[key].get("action") == "warn"}
    looked_at = {
        key: length for key, length in covering.items()
        if key not in warnings and (by_id[key]["list"] != "gray" or application["mode"] == "safe_blocking")
    }  # fmt: skip
    order = ["deny", "allow", "gray"] if application["precedence"] == "deny_first" else ["allow", "deny", "gray"]
    if application["precedence"] == "most_specific" and looked_at:
        longest = max(looked_at.values())
        looked_at = {key: length for key, length in looked_at.items() if length == longest}
    on = next((one for one in order if any(by_id[key]["list"] == one for key in looked_at)), "none")
    first = {key: length for key, length in looked_at.items() if by_id[key]["list"] == on}
    deciding = {key for key, length in first.items() if length == max(first.values())}
    decision: str = {"allow": "allow", "deny": "deny", "gray": "allow", "none": application["default"]}[on]
    return "allow" if application["dry_run"] else decision, on, deciding, warnings


@pytest.fixture(scope="module")
def publisher(tmp_path_factory: pytest.TempPathFactory) -> Publisher:
    return Publisher(tmp_path_factory.mktemp("round-trip"))


@settings(max_examples=80, deadline=None)
@given(small_policies)
def test_policy_to_snapshot_to_explain_is_what_the_policy_says(publisher: Publisher, policy: dict[str, Any]) -> None:
    path = publisher.publish(yaml.safe_dump(policy))
    decider = Decider(Settings(unknown="default"))
    decider.load(Ruleset([OpenedSnapshot(inspect_snapshot(path))]))
    for number, address in enumerate(ADDRESSES):
        name, at = ("shop", "bank")[number % 2], MOMENTS[number % 3]
        told = explain(decider, Request(address, application=name), at.timestamp())
        found = {one["entry"]: one["network"] for one in told["covering"]}
        assert {key: int(network.partition("/")[2]) for key, network in found.items()} == covering_by_text(
            policy, address
        )
        assert all(within(network, address) for network in found.values())
        decision, on, deciding, warnings = decision_by_text(policy, name, address, at)
        outcome = told["decision"]
        assert (outcome["decision"], outcome["list"], set(outcome["warnings"])) == (decision, on, warnings)
        assert outcome["entry"] in deciding if deciding else outcome["entry"] is None
        decides = [one["entry"] for one in told["covering"] if one["verdict"].startswith("decides")]
        assert decides == [entry for entry in [outcome["entry"]] if entry is not None]


def test_an_entry_says_since_when_it_is_there_from_build_to_build(publisher: Publisher) -> None:
    policy = "version: 1\nentries:\n  - {id: a, list: deny, networks: [192.0.2.1]}\n"
    publisher.publish(policy, created=1000)
    first = inspect_snapshot(publisher.folder / "lists.snapshot")
    assert [entry.added for entry in first.entries()] == [1000]
    grown = policy + "  - {id: b, list: deny, networks: [192.0.2.2]}\n"
    publisher.publish(grown, created=2000, previous=first)
    second = inspect_snapshot(publisher.folder / "lists.snapshot")
    assert {entry.id: entry.added for entry in second.entries()} == {"a": 1000, "b": 2000}


def test_a_snapshot_names_its_layer_and_the_networks_that_nobody_may_deny(publisher: Publisher) -> None:
    publisher.publish('version: 1\nprotected: [192.0.2.0/24, "2001:db8::1"]\n')
    manifest = inspect_snapshot(publisher.folder / "lists.snapshot").manifest
    assert (manifest.layer, list(manifest.protected)) == ("policy", ["192.0.2.0/24", "2001:db8::1/128"])
