"""`authz snapshot diff`, as an operator types it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.publishing.analysed_policies import AT, DIFFERENCE, MADE

from authz.analysis.diff import COUNTS

if TYPE_CHECKING:
    from support.suite.commands import Commands

# diff
EXAMPLE = "an example: newly_denied > 1000000 or entries_removed >= 5"


def test_a_difference_is_shown_to_a_person(authz: Commands) -> None:
    done = authz("snapshot", "diff", "old.snapshot", "new.snapshot", "--at", AT)
    assert (done.status, done.out) == (0, DIFFERENCE)


def test_a_difference_is_printed_as_json(authz: Commands) -> None:
    difference = authz(
        "snapshot", "diff", "old.snapshot", "new.snapshot", "--at", AT, "--application", "shop", "--json"
    ).json()
    digests = [difference[name].pop("digest") for name in ("before", "after")]
    assert [len(digest) for digest in digests] == [64, 64]
    nothing = {"ipv4": 0, "ipv6": "0", "ipv6_64s": "0"}
    assert difference == {
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
                {"name": "bad", "fields": {"expires": {"before": "never", "after": "2037-01-01T00:00:00Z"}},
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
    (content,) = done.lines()
    assert (done.status, content["condition"]) == (1, {"text": "entries_added > 0", "holds": True})


def test_an_attack_signal_may_be_supposed(authz: Commands) -> None:
    done = authz("snapshot", "diff", "old.snapshot", "new.snapshot", "--at", AT, "--attack", "--json")
    (shop,) = [decision for decision in done.json()["decisions"] if decision["application"] == "shop"]
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
         ["authz: error: policy.yaml: bad_magic: found 'version:', expected 'AZSNAP01': this is not a snapshot"]),
        (["old.snapshot", "new.snapshot", "--trusted-key", "keys/b.pub"],
         ["authz: error: old.snapshot: unknown_key: "]),
    ],
)  # fmt: skip
def test_a_wrong_question_is_a_mistake_and_not_a_condition_that_holds(
    authz: Commands, arguments: list[str], lines: list[str]
) -> None:
    done = authz("snapshot", "diff", *arguments)
    assert (done.status, done.out) == (2, "")
    assert all(printed.startswith(line) for printed, line in zip(done.err.splitlines(), lines, strict=False))
    assert len(done.err.splitlines()) >= len(lines)


def test_a_snapshot_that_a_trusted_key_signed_is_taken(authz: Commands) -> None:
    done = authz("snapshot", "diff", "old.snapshot", "new.snapshot", "--at", AT, "--trusted-key", "keys/a.pub")
    assert (done.status, done.out) == (0, DIFFERENCE)


# The page of the documentation


def test_the_commands_work_as_processes(authz: Commands) -> None:
    done = authz.real(
        "snapshot", "diff", "old.snapshot", "new.snapshot", "--at", AT, "--fail-if", "entries_removed > 0"
    )
    assert (done.status, done.out) == (1, f"{DIFFERENCE}\nthe condition holds: entries_removed > 0")
