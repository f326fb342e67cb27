"""Watch what a walk over proxies reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from authz.engine.request import client_address
from authz.engine.request.client_address import elements

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every element that a walk asks for, as it asks for it."""
    seen: list[str] = []

    def watched(header: str, header_lines: Sequence[str]) -> Iterator[str]:
        for element in elements(header, header_lines):
            seen.append(element)
            yield element

    monkeypatch.setattr(client_address, "elements", watched)
    return seen
