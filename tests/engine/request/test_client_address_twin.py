"""The client is whom a slow twin finds, written from the text of the rules."""

from __future__ import annotations

import ipaddress
import re
from typing import Any, NamedTuple

from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.engine.client_chains import PEER, PROXIES, REFUSED, addresses, resolve, who
from support.suite.effort import tries

from authz.addresses import NetworkSet, parse_address, parse_network
from authz.engine.request.client_address import (
    CLIENT_UNRESOLVED,
    FORWARDED_MISSING,
    PEER_UNTRUSTED_TRANSPORT,
    Rules,
    Step,
    parse_element,
    walk,
)

# The slow twin, from the text of the rules


class Asked(NamedTuple):
    """What a request and a configuration say, in words."""

    trusted: list[str]
    missing: str
    trust_unix: bool
    hops: int
    peer: str | None
    lines: list[str]


def plain(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Read one address without a port; mapped ones are unmapped."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        return None if address.scope_id else address.ipv4_mapped or address
    return address


def spelled(element: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Read IPv4, IPv4:port, IPv6, [IPv6] or [IPv6]:port."""
    for pattern in (r"([0-9.]+)", r"([0-9.]+):([0-9]{1,5})", r"([^\[\]]*:[^\[\]]*:[^\[\]]*)",
                    r"\[([^\[\]]*:[^\[\]]*)\]", r"\[([^\[\]]*:[^\[\]]*)\]:([0-9]{1,5})"):  # fmt: skip
        match = re.fullmatch(pattern, element)
        if match and all(int(port) <= 65535 for port in match.groups()[1:]):
            return plain(match[1])
    return None


def twin(asked: Asked) -> str:
    """Return who the client is; every element of the chain is read first, then the rules are gone through."""
    peer = None if asked.peer is None else plain(asked.peer)
    networks = [ipaddress.ip_network(text) for text in asked.trusted]

    def trusted(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        return any(address in network for network in networks)

    if peer is None and not asked.trust_unix:
        return "peer_untrusted_transport"
    if peer is not None and not asked.hops and not trusted(peer):
        return str(peer)
    written = [element.strip(" \t") for element in ",".join(asked.lines).split(",")] if asked.lines else []
    if not any(written) and len(written) <= 32:
        return str(peer) if asked.missing == "peer" and peer is not None else "forwarded_missing"
    from_the_right = list(reversed(written))
    walked = [(place, spelled(element)) for place, element in enumerate(from_the_right, start=1) if element]
    for hop, (place, address) in enumerate(walked, start=1):
        if place > 32 or address is None:
            return "client_unresolved"
        if hop == asked.hops or (not asked.hops and not trusted(address)):
            return str(address)
    if asked.hops or len(written) > 32:
        return "client_unresolved"
    return str(walked[-1][1])


ADDRESSES = ["10.0.0.1", "10.255.255.255", "2001:db8:a::1", "203.0.113.7", "198.51.100.1", "2001:db8:b::1", "11.0.0.0",
             "::ffff:10.0.0.2", "::ffff:203.0.113.9", "::", "0.0.0.0"]  # fmt: skip


PLAIN = st.sampled_from(ADDRESSES)
TRUSTED = st.sampled_from(["10.0.0.1", "10.1.2.3:80", "2001:db8:a::1", "[2001:db8:a::2]:443", "::ffff:10.0.0.2"])


SPELLED = st.one_of(
    PLAIN,
    st.tuples(PLAIN, st.sampled_from(["80", "0", "65535", "65536", "", "x", "443"])).map(
        lambda a: f"[{a[0]}]:{a[1]}" if ":" in a[0] else f"{a[0]}:{a[1]}"
    ),
    PLAIN.map(lambda a: f"[{a}]"),
)


ELEMENT = st.one_of(TRUSTED, TRUSTED, TRUSTED, SPELLED, st.just(""), st.sampled_from(REFUSED[:-3]).filter(str.isascii))
PADDED = st.tuples(st.sampled_from(["", " ", "\t "]), ELEMENT, st.sampled_from(["", " ", " \t"])).map("".join)
LINES = st.lists(st.lists(PADDED, min_size=1, max_size=12).map(",".join), max_size=4)


ASKED = st.builds(
    Asked,
    trusted=st.sampled_from([[], PROXIES, PROXIES, PROXIES, ["0.0.0.0/0", "::/0"]]),
    missing=st.sampled_from(["deny", "peer"]),
    trust_unix=st.booleans(),
    hops=st.sampled_from([0, 0, 0, 1, 2, 5]),
    peer=st.sampled_from(["10.0.0.1", "10.9.9.9", "2001:db8:a::1", "203.0.113.99", None]),
    lines=LINES,
).map(lambda asked: asked._replace(trusted=[]) if asked.hops else asked)


def rules_of(asked: Asked, header: str = "x-forwarded-for") -> Rules:
    networks = NetworkSet(parse_network(text) for text in asked.trusted)
    missing: Any = asked.missing
    return Rules(networks, header, missing, asked.trust_unix, asked.hops)


@settings(max_examples=tries(600), deadline=None)
@given(ASKED)
@example(Asked(PROXIES, "peer", False, 0, PEER, [","] * 17))
@example(Asked(PROXIES, "peer", False, 0, PEER, ["," * 31]))
@example(Asked(PROXIES, "peer", False, 0, PEER, ["," * 32]))
@example(Asked(PROXIES, "deny", False, 0, PEER, ["10.0.0.1" + "," * 32]))
@example(Asked([], "deny", False, 40, PEER, ["10.0.0.1," * 50]))
def test_the_client_is_whom_the_slow_twin_finds(asked: Asked) -> None:
    assert who(rules_of(asked), asked.peer, *asked.lines) == twin(asked)


@settings(max_examples=tries(300), deadline=None)
@given(ASKED, st.data())
def test_the_client_of_forwarded_is_whom_the_slow_twin_finds_in_its_for_parameters(
    asked: Asked, data: st.DataObject
) -> None:
    before = st.sampled_from(["", "by=10.0.0.1;", 'host="a,b;for=10.0.0.1";', "proto=https; "])
    behind = st.sampled_from(["", ";proto=http", ';ext="x, for=10.0.0.1"', ';a="";b="c;d"', " ; by=x"])
    written = []
    for line in asked.lines:
        pairs = []
        for element in line.split(","):
            text = element.strip(" \t").replace("for=", "by=")
            if text and not set(text) & set('";='):
                quoted = f'"{text}"' if data.draw(st.booleans()) else text
                name = data.draw(st.sampled_from(["for", "For", "FOR"]))
                text = f"{data.draw(before)}{name}={quoted}{data.draw(behind)}"
            pairs.append(text)
        written.append(data.draw(st.sampled_from([",", ", ", "\t, "])).join(pairs))
    # What cannot be the value of a parameter stays as it is: no element of either header, refused by both.
    assert who(rules_of(asked, "forwarded"), asked.peer, *written) == twin(asked)


# The chain, for `match: path`


@settings(deadline=None)
@given(ASKED)
def test_a_client_that_was_resolved_is_on_the_chain(asked: Asked) -> None:
    client = who(rules_of(asked), asked.peer, *asked.lines)
    problems = (CLIENT_UNRESOLVED, FORWARDED_MISSING, PEER_UNTRUSTED_TRANSPORT)
    assert client in (*addresses(rules_of(asked), asked.peer, *asked.lines), *problems)


# The steps, for `authz explain`


@settings(max_examples=tries(200), deadline=None)
@given(ASKED, st.sampled_from(["x-forwarded-for", "forwarded", "x-real-ip"]))
def test_the_steps_end_where_resolve_ends(asked: Asked, header: str) -> None:
    rules = rules_of(asked, header)
    peer = None if asked.peer is None else parse_address(asked.peer)
    steps: list[Step] = []
    resolution = resolve(rules, peer, asked.lines)
    assert walk(rules, peer, asked.lines, steps) == resolution
    last = steps[-1]
    if resolution.client is None:
        assert last.verdict.startswith(f"{resolution.problem}: ")
    else:
        assert last.verdict.endswith(("client", "as the header says"))
        read = parse_element("x-forwarded-for", last.element) or parse_element("forwarded", last.element)
        assert read == resolution.client
    for problem in (CLIENT_UNRESOLVED, FORWARDED_MISSING, PEER_UNTRUSTED_TRANSPORT):
        assert not any(problem in step.verdict for step in steps[:-1])
