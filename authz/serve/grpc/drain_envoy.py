"""Asks the Envoy of this pod to drain: what the sidecar's preStop runs. Needs no library of the command line.

    python -m authz.serve.grpc.drain_envoy 127.0.0.1:9901

Envoy then fails its health checks and says with every answer that the connection ends (`Connection: close`, GOAWAY),
for its --drain-time-s; it goes on to accept connections and to answer. Without it Envoy ends at once on SIGTERM, and
cuts the requests under way.
"""

from __future__ import annotations

import http.client
import sys
from typing import Final

from authz.errors import InputError

# skip_exit: the listeners stay open, for whoever has not heard of the end yet.
STEPS: Final = ("/healthcheck/fail", "/drain_listeners?graceful&skip_exit")
_TIMEOUT: Final = 5.0  # seconds for Envoy to answer


def drain(admin: str) -> None:
    """Tell the Envoy whose admin interface is at HOST:PORT to drain. A second call is harmless. Raises InputError."""
    for step in STEPS:
        connection = http.client.HTTPConnection(admin, timeout=_TIMEOUT)
        try:
            connection.request("POST", step)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            hint = "expected the address of Envoy's `admin`"
            raise InputError(f"{admin}: POST {step}: {error}", hint=hint) from error
        finally:
            connection.close()
        if status != 200:
            raise InputError(f"{admin}: POST {step}: found the status {status}, expected 200")


def main(arguments: list[str]) -> None:
    """Run the command; status 2 and what is wrong where Envoy could not be told."""
    try:
        if len(arguments) != 1:
            raise InputError(f"found {len(arguments)} arguments, expected HOST:PORT of Envoy's admin interface")
        drain(arguments[0])
    except InputError as error:
        sys.stderr.write(f"authz: error: {error.message}\n")
        sys.exit(2)


if __name__ == "__main__":
    main(sys.argv[1:])
