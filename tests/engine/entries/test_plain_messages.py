"""Messages that are written without protobuf are, byte for byte, those that it writes."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from authz.engine.entries.manifest import add_applications, entry_message
from authz.engine.entries.plain_messages import application_bytes, entry_bytes
from authz.engine.model import Application, DenyAnswer, Entry
from authz.wire.snapshot.v1.snapshot_pb2 import Manifest

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
TIMES = st.none() | st.integers(-(1 << 63), (1 << 63) - 1)
ENTRIES = st.builds(
    Entry, TEXTS, st.sampled_from(["allow", "deny", "gray"]), st.sampled_from(["block", "warn"]),
    st.frozensets(TEXTS, max_size=3), TIMES, TIMES, TEXTS, TEXTS, st.lists(TEXTS, max_size=3).map(tuple), TIMES,
)  # fmt: skip
APPLICATIONS = st.builds(
    Application, TEXTS, st.sampled_from(["off", "block"]), st.sampled_from(["allow", "deny"]), dry_run=st.booleans(),
    denylist_in_monitoring=st.booleans(), hosts=st.lists(TEXTS, max_size=2).map(tuple),
    deny=st.builds(DenyAnswer, st.integers(0, (1 << 32) - 1), TEXTS, TEXTS),
)  # fmt: skip


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ENTRIES)
def test_an_entry_is_written_as_protobuf_writes_it(entry: Entry) -> None:
    assert entry_bytes(entry) == entry_message(entry).SerializeToString(deterministic=True)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(APPLICATIONS)
def test_an_application_is_written_as_protobuf_writes_it(application: Application) -> None:
    manifest = Manifest()
    add_applications(manifest, [application])
    assert application_bytes(application) == manifest.applications[0].SerializeToString(deterministic=True)
