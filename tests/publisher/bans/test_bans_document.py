"""bans.yaml: what we write is read by the parser of JSON, and says what YAML would have said."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from authz.addresses import BITS, Network
from authz.errors import InvalidDocument
from authz.publisher.bans import Ban, by_hand, document
from authz.publisher.bans.contents import BanLimits, BansDocument
from authz.publisher.bans.document import read_bans_file, read_with_lines, write_bans_file

if TYPE_CHECKING:
    from pathlib import Path

GOOD = '- {"id": "b-1", "network": "192.0.2.1/32", "list": "deny", "added": "2026-11-28T00:00:00Z"}'
HEAD = 'version: 1\nlayer: "bans"\nsnapshot: "bans.snapshot"\nkey: "keys/bans.key"\n'
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
NAMES = TEXTS.filter(bool)  # of files: an empty one is none
TOKENS = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,9}", fullmatch=True)
ADDRESSES = st.sampled_from([4, 6]).flatmap(
    lambda version: st.integers(0, (1 << BITS[version]) - 1).map(lambda value: Network(version, value, BITS[version]))
)
BANS = st.builds(
    Ban, TOKENS, ADDRESSES, st.sampled_from(["deny", "gray"]), st.frozensets(TOKENS, max_size=3),
    st.sampled_from(["block", "warn"]), TEXTS, TEXTS, st.none(), st.none() | st.integers(0, 1 << 32),
    st.integers(0, 1 << 32),
)  # fmt: skip
LIMITS = st.builds(
    BanLimits, st.lists(st.sampled_from(["deny", "gray", "allow"]), max_size=3).map(tuple),
    st.none() | st.integers(1, 1 << 28), st.integers(0, 32), st.integers(0, 128),
    st.lists(TEXTS, max_size=2).map(tuple), st.integers(0, 32), st.integers(0, 128),
)  # fmt: skip
DOCUMENTS = st.builds(
    BansDocument, NAMES, NAMES, TOKENS, st.integers(0, 1 << 40), LIMITS,
    st.lists(BANS, max_size=5, unique_by=lambda ban: ban.id).map(tuple),
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("documents")


def no_yaml(path: Path) -> NoReturn:
    pytest.fail(f"{path.name} is read by YAML")


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(DOCUMENTS)
def test_what_is_written_is_read_by_both_ways_as_it_was(folder: Path, written: BansDocument) -> None:
    path = folder / "bans.yaml"
    write_bans_file(path, written)
    assert by_hand.read_yaml(path) == written
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(by_hand, "read_yaml", no_yaml)
        assert read_bans_file(path) == written


def test_a_ban_that_changed_is_written_anew_and_the_others_as_they_stood(tmp_path: Path) -> None:
    path = tmp_path / "bans.yaml"
    bans = [Ban(f"b-{n}", Network(4, n, 32), expires=1795824000, added=1795820000) for n in range(3)]
    write_bans_file(path, BansDocument("bans.snapshot", "bans.key", bans=tuple(bans)))
    document, lines = read_with_lines(path)
    changed = (bans[0], bans[1]._replace(expires=1795829000), bans[2])
    write_bans_file(path, document._replace(bans=changed), lines)
    assert read_bans_file(path).bans == changed
    assert lines.keys() == set(bans)


OTHERS = {
    "a comment": f"# mine\n{GOOD}",
    "no quotes": "- {id: b-1, network: 192.0.2.1, added: 2026-11-28T00:00:00Z}",
    "of several lines": "- id: b-1\n  network: 192.0.2.1\n  added: 2026-11-28T00:00:00Z",
    "indented": f"  {GOOD}",
    "a text in two lines": GOOD.replace('"list"', '"reason": "a}\n- {b", "list"'),
}


@pytest.mark.parametrize("rows", OTHERS.values(), ids=OTHERS)
def test_bans_written_by_hand_are_read_by_yaml(rows: str, tmp_path: Path) -> None:
    path = tmp_path / "bans.yaml"
    path.write_text(f"{HEAD}bans:\n{rows}\n")
    [ban] = read_bans_file(path).bans
    assert (ban.id, str(ban.network), ban.added) == ("b-1", "192.0.2.1/32", 1795824000)


MISTAKES = {
    "applications": ('"list": "deny"', '"list": "deny", "applications": "shop"', "bans[0].applications: found 'shop'"),
    "key": ('"list"', '"lits"', "bans[0].lits: unknown key"),
    "twice": ('"list": "deny"', '"list": "deny", "list": "gray"', "bans[0].list: found twice"),
    "list": ('"deny"', '"allowed"', "bans[0].list: found 'allowed'"),
    "number": ('"b-1"', "{}", "bans[0].id: found a mapping"),
    "network": ('"192.0.2.1/32"', '"192.0.2.1/33"', "bans[0].network"),
    "null": ('"192.0.2.1/32"', "null", "bans[0].network: found 'null'"),
    "missing": (', "added": "2026-11-28T00:00:00Z"', "", "bans[0].added: missing"),
    "ids": (GOOD, f"{GOOD}\n{GOOD}", "bans[1].id: found 'b-1' twice"),
}


CUT = {
    "two in a line": f"{GOOD[:-1]}}}, {GOOD[2:].replace('b-1', 'b-2')}",
    "two in a line and none in the next": f"{GOOD}, {GOOD[2:].replace('b-1', 'b-2')}\n- {{}}",
    "one in two lines": GOOD.replace(', "list"', '}\n- {"list"'),
    "a number behind it": f"{GOOD}, 5, {{}}",
}


@pytest.mark.parametrize("rows", CUT.values(), ids=CUT)
def test_a_line_is_one_ban_though_all_are_read_at_once(rows: str, tmp_path: Path) -> None:
    path = tmp_path / "bans.yaml"
    path.write_text(f"{HEAD}bans:\n{rows}\n")
    with pytest.raises(InvalidDocument, match=r"bans\.yaml:\d+: "):
        read_bans_file(path)


@pytest.mark.parametrize(("old", "new", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_a_row_of_json_is_told_as_yaml_tells_it(old: str, new: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bans.yaml"
    path.write_text(f"{HEAD}bans:\n{GOOD.replace(old, new)}\n")
    with pytest.raises(InvalidDocument) as caught:
        read_bans_file(path)
    assert f"bans.yaml:{7 if message.startswith('bans[1]') else 6}: {message}" in caught.value.message


def test_no_ban_is_lost_where_as_much_as_is_read_ends_with_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read of a file that is too long was taken for all of it, and the next ban wrote no more than that."""
    path = tmp_path / "bans.yaml"
    path.write_text(f"{HEAD}bans:\n{GOOD}\n{GOOD.replace('b-1', 'b-2')}\n")
    monkeypatch.setattr(document, "MAX_FILE", len(f"{HEAD}bans:\n{GOOD}\n"))
    assert [ban.id for ban in read_bans_file(path).bans] == ["b-1", "b-2"]
