"""triggers.yaml: what can be written, what a kind fills in, and what each mistake is answered with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from authz.control.detect.triggers.file import read_triggers
from authz.control.detect.triggers.path_pattern import canonical_path, parse_path
from authz.errors import BadValue, InvalidDocument

if TYPE_CHECKING:
    from pathlib import Path

DESIGN = """\
triggers:
  - name: login-guessing
    kind: brute_force
    where: {application: shop, path: /login, method: POST, status: [401, 403]}
    count: {over: 30, within: 30s, by: address, v6: /64}
    then: {list: deny, period: 1h, grow: 2, max: 7d, forget: 30d, applications: same}
    breaker: {listings: 200, within: 1m}
    dry_run: true
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "triggers.yaml"
    path.write_text(text)
    return path


def test_the_trigger_of_the_documents_is_read(tmp_path: Path) -> None:
    [trigger] = read_triggers(write(tmp_path, DESIGN)).triggers
    assert (trigger.name, trigger.kind, trigger.dry_run) == ("login-guessing", "brute_force", True)
    assert trigger.where.status == ((401, 401), (403, 403))
    assert (trigger.count.over, trigger.count.within, trigger.count.lengths()) == (30, 30.0, (32, 64))
    assert (trigger.then.period, trigger.then.grow, trigger.then.max) == (3600.0, 2.0, 7 * 86400.0)
    assert (trigger.breaker.listings, trigger.breaker.within) == (200, 60.0)


def test_a_kind_fills_in_what_its_name_promises(tmp_path: Path) -> None:
    text = """\
triggers:
  - {name: a, kind: forced_browsing, count: {over: 20, within: 1m}}
  - {name: b, kind: payloads, count: {over: 3, within: 1h}}
  - {name: c, kind: bola, where: {path: "/orders/{order}"}, count: {over: 50, within: 10m}}
  - {name: d, kind: rate, count: {over: 1000, within: 1m, by: network}, then: {period: forever}}
"""
    browsing, payloads, bola, rate = read_triggers(write(tmp_path, text)).triggers
    assert browsing.where.status == ((404, 404),)
    assert (payloads.where.attack, payloads.count.distinct) == (("any",), "payload")
    assert bola.count.distinct == "param:order"
    assert (rate.count.lengths(), rate.then.period) == ((24, 64), None)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{name: A, kind: rate, count: {over: 1, within: 1m}}",
         "triggers[0].name: found 'A', expected small letters, digits and '-', at most 63, such as login-guessing"),
        ("{name: a, kind: dos, count: {over: 1, within: 1m}}",
         "triggers[0].kind: found 'dos', expected one of brute_force, forced_browsing, bola, payloads, rate, api_"),
        ("{name: a, kind: rate, count: {over: 0, within: 1m}}",
         "triggers[0].count.over: found '0', expected a whole number from 1"),
        ("{name: a, kind: rate, count: {over: 1, within: 25h}}",
         "triggers[0].count.within: found 25h, expected 1s to 24h"),
        ("{name: a, kind: brute_force, count: {over: 1, within: 1m}}",
         "triggers[0].where.path: missing, and brute_force counts requests to given paths"),
        ("{name: a, kind: rate, count: {over: 1, within: 1m}, then: {period: 1m}}",
         "triggers[0].then.period: found 1m, expected 5m or more"),
        ("{name: a, kind: rate, count: {over: 1, within: 1m}, then: {period: 30d}}",
         "triggers[0].then.max: found 7d, expected at least the period, 30d"),
        ("{name: a, kind: bola, where: {path: '/x/{id}'}, count: {over: 1, within: 1m, distinct: 'param:order'}}",
         "triggers[0].count.distinct: found 'param:order', and where.path has no {order}"),
        ("{name: a, kind: rate, where: {path: '/x?y=1'}, count: {over: 1, within: 1m}}",
         "triggers[0].where.path: found '/x?y=1', expected a path such as /login, /api/orders/{id} or /static/**"),
        ("{name: a, kind: rate, where: {status: 4x}, count: {over: 1, within: 1m}}",
         "triggers[0].where.status: found '4x', expected a status such as 404, or 4xx"),
        ("{name: a, kind: rate, count: {over: 1, within: 1m, v4: /24}}",
         "triggers[0].count.v4: found /24 with by: address, expected by: network"),
    ],
)  # fmt: skip
def test_a_mistake_says_what_was_found_and_what_was_expected(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(InvalidDocument) as caught:
        read_triggers(write(tmp_path, f"triggers:\n  - {line}\n"))
    assert f"triggers.yaml:2: {message}" in str(caught.value)


def test_two_triggers_of_one_name_are_refused(tmp_path: Path) -> None:
    line = "  - {name: a, kind: rate, count: {over: 1, within: 1m}}\n"
    with pytest.raises(InvalidDocument, match=r":3: triggers\[1\]\.name: found 'a' twice, expected once"):
        read_triggers(write(tmp_path, "triggers:\n" + line * 2))


@pytest.mark.parametrize(
    ("pattern", "path", "parameters"),
    [
        ("/login", "/login", {}),
        ("/login", "/login/", {}),
        ("/", "/", {}),
        ("/a/*/c", "/a/b/c", {}),
        ("/static/**", "/static", {}),
        ("/static/**", "/static/a/b.css", {}),
        ("/api/orders/{id}", "/api/orders/17", {"id": "17"}),
        ("/a.b", "/a.b", {}),
    ],
)
def test_a_pattern_matches(pattern: str, path: str, parameters: dict[str, str]) -> None:
    match = parse_path(pattern).expression.fullmatch(path)
    assert match is not None
    assert match.groupdict() == parameters


@pytest.mark.parametrize(
    ("pattern", "path"),
    [("/login", "/login2"), ("/login", "/x/login"), ("/a/*/c", "/a/b/b/c"), ("/a.b", "/axb"), ("/o/{id}", "/o/")],
)
def test_a_pattern_does_not_match(pattern: str, path: str) -> None:
    assert parse_path(pattern).expression.fullmatch(path) is None


@pytest.mark.parametrize(
    ("path", "canonical"),
    [
        ("/login", "/login"), ("/.well-known/x", "/.well-known/x"), ("/a/..b", "/a/..b"), ("//login?a=//b", "/login"),
        ("/./login", "/login"), ("/x/../login", "/login"), ("/x/%2e%2E/login", "/login"), ("/../../login", "/login"),
        ("/login;jsessionid=1", "/login"), ("/;x/login", "/login"), ("/%2flogin", "/login"), ("/\\login", "/login"),
        ("/login//", "/login"), ("", ""), ("/..", "/"),
    ],
)  # fmt: skip
def test_a_path_is_read_as_most_applications_read_it(path: str, canonical: str) -> None:
    assert canonical_path(path) == canonical


@pytest.mark.parametrize(
    "text",
    ["login", "/a/**/b", "/{id}/{id}", "/a//b", "/{ID}", "/x?y", "/a*b", "/a;b", "/a/..", "/" + "a" * 1024],
)
def test_text_that_is_no_pattern_is_refused(text: str) -> None:
    with pytest.raises(BadValue):
        parse_path(text)
