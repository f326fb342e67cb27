"""`authz ban`, `authz unban` and `authz bans`, as an operator uses them on one machine."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
import yaml
from support.suite.commands import Commands, commands_with_bans

from authz.addresses import parse_network
from authz.engine.entries import permissions
from authz.publisher.bans import Ban, limits
from authz.publisher.bans.file import MAX_SERIAL, change_bans
from authz.publisher.bans.table import BanTable
from authz.snapshot.read import Snapshot, read_snapshot
from authz.snapshot.signing.keys import load_public_key
from authz.snapshot.signing.signers import load_signer
from authz.times import format_moment

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def authz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    return commands_with_bans(tmp_path, monkeypatch)


def signed(authz: Commands) -> Snapshot:
    """Return the signed file of the layer, checked as a sidecar does."""
    key = load_public_key(authz.folder / "keys" / "bans.pub")
    return read_snapshot(authz.folder / "bans.snapshot", [key], now=time.time(), layer="bans")


def test_a_ban_is_in_the_signed_file_at_once_and_leaves_it_with_unban(authz: Commands) -> None:
    made = authz("ban", "203.0.113.9", "--for", "2h", "--application", "shop", "--reason", 'a "guess"', "--json").json()
    assert (made["network"], made["list"], made["applications"], made["changed"]) == (
        "203.0.113.9", "deny", ["shop"], False,
    )  # fmt: skip
    snapshot = signed(authz)
    assert snapshot.serial == made["serial"]
    (ban,) = BanTable.from_sections(snapshot.sections).bans()
    assert (ban.id, str(ban.network), ban.reason) == (made["id"], "203.0.113.9/32", 'a "guess"')
    assert ban.expires is not None
    assert ban.expires - ban.added == 7200
    ended = authz("unban", "203.0.113.9", "--json").json()
    assert [ban["id"] for ban in ended["ended"]] == [made["id"]]
    assert ended["serial"] > made["serial"]
    assert signed(authz).singles() is None


def test_a_reason_beyond_the_basic_plane_leaves_a_file_that_is_read_again(authz: Commands) -> None:
    assert authz("ban", "192.0.2.1", "--reason", "a \U0001f600 \u2028 \x85 \\ud83d").status == 0
    authz("ban", "192.0.2.2")
    by_hand = authz.folder / "bans.yaml"
    by_hand.write_text(by_hand.read_text() + "# mine\n")  # so that it is read as YAML
    for _ in range(2):
        assert authz("bans", "--json").json()["bans"][0]["reason"] == "a \U0001f600 \u2028 \x85 \\ud83d"
        authz("unban", "192.0.2.2")


def test_bans_that_are_together_too_many_addresses_are_refused_before_a_sidecar_does(authz: Commands) -> None:
    path = authz.folder / "bans.yaml"
    path.write_text(path.read_text().replace('"widest_ipv4": 24', '"widest_ipv4": 22, "total_ipv4": 22'))
    assert authz("ban", "198.51.100.0/23").status == 0
    assert authz("ban", "203.0.112.0/23").status == 0
    assert authz("ban", "203.0.112.0/23", "--for", "2h").status == 0
    ran = authz("ban", "192.0.2.1")
    assert ran.status == 2
    assert "found 1,025 banned addresses with 192.0.2.1/32, expected at most as many as a /22 has" in ran.err
    assert authz("ban", "2001:db8::/56").status == 0
    assert '"total_ipv4": 22' in path.read_text()


def test_more_bans_over_one_address_than_a_sidecar_takes_are_refused(
    authz: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = limits.MAX_OVER_ONE, limits.MAX_ENTRY, limits.CLOCK_SLACK
    assert own == (permissions.MAX_COVERING, permissions.MAX_ENTRY, permissions.CLOCK_SLACK)
    monkeypatch.setattr(limits, "MAX_OVER_ONE", 3)
    for name in ("a", "b", "c"):
        assert authz("ban", "192.0.2.1", "--application", name).status == 0
    ran = authz("ban", "192.0.2.1", "--application", "d")
    assert ran.status == 2
    assert "found 4 bans over one address, expected at most 3" in ran.err
    assert authz("ban", "192.0.2.2").status == 0


def test_a_second_ban_that_ends_a_longer_one_earlier_says_so(authz: Commands) -> None:
    authz("ban", "192.0.2.1", "--for", "7d")
    before = authz("bans", "--json").json()["bans"][0]["expires"]
    told = " ".join(authz("ban", "192.0.2.1", "--for", "2h").out.split())
    assert f"changed a ban, which ends EARLIER now: it was {before}" in told
    assert "which ends later now" in " ".join(authz("ban", "192.0.2.1", "--for", "3d").out.split())


def test_without_a_period_it_is_an_hour(authz: Commands) -> None:
    assert authz("ban", "2001:db8::1").status == 0
    (ban,) = BanTable.from_sections(signed(authz).sections).bans()
    assert ban.expires is not None
    assert ban.expires - ban.added == 3600


def test_a_network_is_banned_as_an_entry(authz: Commands) -> None:
    authz("ban", "198.51.100.0/24", "--list", "gray")
    (entry,) = signed(authz).entries()
    assert (entry.list, entry.id) == ("gray", authz("bans", "--json").json()["bans"][0]["id"])


def test_the_same_ban_again_changes_its_period_and_keeps_its_id(authz: Commands) -> None:
    first = authz("ban", "203.0.113.9", "--for", "2h", "--reason", "guessing", "--json").json()
    second = authz("ban", "203.0.113.9", "--for", "5m", "--json").json()
    assert (second["id"], second["added"], second["reason"]) == (first["id"], first["added"], "guessing")
    assert second["changed"]
    assert second["expires"] < first["expires"]
    assert len(authz("bans", "--json").json()["bans"]) == 1
    authz("ban", "203.0.113.9", "--application", "shop")
    assert len(authz("bans", "--json").json()["bans"]) == 2


def test_unban_of_one_application_leaves_the_others(authz: Commands) -> None:
    for name in ("shop", "admin"):
        authz("ban", "203.0.113.9", "--application", name)
    authz("unban", "203.0.113.9", "--application", "shop")
    assert [ban["applications"] for ban in authz("bans", "--json").json()["bans"]] == [["admin"]]


def test_bans_that_are_over_leave_by_themselves(authz: Commands) -> None:
    authz("ban", "203.0.113.9", "--for", "5m")
    text = (authz.folder / "bans.yaml").read_text()
    (authz.folder / "bans.yaml").write_text(re.sub(r'"expires": "[^"]*"', '"expires": "2026-01-01T00:00:00Z"', text))
    assert authz("bans").out.startswith("bans.yaml: no bans, serial ")
    authz("ban", "203.0.113.10")
    assert len(yaml.safe_load((authz.folder / "bans.yaml").read_text())["bans"]) == 1


def test_the_list_is_readable(authz: Commands) -> None:
    authz("ban", "203.0.113.9", "--application", "shop", "--reason", "guessing")
    out = authz("bans").out
    assert out.startswith("bans.yaml: 1 ban, serial ")
    for text in ("203.0.113.9", "applications  shop", "reason        guessing", "until"):
        assert text in out


REFUSED = {
    ("10.0.0.0/8",): "found 10.0.0.0/8, expected at most a /24: the layer may not ban wider networks",
    ("2001:db8::/32",): "found 2001:db8::/32, expected at most a /56: the layer may not ban wider networks",
    ("192.0.2.1", "--for", "8d"): "--for: found 8d, expected at most 7d, the longest that the layer allows",
    ("192.0.2.1", "--for", "forever"): "--for: found forever, expected at most 7d, the longest that the layer allows",
    ("192.0.2.1", "--for", "1m"): "--for: found 1m, expected at least 5m",
    ("192.0.2.1", "--for", "2 hours"): "--for: found '2 hours', expected a period such as 5m, 2h or 7d, or forever",
    ("192.0.2.1", "--list", "allow"): "--list: found 'allow', expected deny or gray",
    ("192.0.2.1/24",): "found '192.0.2.1/24', expected a network without host bits",
    ("nobody",): "found 'nobody', expected an address or a network",
    ("192.0.2.1", "--application", "a b"): "--application: found 'a b', expected letters, digits",
}


@pytest.mark.parametrize("arguments", REFUSED)
def test_what_the_layer_may_not_is_refused_and_changes_nothing(authz: Commands, arguments: tuple[str, ...]) -> None:
    before = (authz.folder / "bans.snapshot").read_bytes()
    ran = authz("ban", *arguments)
    assert ran.status == 2
    assert ran.err.startswith(f"authz: error: {REFUSED[arguments]}")
    assert (authz.folder / "bans.snapshot").read_bytes() == before


def test_a_layer_that_may_ban_for_ever_does(authz: Commands) -> None:
    assert authz("bans", "init", "open.yaml", "--key", "keys/bans.key", "--longest", "forever").status == 0
    made = authz("ban", "192.0.2.1", "--for", "forever", "--layer", "open.yaml", "--json").json()
    assert made["expires"] == "never"


def test_a_layer_of_some_applications_bans_only_in_these(authz: Commands) -> None:
    path = authz.folder / "bans.yaml"
    path.write_text(path.read_text().replace('"widest_ipv6": 56}', '"widest_ipv6": 56, applications: ["team-a-*"]}'))
    assert "--application: found all applications, expected team-a-*" in authz("ban", "192.0.2.1").err
    assert "--application: found shop, expected team-a-*" in authz("ban", "192.0.2.1", "--application", "shop").err
    assert authz("ban", "192.0.2.1", "--application", "team-a-shop").status == 0
    assert authz("ban", "192.0.2.1").status == 2, "the file keeps the limit"


def test_unban_of_one_address_of_a_network_names_the_network(authz: Commands) -> None:
    authz("ban", "198.51.100.0/24")
    ran = authz("unban", "198.51.100.7")
    assert ran.status == 2
    assert "198.51.100.7 has no ban of its own; it is banned by 198.51.100.0/24" in ran.err
    ran = authz("unban", "192.0.2.1")
    assert ran.err.startswith("authz: error: found no ban of '192.0.2.1', expected one")


def test_a_missing_file_says_how_to_make_one(authz: Commands) -> None:
    for command in (("ban", "192.0.2.1"), ("unban", "192.0.2.1"), ("bans",)):
        ran = authz(*command, "--layer", "other.yaml")
        assert ran.status == 2
        assert "other.yaml: no bans file here, and no control plane is named" in ran.err
        assert "AUTHZ_CONTROL_URL" in ran.err
        assert "authz bans init" in ran.err


def test_init_does_not_replace_a_file_and_leaves_none_where_the_key_is_missing(authz: Commands) -> None:
    files = {path.name for path in authz.folder.iterdir()}
    assert "exists, expected no such file" in authz("bans", "init", "bans.yaml", "--key", "keys/bans.key").err
    assert authz("bans", "init", "new.yaml", "--key", "keys/none.key").status == 2
    assert {path.name for path in authz.folder.iterdir()} == files


def test_a_file_with_mistakes_names_them_and_is_not_replaced(authz: Commands) -> None:
    path = authz.folder / "bans.yaml"
    broken = path.read_text().replace("bans: []", 'bans:\n- {"id": "a", "network": "10.0.0.1/8", "added": "x"}')
    path.write_text(broken)
    ran = authz("ban", "192.0.2.1")
    assert ran.status == 2
    assert "bans.yaml:9: bans[0].network: found '10.0.0.1/8'" in ran.err
    assert "bans.yaml:9: bans[0].added: found 'x'" in ran.err
    assert path.read_text() == broken


def test_a_lost_snapshot_does_not_let_the_serial_fall(authz: Commands) -> None:
    serial = authz("ban", "192.0.2.1", "--json").json()["serial"]
    (authz.folder / "bans.snapshot").unlink()
    assert authz("ban", "192.0.2.2", "--json").json()["serial"] > serial


def test_a_bans_file_from_a_backup_does_not_let_the_serial_fall(authz: Commands) -> None:
    """Sidecars would refuse what it signs as older than what they have."""
    path, now = authz.folder / "bans.yaml", int(time.time())
    older = path.read_text()
    later = change_bans(path, lambda _, bans: bans, load_signer, now=now + 1000, by="test")
    path.write_text(older)
    assert change_bans(path, lambda _, bans: bans, load_signer, now=now, by="test").serial == later.serial + 1


def test_a_serial_above_which_none_is_left_is_told_and_does_not_begin_again_at_0(authz: Commands) -> None:
    """It said "banned" and signed serial 0, which every sidecar refuses."""
    path = authz.folder / "bans.yaml"
    text = re.sub(r"(?m)^serial: .*$", f"serial: {MAX_SERIAL}", path.read_text())
    path.write_text(text)
    before = (authz.folder / "bans.snapshot").read_bytes()
    done = authz("ban", "192.0.2.1")
    assert done.status == 2
    assert f"bans.yaml: found serial {MAX_SERIAL}, expected less than {MAX_SERIAL}: none is left" in done.err
    assert (path.read_text(), (authz.folder / "bans.snapshot").read_bytes()) == (text, before)


def test_bans_at_the_same_time_are_all_kept(authz: Commands) -> None:
    """Two writers that read before either wrote would lose one of two bans."""

    def ban(number: int) -> int:
        made = change_bans(
            authz.folder / "bans.yaml",
            lambda _, bans: [*bans, Ban(f"b-{number:016x}", parse_network(f"192.0.2.{number}"))],
            load_signer,
            now=int(time.time()),
            by="test",
        )
        return made.serial

    with ThreadPoolExecutor(8) as pool:
        serials = list(pool.map(ban, range(40)))
    assert len(set(serials)) == 40
    assert len(authz("bans", "--json").json()["bans"]) == 40
    singles = signed(authz).singles()
    assert singles is not None
    assert len(singles) == 40


def test_a_protected_address_is_not_banned_where_the_policy_is_known(authz: Commands) -> None:
    """Sidecars refuse the file with all bans: every later ban and unban was without effect."""
    assert authz("keys", "generate", "keys", "--name", "2026").status == 0
    (authz.folder / "policy.yaml").write_text("version: 1\nprotected: [192.0.2.0/24]\n")
    assert authz("snapshot", "build", "policy.yaml", "-o", "lists.snapshot", "--key", "keys/2026.key").status == 0
    init = ("bans", "init", "known.yaml", "--key", "keys/bans.key", "--snapshot", "known.snapshot")
    assert authz(*init, "--policy", "lists.snapshot").status == 0
    for network in ("192.0.2.7", "192.0.2.0/25"):
        ran = authz("ban", network, "--layer", "known.yaml")
        assert ran.status == 2
        assert "expected no address of 192.0.2.0/24, which the policy protects" in ran.err
        assert "authz unban" not in ran.err  # its hint named a ban that was never made
    assert authz("ban", "203.0.113.9", "--layer", "known.yaml").status == 0
    (authz.folder / "lists.snapshot").unlink()
    assert authz("ban", "192.0.2.7", "--layer", "known.yaml").status == 0  # a ban needs its own file only


def test_an_older_ban_of_what_is_protected_now_keeps_nobody_from_banning(authz: Commands) -> None:
    assert authz("keys", "generate", "keys", "--name", "2026").status == 0
    init = ("bans", "init", "known.yaml", "--key", "keys/bans.key", "--snapshot", "known.snapshot")
    assert authz(*init, "--policy", "lists.snapshot").status == 0
    assert authz("ban", "192.0.2.7", "--layer", "known.yaml").status == 0
    path = authz.folder / "known.yaml"
    hour_ago = format_moment(time.time() - 3600)
    path.write_text(re.sub(r'"added": "[^"]+"', f'"added": "{hour_ago}"', path.read_text()))
    (authz.folder / "policy.yaml").write_text("version: 1\nprotected: [192.0.2.0/24]\n")
    assert authz("snapshot", "build", "policy.yaml", "-o", "lists.snapshot", "--key", "keys/2026.key").status == 0
    assert authz("ban", "203.0.113.9", "--layer", "known.yaml").status == 0
    ran = authz("ban", "192.0.2.7", "--layer", "known.yaml", "--for", "3h")
    assert ran.status == 2
    assert "expected no address of 192.0.2.0/24, which the policy protects" in ran.err


def test_explain_says_that_sidecars_refuse_the_bans(authz: Commands) -> None:
    """It explained by a file that no sidecar had taken: an unban looked as if it had ended the ban."""
    assert authz("keys", "generate", "keys", "--name", "2026").status == 0
    (authz.folder / "policy.yaml").write_text("version: 1\nprotected: [192.0.2.0/24]\n")
    assert authz("snapshot", "build", "policy.yaml", "-o", "lists.snapshot", "--key", "keys/2026.key").status == 0
    (authz.folder / "authz.yaml").write_text(
        "layers:\n  - {name: policy, path: lists.snapshot, trusted_keys: [keys/2026.pub]}\n"
        "  - {name: bans, path: bans.snapshot, trusted_keys: [keys/bans.pub]}\n"
    )
    ask = ("explain", "203.0.113.9", "--config", "authz.yaml")
    assert authz("ban", "203.0.113.9").status == 0
    assert "denylisted" in authz(*ask).out
    banned = authz("ban", "192.0.2.7", "--json").json()
    ran = authz(*ask)
    assert ran.status != 0
    assert "not_permitted_protected" in ran.err
    assert "hint: sidecars refuse this file, and decide by the last good one" in ran.err
    assert authz("unban", banned["id"]).status == 0
    assert "denylisted" in authz(*ask).out


def test_what_was_written_by_hand_is_signed_and_what_sidecars_would_refuse_is_not(authz: Commands) -> None:
    """A change by hand had to wait for the next ban; nothing else signed it."""
    authz("ban", "203.0.113.9", "--for", "5m")
    path = authz.folder / "bans.yaml"
    path.write_text(path.read_text().replace("203.0.113.9/32", "203.0.113.77"))
    ran = authz("bans", "sign", "--json")
    assert [ban["network"] for ban in ran.json()["bans"]] == ["203.0.113.77"]
    snapshot = signed(authz)
    assert (snapshot.serial, snapshot.singles() is not None) == (ran.json()["serial"], True)
    for wrong, why in (("203.0.112.0/23", "expected at most a /24"), ("203.0.113.78", "")):
        path.write_text(path.read_text().replace("203.0.113.77", wrong))
        ran = authz("bans", "sign")
        assert (ran.status, why in ran.err) == ((2, True) if why else (0, True))
        path.write_text(path.read_text().replace(wrong, "203.0.113.77"))


def test_a_reason_of_more_than_a_page_is_refused(authz: Commands) -> None:
    assert authz("ban", "203.0.113.9", "--reason", "x" * 1000).status == 0
    ran = authz("ban", "203.0.113.9", "--reason", "x" * 1001)
    assert (ran.status, "--reason: found 1001 characters, expected at most 1000" in ran.err) == (2, True)


def test_the_history_of_bans_says_what_each_change_did_and_why(authz: Commands) -> None:
    """It said who and when, of every change the same; the reason of an unban was dropped."""
    authz("ban", "203.0.113.9", "--application", "shop", "--reason", "guessing")
    authz("ban", "203.0.113.9", "--application", "shop", "--for", "2h")
    authz("ban", "198.51.100.0/24")
    authz("unban", "203.0.113.9", "--reason", "a customer of ours")
    authz("unban", "198.51.100.0/24", "--reason", "x" * 5000)
    builds = authz("snapshot", "history", "--layer", "bans", "--json").json()["builds"]
    said = [build["source"].removeprefix("bans.yaml") for build in reversed(builds)]
    assert said[-5:-1] == [
        ": banned 203.0.113.9 for shop: guessing",
        ": changed the ban of 203.0.113.9 for shop",
        ": banned 198.51.100.0/24",
        ": ended the ban of 203.0.113.9 for shop: a customer of ours",
    ]
    assert len(said[-1]) < 400
    assert authz("bans", "rollback", str(builds[2]["serial"])).status == 0
    assert (
        authz("snapshot", "history", "--layer", "bans", "--json").json()["builds"][0]["rollback_of"]
        == (builds[2]["serial"])
    )


def test_bans_go_back_to_an_earlier_moment_and_later_changes_go_on_from_there(authz: Commands) -> None:
    first = authz("ban", "203.0.113.9", "--for", "2h", "--reason", "guessing", "--json").json()
    before = authz("ban", "198.51.100.0/24", "--list", "gray", "--json").json()
    authz("unban", "203.0.113.9")
    authz("ban", "192.0.2.1")
    assert authz("bans", "rollback", str(before["serial"])).status == 0
    bans = authz("bans", "--json").json()["bans"]
    assert [(ban["network"], ban["id"]) for ban in bans] == [
        ("198.51.100.0/24", before["id"]),
        ("203.0.113.9", first["id"]),
    ]
    assert bans[1]["reason"] == "guessing"
    assert authz("ban", "192.0.2.2").status == 0
    assert {str(ban.network) for ban in BanTable.from_sections(signed(authz).sections).bans()} == {
        "203.0.113.9/32", "192.0.2.2/32",
    }  # fmt: skip
    assert "no build with the serial 7" in authz("bans", "rollback", "7").err


@pytest.mark.parametrize("command", [("rollback", "1"), ("sign",)])
def test_commands_of_the_bans_file_change_nothing_where_the_bans_are_a_control_planes(
    authz: Commands, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`authz ban` asked the control plane, and `authz bans rollback` changed a file that no sidecar reads."""
    before = (authz.folder / "bans.snapshot").read_bytes()
    monkeypatch.setenv("AUTHZ_CONTROL_URL", "http://127.0.0.1:1")
    ran = authz("bans", *command)
    assert ran.status == 2
    assert "AUTHZ_CONTROL_URL is set" in ran.err
    assert (authz.folder / "bans.snapshot").read_bytes() == before
