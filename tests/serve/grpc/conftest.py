"""The check of the gRPC front, and a sidecar with each engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.publishing.publisher import Publisher
from support.sidecar.fronts import Fronts
from support.sidecar.grpc_engine import VARIANTS, Engine
from support.sidecar.grpc_questions import POLICY

if TYPE_CHECKING:
    from collections.abc import Iterator

    import grpc


@pytest.fixture(scope="module")
def module_publisher(tmp_path_factory: pytest.TempPathFactory) -> Publisher:
    return Publisher(tmp_path_factory.mktemp("grpc-check"))


@pytest.fixture(scope="module")
def fronts(module_publisher: Publisher) -> Fronts:
    return Fronts(module_publisher, policy=POLICY, serial=41)


@pytest.fixture(scope="module", params=VARIANTS)
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with Engine(tmp_path_factory.mktemp("engine"), request.param) as engine:
        yield engine


@pytest.fixture
def channel(engine: Engine) -> Iterator[grpc.Channel]:
    with engine.channel() as channel:
        yield channel
