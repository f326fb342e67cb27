"""What is generated is what its source says, and what is pinned is pinned the same everywhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "proto" / "authz"
PROTOS = sorted(Path("authz/wire") / path.relative_to(SOURCES) for path in SOURCES.rglob("*.proto"))
INSTALLED = {
    "deploy/requirements/sidecar.txt": (),
    "deploy/requirements/publish.txt": ("publish",),
    "deploy/requirements/control.txt": ("publish", "control"),
    "deploy/requirements/stores.txt": ("stores",),
    "deploy/requirements/control-kms.txt": ("publish", "control", "kms"),
    "examples/requirements.txt": ("publish", "control", "demo"),
}
PINNED = ["constraints.txt", *INSTALLED, "deploy/requirements/build.txt"]

# Put together here, so that this file does not hold what it looks for.
REGISTRIES = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("python" + "hosted", "org"),
        ("registry", "npm" + "js", "org"),
        ("crates", "io"),
        ("ruby" + "gems", "org"),
        ("proxy", "golang", "org"),
        ("repo", "maven", "apache", "org"),
        ("registry-1", "docker", "io"),
        ("deb", "debian", "org"),
    )
]
MACHINE = [f"/{folder}/" for folder in ("work", "root", "home", "Users")]


class Pin(NamedTuple):
    """One pinned package."""

    version: str
    hashes: frozenset[str]


def pins(name: str) -> dict[str, Pin]:
    """Return the packages of a file with pins; fails where a line is neither a pin, nor a hash, nor a comment."""
    by_package: dict[str, Pin] = {}
    package = ""
    for line in (ROOT / name).read_text().splitlines():
        if pin := re.fullmatch(r"([a-z0-9][a-z0-9-]*)==([a-zA-Z0-9.!+]+)( ; .*?)? \\", line):
            package = (
                pin[1] if pin[1] not in by_package or not pin[3] else f"{pin[1]}{pin[3]}"
            )  # a version for each Python
            assert package not in by_package, f"{name}: {package} twice"
            by_package[package] = Pin(pin[2], frozenset())
        elif digest := re.fullmatch(r"    --hash=sha256:([0-9a-f]{64})( \\)?", line):
            by_package[package] = by_package[package]._replace(hashes=by_package[package].hashes | {digest[1]})
        else:
            assert re.fullmatch(r"(#[^:]*:?)?", line), f"{name}: {line}"
    return by_package


def required(*extras: str) -> set[str]:
    """Return the names of the packages that pyproject.toml asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(requirement for extra in extras for requirement in project["optional-dependencies"][extra]),
    ]
    return {
        re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower().replace("_", "-") for requirement in wanted
    }


def files() -> list[Path]:
    """Return the files of the project: tracked, or about to be."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("needs the project's git repository")
    command = [git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    return [path for name in listed.decode().split("\0") if name and (path := ROOT / name).is_file()]


# Generated code.


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What protoc makes of the .proto files, as `make proto` calls it."""
    folder = tmp_path_factory.mktemp("generated")
    command = [
        sys.executable,
        "-m",
        "grpc_tools.protoc",
        "-I",
        "authz/wire=proto/authz",
        f"--python_out={folder}",
        f"--pyi_out={folder}",
    ]
    subprocess.run([*command, *map(str, PROTOS)], cwd=ROOT, check=True)
    return folder


def test_make_proto_generates_every_proto() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert len(PROTOS) >= 2
    assert [str(path) for path in PROTOS if str(path) not in makefile] == []


@pytest.mark.parametrize("proto", PROTOS, ids=str)
@pytest.mark.parametrize("suffix", ["_pb2.py", "_pb2.pyi"])
def test_the_generated_code_is_what_its_proto_says(generated: Path, proto: Path, suffix: str) -> None:
    name = proto.with_name(proto.stem + suffix)
    assert (ROOT / name).read_text() == (generated / name).read_text(), "make proto"


def test_no_generated_code_is_without_its_proto() -> None:
    known = {str(proto.with_name(proto.stem + suffix)) for proto in PROTOS for suffix in ("_pb2.py", "_pb2.pyi")}
    assert {
        str(path.relative_to(ROOT)) for path in (ROOT / "authz").rglob("*_pb2.py*") if path.suffix != ".pyc"
    } == known


# Pins.


@pytest.mark.parametrize("name", PINNED)
def test_every_package_is_pinned_with_a_hash_and_no_address(name: str) -> None:
    packages = pins(name)
    assert packages
    assert [package for package, pin in packages.items() if not pin.hashes] == []
    assert "://" not in (ROOT / name).read_text()


def test_the_pins_are_of_all_that_the_project_asks_for() -> None:
    assert required("publish", "kms", "stores", "control", "dev") - set(pins("constraints.txt")) == set()
    for name, extras in INSTALLED.items():
        assert required(*extras) - set(pins(name)) == set()


def test_readme_installs_what_its_commands_need() -> None:
    readme = (ROOT / "README.md").read_text()
    assert "pip install --require-hashes -r deploy/requirements/control.txt" in readme
    assert set(pins("deploy/requirements/publish.txt")) < set(pins("deploy/requirements/control.txt"))


def test_the_image_has_the_versions_that_are_tested() -> None:
    tested = pins("constraints.txt")
    for name in PINNED[1:]:
        assert {package: pin for package, pin in pins(name).items() if tested.get(package) != pin} == {}


def test_the_image_has_nothing_that_only_tests_need() -> None:
    for name in INSTALLED:
        assert set(pins(name)) & (required("dev") - required("publish", "kms", "stores", "control", "demo")) == set()
    assert set(pins("deploy/requirements/sidecar.txt")) & (required("publish", "control") - required()) == set()


def test_the_version_is_the_same_everywhere() -> None:
    from authz import __version__

    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == __version__


# Addresses that belong to nobody's project.


@pytest.mark.parametrize("forbidden", [*REGISTRIES, *MACHINE])
def test_no_file_names_a_registry_or_a_path_of_this_machine(forbidden: str) -> None:
    assert [str(path.relative_to(ROOT)) for path in files() if forbidden.encode() in path.read_bytes()] == []


def test_no_file_names_the_folder_that_it_is_developed_in() -> None:
    assert [str(path.relative_to(ROOT)) for path in files() if f"{ROOT}/".encode() in path.read_bytes()] == []
