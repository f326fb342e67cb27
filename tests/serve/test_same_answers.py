"""The same request gets the same decision from the gRPC front, the HTTP front and `authz replay`.

A few thousand requests, made at random from a fixed seed out of what clients and proxies write and what attackers
would, are asked under several configurations of one policy, which has applications of every mode and precedence.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest
from support.proxies.envoy_api import check_request, read_answer
from support.publishing.publisher import Publisher
from support.sidecar.fronts import NOW, Fronts, HttpAnswer, HttpServer
from support.suite.effort import tries

from authz.serve.http1.listener import HttpConnections, HttpLimits

if TYPE_CHECKING:
    from authz.engine.decision.outcome import Decided as EngineDecided

MODES: Final = ("off", "monitoring", "safe_blocking", "block")
PRECEDENCES: Final = ("allow_first", "deny_first", "most_specific")
REQUESTS: Final = tries(900)  # for each configuration
SERIAL: Final = 3


def moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def make_policy(generator: random.Random) -> str:
    """Return a policy with an application for every mode and precedence, and entries that overlap a lot."""
    lines = ["version: 1", "applications:", '  "*": {deny: {status: 410}}']
    for mode in MODES:
        for precedence in PRECEDENCES:
            settings = {
                "mode": f'"{mode}"',
                "precedence": precedence,
                "default": generator.choice(("allow", "deny")),
                "match": generator.choice(("client", "client", "path")),
                "dry_run": generator.choice(("true", "false", "false", "false")),
                "denylist_in_monitoring": generator.choice(("true", "false")),
                "hosts": f"[{mode.replace('_', '-')}.{precedence.replace('_', '-')}.example]",
                "deny": f"{{status: {generator.randrange(400, 500)}, body: no}}",
            }
            lines.append(f"  {mode}.{precedence}: {{{', '.join(f'{key}: {text}' for key, text in settings.items())}}}")
    lines.append("entries:")
    for number in range(120):
        parts = [f"id: entry-{number}", f"networks: [{make_network(generator)}, {make_network(generator)}]"]
        if generator.random() < 0.2:
            parts.append(f"except: [{make_network(generator, least=28)}]")
        if generator.random() < 0.4:
            names = [f"{generator.choice(MODES)}.{generator.choice(PRECEDENCES)}" for _ in range(4)]
            parts.append(f"applications: [{', '.join(sorted(set(names)))}]")
        if generator.random() < 0.4:
            starts = NOW + generator.randrange(-900, 900)
            parts.append(f"starts: {moment(starts)}")
            if generator.random() < 0.6:
                parts.append(f"expires: {moment(starts + generator.randrange(300, 900))}")
        on = generator.choice(("allow", "deny", "deny", "gray", "gray", "gray"))
        if on == "deny" and generator.random() < 0.25:
            parts.append("action: warn")
        lines.append(f"  - {{list: {on}, {', '.join(parts)}}}")
    return "\n".join(lines) + "\n"


def make_network(generator: random.Random, least: int = 27) -> str:
    """Return a network of the few addresses that the requests are from."""
    length = generator.randrange(least, 33)
    host = generator.randrange(256) >> (32 - length) << (32 - length)
    return generator.choice((f"198.18.0.{host}/{length}", f'"2001:db8::{host:x}/{length + 96}"'))


POLICY: Final = make_policy(random.Random(1))
SNAPSHOT: Final = "snapshot: {path: lists.snapshot, trusted_keys: [keys/a.pub]}\n"
STALE: Final = (
    "snapshot: {path: lists.snapshot, trusted_keys: [keys/a.pub], max_age: 10m, when_stale: %s}\n"  # from NOW on
)
PROXIES: Final = 'trusted_proxies: [127.0.0.1, 10.0.0.0/8, "2001:db8:ffff::/48"]'
SIGNAL: Final = "attack_signal: {header: x-waf}\n"


class Case(NamedTuple):
    """A configuration. header: the one that says who the client is. elements: what its elements may be."""

    config: str
    header: str = "x-forwarded-for"


CASES: Final = {
    "chain": Case(SNAPSHOT + SIGNAL + f"client_address: {{{PROXIES}}}\n"),
    "unknown denied": Case(
        SNAPSHOT + SIGNAL + f"client_address: {{{PROXIES}, trust_unix: true, missing: peer}}\n"
        "application: {unknown: deny}\n"
    ),
    "nobody trusted": Case(SNAPSHOT + SIGNAL),
    "hops": Case(SNAPSHOT + "client_address: {trusted_hops: 2, missing: peer}\n"),
    "forwarded": Case(SNAPSHOT + SIGNAL + f"client_address: {{{PROXIES}, header: forwarded}}\n", "forwarded"),
    "real ip": Case(SNAPSHOT + f"client_address: {{{PROXIES}, header: X-Real-IP}}\n", "x-real-ip"),
    "application in a header": Case(
        SNAPSHOT + SIGNAL + f"client_address: {{{PROXIES}}}\napplication: {{http: header, header: x-app}}\n"
    ),
    "stale denies": Case(STALE % "deny" + f"client_address: {{{PROXIES}}}\n"),
    "stale allows": Case(STALE % "allow" + f"client_address: {{{PROXIES}}}\n"),
}


class Asked(NamedTuple):
    """One request. peer: None for a unix socket. lines: of the header of the case. raw: Envoy's other form."""

    peer: str | None
    lines: list[str]
    application: str | None
    host: str
    attack: list[str]
    seconds: int
    raw: bool
    method: str


