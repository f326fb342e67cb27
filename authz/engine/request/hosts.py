"""The host of a request, as one name, or not at all.

`Host` and `:authority` may have a port, one trailing dot, and letters of either case; these are the same host. Whatever
else an application behind the proxy might take for a host that it knows (`x@admin.example.com`, `admin.example.com..`,
`[admin.example.com]`) is invalid: it must not be decided by settings of another application.
"""

from __future__ import annotations

import re
from typing import Final

_HOST: Final = re.compile(
    r"((?:[a-z0-9_-]+\.)*[a-z0-9_-]+)\.?(?::[0-9]*)?"  # RFC 3986, 3.2.3: a port may be empty
    r"|(\[[0-9a-f.]*:[0-9a-f:.]*\])(?::[0-9]*)?"
)


def host_name(text: str) -> str | None:
    """Return the host without port and trailing dot, in lower case; None: no host that all readers read alike."""
    match = _HOST.fullmatch(text.lower())
    return None if match is None else match[1] or match[2]
