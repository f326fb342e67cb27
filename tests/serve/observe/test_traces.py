"""Traces: a span for each check of a sampled trace, in the form of OTLP; no other check has one."""

from __future__ import annotations

import gzip
import json
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from support.processes import CONFIG, Sidecar, wait_for
from support.proxies.envoy_api import check_request
from support.servers.receiver import Receiver
from support.sidecar.fronts import Fronts, HttpClient

from authz.addresses import parse_address
from authz.cli.sidecar.proxy_config import render
from authz.serve.config.config import ApplicationConfig, EventsConfig, TracesConfig, load_config
from authz.serve.grpc.check import CHECK_METHOD
from authz.serve.observe.metrics import Metrics
from authz.serve.observe.recorder import Decision, make_recorder
from authz.serve.observe.senders.events import EventSender
from authz.serve.observe.senders.traces import TraceSender
from authz.wire.envoy.v3.check_pb2 import CheckRequest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from support.publishing.publisher import Publisher

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = f"00-{TRACE}-{PARENT}-01"
NOT_SAMPLED = [
    f"00-{TRACE}-{PARENT}-00",
    f"00-{'0' * 32}-{PARENT}-01",
    f"00-{TRACE}-{'0' * 16}-01",
    f"00-{TRACE.upper()}-{PARENT}-01",
    f"01-{TRACE}-{PARENT}-01",
    f"00-{TRACE}-{PARENT}-01-more",
    "garbage",
]


class Collector(Receiver):
    """Takes spans, as a collector of OpenTelemetry does."""

    path = "/v1/traces"
    protocol = "HTTP/1.1"

    def __init__(self) -> None:
        self.spans: list[dict[str, Any]] = []
        self.resources: list[dict[str, Any]] = []
        super().__init__(200, b"{}")

    def take(self, headers: Mapping[str, str], body: bytes) -> None:
        assert (headers["Path"], headers["Content-Type"]) == (self.path, "application/json")
        for resource in json.loads(gzip.decompress(body))["resourceSpans"]:
            self.resources.append(resource["resource"])
            self.spans += [span for scope in resource["scopeSpans"] for span in scope["spans"]]


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.end()


@pytest.fixture
def sidecar(publisher: Publisher, collector: Collector) -> Iterator[Sidecar]:
    publisher.publish()
    with Sidecar(publisher.folder, CONFIG + f"traces: {{url: '{collector.url}', share: 1.0}}\n") as sidecar:
        yield sidecar


def ask_http(sidecar: Sidecar, *traceparents: str, client: str = "203.0.113.9") -> int:
    import socket

    with socket.create_connection(("127.0.0.1", sidecar.ports["http"]), timeout=10) as connection:
        headers = [f"X-Forwarded-For: {client}", *(f"traceparent: {traceparent}" for traceparent in traceparents)]
        return HttpClient(connection).ask("/v1/auth/shop", *headers).status


def attributes(span: dict[str, Any]) -> dict[str, str]:
    return {attribute["key"]: attribute["value"]["stringValue"] for attribute in span["attributes"]}


def test_a_check_of_a_sampled_trace_has_a_span_over_both_fronts(sidecar: Sidecar, collector: Collector) -> None:
    began = time.time()
    assert ask_http(sidecar, SAMPLED) == 403
    with grpc.insecure_channel(f"127.0.0.1:{sidecar.ports['grpc']}") as channel:
        ask = channel.unary_unary(CHECK_METHOD, lambda request: request, lambda answer: answer)
        ask(check_request("203.0.113.9", {"traceparent": SAMPLED}, context={"application": "shop"}), timeout=10)
    wait_for(lambda: len(collector.spans) == 2, "two spans")
    assert {attributes(span)["authz.front"] for span in collector.spans} == {"grpc", "http"}
    assert len({span["spanId"] for span in collector.spans}) == 2
    for span in collector.spans:
        assert (span["traceId"], span["parentSpanId"], len(span["spanId"])) == (TRACE, PARENT, 16)
        assert began * 1e9 - 1e9 <= int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"]) <= time.time() * 1e9
        said = attributes(span)
        assert (said["authz.decision"], said["authz.reason"], said["authz.entry"]) == ("deny", "denylisted", "bad")
        assert (said["client.address"], said["authz.application"]) == ("203.0.113.9", "shop")
    names = {attribute["key"]: attribute["value"]["stringValue"] for attribute in collector.resources[0]["attributes"]}
    assert names["service.name"] == "authz"


def test_a_check_of_another_trace_or_of_a_forged_header_has_none(sidecar: Sidecar, collector: Collector) -> None:
    for header in NOT_SAMPLED:
        assert ask_http(sidecar, header) == 403
    assert ask_http(sidecar, SAMPLED, SAMPLED) == 403, "two headers are none"
    assert ask_http(sidecar) == 403
    assert ask_http(sidecar, SAMPLED, client="192.0.2.1") == 200
    wait_for(lambda: collector.spans, "the one span")
    assert [attributes(span)["client.address"] for span in collector.spans] == ["192.0.2.1"]


def test_envoy_s_printed_configuration_passes_the_header_on_where_traces_are_sent(tmp_path: Path) -> None:
    base = "snapshot: {path: x, trusted_keys: [y]}\n"
    for traces, passed in (("", False), ("traces: {url: 'http://collector:4318/v1/traces'}\n", True)):
        (tmp_path / "authz.yaml").write_text(base + traces)
        printed = render("envoy", load_config(tmp_path / "authz.yaml", {}))
        assert ("{exact: traceparent}" in printed) is passed


def test_spans_events_and_decisions_shown_keep_no_peer_that_is_longer_than_an_address(publisher: Publisher) -> None:
    """Only the decision log cut it: 128 kB for each of 20,000 events, 2,000 spans and 512 decisions that are shown."""
    outcome = Fronts(publisher).decider.malformed()
    spans = TraceSender(TracesConfig(url="http://127.0.0.1:9/v1/traces", share=1.0))
    events = EventSender(EventsConfig(url="http://127.0.0.1:9/v1/events"))
    shown: list[Decision] = []
    source = CheckRequest.FromString(check_request("192.0.2.1", {"traceparent": SAMPLED})).attributes
    recorder = make_recorder("grpc", ApplicationConfig(), Metrics(), [spans, events], traced=True)
    recorder.watch(shown.append)
    http = source.request.http
    decided = outcome, parse_address("192.0.2.1"), None
    recorder.record(decided, "x" * 131072, 1.0, (source, http, http.headers, 131072))
    kept = spans._waiting[0].decision, events._waiting[0], shown[0]
    assert {len(decision.peer or "") for decision in kept} == {len("...") + 45}
