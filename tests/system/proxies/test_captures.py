"""Every CheckRequest that a real Envoy sent (shared captures) gets a whole answer, for the client that it must be for.

What the client must be is worked out a second time here, from the textproto beside each capture, by the rules of
observed.md, section 5; and once more by hand, for the captures that somebody made to confuse.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest
from support.proxies.envoy_api import read_answer
from support.publishing.publisher import Publisher
from support.sidecar.fronts import Fronts
from support.suite.shared import SHARED, shared

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Ip = ipaddress.IPv4Address | ipaddress.IPv6Address

POLICY = """\
version: 1
applications:
  shop: {}
  vhost-app: {}
  canary: {}
entries:
  - {id: seen, list: deny, networks: [203.0.113.7]}
"""
# Envoy appends its own address where its TCP peer is loopback: 192.0.2.2 on the machine of the captures.
RIG: Final = ["127.0.0.0/8", "::1", "192.0.2.2"]
CONFIGURATIONS: Final[dict[str, tuple[list[str], str]]] = {
    "nobody is trusted": ([], "x-forwarded-for"),
    "the proxies of the rig": (RIG, "x-forwarded-for"),
    "the addresses of the clients, too": ([*RIG, "198.51.100.0/24", "203.0.113.0/24"], "x-forwarded-for"),
    "a header of one address": (RIG, "x-envoy-external-address"),
    "another header of one address": (RIG, "x-real-ip"),
}
CAPTURES: Final = sorted(path.stem for path in (SHARED / "captures").glob("*.pb"))


class Seen(NamedTuple):
    """What counts of a capture, read from its text. peer: None for a unix socket. lines: of every header."""

    peer: str | None
    lines: list[tuple[str, str]]
    context: dict[str, str]


def unescaped(text: str) -> str:
    return text.encode("latin-1", "backslashreplace").decode("unicode_escape")


def seen_in(text: str) -> Seen:
    """Read a textproto by its lines."""
    string = r'"((?:[^"\\]|\\.)*)"'
    block = r"^  source \{\n    address \{\n      (socket_address|pipe) \{\n(.*?)      \}\n"
    source = re.search(block, text, re.MULTILINE | re.DOTALL)
    assert source is not None
    address = re.search(r"address: " + string, source[2])
    assert (address is None) == (source[1] == "pipe")
    headers = re.findall(rf"headers \{{\s+key: {string}\s+(?:raw_)?value: {string}", text)
    context = re.findall(rf"context_extensions \{{\s+key: {string}\s+value: {string}", text)
    return Seen(
        address[1] if address else None, [(unescaped(key), unescaped(value)) for key, value in headers], dict(context)
    )


# The rules of section 5, as plainly as they can be written.


def parsed(text: str) -> Ip | None:
    """Return an address of rule 6 without port and brackets, unmapped (rule 7)."""
    if "%" in text:
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def element(text: str) -> Ip | None:
    """Return the address of an element of x-forwarded-for (rule 6)."""
    for form in (r"(\d+\.\d+\.\d+\.\d+):\d{1,5}", r"\[([0-9A-Fa-f:.]+)\](?::\d{1,5})?"):
        if match := re.fullmatch(form, text, re.ASCII):
            return parsed(match[1])
    return parsed(text)


def trusted(address: Ip, proxies: Sequence[str]) -> bool:
    return any(address in ipaddress.ip_network(proxy) for proxy in proxies)


def expected(seen: Seen, proxies: Sequence[str], header: str) -> tuple[str | None, str | None]:
    """Return the client, or None and the reason why there is none."""
    if seen.peer is None:
        return None, "peer_untrusted_transport"  # rule 9
    peer = parsed(seen.peer)
    assert peer is not None
    if not trusted(peer, proxies):
        return str(peer), None  # rule 2
    lines = [value for key, value in seen.lines if key == header]
    if header != "x-forwarded-for":  # rule 10
        if not lines:
            return None, "forwarded_missing"
        single = parsed(lines[0].strip(" \t")) if len(lines) == 1 else None
        return (str(single), None) if single else (None, "client_unresolved")
    walked: list[Ip] = []
    for number, text in enumerate(reversed(",".join(lines).split(","))):  # rule 3
        if number == 32:
            return None, "client_unresolved"  # rule 5
        if text.strip(" \t"):
            address = element(text.strip(" \t"))
            if address is None:
                return None, "client_unresolved"  # rule 4
            walked.append(address)
            if not trusted(address, proxies):
                break
    return (str(walked[-1]), None) if walked else (None, "forwarded_missing")  # rule 8


@pytest.fixture(scope="module")
def all_fronts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Fronts]:
    made = {}
    for name, (proxies, header) in CONFIGURATIONS.items():
        config = f"client_address: {{trusted_proxies: {proxies}, header: {header}}}\n".replace("'", '"')
        made[name] = Fronts(Publisher(tmp_path_factory.mktemp("captures")), config, POLICY)
    return made


@pytest.fixture(scope="module")
def folder() -> Path:
    return shared("captures")


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_every_capture_is_answered_for_the_client_that_the_rules_name(
    all_fronts: dict[str, Fronts], folder: Path, configuration: str
) -> None:
    fronts, (proxies, header) = all_fronts[configuration], CONFIGURATIONS[configuration]
    assert len(CAPTURES) > 300
    for name in CAPTURES:
        answer = read_answer(fronts.check((folder / f"{name}.pb").read_bytes()))
        client, problem = expected(seen_in((folder / f"{name}.txt").read_text()), proxies, header)

        assert answer.metadata["client"] == client, name
        if problem is not None:
            assert (answer.kind, answer.metadata["reason"]) == ("denied", problem), name
        elif client == "203.0.113.7":
            assert answer.metadata["reason"] == "denylisted", name
        else:
            assert (answer.kind, answer.metadata["reason"]) == ("ok", "default_allow"), name
        if answer.kind == "ok":
            assert answer.headers["x-authz-client-address"] == client, name
            assert set(answer.headers) == {"x-authz-client-address", "x-authz-list", "x-authz-application"}, name


def test_the_configurations_tell_the_captures_apart(folder: Path) -> None:
    """Else the test above could not fail: each kind of answer is wanted by one capture or more."""
    wanted = {
        name: {expected(seen_in((folder / f"{capture}.txt").read_text()), *settings) for capture in CAPTURES}
        for name, settings in CONFIGURATIONS.items()
    }
    nobody = {(client, None) for client in ("127.0.0.1", "::1", "203.0.113.50", "10.1.2.3", "2001:db8::50")}

    assert wanted["nobody is trusted"] == nobody
    assert wanted["the proxies of the rig"] > {(None, "client_unresolved"), (None, "forwarded_missing")}
    assert len(wanted["the proxies of the rig"]) > 10
    assert wanted["the addresses of the clients, too"] != wanted["the proxies of the rig"]
    assert (None, "forwarded_missing") in wanted["a header of one address"]


# By hand. The same request went through Envoys that append themselves (b, c1, c2, d1-d3) and that do not (a, c3, c4).

APPENDING: Final = (
    "b_ura", "c1_ura_hops1", "c2_ura_hops2", "d1_oip_hops1", "d2_oip_cidrs", "d3_oip_cidrs_untrusted_peer",
)  # fmt: skip
UNTOUCHED: Final = ("a_defaults", "c3_nohura_hops1", "c4_ura_skipappend")
UNRESOLVED: Final = "client_unresolved"
MISSING: Final = "forwarded_missing"
BY_HAND: Final = [
    # capture              what the client sent as X-Forwarded-For        the client, or the reason why there is none
    ("xff1", "203.0.113.7", "203.0.113.7"),
    ("xff1_6", "203.0.113.7", "203.0.113.7"),  # to [::1]
    ("xff2", "198.51.100.1, 203.0.113.7", "203.0.113.7"),
    ("xff3", "10.9.9.9, 198.51.100.1, 203.0.113.7", "203.0.113.7"),
    ("xff_nospace", "198.51.100.1,203.0.113.7", "203.0.113.7"),
    ("xff_two_lines", "198.51.100.1 | 203.0.113.7", "203.0.113.7"),
    ("xff_tab", "198.51.100.1,\t203.0.113.7", "203.0.113.7"),
    ("xff_garbage_first", "unknown, 203.0.113.7", "203.0.113.7"),  # never read
    ("xff_garbage_last", "203.0.113.7, unknown", UNRESOLVED),  # read first; never "use the peer then"
    ("xff_port", "203.0.113.7:5555", "203.0.113.7"),
    ("xff_v6", "2001:db8::7", "2001:db8::7"),
    ("xff_v6_brackets", "[2001:db8::7]", "2001:db8::7"),
    ("xff_v6_brackets_port", "[2001:db8::7]:5555", "2001:db8::7"),
    ("xff_zone", "fe80::1%eth0", UNRESOLVED),
    ("xff_mapped", "::ffff:203.0.113.7", "203.0.113.7"),
    ("xff_double_comma", "198.51.100.1,,203.0.113.7", "203.0.113.7"),
    ("xff_trailing_empty", "203.0.113.7,", "203.0.113.7"),
    ("xff_long", "198.51.100.0, ... 500 of them, 198.51.100.249", "198.51.100.249"),
    ("xff_decimal", "3405803783", UNRESOLVED),
    ("xff_leading_zero", "0203.0.113.07", UNRESOLVED),
    ("xff_private", "10.1.2.3", "10.1.2.3"),
    ("xff_loopback_last", "203.0.113.7, 127.0.0.1", "203.0.113.7"),
    ("xff_forged_loopback", "127.0.0.1", "127.0.0.1"),  # all are trusted: the leftmost
]
# What differs: an Envoy that appends leaves something to read.
BY_HAND_UNTOUCHED: Final = [(name, MISSING) for name in ("noxff", "noxff_6", "xff_empty", "post", "xeea", "xrealip",
                                                         "forwarded", "forwarded_v6")]  # fmt: skip
BY_HAND_APPENDED: Final = [(name, "192.0.2.2") for name, _ in BY_HAND_UNTOUCHED]
BY_HAND_OTHERS: Final = [
    ("e1_proxy_defaults__v1_tcp4_xff2", "203.0.113.50"),  # the peer of the PROXY protocol is not trusted
    ("e1_proxy_defaults__v2_tcp6", "2001:db8::50"),
    ("e1_proxy_defaults__v1_tcp6_mapped", "203.0.113.50"),
    ("e1_proxy_defaults__v1_unknown", MISSING),  # the peer is 127.0.0.1
    ("e2_proxy_ura__v2_tcp6_mapped", "203.0.113.50"),
    ("j_uds__noxff", MISSING),  # over our unix socket; Envoy's own peer is 127.0.0.1
    ("k_raw__xff_two_lines", "203.0.113.7"),
    ("n_hdrmut__v6_6", "192.0.2.2"),
    ("q_mapped_True__v4", MISSING),  # the peer is ::ffff:127.0.0.1
    ("w_weird__xff_50k", "203.0.113.7"),
    ("w_weird__xff_90lines", "203.0.113.7"),
    ("w_weird__xff_latin1", UNRESOLVED),
    ("w_weird__underscore", MISSING),  # x_forwarded_for is another header
    ("w_weird__obsfold", "203.0.113.7"),
    ("w_weird_raw__xff_110lines", "1.1.1.1"),
    ("w_weird_raw__xff_latin1", UNRESOLVED),
    ("w_weird_ura__xff_50k", "203.0.113.7"),
    ("w_weird_ura__xff_latin1", UNRESOLVED),
    ("connect", MISSING),
]
TABLE: Final = {
    **{f"{variant}__{name}": outcome for variant in (*UNTOUCHED, *APPENDING) for name, _, outcome in BY_HAND},
    **{f"{variant}__{name}": outcome for variant in UNTOUCHED for name, outcome in BY_HAND_UNTOUCHED},
    **{f"{variant}__{name}": outcome for variant in APPENDING for name, outcome in BY_HAND_APPENDED},
    **dict(BY_HAND_OTHERS),
}


def resolved(fronts: Fronts, folder: Path, name: str) -> str:
    """Return the client of a capture, or the reason why there is none."""
    metadata = read_answer(fronts.check((folder / f"{name}.pb").read_bytes())).metadata
    return str(metadata["reason"] if metadata["client"] is None else metadata["client"])


def test_the_table_by_hand_has_the_requests_that_were_sent(folder: Path) -> None:
    for name, sent, _ in BY_HAND:
        lines = [value for key, value in seen_in((folder / f"a_defaults__{name}.txt").read_text()).lines
                 if key == "x-forwarded-for"]  # fmt: skip
        if "..." not in sent:
            assert lines == [sent.replace(" | ", ",")], name


@pytest.mark.parametrize("variant", [*UNTOUCHED, *APPENDING, "others"])
def test_the_client_is_the_one_of_the_table_whether_envoy_appended_itself_or_not(
    all_fronts: dict[str, Fronts], folder: Path, variant: str
) -> None:
    fronts = all_fronts["the proxies of the rig"]
    others = dict(BY_HAND_OTHERS)
    table = others if variant == "others" else {n: o for n, o in TABLE.items() if n.startswith(variant + "__")}

    assert len(table) == (len(others) if variant == "others" else len(BY_HAND) + len(BY_HAND_UNTOUCHED))
    assert {name: resolved(fronts, folder, name) for name in table} == table


def test_where_nobody_is_trusted_no_header_changes_who_the_client_is(
    all_fronts: dict[str, Fronts], folder: Path
) -> None:
    peers = {"xff1_6": "::1", "noxff_6": "::1"}
    for name in TABLE:
        variant, _, what = name.partition("__")
        if variant in (*UNTOUCHED, *APPENDING):
            client = resolved(all_fronts["nobody is trusted"], folder, name)
            assert client == peers.get(what, "127.0.0.1"), name


def test_more_elements_than_are_walked_make_the_client_unresolved(all_fronts: dict[str, Fronts], folder: Path) -> None:
    fronts = all_fronts["the addresses of the clients, too"]

    assert resolved(fronts, folder, "a_defaults__xff_long") == UNRESOLVED
    assert resolved(fronts, folder, "a_defaults__xff2") == "198.51.100.1"
    assert resolved(fronts, folder, "a_defaults__xff_garbage_first") == UNRESOLVED  # now the walk reaches it


@pytest.mark.parametrize(
    ("name", "application"),
    [
        ("f_ctx__route_shop", "shop"),
        ("f_ctx__vhost_default", "vhost-app"),
        ("f_ctx__route_empty_settings", "vhost-app"),
        ("f_ctx_rc__route_shop", "shop"),
        ("f_ctx_rc__fallback", "*"),  # rc-app, which the policy does not know
        ("f_weighted__x", "canary"),
        ("final_shop", "shop"),
        ("i_meta__x", "*"),  # names an application in its metadata, which nobody asked about
        ("a_defaults__xff2", "*"),
    ],
)
def test_the_application_of_a_capture_is_that_of_its_context(
    all_fronts: dict[str, Fronts], folder: Path, name: str, application: str
) -> None:
    answer = read_answer(all_fronts["nobody is trusted"].check((folder / f"{name}.pb").read_bytes()))

    assert answer.headers["x-authz-application"] == application


def test_a_forged_header_of_ours_is_removed_and_a_configured_one_is_believed(
    tmp_path_factory: pytest.TempPathFactory, folder: Path
) -> None:
    """Envoy was told to overwrite x-authz-client-ip, which the client had sent as 6.6.6.6."""
    config = f"client_address: {{trusted_proxies: {RIG}, header: x-authz-client-ip}}\n".replace("'", '"')
    fronts = Fronts(Publisher(tmp_path_factory.mktemp("captures")), config, policy="version: 1\n")
    answer = read_answer(fronts.check((folder / "n_hdrmut__xff1_forged.pb").read_bytes()))

    assert answer.headers["x-authz-client-address"] == "203.0.113.7"
    assert "x-authz-client-ip" in answer.removed
