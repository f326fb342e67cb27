"""bans.yaml as a document: what stands in it, reading and writing it.

What we have written ourselves, a row of JSON for each ban, is read by the parser of JSON; anything else, and any
mistake, by that of YAML, which takes a hundred times as long and says where the mistake is.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Annotated, Any, Final, Self, get_args

import msgspec

from authz.addresses import NETWORK_EXPECTED, Network, parse_network
from authz.durable import replace_file
from authz.engine.model import TOKEN, Action, ListName
from authz.errors import AuthzError, BadValue, InputError
from authz.publisher.bans.record import Ban
from authz.strict_yaml import Scalar, read, read_text
from authz.times import MOMENT_EXPECTED, format_moment, parse_duration, parse_moment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FOREVER = "forever"
_HEADER = (
    "# Written by authz ban and authz unban. The next of them takes over what is changed by hand, but no comments.\n"
)
_ESCAPED = re.compile("[^ -~\U00010000-\U0010ffff]")
_ROWS = "\nbans:\n"  # before the bans, a line of JSON each


def _token(text: str) -> str:
    if not TOKEN.fullmatch(text):
        raise BadValue(text)
    return text


def parse_period(text: str) -> int | None:
    """Return a period such as `2h` in seconds, None for `forever`. Raises BadValue."""
    if text == FOREVER:
        return None
    try:
        return int(parse_duration(text))
    except BadValue:
        raise BadValue(text, PERIOD_EXPECTED) from None


def format_period(seconds: int | None) -> str:
    """Return a period as it is written: `7d`, `90m`, `forever`."""
    if seconds is None:
        return FOREVER
    unit, size = next((unit, size) for unit, size in _UNITS if seconds % size == 0)
    return f"{seconds // size}{unit}"


_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
PERIOD_EXPECTED = "a period such as 5m, 2h or 7d, or forever"
_Token = Annotated[str, Scalar(_token, "letters, digits, '.', '_' and '-'")]
_Network = Annotated[Network, Scalar(parse_network, NETWORK_EXPECTED)]
_Moment = Annotated[int, Scalar(parse_moment, MOMENT_EXPECTED)]
_Period = Annotated[int | None, Scalar(parse_period, PERIOD_EXPECTED)]


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the layer may do, as `may` in authz.yaml says it to the sidecars. longest: seconds, None: for ever.

    applications: patterns such as `team-a-*`; where there are some, each ban names applications that one of them fits.
    """

    lists: tuple[ListName, ...] = ("deny", "gray")
    longest: _Period = 7 * 86400
    widest_ipv4: int = 24
    widest_ipv6: int = 56
    applications: tuple[str, ...] = ()


class WrittenBan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One ban as it stands in the file."""

    id: _Token
    network: _Network
    list: ListName = "deny"
    applications: tuple[_Token, ...] = ()
    action: Action = "block"
    reason: str = ""
    author: str = ""
    added: _Moment
    expires: _Moment | None = None

    @classmethod
    def of(cls, ban: Ban) -> Self:
        """Return a ban as it is written."""
        return cls(
            id=ban.id, network=ban.network, list=ban.list, applications=tuple(sorted(ban.applications)),
            action=ban.action, reason=ban.reason, author=ban.author, added=ban.added, expires=ban.expires,
        )  # fmt: skip

    def ban(self) -> Ban:
        """Return it as a ban."""
        return Ban(
            self.id, self.network, self.list, frozenset(self.applications), self.action, self.reason, self.author,
            None, self.expires, self.added,
        )  # fmt: skip


class BansDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file. snapshot, key: relative to it; a key may be a URI. serial: of the last snapshot."""

    version: int
    layer: _Token = "bans"
    snapshot: str
    key: str
    serial: int = 0
    may: Limits = Limits()
    bans: tuple[WrittenBan, ...] = ()


def create_bans_file(path: Path, *, layer: str, snapshot: str, key: str, may: Limits | None = None) -> None:
    """Write a new file without bans. Raises InputError where there is one already, or it cannot be written."""
    if path.exists():
        raise InputError(f"{path}: exists, expected no such file", hint="`authz bans` shows what is in it")
    write_bans_file(path, BansDocument(version=1, layer=layer, snapshot=snapshot, key=key, may=may or Limits()))


