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

import re
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec
import yaml

from authz.errors import InputError, InvalidDocument, Mistake, shorten
from authz.strict_yaml.fields import FAILED, Reader, is_empty, line_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MAX_SIZE = 256 << 20  # bytes of a document; far more than a person writes
MAX_DEPTH = 64  # mappings and lists, one in the other
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

T = TypeVar("T", bound=msgspec.Struct)


class Document(Generic[T]):
    """What was read, and what is wrong with it."""

    def __init__(self, path: str, content: T | None, reader: Reader) -> None:
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

    def line_of(self, part: msgspec.Struct) -> int:
        """Return the line at which a struct of the content begins."""
        return self._line_of(self.key_of(part))

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
        raise InputError(f"{path}: not a text file: byte {error.start} is not UTF-8") from error


def read(struct: type[T], path: str, text: str, environment: Mapping[str, str] | None = None) -> Document[T]:
    """Read `text` as a document; `path` is for the errors. See `read_file`."""
    reader = Reader()
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
    return Document(path, None if content is FAILED else content, reader)


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
                raise InvalidDocument(path, [Mistake(line_of(event), "document", message)])
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
    elif "mapping values" in str(error):
        first = ":" not in line[: mark.column]
        hint = "is it indented as the keys beside it?" if first else "a text with ': ' in it needs quotes"
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
        if section is None or is_empty(section):
            node.value[:] = [(key, child) for key, child in node.value if key.value != parent]
            section = yaml.MappingNode("", [], node.start_mark)
            node.value.append((yaml.ScalarNode("", parent, node.start_mark), section))
        node = section
    if isinstance(node, yaml.MappingNode):
        node.value[:] = [(key, child) for key, child in node.value if key.value != last]
        replacement = yaml.compose(value, Loader=_LOADER) or yaml.ScalarNode("", "")
        node.value.append((yaml.ScalarNode("", last, replacement.start_mark), replacement))
