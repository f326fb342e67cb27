"""Taking authz out of the path, by the lines of deploy/README.md: without a sidecar, everybody gets in again."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from support.docs.blocks import blocks
from support.proxies.programs.envoy import adapt_envoy
from support.proxies.stack import BAD, STACKS, EnvoyStack

if TYPE_CHECKING:
    from pathlib import Path


def taken_out(printed: str, name: str, folder: Path) -> str:
    """Change a printed configuration as the page says."""
    lines = [
        line for block in blocks("deploy/README.md") if "shadow_mode" in block.text for line in block.text.splitlines()
    ]
    (line,) = [line for line in lines if f" {name}" in line]
    (folder / name).write_text(printed)
    subprocess.run(["sh", "-c", line], cwd=folder, check=True)
    changed = (folder / name).read_text()
    assert changed != printed
    return changed


@pytest.mark.parametrize("name", ["envoy tcp", "nginx tcp", "nginx header"])
def test_everybody_gets_in_by_the_line_of_the_page(name: str, tmp_path: Path) -> None:
    """`auth_request off` alone answered 502: the printed upstream is one that only the sidecar's answer names."""
    stack = STACKS[name](tmp_path)
    stack.printed = taken_out(stack.printed, f"{stack.proxy}.{'yaml' if stack.proxy == 'envoy' else 'conf'}", tmp_path)
    if isinstance(stack, EnvoyStack):
        stack.envoy_config = adapt_envoy(stack.printed, stack.upstream)
    with stack:
        for path in ("/shop/", "/api/", "/"):
            assert stack.ask(path, BAD).status == 200


@pytest.mark.parametrize("name", ["envoy tcp", "nginx tcp"])
def test_nobody_gets_in_where_authz_is_removed_first(name: str, tmp_path: Path) -> None:
    with STACKS[name](tmp_path) as stack:
        assert stack.ask("/shop/").status == 503
