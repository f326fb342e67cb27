"""Who is the client: the walk over trusted proxies. Pure: no I/O, no clock.

The peer opened the connection; it is the only address that nobody can forge. Headers are believed only as far as
trusted proxies vouch for them, so the chain is walked from the right, where the nearest proxy wrote:

    trusted_proxies: 10.0.0.0/8         peer: 10.0.0.1
    X-Forwarded-For: 198.51.100.1, 203.0.113.7, 10.2.3.4
                     ^ never read     ^ client     ^ trusted: skipped

1.  A peer that is not trusted is the client, whatever the headers say.
2.  The first address from the right that is not trusted is the client; when all are trusted, the leftmost.
3.  An element that the walk reaches and cannot read makes the client unresolved. Never "use the peer then": a client
    could choose to be seen as the load balancer, which sits on many allow lists.
4.  Empty elements are skipped, but counted; at most `MAX_ELEMENTS` are walked, more is unresolved.
5.  An element is IPv4, IPv4:port, IPv6, [IPv6] or [IPv6]:port, with spaces or tabs around it.

`Forwarded` (RFC 7239) is walked the same way over its `for=` parameters; a single-valued header (x-real-ip, ...) is one
strict address. `trusted_hops: N` takes the Nth element from the right and needs no list of proxies.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from itertools import islice
from typing import TYPE_CHECKING, Literal, NamedTuple

from authz.addresses import Address, NetworkSet, try_parse_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

MAX_ELEMENTS = 32  # elements of the chain that are walked, empty ones included
MAX_PROXIES = 1024  # trusted peers that a Resolver remembers
MAX_ELEMENT_LENGTH = 256  # characters; a `Forwarded` element has other parameters than for=

CLIENT_UNRESOLVED = "client_unresolved"
FORWARDED_MISSING = "forwarded_missing"
PEER_UNTRUSTED_TRANSPORT = "peer_untrusted_transport"

_PORT_DIGITS = frozenset("0123456789")
_OWS = " \t"  # optional white space, RFC 9110, 5.6.3
_PAIR = re.compile(r'(?:[^;"]|"[^"]*")+')  # a parameter of `Forwarded`; a semicolon in quotes is part of it


class Rules(NamedTuple):
    """How the client is found.

    Attributes:
        trusted_proxies: Whose headers are believed; empty: nobody's.
        header: `x-forwarded-for`, `forwarded`, or the name of a single-valued header; lower case.
        missing: What a trusted peer without the header is: `deny`, or `peer` for the client itself.
        trust_unix: Believe a peer that has no address.
        trusted_hops: N > 0 takes the Nth element from the right and believes every peer; excludes `trusted_proxies`.
    """

    trusted_proxies: NetworkSet = NetworkSet(())
    header: str = "x-forwarded-for"
    missing: Literal["deny", "peer"] = "deny"
    trust_unix: bool = False
    trusted_hops: int = 0


class Step(NamedTuple):
    """One step of the walk, for `authz explain`.

    Attributes:
        element: As written.
        verdict: What became of it.
    """

    element: str
    verdict: str


class Resolution(NamedTuple):
    """Who the client is, or why nobody knows. Exactly one of `client` and `problem` is None."""

    client: Address | None
    problem: str | None


class Resolver:
    """Finds the clients of requests by fixed rules: `walk`, with a short way for what nearly every request is.

    Args:
        rules: Who may say who the client is.
        on_ignored: Called with a peer that is not a trusted proxy and whose request names another client.
    """

    def __init__(self, rules: Rules, on_ignored: Callable[[Address], object] = lambda _: None) -> None:
        self.rules = rules
        self._on_ignored = on_ignored
        self._trusted = rules.trusted_proxies.bounds
        self._plain = rules.header == "x-forwarded-for" and not rules.trusted_hops
        self._proxies: set[str] = set()  # peers that are trusted, as they were written; at most MAX_PROXIES

    def client(self, peer: str | None, header_lines: Sequence[str]) -> Address | None:
        """Return the client of a request; None if `resolve` says why nobody knows.

        peer: who opened the connection to the proxy, as the proxy reports it; None for a unix socket. header_lines: the
        values of the lines of `rules.header`, in the order of the request.
        """
        # A known proxy, and a rightmost element that is an address and no proxy's: found at a third of the cost.
        if peer in self._proxies and header_lines:
            line = header_lines[-1]
            client = try_parse_address(line[line.rfind(",") + 1 :].strip(_OWS) if "," in line else line)
            if client is not None:
                version, value, _ = client
                if not bisect_right(self._trusted[version], value) & 1:  # see NetworkSet
                    return client
        return self.resolve(peer, header_lines).client

    def resolve(self, peer: str | None, header_lines: Sequence[str], steps: list[Step] | None = None) -> Resolution:
        """Do what `client` does, with the reason, and append each step to `steps` where it is a list."""
        address = None if peer is None else try_parse_address(peer)
        if peer is not None:
            if address is None:
                return _unresolved(CLIENT_UNRESOLVED, steps, peer, "the peer is not an address")
            if address not in self.rules.trusted_proxies:
                if header_lines and steps is None and names_another(self.rules, address, header_lines):
                    self._on_ignored(address)
            elif self._plain:
                if len(self._proxies) >= MAX_PROXIES:
                    self._proxies.clear()
                self._proxies.add(peer)
        return walk(self.rules, address, header_lines, steps)


def walk(
    rules: Rules, peer: Address | None, header_lines: Sequence[str], steps: list[Step] | None = None
) -> Resolution:
    """Return the client of a request, and append each step to `steps` where it is a list.

    peer: who opened the connection to the proxy; None for a unix socket. header_lines: as for a Resolver.
    """
    if peer is None:
        if not rules.trust_unix:
            return _unresolved(PEER_UNTRUSTED_TRANSPORT, steps, "unix:", "a unix socket, and trust_unix is off")
    elif not rules.trusted_hops and peer not in rules.trusted_proxies:
        return _resolved(peer, steps, peer.text, "the peer is not a trusted proxy, so it is the client")
    elif steps is not None:
        steps.append(Step(peer.text, "peer, a trusted proxy"))
    if rules.header not in {"x-forwarded-for", "forwarded"}:
        resolution = _single(header_lines, steps)
    elif rules.trusted_hops:
        resolution = _nth(rules, header_lines, steps)
    else:
        resolution = _first_untrusted(rules, header_lines, steps)
    if resolution is not None:
        return resolution
    if rules.missing == "peer" and peer is not None:
        return _resolved(peer, steps, peer.text, f"no {rules.header}, so the peer is the client")
    return _unresolved(FORWARDED_MISSING, steps, "", f"the trusted peer sent no {rules.header}")


def _single(header_lines: Sequence[str], steps: list[Step] | None) -> Resolution | None:
    if not header_lines:
        return None
    text = header_lines[0].strip(_OWS)
    client = try_parse_address(text) if len(header_lines) == 1 else None
    if client is None:
        return _unresolved(CLIENT_UNRESOLVED, steps, ", ".join(header_lines), "not exactly one address")
    return _resolved(client, steps, text, "the client, as the header says")


def _first_untrusted(rules: Rules, header_lines: Sequence[str], steps: list[Step] | None) -> Resolution | None:
    leftmost = None
    for number, element in enumerate(elements(rules.header, header_lines), start=1):
        if number > MAX_ELEMENTS:
            return _unresolved(CLIENT_UNRESOLVED, steps, element, f"more than {MAX_ELEMENTS} elements walked")
        if element == "":
            continue
        address = parse_element(rules.header, element)
        if address is None:
            return _unresolved(CLIENT_UNRESOLVED, steps, element, "no address")
        if address not in rules.trusted_proxies:
            return _resolved(address, steps, element, "the first that is not a trusted proxy: the client")
        leftmost = address
        if steps is not None:
            steps.append(Step(element, "a trusted proxy"))
    if leftmost is None:
        return None
    return _resolved(leftmost, steps, leftmost.text, "all are trusted, so the leftmost is the client")


def _nth(rules: Rules, header_lines: Sequence[str], steps: list[Step] | None) -> Resolution | None:
    hops = 0
    for number, element in enumerate(elements(rules.header, header_lines), start=1):
        if number > MAX_ELEMENTS:
            return _unresolved(CLIENT_UNRESOLVED, steps, element, f"more than {MAX_ELEMENTS} elements walked")
        if element == "":
            continue
        hops += 1
        address = parse_element(rules.header, element)
        if address is None:
            return _unresolved(CLIENT_UNRESOLVED, steps, element, "no address")
        if hops == rules.trusted_hops:
            return _resolved(address, steps, element, f"element {hops} from the right: the client")
        if steps is not None:
            steps.append(Step(element, f"hop {hops} of {rules.trusted_hops}"))
    if hops == 0:
        return None
    return _unresolved(CLIENT_UNRESOLVED, steps, "", f"{hops} elements, expected {rules.trusted_hops} or more")


def names_another(rules: Rules, peer: Address, header_lines: Sequence[str]) -> bool:
    """Return whether the header, which is ignored, names another client than the peer that sent it.

    A proxy at the edge appends the address of its client, so that the rightmost element is the peer as it reports it.
    Another element there means that the peer is a proxy itself. So does any other where the peer is loopback: who asks
    a proxy on its own machine, as to try it, stands at the right, too.
    """
    if rules.trusted_hops:
        return False  # the header counts, whoever sent it
    several = rules.header in {"x-forwarded-for", "forwarded"}
    named = elements(rules.header, header_lines) if several else iter([header_lines[-1].strip(_OWS)])
    looked_at = islice(named, MAX_ELEMENTS if _is_loopback(peer) else 1)
    return any(element != "" and parse_element(rules.header, element) != peer for element in looked_at)


def _is_loopback(address: Address) -> bool:
    return address.value >> 24 == 127 if address.version == 4 else address.value == 1


def chain(rules: Rules, peer: Address | None, header_lines: Sequence[str]) -> list[Address]:
    """Return every address of the forwarding chain, for applications with `match: path`.

    The peer, and of the rightmost `MAX_ELEMENTS` elements those that are addresses, trusted or not. What stands left of
    the client is the client's own claim: it may count against the client, and is used for nothing else. A peer that
    is not trusted is the whole chain.
    """
    addresses = [] if peer is None else [peer]
    if peer is not None and not rules.trusted_hops and peer not in rules.trusted_proxies:
        return addresses
    if rules.header not in {"x-forwarded-for", "forwarded"}:
        return addresses + [a for line in header_lines if (a := try_parse_address(line.strip(_OWS)))]
    for _, element in zip(range(MAX_ELEMENTS), elements(rules.header, header_lines), strict=False):
        address = parse_element(rules.header, element)
        if address is not None and address not in addresses:
            addresses.append(address)
    return addresses


def addresses_behind(rules: Rules, addresses: Sequence[Address], client: Address) -> list[Address]:
    """Return the addresses of a chain that stand behind the client, as seen from us, without trusted proxies.

    They are the proxies that the client says it came through. addresses: as `chain` returns them.
    """
    if client not in addresses:
        return []
    behind = addresses[addresses.index(client) + 1 :]
    return [address for address in behind if address not in rules.trusted_proxies]


def elements(header: str, header_lines: Sequence[str]) -> Iterator[str]:
    """Yield the elements of the header from the right, without the white space around them.

    Scans only as far as it is asked: a header of 54 kB costs what is walked.
    """
    split = _split_forwarded if header == "forwarded" else _split_commas
    for line in reversed(header_lines):
        yield from split(line)


def _split_commas(line: str) -> Iterator[str]:
    end = len(line)
    while end >= 0:
        comma = line.rfind(",", 0, end)
        yield line[comma + 1 : end].strip(_OWS)
        end = comma


def _split_forwarded(line: str) -> Iterator[str]:
    """Split at the commas outside quotes, from the right.

    So a quote that a client left open cannot hide the elements that our proxies wrote after it.
    """
    end = position = len(line)
    quoted = False
    while position > 0:
        position -= 1
        if line[position] == "," and not quoted:
            yield line[position + 1 : end].strip(_OWS)
            end = position
        elif end - position > MAX_ELEMENT_LENGTH:
            yield line[position:end]  # too long for an element: not stripped, so that it is refused for its length
            return
        elif line[position] == '"':
            quoted = not quoted
    yield line[position:end].strip(_OWS)


def parse_element(header: str, element: str) -> Address | None:
    """Return the address that an element names, None if it names none."""
    if header == "forwarded":
        value = _for_parameter(element)
        return None if value is None else _address_with_port(value)
    return _address_with_port(element)


def _address_with_port(text: str) -> Address | None:
    if len(text) > 60:
        return None
    colons = text.count(":")
    if not colons:
        return try_parse_address(text)
    if text.startswith("["):
        inner, bracket, rest = text[1:].partition("]")
        address = try_parse_address(inner) if ":" in inner else None  # not [192.0.2.7]
        return address if bracket and (rest == "" or _is_port(rest)) else None
    if colons == 1:
        host, _, _ = text.partition(":")
        return try_parse_address(host) if _is_port(text[len(host) :]) else None
    return try_parse_address(text)


def _is_port(text: str) -> bool:
    """Return whether `text` is a colon and a port number of 1 to 5 digits."""
    return text[0] == ":" and 2 <= len(text) <= 6 and _PORT_DIGITS.issuperset(text[1:]) and int(text[1:]) <= 65535


def _for_parameter(element: str) -> str | None:
    """Return the value of the one `for=` in an element of `Forwarded` (RFC 7239, 4), without its quotes."""
    if len(element) > MAX_ELEMENT_LENGTH or "\\" in element or element.count('"') % 2:
        return None
    node = None
    for pair in _PAIR.findall(element):
        name, _, value = pair.strip(_OWS).partition("=")
        if name.lower() != "for":
            continue
        if node is not None:
            return None
        node = value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
    return node


def _resolved(client: Address, steps: list[Step] | None, element: str, verdict: str) -> Resolution:
    if steps is not None:
        steps.append(Step(element, verdict))
    return Resolution(client, None)


def _unresolved(problem: str, steps: list[Step] | None, element: str, verdict: str) -> Resolution:
    if steps is not None:
        steps.append(Step(element, f"{problem}: {verdict}"))
    return Resolution(None, problem)
