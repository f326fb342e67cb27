"""The tables. A version of an entry holds from `recorded_from` until before `recorded_to` (microseconds).

`entry_networks` has a row for each network of each version, by its key (see `entries.network_keys`): which entries
cover an address is asked by the keys of the networks that could.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Double, Index, Integer, LargeBinary, MetaData, Table, Text, text

from authz.control.store.event_tables import make_event_tables

metadata = MetaData(
    naming_convention={"ix": "ix_%(table_name)s_%(column_0_N_name)s", "pk": "pk_%(table_name)s"},
)

heads = Table(
    "heads",
    metadata,
    Column("layer", Text, primary_key=True),
    Column("sequence", BigInteger, nullable=False),  # of the newest change; also the layer's serial
    Column("time", BigInteger, nullable=False),  # of the newest change: times of record never go back
    Column("hash", Text, nullable=False),  # of the chain up to it
)

_is_history = text("action <> 'publish'")
changes = Table(
    "changes",
    metadata,
    Column("layer", Text, primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("time", BigInteger, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("actor_kind", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),  # id of an entry, or name of a document
    Column("reason", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("forced", Boolean, nullable=False),
    Column("before", Text, nullable=False),  # JSON; empty: nothing
    Column("after", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Index(None, "subject", "time"),
    Index(None, "time", "layer", "sequence"),
    Index(None, "tenant", "time"),
    Index(
        "ix_changes_actor_time", "actor", "time", "layer", "sequence",
        sqlite_where=_is_history, postgresql_where=_is_history,
    ),
)  # fmt: skip

entries = Table(
    "entries",
    metadata,
    Column("id", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("recorded_from", BigInteger, nullable=False),
    Column("recorded_to", BigInteger, nullable=False),  # FOREVER: it still holds
    Column("layer", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("list", Text, nullable=False),
    Column("expires", BigInteger, nullable=False),  # seconds; FOREVER: never
    Column("likeness", LargeBinary, nullable=False),  # equal: names the same subjects for the same applications
    Column("content", Text, nullable=False),  # JSON of model.Entry
    Column("author", Text, nullable=False),  # these four: what people sort by (see store.entry_pages)
    Column("reason", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("applications", Text, nullable=False),
    Index(None, "recorded_to", "layer", "id"),
    Index(None, "likeness", "recorded_to"),
    Index(None, "recorded_from", "id"),
    Index(None, "recorded_to", "recorded_from", "id"),
    Index(None, "recorded_to", "list", "recorded_from", "id"),
    Index(None, "recorded_to", "list", "id"),
    Index(None, "recorded_to", "list", "expires"),
    Index(None, "recorded_to", "expires", "id"),
    Index(None, "recorded_to", "subject", "id"),
    Index(None, "recorded_to", "reason", "id"),
    Index(None, "recorded_to", "author", "id"),
    Index(None, "recorded_to", "applications", "id"),
    Index(None, "expires"),
)

daily_counts = Table(
    "daily_counts",
    metadata,
    Column("day", BigInteger, primary_key=True, autoincrement=False),  # midnight UTC, in microseconds
    Column("counts", Text, nullable=False),  # JSON: [[tenant, layer, list], entries] of each that has some
)

covered = Table(
    "covered",
    metadata,
    Column("layer", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),  # 4 or 6
    Column("until", BigInteger, primary_key=True, autoincrement=False),  # seconds: the end of an hour; FOREVER: no end
    Column("addresses", Double, nullable=False),  # of the entries that end in that hour (see store.entries.covered)
)

entry_networks = Table(
    "entry_networks",
    metadata,
    Column("key", LargeBinary, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("recorded_to", BigInteger, nullable=False),
    Index(None, "id", "version"),
)

prefix_lengths = Table(
    "prefix_lengths",
    metadata,
    Column("length", Integer, primary_key=True, autoincrement=False),  # in bits of a 128-bit address, ever used
)

documents = Table(
    "documents",
    metadata,
    Column("name", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("recorded_from", BigInteger, nullable=False),
    Column("recorded_to", BigInteger, nullable=False),
    Column("content", Text, nullable=False),
)

tenants = Table(
    "tenants",
    metadata,
    Column("name", Text, primary_key=True),
    Column("applications", Text, nullable=False),  # JSON list of patterns
    Column("created", BigInteger, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", Text, primary_key=True),
    Column("sha256", LargeBinary, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("networks", Text, nullable=False),  # JSON list; empty: from anywhere
    Column("created", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),  # seconds; FOREVER: never
    Column("revoked", BigInteger, nullable=False),  # microseconds; 0: not
    Column("person", Text, nullable=False),  # whose it is, as sign-on names people; empty: its name says it
    Index(None, "sha256", unique=True),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("sha256", LargeBinary, nullable=False),  # of the cookie's secret
    Column("tenant", Text, nullable=False),
    Column("name", Text, nullable=False),  # of the person
    Column("role", Text, nullable=False),
    Column("token", Text, nullable=False),  # id of the token that it stands for; empty: none
    Column("address", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("seen", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),  # microseconds
    Column("ended", BigInteger, nullable=False),  # microseconds; 0: not
    Index(None, "sha256", unique=True),
    Index(None, "expires"),
)

audit = Table(
    "audit",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("time", BigInteger, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Index(None, "time"),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("token", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("request", LargeBinary, nullable=False),  # SHA-256 of method, path and body
    Column("status", Integer, nullable=False),
    Column("answer", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Index(None, "created"),
)

publications = Table(
    "publications",
    metadata,
    Column("layer", Text, primary_key=True),
    Column("serial", BigInteger, primary_key=True, autoincrement=False),
    Column("digest", Text, nullable=False),  # SHA-256 of the file
    Column("created", BigInteger, nullable=False),
    Column("chain", Text, nullable=False),  # the layer's chain hash at this serial
    Column("entries", Integer, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("content", LargeBinary, nullable=True),  # the file; None: too old to be kept
    Column("parts", Text, nullable=False),  # JSON list: the serials of the parts that it requires
    Index(None, "layer", "created"),
    Index(None, "layer", "digest"),
)

# What files of many bans require. The content has a table of its own: rows of it are never written again.
parts = Table(
    "parts",
    metadata,
    Column("layer", Text, primary_key=True),
    Column("serial", BigInteger, primary_key=True, autoincrement=False),
    Column("digest", Text, nullable=False),  # SHA-256 of its manifest, as the file that requires it says
    Column("created", BigInteger, nullable=False),
    Column("dropped", BigInteger, nullable=False),  # since when no newest file requires it; 0: one does
)
part_contents = Table(
    "part_contents",
    metadata,
    Column("layer", Text, primary_key=True),
    Column("serial", BigInteger, primary_key=True, autoincrement=False),
    Column("content", LargeBinary, nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("created", BigInteger, nullable=False),
    Column("finished", BigInteger, nullable=False),  # 0: not yet
    Column("tenant", Text, nullable=False),
    Column("caller", Text, nullable=False),  # JSON: with whose rights it runs
    Column("state", Text, nullable=False),  # waiting | done | failed
    Column("total", Integer, nullable=False),  # rows
    Column("done", Integer, nullable=False),
    Column("added", Integer, nullable=False),
    Column("refused", Text, nullable=False),  # JSON list
    Column("why", Text, nullable=False),
    Index(None, "state", "created"),
)
job_contents = Table(
    "job_contents",
    metadata,
    Column("id", Text, primary_key=True),
    Column("content", LargeBinary, nullable=False),  # gzip of JSON; gone when the job is over
)

# Of the chain of changes, signed by the layer's key: whoever keeps one can tell whether history was rewritten.
checkpoints = Table(
    "checkpoints",
    metadata,
    Column("layer", Text, primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("time", BigInteger, nullable=False),
    Column("hash", Text, nullable=False),
    Column("envelope", Text, nullable=False),  # DSSE, JSON
)

# What is fetched for the first layer. The copy itself has a table of its own: lists of what there is do not read it.
inputs = Table(
    "inputs",
    metadata,
    Column("path", Text, primary_key=True),
    Column("url", Text, nullable=False),
    Column("entries", Integer, nullable=False),
    Column("asked", BigInteger, nullable=False),  # seconds since 1970, as the next two; 0: never
    Column("changed", BigInteger, nullable=False),
    Column("etag", Text, nullable=False),
    Column("last_modified", Text, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("problem", Text, nullable=False),  # of the last try; empty: none
    Column("size", BigInteger, nullable=False),  # bytes of the copy; 0: there is none
)
input_contents = Table(
    "input_contents",
    metadata,
    Column("path", Text, primary_key=True),
    Column("content", LargeBinary, nullable=False),
)

sidecars = Table(
    "sidecars",
    metadata,
    Column("name", Text, primary_key=True),
    Column("layer", Text, primary_key=True),
    Column("serial", BigInteger, nullable=False),  # what it serves; 0: nothing
    Column("refusal", Text, nullable=False),  # code of what it refused last; empty: nothing
    Column("since", BigInteger, nullable=False),  # when it confirmed this serial
    Column("seen", BigInteger, nullable=False),
    Column("shown", Boolean, nullable=False),  # whether it shows a token
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("created", BigInteger, nullable=False),
    Column("topic", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("next_try", BigInteger, nullable=False),
    Index(None, "next_try"),
)

approvals = Table(
    "approvals",
    metadata,
    Column("id", Text, primary_key=True),
    Column("created", BigInteger, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("actor", Text, nullable=False),  # who asks
    Column("person", Text, nullable=False),  # who that is; must not be who approves
    Column("why", Text, nullable=False),  # what makes a second person necessary
    Column("request", Text, nullable=False),  # JSON of the change that waits
    Column("state", Text, nullable=False),  # waiting | approved | rejected
    Column("decided_by", Text, nullable=False),
    Column("decided", BigInteger, nullable=False),
    Index(None, "state", "created"),
)

holds = Table(
    "holds",
    metadata,
    Column("id", Text, primary_key=True),
    Column("created", BigInteger, nullable=False),
    Column("until", BigInteger, nullable=False),  # seconds since 1970
    Column("tenant", Text, nullable=False),  # of the entry that was deleted
    Column("actor", Text, nullable=False),  # who deleted it
    Column("entry", Text, nullable=False),  # its id
    Column("trigger", Text, nullable=False),  # that had made it
    Column("narrow", Boolean, nullable=False),  # whether only this trigger is held
    Column("network", Text, nullable=False),
    Index(None, "until"),
)

events, event_counts, event_countries = make_event_tables(metadata)

triggers = Table(
    "triggers",
    metadata,
    Column("name", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("recorded_from", BigInteger, nullable=False),
    Column("recorded_to", BigInteger, nullable=False),  # FOREVER: it still holds
    Column("content", Text, nullable=False),  # JSON, with the keys of triggers.yaml
    Column("actor", Text, nullable=False),  # who wrote this version
    Column("ended_by", Text, nullable=False),  # who wrote the next, or deleted it; empty: it still holds
)

stopped_triggers = Table(
    "stopped_triggers",
    metadata,
    Column("name", Text, primary_key=True),
    Column("since", BigInteger, nullable=False),
)

listings = Table(
    "listings",
    metadata,
    Column("entry", Text, primary_key=True),  # the id that the listing became
    Column("time", BigInteger, nullable=False),
    Column("trigger", Text, nullable=False),
    Column("content", Text, nullable=False),  # JSON: what was counted, and sample events
    Index(None, "time"),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Text, primary_key=True),
    Column("created", BigInteger, nullable=False),
    Column("channel", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("count", Integer, nullable=False),  # of what it tells
    Column("text", Text, nullable=False),
    Column("state", Text, nullable=False),  # waiting | sent | dropped
    Column("tries", Integer, nullable=False),
    Column("decided", BigInteger, nullable=False),  # when it was sent or dropped; 0: not yet
    Column("error", Text, nullable=False),  # of the last try
    Index(None, "channel", "created"),
    Index(None, "created"),
)

alarms = Table(
    "alarms",
    metadata,
    Column("key", Text, primary_key=True),  # what holds now and was notified: stale:NAME:LAYER, warned:ENTRY
    Column("since", BigInteger, nullable=False),
    Column("content", Text, nullable=False),
)
