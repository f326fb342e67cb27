"""Which form of answer an HTTP caller wants, and which application it asks about: from the path of its request.

    /v1/auth, /v1/auth/<application>      200 or 403, never a body: nginx closes the connection on one
    /v1/nginx, /v1/nginx/<application>    the same with 204, and no header that the printed nginx.conf does not read
    /v1/forward[/<application>]           200, or exactly what a denied client is to see
    /v1/forward[/<application>]?details   the same, and our headers beside it, for a proxy that takes them off again
    /envoy/<application>/...              as /v1/forward; the rest of the path is the client's, and not read

Roots are apart so that a client's path can never be read as an application: Envoy puts its `path_prefix` before the
client's path, and `/v1/auth` + `/shop` would be `/v1/auth/shop`.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from authz.serve.http1.answers import AUTH, FORWARD, FORWARD_DETAILS, NGINX

HOST: Final = b"host"
FORWARDED_HOST: Final = b"x-forwarded-host"
MAX_ROUTES: Final = 1024  # targets that are remembered
MAX_TARGET: Final = 256  # bytes of each
_ROOTS: Final = ((b"/v1/auth", AUTH, HOST), (b"/v1/nginx", NGINX, HOST), (b"/v1/forward", FORWARD, FORWARDED_HOST))
_CLIENT_PATHS: Final = b"/envoy/"  # what follows the application is the client's, and never the same


class Route(NamedTuple):
    """What a target asks for.

    Attributes:
        form: Of the answer; see `answers`.
        application: As in the path; "" for none.
        host_header: Which header has the client's host, where the application is not named.

    """

    form: int
    application: str
    host_header: bytes = HOST


class Routes:
    """Finds the route of a target, and remembers it.

    Args:
        by_header: A header names the application, never the path.
    """

    def __init__(self, *, by_header: bool) -> None:
        self._by_header = by_header
        self.known: dict[bytes, tuple[int, str, bytes]] = {}  # plain tuples are quicker to unpack

    def find(self, target: bytes) -> Route | None:
        """Return the route of a request's target; None: not one of ours."""
        route = self._find(target)
        if route is not None and len(target) <= MAX_TARGET and not target.startswith(_CLIENT_PATHS):
            if len(self.known) >= MAX_ROUTES:
                self.known.clear()
            self.known[target] = route.form, route.application, route.host_header
        return route

    def _find(self, target: bytes) -> Route | None:
        path, _, query = target.partition(b"?")
        if path.startswith(_CLIENT_PATHS):
            return self._of_envoy(path)
        for base, usual, host in _ROOTS:
            form = FORWARD_DETAILS if usual == FORWARD and query == b"details" else usual
            if path == base:
                return Route(form, "", host)
            if path.startswith(base + b"/"):
                name = path[len(base) + 1 :]
                # Where the application comes from a header, a path that names one too is a conflict.
                bad = self._by_header or not name or b"/" in name
                return None if bad else Route(form, name.decode("latin-1"), host)
        return None

    def _of_envoy(self, path: bytes) -> Route | None:
        name, slash, _ = path[len(_CLIENT_PATHS) :].partition(b"/")
        if not slash or not (name or self._by_header):
            return None
        return Route(FORWARD, "" if self._by_header else name.decode("latin-1"))
