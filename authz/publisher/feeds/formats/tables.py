"""Tables: CSV with or without a header, separated by commas, tabs or semicolons; and geofeeds (RFC 8805).

    fingerprint, ipaddr, port              a header: the column is found by its name (see `formats.columns`)
    0008D964, 192.0.2.7, 444
    192.0.2.0,192.0.2.255,Example,https:// no header: the first column, or the first two as start and end
    192.0.2.0/24,NL,NL-NH,Amsterdam,1098   a geofeed: network, country, region, city, postal code

A row is a line: a newline inside quotes is not taken, so that a lost quote costs one row and not the rest of the file.
Columns for `where`: the names of the header; start, end, column3, ... or network, column2, ... without one; network,
country, region, city and postal_code of a geofeed.
"""

from __future__ import annotations

import csv
import re
from typing import TYPE_CHECKING, NamedTuple

from authz.addresses import try_parse_address
from authz.errors import InputError, shorten
from authz.publisher.feeds.formats.columns import address_columns
from authz.publisher.feeds.formats.lines import content_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from authz.publisher.feeds.collect import Collector

GEOFEED = ("network", "country", "region", "city", "postal_code")
_SEPARATORS = (",", "\t", ";")
_COUNTRY = re.compile(r"(?:[A-Za-z]{2})?", re.ASCII)


class _Layout(NamedTuple):
    """What the columns are.

    Attributes:
        places: The one of the address, or those of start and end.
    """

    names: tuple[str, ...]
    places: tuple[int, ...]

    def name(self, place: int) -> str:
        return self.names[place] if place < len(self.names) else f"column{place + 1}"


class _Row(NamedTuple):
    line: int
    text: str
    cells: list[str]


def collect_csv(content: bytes, collector: Collector) -> None:
    """Read a table into `collector`. Raises InputError if its header names no column of addresses."""
    rows = _rows(content, collector)
    first = next(rows, None)
    if first is None:
        return
    layout = _headless(first.cells)
    if layout is None:
        layout = _header(first)
    else:
        _take(collector, first, layout)
    for row in rows:
        _take(collector, row, layout)


def collect_geofeed(content: bytes, collector: Collector) -> None:
    """Read a geofeed into `collector`."""
    layout = _Layout(GEOFEED, (0,))
    for row in _rows(content, collector):
        if len(row.cells) > 1 and _COUNTRY.fullmatch(row.cells[1]):
            _take(collector, row, layout)
        else:
            collector.skip(row.line, f"found '{shorten(row.text)}', expected network,country,region,city,postal code")


def _rows(content: bytes, collector: Collector) -> Iterator[_Row]:
    """Yield the rows, without spaces around the cells. The first row says what separates them."""
    separator = ""
    for number, line in content_lines(content):
        separator = separator or max(_SEPARATORS, key=line.count)
        if '"' in line:
            try:
                cells = next(csv.reader([line], delimiter=separator, skipinitialspace=True, strict=True))
            except csv.Error as error:
                collector.skip(number, f"found '{shorten(line)}', which is not a row of CSV: {shorten(error)}")
                continue
        else:
            cells = line.split(separator)
        yield _Row(number, line, [cell.strip() for cell in cells])


def _headless(cells: list[str]) -> _Layout | None:
    """Return the layout of a table without header from its first row; None if that row is a header."""
    if len(cells) > 1 and all(try_parse_address(cell) for cell in cells[:2]):
        return _Layout(("start", "end"), (0, 1))
    if try_parse_address(cells[0].partition("/")[0].partition("-")[0].strip()):
        return _Layout(("network",), (0,))
    return None


def _header(row: _Row) -> _Layout:
    places = address_columns(row.cells)
    if not places:
        raise InputError(
            f"line {row.line}: found '{shorten(row.text)}', expected addresses, or a header with a column such as ip, "
            f"cidr, network, or start and end"
        )
    return _Layout(tuple(row.cells), places)


def _take(collector: Collector, row: _Row, layout: _Layout) -> None:
    if max(layout.places) >= len(row.cells):
        missing = layout.name(max(layout.places))
        collector.skip(row.line, f"found {len(row.cells)} columns, expected one more for '{shorten(missing)}'")
        return
    text = "-".join(row.cells[place] for place in layout.places)
    if collector.filters:
        collector.take(row.line, text, {layout.name(place): cell for place, cell in enumerate(row.cells)})
    else:
        collector.take(row.line, text)
