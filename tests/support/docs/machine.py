"""A machine with systemd: the files of this one under an overlay, booted by systemd-nspawn. Nothing is left of it."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Final

import pytest
from support.docs.blocks import ROOT

if TYPE_CHECKING:
    from pathlib import Path

_TREE: Final = (
    "authz",
    "deploy",
    "LICENSE",
    "README.md",
    "pyproject.toml",
)  # of a checkout, what an installation needs
_NEEDS: Final = {
    "systemd-nspawn": "systemd-container",
    "unshare": "util-linux",
    "/lib/systemd/systemd": "systemd-sysv",
    "/usr/bin/python3": "python3-venv",
}
# before.sh runs in the overlay with the network of this machine, after.sh in the booted machine with loopback alone.
_SCRIPT: Final = """\
set -eE
trap 'echo "failed: line $LINENO"; tail -n 40 boot.log' ERR
mkdir overlay; mount -t tmpfs tmpfs overlay; mkdir overlay/upper overlay/work overlay/tree
mount -t overlay overlay -o lowerdir=/,upperdir=overlay/upper,workdir=overlay/work overlay/tree
unit=overlay/tree/etc/systemd/system/guide.target
printf '[Unit]\\nRequires=basic.target\\nAfter=basic.target\\nAllowIsolate=yes\\n' > $unit
mkdir -p overlay/tree/srv/checkout; cp -r checkout/. before.sh after.sh overlay/tree/srv/checkout
mount --bind /proc overlay/tree/proc; mount --bind /dev overlay/tree/dev
export PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin
chroot overlay/tree sh -c 'cd /srv/checkout && exec bash -ex before.sh'
umount overlay/tree/proc overlay/tree/dev
systemd-nspawn --directory overlay/tree --boot --register=no --keep-unit --private-network --console=read-only \\
    systemd.unit=guide.target < /dev/null > boot.log 2>&1 &
nspawn=$!
for _ in $(seq 600); do
    first=$(pgrep -P $nspawn | head -n 1) || true
    test -n "$first" && nsenter -t $first -m -u -i -n -p systemctl is-active --quiet guide.target 2> /dev/null && break
    kill -0 $nspawn; sleep 0.1
done
nsenter -t $first -m -u -i -n -p sh -c 'cd /srv/checkout && exec bash -ex after.sh'
"""


def run_in_a_machine(folder: Path, before: str, after: str) -> str:
    """Run two scripts in a checkout on a machine, and return what they printed. Raises AssertionError where one fails.

    before: before the machine boots, with this machine's network. after: once it has booted; it has loopback alone.
    """
    if os.geteuid():
        pytest.skip("needs root")
    missing = sorted(package for program, package in _NEEDS.items() if shutil.which(program) is None)
    if missing:
        pytest.skip(f"needs the Debian packages {' '.join(missing)}")
    checkout = folder / "checkout"
    for name in _TREE:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, checkout / name)
    (folder / "before.sh").write_text(before)
    (folder / "after.sh").write_text(after)
    (folder / "machine.sh").write_text(_SCRIPT)
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "machine.sh"]
    done = subprocess.run(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=900
    )
    if "Could not find a version" in done.stdout:
        pytest.skip("needs a package index")
    assert done.returncode == 0, done.stdout[-6000:]
    return done.stdout
