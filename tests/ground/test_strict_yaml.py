"""YAML files are read strictly, and all of their mistakes are told at once."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from authz import strict_yaml
from authz.addresses import Network, parse_network
from authz.errors import AuthzError, BadValue, InputError, InvalidDocument, Mistake
from authz.strict_yaml import Document, Scalar, read, read_file

if TYPE_CHECKING:
    from pathlib import Path


def two_digits(text: str) -> int:
    if not re.fullmatch("[0-9]{2}", text):
        raise BadValue(text)
    if text == "13":
        raise BadValue(text, hint="13 is bad luck")
    return int(text)


class Door(msgspec.Struct, frozen=True):
    """A part."""

    width: int = 80
    price: float = 1.5
    colour: Literal["red", "off"] = "red"
    open: bool = False
    hinges: tuple[str, ...] = ()
    label: str | None = None
    code: Annotated[int, Scalar(two_digits, "two digits")] = 0
    street: Annotated[Network | None, Scalar(parse_network, "unused")] = None


class Lock(msgspec.Struct, frozen=True):
    """A part with something that must be there."""

    key: str
    turns: int = 1


class House(msgspec.Struct, frozen=True):
    """A document."""

    door: Door = Door()
    rooms: dict[str, Door] = {}
    locks: tuple[Lock, ...] = ()
    except_: str = msgspec.field(default="", name="except")


def house(text: str, **environment: str) -> House:
    return read(House, "house.yaml", text, environment).checked()


def door(text: str) -> Door:
    return read(Door, "door.yaml", text).checked()


def mistakes(text: str, environment: dict[str, str] | None = None) -> list[str]:
    """Return the lines of the error, without the name of the file."""
    with pytest.raises(InvalidDocument) as caught:
        read(House, "house.yaml", text, environment).checked()
    lines = caught.value.message.split("\n")
    assert all(line.startswith("house.yaml:") for line in lines)
    return [line.removeprefix("house.yaml:") for line in lines]


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
    found = house("rooms: {hall: &wide {width: 120, hinges: &h [a]}, attic: *wide, bath: {hinges: *h}}")
    assert found.rooms["attic"] == found.rooms["hall"] == Door(width=120, hinges=("a",))
    assert found.rooms["bath"].hinges == ("a",)


def test_every_struct_and_every_value_of_our_own_knows_its_key_in_the_file() -> None:
    document = read(Town, "town.yaml", "streets: [no, a, a]\nlocks: [{}, {key: x}]")
    assert document.content == Town((Street("a"), Street("a")), (Lock("x"),))
    assert [document.key_of(street) for street in document.content.streets] == ["streets[1]", "streets[2]"]
    assert document.key_of(document.content.locks[0]) == "locks[1]"
    assert document.key_of(document.content) == ""


# What is refused


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # the document
        ("[]", "1: document: found a list, expected keys with values"),
        ("- a", "1: document: found a list, expected keys with values"),
        ("text", "1: document: found 'text', expected keys with values"),
        ("\n\n5", "3: document: found '5', expected keys with values"),
        ('""', "1: document: found '', expected keys with values"),
        ("? [a]\n: b", "1: document: found a list as a key, expected text"),
        ("? {a: b}\n: b", "1: document: found a mapping as a key, expected text"),
        # keys
        ("dor: {}", "1: dor: unknown key (did you mean 'door'?)"),
        ("zzz: {}", "1: zzz: unknown key (known here: door, rooms, locks, except)"),
        ("except_: x", "1: except_: unknown key (did you mean 'except'?)"),
        ("Door: {}", "1: Door: unknown key (did you mean 'door'?)"),
        ("door:\n  wide: 5", "2: door.wide: unknown key (did you mean 'width'?)"),
        ("rooms:\n  hall:\n    widht: 5", "3: rooms.hall.widht: unknown key (did you mean 'width'?)"),
        ("door: {width: 1}\ndoor: {width: 2}", "2: door: found twice, expected once"),
        ("door:\n  width: 1\n  open: true\n  width: 2", "4: door.width: found twice, expected once"),
        ("rooms: {hall: {}, hall: {}}", "1: rooms.hall: found twice, expected once"),
        ("door: {<<: {width: 5}}",
         "1: door.<<: unknown key (known here: width, price, colour, open, hinges, label, code, street)"),
        ("\u00e9: 1", "1: \\xe9: unknown key (known here: door, rooms, locks, except)"),
        # things that must be there
        ("locks: [{}]", "1: locks[0].key: missing"),
        ("locks:\n- {key: a}\n- turns: 2", "3: locks[1].key: missing"),
        ("locks: [{key: }]", "1: locks[0].key: found nothing, expected text"),
        # shapes
        ("door: 5", "1: door: found '5', expected keys with values"),
        ("door: []", "1: door: found a list, expected keys with values"),
        ("door: ''", "1: door: found '', expected keys with values"),
        ("rooms: [a]", "1: rooms: found a list, expected keys with values"),
        ("rooms: {hall: 5}", "1: rooms.hall: found '5', expected keys with values"),
        ("locks: {key: a}", "1: locks: found a mapping, expected a list"),
        ("locks: a", "1: locks: found 'a', expected a list"),
        ("locks:", "1: locks: found '', expected a list"),
        ("locks: [a]", "1: locks[0]: found 'a', expected keys with values\nhouse.yaml:1: locks[0].key: missing"),
        ("door: {hinges: a}", "1: door.hinges: found 'a', expected a list"),
        ("door: {label: [a]}", "1: door.label: found a list, expected text"),
        ("door: {label: {a: b}}", "1: door.label: found a mapping, expected text"),
        ("door: {hinges: [[a]]}", "1: door.hinges[0]: found a list, expected text"),
        ("door: {hinges: &h [*h]}", "1: door.hinges[0]: found a list, expected text"),
        ("door: {width: [1]}", "1: door.width: found a list, expected a whole number"),
        ("door: {price: {a: 1}}", "1: door.price: found a mapping, expected a number"),
        ("door: {open: [true]}", "1: door.open: found a list, expected true or false"),
        ("door: {colour: [red]}", "1: door.colour: found a list, expected one of red, off"),
        ("door: {code: [10]}", "1: door.code: found a list, expected two digits"),
        # text
        ("door:\n  label:", "2: door.label: found nothing, expected text"),
        ('door: {label: "a\\0b"}', "1: door.label: found 'a\\x00b', expected text"),
        # whole numbers
        *((f"door: {{width: {text}}}", f"1: door.width: found '{text}', expected a whole number")
          for text in ("12:30", "0x10", "0o7", "010", "-0x1", "1e3", "1.0", "1_000", "+5", "yes", "null", "~", ".inf",
                       "1" * 20)),
        ('door: {width: "5"}', "1: door.width: found '5', expected a whole number"),
        ("door: {width: }", "1: door.width: found nothing, expected a whole number"),
        ("door: {width: \u0665}", "1: door.width: found '\\u0665', expected a whole number"),
        # numbers
        *((f"door: {{price: {text}}}", f"1: door.price: found '{text}', expected a number")
          for text in (".5", "5.", "1e3", "12:30", ".nan", "-.inf", "0x1", "1_0.5")),
        ('door: {price: "1.5"}', "1: door.price: found '1.5', expected a number"),
        # true or false
        *((f"door: {{open: {text}}}", f"1: door.open: found '{text}', expected true or false")
          for text in ("yes", "no", "on", "off", "True", "FALSE", "1", "0", "y")),
        ('door: {open: "true"}', "1: door.open: found 'true', expected true or false"),
        # one of
        ("door: {colour: Red}", "1: door.colour: found 'Red', expected one of red, off"),
        ("door: {colour: false}", "1: door.colour: found 'false', expected one of red, off"),
        ("door: {colour: ''}", "1: door.colour: found nothing, expected one of red, off"),
        # our own
        ("door: {code: 7}", "1: door.code: found '7', expected two digits"),
        ("door: {code: 13}", "1: door.code: found '13', expected two digits (13 is bad luck)"),
        ("door:\n  street: 192.0.2.7/24",
         "2: door.street: found '192.0.2.7/24', expected a network without host bits (did you mean '192.0.2.0/24'?)"),
        # what was found is shown in safe characters, and not all of it
        (f"door: {{width: {'9' * 100}}}",
         f"1: door.width: found '{'9' * 80}... (100 characters)', expected a whole number"),
        ('door: {code: "a\\e[31m\\n"}', "1: door.code: found 'a\\x1b[31m\\x0a', expected two digits"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_line_key_what_was_found_and_what_was_expected(text: str, expected: str) -> None:
    assert "\nhouse.yaml:".join(mistakes(text)) == expected


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("door: {", 2),
        ("door: [a, b", 2),
        ("door: {width: 5\nrooms: {}", 2),
        ("a: b: c", 1),
        ("a: 1\n\tb: 2", 2),
        ("a: 'x", 1),
        ("a: *nobody", 1),
        ("a: @x", 1),
        ("--- {}\n--- {}", 2),
        ("door: {}\n - a", 2),
        ("a: \x07", 1),
        ("%YAML 9.9\n---\na: 1", 1),
    ],
)
def test_what_is_not_yaml_is_one_mistake_at_its_line(text: str, line: int) -> None:
    with pytest.raises(InvalidDocument) as caught:
        read(House, "house.yaml", text)
    (mistake,) = caught.value.mistakes
    assert mistake.key == "document"
    assert re.fullmatch(r"not YAML: [ -~]+", mistake.message)
    assert abs(mistake.line - line) <= 1  # the parsers of YAML count the end of a file in their own way


def test_what_is_not_yaml_is_told_in_one_line() -> None:
    with pytest.raises(InvalidDocument) as caught:
        read(House, "house.yaml", "door: {}\ndoor: *nobody\n")
    assert caught.value.message == "house.yaml:2: document: not YAML: found undefined alias at column 7"
    assert caught.value.code == "invalid_document"


@pytest.mark.parametrize("text", ["name: " + "[" * 100_000, "- " * 100_000, "name:\n  " + "{a: " * 1000])
def test_a_document_nested_deeper_than_any_of_ours_is_refused_before_it_is_composed(text: str) -> None:
    line = text.count("\n") + 1
    assert mistakes(text) == [f"{line}: document: found more than 64 levels, one in the other, expected fewer"]


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file() -> None:
    text = """\
