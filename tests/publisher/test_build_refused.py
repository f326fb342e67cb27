"""What `authz snapshot build` refuses and does not write: broken downloads, and denials of who is protected."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from support.publishing.build_folder import Folder, entries_of, lines
from support.publishing.mmdb import write_mmdb

from authz.engine.entries.opened_snapshot import OpenedSnapshot
from authz.publisher.builder import builder_name
from authz.snapshot.read import inspect_snapshot

NOTHING_WRITTEN = "hint: nothing was written; --force writes it, with your name in the snapshot"


# Broken downloads.


ONE_FEED = "version: 1\nentries: [{id: bad, list: deny, sources: [bad]}]\nfeeds: [{source: bad, path: bad.txt%s}]\n"


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
