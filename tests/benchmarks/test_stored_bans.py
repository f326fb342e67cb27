"""The generator of the store's benchmark writes what a control plane would have written."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


def test_a_filled_store_goes_on_where_it_was_and_is_whole(tmp_path: Path) -> None:
    from authz.addresses import parse_network
    from authz.control.maintenance.check import check_store
    from authz.control.store.database import create_store
    from authz.control.store.entries.find import Filter, find_entries
    from authz.control.store.ledger.changes import add_layer
    from authz.control.store.tables import changes, metadata
    from benchmarks.load.control.stored_bans import CHUNK, Fill, fill, number_of

    store = create_store(f"sqlite:///{tmp_path}/store.sqlite")
    with store.writing() as tx:
        add_layer(tx, "bans", store.now())
    wanted = Fill(CHUNK + 10, 0.1)
    assert not fill(store, wanted, seconds=0.0)
    assert fill(store, wanted)
    assert fill(store, wanted)  # nothing is missing
    with store.writing() as tx:  # as where a fill was ended while it made the indexes
        min(changes.indexes, key=lambda index: str(index.name)).drop(tx)
    assert fill(store, wanted)
    with store.reading() as tx:
        context = MigrationContext.configure(tx)
        assert [change for change in compare_metadata(context, metadata) if "index" in str(change[0])] == []
        for number, held in ((0, False), (CHUNK - 1, True), (CHUNK + 9, False)):
            at = Filter(network=parse_network(wanted.client(number)), unexpired_at=store.now() // 1_000_000)
            assert [entry.id for entry in find_entries(tx, at, limit=9)] == [number_of(number)] * held
        checked = check_store(tx)
    store.close()
    assert checked == (wanted.changes, [])
