"""A layer of bans is published in tiers: a change costs what it changes, however many bans there are."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from sqlalchemy import event
from support.control import Control, SignerInProcess, control, opened
from support.processes import wait_for

from authz.control.access.callers import authenticate
from authz.control.config import load_control_config
from authz.control.lists.bans import ban
from authz.control.model.records import MAIN_TENANT, MICROSECONDS, Actor, Entry, draft
from authz.control.publish.order import NeedsAll, Order, Refused, Signed, SignedFiles
from authz.control.publish.signer import SignerState
from authz.control.store.ledger.changes import append, lock_head, read_changes
from authz.control.store.published.parts import known_parts, part_content, require_only
from authz.control.store.published.publications import content_of, newest_publication
from authz.publisher.bans import tiers
from authz.publisher.whole_layer import read_whole, table_of
from authz.snapshot.ban_ids import ban_id
from authz.snapshot.signing.keys import load_public_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from authz.control.config import ControlConfig
    from authz.control.model.records import Change
    from authz.control.publish.order import Answer, Attest


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits so low that a few bans move through all tiers."""
    for name, limit in (("MAX_RECENT", 3), ("MAX_FIRST", 8), ("MAX_TOMBSTONES", 4)):
        monkeypatch.setattr(tiers, name, limit)


def fetched(plane: Control, folder: Path) -> set[str]:
    """Return the addresses that a sidecar would hold: the file and its parts, fetched as it does, and verified."""
    folder.mkdir(exist_ok=True)
    head = folder / "bans.snapshot"
    head.write_bytes(plane.client.get("/v1/layers/bans").content)
    with plane.plane.store.reading() as tx:
        newest = newest_publication(tx, "bans")
    assert newest is not None
    for serial in newest.part_serials():
        answer = plane.client.get(f"/v1/layers/bans.{serial}")
        assert answer.status_code == 200
        (folder / f"bans.snapshot.{serial}").write_bytes(answer.content)
    now = plane.plane.store.now() / 1e6
    key = load_public_key(plane.folder / "keys" / "bans.pub")
    snapshot, parts = read_whole(head, [key], now=now)
    return {str(ban.network).removesuffix("/32") for ban in table_of(snapshot, parts, now).bans()}


class Recorded(SignerInProcess):
    """The signer, and the orders that it got."""

    orders: list[Order]

    def __init__(self, state: SignerState) -> None:
        super().__init__(state)
        self.state = state
        self.orders = []

    def ask(self, order: Order | Attest) -> Answer:
        if isinstance(order, Order) and order.layer == "bans":
            self.orders.append(order)
        return super().ask(order)


def with_many(plane: Control) -> set[str]:
    """Have bans in all tiers, some of them ended, and a network; return the addresses that are banned."""
    made = [plane.ok("POST", "/v1/bans", {"address": f"203.0.113.{number}"})["id"] for number in range(30)]
    plane.ok("POST", "/v1/bans", {"address": "198.51.100.0/24"})
    plane.ok("POST", "/v1/bans", {"address": "2001:db8:7::/48", "reason": "a network"})
    plane.ok("POST", "/v1/bans?wait=published&timeout=30", {"address": "2001:db8::7"})
    for gone in made[:6]:
        plane.ok("DELETE", f"/v1/bans/{gone}?wait=published&timeout=30")
    return {f"203.0.113.{number}" for number in range(6, 30)} | {"2001:db8::7/128"}