def make_client(generator: random.Random) -> str:
    number = generator.randrange(256)
    most = f"198.18.0.{number}"
    return generator.choice((most, most, f"::ffff:{most}", f"2001:db8::{number:x}", "192.0.2.1",
                             "2001:DB8:0:0::0F", "10.1.2.3", "127.0.0.1", "2001:db8:ffff::1"))  # fmt: skip


GARBAGE: Final = ("", " ", "unknown", "_hidden", "198.18.0.07", "198.18.0", "3323068417", "fe80::1%eth0", "::1]",
                  "[::1", "198.18.0.1:99999", "198.18.0.1:", "1.1.1.1 1.1.1.1", "198.18.0.1/32", "\xe9", "\xff\xfe",
                  "unix:", "a" * 300, "::ffff:198.18.0.256", '"198.18.0.1"', "\t")  # fmt: skip


def make_element(generator: random.Random, header: str) -> str:
    if generator.random() < 0.12:
        return generator.choice(GARBAGE)
    client = make_client(generator)
    bare = f"[{client}]" if ":" in client else client
    if header == "x-real-ip":
        return client if generator.random() < 0.8 else generator.choice((bare, f" {client}\t", f"{bare}:80"))
    form = generator.choice((client, client, bare, f"{bare}:{generator.randrange(70000)}", f"\t{client} "))
    if header == "x-forwarded-for":
        return form
    form = form.strip() if "[" in form or form.count(":") != 1 else f'"{form.strip()}"'
    return generator.choice((
        f"for={form}", f'FOR="{form}"', f'by=10.0.0.1; for="{form}";proto=https', "for=unknown", "proto=http",
        f"for={form};for={form}", f'for="{form}', f'for={form}"', f'host="a,b";for={client}', f"for={form} ; a=b",
    ))  # fmt: skip


def make_requests(generator: random.Random, case: Case) -> list[Asked]:
    peers = (*["127.0.0.1"] * 3, *["10.0.0.1"] * 2, "::ffff:10.0.0.1", "2001:db8:ffff::1", "198.18.0.9", "2001:db8::9",
             "::ffff:198.18.0.77", None, "not an address", "198.18.0.9:80")  # fmt: skip
    names = [f"{mode}.{precedence}" for mode in MODES for precedence in PRECEDENCES]
    hosts = [name.replace("_", "-") + ".example" for name in names]
    asked = []
    for _ in range(REQUESTS):
        lines = []
        for _ in range(generator.choice((0, 1, 1, 1, 1, 1, 2, 3))):
            count = generator.choice((1, 1, 1, 2, 3, 40)) if case.header != "x-real-ip" else 1
            lines.append(",".join(make_element(generator, case.header) for _ in range(count)))
        application = generator.choice((None, "", "nobody", "sh%6Fp", *names, *names, *names, *names, *names))
        asked.append(
            Asked(
                peer=generator.choice(peers),
                lines=lines,
                application=application,
                host=generator.choice(("", "nobody.example", *(host.upper() + ":8443" for host in hosts), *hosts)),
                attack=[generator.choice(("", "0", "FALSE", "1", "sqli"))] * generator.choice((0, 0, 1, 1, 2)),
                seconds=NOW + generator.randrange(-1000, 1000),
                raw=generator.random() < 0.5,
                method=generator.choice(("GET", "POST", "HEAD", "DELETE")),
            )
        )
    return asked


