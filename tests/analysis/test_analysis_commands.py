"""`authz snapshot diff`, `lint` and `map`, as an operator types them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.commands import Commands

from authz.analysis.diff import COUNTS
from authz.analysis.lint import SEVERITIES
from authz.analysis.map.picture import DECISIONS, DIFFERENCES

if TYPE_CHECKING:
    from support.publisher import Publisher

CREATED = 1_790_000_000
MADE = "2026-09-21T14:13:20Z"
AT = "2026-12-01T00:00:00Z"

OLD = """\
version: 1
applications:
  shop: {}
  admin: {default: deny}
entries:
  - {id: office, list: allow, networks: [192.0.2.0/24], reason: office, author: ops}
  - {id: bad, list: deny, networks: [203.0.113.0/24, "2001:db8:bad::/48"], reason: abuse, author: ops}
  - {id: gone, list: deny, networks: [198.51.100.9], reason: abuse, author: ops}
"""
NEW = """\
version: 1
applications:
  shop: {mode: safe_blocking}
  admin: {default: deny}
entries:
  - {id: office, list: allow, networks: [192.0.2.0/24], reason: the office, author: ops}
  - {id: bad, list: deny, networks: [203.0.113.0/25, 203.0.114.0/23], expires: 2027-01-01T00:00:00Z,
     reason: abuse, author: ops}
  - {id: scrapers, list: deny, networks: ["2001:db8:5c::/62"], applications: [shop], reason: scrapers, author: ops}
"""


@pytest.fixture
def authz(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> Commands:
    publisher.publish(OLD, to="old.snapshot", serial=1, created=CREATED)
    publisher.publish(NEW, to="new.snapshot", serial=2, created=CREATED)
    return Commands(publisher.folder, monkeypatch)


# diff

EXAMPLE = "an example: newly_denied > 1000000 or entries_removed >= 5"
DIFFERENCE = """\
old.snapshot: serial 1, made 2026-09-21T14:13:20Z
new.snapshot: serial 2, made 2026-09-21T14:13:20Z
decisions at 2026-12-01T00:00:00Z
applications: 0 added, 0 removed, 1 changed
  ~ shop: mode block -> safe_blocking
entries: 1 added, 1 removed, 2 changed
  + scrapers: + 4 /64 of IPv6
  - gone: - 1 IPv4 address
  ~ bad: expires never -> 2027-01-01T00:00:00Z; + 512 IPv4 addresses; - 128 IPv4 addresses and 65,536 /64 of IPv6
  ~ office: reason 'office' -> 'the office'
application * (every other)
  newly denied: 512 IPv4 addresses
    203.0.114.0/23: denylisted by bad, was default_allow
  newly allowed: 129 IPv4 addresses and 65,536 /64 of IPv6
    203.0.113.128/25: default_allow, was denylisted by bad
    198.51.100.9/32: default_allow, was denylisted by gone
    2001:db8:bad::/48: default_allow, was denylisted by bad
  changed reason: no address
application shop
  newly denied: 512 IPv4 addresses and 4 /64 of IPv6
    203.0.114.0/23: denylisted by bad, was default_allow
    2001:db8:5c::/62: denylisted by scrapers, was default_allow
  newly allowed: 129 IPv4 addresses and 65,536 /64 of IPv6
    203.0.113.128/25: default_allow, was denylisted by bad
    198.51.100.9/32: default_allow, was denylisted by gone
    2001:db8:bad::/48: default_allow, was denylisted by bad
  changed reason: no address