@pytest.mark.usefixtures("small")
def test_a_signer_that_was_started_again_goes_on_from_its_files(tmp_path: Path) -> None:
    with control(tmp_path / "c") as plane:
        banned = with_many(plane)
        folder, token = plane.folder, plane.token
    signers: list[Recorded] = []

    def recorded(state: SignerState) -> Recorded:
        signers.append(Recorded(state))
        return signers[-1]

    with opened(folder, token, signer=recorded) as plane:
        plane.ok("POST", "/v1/bans?wait=published&timeout=30", {"address": "192.0.2.9"})
        assert fetched(plane, tmp_path / "got") == banned | {"192.0.2.9"}
        orders = signers[0].orders
        assert any(order.files is not None for order in orders)
        assert all(order.entries is None and len(order.changes) <= 2 for order in orders)
        plane.ok("DELETE", f"/v1/bans/{plane.ok('GET', '/v1/entries?address=203.0.113.29')['items'][0]['id']}")
        again = plane.ok("POST", "/v1/bans?wait=published&timeout=30", {"address": "192.0.2.10"})
        assert again["published"]
        assert fetched(plane, tmp_path / "got") == (banned | {"192.0.2.9", "192.0.2.10"}) - {"203.0.113.29"}
        assert plane.ok("GET", "/v1/publications?layer=bans&limit=1")["items"][0]["entries"] == 28
        for address in ("198.51.100.77", "2001:db8:7::1"):
            assert plane.ok("GET", f"/v1/explain?address={address}")["decision"] == "deny"


def files_of(plane: Control) -> SignedFiles:
    with plane.plane.store.reading() as tx:
        newest = newest_publication(tx, "bans")
        assert newest is not None
        head = content_of(tx, "bans", newest.serial)
        parts = [part_content(tx, "bans", serial) for serial in newest.part_serials()]
    assert head is not None
    return SignedFiles(head=head, parts=[part for part in parts if part is not None], chain=newest.chain)


@pytest.mark.usefixtures("small")
def test_a_signer_goes_on_from_no_files_but_its_own_with_nothing_left_out(tmp_path: Path) -> None:
    with control(tmp_path / "c") as plane:
        with_many(plane)
        files = files_of(plane)
        with plane.plane.store.reading() as tx:
            newest = newest_publication(tx, "bans")
            assert newest is not None
            head = plane.ok("GET", "/v1/publications?layer=bans")["items"][3]["serial"]
            older = content_of(tx, "bans", head)
            changes = read_changes(tx, "bans", head, newest.serial)
        plane.plane.publisher.close()
        folder = plane.folder
    with control(tmp_path / "other") as plane:
        with_many(plane)
        others = files_of(plane)
    assert older is not None
    config = load_control_config(folder / "control.yaml", {})

    def asked(files: SignedFiles, base: int, changes: list[Change], config: ControlConfig = config) -> object:
        order = Order(
            layer="bans", serial=newest.serial + 1, chain=newest.chain, base=base, changes=changes, files=files
        )
        return SignerState(config).answer(order)

    all_needed = NeedsAll(signed=newest.serial, whole=True)
    assert asked(others, newest.serial, []) == all_needed  # of another key
    assert asked(msgspec.structs.replace(files, parts=files.parts[1:]), newest.serial, []) == all_needed
    assert asked(msgspec.structs.replace(files, chain="0" * 64), newest.serial, []) == all_needed
    old = msgspec.structs.replace(files, head=older, parts=files.parts)
    assert asked(old, head, changes[1:]) == all_needed  # a change between was left out
    layers = tuple(
        msgspec.structs.replace(layer, may=msgspec.structs.replace(layer.may, widest_ipv4=24))
        for layer in config.layers
    )
    assert asked(files, newest.serial, [], msgspec.structs.replace(config, layers=layers)) == all_needed
    assert isinstance(asked(files, newest.serial, []), Signed)


@pytest.mark.usefixtures("small")
def test_bans_move_into_parts_and_a_sidecar_has_them_all(plane: Control, tmp_path: Path) -> None:
    made: dict[str, str] = {}
    ended: set[str] = set()
    for number in range(30):
        address = f"203.0.113.{number}"
        made[address] = plane.ok("POST", "/v1/bans?wait=published&timeout=30", {"address": address})["id"]
        if number % 3 == 2:
            gone = f"203.0.113.{number - 2}"
            plane.ok("DELETE", f"/v1/bans/{made[gone]}?wait=published&timeout=30")
            ended.add(gone)
    assert fetched(plane, tmp_path / "got") == made.keys() - ended
    publication = plane.ok("GET", "/v1/publications?layer=bans&limit=1")["items"][0]
    assert publication["entries"] == 20
    with plane.plane.store.reading() as tx:
        newest = newest_publication(tx, "bans")
    assert newest is not None
    assert newest.part_serials()


