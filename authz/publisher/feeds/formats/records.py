"""JSON objects with one entry each, and text that is a JSON object a line.

{"cidr": "192.0.2.0/24", "sblid": "SBL1"}                     the address is found as in a table with a header
{"protocol": "http", "host": "192.0.2.7", "port": 8080}       columns for `where`: all the other keys
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import orjson

from authz.errors import shorten
from authz.publisher.feeds.formats.columns import address_columns

if TYPE_CHECKING:
    from collections.abc import Mapping

    from authz.publisher.feeds.collect import Collector, Value


def collect_json_lines(content: bytes, collector: Collector) -> None:
    """Read JSON lines into `collector`."""
    for number, line in enumerate(io.BytesIO(content), start=1):
        if not line.strip():
            continue
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            collector.skip(number, f"found no JSON: {shorten(error)}")
            continue
        take_record(collector, number, record)


def take_record(collector: Collector, line: int, record: object) -> None:
    """Take the entry of one JSON object into `collector`."""
    if not isinstance(record, dict):
        collector.skip(line, f"found {show(record)}, expected an object")
        return
    names = list(record)
    places = address_columns([name if record[name] else "" for name in names])
    addresses = [record[names[place]] for place in places]
    if not addresses:
        collector.skip(line, f"found an object with the keys {shorten(', '.join(names))}, none of them of an address")
    elif not all(isinstance(address, str) for address in addresses):
        collector.skip(line, f"found {' and '.join(map(show, addresses))}, expected an address as text")
    else:
        collector.take(line, "-".join(addresses), columns_of(record) if collector.filters else {})


def show(value: object) -> str:
    """Return a JSON value for an error. What is in objects and arrays is not: it may be nested too deep for `repr`."""
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "an array"
    return f"'{shorten(value)}'"


def columns_of(record: Mapping[str, Any]) -> dict[str, Value]:
    """Return the keys of an object that can be filtered on: text, numbers as text, true, false and lists of text."""
    columns: dict[str, Value] = {}
    for name, value in record.items():
        if isinstance(value, bool):
            columns[name] = str(value).lower()
        elif isinstance(value, (str, int, float)):
            columns[name] = str(value)
        elif isinstance(value, list):
            columns[name] = tuple(item for item in value if isinstance(item, str))
    return columns
