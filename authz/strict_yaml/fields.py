"""The nodes of a YAML document, read by the types of a struct's fields; every mistake is noted with its line."""

from __future__ import annotations

import difflib
import functools
import re
import types
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

import msgspec
import yaml

from authz.errors import AddressError, BadValue, Mistake, shorten

if TYPE_CHECKING:
    from collections.abc import Callable

FAILED: Any = object()  # instead of a value that has a mistake
_PASSWORD = re.compile(r"://[^/?#\s]*@")  # and the user, of a URL
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,18})")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,18})(\.[0-9]{1,18})?")

T = TypeVar("T", bound=msgspec.Struct)


class Scalar(NamedTuple):
    """A type of values: `parse` takes the text and raises BadValue, whose `expected` is not used."""

    parse: Callable[[str], Any]
    expected: str


class OneOrMany:
    """Marks a tuple of which one value may be written without brackets: `Annotated[tuple[T, ...], OneOrMany]`."""


class Reader:
    """Reads nodes by their types, and remembers the line and key of each, and all mistakes."""

    def __init__(self) -> None:
        self.lines: dict[str, int] = {}  # by key
        self.keys: dict[int, str] = {}  # by identity of a struct
        self._alive: list[msgspec.Struct] = []  # so that no identity is used again
        self.spoiled: set[int] = set()
        self.overridden: list[str] = []  # keys that the environment has set
        self.mistakes: list[Mistake] = []

    def note(self, line: int, key: str, message: str, hint: str = "") -> None:
        """Note a mistake. One of the environment says so: its line is not in the file."""
        if any(key == name or key.startswith((f"{name}.", f"{name}[")) for name in self.overridden):
            joint = " " if hint.endswith("?") else ". "
            hint = f"{hint}{joint}It is set in the environment" if hint else "set in the environment"
        self.mistakes.append(Mistake(line, key, message, hint))

    def struct(self, struct: type[T], node: Any, key: str) -> T:
        """Return a mapping as a struct, or FAILED if it lacks what the struct must have."""
        mistakes = len(self.mistakes)
        fields = _fields(struct)
        values: dict[str, Any] = {}
        items = self._items(node, key)
        if not key and _is_another_file(fields, items):
            message = f"found the keys {shorten(', '.join(items))}, expected some of {', '.join(fields)}"
            return self._mistake(node, "document", message, "is it the right file?")  # type: ignore[no-any-return]
        for name, child in items.items():
            if name not in fields:
                near = difflib.get_close_matches(name, fields, 1)
                hint = f"did you mean '{near[0]}'?" if near else f"known here: {', '.join(fields)}"
                self._mistake(child, _join(key, shorten(name)), "unknown key", hint)
                continue
            value = self.value(fields[name].type, child, _join(key, name))
            if value is not FAILED:
                values[fields[name].name] = value
        has_keys = isinstance(node, yaml.MappingNode) or is_empty(node)  # else that is the mistake, and it is noted
        for name, field in fields.items():
            if field.required and name not in items and has_keys:
                self._mistake(node, _join(key, name), "missing")
        if any(field.required and field.name not in values for field in fields.values()):
            return FAILED  # type: ignore[no-any-return]  # a mistake is noted
        content = struct(**values)
        self._remember(content, key)
        if len(self.mistakes) > mistakes:
            self.spoiled.add(id(content))
        return content

    def _remember(self, content: msgspec.Struct, key: str) -> None:
        self.keys[id(content)] = key
        self._alive.append(content)

    def value(self, wanted: Any, node: Any, key: str) -> Any:
        """Return a node as a value of the wanted type, or FAILED."""
        self.lines[key] = line_of(node)
        origin, arguments = get_origin(wanted), get_args(wanted)
        if origin in {Union, types.UnionType}:
            return self.value(next(a for a in arguments if a is not type(None)), node, key)
        if isinstance(wanted, type) and issubclass(wanted, msgspec.Struct):
            return self.struct(wanted, node, key)
        if origin is Annotated and arguments[1] is OneOrMany:
            wanted = get_args(arguments[0])[0]
            if isinstance(node, yaml.ScalarNode):
                value = self._scalar(wanted, node, key)
                return value if value is FAILED else (value,)
            return self._sequence(wanted, node, key)
        if origin is tuple:
            return self._sequence(arguments[0], node, key)
        if origin is dict:
            items = self._items(node, key).items()
            values = {name: self.value(arguments[1], child, _join(key, name)) for name, child in items}
            return {name: value for name, value in values.items() if value is not FAILED}
        if not isinstance(node, yaml.ScalarNode):
            return self._mistake(node, key, f"found {_found(node)}, expected {_expected(wanted)}")
        value = self._scalar(wanted, node, key)
        if isinstance(value, msgspec.Struct):
            self._remember(value, key)
        return value

    def _sequence(self, wanted: Any, node: Any, key: str) -> Any:
        if not isinstance(node, yaml.SequenceNode):
            return self._mistake(node, key, f"found {_found(node)}, expected a list")
        values = [self.value(wanted, child, f"{key}[{number}]") for number, child in enumerate(node.value)]
        return tuple(value for value in values if value is not FAILED)

    def _items(self, node: Any, key: str) -> dict[str, Any]:
        if not isinstance(node, yaml.MappingNode):
            if not is_empty(node):
                self._mistake(node, key or "document", f"found {_found(node)}, expected keys with values")
            return {}
        items: dict[str, Any] = {}
        for name, child in node.value:
            if not isinstance(name, yaml.ScalarNode):
                self._mistake(name, key or "document", f"found {_found(name)} as a key, expected text")
            elif name.value in items:
                self._mistake(name, _join(key, name.value), "found twice, expected once")
            else:
                items[name.value] = child
        return items

    def _scalar(self, wanted: Any, node: Any, key: str) -> Any:
        text: str = node.value
        try:
            return _parse(wanted, text, quoted=bool(node.style))
        except AddressError as error:
            return self._mistake(node, key, error.message, error.hint)
        except BadValue as error:
            shown = _PASSWORD.sub("://***@", text)  # errors are logged
            what = f"found '{shorten(shown)}'" if text else "found nothing"
            hint = error.hint or _near(wanted, text)
            return self._mistake(node, key, f"{what}, expected {_expected(wanted)}", hint)

    def _mistake(self, node: Any, key: str, message: str, hint: str = "") -> Any:
        self.note(line_of(node), key, message, hint)
        return FAILED


