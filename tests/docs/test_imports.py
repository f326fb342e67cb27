"""What imports what: the sidecar nothing of the publisher, the pure core nothing of the world, and arrows one way."""

from __future__ import annotations

import ast
import importlib.util
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.docs.imports import PACKAGE, imports, modules
from support.processes import CONFIG, Process, Sidecar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.publishing.publisher import Publisher

# What only the publisher, or who looks at many decisions at leisure, has loaded.
PUBLISHER = (
    *("numpy", "maxminddb", "dns", "PIL"),
    *("securesystemslib", "boto3", "botocore", "azure", "google.cloud", "google.auth", "hvac", "obstore"),
    *("authz.publisher", "authz.snapshot.write", "authz.snapshot.signing.signers"),
    *("authz.analysis", "authz.replay", "authz.cli.sidecar.proxy_config"),
    *("authz.control", "litestar", "sqlalchemy", "alembic", "psycopg", "uvicorn", "httpx"),
)

# What only other commands have loaded: a sidecar lives for weeks, and what it loads is in its memory all the time.
COMMAND_LINE = (
    "typer",
    "rich",
    "click",
    "pydantic",
    "authz.cli.app",
    "authz.cli.common.output",
    "prometheus_client",
    "grpc",
)


def inside(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


# What a running sidecar has loaded.


def loaded_by(process: Process) -> set[str]:
    """Return the modules that a process under `-X importtime` has imported so far."""
    return set(re.findall(r"^import time: +\d+ \| +\d+ \| +(\S+)$", process.output, re.MULTILINE))


def importing(folder: Path, *arguments: str) -> Process:
    return Process([sys.executable, "-X", "importtime", "-m", "authz", *arguments], cwd=folder)


def test_a_serving_sidecar_has_loaded_nothing_of_the_publisher_or_of_other_commands(
    publisher: Publisher, tmp_path: Path
) -> None:
    publisher.publish()
    (tmp_path / "authz.yaml").write_text(CONFIG)
    with importing(tmp_path, "serve", "--config", "authz.yaml") as sidecar:
        sidecar.wait_for_line(r"authz: serving")
        http = sidecar.wait_for_line(r"http: listening on (\S+)")[1]
        admin = sidecar.wait_for_line(r"admin: listening on (\S+)")[1]
        for url in (f"{http}/v1/auth/shop", f"{admin}/readyz", f"{admin}/metrics", f"{admin}/snapshot",
                    f"{admin}/explain?address=192.0.2.1"):  # fmt: skip
            request = urllib.request.Request(f"http://{url}", headers={"X-Forwarded-For": "192.0.2.1"})
            with urllib.request.urlopen(request) as answer:
                assert answer.status == 200
        publisher.publish()
        sidecar.popen.send_signal(signal.SIGHUP)
        sidecar.wait_for_line(r"loaded serial 2")
        sidecar.popen.terminate()
        assert sidecar.wait() == 0
        loaded = loaded_by(sidecar)
    assert {"authz.serve.sidecar", "authz.serve.layers.layer", "uvloop", "httptools"} <= loaded
    assert {name for name in loaded if inside(name, (*PUBLISHER, *COMMAND_LINE))} == set()


def test_a_publisher_has_loaded_it(publisher: Publisher, tmp_path: Path) -> None:
    publisher.publish()
    arguments = ("snapshot", "build", "policy.yaml", "-o", "new.snapshot", "--key", "keys/a.key")
    with importing(tmp_path, *arguments) as build:
        assert build.wait() == 0
        assert {"numpy", "authz.publisher.index.build", "authz.publisher.policy.read"} <= loaded_by(build)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_library_of_the_publisher_is_mapped_into_a_sidecar(publisher: Publisher, tmp_path: Path) -> None:
    publisher.publish()
    with Sidecar(tmp_path) as sidecar:
        maps = Path(f"/proc/{sidecar.popen.pid}/maps").read_text()
    assert "/uvloop/" in maps
    assert "/numpy/" not in maps


# A program that runs `authz` where nothing but its own dependencies can be imported.
LEAN = """\
import importlib.metadata as metadata, re, runpy, sys
wanted, queue = set(), ["authz"]
while queue:
    name = re.sub("[-_.]+", "-", queue.pop()).lower()
    if name not in wanted:
        wanted.add(name)
        for line in metadata.requires(name) or ():
            if "extra ==" not in line:
                queue.append(re.match("[A-Za-z0-9._-]+", line)[0])
theirs = {package: {re.sub("[-_.]+", "-", name).lower() for name in names}
          for package, names in metadata.packages_distributions().items()}
class Lean:
    def find_spec(self, name, path=None, target=None):
        owners = theirs.get(name.partition(".")[0], wanted)
        if LEAN and not owners & wanted:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Lean())
runpy.run_module("authz")
"""


def installed(name: str) -> bool:
    """Return whether a package is there, without importing more of it than its parents."""
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_sidecar_is_as_lean_with_all_extras_beside_it_as_without(publisher: Publisher, tmp_path: Path) -> None:
    """It took 91 MB instead of 47: securesystemslib imports the client of every cloud that is installed."""
    missing = [name for name in ("azure", "boto3", "hvac", "google.cloud.kms", "obstore", "litestar", "numpy")
               if not installed(name)]  # fmt: skip
    if missing:
        pytest.skip(f"not all extras are installed: {', '.join(missing)} cannot be imported")
    publisher.publish()
    (tmp_path / "authz.yaml").write_text(CONFIG)
    resident = []
    for lean in (False, True):  # both through the same program, whose own imports take memory too
        command = [sys.executable, "-c", f"LEAN = {lean}\n{LEAN}", "serve", "--config", "authz.yaml"]
        with Process(command, cwd=tmp_path) as sidecar:
            sidecar.wait_for_line(r"authz: serving$")
            status = Path(f"/proc/{sidecar.popen.pid}/status").read_text()
            resident.append(int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]))
            sidecar.popen.terminate()
            assert sidecar.wait() == 0
    everything, alone = resident
    assert everything - alone < 2048


