"""What is kept of the answer to a request that comes again is that answer, and never one to another request."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

import pytest
from support.proxies.envoy_api import check_request
from support.publishing.publisher import Publisher
from support.sidecar.fronts import NOW, TRUSTING, Fronts
from support.suite.effort import tries

from authz.engine.decision.outcome import MAX_RENDERED
from authz.engine.request.request import Request
from authz.serve.config.config import EventsConfig
from authz.serve.http1.messages import RequestHead
from authz.serve.observe.details import MAX_HOST, MAX_PATH, MAX_SHORT, MAX_WHOLE
from authz.serve.observe.log.lines import LogLines
from authz.serve.observe.recorder import Decision, make_recorder
from authz.serve.observe.senders.events import EventSender
from authz.wire.envoy.v3.check_pb2 import CheckRequest

if TYPE_CHECKING:
    from pathlib import Path

    from authz.engine.decision.outcome import Outcome
    from authz.engine.entries.ruleset import Ruleset
    from authz.engine.settings import Settings
    from authz.serve.observe.recorder import Taken

PAGE: Final = "x" * 60_000
POLICY: Final = f"""\
version: 1
applications:
  plain: {{}}
  personal: {{deny: {{status: 451, body: "not you, {{client}}"}}}}
  page: {{deny: {{body: "{PAGE}"}}}}
  trial: {{dry_run: true}}
entries:
  - {{id: bad, list: deny, networks: [203.0.113.0/24], expires: 2027-01-15T08:20:00Z, reason: x}}
  - {{id: other, list: deny, networks: [203.0.113.128/25], reason: x}}
  - {{id: watched, list: deny, networks: [192.0.2.128/25], action: warn, reason: x}}
"""
CLIENTS: Final = ("203.0.113.9", "203.0.113.10", "203.0.113.200", "192.0.2.1", "192.0.2.200", "2001:db8::1", "nobody")
APPLICATIONS: Final = ("plain", "personal", "page", "trial", "unknown")
TARGETS: Final = ("/v1/auth/{}", "/v1/nginx/{}", "/v1/forward/{}", "/envoy/{}/x")
FORGED: Final = {"x-authz-forged": "1"}


class Kept(list[Decision]):
    """A sink that takes all."""

    def share(self, _: Outcome) -> float:
        """Return 1."""
        return 1.0

    def write(self, taken: Taken) -> None:
        """Keep it."""
        self.append(Decision._make(taken))


def head(target: str, client: str) -> RequestHead:
    return RequestHead(b"GET", target.encode(), {b"x-forwarded-for": [client.encode()]}, "10.0.0.1")


def check(client: str, application: str, **headers: str) -> bytes:
    return check_request("10.0.0.1", {"x-forwarded-for": client} | headers, context={"application": application})


def asked(fronts: Fronts) -> list[object]:
    """Return the answers to each client of each application, by all fronts and forms."""
    answers: list[object] = []
    for application in APPLICATIONS:
        for client in CLIENTS:
            answers += [fronts.http.handle(head(target.format(application), client)) for target in TARGETS]
            answers += [fronts.check(check(client, application, **headers)) for headers in ({}, FORGED)]
    return answers


def test_the_same_request_gets_the_same_answer_however_often_it_comes(tmp_path: Path) -> None:
    fronts = Fronts(Publisher(tmp_path), TRUSTING, POLICY)
    first = asked(fronts)
    for _ in range(3):
        assert asked(fronts) == first
    fronts.now = NOW + 1800.0  # `bad` has ended
    later = asked(fronts)
    assert later != first
    assert [asked(fronts), asked(fronts)] == [later, later]


def test_a_log_line_is_the_same_whether_its_part_was_kept_or_not(tmp_path: Path) -> None:
    fronts, taken = Fronts(Publisher(tmp_path), TRUSTING, POLICY), Kept()
    recorders = [make_recorder(front, fronts.config.application, fronts.metrics, [taken]) for front in ("grpc", "http")]
    requests = [Request("10.0.0.1", [client], name) for client in CLIENTS for name in APPLICATIONS]
    for _ in range(3):
        for request in requests:
            for recorder in (*recorders, *recorders):
                recorder.record(fronts.decider.decide(request, fronts.now), request.peer, fronts.now)
    lines = LogLines()
    kept = [lines.lines([decision]) for decision in taken]
    assert any(decision.rendered and decision.rendered.line for decision in taken)
    assert kept == [LogLines().lines([decision._replace(rendered=None)]) for decision in taken]
    assert lines.lines(taken) == b"".join(kept)


HOSTS: Final = ("plain.example", "Trial.example:8080", "elsewhere.example", "trial.example..")
OTHER_POLICY: Final = """\
version: 1
applications:
  plain: {default: deny, deny: {status: 410, body: "gone, {client}"}, hosts: [trial.example]}
  trial: {mode: block, hosts: [plain.example]}
