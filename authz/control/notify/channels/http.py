"""What channels by HTTP share: one POST, no redirect followed, a few seconds of patience, however slowly bytes come."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx

from authz.control.model.problems import NotTaken

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TIMEOUT: Final = 10.0  # seconds for a step: to connect, to send, until the next bytes of an answer
WHOLE: Final = 20.0  # seconds for all steps: one receiver must not hold up the messages of others
MAX_ANSWER: Final = 1 << 20  # bytes of an answer that are read


def post(url: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """Send a request; return the body of a 2xx. Raises NotTaken for all else."""
    sent = {"Content-Type": "application/json", "User-Agent": "authz"} | dict(headers)
    try:
        with (
            httpx.Client(timeout=TIMEOUT, follow_redirects=False) as client,
            _ended_after(WHOLE, client),
            client.stream("POST", url, content=body, headers=sent) as answer,
        ):
            if not answer.is_success:
                raise NotTaken(f"the receiver answered {answer.status_code}")
            return _start_of(answer)
    except httpx.HTTPError as error:
        raise NotTaken(f"{type(error).__name__}: {error}") from error


@contextlib.contextmanager
def _ended_after(seconds: float, client: httpx.Client) -> Iterator[None]:
    """Close a client's connection after so long: what waits for its next bytes then fails."""
    timer = threading.Timer(seconds, client.close)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _start_of(answer: httpx.Response) -> bytes:
    content = bytearray()
    for part in answer.iter_bytes():
        content += part
        if len(content) > MAX_ANSWER:
            break
    return bytes(content)


def secret_of(path: str | None) -> bytes:
    """Return the secret in a file, without the space around it; none for no file. Raises OSError."""
    return b"" if path is None else Path(path).read_bytes().strip()
