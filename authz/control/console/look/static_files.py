"""The files beside the pages: our stylesheet and script, and what others made, with its licence. Read once."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Final, NamedTuple

from litestar import Response, get
from litestar.params import FromPath

from authz.control.model.problems import Missing

FOLDER: Final = Path(__file__).parent / "static"
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".woff2": "font/woff2",
    ".svg": "image/svg+xml",
    ".LICENSE": "text/plain; charset=utf-8",
}


class StaticFile(NamedTuple):
    """One file.

    Attributes:
        version: Changes with its content.
    """

    content: bytes
    media_type: str
    version: str


@functools.cache
def static_files() -> dict[str, StaticFile]:
    """Return all files by their name below /static."""
    files = {}
    for path in sorted(FOLDER.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            version = hashlib.sha256(content).hexdigest()[:12]
            files[path.relative_to(FOLDER).as_posix()] = StaticFile(content, _TYPES[path.suffix], version)
    return files


def versioned(name: str) -> str:
    """Return the address of a file; it changes with the content, so a browser may keep it."""
    return f"/static/{name}?v={static_files()[name].version}"


@get("/static/{name:path}", include_in_schema=False, cache=False)
async def get_static(name: FromPath[str]) -> Response[bytes]:
    """Give a file. It holds nothing of anybody's: no session is needed."""
    file = static_files().get(str(name).lstrip("/"))
    if file is None:
        raise Missing("there is no such file")
    headers = {"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
    return Response(file.content, media_type=file.media_type, headers=headers)