entries:
  - {id: bad, list: allow, networks: [203.0.113.0/24], expires: 2027-01-15T08:10:00Z, reason: x}
"""
BY_HOST: Final = POLICY.replace("plain: {}", "plain: {hosts: [plain.example], mode: block}").replace(
    "{dry_run: true}", "{dry_run: true, hosts: [trial.example]}"
)
PEERS: Final = (*["10.0.0.1"] * 9, "10.0.0.2", "203.0.113.9", None)


class Logged(Fronts):
    """Fronts whose decisions are kept."""

    def __init__(self, publisher: Publisher, policy: str | None) -> None:
        self.kept = Kept()
        super().__init__(publisher, TRUSTING + "attack_signal: {header: x-waf}\n", policy, serial=1)
        self.check._recorder, self.http._recorder = (
            make_recorder(front, self.config.application, self.metrics, [self.kept]) for front in ("grpc", "http")
        )

    def ask(self, asked: RequestHead | bytes) -> object:
        """Return the answer of the front that a request is for."""
        return self.check(asked) if isinstance(asked, bytes) else self.http.handle(asked)

    def decide_by(self, settings: Settings, ruleset: Ruleset | None) -> None:
        """Forget all, and decide by these."""
        assert ruleset is not None
        self.check._peers.clear()
        self.decider.change(settings)
        self.decider.load(ruleset)


def make_request(generator: random.Random, number: int) -> RequestHead | bytes:
    """Return a request of either front."""
    application, peer = generator.choice(("", "", *APPLICATIONS)), generator.choice(PEERS)
    headers = {
        "host": generator.choice(HOSTS),
        "x-waf": generator.choice(("0", "0", "1")),
        "x-forwarded-for": generator.choice(CLIENTS),
        "x-request-id": str(number),
    }
    if generator.random() < 0.5:
        forged = FORGED if generator.random() < 0.2 else {}
        context = {"application": application}
        return check_request(peer, headers | forged, host=headers["host"], path=f"/{number}", context=context)
    target = generator.choice(TARGETS[: 4 if application else 3]).format(application).rstrip("/")
    lines = {name.encode(): [value.encode()] for name, value in headers.items()}
    return RequestHead(generator.choice((b"GET", b"HEAD")), target.encode(), lines, peer, 400)


def test_a_run_of_requests_gets_what_each_of_them_would_get_alone(tmp_path: Path) -> None:
    """Whatever came before: other clients, peers, applications, hosts, signals, fronts, rulesets, settings, times."""
    publisher, generator = Publisher(tmp_path), random.Random(5)
    fronts, alone = Logged(publisher, BY_HOST), Logged(publisher, OTHER_POLICY)
    trusting = fronts.decider.settings
    settings, ruleset = trusting, fronts.decider.ruleset
    rulesets = [ruleset, alone.decider.ruleset]
    seen = set[object]()
    for number in range(tries(6000)):
        if generator.random() < 0.01:
            hops, unix = generator.choice((0, 1)), generator.random() < 0.5
            settings = trusting._replace(rules=trusting.rules._replace(trusted_hops=hops, trust_unix=unix))
            ruleset = generator.choice(rulesets)
            fronts.decide_by(settings, ruleset)
        alone.decide_by(settings, ruleset)
        fronts.now = alone.now = NOW + generator.choice((0, 0, 0, 599.9, 600, 1199.9, 1200, -60))
        asked = make_request(generator, number)
        answer = fronts.ask(asked)
        assert answer == alone.ask(asked), (number, asked)
        seen.add(answer)
    assert len(seen) > 60
    assert sum(decision.rendered is not None for decision in fronts.kept) > len(fronts.kept) / 10
    assert not any(decision.rendered for decision in alone.kept)
    assert LogLines().lines(fronts.kept * 2) == LogLines().lines(alone.kept * 2)


def test_events_that_wait_keep_no_answers(tmp_path: Path) -> None:
    """Else a banned /64 that asks from 20,000 addresses while the control plane is away would fill 60 MB with them."""
    fronts = Fronts(Publisher(tmp_path), TRUSTING, POLICY)
    sender = EventSender(EventsConfig(url="http://127.0.0.1:1/"))
    fronts.check._recorder = make_recorder("grpc", fronts.config.application, fronts.metrics, [sender])
    assert len({fronts.check(check(CLIENTS[0], "plain")) for _ in range(3)}) == 1
    assert [(event.client.text, event.rendered) for event in sender._waiting] == [(CLIENTS[0], None)] * 3


LONG: Final = b"x" * 60_000


@pytest.mark.parametrize("front", ["grpc", "http"])
def test_what_waits_to_be_written_keeps_no_more_of_a_long_request_than_its_line_shows(
    tmp_path: Path, front: str
) -> None:
    """10,000 decisions may wait for a slow disk, 20,000 for a control plane that is away."""
    fronts, kept = Fronts(Publisher(tmp_path), TRUSTING, POLICY), Kept()
    recorder = make_recorder(front, fronts.config.application, fronts.metrics, [kept], traced=True)
    message = check_request("10.0.0.1", {"x-request-id": LONG.decode()}, host=LONG.decode(), path=LONG.decode())
    attributes = CheckRequest.FromString(message).attributes
    http = attributes.request.http
    names = (b"x-request-id", b"x-original-uri", b"x-original-method", b"host", b"traceparent")
    sources = {
        "grpc": (attributes, http, http.headers, len(message)),
        "http": RequestHead(b"GET", b"/v1/auth/plain", {name: [LONG] for name in names}, "10.0.0.1", 5 * len(LONG)),
    }
    recorder.record((fronts.decider.malformed(), None, None), LONG.decode(), NOW, sources[front])
    (decision,) = kept
    sizes = {name: len(value) for name, value in decision._asdict().items() if isinstance(value, (bytes, str))}
    assert sizes.pop("host") == MAX_HOST
    assert sizes.pop("path") == MAX_PATH
    assert sizes.pop("request_id") == MAX_SHORT
    assert max(sizes.values()) <= MAX_SHORT
    assert len(LogLines().lines(kept)) < MAX_WHOLE
    short = decision._replace(path=b"/" * (MAX_PATH + 1))  # of a request that is kept as it came
    assert LogLines().lines([short]).count(b"/") == MAX_PATH


@pytest.mark.parametrize(("application", "keeps"), [("personal", True), ("page", False)])
def test_no_large_answer_is_kept(tmp_path: Path, application: str, keeps: bool) -> None:
    """2,048 clients of a page of 60 kB would be 120 MB, for each front."""
    fronts = Fronts(Publisher(tmp_path), TRUSTING, POLICY)
    requests = [(check(CLIENTS[0], application), head(f"/v1/forward/{application}", CLIENTS[0]))] * 3
    for by_grpc, by_http in requests:
        fronts.check(by_grpc)
        fronts.http.handle(by_http)
    _, _, rendered = fronts.decider.decide(Request("10.0.0.1", [CLIENTS[0]], application), fronts.now)
    assert rendered is not None
    assert (rendered.check is not None, rendered.http is not None) == (keeps, keeps)
    if keeps:
        assert len(rendered.check or b"") <= MAX_RENDERED
