"""`authz explain`: which line of which feed, the same from the running sidecar, and a page that never crashes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.processes import Sidecar, free_port
from support.publishing.publisher import Publisher
from support.sidecar.fronts import NOW, TRUSTING, Fronts
from support.suite.commands import Commands
from support.suite.effort import tries

from authz.serve.admin.pages import Admin
from authz.serve.http1.messages import RequestHead

if TYPE_CHECKING:
    from pathlib import Path

POLICY = """\
version: 1
applications:
  shop: {hosts: [shop.example.com]}
  strict: {match: path}
  soft: {mode: safe_blocking, precedence: most_specific, dry_run: true}
entries:
  - {id: office, list: allow, networks: [192.0.2.0/24, "2001:db8:1::/48"], reason: our office, author: ops@example.com}
  - {id: bad, list: deny, networks: [203.0.113.0/24], expires: 2026-12-24T00:00:00Z}
  - {id: listed, list: deny, sources: [malicious, tor], networks: [203.0.113.66]}
  - {id: odd, list: gray, sources: [tor], applications: [soft]}
  - {id: ten, list: allow, networks: [10.0.0.9]}
feeds:
  - {source: malicious, path: feeds/drop.netset}
  - {source: malicious, path: feeds/ipsum.txt, min_count: 3}
  - {source: tor, path: feeds/tor.csv}
  - {source: aws, path: feeds/aws.json}
