"""Who builds: the name that a snapshot keeps of its builder, and of who forced it."""

from __future__ import annotations

import getpass
import os


def builder_name() -> str:
    """Return the user and the machine, such as `ops@build-7`; a number for a user without a name, as in a container.

    Of somebody who has become root by sudo, the name is that of the person: `root` would say nothing.
    """
    try:
        user = (os.environ.get("SUDO_USER") if os.getuid() == 0 else None) or getpass.getuser()
    except (KeyError, OSError):  # OSError from Python 3.13 on
        user = f"uid {os.getuid()}"
    return f"{user}@{os.uname().nodename}"
