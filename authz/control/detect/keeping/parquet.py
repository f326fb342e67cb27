"""Events as Parquet, written as they come out of the store: no more of them are in memory than a row group has.

Sorted by client, a row group has few networks, so a reader skips all groups but those of the address it asks for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
from pyarrow import parquet

from authz.control.detect.keeping.export import pages
from authz.control.store.events.search import client_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Row

    from authz.control.detect.keeping.export import Order
    from authz.control.store.database import Store
    from authz.control.store.events.search import WantedEvents

ROW_GROUP: Final = 50_000  # events
SCHEMA: Final = pa.schema([
    ("time", pa.timestamp("us", tz="UTC")),
    ("client", pa.string()),
    ("client_key", pa.binary(16)),  # the address as 128 bits, IPv4 mapped: networks are ranges of it
    *((name, pa.string()) for name in
      ("country", "application", "method", "host", "path", "decision", "reason", "entry", "payload", "request_id")),
    ("status", pa.int32()),
    ("attacks", pa.list_(pa.string())),
])  # fmt: skip
_PLAIN: Final = tuple(name for name in SCHEMA.names if name not in {"client", "client_key", "attacks"})


class _Pieces:
    """A file that gives back what was written to it, piece by piece."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self.closed = False

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._pieces.append(piece)
        self._size += len(piece)
        return len(piece)

    def tell(self) -> int:
        return self._size

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True

    def taken(self) -> bytes:
        """Return what was written since the last call."""
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


def as_parquet(store: Store, wanted: WantedEvents, order: Order) -> Iterator[bytes]:
    """Give events as the bytes of a Parquet file, compressed by zstd."""
    sink = _Pieces()
    sorting = [parquet.SortingColumn(SCHEMA.names.index(name)) for name in _sorted_by(order)]
    with parquet.ParquetWriter(pa.PythonFile(sink, "w"), SCHEMA, compression="zstd", sorting_columns=sorting) as writer:
        group: list[Row[Any]] = []
        for rows in pages(store, wanted, order):
            group += rows
            if len(group) >= ROW_GROUP:
                writer.write_table(_table(group))
                yield sink.taken()
                group = []
        if group:
            writer.write_table(_table(group))
    yield sink.taken()


def _sorted_by(order: Order) -> tuple[str, ...]:
    return ("client_key", "time") if order == "client" else ("time",)


def _table(rows: Sequence[Row[Any]]) -> pa.Table:
    columns = {name: [getattr(row, name) for row in rows] for name in _PLAIN}
    keys = [bytes(row.client) for row in rows]
    columns |= {
        "client": [client_of(key) for key in keys],
        "client_key": keys,
        "attacks": [row.attacks.split(",") if row.attacks else [] for row in rows],
    }
    return pa.table([pa.array(columns[name], SCHEMA.field(name).type) for name in SCHEMA.names], schema=SCHEMA)
