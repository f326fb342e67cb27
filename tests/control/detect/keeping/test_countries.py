"""Countries of events: looked up by the database of the policy, kept with each event, counted by the hour."""

from __future__ import annotations

import ipaddress
import json
import os
import random
from typing import TYPE_CHECKING, Any

import maxminddb
from support.processes import wait_for
from support.suite.shared import shared

from authz.addresses import parse_address, parse_network
from authz.control.detect.counting.address_table import AddressTable
from authz.control.detect.event import Event
from authz.control.detect.keeping.countries import LOOK, Countries
from authz.control.store.database import create_store
from authz.control.store.events.search import WantedEvents, count_by_country, find_events
from authz.control.store.events.writing import HOUR, write_events
from authz.publisher.index.prefixes import Prefixes

if TYPE_CHECKING:
    from pathlib import Path

    from support.control import Control

    from authz.addresses import Network

START = WRITTEN = 1_790_000_000
COUNTRIES = "192.0.2.0,192.0.2.255,DE\n198.51.100.0,198.51.100.255,KP\n"


def table(networks: dict[str, int]) -> AddressTable:
    by_number: dict[int, list[Network]] = {}
    for text, number in networks.items():
        by_number.setdefault(number, []).append(parse_network(text))
    return AddressTable({number: Prefixes.split(of) for number, of in by_number.items()})


def test_of_networks_that_lie_in_each_other_the_longest_says_the_number() -> None:
    choose = random.Random(3)
    networks = {"0.0.0.0/3": 1, "224.0.0.0/3": 2, "2000::/3": 3}
    for _ in range(200):
        length = choose.randrange(8, 29)
        value = choose.randrange(1 << 12) << 20 >> (32 - length) << (32 - length)
        networks[str(ipaddress.ip_network((value, length)))] = choose.randrange(4, 30)
        networks[str(ipaddress.ip_network((0x2001 << 112 | value << 64, 32 + length)))] = choose.randrange(4, 30)
    made = table(networks)
    parsed = [(ipaddress.ip_network(text), number) for text, number in networks.items()]
    asked = [ipaddress.ip_address(choose.randrange(1 << 32)) for _ in range(300)]
    asked += [network[0] for network, _ in parsed] + [network[-1] for network, _ in parsed]
    for address in asked:
        covering = [(network.prefixlen, number) for network, number in parsed if address in network]
        assert made.find(parse_address(str(address))) == max(covering, default=(0, 0))[1], address


def test_an_address_of_no_network_has_no_number() -> None:
    assert table({}).find(parse_address("192.0.2.1")) == 0
    made = table({"192.0.2.0/24": 7, "255.255.255.255/32": 8})
    asked = ("192.0.1.255", "192.0.2.0", "192.0.3.0", "255.255.255.255", "2001:db8::1")
    assert [made.find(parse_address(text)) for text in asked] == [0, 7, 0, 8, 0]


def test_events_of_the_api_have_the_country_and_are_counted_by_it(plane: Control) -> None:
    (plane.folder / "geo").mkdir(exist_ok=True)
    (plane.folder / "geo" / "country.csv").write_text(COUNTRIES)
    plane.ok("PUT", "/v1/policy", {"geo": {"country": "geo/country.csv"}})
    sent = [("192.0.2.9", "shop", "deny", "blocklist")] * 3 + [("192.0.2.9", "shop", "allow", "default")]
    sent += [("198.51.100.7", "api", "deny", "blocklist"), ("203.0.113.9", "api", "allow", "default")]
    lines = [
        json.dumps(dict(zip(("client", "application", "decision", "reason"), values, strict=True))) for values in sent
    ]
    headers = {"Authorization": f"Bearer {plane.token}"}
    assert plane.client.post("/v1/events", content="\n".join(lines), headers=headers).status_code == 202
    wait_for(lambda: plane.plane.intake.keeper.written == 6, "the events are kept")
    counted = plane.ok("GET", "/v1/events/countries")["items"]
    assert [tuple(item.values()) for item in counted] == [("DE", 4, 3), ("KP", 1, 1), ("", 1, 0)]
    counted_of_api = plane.ok("GET", "/v1/events/countries?application=api")["items"]
    assert [item["country"] for item in counted_of_api] == ["KP", ""]
    [event] = plane.ok("GET", "/v1/events?country=KP")["items"]
    assert (event["client"], event["country"], event["reason"]) == ("198.51.100.7", "KP", "blocklist")
    assert len(plane.ok("GET", "/v1/events?reason=blocklist")["items"]) == 4
    assert plane.ask("GET", "/v1/events?country=Germany").status_code == 400
    of_tenant = plane.token_of("viewer", "team", ("api",))
    assert plane.ok("GET", "/v1/events/countries", token=of_tenant)["items"] == counted_of_api


