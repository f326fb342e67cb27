"""Read a policy, right or wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from authz.errors import InvalidDocument
from authz.publisher.policy.read import Policy, read_policy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Read = Callable[..., Policy]
    Wrong = Callable[..., list[str]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Read a policy from its text."""

    def reading(text: str, **options: Any) -> Policy:
        (tmp_path / "policy.yaml").write_text(text, encoding="utf-8")
        return read_policy(tmp_path / "policy.yaml", **options)

    return reading


@pytest.fixture
def wrong(read: Read, tmp_path: Path) -> Wrong:
    """Read a wrong policy: the lines of the error, each without the name of the file."""

    def reading(text: str, **options: Any) -> list[str]:
        with pytest.raises(InvalidDocument) as caught:
            read(text, **options)
        lines = caught.value.message.split("\n")
        assert all(line.startswith(f"{tmp_path}/policy.yaml:") for line in lines)
        return [line.removeprefix(f"{tmp_path}/policy.yaml:").replace(f"{tmp_path}/", "") for line in lines]

    return reading
