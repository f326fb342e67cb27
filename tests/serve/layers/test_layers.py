"""Several layers: a ban in the second holds at once, and its key can do nothing else."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from support.publishing.publisher import POLICY
from support.sidecar.running import ALLOWED, DENIED, HTTP_ONLY, run, running, until

from authz.addresses import parse_network
from authz.publisher.bans import Ban, build_bans_layer
from authz.publisher.bans.build import build_part
from authz.publisher.bans.document import create_bans_file
from authz.publisher.bans.file import MAX_SERIAL, change_bans
from authz.publisher.bans.table import BanTable
from authz.serve import sidecar as sidecar_module
from authz.serve.layers.file import SETTLE, FileSource
from authz.snapshot.ban_ids import ban_id
from authz.snapshot.heading import Requirement, part_path
from authz.snapshot.read import inspect_snapshot
from authz.snapshot.signing.signers import load_signer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from support.publishing.publisher import Publisher
    from support.sidecar.running import Running

NEUTRAL: Final = "198.51.100.1"  # on no list of POLICY
MAY: Final = "may: {longest: 2h, applications: [shop], entries: 1000}"
PROTECTING: Final = POLICY + "protected: [192.0.2.0/28]\n"
GUARDED: Final = "198.51.100.77"  # on no list, either
GUARDING: Final = POLICY + f"protected: [{GUARDED}]\n"


def config(bans: str = MAY) -> str:
    return (
        "layers:\n  - {name: policy, path: lists.snapshot, trusted_keys: [keys/a.pub], poll: 1h}\n"
        f"  - {{name: bans, path: bans.snapshot, trusted_keys: [keys/b.pub], poll: 1h, {bans}}}\n"
    ) + HTTP_ONLY


def ban(number: int, network: str, **more: Any) -> Ban:
    now = int(time.time())
    settings: dict[str, Any] = {"applications": frozenset({"shop"}), "expires": now + 3600, "added": now} | more
    return Ban(ban_id(number), parse_network(network), **settings)


def put(
    publisher: Publisher, serial: int, bans: Sequence[Ban], *, layer: str = "bans", key: str = "b", **more: Any
) -> Path:
    path = publisher.folder / "bans.snapshot"
    signers = [publisher.signer(key)]
    data = build_bans_layer(bans, layer=layer, serial=serial, created=int(time.time()), signers=signers, **more)
    beside = publisher.folder / "new"
    beside.write_bytes(data)
    beside.rename(path)
    return path


def test_a_ban_of_a_second_layer_holds_and_ends_and_the_policy_is_as_it_was(publisher: Publisher) -> None:
    publisher.publish(serial=3)

    async def live() -> None:
        async with running(publisher.folder, config()) as started:
            assert await started.readiness() == (200, ["no_snapshot", "absent"])  # of the bans
            assert (await started.ask(NEUTRAL)).status == 200
            put(publisher, 8, [ban(1, f"{NEUTRAL}/32"), ban(2, "203.0.113.10/32")])
            await until(lambda: started.sidecar.metrics.loads("bans").get("ok") == 1)
            answer = await started.ask(NEUTRAL)
            assert (answer.status, answer.header("reason")) == (403, "denylisted")
            assert (await started.ask(ALLOWED)).status == 200
            assert (await started.ask(DENIED)).status == 403
            assert await started.readiness() == (200, [])
            text = (await started.page("/metrics")).body.decode()
            assert 'authz_snapshot_serial{layer="policy"} 3.0' in text
            assert 'authz_snapshot_serial{layer="bans"} 8.0' in text
            put(publisher, 9, [])
            await until(lambda: started.sidecar.metrics.loads("bans").get("ok") == 2)
            assert (await started.ask(NEUTRAL)).status == 200

    run(live())


@pytest.mark.parametrize("absent", [False, True])
def test_bans_that_a_wrong_clock_refused_hold_once_it_is_set(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch, absent: bool
) -> None:
    """A machine that began in 1970 let everybody in who is banned, for their ends were too far, until the next ban."""
    monkeypatch.setattr(sidecar_module, "_LOOK", 0.01)
    real, behind = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() - behind[0])
    publisher.publish(created=1)
    path = put(publisher, 8, [ban(1, NEUTRAL)])

    async def live(code: str) -> None:
        async with running(publisher.folder, config()) as started:
            bans = list(started.sidecar.layers)[1]
            assert (bans.refusal.code if bans.refusal else "") == code
            behind[0] = 0.0
            await until(lambda: bans.opened is not None)
            assert (await started.ask(NEUTRAL)).status == 403
            assert bans.last_good == (absent and code == "absent")

    if absent:
        run(live(""))
        path.unlink()
    behind[0] = 30 * 86400.0
    run(live("absent" if absent else "not_permitted_period"))


def test_a_ban_makes_its_own_layer_look_and_no_other(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    """bans.yaml and files that were not whole yet made every layer of the folder look, some twelve times a ban."""
    publisher.publish(serial=3)
    path, looks = publisher.folder / "bans.yaml", Counter[str]()
    create_bans_file(path, layer="bans", snapshot="bans.snapshot", key="keys/b.key")
    change_bans(path, lambda _, __: [ban(1, f"{NEUTRAL}/32")], load_signer, now=int(time.time()), by="test")
    fetch = FileSource.fetch

    def counted(source: FileSource) -> AbstractContextManager[Path | None]:
        looks[Path(source.name).name] += 1
        return fetch(source)

    monkeypatch.setattr(FileSource, "fetch", counted)

    async def live() -> None:
        async with running(publisher.folder, config()) as started:
            await until(lambda: looks == {"lists.snapshot": 2, "bans.snapshot": 2})  # at the start, and to watch
            looks.clear()
            await asyncio.to_thread(
                change_bans, path, lambda _, __: [ban(2, GUARDED)], load_signer, now=int(time.time()) + 1, by="test"
            )
            await until(lambda: started.sidecar.metrics.loads("bans").get("ok") == 2)
            assert (await started.ask(GUARDED)).status == 403
            await asyncio.sleep(2 * SETTLE)
        assert looks["lists.snapshot"] == 0
        assert 1 <= looks["bans.snapshot"] <= 2

    run(live())


ATTACKS: Final[dict[str, tuple[str, Any]]] = {
    "allows somebody": ("not_permitted_list", lambda: [ban(9, f"{DENIED}/32", list="allow")]),
    "bans a protected network": ("not_permitted_protected", lambda: [ban(9, "192.0.2.1/32")]),
    "bans a /8": ("not_permitted_width", lambda: [ban(9, "198.0.0.0/8")]),
    "bans for a year": ("not_permitted_period", lambda: [ban(9, f"{NEUTRAL}/32", expires=int(time.time()) + 31536000)]),
    "bans for ever": ("not_permitted_endless", lambda: [ban(9, f"{NEUTRAL}/32", expires=None)]),
    "names another application": (
        "not_permitted_application", lambda: [ban(9, f"{NEUTRAL}/32", applications=frozenset({"admin"}))],
    ),
    "bans in all applications": (
        "not_permitted_application", lambda: [ban(9, f"{NEUTRAL}/32", applications=frozenset())],
    ),
    "bans too many": ("not_permitted_entries", lambda: [ban(n, f"10.0.{n >> 8}.{n & 255}/32") for n in range(1001)]),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_bans_key_cannot_do_more_than_it_may(publisher: Publisher, attack: str) -> None:
    """It is refused as a whole, and the last good file serves on."""
    publisher.publish(PROTECTING)
    put(publisher, 1, [ban(1, f"{NEUTRAL}/32")])
    code, bans = ATTACKS[attack]

    async def live() -> None:
        async with running(publisher.folder, config()) as started:
            put(publisher, 2, [ban(2, "198.51.100.2/32"), *bans()])
            await until(lambda: code in started.sidecar.metrics.loads("bans"))
            assert (await started.ask(NEUTRAL)).status == 403
            assert (await started.ask("198.51.100.2")).status == 200
            assert (await started.ask("192.0.2.1")).status == 200
            assert await started.readiness() == (200, [code])

    run(live())


def test_a_layer_whose_leaked_key_signed_the_highest_serial_goes_on_once_it_is_forgotten(publisher: Publisher) -> None:
    """As docs/guides/keys.md says."""
    publisher.publish(serial=1)
    put(publisher, MAX_SERIAL, [])

    async def live() -> None:
        async with running(publisher.folder, config()) as started:
            assert started.sidecar.metrics.loads("bans") == {"ok": 1}
            put(publisher, 9, [ban(1, f"{NEUTRAL}/32")])
            await until(lambda: "rolled_back" in started.sidecar.metrics.loads("bans"))
            assert (await started.ask(NEUTRAL)).status == 200
        path = publisher.folder / "state" / "authz.json"
        state = json.loads(path.read_bytes())
        assert state["layers"].pop("bans")["serial"] == MAX_SERIAL
        path.write_text(json.dumps(state))
        async with running(publisher.folder, config()) as started:
            assert (await started.ask(NEUTRAL)).status == 403
            assert await started.readiness() == (200, [])

    run(live())


def test_a_bans_key_cannot_sign_the_policy_layer(publisher: Publisher) -> None:
    """Not by a policy signed by it, nor by its own file in the place of the policy."""
    publisher.publish(serial=1)
    bans = put(publisher, 9, [])

    async def live() -> None:
        async with running(publisher.folder, config()) as started:
            loads = started.sidecar.metrics.loads
            publisher.publish("version: 1\n", serial=9, keys=["b"])
            await until(lambda: "unknown_key" in loads("policy"))
            (publisher.folder / "new").write_bytes(bans.read_bytes())
            (publisher.folder / "new").rename(publisher.folder / "lists.snapshot")
            await until(lambda: loads("policy").get("unknown_key") == 2)
            assert (await started.ask(DENIED)).status == 403
            assert started.serial == 1

    run(live())


def test_a_bans_key_cannot_sign_for_another_layer(publisher: Publisher) -> None:
    publisher.publish(serial=1)
    put(publisher, 4, [ban(1, f"{NEUTRAL}/32")])

    async def live() -> None:
        async with running(publisher.folder, config()) as started:
            put(publisher, 5, [], layer="other")
            await until(lambda: "wrong_layer" in started.sidecar.metrics.loads("bans"))
            put(publisher, 6, [], key="a")  # nor is the policy's key good for its bans
            await until(lambda: "unknown_key" in started.sidecar.metrics.loads("bans"))
            assert (await started.ask(NEUTRAL)).status == 403

    run(live())


def test_a_bans_key_cannot_replay_an_old_file(publisher: Publisher) -> None:
    publisher.publish(serial=1)
    old = put(publisher, 4, [ban(1, f"{NEUTRAL}/32")]).read_bytes()

    async def live() -> None:
        async with running(publisher.folder, config()) as started:
            put(publisher, 7, [])
            await until(lambda: started.sidecar.metrics.loads("bans").get("ok") == 2)
            (publisher.folder / "new").write_bytes(old)
            (publisher.folder / "new").rename(publisher.folder / "bans.snapshot")
            await until(lambda: "rolled_back" in started.sidecar.metrics.loads("bans"))
            assert (await started.ask(NEUTRAL)).status == 200

    run(live())


@pytest.mark.parametrize(("when_missing", "status"), [("ignore", 200), ("deny", 503)])
def test_a_missing_layer_is_ignored_or_denies(publisher: Publisher, when_missing: str, status: int) -> None:
    publisher.publish()

    async def live() -> None:
        async with running(publisher.folder, config(f"{MAY}, when_missing: {when_missing}")) as started:
            assert (await started.ask(NEUTRAL)).status == status
            assert (await started.readiness())[0] == status

    run(live())


@pytest.mark.parametrize(("when_stale", "status"), [("keep", 403), ("ignore", 200), ("deny", 503)])
def test_a_stale_layer_is_kept_ignored_or_denies(publisher: Publisher, when_stale: str, status: int) -> None:
    publisher.publish()
    signers = [publisher.signer("b")]
    made = int(time.time()) - 600
    data = build_bans_layer(
        [ban(1, f"{NEUTRAL}/32")], layer="bans", serial=1, created=made, signers=signers
    )  # fmt: skip
    (publisher.folder / "bans.snapshot").write_bytes(data)

    async def live() -> None:
        async with running(publisher.folder, config(f"{MAY}, max_age: 5m, when_stale: {when_stale}")) as started:
            assert (await started.ask(NEUTRAL)).status == status
            assert (await started.readiness())[1] == ["stale_snapshot"]

    run(live())


def test_parts_are_loaded_with_the_file_that_requires_them_and_kept_with_it(publisher: Publisher) -> None:
    publisher.publish()
    signers, now = [publisher.signer("b")], int(time.time())
    table = BanTable.of([ban(7, f"{NEUTRAL}/32"), ban(8, "198.51.100.2/32")])
    content = build_part(table, layer="bans", serial=2, created=now, signers=signers)
    (publisher.folder / "part").write_bytes(content)
    required = Requirement(2, inspect_snapshot(publisher.folder / "part").digest)

    async def live() -> None:
        async with running(publisher.folder, config()) as started:
            loads = started.sidecar.metrics.loads
            head = put(publisher, 3, [ban(1, "198.51.100.3/32")], requires=[required])
            await until(lambda: "part_missing" in loads("bans"))  # the part is not there yet
            (publisher.folder / "part").rename(part_path(head, required))
            await until(lambda: loads("bans").get("ok") == 1)
            for last, status in ((1, 403), (2, 403), (3, 403), (4, 200)):
                assert (await started.ask(f"198.51.100.{last}")).status == status
            put(publisher, 4, [], requires=[required], tombstones=[7])
            await until(lambda: loads("bans").get("ok") == 2)
            for last, status in ((1, 200), (2, 403), (3, 200)):
                assert (await started.ask(f"198.51.100.{last}")).status == status
            head.unlink()
            part_path(head, required).unlink()
        async with running(publisher.folder, config()) as started:  # from the last good copies alone
            for last, status in ((1, 200), (2, 403), (3, 200)):
                assert (await started.ask(f"198.51.100.{last}")).status == status

    run(live())


# Bans of addresses that the policy came to protect later: they have no effect, and stop no other ban.


async def overruled(started: Running, count: int) -> None:
    """Wait until so many entries of the bans are known to have no effect."""
    bans = list(started.sidecar.layers)[1]
    await until(lambda: len(bans.overruled.entries) == count)


def test_a_policy_that_protects_a_banned_address_stops_no_later_ban(
    publisher: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    """Every sidecar refused the file with all bans from then on, and after a restart its last good copy too."""
    caplog.set_level(logging.INFO, logger="authz.reload")
    now = int(time.time())
    old, other = ban(1, f"{GUARDED}/32", added=now - 60), ban(2, f"{NEUTRAL}/32", added=now - 60)
    publisher.publish(serial=1, created=now - 90)
    put(publisher, 1, [old])

    async def live() -> None:
        async with running(publisher.folder, config()) as started:
            assert (await started.ask(GUARDED)).status == 403
            publisher.publish(GUARDING, serial=2, created=now)
            await overruled(started, 1)
            assert (await started.ask(GUARDED)).status == 200
            assert await started.readiness() == (200, ["overruled"])
            put(publisher, 2, [old, other])
            await until(lambda: started.sidecar.metrics.loads("bans").get("ok") == 2)
            assert (await started.ask(NEUTRAL)).status == 403
            text = (await started.page("/metrics")).body.decode()
            assert 'authz_snapshot_overruled{layer="bans"} 1.0' in text
            assert 'authz_snapshot_overruled{layer="policy"} 0.0' in text
            shown = (await started.page("/snapshot")).body.decode()
            assert f'"entry":"{old.id}","address":"{GUARDED}"' in shown.replace(" ", "")
        (publisher.folder / "bans.snapshot").write_bytes(b"garbage")
        async with running(publisher.folder, config()) as started:
            await overruled(started, 1)
            assert (await started.ask(GUARDED)).status == 200
            assert (await started.ask(NEUTRAL)).status == 403
            assert await started.readiness() == (200, ["last_good", "overruled", "truncated"])
            put(publisher, 3, [other])
            await overruled(started, 0)
            assert await started.readiness() == (200, [])

    run(live())
    told = f"bans: 1 entry has no effect, since the policy protects what would be denied: '{old.id}' ({GUARDED})"
    assert caplog.text.count(told) == 2  # once in each process
    assert "bans: all entries have effect again" in caplog.text


def test_a_ban_that_comes_before_the_policy_that_permits_it_holds_once_that_is_there(publisher: Publisher) -> None:
    """Its file was refused, with all bans in it, until another ban came."""
    now = int(time.time())
    publisher.publish(GUARDING, serial=1, created=now - 60)
    put(publisher, 1, [])

    async def live() -> None:
        async with running(publisher.folder, config()) as started:
            put(publisher, 2, [ban(1, f"{GUARDED}/32"), ban(2, f"{NEUTRAL}/32")])
            await until(lambda: "not_permitted_protected" in started.sidecar.metrics.loads("bans"))
            publisher.publish(serial=2, created=now)
            await until(lambda: started.sidecar.metrics.loads("bans").get("ok") == 2)
            assert [(await started.ask(address)).status for address in (GUARDED, NEUTRAL)] == [403, 403]
            assert await started.readiness() == (200, [])
            publisher.publish(GUARDING, serial=3, created=now)  # nothing is refused: nothing is loaded again
            await until(lambda: started.sidecar.metrics.loads("policy").get("ok") == 3)
            assert started.sidecar.metrics.loads("bans")["ok"] == 2

    run(live())


def test_a_ban_of_what_the_policy_protects_already_still_refuses_its_file(publisher: Publisher) -> None:
    now = int(time.time())
    publisher.publish(GUARDING, serial=1, created=now - 60)
    put(publisher, 1, [ban(1, f"{NEUTRAL}/32")])

    async def live() -> None:
        async with running(publisher.folder, config()) as started:
            put(publisher, 2, [ban(1, f"{GUARDED}/32", added=now - 59)])
            await until(lambda: "not_permitted_protected" in started.sidecar.metrics.loads("bans"))
            assert (await started.ask(NEUTRAL)).status == 403
            assert (await started.ask(GUARDED)).status == 200

    run(live())