def _is_another_file(fields: dict[str, msgspec.structs.FieldInfo], items: dict[str, Any]) -> bool:
    """Return whether a document is of another kind: most keys are unknown, and none is a slip of the pen."""
    unknown = [name for name in items if name not in fields]
    if len(items) > 1 and len(unknown) == len(items):
        return True
    if any(difflib.get_close_matches(name, fields, 1, cutoff=0.75) for name in unknown):
        return False
    lacking = any(field.required and name not in items for name, field in fields.items())
    return lacking and len(unknown) * 2 > len(items)


@functools.cache
def _fields(struct: type[msgspec.Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    """Return the fields by the name of their key."""
    return {field.encode_name: field for field in msgspec.structs.fields(struct)}


def _parse(wanted: Any, text: str, *, quoted: bool) -> Any:
    if get_origin(wanted) is Annotated:
        return get_args(wanted)[1].parse(text)
    if get_origin(wanted) is Literal and text in get_args(wanted):
        return text
    if wanted is str and (text or quoted) and "\0" not in text:  # no file or header has a NUL
        return text
    if wanted is bool and text in {"true", "false"} and not quoted:
        return text == "true"
    if wanted in {int, float} and (_INTEGER if wanted is int else _NUMBER).fullmatch(text) and not quoted:
        return wanted(text)
    raise BadValue(text)


def _expected(wanted: Any) -> str:
    if get_origin(wanted) is Annotated:
        return str(get_args(wanted)[1].expected)
    if get_origin(wanted) is Literal:
        return "one of " + ", ".join(get_args(wanted))
    return {str: "text", bool: "true or false", int: "a whole number", float: "a number"}[wanted]


def _near(wanted: Any, text: str) -> str:
    """Return which of a few words, or which number, was probably meant, as a hint."""
    if wanted is int and re.fullmatch("/[0-9]{1,3}", text):
        return f"did you mean {text[1:]}?"
    if get_origin(wanted) is not Literal:
        return ""
    near = difflib.get_close_matches(text.lower(), get_args(wanted), 1)
    return f"did you mean '{near[0]}'?" if near else ""


def is_empty(node: Any) -> bool:
    """Return whether a key has nothing behind it, as in `grpc:`."""
    return isinstance(node, yaml.ScalarNode) and node.value == "" and not node.style


def _found(node: Any) -> str:
    return (
        f"'{shorten(node.value)}'"
        if isinstance(node, yaml.ScalarNode)
        else "a list"
        if node.id == "sequence"
        else f"a {node.id}"
    )


def line_of(node: Any) -> int:
    """Return the line of a node or event, from 1; what came from the environment has line 1."""
    mark = getattr(node, "start_mark", None)
    return mark.line + 1 if mark else 1


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name