# The three ways to ask.

Decided = dict[str, Any]


def by_grpc(fronts: Fronts, case: Case, asked: Asked) -> Decided:
    lines = [(case.header, line) for line in asked.lines] + [("x-waf", value) for value in asked.attack]
    context = {} if asked.application is None else {"application": asked.application}
    fronts.now = asked.seconds
    if asked.raw or any(not line.isascii() for line in asked.lines):
        raw = [(key, value.encode("latin-1")) for key, value in lines]
        payload = check_request(asked.peer, raw=raw, host=asked.host, context=context)
    else:  # Envoy joins the lines of a header
        joined: dict[str, str] = {}
        for key, value in lines:
            joined[key] = f"{joined[key]},{value}" if key in joined else value
        payload = check_request(asked.peer, joined, host=asked.host, context=context)
    answer = read_answer(fronts.check(payload))
    return {**answer.metadata, "status": 200 if answer.kind == "ok" else answer.status}


class Kept(list[Decided]):
    """In the place of a recorder: keeps what was decided."""

    def record(self, decided: EngineDecided, peer: str | None, now: float, source: object = None) -> None:
        """Keep a decision."""
        outcome, client, _ = decided
        self.append(outcome.as_dict(client))


class PeerTransport(asyncio.Transport):
    """A connection from a peer of our choice."""

    def __init__(self, peer: str | None) -> None:
        super().__init__({"peername": "" if peer is None else (peer, 1)})
        self.written = b""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Take them; nothing waits here."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep an answer."""
        self.written += bytes(data)


def http_bytes(case: Case, asked: Asked, *, by_header: bool) -> bytes:
    """Return the request as nginx would send it."""
    name = asked.application or ""
    target = f"/v1/auth/{name}" if name and not by_header else "/v1/auth"
    lines = [f"Host: {asked.host}", *(f"{case.header.title()}: {line}" for line in asked.lines)]
    lines += [f"X-WAF: {value}" for value in asked.attack] + ([f"X-App: {name}"] if by_header and name else [])
    return "".join(f"{line}\r\n" for line in (f"{asked.method} {target} HTTP/1.1", *lines, "")).encode("latin-1")


async def by_http(fronts: Fronts, case: Case, requests: list[Asked]) -> list[Decided]:
    """Ask on one connection for each peer, by the real parser."""
    kept = Kept()
    fronts.http._recorder = kept  # all that is asked of it is to record
    connections = HttpConnections(fronts.http.handle, fronts.http.wanted, HttpLimits())
    by_header = fronts.config.application.http == "header"
    open_ones: dict[str | None, tuple[Any, PeerTransport]] = {}
    for asked in requests:
        if asked.peer not in open_ones:
            transport = PeerTransport(asked.peer)
            connection = connections()
            connection.connection_made(transport)
            open_ones[asked.peer] = connection, transport
        connection, transport = open_ones[asked.peer]
        fronts.now = asked.seconds
        connection.data_received(http_bytes(case, asked, by_header=by_header))
        head, separator, rest = transport.written.partition(b"\r\n\r\n")
        transport.written = b""
        assert (separator, rest) == (b"\r\n\r\n", b"")
        compare_headers(HttpAnswer(head, b""), kept[-1])
    return list(kept)


def compare_headers(answer: HttpAnswer, decided: Decided) -> None:
    """Check that the headers of an answer say what was decided."""
    names = ("decision", "reason", "list", "client-address", "status")
    keys = ("decision", "reason", "list", "client", "status")
    said = [answer.header(name) for name in names]
    assert said == [None if decided[key] is None else str(decided[key]) for key in keys]
    expected = {200: 200, 503: 503}.get(decided["status"], 403)
    assert answer.status == expected
    assert (answer.status == 200) == (decided["decision"] == "allow")


