"""Read authz.yaml, right or wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from authz.serve.config.config import Config, load_config

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    Load = Callable[..., Config]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """A function that loads a text as authz.yaml."""

    def load_text(text: str, environment: Mapping[str, str] | None = None) -> Config:
        (tmp_path / "authz.yaml").write_text(text)
        return load_config(tmp_path / "authz.yaml", environment or {})

    return load_text
