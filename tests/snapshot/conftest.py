"""Good snapshots, whole and taken apart."""

from __future__ import annotations

import pytest
from support.publishing.publisher import Publisher
from support.snapshot.forge import Forge
from support.snapshot.shelf import SERIAL


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Publisher:
    """A publisher that all tests of this module share; they do not change its files."""
    return Publisher(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def good(base: Publisher) -> Forge:
    """A good snapshot whose serial is above the one that serves."""
    data = base.publish(serial=SERIAL + 1).read_bytes()
    return Forge(data, {name: base.signer(name) for name in ("a", "b")})