"""
MADE = 1_790_000_000  # seconds since 1970; before all times that are asked about
FEEDS = {
    "drop.netset": "; a list\n\n198.51.100.0/24 ; SBL1\n198.51.100.128/25 ; SBL2\n2001:db8:bad::/48 ; SBL3\n",
    "ipsum.txt": "# counts\n198.51.100.7\t1\n198.51.100.200\t5\n198.51.100.200\t9\n",
    "tor.csv": "fingerprint,ipaddr,port\nAA,198.51.100.9,443\nBB,198.51.100.200,443\n",
    "aws.json": '{"syncToken": "1", "prefixes": [{"ip_prefix": "198.51.100.0/25", "region": "a", "service": "EC2"}]}',
}
CONFIG = """\
snapshot: {path: lists.snapshot, trusted_keys: [keys/a.pub]}
application: {unknown: default}
grpc: {listen: "127.0.0.1:0"}
http: {listen: "off"}
client_address: {trusted_proxies: [127.0.0.0/8, "::1", 10.0.0.0/8], trust_unix: true}
attack_signal: {header: x-waf}
decision_log: {path: "off"}
drain: 0s
"""


def make_folder(path: Path) -> Publisher:
    publisher = Publisher(path)
    (path / "feeds").mkdir()
    for name, content in FEEDS.items():
        (path / "feeds" / name).write_text(content)
    publisher.publish(POLICY, created=MADE)
    (path / "authz.yaml").write_text(CONFIG)
    return publisher


@pytest.fixture
def authz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    make_folder(tmp_path)
    return Commands(tmp_path, monkeypatch)


def explained(authz: Commands, *question: str) -> Any:
    return authz("explain", *question, "--config", "authz.yaml", "--json").json()


# Where a network came from.


def origins(authz: Commands, address: str, *more: str) -> dict[str, list[tuple[str, int, str]]]:
    """Return feed, line and network by entry."""
    return {
        match["entry"]: [(origin["feed"], origin["line"], origin["network"]) for origin in match["origins"]]
        for match in explained(authz, address, "--policy", "policy.yaml", *more)["covering"]
    }


def test_the_policy_says_which_line_of_which_feed_has_the_longest_prefix(authz: Commands) -> None:
    drop, ipsum, tor = "feeds/drop.netset", "feeds/ipsum.txt", "feeds/tor.csv"
    listed = [(drop, 4, "198.51.100.128/25"), (ipsum, 3, "198.51.100.200/32"), (tor, 3, "198.51.100.200/32")]
    assert origins(authz, "198.51.100.200") == {"listed": listed, "odd": listed[2:]}
    assert origins(authz, "198.51.100.129") == {"listed": [(drop, 4, "198.51.100.128/25")]}
    # Line 2 of ipsum.txt has it too, but not often enough.
    assert origins(authz, "198.51.100.7") == {"listed": [(drop, 3, "198.51.100.0/24")]}
    assert origins(authz, "2001:db8:bad::1") == {"listed": [(drop, 5, "2001:db8:bad::/48")]}


def test_what_stands_in_the_policy_itself_comes_from_no_feed(authz: Commands) -> None:
    assert origins(authz, "192.0.2.1") == {"office": []}
    assert origins(authz, "203.0.113.66", "--at", "2026-12-01T00:00:00Z") == {"listed": [], "bad": []}


def test_the_feed_and_the_line_are_shown_to_a_person(authz: Commands) -> None:
    shown = authz.real("explain", "198.51.100.9", "--config", "authz.yaml", "--policy", "policy.yaml")
    lines = [line.strip() for line in shown.out.splitlines()]
    assert (shown.status, shown.err) == (0, "")
    assert "names source malicious, source tor" in lines
    assert "feeds/drop.netset:3: 198.51.100.0/24" in lines
    assert "feeds/tor.csv:2: 198.51.100.9/32" in lines


def test_without_the_policy_no_origin_is_claimed(authz: Commands) -> None:
    assert all("origins" not in match for match in explained(authz, "198.51.100.9")["covering"])


def test_a_policy_or_feed_that_cannot_be_read_is_a_mistake(authz: Commands, tmp_path: Path) -> None:
    question = ("explain", "198.51.100.9", "--config", "authz.yaml", "--policy")
    ran = authz(*question, "none.yaml")
    assert (ran.status, ran.out) == (2, "")
    assert ran.err == "authz: error: none.yaml: cannot be read: No such file or directory"
    (tmp_path / "feeds" / "tor.csv").unlink()
    ran = authz(*question, "policy.yaml")
    assert (ran.status, ran.out) == (2, "")
    assert ran.err == "authz: error: feeds/tor.csv: cannot be read: No such file or directory"


# The forwarding chain.


def test_path_shows_the_deny_entries_of_the_other_addresses_of_the_chain(authz: Commands) -> None:
    chain = ("--peer", "10.0.0.9", "--header", "X-Forwarded-For: 198.51.100.9, 203.0.113.66, 192.0.2.1, 10.0.0.1")
    at = ("--at", "2026-12-01T00:00:00Z")
    told = explained(authz, "192.0.2.1", *chain, "--application", "strict", "--policy", "policy.yaml", *at)
    assert told["decision"]["client"] == "192.0.2.1"
    assert [(match["entry"], match["network"], match["verdict"]) for match in told["covering"]] == [
        ("office", "192.0.2.0/24", "decides"),
        ("listed", "203.0.113.66/32", "loses by precedence allow_first"),
        ("bad", "203.0.113.0/24", "loses by precedence allow_first"),
        ("listed", "198.51.100.9/32", "loses by precedence allow_first"),
    ]
    by_network = {match["network"]: [origin["line"] for origin in match["origins"]] for match in told["covering"]}
    assert by_network["198.51.100.9/32"] == [3, 2]
    assert by_network["203.0.113.66/32"] == []
    # By client alone, the claims of the chain are not looked at.
    told = explained(authz, "192.0.2.1", *chain, "--application", "shop", *at)
    assert [match["entry"] for match in told["covering"]] == ["office"]


def test_path_denies_a_client_for_another_address_of_its_chain(authz: Commands) -> None:
    chain = ("--peer", "10.0.0.9", "--header", "X-Forwarded-For: 198.51.100.9, 198.18.0.1", "--application", "strict")
    told = explained(authz, "198.18.0.1", *chain)
    assert (told["decision"]["decision"], told["decision"]["entry"]) == ("deny", "listed")
    assert [(match["entry"], match["verdict"]) for match in told["covering"]] == [("listed", "decides")]


def test_each_verdict_is_told(authz: Commands) -> None:
    told = explained(authz, "198.51.100.9", "--application", "soft", "--header", "X-Waf: 1")
    assert {match["entry"]: match["verdict"] for match in told["covering"]} == {
        "listed": "decides",
        "odd": "loses by precedence most_specific",
    }
    assert (told["decision"]["decision"], told["decision"]["enforced"]) == ("allow", False)
    told = explained(authz, "203.0.113.66", "--at", "2026-12-24T00:00:00Z", "--application", "shop")
    assert {match["entry"]: match["verdict"] for match in told["covering"]}["bad"] == "dropped: out of its window"
    told = explained(authz, "198.51.100.9", "--application", "shop")
    assert {match["entry"]: match["verdict"] for match in told["covering"]}[
        "odd"
    ] == "dropped: not for this application"


# The running sidecar.

QUESTIONS = [
    ("192.0.2.1",),
    ("2001:DB8:1::1", "--application", "shop"),
    ("198.51.100.200", "--application", "soft", "--at", "2026-12-01T01:00:00+01:00"),
    ("203.0.113.66", "--application", "unheard-of", "--at", "2026-12-24T00:00:00Z"),
    ("198.51.100.9", "--peer", "10.0.0.1"),
    ("198.51.100.9", "--peer", "unix:"),
    ("198.51.100.9", "--peer", "203.0.113.1"),
    ("198.51.100.9", "--peer", "no address & more=1"),
    (
        "192.0.2.1",
        "--peer",
        "10.0.0.9",
        "--header",
        "X-Forwarded-For: 198.51.100.9, 192.0.2.1",
        "--application",
        "strict",
    ),
    ("192.0.2.1", "--peer", "10.0.0.9", "--header", "x-forwarded-for: unknown", "--header", "Host: shop.example.com"),
    ("192.0.2.1", "--header", "Host: shop.example.com", "--header", "X-WAF: sql&injection=+%20\u00fc"),
    ("198.51.100.9", "--application", "soft", "--policy", "policy.yaml"),
]


@pytest.mark.parametrize("over", ["tcp", "unix"])
def test_the_running_sidecar_explains_as_the_file_does(authz: Commands, over: str) -> None:
    listen = "unix:admin.sock" if over == "unix" else f"127.0.0.1:{free_port()}"
    config = f'{CONFIG}admin: {{listen: "{listen}"}}\n'
    with Sidecar(authz.folder, config):
        for question in QUESTIONS:
            live, file = explained(authz, *question, "--live"), explained(authz, *question)
            assert live.pop("time") == file.pop("time") or "--at" not in question
            assert live == file, question
        wrong = authz("explain", "192.0.2.1", "--config", "authz.yaml", "--live", "--at", "tomorrow")
        assert (wrong.status, wrong.out) == (2, "")
        assert wrong.err.startswith("authz: error: ")
        assert "a time such as 2026-12-01T00:00:00Z" in wrong.err
        text = authz("explain", "198.51.100.9", "--config", "authz.yaml", "--live").out
        assert "denylisted" in text


def test_a_sidecar_that_does_not_run_is_told(authz: Commands) -> None:
    for listen in (f"127.0.0.1:{free_port()}", "unix:none.sock"):
        (authz.folder / "authz.yaml").write_text(f'{CONFIG}admin: {{listen: "{listen}"}}\n')
        ran = authz("explain", "192.0.2.1", "--config", "authz.yaml", "--live")
        assert (ran.status, ran.out) == (2, "")
        error, hint = ran.err.splitlines()
        assert error.startswith("authz: error: admin.listen: ")
        assert hint == "hint: is the sidecar running, with this configuration?"


def test_live_and_a_file_exclude_each_other(authz: Commands) -> None:
    ran = authz("explain", "192.0.2.1", "--config", "authz.yaml", "--live", "--snapshot", "lists.snapshot")
    assert (ran.status, ran.err) == (2, "authz: error: found --live and --snapshot, expected one of them")


# The admin page.


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory) -> Admin:
    folder = tmp_path_factory.mktemp("admin")
    make_folder(folder)
    fronts = Fronts(Publisher(folder / "own"), TRUSTING + "attack_signal: {header: x-waf}\n", policy=POLICY_ALONE)
    unused: Any = None  # what the other pages show
    return Admin(fronts.config, unused, fronts.decider, fronts.metrics, lambda: NOW)


POLICY_ALONE = "\n".join(line for line in POLICY.partition("feeds:")[0].splitlines() if "sources" not in line)


def page(admin: Admin, query: bytes) -> tuple[int, Any]:
    """Return status and content of /explain."""
    answer = admin.handle(RequestHead(b"GET", b"/explain?" + query, {}, None))
    version, status, _ = answer.head.split(b"\r\n")[0].split(b" ", 2)
    assert version == b"HTTP/1.1"
    assert b"Content-Type: application/json\r\n" in answer.head
    assert f"Content-Length: {len(answer.body)}\r\n".encode() in answer.head
    return int(status), json.loads(answer.body)


def test_the_page_explains(admin: Admin) -> None:
    status, content = page(admin, b"address=192.0.2.1&application=shop")
    assert (status, content["decision"]["reason"], content["time"]) == (200, "allowlisted", "2027-01-15T08:00:00Z")


A_TIME = "expected a time such as 2026-12-01T00:00:00Z"
GENERAL = "expected address=ADDRESS, and times such as 2026-12-01T00:00:00Z"


@pytest.mark.parametrize(
    ("query", "error"),
    [
        (b"", GENERAL),
        (b"application=shop", GENERAL),
        (b"address", GENERAL),
        (b"address=", GENERAL),
        (b"address=192.0.2.1&at=now", f"found 'now', {A_TIME}"),
        (b"address=192.0.2.1&at=2026-12-01", f"found '2026-12-01', {A_TIME}"),
        (b"address=192.0.2.1&at=0001-01-01T00:00:00%2B01:00", f"found '0001-01-01T00:00:00+01:00', {A_TIME}"),
        (b"address=192.0.2.1&&", GENERAL),
        (b"address=192.0.2.1&peer", GENERAL),
        (b"address=\xff", GENERAL),
        (b"address=192.0.2.1" + b"&header=a:b" * 64, GENERAL),
        (b"address=192.0.2.0/24", "found '192.0.2.0/24', expected an IPv4 or IPv6 address"),
        (b"address=fe80::1%25eth0", "found 'fe80::1%eth0', expected no zone, such as fe80::1"),
        (b"address=%00", "found '\\x00', expected an IPv4 or IPv6 address"),
        (b"address=%ED%A0%80", "found '\\ufffd\\ufffd\\ufffd', expected an IPv4 or IPv6 address"),
    ],
)
def test_a_bad_query_is_told_by_a_400(admin: Admin, query: bytes, error: str) -> None:
    assert page(admin, query) == (400, {"error": error})


def test_only_get_and_head_are_answered(admin: Admin) -> None:
    assert admin.handle(RequestHead(b"POST", b"/explain?address=192.0.2.1", {}, None)).head.startswith(b"HTTP/1.1 405 ")


@settings(max_examples=tries(300))
@given(st.binary(max_size=100))
@example(b"address=192.0.2.1;at=1")
@example(b"address=192.0.2.1&peer=%")
def test_whatever_bytes_are_asked_the_answer_is_200_or_400(admin: Admin, query: bytes) -> None:
    assert page(admin, query)[0] in {200, 400}


ADDRESSES = ["192.0.2.1", "203.0.113.66", "2001:db8:1::1", "::ffff:10.0.0.9", "10.0.0.1", "unix:", "nobody", ""]
some_text = st.one_of(st.sampled_from(ADDRESSES), st.text(max_size=20))


@settings(max_examples=tries(300))
@given(
    st.sampled_from(ADDRESSES[:5]),
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from(["peer", "application", "at", "more"]), some_text),
            st.tuples(st.just("application"), st.sampled_from(["shop", "strict", "soft", "*"])),
            st.tuples(st.just("at"), st.datetimes().map(lambda moment: f"{moment.isoformat()}Z")),
            st.tuples(st.just("header"), st.builds("X-Forwarded-For: {}, {}".format, some_text, some_text)),
            st.tuples(st.just("header"), st.builds("{}:{}".format, some_text, some_text)),
        ),
        max_size=6,
    ),
)
def test_whatever_is_asked_about_an_address_the_steps_belong_together(
    admin: Admin, address: str, more: list[tuple[str, str]]
) -> None:
    query = urlencode([("address", address), *more], errors="surrogatepass").encode()
    status, content = page(admin, query)
    assert status in {200, 400}
    if status == 400:
        assert content["error"]
        return
    decides = [match["entry"] for match in content["covering"] if match["verdict"].partition(";")[0] == "decides"]
    assert set(decides) == {content["decision"]["entry"]} - {None}
    assert content["application"]["name"] == content["decision"]["application"]
    assert content["walk"]
    if content["decision"]["client"] is None:
        assert content["covering"] == []
