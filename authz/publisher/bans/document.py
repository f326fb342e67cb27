"""bans.yaml: reading and writing it.

What we have written ourselves is lines of `name: JSON` and a line of JSON for each ban, which is YAML, too:

    version: 1
    layer: "bans"
    ...
    bans:
    - {"id": "b-00000000000000a1", "network": "203.0.113.9/32", "list": "deny", "added": "2026-11-28T08:00:00Z"}

It is read by the parser of JSON. Anything else, and any mistake, is read by that of YAML, which takes a hundred times
as long and says where the mistake is (`authz.publisher.bans.by_hand`).
"""

from __future__ import annotations

import json
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, get_args

from authz.addresses import parse_network
from authz.durable import replace_file
from authz.engine.model import Action, ListName
from authz.errors import AuthzError, BadValue, InputError
from authz.publisher.bans.contents import VERSION, BanLimits, BansDocument, format_period, parse_period, parse_token
from authz.publisher.bans.record import Ban
from authz.times import format_moment, parse_moment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    Parsers = Mapping[str, Callable[[Any], Any]]

MAX_FILE: Final = 256 << 20  # bytes
_HEADER = (
    "# Written by authz ban and authz unban. The next of them takes over what is changed by hand, but no comments.\n"
)
_ESCAPED = re.compile("[^ -~\U00010000-\U0010ffff]")
_ROWS = "\nbans:"  # behind it the bans, a line each; ` []` if there are none


def create_bans_file(
    path: Path, *, layer: str, snapshot: str, key: str, may: BanLimits | None = None, policy: str = ""
) -> None:
    """Write a new file without bans.

    Args:
        path: The file.
        layer: The name of the layer.
        snapshot: The snapshot to write, relative to the file.
        key: The key that signs it, relative to the file, or a URI.
        may: What the layer may do; None: the default limits.
        policy: The snapshot of the first layer, relative to the file; "": not known here.

    Raises:
        InputError: The file exists, or cannot be written.
    """
    if path.exists():
        raise InputError(f"{path}: exists, expected no such file", hint="`authz bans` shows what is in it")
    write_bans_file(path, BansDocument(snapshot, key, layer, may=may or BanLimits(), policy=policy))


def read_bans_file(path: Path) -> BansDocument:
    """Read the file.

    Args:
        path: The file.

    Raises:
        InputError: The file cannot be read.
        InvalidDocument: The file has mistakes; the error has all of them.
    """
    return read_with_lines(path)[0]


