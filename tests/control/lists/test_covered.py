"""All bans together: a layer covers no more addresses than it may, so that no sidecar refuses its files."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from support.control import Clock, Control, SignerInProcess, control, opened

from authz.control.config import load_control_config
from authz.control.maintenance.retention import forget_before
from authz.control.publish.order import Order, Refused
from authz.control.publish.signer import SignerState
from authz.control.store.database import migrate
from authz.control.store.entries.covered import covered_by
from authz.control.store.ledger.changes import read_changes, read_heads
from authz.control.store.tables import covered
from authz.times import format_moment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TWO_NETWORKS = "total_ipv4: 15"  # as many addresses as two /16 have
WIDE = ["10.1.0.0/16", "10.2.0.0/16"]


@contextlib.contextmanager
def limited(folder: Path, total: str = TWO_NETWORKS, **options: Any) -> Iterator[Control]:
    """Give a control plane whose bans may cover so many addresses. options: as for `control`."""
    with control(folder, **options) as plane:
        token, config = plane.token, plane.folder / "control.yaml"
    options.pop("store", None)
    config.write_text(config.read_text().replace("total_ipv4: 9", total))
    with opened(folder, token, **options) as plane:
        yield plane


def ban(plane: Control, address: str, **fields: str) -> Any:
    return plane.ok("POST", "/v1/bans", {"address": address, "period": "2h", **fields})


def refused(plane: Control, address: str) -> bool:
    answer = plane.ask("POST", "/v1/bans", {"address": address})
    if answer.status_code != 409:
        assert answer.is_success, answer.text
        return False
    assert answer.json()["code"] == "too_many_addresses"
    return True


def counted(plane: Control) -> tuple[float, float]:
    with plane.plane.store.reading() as tx:
        counts = covered_by(tx, "bans", plane.plane.store.now() / 1e6)
    return counts[4], counts[6]


def test_bans_that_are_together_more_than_the_layer_may_cover_are_refused(store_url: str, tmp_path: Path) -> None:
    """Each was narrow enough, and the file that had them all was refused by every sidecar, with all later bans."""
    with limited(tmp_path / "c", store=store_url) as plane:
        first = ban(plane, WIDE[0])
        ban(plane, WIDE[1])
        answer = plane.ask("POST", "/v1/bans", {"address": "10.3.0.0/16"})
        assert answer.status_code == 409
        assert answer.json()["detail"] == (
            "the layer 'bans' would cover 196,608 addresses of IPv4, expected at most as many as a /15 has"
        )
        assert "may.total_ipv4" in answer.json()["hint"]
        assert refused(plane, "203.0.113.9")
        ban(plane, "2001:db8::/48")
        plane.ok("DELETE", f"/v1/bans/{first['id']}")
        assert not refused(plane, "203.0.113.9")
        assert counted(plane) == (65537, 2**80)
        head = read_heads_of(plane)
        undo = plane.ask("POST", "/v1/undo", {"layer": "bans", "serial": head - 1})
        assert undo.status_code == 409
        assert undo.json()["code"] == "too_many_addresses"


def read_heads_of(plane: Control) -> int:
    with plane.plane.store.reading() as tx:
        return read_heads(tx)["bans"].sequence


def test_what_is_over_makes_room_though_nothing_is_written(store_url: str, tmp_path: Path) -> None:
    clock = Clock()
    with limited(tmp_path / "c", store=store_url, clock=clock) as plane:
        ban(plane, WIDE[0])
        ban(plane, WIDE[1], period="6h")
        assert refused(plane, "203.0.113.9")
        clock.now += 3 * 3600
        assert not refused(plane, "10.3.0.0/17")
        assert refused(plane, "10.4.0.0/16")
        assert counted(plane) == (3 << 15, 0)


def test_an_entry_with_another_end_counts_until_then(tmp_path: Path) -> None:
    clock = Clock()
    with limited(tmp_path / "c", clock=clock) as plane:
        made = ban(plane, WIDE[0])
        url = f"/v1/entries/{made['id']}"
        plane.ok("PATCH", url, {"period": "forever"}, If_Match=plane.ask("GET", url).headers["etag"])
        assert counted(plane) == (1 << 16, 0)
        clock.now += 30 * 86400
        assert counted(plane) == (1 << 16, 0)
        plane.ok("DELETE", f"/v1/bans/{made['id']}")
        assert counted(plane) == (0, 0)


def test_of_many_rows_those_that_fit_are_taken(tmp_path: Path) -> None:
    with limited(tmp_path / "c") as plane:
        rows = [{"networks": [f"10.{number}.0.0/16"]} for number in range(1, 4)]
        answer = plane.ok("POST", "/v1/entries/bulk", rows)
        assert [row["status"] for row in answer["items"]] == [201, 201, 409]


def test_a_store_of_a_version_before_counts_what_is_there(store_url: str, tmp_path: Path) -> None:
    with control(tmp_path / "c", store=store_url) as plane:
        ban(plane, WIDE[0], period="forever")
        ban(plane, "2001:db8::7")
        token = plane.token
    migrate(store_url, "0014")
    migrate(store_url)
    with opened(tmp_path / "c", token) as plane:
        assert counted(plane) == (1 << 16, 1)


def test_going_back_to_other_networks_needs_no_room_for_both(tmp_path: Path) -> None:
    clock = Clock()
    with limited(tmp_path / "c", clock=clock) as plane:
        first = [ban(plane, network, period="forever") for network in WIDE]
        clock.now += 60
        at = plane.plane.store.now()
        clock.now += 60
        for made in first:
            plane.ok("DELETE", f"/v1/bans/{made['id']}")
        for network in ("10.8.0.0/16", "10.9.0.0/16"):
            ban(plane, network, period="forever")
        clock.now += 60
        done = plane.ok("POST", "/v1/rollback", {"to": format_moment(at // 1_000_000), "layer": "bans"})
        assert done["skipped"] == {}
        assert {e["networks"][0] for e in plane.ok("GET", "/v1/entries?layer=bans")["items"]} == set(WIDE)


def test_a_signer_signs_no_layer_that_covers_more_than_it_may(tmp_path: Path) -> None:
    with control(tmp_path / "c") as plane:
        for network in (*WIDE, "10.3.0.0/16"):
            ban(plane, network)
        with plane.plane.store.reading() as tx:
            head = read_heads(tx)["bans"]
            changes = read_changes(tx, "bans", head.sequence - 3, head.sequence)
        folder = plane.folder
    config = folder / "control.yaml"
    config.write_text(config.read_text().replace("total_ipv4: 9", TWO_NETWORKS))
    entries = [change.after for change in changes]
    (folder / "state").rename(folder / "signed-before")
    (folder / "state").mkdir()
    signer = SignerInProcess(SignerState(load_control_config(config, {})))
    order = Order(layer="bans", serial=head.sequence, chain=head.hash, base=0, changes=[], entries=entries)
    assert signer.ask(order) == Refused(code="not_permitted", message="found more addresses of IPv4 than a /15 has")


def test_counts_of_hours_that_are_over_are_forgotten(tmp_path: Path) -> None:

    clock = Clock()
    with limited(tmp_path / "c", clock=clock) as plane:
        ban(plane, WIDE[0])
        ban(plane, "203.0.113.9", period="forever")
        clock.now += 86400
        with plane.plane.store.writing() as tx:
            forget_before(tx, 0, plane.plane.store.now())
            assert [row.addresses for row in tx.execute(covered.select())] == [1.0]
