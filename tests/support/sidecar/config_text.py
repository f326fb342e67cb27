"""authz.yaml as text for tests."""

from __future__ import annotations

LEAST = "snapshot: {path: lists.snapshot, trusted_keys: [a.pub]}\n"
