"""A real API server for the modules that want one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.proxies.kubernetes.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """An API server, for the whole run: starting one takes half a minute."""
    with Cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster
