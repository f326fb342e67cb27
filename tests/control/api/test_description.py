"""The API does what its description says: schemathesis asks everything, with the tokens of several roles.

Over SQLite with each role, over PostgreSQL with two of them: the handlers are the same, the database is not. `make
chaos` asks over both with each.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import load_all_checks
from support.control import Control, control
from support.servers.stores import new_postgresql
from support.suite.effort import LONG, tries

if TYPE_CHECKING:
    from collections.abc import Iterator

SETTINGS = settings(
    max_examples=tries(6),
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
ROLES = ("admin", "editor", "viewer", "tenant", "nobody")
ASKED = [("sqlite", role) for role in ROLES] + [
    ("postgresql", role) for role in (ROLES if LONG else ("admin", "tenant"))
]


@pytest.fixture(scope="module")
def described(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Control, dict[str, str], Any]]:
    load_all_checks()
    folder, url = tmp_path_factory.mktemp("described") / "c", "sqlite:///control.sqlite"
    if request.param == "postgresql":
        url = new_postgresql(request.getfixturevalue("postgresql_folder"), f"test_{secrets.token_hex(6)}")
    with control(folder, store=url, extra="rate: 100000\n") as plane:
        tokens = {
            "admin": plane.token,
            "editor": plane.token_of("editor"),
            "viewer": plane.token_of("viewer"),
            "tenant": plane.token_of("admin", "team-a", ("team-a-*",)),
            "nobody": "authz_nobody",
        }
        plane.ok("POST", "/v1/bans", {"address": "203.0.113.9", "reason": "of the main tenant"})
        yield plane, tokens, plane.ok("GET", "/schema/openapi.json")


def operations(description: dict[str, Any]) -> list[tuple[str, str]]:
    methods = ("get", "post", "put", "patch", "delete")
    return [(path, method) for path, item in description["paths"].items() for method in methods if method in item]


@pytest.mark.parametrize(("described", "role"), ASKED, indirect=["described"])
def test_no_answer_is_a_500_undocumented_or_of_another_tenant(
    described: tuple[Control, dict[str, str], Any], role: str
) -> None:
    plane, tokens, description = described
    schema = schemathesis.openapi.from_dict(description)
    asked: list[str] = []
    for path, method in operations(description):

        def ask(case: Any) -> None:
            asked.append(case.path)
            _check(plane, tokens[role], role, case)

        given(case=schema[path][method.upper()].as_strategy())(SETTINGS(ask))()
    assert len(asked) > 100


def _check(plane: Control, token: str, role: str, case: Any) -> None:
    kwargs = case.as_transport_kwargs(base_url="http://testserver.local")
    headers = {name: value for name, value in dict(kwargs["headers"]).items() if name.lower() != "authorization"}
    kwargs["headers"] = headers | {"Authorization": f"Bearer {token}", "X-Api-Key": token}
    kwargs.pop("cookies", None)
    params = kwargs.get("params") or {}
    if "wait" in params or "timeout" in params:
        kwargs["params"] = {name: value for name, value in params.items() if name not in {"wait", "timeout"}}
    headers.pop("Prefer", None)
    answer = plane.client.request(**kwargs)
    label = f"{case.method} {case.path} as {role}: {answer.status_code} {answer.text[:500]}"
    assert answer.status_code < 500 or case.path == "/readyz", label
    operation = case.operation.definition.raw
    documented = set(operation["responses"]) | {"405"}
    assert str(answer.status_code) in documented or answer.status_code == 404, f"{label}: expected one of {documented}"
    if answer.status_code >= 400 and case.path != "/readyz":
        assert answer.headers["content-type"] == "application/problem+json", label
        assert {"type", "title", "status", "code", "detail"} <= answer.json().keys(), label
    if role == "tenant" and not case.path.startswith("/v1/layers"):
        assert "203.0.113.9" not in answer.text, label
