"""Path patterns: which paths a trigger means, and the parts of them that it tells apart.

A pattern is a path without a query. `*` is one segment, `**` at the end is any rest, `{name}` is one segment whose
value can be told apart:

    /login            /login and /login/, with any query
    /api/orders/{id}  /api/orders/17; id is 17
    /static/**        /static/a/b.css

Paths are compared as most applications read them (`canonical_path`), letter case as it is.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import unquote

from authz.errors import BadValue

PATH_EXPECTED: Final = "a path such as /login, /api/orders/{id} or /static/**, without a query"
_SEGMENT = re.compile(r"\*\*|\*|\{[a-z_][a-z0-9_]{0,31}\}|(?!\.{1,2}$)[^{}*/?#;\\]+")
_UNUSUAL: Final = re.compile(r"//|/\.|;|\\")


class PathPattern(NamedTuple):
    """A pattern of paths. expression: matches a canonical path. parameters: the names in braces."""

    text: str
    expression: re.Pattern[str]
    parameters: tuple[str, ...]


def parse_path(text: str) -> PathPattern:
    """Return the pattern that `text` writes. Raises BadValue."""
    if not text.startswith("/") or len(text) > 1024:
        raise BadValue(text, PATH_EXPECTED)
    parts, parameters = [], []
    segments = [] if text == "/" else text[1:].removesuffix("/").split("/")
    for number, segment in enumerate(segments):
        if not _SEGMENT.fullmatch(segment) or (segment == "**" and number < len(segments) - 1):
            raise BadValue(text, PATH_EXPECTED)
        if segment == "**":
            parts.append("(?:/.*)?")
        elif segment == "*":
            parts.append("/[^/]+")
        elif segment.startswith("{"):
            if segment[1:-1] in parameters:
                raise BadValue(text, PATH_EXPECTED)
            parameters.append(segment[1:-1])
            parts.append(f"/(?P<{segment[1:-1]}>[^/]+)")
        else:
            parts.append("/" + re.escape(segment))
    return PathPattern(text, re.compile("".join(parts) + "/?", re.DOTALL), tuple(parameters))


def canonical_path(path: str) -> str:
    """Return a path without its query, as most applications read it.

    It is percent-decoded once; parameters of segments (`;x`), empty segments and `.` go, `..` takes the one before it,
    and a backslash is a slash. Who guesses passwords at `//login;x` is counted at `/login`.
    """
    decoded = unquote(path.partition("?")[0].partition("#")[0], errors="replace")
    if not _UNUSUAL.search(decoded):
        return decoded
    kept: list[str] = []
    for segment in decoded.replace("\\", "/").split("/"):
        name = segment.partition(";")[0]
        if name == "..":
            del kept[-1:]
        elif name not in {"", "."}:
            kept.append(name)
    return "/" + "/".join(kept)
