"""A message by HTTP, signed: `Authz-Signature: t=SECONDS,v1=HEX`.

HEX is the HMAC-SHA256 of `SECONDS.BODY` under the channel's secret; a receiver compares it and refuses old times.
`Authz-Delivery` is the same whenever a message is sent again.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from authz.control.notify.channels.http import post, secret_of

if TYPE_CHECKING:
    from authz.control.notify.config import Channel
    from authz.control.notify.message import Message


def signature(secret: bytes, seconds: int, body: bytes) -> str:
    """Return the value of `Authz-Signature`."""
    digest = hmac.new(secret, f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={seconds},v1={digest}"


def send(channel: Channel, message: Message, seconds: int) -> None:
    """Send a message. Raises NotTaken unless the answer is a 2xx, and OSError where the secret cannot be read."""
    body = message.encoded()
    signed = signature(secret_of(channel.secret_file), seconds, body)
    post(channel.webhook or "", body, {"Authz-Delivery": message.delivery, "Authz-Signature": signed})
