"""A message to a channel now, without the outbox: does the receiver take it?"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

from authz.control.model.problems import NotTaken
from authz.control.model.records import MICROSECONDS
from authz.control.notify.channels.send import send
from authz.control.notify.message import make_message
from authz.errors import InputError, shorten

if TYPE_CHECKING:
    from authz.control.notify.config import Notify


def try_channel(notify: Notify, name: str) -> str:
    """Send a message of the topic `test`; return a line that says so. Raises InputError if it is not taken."""
    known = {channel.name: channel for channel in notify.channels}
    if name not in known:
        there = f"expected one of {', '.join(known)}" if known else "control.yaml has no channels"
        raise InputError(f"notify: found no channel '{shorten(name)}', {there}")
    seconds = int(time.time())
    message = make_message(f"d-{secrets.token_hex(12)}", "test", [], seconds * MICROSECONDS, known[name].text)
    try:
        send(known[name], message, seconds)
    except (NotTaken, OSError) as error:
        raise InputError(f"notify: {name}: not taken: {shorten(error)}") from error
    return f"{name}: taken, delivery {message.delivery}"
