"""The arrays of a good index."""

from __future__ import annotations

from typing import Any

import pytest
from support.engine.scan import arrays_of, subject

GOOD = [subject("10.0.0.0/8", "2001:db8::/32", "2001:db8::1"), subject("10.1.0.0/16")]


@pytest.fixture
def arrays() -> dict[str, Any]:
    return arrays_of(GOOD)
