"""`client_address.trusted_proxies_files`: proxies whose networks somebody else publishes, such as those of a CDN.

A file has one address, network or range a line; `#` begins a comment. `authz feeds networks` writes such files:

    173.245.48.0/20
    2400:cb00::/32    # of last May
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from authz.addresses import Network, parse_networks
from authz.errors import BadValue, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_SIZE: Final = 1 << 20  # bytes; the largest of a vendor, AWS with all its services, has 0.2 MB


def read_trusted(path: Path) -> tuple[Network, ...]:
    """Return the networks of a file.

    Raises:
        InputError: The file cannot be read, is larger than `MAX_SIZE`, has a line that is no address, network or range,
            or has none at all: a download that broke must not make every CDN's server a client.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SIZE + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > MAX_SIZE:
        raise InputError(f"{path}: found more than {MAX_SIZE} bytes, expected networks of proxies, one per line")
    networks = tuple(_networks(path, content.decode(errors="replace")))
    if not networks:
        raise InputError(f"{path}: found no network, expected one per line")
    return networks


def _networks(path: Path, text: str) -> Iterator[Network]:
    for number, line in enumerate(text.splitlines(), 1):
        written = line.partition("#")[0].strip()
        try:
            yield from parse_networks(written) if written else ()
        except BadValue as error:
            raise InputError(f"{path}, line {number}: {error.message}", hint=error.hint) from error
