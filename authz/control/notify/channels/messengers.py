"""Messengers by the URLs of the library apprise, one a line in a file: they have tokens and passwords in them.

Only the schemes of `authz.control.notify.messenger_schemes` are accepted.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Final

from authz.control.model.problems import NotTaken
from authz.control.notify.messenger_schemes import HOSTED, OWN
from authz.errors import InputError, shorten

if TYPE_CHECKING:
    from collections.abc import Collection

    from authz.control.notify.config import Channel
    from authz.control.notify.message import Message

MAX_URLS: Final = 20  # of a channel


def urls_of(path: str, own: Collection[str]) -> list[str]:
    """Return the URLs of a file: lines without comments. own: schemes of `OWN` that are taken.

    Raises:
        InputError: A scheme is on no list (the URL is not shown: it has secrets), there is none, or too many.
        OSError: The file cannot be read.

    """
    lines = [line.strip() for line in Path(path).read_text("utf-8").splitlines()]
    urls = [line for line in lines if line and not line.startswith("#")]
    if not 1 <= len(urls) <= MAX_URLS:
        raise InputError(f"{path}: found {len(urls)} URLs, expected 1 to {MAX_URLS}")
    for url in urls:
        check_scheme(url, path, own)
    return urls


def check_scheme(url: str, place: str, own: Collection[str] = ()) -> None:
    """Raise InputError where a URL's scheme is on no list."""
    scheme = url.partition("://")[0].lower() if "://" in url else ""
    if scheme in HOSTED or (scheme in OWN and scheme in own):
        return
    hint = f"name it in notify.apprise_schemes, if {scheme} may reach hosts" if scheme in OWN else "use a webhook"
    raise InputError(
        f"{place}: found the scheme '{shorten(scheme)}', expected one of {', '.join(sorted(HOSTED))}", hint=hint
    )


def send(channel: Channel, message: Message) -> None:
    """Send a message to all URLs. Raises NotTaken if one of them does not take it, OSError, InputError."""
    urls = urls_of(channel.apprise_file or "", channel.apprise_schemes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the modules that apprise loads
        import apprise  # noqa: PLC0415  # takes long, and is needed by few

        sending = apprise.Apprise(asset=apprise.AppriseAsset(app_id="authz", async_mode=False))
        if not all(sending.add(url) for url in urls):
            raise NotTaken("found a URL that apprise cannot read")
        taken = sending.notify(title=f"authz: {message.topic}", body=message.text, body_format="text")
    if not taken:
        raise NotTaken("a messenger refused it")