application admin
  newly denied: no address
  newly allowed: no address
  changed reason: 641 IPv4 addresses and 65,536 /64 of IPv6
    203.0.114.0/23: denylisted by bad, was default_deny
    203.0.113.128/25: default_deny, was denylisted by bad
    198.51.100.9/32: default_deny, was denylisted by gone
    2001:db8:bad::/48: default_deny, was denylisted by bad"""


def test_a_difference_is_shown_to_a_person(authz: Commands) -> None:
    done = authz("snapshot", "diff", "old.snapshot", "new.snapshot", "--at", AT)
    assert (done.status, done.out) == (0, DIFFERENCE)


def test_a_difference_is_printed_as_json(authz: Commands) -> None:
    found = authz(
        "snapshot", "diff", "old.snapshot", "new.snapshot", "--at", AT, "--application", "shop", "--json"
    ).json()
    digests = [found[name].pop("digest") for name in ("before", "after")]
    assert [len(digest) for digest in digests] == [64, 64]
    nothing = {"ipv4": 0, "ipv6": "0", "ipv6_64s": "0"}
    assert found == {
        "before": {"file": "old.snapshot", "serial": 1, "created": MADE},
        "after": {"file": "new.snapshot", "serial": 2, "created": MADE},
        "time": AT,
        "attack": False,
        "counts": {
            "newly_denied": 512, "newly_denied_ipv6_64s": "4", "newly_allowed": 129, "newly_allowed_ipv6_64s": "65536",
            "changed_reason": 0, "changed_reason_ipv6_64s": "0", "entries_added": 1, "entries_removed": 1,
            "entries_changed": 2, "applications_added": 0, "applications_removed": 0, "applications_changed": 1,
        },
        "applications": {
            "added": [],
            "removed": [],
            "changed": [{"name": "shop", "fields": {"mode": {"before": "block", "after": "safe_blocking"}}}],
        },
        "entries": {
            "added": [{"name": "scrapers", "fields": {}, "lost": nothing,
                       "gained": {"ipv4": 0, "ipv6": str(4 << 64), "ipv6_64s": "4"}}],
            "removed": [{"name": "gone", "fields": {}, "gained": nothing,
                         "lost": {"ipv4": 1, "ipv6": "0", "ipv6_64s": "0"}}],
            "changed": [
                {"name": "bad", "fields": {"expires": {"before": "never", "after": "2027-01-01T00:00:00Z"}},
                 "gained": {"ipv4": 512, "ipv6": "0", "ipv6_64s": "0"},
                 "lost": {"ipv4": 128, "ipv6": str(1 << 80), "ipv6_64s": "65536"}},
                {"name": "office", "fields": {"reason": {"before": "office", "after": "the office"}},
                 "gained": nothing, "lost": nothing},
            ],
        },
        "decisions": [
            {
                "application": "shop",
                "before": "shop",
                "after": "shop",
                "newly_denied": {
                    "ipv4": 512, "ipv6": str(4 << 64), "ipv6_64s": "4",
                    "largest": [
                        changed("203.0.114.0/23", "default_allow", None, "denylisted", "bad"),
                        changed("2001:db8:5c::/62", "default_allow", None, "denylisted", "scrapers"),
                    ],
                },
                "newly_allowed": {
                    "ipv4": 129, "ipv6": str(1 << 80), "ipv6_64s": "65536",
                    "largest": [
                        changed("203.0.113.128/25", "denylisted", "bad", "default_allow", None),
                        changed("198.51.100.9/32", "denylisted", "gone", "default_allow", None),
                        changed("2001:db8:bad::/48", "denylisted", "bad", "default_allow", None),
                    ],
                },
                "changed_reason": {**nothing, "largest": []},
            }
        ],
        "condition": None,
    }  # fmt: skip


def changed(network: str, was: str, was_by: str | None, now_is: str, now_by: str | None) -> dict[str, Any]:
    return {
        "network": network,
        "before": {"reason": was, "entry": was_by},
        "after": {"reason": now_is, "entry": now_by},
    }


def test_only_so_many_networks_are_shown(authz: Commands) -> None:
    done = authz("snapshot", "diff", "old.snapshot", "new.snapshot", "--at", AT, "--application", "shop", "--top", "1")
    assert "203.0.113.128/25" in done.out
    assert "198.51.100.9/32" not in done.out


@pytest.mark.parametrize(
    ("condition", "status", "told"),
    [
        ("newly_denied > 1000", 0, "the condition does not hold: newly_denied > 1000"),
        ("newly_denied>511", 1, "the condition holds: newly_denied > 511"),
        ("newly_denied_ipv6_64s == 4", 1, "the condition holds: newly_denied_ipv6_64s == 4"),
        ("newly_denied > 1000 or entries_removed >= 1 and applications_changed == 1", 1,
         "the condition holds: newly_denied > 1000 or entries_removed >= 1 and applications_changed == 1"),
    ],
)  # fmt: skip
def test_a_pipeline_fails_when_the_condition_holds(authz: Commands, condition: str, status: int, told: str) -> None:
    done = authz("snapshot", "diff", "old.snapshot", "new.snapshot", "--at", AT, "--fail-if", condition)
    assert (done.status, done.out) == (status, f"{DIFFERENCE}\n{told}")


def test_the_condition_is_in_the_json_too(authz: Commands) -> None:
    done = authz("snapshot", "diff", "old.snapshot", "new.snapshot", "--json", "--fail-if", "entries_added > 0")
    (found,) = done.lines()
    assert (done.status, found["condition"]) == (1, {"text": "entries_added > 0", "holds": True})


def test_an_attack_signal_may_be_supposed(authz: Commands) -> None:
    done = authz("snapshot", "diff", "old.snapshot", "new.snapshot", "--at", AT, "--attack", "--json")
    (shop,) = [one for one in done.json()["decisions"] if one["application"] == "shop"]
    # In mode block every attack is denied, in safe_blocking those from the gray list are, and there is none.
    assert shop["newly_allowed"]["ipv4"] == 2**32 - 256 - 128 - 512


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (["old.snapshot", "new.snapshot", "--fail-if", "denied > 1"],
         ["authz: error: --fail-if: found 'denied' at character 1, expected a name of a count",
          f"hint: did you mean 'newly_denied'? {EXAMPLE}; the names are {', '.join(COUNTS)}"]),
        (["old.snapshot", "new.snapshot", "--application", "sohp"],
         ["authz: error: found 'sohp', expected an application of one of the snapshots",
          "hint: they have *, shop, admin"]),
        (["old.snapshot", "new.snapshot", "--at", "yesterday"],
         ["authz: error: --at: found 'yesterday', expected a time such as 2026-12-01T00:00:00Z"]),
        (["old.snapshot", "none.snapshot"],
         ["authz: error: none.snapshot: absent: No such file or directory"]),
        (["policy.yaml", "new.snapshot"],
         ["authz: error: policy.yaml: bad_magic: found b'version:', expected b'AZSNAP01': this is no snapshot"]),
        (["old.snapshot", "new.snapshot", "--trusted-key", "keys/b.pub"],
         ["authz: error: old.snapshot: unknown_key: "]),
    ],
)  # fmt: skip
def test_a_wrong_question_is_a_mistake_and_not_a_condition_that_holds(
    authz: Commands, arguments: list[str], lines: list[str]
) -> None:
    done = authz("snapshot", "diff", *arguments)
    assert (done.status, done.out) == (2, "")
    assert all(found.startswith(line) for found, line in zip(done.err.splitlines(), lines, strict=False))
    assert len(done.err.splitlines()) >= len(lines)


def test_a_snapshot_that_a_trusted_key_signed_is_taken(authz: Commands) -> None:
    done = authz("snapshot", "diff", "old.snapshot", "new.snapshot", "--at", AT, "--trusted-key", "keys/a.pub")
    assert (done.status, done.out) == (0, DIFFERENCE)


# lint

FAULTY = """\
version: 1
applications:
  shop: {}