@pytest.mark.parametrize("name", [name for name in modules() if name.startswith("authz.serve.")])
def test_every_module_of_the_sidecar_can_be_imported_alone_and_without_the_publisher(name: str) -> None:
    imported = {name}
    queue = [name]
    while queue:
        for other in imports(modules()[queue.pop()]) & set(modules()) - imported:
            imported.add(other)
            queue.append(other)
    assert {other for other in imported if inside(other, PUBLISHER)} == set()


# Arrows.

RANKS = {
    "errors": 0,
    **dict.fromkeys(["addresses", "times"], 1),
    **dict.fromkeys(["durable", "strict_yaml", "wire"], 2),
    "snapshot": 3,
    "engine": 4,
    "serve": 5,
    "analysis": 6,
    **dict.fromkeys(["publisher", "replay"], 7),
    "control": 8,
    "cli": 9,
    "__main__": 10,
}


def part(name: str) -> str:
    """Return the package or module right below authz."""
    return name.split(".")[1] if "." in name else name


def arrows() -> Iterator[tuple[str, str]]:
    """Yield which module imports which of another part. Left out: `authz` itself, the library's front door."""
    for name, path in modules().items():
        for other in imports(path) if name != "authz" else ():
            if other.startswith("authz.") and part(other) != part(name):
                yield name, other


def test_every_part_has_its_rank() -> None:
    assert {part(name) for name in modules() if name != "authz"} == set(RANKS)


def test_imports_point_one_way() -> None:
    drawn = list(arrows())
    assert len(drawn) > 100
    assert [f"{name} -> {other}" for name, other in drawn if RANKS[part(name)] <= RANKS[part(other)]] == []


def test_the_snapshot_knows_no_policy() -> None:
    snapshot = {other for name, other in arrows() if name.startswith("authz.snapshot")}
    assert {part(other) for other in snapshot} == {"errors", "durable", "wire"}


def test_the_sidecar_knows_no_publisher() -> None:
    assert [other for name, other in arrows() if name.startswith("authz.serve") and part(other) == "publisher"] == []


def test_the_lookup_needs_the_standard_library_alone() -> None:
    for name in (
        "engine/entries/lookup",
        "engine/entries/lookup_ipv6",
        "snapshot/cooperative",
        "snapshot/sections",
        "errors",
    ):
        imported = imports(PACKAGE / f"{name}.py")
        ours = {other for other in imported if other.startswith("authz")}
        assert ours <= {
            "authz.engine.entries.lookup_ipv6", "authz.errors", "authz.snapshot.cooperative", "authz.snapshot.sections",
        }  # fmt: skip
        assert {other.split(".")[0] for other in imported - ours} <= set(sys.stdlib_module_names)


# What has no files, sockets, clocks, random numbers or threads of its own.
PURE_IMPORTS = {
    *("__future__", "bisect", "collections", "collections.abc", "dataclasses", "enum", "functools", "ipaddress"),
    *("itertools", "math", "operator", "re", "string", "typing"),
    *("authz.addresses", "authz.errors", "authz.engine.model", "authz.engine.decision.precedence"),
}
IMPURE_CALLS = {"open", "print", "input", "exec", "eval", "__import__", "breakpoint"}


@pytest.mark.parametrize(
    "name",
    [
        "engine/decision/verdict.py",
        "engine/decision/precedence.py",
        "engine/model.py",
        "engine/request/client_address.py",
    ],
)
def test_the_core_does_no_input_or_output_and_reads_no_clock(name: str) -> None:
    assert imports(PACKAGE / name) <= PURE_IMPORTS
    tree = ast.parse((PACKAGE / name).read_text())
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert called & IMPURE_CALLS == set()


def test_the_core_can_be_imported_with_nothing_but_the_standard_library(tmp_path: Path) -> None:
    core = "authz.engine.decision.verdict, authz.engine.request.client_address, authz.engine.entries.lookup"
    code = f"import {core}, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r}); {code}"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    roots = {name.split(".")[0] for name in done.stdout.split()}
    assert roots - set(sys.stdlib_module_names) - {"__main__"} == {"authz"}


def test_nothing_of_the_tests_is_imported_by_the_product() -> None:
    for path in modules().values():
        assert {name for name in imports(path) if inside(name, ("tests", "support", "pytest", "hypothesis"))} == set()


def test_nothing_imports_what_clashes_with_the_proxies_own_packages() -> None:
    for path in modules().values():
        assert {name for name in imports(path) if inside(name, ("envoy", "envoy_data_plane", "xds"))} == set()


@pytest.mark.parametrize(
    "name", ["engine.entries.manifest", "engine.entries.ruleset", "engine.decision.decider", "engine.entries.lookup"]
)
def test_who_decides_is_told_the_time(name: str) -> None:
    assert imports(modules()[f"authz.{name}"]) & {"time", "datetime", "authz.times"} == set()
