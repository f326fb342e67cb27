"""Copies of what is fetched for the first layer: feeds by their path, and what host names mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import insert, select, update

from authz.control.store.tables import input_contents, inputs

if TYPE_CHECKING:
    from sqlalchemy import Connection


class Input(NamedTuple):
    """A copy. Times: seconds since 1970; 0: never.

    Attributes:
        url: Without what may be secret.
        asked, changed: When the server was asked with success, and sent something new.
        failed, problem: Of the last try, where that failed.
        size: Bytes of the copy; 0: there is none.
    """

    path: str
    url: str
    entries: int = 0
    asked: int = 0
    changed: int = 0
    etag: str = ""
    last_modified: str = ""
    failed: int = 0
    problem: str = ""
    size: int = 0


def put_input(tx: Connection, copy: Input) -> None:
    """Keep what is known of a copy."""
    if not tx.execute(update(inputs).where(inputs.c.path == copy.path).values(**copy._asdict())).rowcount:
        tx.execute(insert(inputs).values(**copy._asdict()))


def put_content(tx: Connection, path: str, content: bytes) -> None:
    """Keep the copy itself."""
    if not tx.execute(update(input_contents).where(input_contents.c.path == path).values(content=content)).rowcount:
        tx.execute(insert(input_contents).values(path=path, content=content))


def list_inputs(tx: Connection) -> list[Input]:
    """Return what is known of all copies, by path."""
    return [Input(*row) for row in tx.execute(select(inputs).order_by(inputs.c.path))]


def get_content(tx: Connection, path: str) -> bytes:
    """Return a copy; empty: there is none."""
    content = tx.execute(select(input_contents.c.content).where(input_contents.c.path == path)).scalar_one_or_none()
    return b"" if content is None else bytes(content)