entries:
  - {id: office, list: allow, networks: [192.0.2.0/24], reason: office, author: ops}
  - {id: ban, list: deny, networks: [192.0.2.7], reason: scans, author: ops}
  - {id: old, list: deny, networks: [198.51.100.9], reason: abuse, author: ops, expires: 2026-10-01T00:00:00Z}
  - {id: feed, list: deny, networks: [10.1.2.3, 203.0.113.0/24], applications: [shop]}
"""
CONFIG = """\
snapshot: {path: faulty.snapshot, trusted_keys: [keys/a.pub]}
client_address: {trusted_proxies: [10.0.0.0/8]}
"""
FINDINGS = """\
error: feed: 203.0.113.7/32 is protected, and is denied in shop: denylisted, e.g. 203.0.113.7/32 [denies_protected]
error: feed: covers part of the trusted proxy 10.0.0.0/8, e.g. 10.1.2.3/32 [denies_trusted_proxy]
warning: old: expired at 2026-10-01T00:00:00Z [expired]
warning: ban: never decides: another entry comes first for all of its addresses in each application; \
here office (allow), e.g. 192.0.2.7/32 [shadowed]
notice: office: allows 1 IPv4 address that ban denies; allow_first in * shop, e.g. 192.0.2.7/32 [allow_deny_overlap]
notice: feed: has no reason [no_reason]
notice: feed: has no author [no_author]
2 errors, 2 warnings, 3 notices"""


@pytest.fixture
def faulty(publisher: Publisher, authz: Commands) -> Commands:
    publisher.publish(FAULTY, to="faulty.snapshot", serial=3, created=CREATED)
    (publisher.folder / "authz.yaml").write_text(CONFIG)
    return authz


def test_findings_are_shown_to_a_person(faulty: Commands) -> None:
    done = faulty(
        "snapshot", "lint", "faulty.snapshot", "--at", AT, "--config", "authz.yaml", "--protected", "203.0.113.7"
    )
    assert (done.status, done.out) == (1, FINDINGS)


def test_findings_are_printed_as_json(faulty: Commands) -> None:
    done = faulty("snapshot", "lint", "faulty.snapshot", "--at", AT, "--protected", "203.0.113.7", "--json")
    (found,) = done.lines()
    assert done.status == 1
    assert (found["file"], found["serial"], found["time"]) == ("faulty.snapshot", 3, AT)
    assert found["counts"] == {"error": 1, "warning": 2, "notice": 3}
    assert found["findings"][0] == {
        "severity": "error",
        "code": "denies_protected",
        "entry": "feed",
        "message": "203.0.113.7/32 is protected, and is denied in shop: denylisted",
        "example": "203.0.113.7/32",
    }
    assert found["findings"][1]["example"] is None


@pytest.mark.parametrize(("arguments", "status"), [([], 0), (["--strict"], 1), (["--protected", "203.0.113.7"], 1)])
def test_the_exit_status_is_1_for_errors_and_when_strict_for_anything(
    faulty: Commands, arguments: list[str], status: int
) -> None:
    assert faulty("snapshot", "lint", "faulty.snapshot", "--at", AT, *arguments).status == status


def test_a_good_snapshot_is_good(authz: Commands) -> None:
    done = authz("snapshot", "lint", "old.snapshot", "--strict")
    assert (done.status, done.out) == (0, "good: old.snapshot has nothing to find fault with")


def test_of_many_findings_of_a_kind_a_person_sees_the_first(publisher: Publisher, authz: Commands) -> None:
    entries = "".join(f"  - {{id: e{n}, list: deny, networks: [192.0.2.{n}], author: ops}}\n" for n in range(25))
    publisher.publish(f"version: 1\nentries:\n{entries}", to="many.snapshot")
    done = authz("snapshot", "lint", "many.snapshot")
    assert done.out.splitlines()[19:] == [
        "notice: e19: has no reason [no_reason]",
        "... and 5 more of no_reason; --json has all",
        "25 notices",
    ]
    assert len(authz("snapshot", "lint", "many.snapshot", "--json").json()["findings"]) == 25


def test_control_characters_of_a_policy_are_spelled_out(publisher: Publisher, authz: Commands) -> None:
    renamed = OLD.replace("reason: office,", 'reason: "\\e[31m",')
    publisher.publish(renamed, to="odd.snapshot", serial=4, created=CREATED)
    assert r"reason 'office' -> '\x1b[31m'" in authz("snapshot", "diff", "old.snapshot", "odd.snapshot").out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--protected", "192.0.2.7/24"], "found '192.0.2.7/24', expected a network without host bits"),
        (["--config", "none.yaml"], "none.yaml: cannot be read: No such file or directory"),
    ],
)
def test_a_wrong_option_is_a_mistake(authz: Commands, arguments: list[str], message: str) -> None:
    done = authz("snapshot", "lint", "old.snapshot", *arguments)
    assert (done.status, done.out, done.err.splitlines()[0]) == (2, "", f"authz: error: {message}")


# map

LEGEND = f"""\
shop.png: shop: who is allowed and who is denied
  new.snapshot, serial 2, made {MADE}
  decisions at {AT}
  one pixel is a /16 (65,536 addresses), one square a /8 (16,777,216 addresses)
  \u2588\u2588 allowed, on no list: 4,294,966,400 addresses, more than 99.99 %
  \u2588\u2588 allow list: 256 addresses, less than 0.01 %
  \u2588\u2588 deny list: 640 addresses, less than 0.01 %
  \u2588\u2588 mixed: up to 1 in 16 denied: 1 network of /16
  \u2588\u2588 mixed: all allowed, some on a list: 1 network of /16"""


def test_a_map_is_drawn_and_its_legend_printed(authz: Commands) -> None:
    done = authz(
        "snapshot", "map", "new.snapshot", "-o", "shop.png", "--application", "shop", "--at", AT, "--order", "8"
    )
    assert (done.status, done.out) == (0, LEGEND)
    data = (authz.folder / "shop.png").read_bytes()
    assert struct.unpack_from(">II", data, 16)[0] == 1024 + 17 + 48  # the map, its lines, its margins


def test_the_difference_of_two_snapshots_is_drawn(authz: Commands) -> None:
    done = authz(
        "snapshot", "map", "new.snapshot", "--against", "old.snapshot", "-o", "change.svg", "--at", AT, "--attack",
        "--order", "4", "--json",
    )  # fmt: skip
    assert done.json() == {
        "file": "change.svg",
        "application": "*",
        "time": AT,
        "legend": [
            {"class": "unchanged, allowed", "colour": "#ecece6", "amount": "256 addresses, less than 0.01 %"},
            {"class": "unchanged, denied", "colour": "#808080", "amount": "4,294,967,040 addresses, more than 99.99 %"},
            {"class": "mixed: unchanged, some denied", "colour": "#bdbdb8", "amount": "1 network of /8"},
        ],
    }
    text = (authz.folder / "change.svg").read_text()
    assert "<title>every other application (*): whose decision changes</title>" in text
    for note in (
        "from old.snapshot, serial 1",
        "to new.snapshot, serial 2",
        f"decisions at {AT}, with an attack signal",
    ):
        assert f">{note}" in text


def test_a_picture_that_was_there_is_replaced(authz: Commands) -> None:
    picture = authz.folder / "shop.svg"
    picture.write_text("old")
    assert authz("snapshot", "map", "new.snapshot", "-o", "shop.svg", "--order", "4").status == 0
    assert picture.read_text().startswith("<svg ")
    assert not list(authz.folder.glob(".shop.svg*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "shop.gif"], "--output: found 'shop.gif', expected a name that ends in .png or .svg"),
        (["-o", "none/shop.png", "--order", "4"], "none/shop.png: cannot be written: No such file or directory"),
        (["-o", "shop.png", "--application", "sohp"], "--application: found 'sohp', expected one of *, shop, admin"),
        (["-o", "shop.png", "--order", "13"], "order: found 13, expected 4 (a pixel is a /8) to 12 (a /24)"),
    ],
)
def test_a_picture_that_cannot_be_drawn_is_a_mistake(authz: Commands, arguments: list[str], message: str) -> None:
    done = authz("snapshot", "map", "new.snapshot", *arguments)
    assert (done.status, done.out, done.err) == (2, "", f"authz: error: {message}")
    assert not list(authz.folder.glob("*.png"))


# The page of the documentation

PAGE = (Path(__file__).parents[2] / "docs" / "analysis.md").read_text()


@pytest.mark.parametrize("text", [OLD, NEW, FAULTY, CONFIG, DIFFERENCE, FINDINGS, LEGEND])
def test_the_page_shows_what_the_commands_print(text: str) -> None:
    assert text.strip() in PAGE


def test_the_page_has_every_count_code_and_colour() -> None:
    for name in (*COUNTS, *SEVERITIES):
        assert f"`{name}`" in PAGE
    for row in (*DECISIONS, *DIFFERENCES):
        assert f"| {row.label} | `{'#{:02x}{:02x}{:02x}'.format(*row.colour)}` |" in PAGE


def test_the_commands_work_as_processes(authz: Commands) -> None:
    done = authz.real(
        "snapshot", "diff", "old.snapshot", "new.snapshot", "--at", AT, "--fail-if", "entries_removed > 0"
    )
    assert (done.status, done.out) == (1, f"{DIFFERENCE}\nthe condition holds: entries_removed > 0")
