"""Ids of bans: 64 bits, as text `b-` and 16 hexadecimal digits."""

from __future__ import annotations

import re
from typing import Final

NEVER: Final = 0xFFFFFFFF  # the end of a ban without one, where ends are 32 bits
BAN_ID: Final = re.compile(r"b-([0-9a-f]{16})")


def ban_id(number: int) -> str:
    """Return the id of a ban as text."""
    return f"b-{number:016x}"


def ban_number(text: str) -> int | None:
    """Return the number of the ban that has this id; None if it is the id of something else."""
    match = BAN_ID.fullmatch(text)
    return int(match[1], 16) if match else None
