"""YAML files that a person writes: read strictly, all mistakes at once, each with its line.

A document is read by the types of a `msgspec.Struct`, not by YAML's guesses: `mode: off` is the text "off" where text
is expected, `NO` is Norway, `12:30` is no number of seconds. What a type cannot take is a `Mistake` that names file,
line, key, what was found and what was expected; reading goes on, so that one run shows them all.

    class Server(Struct): port: int = 80
    read(Server, "a.yaml", "prot: 81").checked()
    # raises InvalidDocument: a.yaml:1: prot: unknown key (did you mean 'port'?)

Types of fields: str, int, float, bool, Literal, Struct, tuple[T, ...], dict with str keys, any of them or None, and
`Annotated[T, Scalar(parse, "what is expected")]` for text of our own.

What has a mistake is left out of the document (a field takes its default), so that further checks can look at the rest
and add their own mistakes before `checked()` raises.
"""

from __future__ import annotations

import difflib
import functools
import re
import types
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

import msgspec
import yaml

from authz.errors import AddressError, BadValue, InputError, InvalidDocument, Mistake, shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

MAX_SIZE = 256 << 20  # bytes of a document; far more than a person writes
MAX_DEPTH = 64  # mappings and lists, one in the other
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,18})")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,18})(\.[0-9]{1,18})?")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_FAILED: Any = object()

T = TypeVar("T", bound=msgspec.Struct)


class Scalar(NamedTuple):
    """A type of our own: `parse` takes the text and raises BadValue, whose `expected` is not used."""

    parse: Callable[[str], Any]
    expected: str


class OneOrMany:
    """Marks a tuple of which one value may be written without brackets: `Annotated[tuple[T, ...], OneOrMany]`."""


class Document(Generic[T]):
    """What was read, and what is wrong with it."""

    def __init__(self, path: str, content: T | None, reader: _Reader) -> None:
        self._path = path
        self._content = content
        self._reader = reader

    @property
    def content(self) -> T | None:
        """What was read; None if so much is wrong that there is nothing to look at."""
        return self._content

    def checked(self) -> T:
        """Return the content.

        Raises:
            InvalidDocument: Anything is wrong.
        """
        if self._reader.mistakes or self._content is None:
            raise InvalidDocument(self._path, self._reader.mistakes)
        return self._content

    def key_of(self, part: msgspec.Struct) -> str:
        """Return the key at which a struct of the content stands, such as `entries[3]`.

        It is the place in the file: what has a mistake is counted, though it is not in the content.
        """
        return self._reader.keys[id(part)]

    def mentions(self, key: str) -> bool:
        """Return whether the document has something at this key, right or wrong."""
        return key in self._reader.lines

    def spoiled(self, part: msgspec.Struct) -> bool:
        """Return whether something in this struct was left out for a mistake."""
        return id(part) in self._reader.spoiled

    def mistake(self, key: str, message: str, hint: str = "") -> None:
        """Note a further mistake at this key."""
        self._reader.note(self._line_of(key), key, message, hint)

    def place_of(self, key: str) -> str:
        """Return file, line and key, as a mistake would name them."""
        return f"{self._path}:{self._line_of(key)}: {key}"

    def _line_of(self, key: str) -> int:
        place = key
        while place and place not in self._reader.lines:
            place = re.sub(r"(\.[^.\[]*|\[[^\[]*\]|^[^.\[]*)$", "", place)  # the thing that it would stand in
        return self._reader.lines.get(place, 1)


def read_file(struct: type[T], path: Path, environment: Mapping[str, str] | None = None) -> Document[T]:
    """Read a document from a file.

    Args:
        struct: The type of its content.
        path: The file.
        environment: Values that replace keys. A name is the key with `__` for `.`, in any case; a value is YAML.

    Raises:
        InputError: The file cannot be read.
        InvalidDocument: The file is not YAML.
    """
    return read(struct, str(path), read_text(path), environment)


def read_text(path: Path) -> str:
    """Return the text of a file. Raises InputError if it cannot be read, is too large or no UTF-8."""
    try:
        size = path.stat().st_size
        if size > MAX_SIZE:
            raise InputError(f"{path}: found {size} bytes, expected at most {MAX_SIZE}")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is not UTF-8") from error


def read(struct: type[T], path: str, text: str, environment: Mapping[str, str] | None = None) -> Document[T]:
    """Read `text` as a document; `path` is for the errors. See `read_file`."""
    reader = _Reader()
    try:
        _check_depth(path, text)
        root = yaml.compose(text, Loader=_LOADER) or yaml.MappingNode("", [])
    except yaml.YAMLError as error:
        raise InvalidDocument(path, [_syntax_mistake(error, text)]) from error
    for name, value in (environment or {}).items():
        key = name.lower().replace("__", ".")
        reader.overridden.append(key)
        try:
            _override(root, name, value)
        except yaml.YAMLError as error:
            reader.note(1, key, _not_yaml(error))
        except UnicodeEncodeError:
            reader.note(1, key, f"found '{shorten(value)}', which is not UTF-8")
    content = reader.struct(struct, root, "")
    return Document(path, None if content is _FAILED else content, reader)


