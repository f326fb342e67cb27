"""What an answer tells beside the decision: warnings, dry runs, layers, and the client's address in the body."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.proxies.envoy_api import check_request, read_answer
from support.publishing.publisher import Publisher
from support.sidecar.fronts import TRUSTING, Fronts

from authz.serve.http1.answers import AUTH, FORWARD, FORWARD_DETAILS, answer

if TYPE_CHECKING:
    from pathlib import Path

    from support.proxies.envoy_api import EnvoyAnswer

POLICY = """\
version: 1
applications:
  shop:
    deny: {status: 403, body: "<p>{client} is denied. Say {client} when you ask.</p>", content_type: text/html}
  trial: {dry_run: true}
  quiet: {mode: monitoring, denylist_in_monitoring: false}
entries:
  - {id: bad, list: deny, networks: [203.0.113.0/24, "2001:db8:bad::/48"], reason: x}
  - {id: watched, list: deny, networks: [198.51.100.0/24], action: warn, reason: x}
  - {id: watched2, list: deny, networks: [198.51.100.7], action: warn, reason: x}
"""


@pytest.fixture
def fronts(tmp_path: Path) -> Fronts:
    return Fronts(Publisher(tmp_path), TRUSTING, POLICY)


def by_grpc(fronts: Fronts, client: str, application: str) -> EnvoyAnswer:
    headers = {"x-forwarded-for": client}
    return read_answer(fronts.check(check_request("10.0.0.1", headers, context={"application": application})))


def by_http(fronts: Fronts, client: str, application: str, form: int = FORWARD_DETAILS) -> str:
    from authz.engine.request.request import Request

    outcome, address = fronts.decider.check(Request("10.0.0.1", [client], application), fronts.now)
    head, body = answer((outcome, address, None), form)
    return (head + b"\r\n" + body).decode("ascii")


TOLD = [
    ("shop", "198.51.100.7", {"warnings": "watched2, watched"}),
    ("shop", "198.51.100.8", {"warnings": "watched"}),
    ("quiet", "203.0.113.9", {"warnings": "bad"}),
    ("trial", "203.0.113.9", {"dry-run": "denylisted"}),
    ("trial", "198.51.100.8", {"warnings": "watched"}),
    ("shop", "192.0.2.1", {}),
]


@pytest.mark.parametrize(("application", "client", "told"), TOLD)
def test_an_allowed_answer_tells_of_warnings_and_dry_runs(
    fronts: Fronts, application: str, client: str, told: dict[str, str]
) -> None:
    """And a client that makes up such a header does not reach the application with it."""
    answer = by_grpc(fronts, client, application)
    assert answer.kind == "ok"
    names = ("warnings", "dry-run")
    assert {name: answer.headers[f"x-authz-{name}"] for name in names if f"x-authz-{name}" in answer.headers} == told
    assert {name for name in names if f"x-authz-{name}" in answer.removed} == set(names) - set(told)
    text = by_http(fronts, client, application)
    for name in names:
        line = f"X-Authz-{name.title()}: "
        assert (line in text) is (name in told)
        assert name not in told or f"{line}{told[name]}\r\n" in text


@pytest.mark.parametrize("client", ["203.0.113.9", "203.0.113.10", "2001:db8:bad::1"])
def test_the_address_of_the_client_stands_in_the_body(fronts: Fronts, client: str) -> None:
    body = f"<p>{client} is denied. Say {client} when you ask.</p>"
    assert by_grpc(fronts, client.upper(), "shop").body == body
    for form in (FORWARD, FORWARD_DETAILS):
        text = by_http(fronts, client.upper(), "shop", form)
        assert f"Content-Length: {len(body)}\r\n" in text
        assert text.endswith("\r\n" + body)
    assert "denied" not in by_http(fronts, client, "shop", AUTH)


def test_what_is_no_address_never_stands_in_the_body(fronts: Fronts) -> None:
    for written in ("<script>", "203.0.113.9<b>", "{client}"):
        answer = by_grpc(fronts, written, "shop")
        assert (answer.kind, answer.body) == ("denied", "<p>unknown is denied. Say unknown when you ask.</p>")
        assert by_http(fronts, written, "shop").endswith("\r\n<p>unknown is denied. Say unknown when you ask.</p>")


def test_an_answer_names_layer_and_serial(fronts: Fronts) -> None:
    assert by_grpc(fronts, "203.0.113.9", "shop").metadata["layer"] == "policy"
    assert by_grpc(fronts, "192.0.2.1", "shop").metadata["layer"] is None
    assert "X-Authz-Layer: policy\r\n" in by_http(fronts, "203.0.113.9", "shop")
    assert "X-Authz-Layer" not in by_http(fronts, "192.0.2.1", "shop")
    assert "X-Authz-Serial: 1\r\n" in by_http(fronts, "192.0.2.1", "shop")
