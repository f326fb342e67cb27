"""Which of two entries decides where both name an address: what the preview says is what a request would meet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from authz.control.lists.overlapping import standing
from authz.control.model.records import Entry, Written

if TYPE_CHECKING:
    from support.control import Control

NOW = 1_800_000_000.0
FIRST = {"*": "{}"}
DENY_FIRST = {"*": '{"precedence": "deny_first"}'}
SPECIFIC = {"*": '{"precedence": "most_specific"}'}
MIXED = {"*": "{}", "shop": '{"precedence": "deny_first"}'}
SAFE = {"*": '{"mode": "safe_blocking"}'}
NETWORK, ADDRESS = ("198.51.100.0/24",), ("198.51.100.7",)


def entry(**says: Any) -> Entry:
    return Entry(id="e-1", version=1, layer="policy", tenant="main", owner="api", origin="", created=0,
                 **{"networks": NETWORK} | says)  # fmt: skip


@pytest.mark.parametrize(
    ("documents", "written", "other", "expected"),
    [
        (FIRST, {"list": "allow"}, {"list": "deny"}, "this"),
        (FIRST, {"list": "deny"}, {"list": "allow"}, "that"),
        (FIRST, {"list": "deny"}, {"list": "deny"}, "same"),
        (DENY_FIRST, {"list": "allow"}, {"list": "deny"}, "that"),
        (SPECIFIC, {"list": "deny", "networks": ADDRESS}, {"list": "allow"}, "this"),
        (SPECIFIC, {"list": "deny"}, {"list": "allow", "networks": ADDRESS}, "that"),
        (SPECIFIC, {"networks": ("198.51.100.0-198.51.101.255",)}, {"list": "allow"}, "that"),
        (SPECIFIC, {"networks": ("198.51.100.7", "198.51.0.0/16")}, {"list": "allow"}, "varies"),
        (MIXED, {"list": "allow"}, {"list": "deny"}, "varies"),
        (MIXED, {"list": "allow"}, {"list": "deny", "applications": ("shop",)}, "that"),
        (MIXED, {"list": "allow", "applications": ("blog",)}, {"list": "deny", "applications": ("shop",)}, "neither"),
        (FIRST, {"list": "deny", "action": "warn"}, {"list": "deny"}, "that"),
        (FIRST, {"list": "deny"}, {"list": "allow", "action": "warn"}, "this"),
        (FIRST, {"list": "gray"}, {"list": "deny"}, "that"),
        (FIRST, {"list": "gray"}, {"list": "deny", "action": "warn"}, "neither"),
        (SAFE, {"list": "gray"}, {"list": "allow"}, "that"),
        (FIRST, {"list": "allow", "starts": 1_900_000_000}, {"list": "deny"}, "this"),
    ],
)  # fmt: skip
def test_the_entry_that_decides_where_two_name_an_address(
    documents: dict[str, str], written: dict[str, Any], other: dict[str, Any], expected: str
) -> None:
    assert standing(Written(**{"networks": NETWORK} | written), entry(**other), documents, NOW) == expected


def test_a_preview_says_which_entry_decides_as_a_request_would_meet_it(plane: Control) -> None:
    office = plane.ok("POST", "/v1/entries", {"list": "allow", "networks": ["198.51.100.7"], "period": "1d"})
    for precedence, expected, reason in (
        ("allow_first", "that", "allowlisted"),
        ("deny_first", "this", "denylisted"),
        ("most_specific", "that", "allowlisted"),
    ):
        plane.ok("PUT", "/v1/applications/shop", {"precedence": precedence})
        wanted = {"list": "deny", "networks": ["198.51.100.0/24"], "applications": ["shop"], "period": "1d"}
        assert plane.ok("POST", "/v1/preview", wanted)["deciding"] == {office["id"]: expected}
        made = plane.ok("POST", "/v1/entries", wanted)
        shown = plane.ok("GET", "/v1/explain?address=198.51.100.7&application=shop")
        assert shown["reason"] == reason
        plane.ok("DELETE", f"/v1/entries/{made['id']}", If_Match=f'"{made["id"]}.{made["version"]}"')