@pytest.mark.usefixtures("small")
def test_a_file_on_this_machine_gets_its_parts_too(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    with control(folder, extra="") as plane:
        text = (
            (folder / "control.yaml")
            .read_text()
            .replace("key: keys/bans.key", "key: keys/bans.key\n    file: out/bans")
        )
        (folder / "control.yaml").write_text(text)
        token = plane.token
    with opened(folder, token) as plane:
        for number in range(10):
            plane.ok("POST", "/v1/bans?wait=published&timeout=30", {"address": f"203.0.113.{number}"})
        now = plane.plane.store.now() / 1e6
        key = load_public_key(folder / "keys" / "bans.pub")

        def on_disk() -> int:
            return int(table_of(*read_whole(folder / "out" / "bans", [key], now=now), now).size)

        assert wait_for(lambda: on_disk() == 10)


@pytest.mark.usefixtures("small")
def test_a_part_that_was_lost_on_the_way_is_signed_again(plane: Control, tmp_path: Path) -> None:
    for number in range(6):
        plane.ok("POST", "/v1/bans?wait=published&timeout=30", {"address": f"203.0.113.{number}"})
    store = plane.plane.store
    with store.writing() as tx:
        assert known_parts(tx, "bans")
        require_only(tx, "bans", [], 1)
        require_only(tx, "bans", [], store.now())
        assert not known_parts(tx, "bans")
    plane.ok("POST", "/v1/bans?wait=published&timeout=30", {"address": "203.0.113.99"})
    assert len(fetched(plane, tmp_path / "got")) == 7


def fill(plane: Control, first: int, count: int) -> None:
    """Write changes that add bans, many in a transaction."""
    store = plane.plane.store
    actor = Actor(MAIN_TENANT, "filler", "system", "automatic")
    for start in range(first, first + count, 5000):
        with store.writing() as tx:
            now = store.now()
            bans = [
                Entry(
                    id=ban_id(1 << 60 | number), version=1, tenant=MAIN_TENANT, layer="bans", created=now,
                    networks=(str(IPv4Address(10 << 24 | number)),), expires=now // MICROSECONDS + 86400,
                )
                for number in range(start, min(start + 5000, first + count))
            ]  # fmt: skip
            append(tx, lock_head(tx, "bans"), actor, [draft(None, ban) for ban in bans], now)


class Work:
    """What one ban costs: steps of the database's machine, calls of Python functions, bytes signed, rows sent."""

    def __init__(self) -> None:
        self.steps = self.calls = self.bytes = self.rows = 0


@contextmanager
def counted(plane: Control, orders: list[tuple[Order, Answer]]) -> Iterator[Work]:
    """Count the work of one change and its publication, by the threads that do it."""
    work, engine = Work(), plane.plane.store.engine

    def step() -> int:
        work.steps += 1
        return 0

    def watch(connection: Any, _record: object, _proxy: object) -> None:
        connection.set_progress_handler(step, 10)

    def unwatch(connection: Any, _record: object) -> None:
        connection.set_progress_handler(None, 0)

    def call(_frame: object, what: str, _argument: object) -> None:
        work.calls += what == "call"

    orders.clear()
    event.listen(engine, "checkout", watch)
    event.listen(engine, "checkin", unwatch)
    sys.setprofile(call)
    try:
        yield work
    finally:
        sys.setprofile(None)
        event.remove(engine, "checkout", watch)
        event.remove(engine, "checkin", unwatch)
    for order, answer in orders:
        assert order.entries is None
        assert isinstance(answer, Signed)
        work.rows += len(order.changes)
        work.bytes += len(answer.content) + sum(len(part.content or b"") for part in answer.parts)


@pytest.mark.parametrize("many_bans", [10_000, pytest.param(100_000, marks=pytest.mark.long)])
def test_a_ban_costs_as_much_among_very_many_as_among_1_000(tmp_path: Path, many_bans: int) -> None:
    orders: list[tuple[Order, Answer]] = []

    class Watched(SignerInProcess):
        def ask(self, order: Order | Attest) -> Answer:
            answer = super().ask(order)
            if isinstance(order, Order):
                orders.append((order, answer))
            return answer

    with control(tmp_path / "c") as plane:
        publisher = plane.plane.publisher
        publisher.close()
        for layer in publisher._layers:
            layer._signer = Watched(layer._signer._state)  # type: ignore[attr-defined]

        def one_ban(address: str) -> Work:
            publisher.publish_due()
            caller = authenticate(plane.plane.store, plane.token, None, "r1")
            with counted(plane, orders) as work:
                plane.plane.mutate(caller, lambda batch: (201, ban(batch, address)), layers=("bans", "policy"))
                publisher.publish_due()
            return work

        fill(plane, 0, 1_000)
        publisher.publish_due()
        few = one_ban("203.0.113.1")
        fill(plane, 1_000, many_bans - 1_000)
        publisher.publish_due()
        many = one_ban("203.0.113.2")
        assert (many.rows, few.rows) == (1, 1)
        assert many.bytes <= few.bytes + 100
        assert many.calls <= few.calls + 50
        assert many.steps <= few.steps * 1.5


def test_a_ban_does_not_wait_for_the_first_layer_to_be_built(tmp_path: Path) -> None:
    gate = threading.Event()

    class Slow(SignerInProcess):
        def ask(self, order: Order | Attest) -> Answer:
            if order.layer == "policy":
                gate.wait(60)
            return super().ask(order)

    with control(tmp_path / "c", signer=Slow) as plane:
        try:
            plane.ok("PUT", "/v1/applications/shop", {})
            made = plane.ok(
                "POST", "/v1/bans?wait=published&timeout=30", {"address": "203.0.113.9", "applications": []}
            )
            assert made["published"] is True
            assert plane.client.get("/v1/layers/policy").status_code == 404
        finally:
            gate.set()


def test_a_signer_that_signed_long_ago_takes_over_again(tmp_path: Path) -> None:
    """Two signers, each with its own state: what the other one signed meanwhile does not break the chain."""
    with control(tmp_path / "c") as plane:
        publisher = plane.plane.publisher
        wait_for(lambda: plane.client.get("/readyz").status_code == 200)
        publisher.close()
        config = plane.plane.config
        states = [msgspec.structs.replace(config, signer_state=str(tmp_path / name / "signer.json")) for name in "ab"]
        for number, state in enumerate([states[0], states[1], states[0], states[1]]):
            plane.ok("POST", "/v1/bans", {"address": f"203.0.113.{number}"})
            for layer in publisher._layers:
                layer._signer, layer._sent = SignerInProcess(SignerState(state)), None  # as after a restart
            publisher.publish_due()
            assert publisher.problems == {}
        with plane.plane.store.reading() as tx:
            newest = newest_publication(tx, "bans")
        assert newest is not None
        assert newest.entries == 4


def test_a_signer_that_is_not_told_all_since_it_signed_last_signs_nothing(tmp_path: Path) -> None:
    with control(tmp_path / "c") as plane:
        wait_for(lambda: plane.client.get("/readyz").status_code == 200)
        plane.plane.publisher.close()
        state = SignerState(plane.plane.config)
        order = Order(layer="bans", serial=9_999_999_999, chain="x", base=0, changes=[], entries=[])
        answer = state.answer(order)
        assert isinstance(answer, Refused)
        assert answer.code == "broken_chain"
        assert isinstance(
            state.answer(Order(layer="bans", serial=9_999_999_999, chain="x", base=5, changes=[])), NeedsAll
        )
