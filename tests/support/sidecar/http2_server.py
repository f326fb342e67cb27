"""The listener of the native engine alone, on a port: `python -m support.sidecar.http2_server`, in the folder `tests`.

It takes every request for a call of gRPC to a method that echoes. So a client that can say no content type, such as
h2spec, is not answered before its request has ended.
"""

from __future__ import annotations

import asyncio

import uvloop

from authz.serve.http2.grpc_methods import Method, Service
from authz.serve.http2.headers import CallHead
from authz.serve.http2.listener import Http2Listener

PATH = "/test.Test/Echo"


async def serve() -> None:
    """Say the port, and serve until the process is ended."""
    CallHead.grpc = property(lambda _: True)  # type: ignore[assignment,method-assign]
    listener = Http2Listener(Service({PATH.encode(): Method(answer=bytes)}, 1 << 16))
    server = await asyncio.get_running_loop().create_server(listener, "127.0.0.1", 0)
    listener.start()
    print("listening on port", server.sockets[0].getsockname()[1], flush=True)  # noqa: T201  # for who started it
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve())