def read_with_lines(path: Path) -> tuple[BansDocument, Mapping[Ban, str]]:
    """Read the file, and return also the lines of bans that `write_bans_file` need not make again.

    Args:
        path: The file.

    Raises:
        InputError: The file cannot be read.
        InvalidDocument: The file has mistakes; the error has all of them.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except FileNotFoundError:
        raise InputError(
            f"{path}: no bans file here, and no control plane is named",
            hint="for a control plane, export AUTHZ_CONTROL_URL and AUTHZ_TOKEN, as `authz control init` printed them; "
            f"for a file without one, `authz bans init {path} --key KEY`",
        ) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    ours = _ours(data) if len(data) <= MAX_FILE else None  # cut at the end of a line, it would be one with fewer bans
    if ours is not None:
        return ours
    from authz.publisher.bans.by_hand import read_yaml  # noqa: PLC0415  # loads YAML, which takes its time

    return read_yaml(path), {}


def _ours(data: bytes) -> tuple[BansDocument, Mapping[Ban, str]] | None:
    """Return what stands in a file as we write it, without a mistake, and the lines; None: YAML's to read."""
    try:
        head, separator, text = data.decode().removeprefix(_HEADER).partition(_ROWS)
        if not separator:
            return None
        lines = _lines(text)
        # All at once, which takes a third of the time. No text goes on behind the end of a line, and no ban has an
        # object inside: as many objects as lines are one in each.
        rows = _decode("[" + ",\n".join([line[2:] for line in lines]) + "]")
        bans = dict(zip(map(_ban, rows), lines, strict=True))
        unique = len({ban.id for ban in bans}) == len(lines)
        return (BansDocument(bans=tuple(bans), **_head(head)), bans) if unique else None
    except (AuthzError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _head(text: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for line in text.split("\n"):
        name, _, value = line.partition(": ")
        if name in values:
            raise BadValue(name)
        values[name] = _HEAD[name](json.loads(value, object_pairs_hook=_once))
    if values.pop("version") != VERSION:
        raise BadValue("version")
    return values


def _lines(text: str) -> list[str]:
    if text in {" []", " []\n"}:
        return []
    first, *lines = text.removesuffix("\n").split("\n")
    wrong = [line for line in lines if not (line.startswith("- {") and line.endswith("}"))]
    if first or wrong:
        raise BadValue(first or wrong[0])
    return lines


def _ban(row: dict[str, Any]) -> Ban:
    values = _parsed(row, _ROW)
    return Ban(values.pop("id"), values.pop("network"), added=values.pop("added"), **values)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise BadValue("a key twice")
    return values


def _parsed(values: dict[str, Any], parsers: Parsers) -> dict[str, Any]:
    return {name: parsers[name](value) for name, value in values.items()}


def _may(values: object) -> BanLimits:
    return BanLimits(**_parsed(_mapping(values), _MAY))


def _mapping(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(value)
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise TypeError(value)
    return value


def _integer(most: int | None = None) -> Callable[[object], int]:
    def parse(value: object) -> int:
        if type(value) is not int or value < 0 or (most is not None and value > most):
            raise TypeError(value)
        return value

    return parse


def _several(parse: Callable[[Any], Any]) -> Callable[[object], tuple[Any, ...]]:
    def parse_all(values: object) -> tuple[Any, ...]:
        if not isinstance(values, list):
            raise TypeError(values)
        return tuple(map(parse, values))

    return parse_all


def _one_of(names: object) -> Callable[[str], Any]:
    known = {name: name for name in get_args(names)}
    return known.__getitem__


_ROW: Final[Parsers] = {
    "id": parse_token,
    "network": parse_network,
    "list": _one_of(ListName),
    "applications": lambda names: frozenset(_several(parse_token)(names)),
    "action": _one_of(Action),
    "reason": _text,
    "author": _text,
    "added": parse_moment,
    "expires": parse_moment,
}
_MAY: Final[Parsers] = {
    "lists": _several(_one_of(ListName)),
    "longest": parse_period,
    "widest_ipv4": _integer(32),
    "widest_ipv6": _integer(128),
    "applications": _several(_text),
    "total_ipv4": _integer(32),
    "total_ipv6": _integer(128),
}
_HEAD: Final[Parsers] = {
    "version": _integer(),
    "layer": parse_token,
    "snapshot": _text,
    "key": _text,
    "policy": _text,
    "serial": _integer(),
    "may": _may,
}


def write_bans_file(path: Path, document: BansDocument, known: Mapping[Ban, str] = MappingProxyType({})) -> None:
    """Write the file in one step. Raises InputError if it cannot be written. known: lines, see `read_with_lines`."""
    may = document.may._asdict() | {"longest": format_period(document.may.longest)}
    usual = BanLimits()
    for name in ("applications", "total_ipv4", "total_ipv6"):
        if may[name] == getattr(usual, name):
            del may[name]
    head = {"version": VERSION, **document._asdict(), "may": may}
    lines = [f"{name}: {_json(head[name])}" for name in _HEAD if head[name] != ""]
    rows = [known.get(ban) or f"- {_json(_written(ban))}" for ban in document.bans]
    lines += ["bans:", *rows] if rows else ["bans: []"]
    text = (_HEADER + "\n".join(lines) + "\n").encode()
    try:
        replace_file(path, lambda file: file.write(text))
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error


def _json(value: object) -> str:
    r"""Return JSON that YAML reads too: it does not know the two halves in which JSON escapes U+1F600 and the like."""
    return _ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", _encode(value))


_decode: Final = json.JSONDecoder(object_pairs_hook=_once).decode
_encode: Final = json.JSONEncoder(ensure_ascii=False).encode


def _written(ban: Ban) -> dict[str, Any]:
    """Return a ban as it is written; what is as by default is left out."""
    written: dict[str, Any] = {"id": ban.id, "network": str(ban.network), "list": ban.list}
    optional = {"applications": sorted(ban.applications), "reason": ban.reason, "author": ban.author}
    written |= {name: value for name, value in optional.items() if value}
    if ban.action != "block":
        written["action"] = ban.action
    written["added"] = format_moment(ban.added)
    if ban.expires is not None:
        written["expires"] = format_moment(ban.expires)
    return written
