"""What an operator gets wrong in policy.yaml besides its entries and feeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.publishing.policy_text import A_HOST, A_NETWORK, NO_PATTERN, OFFLINE, covered, entry, excepted, host_bits

from authz.addresses import parse_networks
from authz.errors import InputError, InvalidDocument
from authz.publisher.policy.read import Policy, read_policy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Read = Callable[..., Policy]
    Wrong = Callable[..., list[str]]


def application(settings: str) -> str:
    """Return a policy with one application, on line 3."""
    return f"version: 1\napplications:\n  shop: {{{settings}}}\n"


# Mistakes: shape


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["1: version: missing"]),
        ("entries: []", ["1: version: missing"]),
        ("version: 2", ["1: version: found '2', expected 1"]),
        ("version: 1.0", ["1: version: found '1.0', expected 1"]),
        ("version:", ["1: version: found nothing, expected 1"]),
        ("[1]", ["1: document: found a list, expected keys with values"]),
        ("version 1", ["1: document: found 'version 1', expected keys with values"]),
        ("version: 1\nversion: 1", ["2: version: found twice, expected once"]),
        ("version: 1\nentry: []", ["2: entry: unknown key (did you mean 'entries'?)"]),
        ("version: 1\napplications: [shop]", ["2: applications: found a list, expected keys with values"]),
        ("version: 1\nentries: {a: b}", ["2: entries: found a mapping, expected a list"]),
        ("version: 1\nentries:", ["2: entries: found '', expected a list"]),
        ("version: 1\nentries: [192.0.2.1]",
         ["2: entries[0]: found '192.0.2.1', expected keys with values"]),
        ("version: 1\nfeeds: {tor: a}", ["2: feeds: found a mapping, expected a list"]),
        ("version: 1\nlimits: 12", ["2: limits: found '12', expected keys with values"]),
        ("version: 1\nentries:\n- {list: deny, networks: [192.0.2.1}",
         ["3: document: not YAML: did not find expected ',' or ']' at column 36"]),
        ("version: 1\nentries: *all", ["2: document: not YAML: found undefined alias at column 10"]),
        ("version: 1\n--- \nversion: 1", ["2: document: not YAML: found another document at column 1"]),
    ],
)  # fmt: skip
def test_a_document_of_the_wrong_shape_is_told(wrong: Wrong, text: str, expected: list[str]) -> None:
    assert wrong(text) == expected


def test_a_policy_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_policy(tmp_path / "none.yaml")
    assert caught.value.message == f"{tmp_path}/none.yaml: cannot be read: No such file or directory"


def test_a_policy_that_is_not_utf_8_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_bytes(b"version: 1\n# caf\xe9\n")
    with pytest.raises(InputError) as caught:
        read_policy(tmp_path / "policy.yaml")
    assert caught.value.message == f"{tmp_path}/policy.yaml: not a text file: byte 16 is not UTF-8"


# Mistakes: applications


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("mode: on", "mode: found 'on', expected one of off, monitoring, safe_blocking, block"),
        ("mode: false", "mode: found 'false', expected one of off, monitoring, safe_blocking, block"),
        ("mode: Off", "mode: found 'Off', expected one of off, monitoring, safe_blocking, block (did you mean 'off'?)"),
        ("mode: ", "mode: found nothing, expected one of off, monitoring, safe_blocking, block"),
        ("mode: [off]", "mode: found a list, expected one of off, monitoring, safe_blocking, block"),
        ("default: no", "default: found 'no', expected one of allow, deny"),
        ("precedence: deny", "precedence: found 'deny', expected one of allow_first, deny_first, most_specific"),
        ("match: all", "match: found 'all', expected one of client, path"),
        ("dry_run: yes", "dry_run: found 'yes', expected true or false"),
        ('dry_run: "true"', "dry_run: found 'true', expected true or false"),
        ("denylist_in_monitoring: 0", "denylist_in_monitoring: found '0', expected true or false"),
        ("dryrun: true", "dryrun: unknown key (did you mean 'dry_run'?)"),
        ("mode: off, mode: off", "mode: found twice, expected once"),
        ("hosts: shop.example.com", "hosts: found 'shop.example.com', expected a list"),
        (
            "hosts: [shop.example.com:443]",
            f"hosts[0]: found 'shop.example.com:443', expected {A_HOST} (did you mean 'shop.example.com'?)",
        ),
        (
            "hosts: [https://shop.example.com]",
            f"hosts[0]: found 'https://shop.example.com', expected {A_HOST} (did you mean 'shop.example.com'?)",
        ),
        ("hosts: ['*.example.com']", f"hosts[0]: found '*.example.com', expected {A_HOST} ({NO_PATTERN})"),
        ("hosts: [a, '']", f"hosts[1]: found nothing, expected {A_HOST}"),
        ("hosts: [shop.example.com.]",
         f"hosts[0]: found 'shop.example.com.', expected {A_HOST} (did you mean 'shop.example.com'?)"),
        ("hosts: [b\u00fccher.example]",
         f"hosts[0]: found 'b\\xfccher.example', expected {A_HOST} (did you mean 'xn--bcher-kva.example'?)"),
        (f"hosts: [{'a' * 64}.example]", f"hosts[0]: found '{'a' * 64}.example', expected {A_HOST}"),
        ("deny: 403", "deny: found '403', expected keys with values"),
        ("deny: {status: 200}", "deny.status: found '200', expected a status from 400 to 499"),
        ("deny: {status: 500}", "deny.status: found '500', expected a status from 400 to 499"),
        ("deny: {status: '4\u0660\u0663'}", "deny.status: found '4\\u0660\\u0663', expected a status from 400 to 499"),
        ("deny: {content_type: html}", "deny.content_type: found 'html', expected a media type such as text/plain"),
        ('deny: {content_type: "text/plain\\r\\nX: y"}',
         "deny.content_type: found 'text/plain\\x0d\\x0aX: y', expected a media type such as text/plain"),
        ("deny: {stauts: 403}", "deny.stauts: unknown key (did you mean 'status'?)"),
        (f"deny: {{body: {'x' * 65_537}}}",
         f"deny.body: found '{'x' * 80}... (65537 characters)', expected at most 65536 bytes"),
        ("deny: {body: " + "\u00e9" * 32_769 + "}",
         "deny.body: found '" + "\\xe9" * 80 + "... (32769 characters)', expected at most 65536 bytes"),
    ],
    ids=lambda text: ascii(text[:30]),
)  # fmt: skip
def test_a_mistake_in_the_settings_of_an_application_is_told(wrong: Wrong, settings: str, expected: str) -> None:
    assert wrong(application(settings)) == [f"3: applications.shop.{expected}"]


@pytest.mark.parametrize(
    "name", ["-shop", "shop one", "shop/one", "sh*p", "''", "b\u00fccher", "a" * 65, "'<<'", "'**'"]
)
def test_the_name_of_an_application_is_a_token(wrong: Wrong, name: str) -> None:
    (line,) = wrong(f"version: 1\napplications: {{{name!s}: {{}}}}")
    plain = name.strip("'")
    shown = plain.replace("\u00fc", "\\xfc")
    assert line == (f"2: applications.{plain}: found the name '{shown}', expected letters, digits, '.', '_', '-'")


def test_a_body_of_64_kilobytes_is_taken(read: Read) -> None:
    assert len(read(application(f"deny: {{body: {'x' * 65_536}}}")).applications[1].deny.body) == 65_536


def test_a_host_names_one_application(wrong: Wrong) -> None:
    text = """\
