"""The units of deploy/systemd: systemd itself reads them, they have few rights, and fit the sidecar."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest
from support.proxies.deployed import CONFIGURATIONS, DEPLOY, ROOT

from authz.serve.config.config import load_config

if TYPE_CHECKING:
    from pathlib import Path

UNITS = DEPLOY / "systemd"
SERVICES = sorted(path.name for path in UNITS.glob("*.service"))
MAX_EXPOSURE = 15  # tenths, of `systemd-analyze security`: 1.5, where 10 is a service without any limit


def settings(name: str) -> dict[str, list[str]]:
    """Return the settings of a unit; some stand more than once."""
    values: dict[str, list[str]] = {}
    for line in (UNITS / name).read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            values.setdefault(key, []).append(value)
    return values


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units, with a program that is there."""
    for path in UNITS.iterdir():
        (tmp_path / path.name).write_text(path.read_text().replace("/opt/authz/bin/authz", "/bin/true"))
    return tmp_path


def systemd(program: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a program of systemd, or skip the test."""
    if shutil.which(program) is None:
        pytest.skip(f"needs {program}, of systemd")
    return subprocess.run([program, *arguments], cwd=cwd, capture_output=True, text=True, check=False)


def test_systemd_takes_the_units(units: Path) -> None:
    names = [f"./{path.name}" for path in sorted(units.iterdir()) if path.suffix not in {".conf", ".yaml"}]
    done = systemd("systemd-analyze", "verify", "--man=no", *names, cwd=units)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_units_of_the_page_of_restarts_are_valid(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "guides" / "restarts.md").read_text()
    (both,) = re.findall(r"```ini\n(.*?)```", page, re.DOTALL)
    lines = both.splitlines()
    middle = lines[0].index("# authz.service")
    for name, unit in (
        ("authz.socket", [line[:middle] for line in lines]),
        ("authz.service", [line[middle:] for line in lines]),
    ):
        (tmp_path / name).write_text(
            "\n".join(line.rstrip() for line in unit).replace("/usr/bin/authz", "/bin/true") + "\n"
        )
    done = systemd("systemd-analyze", "verify", "--man=no", "./authz.socket", "./authz.service", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_mistake_in_a_unit_would_be_seen(units: Path) -> None:
    unit = units / "authz.service"
    unit.write_text(unit.read_text().replace("ProtectHome=yes", "ProtectHomes=yes"))
    done = systemd("systemd-analyze", "verify", "--man=no", "./authz.service", cwd=units)
    assert "'ProtectHomes'" in done.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_few_rights(name: str, units: Path) -> None:
    options = ("security", "--offline=true", f"--threshold={MAX_EXPOSURE}")
    done = systemd("systemd-analyze", *options, f"./{name}", cwd=units)
    assert done.returncode == 0, done.stdout[-600:]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_of_a_user_of_its_own_that_is_made(name: str) -> None:
    made = re.findall(r"^u (\S+)", (UNITS / "authz.sysusers.conf").read_text(), re.MULTILINE)
    (user,) = settings(name)["User"]
    assert user in made
    users = [settings(other)["User"][0] for other in SERVICES]
    assert users.count(user) == 1, "who breaks into one has not the files of another"


def test_only_the_signer_has_no_network_and_only_the_publisher_gets_its_key() -> None:
    assert [name for name in SERVICES if "PrivateNetwork" in settings(name)] == ["authz-signer.service"]
    assert [name for name in SERVICES if "LoadCredential" in settings(name)] == ["authz-feeds.service"]


@pytest.mark.parametrize(("socket", "place"), [("grpc", "envoy"), ("http", "nginx")])
def test_a_socket_is_that_of_the_configuration_and_has_the_name_of_its_listener(socket: str, place: str) -> None:
    config = load_config(CONFIGURATIONS[place], {})
    listen = {"grpc": config.grpc.listen, "http": config.http.listen}[socket]
    unit = settings(f"authz-{socket}.socket")
    assert unit["FileDescriptorName"] == [socket]
    assert unit["ListenStream"] == [str(listen.path) if listen.path else str(listen)]
    assert unit["Service"] == ["authz.service"]


def test_the_sidecar_is_told_to_end_and_to_read_again_as_it_understands() -> None:
    unit = settings("authz.service")
    assert unit["Type"] == ["notify"]
    assert unit["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    assert unit["Restart"] == ["always"]
    drain = max(load_config(path, {}).drain for path in CONFIGURATIONS.values())
    (stop,) = unit["TimeoutStopSec"]
    assert int(stop.removesuffix("s")) >= drain + 10
    state = load_config(CONFIGURATIONS["envoy"], {}).state_file
    assert [f"/var/lib/{folder}" for folder in unit["StateDirectory"]] == [str(state.parent)]


def test_users_and_folders_are_made_as_the_sockets_need_them(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("needs root, to make users in a folder")
    (tmp_path / "etc").mkdir()
    done = systemd("systemd-sysusers", f"--root={tmp_path}", str(UNITS / "authz.sysusers.conf"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = systemd(
        "systemd-tmpfiles", f"--root={tmp_path}", "--create", str(UNITS / "authz.tmpfiles.conf"), cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    groups = dict(re.findall(r"^([^:]+):[^:]*:(\d+):", (tmp_path / "etc" / "group").read_text(), re.MULTILINE))
    status = (tmp_path / "run" / "authz").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_gid) == (0o2750, int(groups["authz-proxy"]))
    users = (tmp_path / "etc" / "passwd").read_text()
    assert users.count("/usr/sbin/nologin") == len(SERVICES)
    assert re.search(r"^authz-proxy:.*:authz$", (tmp_path / "etc" / "group").read_text(), re.MULTILINE)
