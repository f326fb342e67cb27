"""Triggers by country and autonomous system: which clients count, and who is counted together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from authz.addresses import parse_address
from authz.control.detect.counting.detector import Detector, Listing
from authz.control.detect.counting.places import read_places
from authz.control.detect.event import Event
from authz.control.detect.listing.offences import MemoryOffences
from authz.control.detect.triggers.file import read_triggers
from authz.errors import InputError, InvalidDocument

if TYPE_CHECKING:
    from pathlib import Path

COUNTRIES = (
    "192.0.2.0,192.0.2.255,DE\n198.51.100.0,198.51.100.255,KP\n2001:db8::,2001:db8:ffff:ffff:ffff:ffff:ffff:ffff,KP\n"
)
SYSTEMS = "192.0.2.0/24\t64496\n198.51.100.0/24\t64497\n198.51.100.128/25\t64496\n2001:db8::/32\t64497\n"
START = 1_790_000_000.0


def detector(folder: Path, trigger: str) -> Detector:
    (folder / "country.csv").write_text(COUNTRIES)
    (folder / "asn.tsv").write_text(SYSTEMS)
    path = folder / "triggers.yaml"
    path.write_text(f"geo: {{country: country.csv, asn: asn.tsv}}\ntriggers:\n  - {trigger}\n")
    file = read_triggers(path)
    places = read_places(file.databases, file.triggers)
    return Detector(file.triggers, lambda _: None, MemoryOffences(), places)


def send(to: Detector, client: str, second: float = 0.0, **values: Any) -> list[Listing]:
    return to.feed(Event(START + second, parse_address(client), "shop", **values), START + second)


@pytest.mark.parametrize(
    ("where", "counted"),
    [
        ("country: KP", {"198.51.100.7", "198.51.100.200", "2001:db8::7"}),
        ("country: [KP, DE]", {"192.0.2.7", "198.51.100.7", "198.51.100.200", "2001:db8::7"}),
        ("asn: AS64496", {"192.0.2.7", "198.51.100.200"}),
        ("asn: [64496, 64497], country: KP", {"198.51.100.7", "198.51.100.200", "2001:db8::7"}),
        ("network: [192.0.2.0/25, '2001:db8::/64'], country: [DE, KP]", {"192.0.2.7", "2001:db8::7"}),
    ],
)
def test_only_clients_of_the_places_count(tmp_path: Path, where: str, counted: set[str]) -> None:
    to = detector(tmp_path, f"{{name: a, kind: rate, where: {{{where}}}, count: {{over: 2, within: 30s}}}}")
    everybody = ("192.0.2.7", "198.51.100.7", "198.51.100.200", "2001:db8::7", "203.0.113.1")
    listed = {client for client in everybody for _ in range(3) if send(to, client)}
    assert listed == counted | ({"198.51.100.200"} if where == "country: KP" else set())


def test_all_clients_of_a_system_are_counted_together_and_those_that_go_on_are_listed(tmp_path: Path) -> None:
    to = detector(tmp_path, "{name: swarm, kind: rate, count: {over: 10, within: 30s, by: asn}}")
    listings = [listing for number in range(10) for listing in send(to, f"192.0.2.{number}", number / 10)]
    assert listings == []
    [listing] = send(to, "198.51.100.200", 1.1)  # the same system, in another network
    assert (listing.network, listing.asn, listing.counted) == ("198.51.100.200", 64496, 11)
    assert send(to, "198.51.100.200", 1.2) == []  # a moment ago
    assert [listing.network for listing in send(to, "192.0.2.3", 1.3)] == ["192.0.2.3"]
    assert send(to, "198.51.100.7", 1.4) == []  # another system
    assert all(send(to, "203.0.113.9", 1.5) == [] for _ in range(50))  # of none that is known


def test_a_system_is_counted_anew_when_the_window_is_over(tmp_path: Path) -> None:
    to = detector(tmp_path, "{name: swarm, kind: rate, count: {over: 5, within: 10s, by: asn}}")
    assert sum(len(send(to, f"192.0.2.{number}")) for number in range(10)) == 5
    assert send(to, "192.0.2.100", 25) == []


def test_a_country_that_the_database_has_not_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found no networks of FR"):
        detector(tmp_path, "{name: a, kind: rate, where: {country: FR}, count: {over: 2, within: 30s}}")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("where: {country: DE}, count: {over: 1, within: 1m}", "where.country: found countries, and triggers.yaml"),
        ("where: {country: Germany}, count: {over: 1, within: 1m}", "where.country: found 'Germany', expected two"),
        ("where: {asn: AS0}, count: {over: 1, within: 1m}", "where.asn: found 'AS0', expected an AS number"),
        ("count: {over: 1, within: 1m, by: asn}", "count.by: found asn, and triggers.yaml names no database"),
        ("count: {over: 1, within: 1m, by: asn, v4: /24}", "count.v4: found /24 with by: asn"),
    ],
)
def test_a_place_that_cannot_be_asked_for_is_a_mistake(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "triggers.yaml"
    path.write_text(f"triggers:\n  - {{name: a, kind: rate, {line}}}\n")
    with pytest.raises(InvalidDocument) as caught:
        read_triggers(path)
    assert message in str(caught.value)
