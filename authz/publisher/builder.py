"""Who builds: the name that a snapshot keeps of its builder, and of who forced it; and whether the clock is right."""

from __future__ import annotations

import getpass
import os
from typing import Final

from authz.times import format_moment

MAX_CLOCK_BACK: Final = 60  # seconds that clocks of two publishers may differ without a word


def builder_name() -> str:
    """Return the user and the machine, such as `ops@build-7`; a number for a user without a name, as in a container.

    Of somebody who has become root by sudo, the name is that of the person: `root` would say nothing.
    """
    try:
        user = (os.environ.get("SUDO_USER") if os.getuid() == 0 else None) or getpass.getuser()
    except (KeyError, OSError):  # OSError from Python 3.13 on
        user = f"uid {os.getuid()}"
    return f"{user}@{os.uname().nodename}"


def clock_warnings(created: int, now: int) -> list[str]:
    """Return a warning where this machine's clock is behind the time at which the last build was made.

    Args:
        created: When that was, in seconds since 1970; 0: there is none.
        now: Seconds since 1970.
    """
    if created <= now + MAX_CLOCK_BACK:
        return []
    ahead = f"{format_moment(created)}, {created - now} seconds from now"
    return [f"the clock went back: the last build was made at {ahead}; look at the clock of this machine"]
