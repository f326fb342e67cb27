"""All mistakes of a YAML file are told at once, each with its place."""

from __future__ import annotations

import re

import pytest
from support.ground.yaml_house import Door, House, Lock, mistakes

from authz.errors import InvalidDocument, Mistake
from authz.strict_yaml.document import Document, read


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
        ("locks: [a]", "1: locks[0]: found 'a', expected keys with values"),
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
        ("door: {colour: Red}", "1: door.colour: found 'Red', expected one of red, off (did you mean 'red'?)"),
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
