"""What operators want of lists, as they would tell it, asked of both fronts with a clock that the story sets."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import pytest
from support.proxies.envoy_api import check_request, read_answer
from support.publishing.mmdb import write_mmdb
from support.sidecar.fronts import NOW, Fronts

from authz.serve.http1.messages import RequestHead

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.publishing.publisher import Publisher

    Open = Callable[[str], "Edge"]


class Told(NamedTuple):
    """What the proxy was told about a client. status: what the client gets to see, 200 for none of our business."""

    decision: str
    reason: str
    entry: str | None = None
    status: int = 200


class Edge:
    """A proxy at 127.0.0.1 before a sidecar that has a policy."""

    def __init__(self, publisher: Publisher, policy: str) -> None:
        self.fronts = Fronts(publisher, policy=policy)

    def ask(self, client: str, application: str = "shop") -> Told:
        """Ask by gRPC, as Envoy does, and by HTTP, as nginx does; both are told the same."""
        request = check_request("127.0.0.1", {"x-forwarded-for": client}, context={"application": application})
        envoy = read_answer(self.fronts.check(request))
        nginx = self.fronts.http.handle(
            RequestHead(
                b"GET", f"/v1/auth/{application}".encode(), {b"x-forwarded-for": [client.encode()]}, "127.0.0.1"
            )
        ).head.decode()
        told = envoy.metadata
        assert told["client"] == client
        assert f"X-Authz-Decision: {told['decision']}\r\nX-Authz-Reason: {told['reason']}\r\n" in nginx
        assert f"X-Authz-Client-Address: {client}\r\n" in nginx
        self.warnings = told["warnings"]
        return Told(told["decision"], told["reason"], told["entry"], envoy.status or 200)

    def wait(self, seconds: float) -> None:
        """Let time go by."""
        self.fronts.now += seconds


@pytest.fixture
def open_edge(publisher: Publisher) -> Open:
    return lambda policy: Edge(publisher, policy)


@pytest.fixture
def geo(tmp_path: Path) -> None:
    """A database of two countries."""
    country = {"KP": {"country": {"iso_code": "KP"}}, "NO": {"country": {"iso_code": "NO"}}}
    networks = {"175.45.176.0/22": "KP", "2001:db8:4b50::/48": "KP", "198.51.100.0/24": "NO"}
    (tmp_path / "country.mmdb").write_bytes(write_mmdb({network: country[code] for network, code in networks.items()}))


def moment(seconds: float) -> str:
    return datetime.fromtimestamp(NOW + seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_a_search_engines_crawler_inside_a_blocked_cloud_stays_allowed(open_edge: Open, tmp_path: Path) -> None:
    # Scrapers rent machines in clouds, so the shop blocks a whole one. Its search engine crawls from the same cloud.
    (tmp_path / "cloud.json").write_text(
        '{"syncToken": "1", "prefixes": [{"ipv4Prefix": "34.64.0.0/11", "service": "Google Cloud", "scope": "a"},'
        '{"ipv6Prefix": "2600:1900::/28", "service": "Google Cloud", "scope": "a"}]}'
    )
    (tmp_path / "googlebot.json").write_text(
        '{"creationTime": "2026-11-01T00:00:00", "prefixes": [{"ipv4Prefix": "34.65.242.112/28"},'
        '{"ipv6Prefix": "2600:1900:4001::/64"}]}'
    )
    edge = open_edge("""\
version: 1
applications: {shop: {deny: {status: 429}}}
entries:
- {id: clouds, list: deny, sources: [gcp], reason: scrapers}
- {id: crawlers, list: allow, sources: [search_engine]}
feeds:
- {source: gcp, path: cloud.json}
- {source: search_engine, path: googlebot.json}
""")
    assert edge.ask("34.70.0.1") == ("deny", "denylisted", "clouds", 429)
    assert edge.ask("34.65.242.120") == ("allow", "allowlisted", "crawlers", 200)
    assert edge.ask("2600:1900:1::1") == ("deny", "denylisted", "clouds", 429)
    assert edge.ask("2600:1900:4001::17") == ("allow", "allowlisted", "crawlers", 200)
    assert edge.ask("35.0.0.1") == ("allow", "default_allow", None, 200)


@pytest.mark.usefixtures("geo")
def test_an_office_inside_a_blocked_country_stays_allowed(open_edge: Open) -> None:
    edge = open_edge("""\
version: 1
applications: {shop: {}}
entries:
- {id: sanctions, list: deny, countries: [KP]}
- {id: embassy, list: allow, networks: [175.45.177.0/28, "2001:db8:4b50:7::/64"]}
geo: {country: country.mmdb}
""")
    assert edge.ask("175.45.176.9") == ("deny", "denylisted", "sanctions", 403)
    assert edge.ask("175.45.177.9") == ("allow", "allowlisted", "embassy", 200)
    assert edge.ask("2001:db8:4b50:6::1") == ("deny", "denylisted", "sanctions", 403)
    assert edge.ask("2001:db8:4b50:7::1") == ("allow", "allowlisted", "embassy", 200)
    assert edge.ask("198.51.100.1") == ("allow", "default_allow", None, 200)


def test_a_tor_exit_is_warned_about_in_one_application_and_denied_in_another(open_edge: Open, tmp_path: Path) -> None:
    # The newspaper wants its readers whoever they are, and only looks at how many come by Tor. The bank does not.
    (tmp_path / "tor.lst").write_text("185.220.101.4\n")
    edge = open_edge("""\
