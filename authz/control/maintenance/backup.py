"""The whole store as one file, and back: from either database into either.

The file is gzip of lines of JSON: first a header, then a row each, `["table", {column: value}]`; bytes as base64. What
is restored continues above every serial that was published since the backup, so sidecars take its files.
"""

from __future__ import annotations

import base64
import gzip
from typing import TYPE_CHECKING, Any, Final

import msgspec
from sqlalchemy import LargeBinary, insert, select

from authz.control.model.records import MICROSECONDS
from authz.control.publish.one_layer import SYSTEM, signed_anew
from authz.control.store.ledger.changes import append, go_on_above, read_heads
from authz.control.store.tables import metadata
from authz.durable import replace_file
from authz.errors import InputError, reason_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

    from sqlalchemy import Connection, Table

    from authz.control.store.database import Store

FORMAT: Final = "authz-control-backup-1"
_ROWS = 1000  # at once


def back_up(store: Store, path: Path) -> int:
    """Write the store to a file, durably, and return its number of rows.

    Others may write meanwhile: the copy is of one state.

    Args:
        store: The store.
        path: The new file.

    Raises:
        InputError: The file cannot be written.
    """
    count = 0

    def write(file: BinaryIO) -> None:
        nonlocal count
        with gzip.GzipFile(fileobj=file, mode="wb", mtime=0) as packed, store.reading() as tx:
            packed.write(msgspec.json.encode({"format": FORMAT, "created": store.now()}) + b"\n")
            for line in _lines(tx):
                packed.write(line)
                count += 1

    try:
        replace_file(path, write, mode=0o600)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error
    return count


def _lines(tx: Connection) -> Iterator[bytes]:
    for table in metadata.sorted_tables:
        binary = _binary(table)
        for row in tx.execute(select(table).execution_options(yield_per=_ROWS)):
            content = {str(name): value for name, value in row._mapping.items()}  # noqa: SLF001  # its public name
            for name in binary:
                content[name] = None if content[name] is None else base64.b64encode(content[name]).decode()
            yield msgspec.json.encode([str(table.name), content]) + b"\n"


def restore(store: Store, path: Path) -> int:
    """Fill an empty store from a file, and return its number of rows.

    Args:
        store: The store.
        path: What `back_up` wrote.

    Raises:
        InputError: The store is not empty, or the file is not a whole backup. Nothing was written then.
    """
    try:
        with gzip.open(path, "rb") as file, store.writing() as tx:
            if read_heads(tx):
                raise InputError(
                    "the store is not empty, expected a new one",
                    hint="move it away, or name a new one in `store`",
                )
            header = msgspec.json.decode(file.readline() or b"null")
            if not isinstance(header, dict) or header.get("format") != FORMAT:
                raise InputError(f"{path}: found no backup of a store, expected one")
            count = _fill(tx, file)
            _go_on_above(tx, store.now())
    except (OSError, EOFError, msgspec.DecodeError) as error:
        raise InputError(f"{path}: cannot be read: {reason_of(error)}") from error
    return count


def _fill(tx: Connection, file: Any) -> int:
    count, table, rows = 0, "", list[dict[str, Any]]()
    for line in file:
        name, row = msgspec.json.decode(line, type=tuple[str, dict[str, Any]])
        if name not in metadata.tables:
            raise InputError(f"found the table '{name[:64]}', which this version does not know")
        if rows and (name != table or len(rows) == _ROWS):
            tx.execute(insert(metadata.tables[table]), rows)
            rows = []
        for column in _binary(metadata.tables[name]):
            row[column] = None if row[column] is None else base64.b64decode(row[column])
        table, count = name, count + 1
        rows.append(row)
    if rows:
        tx.execute(insert(metadata.tables[table]), rows)
    return count


def _go_on_above(tx: Connection, now: int) -> None:
    """Let each layer go on above what may have been published since the backup was made."""
    for layer in read_heads(tx):
        append(tx, go_on_above(tx, layer, now // MICROSECONDS), SYSTEM, [signed_anew(layer)], now)


def _binary(table: Table) -> list[str]:
    return [column.name for column in table.columns if isinstance(column.type, LargeBinary)]
