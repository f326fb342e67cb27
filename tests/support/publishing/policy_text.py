"""Policies as text for tests, and what their mistakes are answered with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from authz.addresses import format_address
from authz.publisher.feeds.hosts import HostOptions
from authz.publisher.policy.subjects import SubjectOptions

if TYPE_CHECKING:
    from authz.publisher.index.prefixes import Prefixes
    from authz.publisher.policy.read import Policy

A_NETWORK = "an address, a network such as 192.0.2.0/24, or a range such as 192.0.2.1-192.0.2.9"
A_HOST = "a host name such as shop.example.com"
NO_PATTERN = "write each host by its full name; * is not supported"
A_SOURCE = "a source type such as tor: small letters, digits and '_'"


def host_bits(text: str, meant: str) -> str:
    return f"found '{text}', expected a network without host bits (did you mean '{meant}'? --lenient takes it)"


def backwards(text: str, meant: str) -> str:
    return f"found '{text}', expected a range whose end is not before its start (did you mean '{meant}'?)"


def too_wide(text: str, version: int = 4) -> str:
    limit = {4: 12, 6: 32}[version]
    return f"found {text}, expected a network of /{limit} or longer (limits.widest_ipv{version} says so)"


def entry(rest: str) -> str:
    """Return a policy with one entry, on line 3."""
    return f"version: 1\nentries:\n- {{list: deny, {rest}}}\n"


def texts(prefixes: Prefixes, version: int) -> list[str]:
    """Return networks as text, sorted."""
    pairs = [
        (((int(high) << 64 | int(low)) >> (96 if version == 4 else 0)), int(length))
        for high, low, length in zip(*prefixes, strict=True)
    ]
    return [f"{format_address(version, value)}/{length}" for value, length in sorted(pairs)]


def covered(policy: Policy, number: int = 0) -> list[str]:
    return [text for version in (4, 6) for text in texts(policy.networks[number].networks[version], version)]


def excepted(policy: Policy, number: int = 0) -> list[str]:
    return [text for version in (4, 6) for text in texts(policy.networks[number].holes[version], version)]


OFFLINE = SubjectOptions(hosts=HostOptions(offline=True))
