"""`authz snapshot lint`, as an operator types it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.publishing.analysed_policies import AT, CONFIG, CREATED, FAULTY, FINDINGS, OLD

if TYPE_CHECKING:
    from support.publishing.publisher import Publisher
    from support.suite.commands import Commands


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
    (content,) = done.lines()
    assert done.status == 1
    assert (content["file"], content["serial"], content["time"]) == ("faulty.snapshot", 3, AT)
    assert content["counts"] == {"error": 1, "warning": 2, "notice": 3}
    assert content["findings"][0] == {
        "severity": "error",
        "code": "denies_protected",
        "entry": "feed",
        "message": "203.0.113.7/32 is protected, and is denied in shop: denylisted",
        "example": "203.0.113.7/32",
    }
    assert content["findings"][1]["example"] is None


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
