"""AS numbers as people and files write them: `AS9009`, `9009`, sets of origins, and lists of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import orjson

from authz.errors import InputError, shorten
from authz.publisher.feeds.decompress import MAX_TEXT, read_unpacked
from authz.publisher.feeds.formats.lines import content_lines

if TYPE_CHECKING:
    from pathlib import Path

HIGHEST: Final = 0xFFFFFFFF  # RFC 6793
EXPECTED: Final = f"an AS number from 1 to {HIGHEST}, such as AS64496 or 64496"
_NUMBER: Final = re.compile(r"(?:AS)?(\d{1,10})", re.ASCII | re.IGNORECASE)
_SEVERAL: Final = re.compile(r"\d{1,10}(?:[_, ]\d{1,10})*|\{\d{1,10}(?:, ?\d{1,10})*\}", re.ASCII)
_DIGITS: Final = re.compile(r"\d+", re.ASCII)
_NOBODY: Final = frozenset({"", "-", "0", "AS0"})


def parse_asn(text: str) -> int | None:
    """Return the number of `AS64496` or `64496`; None if the text is neither, or out of range."""
    match = _NUMBER.fullmatch(text)
    return _in_range(int(match[1])) if match else None


def _in_range(number: int) -> int | None:
    return number if 1 <= number <= HIGHEST else None


def parse_origin(text: str, place: str) -> int:
    """Return who announces a network; 0 if nobody does (`0`, `-`, "").

    place: file and line, for the error. Raises InputError for other text.
    """
    number = 0 if text.upper() in _NOBODY else parse_asn(text)
    if number is None:
        raise InputError(f"{place}: found '{shorten(text)}', expected {EXPECTED}")
    return number


def parse_origins(text: str, place: str) -> frozenset[int]:
    """Return who announce a network: one, none, or several (`{64496,64497}`, `64496_64497`). See `parse_origin`."""
    numbers = _DIGITS.findall(text) if _SEVERAL.fullmatch(text) else [text]
    return frozenset(parse_origin(number, place) for number in numbers) - {0}


def read_asn_list(path: Path) -> frozenset[int]:
    """Read a list of AS numbers: `AS9009 # comment` lines, or JSON lines with a field `asn` (Spamhaus's asn_drop).

    Raises InputError if the file cannot be read, at the first line that is something else, and where it has none.
    """
    numbers = set()
    for line, text in content_lines(read_unpacked(path, MAX_TEXT)):
        if text.startswith("{"):
            number = _json_number(text, f"{path}:{line}")
        else:
            number = parse_asn(text.partition("#")[0].strip())
            if number is None:
                raise InputError(f"{path}:{line}: found '{shorten(text)}', expected {EXPECTED}")
        if number is not None:
            numbers.add(number)
    if not numbers:
        raise InputError(f"{path}: found no AS number, expected one a line, such as AS64496")
    return frozenset(numbers)


def _json_number(text: str, place: str) -> int | None:
    """Return the number of a line; None for a line about the list itself, `{"type": "metadata", ..}`."""
    try:
        content = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InputError(f"{place}: damaged JSON: {error.msg}", hint="download it again") from error
    if content.get("type") == "metadata":
        return None
    number = content.get("asn")
    if type(number) is not int or _in_range(number) is None:
        raise InputError(f"{place}: found '{shorten(number)}' for asn, expected {EXPECTED}")
    return number
