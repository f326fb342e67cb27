"""YAML files are read strictly."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from support.ground.yaml_house import Door, House, Lock, door, mistakes
from support.suite.effort import tries

from authz.addresses import parse_network
from authz.errors import AuthzError, BadValue, InputError, InvalidDocument
from authz.strict_yaml import document
from authz.strict_yaml.document import read, read_file
from authz.strict_yaml.fields import Scalar

if TYPE_CHECKING:
    from pathlib import Path


def house(text: str, **environment: str) -> House:
    return read(House, "house.yaml", text, environment).checked()


class Street(msgspec.Struct, frozen=True):
    """A value of our own."""

    name: str


def a_street(text: str) -> Street:
    if text == "no":
        raise BadValue(text)
    return Street(text)


class Town(msgspec.Struct, frozen=True):
    """Another document."""

    streets: tuple[Annotated[Street, Scalar(a_street, "a street")], ...] = ()
    locks: tuple[Lock, ...] = ()


# What is taken


def test_an_empty_document_has_every_default() -> None:
    for text in ("", "# nothing\n", "---\n", "{}", "door:\nrooms:\n"):
        assert house(text) == House()


def test_every_type_of_field_is_read() -> None:
    text = """
        width: -7
        price: 2.25
        colour: red
        open: true
        hinges: [a, "", 'c d', 5, null]
        label: |
          text
        code: "07"
        street: 192.0.2.0/24
    """
    assert door(text) == Door(-7, 2.25, "red", True, ("a", "", "c d", "5", "null"), "text\n", 7,
                              parse_network("192.0.2.0/24"))  # fmt: skip


def test_a_key_may_have_another_name_than_its_field() -> None:
    assert house("except: x").except_ == "x"


@pytest.mark.parametrize("text", ["off", "no", "NO", "~", "null", "12:30", "0x10", "1e3", "007", "2026-01-01", "=",
                                  "!!int x", "yes"])  # fmt: skip
def test_text_is_the_text_that_was_written_whatever_yaml_would_guess(text: str) -> None:
    assert door(f"label: {text}").label == text.removeprefix("!!int ")
    assert door(f"hinges: [{text}]").hinges == (text.removeprefix("!!int "),)


def test_off_is_the_word_off_where_a_word_is_expected() -> None:
    assert door("colour: off").colour == door("colour: 'off'").colour == "off"


def test_an_alias_is_what_it_stands_for() -> None:
    read_back = house("rooms: {hall: &wide {width: 120, hinges: &h [a]}, attic: *wide, bath: {hinges: *h}}")
    assert read_back.rooms["attic"] == read_back.rooms["hall"] == Door(width=120, hinges=("a",))
    assert read_back.rooms["bath"].hinges == ("a",)


def test_every_struct_and_every_value_of_our_own_knows_its_key_in_the_file() -> None:
    document = read(Town, "town.yaml", "streets: [no, a, a]\nlocks: [{}, {key: x}]")
    assert document.content == Town((Street("a"), Street("a")), (Lock("x"),))
    assert [document.key_of(street) for street in document.content.streets] == ["streets[1]", "streets[2]"]
    assert document.key_of(document.content.locks[0]) == "locks[1]"
    assert document.key_of(document.content) == ""


# Files


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "house.yaml"
    path.write_text("\ufeffdoor: {label: \u00e9}\n", encoding="utf-8")
    assert read_file(House, path).checked() == House(Door(label="\u00e9"))


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_file(House, tmp_path / "none.yaml")
    assert caught.value.message == f"{tmp_path}/none.yaml: cannot be read: No such file or directory"
    assert caught.value.code == "bad_input"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_file(House, tmp_path)
    assert caught.value.message == f"{tmp_path}: cannot be read: Is a directory"


def test_a_file_that_is_not_utf_8_is_an_error_that_names_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "house.yaml"
    path.write_bytes(b"door: {label: caf\xe9}")
    with pytest.raises(InputError) as caught:
        read_file(House, path)
    assert caught.value.message == f"{path}: not a text file: byte 17 is not UTF-8"


def test_a_huge_file_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "house.yaml"
    path.write_text("door: {}\n")
    monkeypatch.setattr(document, "MAX_SIZE", 9)
    assert read_file(House, path).checked() == House()
    monkeypatch.setattr(document, "MAX_SIZE", 8)
    with pytest.raises(InputError) as caught:
        read_file(House, path)
    assert caught.value.message == f"{path}: found 9 bytes, expected at most 8"


# The environment


def test_the_environment_takes_the_place_of_keys_in_any_case() -> None:
    text = "door: {width: 5, label: a}"
    assert house(text, DOOR__WIDTH="7") == House(Door(7, label="a"))
    assert house(text, Door__width="7", door__OPEN="true") == House(Door(7, label="a", open=True))


def test_the_environment_makes_the_sections_that_are_not_there() -> None:
    for text in ("", "door:", "door: {}", "rooms: {}", "rooms:"):
        assert house(text, DOOR__WIDTH="7", ROOMS__HALL__PRICE="2") == House(Door(7), {"hall": Door(price=2.0)})


def test_a_value_of_the_environment_is_yaml() -> None:
    assert house("", DOOR__HINGES="[a, 'b c']").door.hinges == ("a", "b c")
    assert house("", DOOR="{width: 7, label: off}").door == Door(7, label="off")
    assert house("", LOCKS="[{key: a}]").locks == (Lock("a"),)
    assert house("except: x", EXCEPT="''").except_ == ""


def test_a_value_of_the_environment_mends_a_mistake_in_the_file() -> None:
    assert house("door: {width: wide}", DOOR__WIDTH="7") == House(Door(7))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("DOOR__WIDTH", "wide", "1: door.width: found 'wide', expected a whole number (set in the environment)"),
        ("DOOR__WIDTH", "'7'", "1: door.width: found '7', expected a whole number (set in the environment)"),
        ("DOOR__WIDTH", "", "1: door.width: found nothing, expected a whole number (set in the environment)"),
        ("DOOR__WIDHT", "7", "1: door.widht: unknown key (did you mean 'width'? It is set in the environment)"),
        ("DOR", "7", "1: dor: unknown key (did you mean 'door'? It is set in the environment)"),
        ("DOOR", "[7]", "1: door: found a list, expected keys with values (set in the environment)"),
        ("LOCKS", "[{}]", "1: locks[0].key: missing (set in the environment)"),
        ("DOOR__CODE", "13",
         "1: door.code: found '13', expected two digits (13 is bad luck. It is set in the environment)"),
        ("DOOR__LABEL", "\udce9",
         "1: door.label: found '\\udce9', which is not UTF-8 (set in the environment)"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_environment_says_where_it_is(name: str, value: str, expected: str) -> None:
    assert mistakes("", {name: value}) == [expected]


def test_a_value_of_the_environment_that_is_not_yaml_is_a_mistake_beside_those_of_the_file() -> None:
    file, environment = mistakes("\nlocks: [{}]", {"DOOR__WIDTH": "[7"})[::-1]
    assert file == "2: locks[0].key: missing"
    assert re.fullmatch(r"1: door.width: not YAML: [ -~]+ \(set in the environment\)", environment)


def test_a_mistake_of_the_file_is_not_put_on_the_environment() -> None:
    assert mistakes("\ndoor: {width: x}", {"DOOR__PRICE": "2", "DOOR__WID": "2"}) == [
        "1: door.wid: unknown key (did you mean 'width'? It is set in the environment)",
        "2: door.width: found 'x', expected a whole number",
    ]
    assert mistakes("door: 5", {"DOOR__WIDTH": "7"}) == ["1: door: found '5', expected keys with values"]


# Whatever is written


PIECES = ["door", "locks", "key", "width", "rooms", ": ", ":", "- ", "\n", "  ", "{", "}", "[", "]", ",", "&a ", "*a",
          "'", '"', "#", "|", "?", "!", "%", "~", "7", "x", "\t", "\0", "\u00e9", "<<"]  # fmt: skip


TEXTS = st.lists(st.sampled_from(PIECES), max_size=30).map("".join)
NAMES = st.sampled_from(["DOOR__WIDTH", "DOOR", "LOCKS", "ROOMS__A__B", "X", ""])


@settings(max_examples=tries(300), deadline=None)
@given(TEXTS, st.dictionaries(NAMES, TEXTS, max_size=2))
def test_whatever_is_written_is_read_or_refused_with_mistakes(text: str, environment: dict[str, str]) -> None:
    problem = None
    try:
        content: Any = read(House, "house.yaml", text, environment).checked()
    except AuthzError as error:
        content, problem = None, error
    if problem is None:
        assert isinstance(content, House)
    else:
        assert isinstance(problem, InvalidDocument)
        assert problem.mistakes
        assert all(1 <= mistake.line <= 32 for mistake in problem.mistakes)


@pytest.mark.parametrize("text", ["door: {label: ''}", "locks: ''", "door: ''", "door:", "locks: [a, {key: b}]", "- a"])
def test_both_parsers_of_yaml_give_the_same_answer(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer() -> Any:
        try:
            return house(text)
        except InvalidDocument as error:
            return error.message

    fast = answer()
    monkeypatch.setattr(document, "_LOADER", yaml.SafeLoader)
    assert answer() == fast
