"""`allow`, `deny` and `geo` of nginx (ngx_http_access_module, ngx_http_geo_module).

allow 192.0.2.0/24;  deny 192.0.2.7;  deny all;      the first that matches decides
geo $blocked { default 0; 203.0.113.0/24 1; }        the longest that matches gives the value
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from authz.control.maintenance.formats.imported import Imported

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_TOKEN: Final = re.compile(r"""#[^\n]*|[;{}]|\n|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[^\s;{}]+""")
_OFF: Final = frozenset({"0", "off", "no", "", "allow"})
_GEO_WORDS: Final = frozenset({"proxy", "proxy_recursive", "delete", "include"})
_REAL_IP: Final = frozenset({"set_real_ip_from", "real_ip_header", "real_ip_recursive"})


class Directive(NamedTuple):
    """A directive.

    Attributes:
        place: The blocks around it, outermost first.
    """

    words: tuple[str, ...]
    line: int
    place: tuple[tuple[str, ...], ...]


def read_nginx(text: str, application: str | None = None) -> Imported:
    """Read the rules of a configuration file."""
    imported = Imported(application)
    rules: dict[tuple[tuple[str, ...], ...], list[Directive]] = {}
    known: set[str] = set()
    for directive in _directives(text):
        name, block = directive.words[0], directive.place[-1] if directive.place else ()
        if block[:1] == ("geo",):
            _geo(imported, block, directive, known)
        elif name in {"allow", "deny"} and len(directive.words) == 2:
            rules.setdefault(directive.place, []).append(directive)
        elif name == "include":
            imported.note(
                directive.line, f"left out: what is in '{' '.join(directive.words[1:])}': import it separately"
            )
        elif name == "satisfy" and directive.words[1:] == ("any",):
            imported.note(directive.line, "satisfy any also lets in whom a password or another module lets in")
        elif name in _REAL_IP:
            imported.note(directive.line, f"left out: {name}: see client_address of authz.yaml")
    _access(imported, rules)
    return imported


def _directives(text: str) -> Iterator[Directive]:
    """Yield the directives that end with `;`. A block is in the place of what is in it."""
    words: list[str] = []
    place: list[tuple[str, ...]] = []
    line = first = 1
    for match in _TOKEN.finditer(text):
        part = match[0]
        if part == "\n":
            line += 1
        elif part == "{":
            place.append(tuple(words))
            words = []
        elif part == "}":
            words = []
            if place:
                place.pop()
        elif part == ";":
            if words:
                yield Directive(tuple(words), first, tuple(place))
            words = []
        elif part[0] != "#":
            first = first if words else line
            words.append(part[1:-1] if part[0] in "\"'" and len(part) > 1 else part)
            line += part.count("\n")


def _geo(imported: Imported, block: Sequence[str], directive: Directive, known: set[str]) -> None:
    variable, line = block[-1], directive.line
    if variable not in known:
        known.add(variable)
        imported.note(line, f"{variable}: values but 0, off and no are read as denied: see where nginx asks for it")
        if len(block) > 2:
            imported.note(line, f"{variable} is by {block[1]}; authz decides by the client's address")
    network, value = directive.words[0], directive.words[1] if len(directive.words) > 1 else ""
    if network == "ranges":
        return
    if network in _GEO_WORDS:
        imported.note(line, f"left out: '{network}' of geo {variable}")
    elif network == "default":
        if value not in _OFF:
            imported.note(line, f"geo {variable} has the default '{value}': set `default: deny`, if that means denied")
    elif value in _OFF:
        imported.add("allow", [network], line, reason=f"geo {variable} {value}")
        imported.note(line, f"{network} is not blocked in geo {variable}; as an allow entry it beats other denials")
    else:
        imported.add("deny", [network], line, reason=f"geo {variable} {value}")


def _access(imported: Imported, rules: dict[tuple[tuple[str, ...], ...], list[Directive]]) -> None:
    places = [place for place in rules if not any(block[:1] == ("limit_except",) for block in place)]
    for place in rules.keys() - set(places):
        imported.note(rules[place][0].line, "left out: rules for certain methods (limit_except)")
    if len(places) > 1:
        names = ", ".join(" ".join(place[-1]) if place else "the file" for place in places)
        imported.note(0, f"rules of several blocks are one list here: {names}. Import each for its own application")
    for place in places:
        _rules(imported, rules[place])


def _rules(imported: Imported, rules: Sequence[Directive]) -> None:
    for position, (words, line, _) in enumerate(rules):
        action, network = words
        if network == "all":
            if imported.settings.get("default", action) != action:
                imported.note(line, f"'{action} all' here and the other in another block: set the default yourself")
            imported.settings["default"] = action
            if position + 1 < len(rules):
                imported.note(line, f"'{action} all' stands before other rules, which nginx never reaches: left out")
                break
        elif network == "unix:":
            imported.note(line, "left out: unix: has no address; see client_address.trust_unix")
        else:
            imported.add(action, [network], line)
    if {words[0] for words, _, _ in rules if words[1] != "all"} == {"allow", "deny"}:
        imported.settings["precedence"] = "most_specific"
        imported.note(
            rules[0].line,
            "nginx takes the first rule that matches; authz (most_specific) the longest prefix: check overlaps",
        )