def by_replay(fronts: Fronts, case: Case, requests: list[Asked]) -> list[Decided]:
    """Ask the command, once for all requests."""
    lines = []
    for asked in requests:
        headers = [[case.header.title(), line] for line in asked.lines]
        headers += [["Host", asked.host], *(["X-Waf", value] for value in asked.attack)]
        peer = "unix:" if asked.peer is None else asked.peer
        line = {"peer": peer, "headers": headers, "time": moment(asked.seconds), "application": asked.application}
        lines.append(json.dumps(line))
    file = fronts.publisher.folder / "requests.jsonl"
    file.write_text("\n".join(lines) + "\n")
    command = [sys.executable, "-m", "authz", "replay", str(file), "--config", str(fronts.path)]
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    assert done.stderr == b""
    return [json.loads(line) for line in done.stdout.splitlines()]


KEYS: Final = (
    "decision",
    "reason",
    "list",
    "entry",
    "client",
    "application",
    "status",
    "enforced",
    "warnings",
    "serial",
)


def compared(decided: Decided) -> Decided:
    return {key: decided[key] for key in KEYS}


def ask_all(publisher: Publisher, name: str) -> tuple[list[Asked], list[Decided]]:
    """Ask all three, compare, and return what they agree on."""
    case = CASES[name]
    fronts = Fronts(publisher, case.config, POLICY, serial=SERIAL)
    requests = make_requests(random.Random(name), case)
    grpc = [compared(by_grpc(fronts, case, asked)) for asked in requests]
    http = asyncio.run(by_http(fronts, case, requests))
    replayed = by_replay(fronts, case, requests)

    assert len(requests) == len(grpc) == len(http) == len(replayed) == REQUESTS
    for asked, first, second, third in zip(requests, grpc, http, replayed, strict=True):
        assert first == compared(second), asked
        assert first == compared(third), asked
    return requests, grpc


SEEN: Final[dict[str, tuple[list[Asked], list[Decided]]]] = {}  # so that the last test need not ask again


@pytest.mark.parametrize("name", CASES)
def test_grpc_http_and_replay_decide_alike(publisher: Publisher, name: str) -> None:
    SEEN[name] = ask_all(publisher, name)

    # The same again, over a real connection for requests of the peer that a test can be.
    requests, decided = SEEN[name]
    fronts = Fronts(publisher, CASES[name].config, POLICY, serial=SERIAL)
    with HttpServer(fronts) as server, server.client() as client:
        by_header = fronts.config.application.http == "header"
        count = 0
        for asked, expected in zip(requests, decided, strict=True):
            if asked.peer == "127.0.0.1":
                fronts.now = asked.seconds
                client.send(http_bytes(CASES[name], asked, by_header=by_header))
                compare_headers(client.read(asked.method), expected)
                count += 1
    assert count > 50


def test_the_requests_reach_every_reason_mode_and_kind(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Else the test above would say little."""
    for name in CASES:
        if name not in SEEN:
            SEEN[name] = ask_all(Publisher(tmp_path_factory.mktemp("same")), name)
    decided = [decision for _, all_of_case in SEEN.values() for decision in all_of_case]
    reasons = Counter(decision["reason"] for decision in decided)

    assert len(decided) == REQUESTS * len(CASES)
    assert set(reasons) == {
        "allowlisted", "denylisted", "graylisted", "graylisted_attack", "attack", "default_allow", "default_deny",
        "client_unresolved", "forwarded_missing", "peer_untrusted_transport", "unknown_application", "stale_snapshot",
    }  # fmt: skip
    assert min(reasons.values()) >= 5, reasons
    assert len({decision["application"] for decision in decided}) == 1 + len(MODES) * len(PRECEDENCES)
    assert len({decision["entry"] for decision in decided}) > 60
    assert len({decision["client"] for decision in decided}) > 200
    assert sum(not decision["enforced"] for decision in decided) > 50
    assert sum(bool(decision["warnings"]) for decision in decided) > 50
    assert {decision["status"] for decision in decided} > {200, 410, 503}