def _check_depth(path: str, text: str) -> None:
    """Refuse a document nested deeper than any of ours: composing one of 30,000 levels ends the process."""
    if max(text.count(opening) for opening in ("[", "{", "- ", "? ")) <= MAX_DEPTH:
        return
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                message = f"found more than {MAX_DEPTH} levels, one in the other, expected fewer"
                raise InvalidDocument(path, [Mistake(_line(event), "document", message)])
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _syntax_mistake(error: yaml.YAMLError, text: str) -> Mistake:
    """Return line, column and a hint, for the mistakes in YAML that people make."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return Mistake(1, "document", _not_yaml(error))
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    where = f" at column {mark.column + 1}"
    if "\t" in line[: mark.column + 1]:
        return Mistake(mark.line + 1, "document", f"not YAML: found a tab{where}, expected spaces")
    hint = ""
    if "::" in line:
        hint = "an IPv6 address that begins or ends with ':' needs quotes, as in [\"::1\"]"
    elif ": " in line and "mapping values" in str(error):
        hint = "a text with ': ' in it needs quotes"
    return Mistake(mark.line + 1, "document", f"{_not_yaml(error)}{where}", hint)


def _not_yaml(error: yaml.YAMLError) -> str:
    problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
    return f"not YAML: {problem.removeprefix('but ')}"


def _override(node: Any, name: str, value: str) -> None:
    *parents, last = name.lower().split("__")
    for parent in parents:
        if not isinstance(node, yaml.MappingNode):
            return
        section = next((child for key, child in node.value if key.value == parent), None)
        if section is None or _empty(section):
            node.value[:] = [(key, child) for key, child in node.value if key.value != parent]
            section = yaml.MappingNode("", [], node.start_mark)
            node.value.append((yaml.ScalarNode("", parent, node.start_mark), section))
        node = section
    if isinstance(node, yaml.MappingNode):
        node.value[:] = [(key, child) for key, child in node.value if key.value != last]
        replacement = yaml.compose(value, Loader=_LOADER) or yaml.ScalarNode("", "")
        node.value.append((yaml.ScalarNode("", last, replacement.start_mark), replacement))


class _Reader:
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
            hint = "; ".join(filter(None, (hint, "set in the environment")))
        self.mistakes.append(Mistake(line, key, message, hint))

    def struct(self, struct: type[T], node: Any, key: str) -> T:
        mistakes = len(self.mistakes)
        fields = _fields(struct)
        values: dict[str, Any] = {}
        items = self._items(node, key)
        for name, child in items.items():
            if name not in fields:
                near = difflib.get_close_matches(name, fields, 1)
                hint = f"did you mean '{near[0]}'?" if near else f"known here: {', '.join(fields)}"
                self._mistake(child, _join(key, shorten(name)), "unknown key", hint)
                continue
            value = self.value(fields[name].type, child, _join(key, name))
            if value is not _FAILED:
                values[fields[name].name] = value
        for name, field in fields.items():
            if field.required and name not in items:
                self._mistake(node, _join(key, name), "missing")
        if any(field.required and field.name not in values for field in fields.values()):
            return _FAILED  # type: ignore[no-any-return]  # a mistake is noted
        content = struct(**values)
        self._remember(content, key)
        if len(self.mistakes) > mistakes:
            self.spoiled.add(id(content))
        return content

    def _remember(self, content: msgspec.Struct, key: str) -> None:
        self.keys[id(content)] = key
        self._alive.append(content)

    def value(self, wanted: Any, node: Any, key: str) -> Any:
        self.lines[key] = _line(node)
        origin, arguments = get_origin(wanted), get_args(wanted)
        if origin in {Union, types.UnionType}:
            return self.value(next(a for a in arguments if a is not type(None)), node, key)
        if isinstance(wanted, type) and issubclass(wanted, msgspec.Struct):
            return self.struct(wanted, node, key)
        if origin is Annotated and arguments[1] is OneOrMany:
            wanted = get_args(arguments[0])[0]
            if isinstance(node, yaml.ScalarNode):
                value = self._scalar(wanted, node, key)
                return value if value is _FAILED else (value,)
            return self._sequence(wanted, node, key)
        if origin is tuple:
            return self._sequence(arguments[0], node, key)
        if origin is dict:
            items = self._items(node, key).items()
            values = {name: self.value(arguments[1], child, _join(key, name)) for name, child in items}
            return {name: value for name, value in values.items() if value is not _FAILED}
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
        return tuple(value for value in values if value is not _FAILED)

    def _items(self, node: Any, key: str) -> dict[str, Any]:
        if not isinstance(node, yaml.MappingNode):
            if not _empty(node):
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
            what = f"found '{shorten(text)}'" if text else "found nothing"
            return self._mistake(node, key, f"{what}, expected {_expected(wanted)}", error.hint)

    def _mistake(self, node: Any, key: str, message: str, hint: str = "") -> Any:
        self.note(_line(node), key, message, hint)
        return _FAILED


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


def _empty(node: Any) -> bool:
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


def _line(node: Any) -> int:
    mark = getattr(node, "start_mark", None)
    return mark.line + 1 if mark else 1


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name