door:
  width: wide
  opne: true
  colour: blue
rooms:
  hall: {price: x, hinges: [a, [b], c, {d: e}]}
  hall: {}
locks:
- turns: 2
- {key: k, turns: two}
- 7
zzz: 1
"""
    assert mistakes(text) == [
        "2: door.width: found 'wide', expected a whole number",
        "3: door.opne: unknown key (did you mean 'open'?)",
        "4: door.colour: found 'blue', expected one of red, off",
        "6: rooms.hall.hinges[1]: found a list, expected text",
        "6: rooms.hall.hinges[3]: found a mapping, expected text",
        "6: rooms.hall.price: found 'x', expected a number",
        "7: rooms.hall: found twice, expected once",
        "9: locks[0].key: missing",
        "10: locks[1].turns: found 'two', expected a whole number",
        "11: locks[2]: found '7', expected keys with values",
        "11: locks[2].key: missing",
        "12: zzz: unknown key (known here: door, rooms, locks, except)",
    ]


def test_what_has_a_mistake_is_left_out_and_the_rest_can_be_looked_at() -> None:
    document = read(House, "house.yaml", "door: {width: x, price: 3}\nlocks: [{}, {key: b}]\nrooms: {a: {}, b: 1}")
    content = document.content
    assert content == House(Door(price=3.0), {"a": Door(), "b": Door()}, (Lock("b"),))
    assert document.spoiled(content)
    assert document.spoiled(content.door)
    assert document.spoiled(content.rooms["b"])
    assert not document.spoiled(content.rooms["a"])
    assert not document.spoiled(content.locks[0])


def test_a_document_without_what_must_be_there_has_no_content() -> None:
    document = read(Lock, "lock.yaml", "turns: 2")
    assert document.content is None
    with pytest.raises(InvalidDocument) as caught:
        document.checked()
    assert caught.value.mistakes == [Mistake(1, "key", "missing")]


def further() -> Document[House]:
    return read(House, "house.yaml", "\ndoor:\n  width: 5\nlocks:\n- key: a\n- key: b\n  turns: 2\n")


@pytest.mark.parametrize(
    ("key", "line"),
    [("door", 3), ("door.width", 3), ("door.colour", 3), ("locks", 5), ("locks[1]", 6), ("locks[1].turns", 7),
     ("locks[1].turns[4].x", 7), ("locks[1].zzz", 6), ("locks[9]", 5), ("rooms.hall", 1), ("zzz", 1)],
)  # fmt: skip
def test_a_further_mistake_stands_at_its_key_or_where_that_would_stand(key: str, line: int) -> None:
    document = further()
    document.mistake(key, "does not fit", "try another")
    with pytest.raises(InvalidDocument) as caught:
        document.checked()
    assert caught.value.message == f"house.yaml:{line}: {key}: does not fit (try another)"


def test_a_document_without_a_mistake_is_its_content() -> None:
    document = further()
    assert document.checked() is document.content


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
    assert caught.value.message == f"{path}: byte 17 is not UTF-8"


def test_a_huge_file_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "house.yaml"
    path.write_text("door: {}\n")
    monkeypatch.setattr(strict_yaml, "MAX_SIZE", 9)
    assert read_file(House, path).checked() == House()
    monkeypatch.setattr(strict_yaml, "MAX_SIZE", 8)
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
        ("DOOR__WIDHT", "7", "1: door.widht: unknown key (did you mean 'width'?; set in the environment)"),
        ("DOR", "7", "1: dor: unknown key (did you mean 'door'?; set in the environment)"),
        ("DOOR", "[7]", "1: door: found a list, expected keys with values (set in the environment)"),
        ("LOCKS", "[{}]", "1: locks[0].key: missing (set in the environment)"),
        ("DOOR__CODE", "13", "1: door.code: found '13', expected two digits (13 is bad luck; set in the environment)"),
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
        "1: door.wid: unknown key (did you mean 'width'?; set in the environment)",
        "2: door.width: found 'x', expected a whole number",
    ]
    assert mistakes("door: 5", {"DOOR__WIDTH": "7"}) == ["1: door: found '5', expected keys with values"]


# Whatever is written


PIECES = ["door", "locks", "key", "width", "rooms", ": ", ":", "- ", "\n", "  ", "{", "}", "[", "]", ",", "&a ", "*a",
          "'", '"', "#", "|", "?", "!", "%", "~", "7", "x", "\t", "\0", "\u00e9", "<<"]  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES), max_size=30).map("".join)
NAMES = st.sampled_from(["DOOR__WIDTH", "DOOR", "LOCKS", "ROOMS__A__B", "X", ""])


@settings(max_examples=300, deadline=None)
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
    monkeypatch.setattr(strict_yaml, "_LOADER", yaml.SafeLoader)
    assert answer() == fast
