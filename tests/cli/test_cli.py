"""The commands, as an operator types them: what they print, and what they answer to each kind of mistake.

Exit status: 0 done, 1 the answer is no, 2 a mistake of the caller.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer
from support.commands import Commands, Ran
from support.forge import Forge
from support.processes import CONFIG
from support.publisher import POLICY, Publisher

from authz import __version__
from authz.cli.app import app
from authz.snapshot.read import inspect_snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

MADE = 1_790_000_000  # seconds since 1970: when the snapshot of these tests was made
NO_SNAPSHOT = "found b'version:', expected b'AZSNAP01': this is no snapshot"
WRONG_TIME = "expected a time such as 2026-12-01T00:00:00Z"
OR_PERIOD = ", or a period from now such as 2h or -30m"
KNOWN = 'expected {"peer": "127.0.0.1", "headers": [["X-Forwarded-For", "192.0.2.1"]], "application": "shop"}'


@pytest.fixture
def shop(publisher: Publisher, tmp_path: Path) -> Publisher:
    """A folder with keys, a policy, a snapshot with serial 7, and a configuration."""
    publisher.publish(serial=7, created=MADE)
    (tmp_path / "authz.yaml").write_text(CONFIG)
    return publisher


@pytest.fixture
def authz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """The command, in the folder of `shop`."""
    return Commands(tmp_path, monkeypatch)


def refused(ran: Ran, *lines: str, status: int = 2) -> None:
    """Check that a command printed these lines to standard error, and nothing else."""
    assert ran.err.splitlines() == list(lines)
    assert (ran.status, ran.out) == (status, "")


def panel(ran: Ran) -> str:
    """Return what the command line itself has to object, without its frame."""
    assert (ran.status, ran.out) == (2, "")
    return " ".join(re.sub("[\u2500-\u257f]", " ", ran.err).split())


# The command itself.


def commands_of(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    children = getattr(command, "commands", {})
    if not children:
        yield path
    for name, child in children.items():
        yield from commands_of(child, (*path, name))


COMMANDS = list(commands_of(typer.main.get_command(app)))


def test_the_commands_of_the_design_are_there() -> None:
    assert {" ".join(path) for path in COMMANDS} >= {
        *("keys generate", "snapshot build", "snapshot verify", "snapshot inspect"),
        *("snapshot show", "snapshot search"),
        *("explain", "serve", "replay", "ranges", "check-config", "print-config"),
    }


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_the_help_of_every_command_has_an_example_of_it(authz: Commands, path: tuple[str, ...]) -> None:
    ran = authz(*path, "--help")
    text = " ".join(ran.out.split())
    assert (ran.status, ran.err) == (0, "")
    assert re.search(rf"Examples?: .*\bauthz {' '.join(path)} ", text)
    assert authz(*path, "-h") == ran


def test_the_help_names_the_first_steps(authz: Commands) -> None:
    text = " ".join(authz.real("--help").out.split())
    assert "First steps: authz keys generate keys --name 2026, then authz snapshot build policy.yaml" in text


def test_a_command_without_arguments_is_a_mistake_that_shows_the_help(authz: Commands) -> None:
    for path in ((), ("keys",), ("snapshot",)):
        ran = authz.real(*path)
        assert ran.status == 2
        assert " ".join(("Usage: python -m authz", *path, "[OPTIONS] COMMAND [ARGS]...")) in ran.out + ran.err


def test_the_version_is_printed(authz: Commands) -> None:
    assert authz.real("--version") == Ran(0, f"authz {__version__}", "")


def test_the_installed_command_is_the_same(tmp_path: Path) -> None:
    command = shutil.which("authz", path=str(Path(sys.executable).parent))
    if command is None:
        pytest.skip("authz is not installed beside this Python")
    done = subprocess.run([command, "--version"], cwd=tmp_path, capture_output=True, check=True)
    assert done.stdout == f"authz {__version__}\n".encode()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("nonsense", "No such command 'nonsense'."),
        ("ranges", "Missing argument 'RANGE...'."),
        ("ranges --fast 10.0.0.1", "No such option: --fast"),
        ("check-config authz.yaml more.yaml", "(more.yaml)"),
        ("snapshot build policy.yaml --key keys/a.key", "'--output'"),
        ("snapshot build policy.yaml -o lists.snapshot", "Missing option '--key'."),
        ("snapshot build policy.yaml -o x --key keys/a.key --serial 0", "Invalid value for '--serial'"),
        ("snapshot build policy.yaml -o x --key keys/a.key --serial many", "Invalid value for '--serial'"),
        ("snapshot verify lists.snapshot", "Missing option '--trusted-key'."),
        ("snapshot verify lists.snapshot --trusted-key keys/a.pub --threshold 0", "Invalid value for '--threshold'"),
        ("explain 192.0.2.1", "Missing option '--config'."),
        ("replay requests.jsonl --config authz.yaml --format csv", "Invalid value for '--format'"),
        ("print-config apache --config authz.yaml", "Invalid value for 'proxy'"),
    ],
)
def test_a_wrong_flag_or_argument_is_named(authz: Commands, arguments: str, message: str) -> None:
    assert message in panel(authz(*arguments.split()))


def test_a_wrong_flag_ends_the_process_with_status_2(authz: Commands) -> None:
    assert "No such option: --fast" in panel(authz.real("ranges", "--fast"))


# keys generate.


def test_a_key_pair_is_made(authz: Commands, tmp_path: Path) -> None:
    made = authz("keys", "generate", "keys", "--name", "2026", "--json").json()
    assert (made["private"], made["public"]) == ("keys/2026.key", "keys/2026.pub")
    assert re.fullmatch("[0-9a-f]{64}", made["keyid"])
    assert stat.S_IMODE((tmp_path / "keys" / "2026.key").stat().st_mode) == 0o600


def test_a_key_pair_is_shown_to_a_person(authz: Commands) -> None:
    ran = authz.real("keys", "generate", "keys", "--name", "2026")
    assert (ran.status, ran.err) == (0, "")
    assert [line.split()[0] for line in ran.out.splitlines()] == ["made", "private", "public", "key"]
    assert "keys/2026.key  (the publisher's: keep it secret)" in ran.out


@pytest.mark.usefixtures("shop")
def test_a_key_is_not_overwritten(authz: Commands, tmp_path: Path) -> None:
    before = (tmp_path / "keys" / "a.key").read_bytes()
    refused(
        authz.real("keys", "generate", "keys", "--name", "a"),
        "authz: error: keys/a.key: exists, expected no such file",
        "hint: choose another --name",
    )
    assert (tmp_path / "keys" / "a.key").read_bytes() == before


@pytest.mark.parametrize("name", ["../a", "a/b", "", ".a", "a b", "a\n", 65 * "a"])
def test_a_name_that_is_no_file_name_is_refused(authz: Commands, name: str, tmp_path: Path) -> None:
    ran = authz("keys", "generate", "keys", "--name", name)
    assert ran.status == 2
    assert ran.err.startswith("authz: error: --name: found '")
    assert ran.err.endswith("expected letters, digits, '.', '_' and '-'")
    assert list(tmp_path.iterdir()) == []


# snapshot build.

BUILD = ("snapshot", "build", "policy.yaml", "-o", "lists.snapshot", "--key", "keys/a.key")


@pytest.mark.usefixtures("shop")
def test_a_policy_is_built(authz: Commands, tmp_path: Path) -> None:
    built = authz(*BUILD, "--serial", "9", "--json").json()
    assert {name: built[name] for name in ("file", "serial", "applications", "entries")} == {
        "file": "lists.snapshot",
        "serial": 9,
        "applications": 3,
        "entries": 3,
    }
    assert built["size"] == (tmp_path / "lists.snapshot").stat().st_size
    assert inspect_snapshot(tmp_path / "lists.snapshot").manifest.serial == 9


@pytest.mark.usefixtures("shop")
def test_a_build_is_shown_to_a_person(authz: Commands) -> None:
    ran = authz.real(*BUILD, "--serial", "9")
    assert (ran.status, ran.err) == (0, "")
    rows = dict(line.rsplit(None, 1) for line in ran.out.splitlines())
    assert (rows["built"], rows["serial"], rows["match sets"]) == ("lists.snapshot", "9", rows["match sets"])


def test_a_serial_that_sidecars_would_refuse_is_refused_before_it_is_written(shop: Publisher, authz: Commands) -> None:
    before = (shop.folder / "lists.snapshot").read_bytes()
    for serial in ("7", "6"):
        refused(
            authz(*BUILD, "--serial", serial),
            f"authz: error: --serial: found {serial}, expected above 7, which lists.snapshot has",
            "hint: sidecars refuse a serial that is not above the last; to start over, move the file away",
        )
    assert (shop.folder / "lists.snapshot").read_bytes() == before
    assert authz(*BUILD, "--serial", "8").status == 0


@pytest.mark.usefixtures("shop")
def test_a_serial_is_the_time_or_one_more_than_the_last(authz: Commands) -> None:
    first = authz(*BUILD, "--json").json()["serial"]
    assert abs(first - time.time()) < 600
    assert authz(*BUILD, "--serial", str(first + 1000), "--json").json()["serial"] == first + 1000
    assert authz(*BUILD, "--json").json()["serial"] == first + 1001


@pytest.mark.usefixtures("shop")
def test_two_keys_sign(authz: Commands) -> None:
    authz(*BUILD, "--key", "keys/b.key")
    verify = ("snapshot", "verify", "lists.snapshot", "--trusted-key", "keys/a.pub", "--trusted-key", "keys/b.pub")
    assert len(authz(*verify, "--threshold", "2", "--json").json()["signed_by"]) == 2


@pytest.mark.usefixtures("shop")
def test_an_expiry_is_counted_from_now(authz: Commands, tmp_path: Path) -> None:
    authz(*BUILD, "--valid-for", "7d")
    manifest = inspect_snapshot(tmp_path / "lists.snapshot").manifest
    assert manifest.expires - manifest.created == 7 * 86400


@pytest.mark.parametrize("text", ["7", "soon", "-1d", "0s", "250ms"])
@pytest.mark.usefixtures("shop")
def test_a_wrong_expiry_is_refused(authz: Commands, text: str) -> None:
    expected = "a second or more" if text in {"0s", "250ms"} else "a time such as 250ms, 10s, 5m, 24h or 7d"
    refused(authz(*BUILD, "--valid-for", text), f"authz: error: --valid-for: found '{text}', expected {expected}")


MISTAKEN = """\
version: 1
applications:
  shop: {mode: of}
