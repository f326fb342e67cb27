"""The documents say what the code does."""

from __future__ import annotations

import re
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin

import msgspec
import pytest

from authz.policy import decide
from authz.policy.compile import build_snapshot
from authz.policy.read import read_policy
from authz.serve import config as configuration
from authz.serve import decision
from authz.times import parse_duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.publisher import Publisher

ROOT = Path(__file__).parent.parent
DOCS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/**/*.md")])


def keys_of(struct: type[msgspec.Struct], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for field in msgspec.structs.fields(struct):
        wanted = field.type
        if get_origin(wanted) in {Union, types.UnionType}:
            wanted = next(a for a in get_args(wanted) if a is not type(None))
        if isinstance(wanted, type) and issubclass(wanted, msgspec.Struct):
            yield from keys_of(wanted, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, field.default


def documented() -> dict[str, str]:
    text = (ROOT / "docs" / "configuration.md").read_text()
    return {
        key: default.strip("`") for key, default in re.findall(r"^\| `([a-z_.]+)` \| ([^|]+) \|", text, re.MULTILINE)
    }


def test_the_configuration_page_has_every_key_and_no_other() -> None:
    assert set(documented()) == {key for key, _ in keys_of(configuration.Config)}


@pytest.mark.parametrize(("key", "default"), list(keys_of(configuration.Config)))
def test_the_configuration_page_has_the_default_of_each_key(key: str, default: Any) -> None:
    written = documented()[key].strip("` ")
    if default is msgspec.NODEFAULT:
        assert written in {"required", "none"}
    elif default is None or default == ():
        assert written == "none"
    elif isinstance(default, bool):
        assert written == str(default).lower()
    elif key.endswith("unix_mode"):
        assert int(written, 8) == default
    elif isinstance(default, float) and re.fullmatch(r"\d+(ms|s|m|h|d)", written):
        assert parse_duration(written) == default
    else:
        assert written == str(default)


def test_the_policy_page_has_every_reason() -> None:
    text = (ROOT / "docs" / "policy.md").read_text()
    reasons = [
        value
        for module in (decide, decision)
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, str) and not name.startswith("_")
    ]
    assert len(reasons) >= 12
    assert [reason for reason in reasons if f"`{reason}`" not in text and reason != "*"] == []


def test_the_example_of_the_policy_page_builds(publisher: Publisher) -> None:
    example = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "policy.md").read_text(), re.DOTALL)[0]
    (publisher.folder / "feeds").mkdir()
    (publisher.folder / "feeds" / "tor.txt").write_text("198.51.100.200\n")
    assert publisher.built(example).entries == 2


def test_the_example_policy_builds(publisher: Publisher) -> None:
    policy = read_policy(ROOT / "examples" / "policy.yaml")
    built = build_snapshot(policy, publisher.folder / "out", [publisher.signer()], serial=1, created=0)
    assert built.entries == 4


@pytest.mark.parametrize("page", DOCS, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    local = [link for link in links if not link.startswith("http")]
    assert [link for link in local if not (page.parent / link).exists()] == []
