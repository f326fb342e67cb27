"""Build a release from a commit: `python deploy/release/make_release.py OUT [COMMIT]`.

OUT gets the sdist, the wheel and SHA256SUMS. The version is that of the tag, `v1.2.3`. A commit without a tag is a
development version of the next release, `1.3.0.dev7+gabc1234`: seven commits behind the last tag. Only what is
committed is packed, and the same commit gives the same bytes.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
BESIDE = Path(sys.executable).parent  # uv and twine
TAG = re.compile(r"v(\d+\.\d+\.\d+(?:(?:a|b|rc)\d+)?)")


class Refused(Exception):
    """The commit cannot be released."""


def version_of(described: str, written: str) -> str:
    """Return the version of a commit.

    Args:
        described: What `git describe --tags --long --always` says: `v0.1.0-0-gabc1234`, without any tag `abc1234`.
        written: The version in the code.

    Raises:
        Refused: The tag names another version than the code.
    """
    tag, count, commit = described.rsplit("-", 2) if described.count("-") >= 2 else ("", "0", f"g{described}")
    match = TAG.fullmatch(tag)
    if tag and not match:
        raise Refused(f"found the tag {tag}, expected one such as v{written}")
    if match and count == "0":
        if match[1] != written:
            raise Refused(f"found the tag {tag} on version {written} of the code, expected v{written}")
        return written
    if match and match[1] == written:
        raise Refused(f"found {count} commits after {tag} with its version {written}, expected the next version")
    return f"{written}.dev{count}+{commit}"


def git(*words: str) -> str:
    """Return what git says."""
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def set_version(folder: Path, version: str) -> None:
    """Write the version into the code, at both places."""
    for name, pattern in (("pyproject.toml", r'^version = "(.*)"$'), ("authz/__init__.py", r'^__version__ = "(.*)"$')):
        path = folder / name
        text, count = re.subn(
            pattern, lambda line: line[0].replace(line[1], version), path.read_text(), flags=re.MULTILINE
        )
        if count != 1:
            raise Refused(f"{name}: found {count} versions, expected one")
        path.write_text(text)


def build(out: Path, commit: str = "HEAD") -> str:
    """Build a commit into a folder, and return its version."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        archive = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, capture_output=True).stdout
        subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
        written = re.findall(r'^version = "(.*)"$', (folder / "pyproject.toml").read_text(), re.MULTILINE)
        version = version_of(git("describe", "--tags", "--long", "--always", commit), *written)
        set_version(folder, version)
        env = {**os.environ, "SOURCE_DATE_EPOCH": git("show", "-s", "--format=%ct", commit)}
        uv: list[str | Path] = [
            BESIDE / "uv",
            "build",
            "--quiet",
            "--sdist",
            "--wheel",
            "--no-build-isolation",
            "--offline",
        ]
        subprocess.run([*uv, "--python", sys.executable, "--out-dir", out.resolve()], cwd=folder, env=env, check=True)
    (out / ".gitignore").unlink(missing_ok=True)
    files = sorted([*out.glob("*.whl"), *out.glob("*.tar.gz")])
    subprocess.run([BESIDE / "twine", "check", "--strict", *files], check=True, stdout=subprocess.DEVNULL)
    sums = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files]
    (out / "SHA256SUMS").write_text("".join(sums))
    return version


if __name__ == "__main__":
    try:
        print(build(Path(sys.argv[1]), *sys.argv[2:]))
    except Refused as refused:
        sys.exit(f"release: error: {refused}")