version: 1
applications: {news: {}, bank: {}, blog: {}}
entries:
- {id: tor-watched, list: deny, sources: [tor], action: warn, applications: [news]}
- {id: tor-denied, list: deny, sources: [tor], applications: [bank]}
feeds: [{source: tor, path: tor.lst}]
""")
    assert edge.ask("185.220.101.4", "news") == ("allow", "default_allow", None, 200)
    assert edge.warnings == ["tor-watched"]
    assert edge.ask("185.220.101.4", "bank") == ("deny", "denylisted", "tor-denied", 403)
    assert edge.warnings == []
    assert edge.ask("185.220.101.4", "blog") == ("allow", "default_allow", None, 200)
    assert edge.warnings == []


def test_a_ban_for_two_hours_ends_by_itself_while_serving(open_edge: Open) -> None:
    # Nobody builds a snapshot at night: the ban begins and ends to the second in the one that is loaded.
    edge = open_edge(f"""\
version: 1
applications: {{shop: {{}}}}
entries: [{{id: ban, list: deny, networks: [203.0.113.9], starts: {moment(60)}, expires: {moment(60 + 7200)}}}]
""")
    assert edge.ask("203.0.113.9") == ("allow", "default_allow", None, 200)
    edge.wait(59.9)
    assert edge.ask("203.0.113.9").decision == "allow"
    edge.wait(0.1)
    assert edge.ask("203.0.113.9") == ("deny", "denylisted", "ban", 403)
    assert edge.ask("203.0.113.8").decision == "allow"
    edge.wait(7199.9)
    assert edge.ask("203.0.113.9").decision == "deny"
    edge.wait(0.1)
    assert edge.ask("203.0.113.9") == ("allow", "default_allow", None, 200)
    assert edge.fronts.decider.ruleset is not None
    assert edge.fronts.decider.ruleset.serial == 1


def test_an_exception_inside_a_range_is_not_on_the_list_and_may_be_on_another(open_edge: Open) -> None:
    # The exception is not an allowance: it takes a customer out of the range, and another entry still has him.
    edge = open_edge("""\
version: 1
applications: {shop: {}}
entries:
- {id: range, list: deny, networks: [198.51.100.10-198.51.100.200], except: [198.51.100.20-198.51.100.29]}
- {id: abuser, list: deny, networks: [198.51.100.25]}
""")
    assert edge.ask("198.51.100.9") == ("allow", "default_allow", None, 200)
    assert edge.ask("198.51.100.10") == ("deny", "denylisted", "range", 403)
    assert edge.ask("198.51.100.19") == ("deny", "denylisted", "range", 403)
    assert edge.ask("198.51.100.20") == ("allow", "default_allow", None, 200)
    assert edge.ask("198.51.100.25") == ("deny", "denylisted", "abuser", 403)
    assert edge.ask("198.51.100.29") == ("allow", "default_allow", None, 200)
    assert edge.ask("198.51.100.200") == ("deny", "denylisted", "range", 403)
    assert edge.ask("198.51.100.201") == ("allow", "default_allow", None, 200)


@pytest.mark.usefixtures("geo")
def test_a_country_is_denied_but_one_of_its_networks_allowed_by_the_longest_prefix(open_edge: Open) -> None:
    # Under deny_first the country would win, under allow_first a wide allowance would; the longest prefix wins here,
    # and so does a single address that is banned inside of the allowed network.
    edge = open_edge("""\
version: 1
applications:
  shop: {precedence: most_specific}
  bank: {precedence: deny_first}
entries:
- {id: country, list: deny, countries: [KP]}
- {id: university, list: allow, networks: [175.45.178.0/24]}
- {id: abuser, list: deny, networks: [175.45.178.66]}
geo: {country: country.mmdb}
""")
    assert edge.ask("175.45.176.1") == ("deny", "denylisted", "country", 403)
    assert edge.ask("175.45.178.1") == ("allow", "allowlisted", "university", 200)
    assert edge.ask("175.45.178.66") == ("deny", "denylisted", "abuser", 403)
    assert edge.ask("175.45.178.1", "bank") == ("deny", "denylisted", "country", 403)


def test_a_new_list_is_tried_out_in_dry_run_before_it_denies(open_edge: Open, tmp_path: Path) -> None:
    # The log says who would have been denied, and nobody is. Then one word is changed.
    (tmp_path / "new.txt").write_text("203.0.113.0/24\n")
    policy = """\
version: 1
applications: {{shop: {{dry_run: {}}}}}
entries: [{{id: new-list, list: deny, sources: [malicious]}}]
feeds: [{{source: malicious, path: new.txt}}]
"""
    edge = open_edge(policy.format("true"))
    assert edge.ask("203.0.113.9") == ("allow", "denylisted", "new-list", 200)
    edge.fronts.load(policy.format("false"))
    assert edge.ask("203.0.113.9") == ("deny", "denylisted", "new-list", 403)
    counted = {labels[2:] for labels in edge.fronts.counts()}
    assert counted == {("allow", "denylisted", "deny", "false"), ("deny", "denylisted", "deny", "true")}


def test_a_partner_named_by_its_network_number_is_let_in_where_nobody_is(open_edge: Open, tmp_path: Path) -> None:
    # The partner's addresses come and go; the number of its network does not. The interface is closed to all others.
    (tmp_path / "asn.csv").write_text('192.0.2.0,192.0.2.127,64496,"Partner"\n192.0.2.128,192.0.2.255,64497,"Other"\n')
    edge = open_edge("""\
version: 1
applications: {partners: {default: deny}}
entries: [{id: partner, list: allow, asns: [64496], applications: [partners]}]
geo: {asn: asn.csv}
""")
    assert edge.ask("192.0.2.127", "partners") == ("allow", "allowlisted", "partner", 200)
    assert edge.ask("192.0.2.128", "partners") == ("deny", "default_deny", None, 403)
