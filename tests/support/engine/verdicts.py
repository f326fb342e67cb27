"""Matches and applications for tests of the verdict."""

from __future__ import annotations

from typing import get_args

from authz.engine.model import Mode

NOW = 1_800_000_000
MODES = get_args(Mode)