version: 1
applications:
  "*": {hosts: [example.com]}
  shop:
    hosts: [shop.example.com, SHOP.example.com]
  admin:
    hosts: [Shop.Example.Com, admin.example.com]
"""
    assert wrong(text) == [
        "3: applications.*.hosts: found hosts for '*', expected them for a named application",
        "7: applications.admin.hosts: found 'shop.example.com', which names 'shop' already",
    ]


# Mistakes: protected networks


def test_protected_networks_are_read_and_checked_as_networks_are(read: Read, wrong: Wrong) -> None:
    policy = read("version: 1\nprotected: [10.0.0.0/8, 192.0.2.0-192.0.2.1]")
    assert [str(network) for network in policy.protected] == ["10.0.0.0/8", "192.0.2.0/31"]
    assert wrong("version: 1\nprotected:\n- nobody\n- 192.0.2.7/24\n") == [
        f"3: protected[0]: found 'nobody', expected {A_NETWORK}",
        f"4: protected[1]: {host_bits('192.0.2.7/24', '192.0.2.0/24')}",
    ]
    assert len(read("version: 1\nprotected: [192.0.2.7/24]", lenient=True).protected) == 1


# Mistakes: limits


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ("widest_ipv4: 33", "limits.widest_ipv4: found 33, expected 0 to 32"),
        ("widest_ipv4: -1", "limits.widest_ipv4: found -1, expected 0 to 32"),
        ("widest_ipv6: 129", "limits.widest_ipv6: found 129, expected 0 to 128"),
        ("widest_ipv4: /12", "limits.widest_ipv4: found '/12', expected a whole number (did you mean 12?)"),
        ("widest_ipv4: 012", "limits.widest_ipv4: found '012', expected a whole number"),
        ("widest: 12", "limits.widest: unknown key (did you mean 'widest_ipv6'?)"),
    ],
)
def test_a_mistake_in_the_limits_is_told(wrong: Wrong, limits: str, expected: str) -> None:
    assert wrong(f"version: 1\nlimits: {{{limits}}}") == [f"2: {expected}"]


@pytest.mark.parametrize(
    ("limits", "taken", "refused"),
    [
        ("{}", ["10.0.0.0/12", "2001:db8::/32"], ["10.0.0.0/11", "2001:db8::/31"]),
        ("{widest_ipv4: 8}", ["10.0.0.0/8", "2001:db8::/32"], ["10.0.0.0/7", "2001:db8::/31"]),
        ("{widest_ipv6: 48}", ["10.0.0.0/12", "2001:db8::/48"], ["10.0.0.0/11", "2001:db8::/47"]),
        ("{widest_ipv4: 0, widest_ipv6: 0}", ["0.0.0.0/0", "::/0"], []),
        ("{widest_ipv4: 32, widest_ipv6: 128}", ["10.0.0.0", "2001:db8::"], ["10.0.0.0/31", "2001:db8::/127"]),
    ],
)
def test_a_network_may_be_as_wide_as_the_limits_say(
    read: Read, wrong: Wrong, limits: str, taken: list[str], refused: list[str]
) -> None:
    def policy(text: str) -> str:
        return entry(f"networks: ['{text}']") + f"limits: {limits}"

    for text in taken:
        assert covered(read(policy(text))) == [str(network) for network in parse_networks(text)]
    for text in refused:
        (line,) = wrong(policy(text))
        assert line.startswith(f"3: entries[0].networks[0]: found {text}, expected a network of /")


def test_a_limit_that_is_wrong_is_told_once_and_not_at_every_network(wrong: Wrong) -> None:
    text = entry("networks: [192.0.2.1, '2001:db8::1']") + "limits: {widest_ipv4: 33, widest_ipv6: 200}"
    assert wrong(text) == [
        "4: limits.widest_ipv4: found 33, expected 0 to 32",
        "4: limits.widest_ipv6: found 200, expected 0 to 128",
    ]


def test_exceptions_may_be_as_wide_as_they_are(read: Read) -> None:
    assert excepted(read(entry("networks: [10.0.0.0/12], except: [10.0.0.0/8]"))) == ["10.0.0.0/8"]


# All at once


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(wrong: Wrong, tmp_path: Path) -> None:
    (tmp_path / "html.txt").write_text("<html>\n")
    text = """\
