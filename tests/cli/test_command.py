"""The command itself: its help, its version, and wrong flags."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer
from support.suite.commands import Commands, Ran

from authz import __version__
from authz.cli.app import PANELS, app

if TYPE_CHECKING:
    from collections.abc import Iterator


def panel(ran: Ran) -> str:
    """Return what the command line itself has to object, without its frame."""
    assert (ran.status, ran.out) == (2, "")
    return " ".join(re.sub("[\u2500-\u257f]", " ", ran.err).split())


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


def test_the_help_shows_each_command_once_those_first_that_are_needed_first(authz: Commands) -> None:
    shown = re.findall(r"^│ ([a-z][a-z-]*)  +(?=\S)", authz.real("--help").out, re.MULTILINE)
    assert shown == [name for names in PANELS.values() for name in names]
    assert sorted(shown) == sorted({path[0] for path in COMMANDS})


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
        ("explain 192.0.2.1", "--config: missing"),
        ("replay requests.jsonl --config authz.yaml --format csv", "Invalid value for '--format'"),
        ("print-config squid --config authz.yaml", "Invalid value for 'proxy'"),
    ],
)
def test_a_wrong_flag_or_argument_is_named(authz: Commands, arguments: str, message: str) -> None:
    assert message in panel(authz(*arguments.split()))


def test_a_wrong_flag_ends_the_process_with_status_2(authz: Commands) -> None:
    assert "No such option: --fast" in panel(authz.real("ranges", "--fast"))