entries:
  - {id: office, list: allow, networks: [192.0.2.0/24, 10.0.0.2/10]}
  - {id: bad, list: denied, network: [203.0.113.0/24]}
  - {id: wide, list: deny, networks: [0.0.0.0/0], applications: [shp]}
"""


def test_every_mistake_of_a_policy_is_printed_and_the_old_snapshot_stays(
    shop: Publisher, authz: Commands, tmp_path: Path
) -> None:
    before = (tmp_path / "lists.snapshot").read_bytes()
    (tmp_path / "policy.yaml").write_text(MISTAKEN)
    names = sorted(path.name for path in tmp_path.iterdir())
    ran = authz.real(*BUILD)
    assert (ran.status, ran.out) == (2, "")
    *lines, count = ran.err.splitlines()
    expected = [
        "policy.yaml:3: applications.shop.mode: found 'of', expected one of off, monitoring, safe_blocking, block",
        "policy.yaml:5: entries[0].networks[1]: found '10.0.0.2/10', expected a network without host bits",
        "policy.yaml:6: entries[1].list: found 'denied', expected one of allow, deny, gray",
        "policy.yaml:6: entries[1].network: unknown key (did you mean 'networks'?)",
        "policy.yaml:7: entries[2].applications: found 'shp', expected a name under applications (known: shop)",
        "policy.yaml:7: entries[2].networks[0]: found 0.0.0.0/0, expected a network of /12 or longer",
    ]
    assert [any(line.startswith(start) for line in lines) for start in expected] == [True] * len(expected), ran.err
    assert count == f"authz: error: {len(lines)} mistakes in policy.yaml"
    assert (tmp_path / "lists.snapshot").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lists.snapshot.lock", *names]
    assert shop.folder == tmp_path


@pytest.mark.usefixtures("shop")
def test_a_policy_with_one_mistake_writes_no_file(authz: Commands, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("version: 2\n")
    refused(
        authz("snapshot", "build", "policy.yaml", "-o", "new.snapshot", "--key", "keys/a.key"),
        "policy.yaml:1: version: found '2', expected 1",
        "authz: error: 1 mistake in policy.yaml",
    )
    assert not (tmp_path / "new.snapshot").exists()


@pytest.mark.usefixtures("shop")
def test_lenient_takes_the_network_that_was_meant(authz: Commands, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(
        "version: 1\nlimits: {widest_ipv4: 8}\nentries: [{id: a, list: deny, networks: [10.0.0.2/10]}]\n"
    )
    assert "did you mean '10.0.0.0/10'? --lenient takes it" in authz(*BUILD).err
    assert authz(*BUILD, "--lenient", "--force", "--json").json()["networks"] == 1
    found = authz("explain", "10.63.255.255", "--config", "authz.yaml", "--json").json()
    assert [one["network"] for one in found["covering"]] == ["10.0.0.0/10"]


@pytest.mark.usefixtures("shop")
def test_a_line_of_a_feed_that_is_skipped_is_told(authz: Commands, tmp_path: Path) -> None:
    (tmp_path / "tor.txt").write_text("192.0.2.1\nnot an address\n192.0.2.2\n")
    (tmp_path / "policy.yaml").write_text(
        "version: 1\nentries: [{id: a, list: deny, sources: [tor]}]\nfeeds: [{source: tor, path: tor.txt}]\n"
    )
    ran = authz(*BUILD, "--force", "--json")
    assert ran.json()["networks"] == 2
    assert re.match(r"authz: warning: .*tor.txt:2: ", ran.err)


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({"policy.yaml": "no.yaml"}, ["authz: error: no.yaml: cannot be read: No such file or directory"]),
        ({"policy.yaml": "keys"}, ["authz: error: keys: cannot be read: Is a directory"]),
        ({"keys/a.key": "no.key"}, ["authz: error: no.key: cannot be read: No such file or directory"]),
        (
            {"keys/a.key": "keys/a.pub"},
            ["authz: error: keys/a.pub: found a public key, expected a private key", "hint: give the .key file"],
        ),
        (
            {"keys/a.key": "policy.yaml"},
            [
                "authz: error: policy.yaml: found no private key in PEM form that can be used, expected one",
                "hint: `authz keys generate DIR --name NAME` makes a pair",
            ],
        ),
        (
            {"keys/a.key": "awskms:arn:aws:kms:key"},
            ["authz: error: --key awskms:...: no --public-key, expected the PEM file of the key's public half"],
        ),
        (
            {"lists.snapshot": "no/lists.snapshot"},
            ["authz: error: no/lists.snapshot: cannot be written: No such file or directory"],
        ),
        (
            {"lists.snapshot": "policy.yaml"},
            [
                f"authz: error: policy.yaml: exists, and is not a snapshot whose serial can be read: {NO_SNAPSHOT}",
                "hint: move it away, or give --serial",
            ],
        ),
    ],
)
@pytest.mark.usefixtures("shop")
def test_a_build_that_cannot_be_done_says_why(
    authz: Commands, tmp_path: Path, changes: dict[str, str], lines: list[str]
) -> None:
    def files() -> dict[Path, bytes]:
        """Return what is there, but for the locks of builds, which stay."""
        return {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"}

    before = files()
    refused(authz(*(changes.get(argument, argument) for argument in BUILD)), *lines)
    assert files() == before


# snapshot verify.

VERIFY = ("snapshot", "verify", "lists.snapshot", "--trusted-key", "keys/a.pub")


def test_a_good_snapshot_is_good(shop: Publisher, authz: Commands) -> None:
    keyid = shop.key().keyid
    assert authz.real(*VERIFY) == Ran(0, f"good: serial 7, signed by {keyid[:16]}", "")
    checked = authz(*VERIFY, "--json").json()
    assert (checked["good"], checked["serial"], checked["signed_by"]) == (True, 7, [keyid])


def test_a_snapshot_of_another_publisher_is_refused(shop: Publisher, authz: Commands) -> None:
    other = (*VERIFY[:3], "--trusted-key", "keys/b.pub")
    signed, expected = shop.key("a").keyid[:16], shop.key("b").keyid[:16]
    refused(
        authz.real(*other),
        f"authz: error: lists.snapshot: unknown_key: signed by {signed}, expected {expected}",
        "hint: add its publisher's .pub file to snapshot.trusted_keys, if you trust it",
        status=1,
    )
    ran = authz(*other, "--json")
    assert ran.status == 1
    assert json.loads(ran.out) == {
        "good": False,
        "code": "unknown_key",
        "message": f"signed by {signed}, expected {expected}",
    }


@pytest.mark.usefixtures("shop")
def test_a_snapshot_with_too_few_signatures_is_refused(authz: Commands) -> None:
    refused(
        authz(*VERIFY, "--trusted-key", "keys/b.pub", "--threshold", "2"),
        "authz: error: lists.snapshot: threshold_not_met: found 1 good signatures, expected 2",
        status=1,
    )


@pytest.mark.usefixtures("shop")
def test_a_threshold_above_the_number_of_keys_is_a_mistake(authz: Commands) -> None:
    refused(
        authz(*VERIFY, "--threshold", "2"),
        "authz: error: --threshold: found 2, expected at most 1, the number of keys",
    )


@pytest.mark.usefixtures("shop")
def test_a_snapshot_that_is_not_there_is_refused(authz: Commands) -> None:
    refused(
        authz("snapshot", "verify", "no.snapshot", "--trusted-key", "keys/a.pub"),
        "authz: error: no.snapshot: absent: No such file or directory",
        status=1,
    )


def test_an_expired_snapshot_is_refused(shop: Publisher, authz: Commands) -> None:
    shop.publish(serial=8, created=1000, expires=2000)
    ran = authz(*VERIFY)
    assert ran.status == 1
    assert re.fullmatch(
        r"authz: error: lists.snapshot: expired: expired \d+ seconds ago, expected a newer snapshot", ran.err
    )


def test_verify_looks_at_every_element_of_the_index(shop: Publisher, authz: Commands, tmp_path: Path) -> None:
    good = Forge((tmp_path / "lists.snapshot").read_bytes(), {"a": shop.signer()})
    starts = good.sections["v4.starts"]
    swapped = starts[:8] + starts[12:16] + starts[8:12] + starts[16:]
    (tmp_path / "lists.snapshot").write_bytes(good.with_sections(lambda s: s.update({"v4.starts": swapped})))
    refused(
        authz(*VERIFY),
        "authz: error: lists.snapshot: bad_section: v4.starts: position 3 is not above the one before it",
        status=1,
    )


@pytest.mark.parametrize(
    ("key", "lines"),
    [
        (
            "keys/a.key",
            [
                "authz: error: keys/a.key: found a private key, expected a public key",
                "hint: give the .pub file, and keep the .key file away from the sidecar",
            ],
        ),
        ("no.pub", ["authz: error: no.pub: cannot be read: No such file or directory"]),
        (
            "policy.yaml",
            [
                "authz: error: policy.yaml: found no public key in PEM form that can be used, expected one",
                "hint: `authz keys generate DIR --name NAME` makes a pair",
            ],
        ),
    ],
)
@pytest.mark.usefixtures("shop")
def test_a_wrong_trusted_key_is_a_mistake(authz: Commands, key: str, lines: list[str]) -> None:
    refused(authz("snapshot", "verify", "lists.snapshot", "--trusted-key", key), *lines)


# snapshot inspect.


@pytest.mark.usefixtures("shop")
def test_a_snapshot_is_shown_as_json(authz: Commands, tmp_path: Path) -> None:
    shown = authz("snapshot", "inspect", "lists.snapshot", "--json").json()
    assert (shown["serial"], shown["created"], shown["expires"]) == (7, "2026-09-21T14:13:20Z", "never")
    assert (shown["applications"], shown["entries"]) == (3, 3)
    assert shown["bytes"] == (tmp_path / "lists.snapshot").stat().st_size
    assert [(a["name"], a["default"], a["hosts"]) for a in shown["applications_by_name"]] == [
        ("*", "allow", []),
        ("shop", "allow", ["shop.example.com"]),
        ("admin", "deny", []),
    ]
    assert [(e["id"], e["list"], e["reason"]) for e in shown["entries_by_id"]] == [
        ("office", "allow", "office"),
        ("bad", "deny", "abuse"),
        ("shop-only", "deny", "scrapers"),
    ]
    assert [s["name"] for s in shown["sections"]][:3] == ["entries.offset", "entries.data", "v4.starts"]


@pytest.mark.usefixtures("shop")
def test_a_snapshot_is_shown_to_a_person(authz: Commands) -> None:
    ran = authz.real("snapshot", "inspect", "lists.snapshot")
    assert (ran.status, ran.err) == (0, "")
    assert re.search(r"^  serial +7$", ran.out, re.MULTILINE)
    assert "  shop-only: deny, shop\n    reason: scrapers\n" in ran.out
    assert "  office: allow, all applications\n    reason: office\n" in ran.out


def test_what_a_policy_says_is_shown_as_it_is(shop: Publisher, authz: Commands) -> None:
    shop.publish(
        "version: 1\napplications: {shop: {deny: {body: '[/b] :bee:'}}}\nentries: [{id: a, list: deny, "
        'networks: ["2001:db8:a:bee::/64"], reason: "[/red] \\e[31m :bee:"}]\n',
        serial=8,
    )
    shown = authz.real("snapshot", "inspect", "lists.snapshot")
    assert "[/red] \\x1b[31m :bee:" in shown.out
    assert "[/b] :bee:" in shown.out
    explained = authz.real("explain", "2001:db8:a:bee:ab:1:2:3", "--config", "authz.yaml")
    assert "2001:db8:a:bee:ab:1:2:3: the peer is no trusted proxy" in explained.out
    assert "a: deny 2001:db8:a:bee::/64, all applications, always to never  [/red] \\x1b[31m :bee:" in explained.out


def test_times_beyond_the_calendar_are_shown(shop: Publisher, authz: Commands) -> None:
    shop.publish(serial=8, created=1 << 40, expires=(1 << 62))
    shown = authz("snapshot", "inspect", "lists.snapshot", "--json").json()
    assert (shown["created"], shown["expires"]) == (f"{1 << 40} seconds since 1970", f"{1 << 62} seconds since 1970")


@pytest.mark.usefixtures("shop")
def test_what_is_no_snapshot_is_not_shown(authz: Commands) -> None:
    refused(
        authz.real("snapshot", "inspect", "policy.yaml"),
        f"authz: error: policy.yaml: bad_magic: {NO_SNAPSHOT}",
        status=1,
    )


# ranges.


def test_a_range_is_the_fewest_networks(authz: Commands) -> None:
    ran = authz.real("ranges", "10.0.0.1-10.0.0.10")
    assert ran == Ran(0, "10.0.0.1/32\n10.0.0.2/31\n10.0.0.4/30\n10.0.0.8/31\n10.0.0.10/32", "")


def test_ranges_are_told_by_what_was_asked(authz: Commands) -> None:
    assert authz("ranges", "--json", "192.0.2.1", "2001:db8::-2001:db8::1", "10.0.0.0/8").json() == {
        "192.0.2.1": ["192.0.2.1/32"],
        "2001:db8::-2001:db8::1": ["2001:db8::/127"],
        "10.0.0.0/8": ["10.0.0.0/8"],
    }


def test_host_bits_are_a_mistake_that_names_the_network_meant(authz: Commands) -> None:
    refused(
        authz.real("ranges", "10.0.0.2/10"),
        "authz: error: found '10.0.0.2/10', expected a network without host bits",
        "hint: did you mean '10.0.0.0/10'?",
    )
    assert authz("ranges", "--lenient", "10.0.0.2/10").out == "10.0.0.0/10"


@pytest.mark.parametrize("text", ["example.com", "10.0.0", "10.0.0.1-", "010.0.0.1", "10.0.0.1/33", "\x1b[2J"])
def test_what_is_no_range_is_a_mistake(authz: Commands, text: str) -> None:
    ran = authz("ranges", "--", text)
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith(
        f"authz: error: found '{text}'" if text.isprintable() else r"authz: error: found '\x1b[2J'"
    )


# explain.

EXPLAIN = ("explain", "203.0.113.7", "--config", "authz.yaml")


@pytest.mark.usefixtures("shop")
def test_a_denied_client_is_explained(authz: Commands) -> None:
    ran = authz.real(*EXPLAIN, "--application", "shop")
    assert (ran.status, ran.err) == (0, "")
    lines = [line.rstrip() for line in ran.out.splitlines()]
    assert lines[lines.index("who is the client") + 1] == (
        "  203.0.113.7: the peer is no trusted proxy, so it is the client"
    )
    covering = lines.index("entries that cover it")
    assert lines[covering + 1] == "  bad: deny 203.0.113.0/24, all applications, always to never  abuse"
    assert lines[covering + 2] == "    decides"
    assert lines[covering + 3] == "deny"
    rows = dict(line.split(None, 1) for line in lines[covering + 4 :])
    assert (rows["reason"], rows["entry"], rows["application"], rows["serial"]) == ("denylisted", "bad", "shop", "7")


@pytest.mark.usefixtures("shop")
def test_a_decision_is_explained_as_json(authz: Commands) -> None:
    content = authz(*EXPLAIN, "--at", "2026-12-01T00:00:00Z", "--json").json()
    assert content["time"] == "2026-12-01T00:00:00Z"
    assert content["decision"] == {
        "decision": "deny",
        "reason": "denylisted",
        "list": "deny",
        "entry": "bad",
        "layer": "policy",
        "client": "203.0.113.7",
        "application": "*",
        "serial": 7,
        "status": 403,
        "enforced": True,
        "warnings": [],
    }
    (one,) = content["covering"]
    assert (one["entry"], one["network"], one["verdict"]) == ("bad", "203.0.113.0/24", "decides")
    assert "note" not in content


@pytest.mark.usefixtures("shop")
def test_the_walk_over_the_proxies_is_explained(authz: Commands) -> None:
    content = authz(*EXPLAIN, "--peer", "127.0.0.1", "--json").json()
    assert [step["element"] for step in content["walk"]] == ["127.0.0.1", "203.0.113.7"]
    assert content["decision"]["client"] == "203.0.113.7"


@pytest.mark.usefixtures("shop")
def test_another_client_than_the_one_asked_for_is_noted(authz: Commands) -> None:
    content = authz(
        *EXPLAIN, "--peer", "127.0.0.1", "--header", "X-Forwarded-For: 203.0.113.7, 192.0.2.1", "--json"
    ).json()
    assert content["note"] == "the client is 192.0.2.1, not 203.0.113.7"
    assert content["decision"]["reason"] == "allowlisted"


@pytest.mark.usefixtures("shop")
def test_headers_of_an_untrusted_peer_are_not_believed(authz: Commands) -> None:
    content = authz(*EXPLAIN, "--header", "X-Forwarded-For: 192.0.2.1", "--json").json()
    assert (content["decision"]["client"], content["decision"]["decision"]) == ("203.0.113.7", "deny")


@pytest.mark.usefixtures("shop")
def test_the_application_may_be_named_by_the_host(authz: Commands) -> None:
    content = authz(*EXPLAIN, "--header", "Host: SHOP.example.com:8443", "--json").json()
    assert content["decision"]["application"] == "shop"


@pytest.mark.parametrize(
    ("peer", "reason"),
    [("unix:", "peer_untrusted_transport"), ("here", "client_unresolved"), ("127.0.0.1", "denylisted")],
)
@pytest.mark.usefixtures("shop")
def test_a_peer_may_be_anything_that_a_proxy_reports(authz: Commands, peer: str, reason: str) -> None:
    content = authz(*EXPLAIN, "--peer", peer, "--json").json()
    assert content["decision"]["reason"] == reason


def test_a_window_is_looked_at_for_the_time_asked_for(shop: Publisher, authz: Commands) -> None:
    shop.publish(
        "version: 1\nentries: [{id: sale, list: deny, networks: [203.0.113.0/24], "
        "starts: 2026-12-01T00:00:00Z, expires: 2026-12-24T00:00:00Z}]\n",
        serial=8,
    )
    verdicts = {}
    for at in ("2026-11-30T23:59:59Z", "2026-12-01T00:00:00Z", "2026-12-23T23:59:59Z", "2026-12-24T01:00:00+01:00"):
        content = authz(*EXPLAIN, "--at", at, "--json").json()
        verdicts[content["time"]] = (content["decision"]["decision"], content["covering"][0]["verdict"])
    assert verdicts == {
        "2026-11-30T23:59:59Z": ("allow", "dropped: out of its window"),
        "2026-12-01T00:00:00Z": ("deny", "decides"),
        "2026-12-23T23:59:59Z": ("deny", "decides"),
        "2026-12-24T00:00:00Z": ("allow", "dropped: out of its window"),
    }


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (["example.com"], ["authz: error: found 'example.com', expected an IPv4 or IPv6 address"]),
        (["10.0.0.0/8"], ["authz: error: found '10.0.0.0/8', expected an IPv4 or IPv6 address"]),
        (["192.0.2.1", "--header", "Host"], ["authz: error: --header: found 'Host', expected 'Name: value'"]),
        (["192.0.2.1", "--header", ": a"], ["authz: error: --header: found ': a', expected 'Name: value'"]),
        (
            ["192.0.2.1", "--at", "yesterday"],
            [f"authz: error: --at: found 'yesterday', {WRONG_TIME}{OR_PERIOD}"],
        ),
        (
            ["192.0.2.1", "--at", "2026-12-01"],
            [f"authz: error: --at: found '2026-12-01', {WRONG_TIME}{OR_PERIOD}"],
        ),
        (
            ["192.0.2.1", "--at", "2026-13-01T00:00:00Z"],
            [
                f"authz: error: --at: found '2026-13-01T00:00:00Z', {WRONG_TIME}{OR_PERIOD}",
                "hint: month must be in 1..12",
            ],
        ),
        (
            ["192.0.2.1", "--at", "9999-12-31T23:59:59-23:59"],
            [f"authz: error: --at: found '9999-12-31T23:59:59-23:59', {WRONG_TIME}{OR_PERIOD}"],
        ),
    ],
)
@pytest.mark.usefixtures("shop")
def test_a_wrong_question_is_a_mistake(authz: Commands, arguments: list[str], lines: list[str]) -> None:
    refused(authz("explain", *arguments, "--config", "authz.yaml"), *lines)


@pytest.mark.parametrize("command", [EXPLAIN, ("replay", "requests.jsonl", "--config", "authz.yaml")])
@pytest.mark.usefixtures("shop")
def test_nothing_is_decided_by_a_snapshot_that_is_refused(
    authz: Commands, tmp_path: Path, command: tuple[str, ...]
) -> None:
    (tmp_path / "requests.jsonl").write_text('{"peer": "192.0.2.1"}\n')
    (tmp_path / "broken").write_bytes((tmp_path / "lists.snapshot").read_bytes()[:-1])
    refused(
        authz.real(*command, "--snapshot", "broken"),
        "authz: error: broken: truncated: 1 bytes of section 'members.length' are missing",
        status=1,
    )
    refused(
        authz(*command, "--snapshot", "missing"),
        "authz: error: missing: absent: No such file or directory",
        status=1,
    )


@pytest.mark.usefixtures("shop")
def test_explaining_and_replaying_leave_no_state(authz: Commands, tmp_path: Path) -> None:
    (tmp_path / "requests.jsonl").write_text('{"peer": "192.0.2.1"}\n')
    authz(*EXPLAIN)
    authz("replay", "requests.jsonl", "--config", "authz.yaml")
    assert not (tmp_path / "state").exists()


# replay.

REPLAY = ("replay", "requests.jsonl", "--config", "authz.yaml")


def write_requests(folder: Path, *requests: dict[str, Any] | str) -> None:
    lines = [request if isinstance(request, str) else json.dumps(request) for request in requests]
    (folder / "requests.jsonl").write_text("".join(f"{line}\n" for line in lines))


def through(client: str, **more: Any) -> dict[str, Any]:
    return {"peer": "127.0.0.1", "headers": [["X-Forwarded-For", client]], **more}


@pytest.mark.usefixtures("shop")
def test_requests_are_decided_in_order(authz: Commands, tmp_path: Path) -> None:
    write_requests(
        tmp_path,
        through("192.0.2.1", application="shop", time="2026-12-01T00:00:00Z"),
        "",
        through("198.51.100.25", application="shop"),
        through("198.51.100.25", application="admin"),
        through("2001:DB8:BAD::7"),
        {"peer": "203.0.113.10"},
        {"peer": "unix:", "headers": [["X-Forwarded-For", "192.0.2.1"]]},
        {"peer": "unix:///run/envoy.sock"},
        through("unknown"),
        {"peer": "127.0.0.1"},
        {"peer": "nobody"},
        through("192.0.2.1", application="unheard-of"),
    )
    ran = authz.real(*REPLAY)
    assert (ran.status, ran.err) == (0, "")
    found = ran.lines()
    assert found[0] == {
        "decision": "allow",
        "reason": "allowlisted",
        "list": "allow",
        "entry": "office",
        "layer": "policy",
        "client": "192.0.2.1",
        "application": "shop",
        "serial": 7,
        "status": 200,
        "enforced": True,
        "warnings": [],
        "matches": [{"entry": "office", "list": "allow", "network": "192.0.2.0/24"}],
    }
    assert [(one["client"], one["application"], one["decision"], one["reason"]) for one in found[1:]] == [
        ("198.51.100.25", "shop", "deny", "denylisted"),
        ("198.51.100.25", "admin", "deny", "default_deny"),
        ("2001:db8:bad::7", "*", "deny", "denylisted"),
        ("203.0.113.10", "*", "allow", "default_allow"),
        (None, "*", "deny", "peer_untrusted_transport"),
        (None, "*", "deny", "peer_untrusted_transport"),
        (None, "*", "deny", "client_unresolved"),
        (None, "*", "deny", "forwarded_missing"),
        (None, "*", "deny", "client_unresolved"),
        ("192.0.2.1", "*", "allow", "allowlisted"),
    ]
    assert found[1]["matches"] == [{"entry": "shop-only", "list": "deny", "network": "198.51.100.24/30"}]
    assert found[5]["matches"] == []


def test_time_may_go_backwards(shop: Publisher, authz: Commands, tmp_path: Path) -> None:
    shop.publish(
        "version: 1\nentries: [{id: sale, list: deny, networks: [203.0.113.0/24], "
        "starts: 2026-12-01T00:00:00Z, expires: 2026-12-24T00:00:00Z}]\n",
        serial=8,
    )
    times = ["2026-12-10T00:00:00Z", "2026-11-30T23:59:59Z", "2026-12-24T00:00:00Z", "2026-12-23T23:59:59Z",
             "2026-12-24T00:00:01Z", "2026-12-01T00:00:00Z", "1999-12-31T00:00:00Z"]  # fmt: skip
    write_requests(tmp_path, *({"peer": "203.0.113.7", "time": at} for at in times))
    decisions = [one["decision"] for one in authz(*REPLAY).lines()]
    assert decisions == ["deny", "allow", "allow", "deny", "allow", "deny", "allow"]


@pytest.mark.usefixtures("shop")
def test_requests_may_come_from_standard_input(authz: Commands) -> None:
    ran = authz.real("replay", "-", "--config", "authz.yaml", stdin=b'{"peer": "203.0.113.7"}')
    assert [one["decision"] for one in ran.lines()] == ["deny"]


@pytest.mark.usefixtures("shop")
def test_no_requests_are_no_decisions(authz: Commands, tmp_path: Path) -> None:
    write_requests(tmp_path)
    assert authz(*REPLAY) == Ran(0, "", "")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "found {: "),
        ("[]", "found []: "),
        ("peer", "found peer: "),
        ('{"peer": 7}', 'found {"peer": 7}: '),
        ("{}", "found {}: "),
        ('{"peer": "127.0.0.1", "peers": []}', 'found {"peer": "127.0.0.1", "peers": []}: '),
        ('{"peer": "127.0.0.1", "headers": [["a"]]}', 'found {"peer": "127.0.0.1", "headers": [["a"]]}: '),
        ('{"peer": "127.0.0.1", "headers": {"a": "b"}}', 'found {"peer": "127.0.0.1", "headers": {"a": "b"}}: '),
        ('{"peer": "127.0.0.1"} {"peer": "127.0.0.1"}', 'found {"peer": "127.0.0.1"} {"peer": "127.0.0.1"}: '),
        (
            '{"peer": "127.0.0.1", "time": "noon"}',
            f'found {{"peer": "127.0.0.1", "time": "noon"}}: time: found \'noon\', {WRONG_TIME}',
        ),
        ("\x1b[2J", "found \\x1b[2J: "),
    ],
)
@pytest.mark.usefixtures("shop")
def test_a_malformed_line_is_named_with_its_file_and_number(
    authz: Commands, tmp_path: Path, line: str, problem: str
) -> None:
    write_requests(tmp_path, {"peer": "203.0.113.7"}, "", line, {"peer": "203.0.113.7"})
    ran = authz(*REPLAY, "--format", "jsonl")
    assert ran.status == 2
    message, hint = ran.err.splitlines()
    assert message.startswith(f"authz: error: requests.jsonl:3: {problem}")
    assert hint == f"hint: {KNOWN}"
    assert [one["decision"] for one in ran.lines()] == ["deny"]


@pytest.mark.usefixtures("shop")
def test_a_malformed_line_ends_a_real_replay_with_status_2(authz: Commands, tmp_path: Path) -> None:
    (tmp_path / "requests.jsonl").write_bytes(b'{"peer": "203.0.113.7"}\n{"peer": "\xff"}\n')
    ran = authz.real(*REPLAY)
    assert ran.status == 2
    assert ran.err.startswith("authz: error: requests.jsonl:2: found ")
    assert len(ran.lines()) == 1


@pytest.mark.usefixtures("shop")
def test_a_log_that_cannot_be_read_is_a_mistake(authz: Commands) -> None:
    refused(authz(*REPLAY), "authz: error: requests.jsonl: cannot be read: No such file or directory")
    refused(authz("replay", "keys", "--config", "authz.yaml"), "authz: error: keys: cannot be read: Is a directory")


@pytest.mark.usefixtures("shop")
def test_a_reader_that_has_seen_enough_ends_a_replay_quietly(tmp_path: Path) -> None:
    write_requests(tmp_path, *({"peer": "203.0.113.7"} for _ in range(20_000)))
    command = [sys.executable, "-m", "authz", *REPLAY]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"{")
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 0


# check-config and print-config.


@pytest.mark.usefixtures("shop")
def test_the_environment_counts_for_every_command(authz: Commands) -> None:
    ran = authz.real("check-config", "authz.yaml", env={"AUTHZ_GRPC__LISTEN": "0.0.0.0:9191"})
    assert "  grpc on 0.0.0.0:9191" in ran.out


@pytest.mark.usefixtures("shop")
def test_every_mistake_of_a_configuration_is_printed(authz: Commands, tmp_path: Path) -> None:
    (tmp_path / "authz.yaml").write_text("""\