def read_bans_file(path: Path) -> BansDocument:
    """Read the file. Raises InputError, and InvalidDocument with every mistake."""
    if not path.exists():
        raise InputError(f"{path}: no such file", hint=f"`authz bans init {path} --key KEY` makes one")
    text = read_text(path)
    rows = _our_rows(text)
    document = read(BansDocument, str(path), text if rows is None else text.partition(_ROWS)[0])
    content = document.checked()
    if content.version != 1:
        document.mistake("version", f"found {content.version}, expected 1")
    for version, bits in ((4, 32), (6, 128)):
        widest = getattr(content.may, f"widest_ipv{version}")
        if not 0 <= widest <= bits:
            document.mistake(f"may.widest_ipv{version}", f"found {widest}, expected 0 to {bits}")
    ids = set[str]()
    for ban in content.bans:
        if ban.id in ids:
            document.mistake(f"{document.key_of(ban)}.id", f"found '{ban.id}' twice, expected each id once")
        ids.add(ban.id)
    content = document.checked()
    return content if rows is None else msgspec.structs.replace(content, bans=rows)


def _our_rows(text: str) -> tuple[WrittenBan, ...] | None:
    """Return the bans where each is a line of JSON, as we write it, without a mistake; None: YAML's to read."""
    head, separator, rows = text.partition(_ROWS)
    if not separator or "\nbans:" in head:
        return None
    try:
        bans = tuple([_row(line) for line in rows.removesuffix("\n").split("\n")])
    except (AuthzError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return bans if len({ban.id for ban in bans}) == len(bans) else None


def _row(line: str) -> WrittenBan:
    if not line.startswith("- {"):
        raise BadValue(line)
    values = json.loads(line[2:], object_pairs_hook=_once)
    return WrittenBan(**{name: _PARSERS[name](value) for name, value in values.items()})


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise BadValue("a key twice")
    return values


def _text(value: object) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise TypeError(value)
    return value


def _tokens(names: object) -> tuple[str, ...]:
    if not isinstance(names, list):
        raise TypeError(names)
    return tuple(map(_token, names))


def _one_of(names: object) -> Callable[[str], Any]:
    known = {name: name for name in get_args(names)}
    return known.__getitem__


_PARSERS: Final[dict[str, Callable[[Any], Any]]] = {
    "id": _token,
    "network": parse_network,
    "list": _one_of(ListName),
    "applications": _tokens,
    "action": _one_of(Action),
    "reason": _text,
    "author": _text,
    "added": parse_moment,
    "expires": parse_moment,
}


def write_bans_file(path: Path, document: BansDocument) -> None:
    """Write the file in one step. Raises InputError where it cannot be written."""
    may = document.may
    limits = [f"lists: [{', '.join(may.lists)}]", f"longest: {format_period(may.longest)}"]
    limits += [f"widest_ipv{version}: {getattr(may, f'widest_ipv{version}')}" for version in (4, 6)]
    if may.applications:
        limits.append(f"applications: {json.dumps(may.applications)}")
    lines = [
        "version: 1",
        f"layer: {document.layer}",
        f"snapshot: {json.dumps(document.snapshot)}",
        f"key: {json.dumps(document.key)}",
        f"serial: {document.serial}",
        f"may: {{{', '.join(limits)}}}",
        "bans:" if document.bans else "bans: []",
        *(f"- {_as_json(_plain(ban))}" for ban in document.bans),
    ]
    text = (_HEADER + "\n".join(lines) + "\n").encode()
    try:
        replace_file(path, lambda file: file.write(text))
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error


def _as_json(values: dict[str, Any]) -> str:
    r"""Return JSON that YAML reads too: it does not know the two halves in which JSON escapes U+1F600 and the like."""
    return _ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(values, ensure_ascii=False))


def _plain(ban: WrittenBan) -> dict[str, Any]:
    """Return a ban as JSON, which is YAML; what is as by default is left out."""
    written: dict[str, Any] = {"id": ban.id, "network": str(ban.network), "list": ban.list}
    optional = {"applications": list(ban.applications), "reason": ban.reason, "author": ban.author}
    written |= {name: value for name, value in optional.items() if value}
    if ban.action != "block":
        written["action"] = ban.action
    written["added"] = format_moment(ban.added)
    if ban.expires is not None:
        written["expires"] = format_moment(ban.expires)
    return written