version: 1
applications:
  "*": {mode: on, hosts: [example.com]}
  shop: {dry_run: yes}
  "a b": {}
entries:
- {list: blak, networks: [192.0.2.1]}
- {list: deny, networks: [10.0.0.2/8, nobody], sources: [vpn], applications: [shpo]}
- {list: deny}
- {id: a, list: allow, hosts: [vpn.example.com], action: warn}
- {id: a, list: gray, networks: [192.0.2.1], starts: 2026-12-01T00:00:00Z, expires: 2026-12-01T00:00:01Z}
feeds:
- {source: tor, path: none.txt}
- {source: tor, path: html.txt, fromat: plain}
- {source: tor, path: a.json, format: aws}
geo: {county: x.mmdb}
limits: {widest_ipv6: 129}
"""
    starts = [
        "3: applications.*.hosts: found hosts for '*'",
        "3: applications.*.mode: found 'on'",
        "4: applications.shop.dry_run: found 'yes'",
        "5: applications.a b: found the name 'a b'",
        "7: entries[0].list: found 'blak'",
        "8: entries[1].applications: found 'shpo'",
        "8: entries[1].networks[0]: found '10.0.0.2/8'",
        "8: entries[1].networks[0]: found 10.0.0.0/8",
        "8: entries[1].networks[1]: found 'nobody'",
        "8: entries[1].sources: found 'vpn'",
        "9: entries[2]: names nobody",
        "10: entries[3].hosts: 'vpn.example.com' does not resolve",
        "11: entries[4].expires: found a window of 1 seconds",
        "11: entries[4].id: found 'a' twice",
        "13: feeds[0].path: none.txt: cannot be read",
        "14: feeds[1].fromat: unknown key (did you mean 'format'?)",
        "14: feeds[1].path: html.txt:",
        "15: feeds[2].path: a.json: cannot be read",
        "16: geo.county: unknown key",
        "17: limits.widest_ipv6: found 129",
    ]
    lines = wrong(text, options=OFFLINE)
    assert [int(line.partition(":")[0]) for line in lines] == [int(start.partition(":")[0]) for start in starts]
    for line, start in zip(sorted(lines), sorted(starts), strict=True):
        assert line.startswith(start)


def test_a_wrong_policy_is_one_error_with_every_mistake_in_it(read: Read) -> None:
    with pytest.raises(InvalidDocument) as caught:
        read("version: 1\nx: 1\ny: 2\n")
    assert [(mistake.line, mistake.key) for mistake in caught.value.mistakes] == [(2, "x"), (3, "y")]
    assert caught.value.code == "invalid_document"
