"""A message by HTTP, signed: `Authz-Signature: t=SECONDS,v1=HEX`.

HEX is the HMAC-SHA256 of `SECONDS.BODY` under the channel's secret; a receiver compares it and refuses old times.
`Authz-Delivery` is the same whenever a message is sent again. Redirects are not followed.
"""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx

if TYPE_CHECKING:
    from authz.control.notify.config import Channel

_TIMEOUT: Final = 10.0  # seconds


class NotTaken(Exception):  # says what happened
    """The receiver did not take a message."""


def signature(secret: bytes, seconds: int, body: bytes) -> str:
    """Return the value of `Authz-Signature`."""
    digest = hmac.new(secret, f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={seconds},v1={digest}"


def send(channel: Channel, delivery: str, body: bytes, seconds: int) -> None:
    """Send a message. Raises NotTaken unless the answer is a 2xx, and OSError where the secret cannot be read."""
    secret = Path(channel.secret_file).read_bytes().strip()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "authz",
        "Authz-Delivery": delivery,
        "Authz-Signature": signature(secret, seconds, body),
    }
    try:
        with (
            httpx.Client(timeout=_TIMEOUT, follow_redirects=False) as client,
            client.stream("POST", channel.webhook, content=body, headers=headers) as answer,
        ):
            if not answer.is_success:
                raise NotTaken(f"the receiver answered {answer.status_code}")
    except httpx.HTTPError as error:
        raise NotTaken(f"{type(error).__name__}: {error}") from error
