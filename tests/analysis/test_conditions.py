"""The conditions of --fail-if; Python's own expressions are the second opinion."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.analysis.conditions import OPERATORS, parse_condition
from authz.analysis.diff import COUNTS
from authz.errors import InputError

NAMES = ("newly_denied", "newly_allowed", "entries_removed")
EXAMPLE = "an example: newly_denied > 1000000 or entries_removed >= 5"
KNOWN = "the names are newly_denied, newly_allowed, entries_removed"

comparisons = st.tuples(st.sampled_from(NAMES), st.sampled_from(sorted(OPERATORS)), st.integers(0, 3)).map(
    lambda parts: f"{parts[0]} {parts[1]} {parts[2]}"
)
conditions = st.tuples(
    comparisons, st.lists(st.tuples(st.sampled_from([" and ", " or "]), comparisons), max_size=5)
).map(lambda parts: parts[0] + "".join(joint + condition for joint, condition in parts[1]))
counted = st.fixed_dictionaries({name: st.integers(0, 3) for name in NAMES})


@settings(deadline=None)
@given(conditions, counted)
def test_a_condition_holds_when_python_says_so(text: str, counts: dict[str, int]) -> None:
    assert parse_condition(text, NAMES).holds(counts) is eval(text, {"__builtins__": {}}, counts)


@settings(deadline=None)
@given(conditions)
def test_a_condition_is_written_as_it_is_read(text: str) -> None:
    assert str(parse_condition(text, NAMES)) == text
    assert str(parse_condition(f"  {text.replace(' ', '   ')} ", NAMES)) == text


@settings(deadline=None)
@given(st.text(max_size=40))
def test_no_text_gives_another_error(text: str) -> None:
    with contextlib.suppress(InputError):
        parse_condition(text, NAMES)


@pytest.mark.parametrize(
    ("text", "same"),
    [("newly_denied>5", "newly_denied > 5"), ("newly_denied >= 1_000_000", "newly_denied >= 1000000"),
     ("newly_denied>1or newly_allowed<2", None)],
)  # fmt: skip
def test_spaces_may_be_left_out_and_numbers_grouped(text: str, same: str | None) -> None:
    if same is None:
        with pytest.raises(InputError):
            parse_condition(text, NAMES)
    else:
        assert str(parse_condition(text, NAMES)) == same


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found the end, expected a name of a count"),
        ("newly_denied", "found the end, expected one of > >= < <= == !="),
        ("newly_denied >", "found the end, expected a whole number"),
        ("newly_denied > many", "found 'many' at character 16, expected a whole number"),
        ("newly_denied > -1", "found '-1' at character 16, expected a whole number"),
        ("newly_denied > 1.5", "found '1.5' at character 16, expected a whole number"),
        ("newly_denied > 1e6", "found '1e6' at character 16, expected a whole number"),
        ("newly_denied > 1M", "found '1M' at character 16, expected a whole number"),
        ("newly_denied > " + "9" * 41, f"found '{'9' * 41}' at character 16, expected a whole number"),
        ("newly_denied = 1", "found '=' at character 14, expected one of > >= < <= == !="),
        ("newly_denied is 1", "found 'is' at character 14, expected one of > >= < <= == !="),
        ("1 > newly_denied", "found '1' at character 1, expected a name of a count"),
        ("newly_denied > 1 xor entries_removed > 1", "found 'xor' at character 18, expected 'and', 'or' or the end"),
        ("newly_denied > 1 > 2", "found '>' at character 18, expected 'and', 'or' or the end"),
        ("newly_denied > 1 and", "found the end, expected a comparison after 'and'"),
        ("newly_denied > 1 or or", "found 'or' at character 21, expected a name of a count"),
        ("(newly_denied > 1)", "found '(newly_denied' at character 1, expected a name of a count"),
        ("__import__('os') > 1", "found '__import__' at character 1, expected a name of a count"),
        ("\x1b[31m > 1", "found '\\x1b[31m' at character 1, expected a name of a count"),
    ],
)
def test_what_is_no_condition_is_told_with_its_place(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_condition(text, NAMES)
    assert caught.value.message == f"condition: {message}"
    assert caught.value.hint.endswith(f"{EXAMPLE}; {KNOWN}")


def test_a_misspelt_name_is_told_with_the_one_that_was_meant() -> None:
    with pytest.raises(InputError) as caught:
        parse_condition("newly_denyed > 1", NAMES)
    assert caught.value.message == "condition: found 'newly_denyed' at character 1, expected a name of a count"
    assert caught.value.hint == f"did you mean 'newly_denied'? {EXAMPLE}; {KNOWN}"


def test_the_counts_of_a_difference_may_be_named() -> None:
    for name in COUNTS:
        assert parse_condition(f"{name} > 0", COUNTS).holds({name: 1})
    assert COUNTS == (
        "newly_denied", "newly_denied_ipv6_64s", "newly_allowed", "newly_allowed_ipv6_64s",
        "changed_reason", "changed_reason_ipv6_64s", "entries_added", "entries_removed", "entries_changed",
        "applications_added", "applications_removed", "applications_changed",
    )  # fmt: skip