def test_countries_are_counted_as_a_scan_does(store_url: str) -> None:
    store = create_store(store_url)
    choose = random.Random(5)
    events = [
        Event(START + choose.randrange(86400), parse_address(f"192.0.2.{choose.randrange(9)}"),
              choose.choice(["shop", "api"]), decision=choose.choice(["deny", "allow", ""]))
        for _ in range(200)
    ]  # fmt: skip
    with store.writing() as tx:
        for some in (events[:120], events[120:]):
            write_events(tx, some, lambda client: "ABCDEFGHI"[client.value % 9] + "X")
    begin, end = START * 10**6 // HOUR * HOUR, (START + 40_000) * 10**6 // HOUR * HOUR
    with store.reading() as tx:
        counted = {row.country: row for row in count_by_country(tx, begin, end, "shop")}
        for place, country in enumerate(f"{letter}X" for letter in "ABCDEFGHI"):
            seen = [event for event in events if event.client.value % 9 == place and event.application == "shop"
                    and begin <= event.time * 10**6 < end]  # fmt: skip
            known = counted.get(country)
            expected = len(seen), sum(event.decision == "deny" for event in seen)
            assert (known[1:] if known else (0, 0)) == expected
        assert len(find_events(tx, WantedEvents(country="AX"), limit=999)) == sum(
            event.client.value % 9 == 0 for event in events)  # fmt: skip
    store.close()


def replaced(path: Path, text: str, seconds: int) -> None:
    """Write a file so many seconds after it was written first: the clock of files may stand still meanwhile."""
    path.write_text(text)
    os.utime(path, (WRITTEN + seconds, WRITTEN + seconds))


def test_a_database_that_changes_is_read_anew_and_a_damaged_one_changes_nothing(tmp_path: Path) -> None:
    store = create_store(f"sqlite:///{tmp_path}/store.sqlite")
    path = tmp_path / "country.csv"
    replaced(path, COUNTRIES, 0)
    countries, client = Countries(store, tmp_path, [path]), parse_address("192.0.2.1")
    countries.refresh(0.0)
    assert countries.find(client) == "DE"
    replaced(path, "no database", 1)
    countries.refresh(LOOK + 1)
    assert countries.find(client) == "DE"
    replaced(path, COUNTRIES.replace("DE", "FR"), 2)
    countries.refresh(LOOK + 2)  # not yet
    assert countries.find(client) == "DE"
    countries.refresh(2 * LOOK + 2)
    assert countries.find(client) == "FR"
    store.close()


def test_a_database_of_maxmind_says_where_an_address_is(tmp_path: Path) -> None:
    path = shared("data/geo/maxmind-test/GeoIP2-Country-Test.mmdb")
    store = create_store(f"sqlite:///{tmp_path}/store.sqlite")
    countries = Countries(store, tmp_path, [path])
    countries.refresh(0.0)
    choose = random.Random(1)
    with maxminddb.open_database(path) as database:
        networks = [network for network, _ in database if network.prefixlen <= (32 if network.version == 4 else 64)]
        for network in networks:
            text = str(network[choose.randrange(network.num_addresses)])
            record: Any = database.get(text)
            assert countries.find(parse_address(text)) == record.get("country", {}).get("iso_code", ""), text
    store.close()
