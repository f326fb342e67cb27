"""The HTTP front over every kind of socket and both event loops."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.publishing.publisher import Publisher
from support.sidecar.fronts import Fronts, HttpServer
from support.sidecar.http_questions import CONFIG, LOOPS, POLICY

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def fronts(tmp_path_factory: pytest.TempPathFactory) -> Fronts:
    return Fronts(Publisher(tmp_path_factory.mktemp("http")), CONFIG, POLICY)


@pytest.fixture(scope="module", params=["tcp-uvloop", "unix-uvloop", "tcp-asyncio", "unix-asyncio"])
def server(
    request: pytest.FixtureRequest, fronts: Fronts, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[HttpServer]:
    transport, loop = request.param.split("-")
    path = tmp_path_factory.mktemp("socket") / "http.sock" if transport == "unix" else None
    with HttpServer(fronts, unix=path, loop_factory=LOOPS[loop]) as server:
        yield server
