"""Sending a message by whatever channel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from authz.control.notify.channels import elastic, messengers, splunk, syslog, webhook

if TYPE_CHECKING:
    from collections.abc import Callable

    from authz.control.notify.config import Channel
    from authz.control.notify.message import Message

_SENDERS: Final[dict[str, Callable[[Channel, Message], None]]] = {
    "apprise_file": messengers.send,
    "syslog": syslog.send,
    "splunk": splunk.send,
    "elastic": elastic.send,
}


def send(channel: Channel, message: Message, seconds: int) -> None:
    """Send a message. seconds: since 1970, for the signature.

    Raises:
        NotTaken: The receiver did not take it.
        OSError: A file of the channel cannot be read.
        InputError: A file of the channel has something that is refused.

    """
    if channel.kind == "webhook":
        webhook.send(channel, message, seconds)
    else:
        _SENDERS[channel.kind](channel, message)
