"""Applications and entries as they stand in a snapshot, written without loading protobuf. See `authz.wire.plain`.

`authz.engine.entries.manifest` writes the same bytes; a property test compares the two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from authz.wire.plain import field, plain, repeated

if TYPE_CHECKING:
    from authz.engine.model import Application, Entry


def application_bytes(application: Application) -> bytes:
    """Return a serialized Application."""
    deny = application.deny
    return b"".join((
        plain(1, application.name), plain(2, application.mode), plain(3, application.default),
        plain(4, application.precedence), plain(5, application.match), plain(6, application.dry_run),
        plain(7, application.denylist_in_monitoring), repeated(8, application.hosts),
        field(9, plain(1, deny.status) + plain(2, deny.body) + plain(3, deny.content_type)),
    ))  # fmt: skip


def entry_bytes(entry: Entry) -> bytes:
    """Return a serialized Entry."""
    return b"".join((
        plain(1, entry.id), plain(2, entry.list), plain(3, entry.action), repeated(4, sorted(entry.applications)),
        field(5, entry.starts), field(6, entry.expires), plain(7, entry.reason), plain(8, entry.author),
        repeated(9, entry.subjects), field(10, entry.added),
    ))  # fmt: skip
