"""The `authz` command as `pip install` makes it, for benchmarks that time a command from its start.

A working copy is slower: its editable install asks a finder for each module, and where the environment has
PYTHONDONTWRITEBYTECODE, each command compiles the modules anew.
"""

from __future__ import annotations

import site
import sys
import venv
from pathlib import Path
from typing import Final, NamedTuple

import authz

_SCRIPT: Final = """\
#!{python}
import sys
from authz.cli.main import run
sys.exit(run())
"""


class Installed(NamedTuple):
    """The command.

    Attributes:
        path: Of it.
        environment: Variables to start it with, beside those that there are.
    """

    path: Path
    environment: dict[str, str]


def installed(folder: Path) -> Installed:
    """Install the command in a virtual environment, `folder`. It compiles its modules when it is run first."""
    venv.create(folder, symlinks=True)
    [packages] = folder.glob("lib/python*/site-packages")
    places = [Path(authz.__file__).parents[1], *site.getsitepackages()]
    (packages / "authz.pth").write_text("".join(f"{place}\n" for place in places), encoding="utf-8")
    script = folder / "bin" / "authz"
    script.write_text(_SCRIPT.format(python=folder.absolute() / "bin" / Path(sys.executable).name), encoding="utf-8")
    script.chmod(0o755)
    return Installed(
        script.absolute(), {"PYTHONPYCACHEPREFIX": str(folder.absolute() / "compiled"), "PYTHONDONTWRITEBYTECODE": ""}
    )