snapshot: {path: lists.snapshot, trusted_keys: [keys/a.pub], treshold: 1}
grpc: {listen: "localhost:9191"}
client_address: {trusted_proxies: [10.0.0.1/8]}
""")
    refused(
        authz.real("check-config", "authz.yaml"),
        "authz.yaml:1: snapshot.treshold: unknown key (did you mean 'threshold'?)",
        "authz.yaml:2: grpc.listen: found 'localhost:9191', expected ADDRESS:PORT such as 127.0.0.1:9191 or "
        "[::1]:9191, unix:///PATH, or off (an address, not a name: 127.0.0.1:9191)",
        "authz.yaml:3: client_address.trusted_proxies[0]: found '10.0.0.1/8', expected a network without host bits "
        "(did you mean '10.0.0.0/8'?)",
        "authz: error: 3 mistakes in authz.yaml",
    )


@pytest.mark.parametrize("command", ["check-config", "explain", "replay", "serve", "print-config"])
@pytest.mark.usefixtures("shop")
def test_a_wrong_configuration_is_told_by_every_command_that_reads_it(
    authz: Commands, tmp_path: Path, command: str
) -> None:
    (tmp_path / "authz.yaml").write_text("snapshot: {path: lists.snapshot}\n")
    write_requests(tmp_path)
    first = {"explain": ["192.0.2.1"], "replay": ["requests.jsonl"], "print-config": ["envoy"]}.get(command, [])
    option = [] if command == "check-config" else ["--config"]
    refused(
        authz(command, *first, *option, "authz.yaml"),
        "authz.yaml:1: snapshot.trusted_keys: missing",
        "authz: error: 1 mistake in authz.yaml",
    )
    refused(
        authz(command, *first, *option, "no.yaml"), "authz: error: no.yaml: cannot be read: No such file or directory"
    )


def test_a_configuration_with_a_wrong_key_is_refused(shop: Publisher, authz: Commands) -> None:
    shop.public["a"].write_bytes(shop.private["a"].read_bytes())
    refused(
        authz("check-config", "authz.yaml"),
        f"authz: error: {shop.public['a']}: found a private key, expected a public key",
        "hint: give the .pub file, and keep the .key file away from the sidecar",
    )


@pytest.mark.parametrize("proxy", ["envoy", "nginx"])
@pytest.mark.usefixtures("shop")
def test_a_configuration_for_the_proxy_is_printed(authz: Commands, tmp_path: Path, proxy: str) -> None:
    text = CONFIG
    for port in (9999, 9998, 9997):
        text = text.replace("127.0.0.1:0", f"127.0.0.1:{port}", 1)
    (tmp_path / "authz.yaml").write_text(text)
    ran = authz("print-config", proxy, "--config", "authz.yaml")
    assert (ran.status, ran.err) == (0, "")
    assert {"envoy": "9999", "nginx": "9998"}[proxy] in ran.out


# serve.

SERVE = ("serve", "--config", "authz.yaml", "--log-level", "error")


@pytest.mark.usefixtures("shop")
def test_an_unknown_log_level_is_a_mistake(authz: Commands) -> None:
    refused(
        authz.real("serve", "--config", "authz.yaml", "--log-level", "loud"),
        "authz: error: --log-level: found 'loud', expected debug, info, warning or error",
    )


@pytest.mark.parametrize("front", ["ADMIN", "HTTP", "GRPC"])
@pytest.mark.usefixtures("shop")
def test_an_address_that_is_taken_ends_the_start(authz: Commands, front: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = "{}:{}".format(*taken.getsockname())
        ran = authz.real(*SERVE, env={f"AUTHZ_{front}__LISTEN": address})
    assert ran.status == 2
    message, hint = ran.err.splitlines()
    assert message.startswith(f"authz: error: {front.lower()}.listen: {address}: ")
    assert "address already in use" in message.lower()
    assert hint == "hint: is another authz running?"


@pytest.mark.parametrize("front", ["HTTP", "GRPC"])
@pytest.mark.usefixtures("shop")
def test_a_socket_in_a_folder_that_is_not_there_ends_the_start(authz: Commands, tmp_path: Path, front: str) -> None:
    refused(
        authz.real(*SERVE, env={f"AUTHZ_{front}__LISTEN": "unix:run/authz.sock"}),
        f"authz: error: {tmp_path}/run/authz.sock: no such folder: {tmp_path}/run",
    )


@pytest.mark.usefixtures("shop")
def test_a_socket_where_a_file_stands_ends_the_start_and_the_file_stays(authz: Commands, tmp_path: Path) -> None:
    refused(
        authz.real(*SERVE, env={"AUTHZ_HTTP__LISTEN": "unix:policy.yaml"}),
        f"authz: error: {tmp_path}/policy.yaml: exists and is no socket, expected nothing there",
    )
    assert (tmp_path / "policy.yaml").read_text() == POLICY


@pytest.mark.usefixtures("shop")
def test_a_decision_log_that_cannot_be_written_ends_the_start(authz: Commands, tmp_path: Path) -> None:
    refused(
        authz.real(*SERVE, env={"AUTHZ_DECISION_LOG__PATH": "no/log.jsonl"}),
        f"authz: error: decision_log.path: {tmp_path}/no/log.jsonl: No such file or directory",
    )


@pytest.mark.usefixtures("shop")
def test_a_missing_key_ends_the_start(authz: Commands, tmp_path: Path) -> None:
    refused(
        authz.real(*SERVE, env={"AUTHZ_SNAPSHOT__TRUSTED_KEYS": "[no.pub]"}),
        f"authz: error: {tmp_path}/no.pub: cannot be read: No such file or directory",
    )
