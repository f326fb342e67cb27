"""CSV with a header, and the bans that `fail2ban-client get JAIL banip --with-time` prints.

network,list,applications,expires,reason             applications: with spaces between
203.0.113.9     2026-11-28 10:00:00 + 600 = 2026-11-28 10:10:00
"""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, datetime
from typing import Final

from authz.control.maintenance.formats.imported import Imported
from authz.errors import BadValue, InputError
from authz.times import format_moment, parse_moment

COLUMNS: Final = ("network", "list", "applications", "expires", "reason", "author")
_BANNED: Final = re.compile(
    r"^\s*(\S+)\s+\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \+ (-?\d+) = (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\s*$"
)
_FOREVER: Final = 9999  # the year that fail2ban prints for a ban without an end


def read_csv(text: str, application: str | None = None, list_: str = "deny") -> Imported:
    """Read rows.

    Args:
        text: CSV with a line of column names.
        application: Which application the entries are for; None: all, or as the column `applications` says.
        list_: The list of rows that do not name one.

    Raises:
        InputError: There is no column `network`.
    """
    rows = csv.DictReader(io.StringIO(text))
    names = [name.strip().lower() for name in rows.fieldnames or ()]
    if "network" not in names:
        raise InputError(
            f"found the columns {', '.join(names) or '(none)'}, expected network and any of {', '.join(COLUMNS[1:])}"
        )
    imported = Imported(application)
    for name in names:
        if name not in COLUMNS:
            imported.note(1, f"left out: the column '{name}'")
    rows.fieldnames = names
    for row in rows:
        line = rows.line_num
        more = {name: (row.get(name) or "").strip() for name in ("reason", "author", "expires")}
        if more["expires"] and not _is_moment(more["expires"]):
            imported.note(
                line, f"left out: the end '{more['expires'][:64]}' is not a time such as 2026-12-01T00:00:00Z"
            )
            continue
        where = (row.get("list") or "").strip() or list_
        if where not in {"allow", "deny", "gray"}:
            imported.note(line, f"left out: found the list '{where[:64]}', expected allow, deny or gray")
            continue
        applications = (row.get("applications") or "").split()
        imported.add(where, [(row.get("network") or "").strip()], line, **more, applications=applications)
    return imported


def read_fail2ban(text: str, application: str | None = None) -> Imported:
    """Read bans with their ends, or plain addresses, a line each."""
    imported = Imported(application)
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        match = _BANNED.match(line)
        if match is None:  # `get JAIL banip` prints all on one line
            imported.add("deny", line.replace(",", " ").split(), number, reason="fail2ban")
            imported.note(number, "has no end: it is banned until somebody ends it; --with-time tells ends")
            continue
        end = datetime.strptime(match[3], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
        expires = "" if int(match[2]) < 0 or end.year >= _FOREVER else format_moment(end.timestamp())
        imported.add("deny", [match[1]], number, expires=expires, reason="fail2ban")
    if any("expires" in entry for entry in imported.entries):
        imported.note(0, "fail2ban prints local times; they were read as UTC")
    return imported


def _is_moment(text: str) -> bool:
    try:
        parse_moment(text)
    except BadValue:
        return False
    return True
