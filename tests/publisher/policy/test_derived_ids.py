"""Ids that entries get where a policy gives them none."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support.publishing.policy_text import entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from authz.publisher.policy.read import Policy

    Read = Callable[..., Policy]

WRITTEN: list[dict[str, Any]] = [
    {"list": "deny", "networks": ["192.0.2.0/24", "198.51.100.7"]},
    {"list": "allow", "networks": ["192.0.2.0/24", "198.51.100.7"]},
    {"list": "deny", "networks": ["192.0.2.0/24"]},
    {"list": "deny", "networks": ["192.0.2.0/24"], "except": ["192.0.2.1"]},
    {"list": "deny", "networks": ["192.0.2.0/24"], "applications": ["shop"]},
    {"list": "deny", "networks": ["192.0.2.0/24"], "action": "warn"},
    {"list": "deny", "networks": ["192.0.2.0/24"], "starts": "2026-12-01T00:00:00Z"},
    {"list": "deny", "networks": ["192.0.2.0/24"], "expires": "2026-12-01T00:00:00Z"},
    {"list": "deny", "networks": ["192.0.2.0/24"], "sources": ["tor"]},
    {"list": "deny", "sources": ["tor"]},
]


def ids_of(read: Read, entries: Iterable[dict[str, Any]]) -> list[str]:
    feeds = [{"source": "tor", "path": "tor.txt"}, {"source": "vpn", "path": "tor.txt"}]
    document = {"version": 1, "applications": {"shop": {}, "api": {}}, "entries": list(entries), "feeds": feeds}
    return [made.id for made in read(yaml.safe_dump(document)).entries]


@pytest.fixture
def feed(tmp_path: Path) -> None:
    (tmp_path / "tor.txt").write_text("192.0.2.1\n")


@pytest.mark.usefixtures("feed")
def test_entries_that_say_different_things_have_different_derived_ids(read: Read) -> None:
    ids = ids_of(read, WRITTEN)
    assert len(set(ids)) == len(WRITTEN)
    assert all(re.fullmatch("e-[0-9a-f]{12}", id_) for id_ in ids)


@pytest.mark.usefixtures("feed")
def test_a_derived_id_is_the_same_wherever_the_entry_stands(read: Read) -> None:
    ids = ids_of(read, WRITTEN)
    assert ids_of(read, WRITTEN[::-1]) == ids[::-1]
    assert ids_of(read, WRITTEN[3:4]) == ids[3:4]
    assert ids_of(read, [{"id": "other", "list": "gray", "networks": ["203.0.113.1"]}, *WRITTEN])[1:] == ids


@pytest.mark.usefixtures("feed")
def test_a_derived_id_does_not_depend_on_order_spelling_reason_and_author(read: Read) -> None:
    base = {"list": "deny", "networks": ["192.0.2.0/31", "2001:db8::/32"], "sources": ["tor", "vpn"],
            "applications": ["shop", "api"], "except": ["192.0.2.1", "2001:db8::1"]}  # fmt: skip
    (expected,) = ids_of(read, [base])
    for variant in (
        {"networks": ["2001:db8::/32", "192.0.2.0/31"]},
        {"networks": ["2001:0DB8:0::/32", "192.0.2.0-192.0.2.1", "::ffff:192.0.2.0/127"]},
        {"sources": ["vpn", "tor", "tor"]},
        {"applications": ["api", "shop"]},
        {"except": ["2001:DB8:0::1/128", "192.0.2.1/32"]},
        {"reason": "another", "author": "somebody"},
        {"action": "block"},
    ):
        assert ids_of(read, [base | variant]) == [expected]


def test_a_derived_id_is_the_same_in_every_version_of_authz(read: Read) -> None:
    # Logs and tickets name entries by their id: if this has to change, the changelog must say so.
    assert read(entry("networks: [192.0.2.0/24]")).entries[0].id == "e-89997eba20be"
