"""How often random tests try: `make test` a third of what they say, `make chaos` (AUTHZ_EFFORT=long) all of it."""

from __future__ import annotations

import os

LONG = os.environ.get("AUTHZ_EFFORT") == "long"


def tries(number: int) -> int:
    """Return how often a test tries now, of how often it would with much time."""
    return number if LONG else max(number // 3, 1)
