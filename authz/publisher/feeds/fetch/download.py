"""One file from the web: a conditional GET into a file beside its place, with a cap and time-outs.

A server is asked with the ETag and the time that it gave last; "not modified" costs it and us nothing. Redirects are
followed, never from https to http, and to another host only where that is a public one (`redirects`). What a server
sends is believed in nothing but these headers; the content is the caller's to check.
"""

from __future__ import annotations

import io
import time
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

import httpx

from authz import __version__
from authz.errors import InputError, reason_of, shorten
from authz.publisher.feeds.fetch.redirects import Target, public, redirected

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_SIZE: Final = 64 << 20  # bytes, unpacked
MAX_REDIRECTS: Final = 5
MAX_VALIDATOR: Final = 512  # characters of an ETag that are kept
_CONNECT: Final = 10.0  # seconds
_HEADERS: Final = {"user-agent": f"authz/{__version__} (feeds fetch)", "accept-encoding": "gzip"}


class DownloadLimits(NamedTuple):
    """How much is fetched of one URL.

    Attributes:
        size: Bytes, unpacked.
        silence: Seconds without a byte.
        total: Seconds for all of it, including redirects.
    """

    size: int = MAX_SIZE
    silence: float = 30.0
    total: float = 300.0


class Validators(NamedTuple):
    """What a server gave to tell one version of a file from the next; "" for none."""

    etag: str = ""
    last_modified: str = ""


def make_client(limits: DownloadLimits = DownloadLimits()) -> httpx.Client:  # noqa: B008  # it is frozen
    """Return a client for `download`. Proxies and certificates are those of the environment."""
    timeout = httpx.Timeout(limits.silence, connect=_CONNECT)
    return httpx.Client(headers=_HEADERS, timeout=timeout, follow_redirects=False)


def download(
    client: httpx.Client,
    url: str,
    known: Validators,
    to: BinaryIO,
    limits: DownloadLimits = DownloadLimits(),  # noqa: B008  # it is frozen
) -> Validators | None:
    """Write what is at `url` into a file.

    Args:
        client: See `make_client`.
        url: http or https.
        known: The validators of the copy that is there.
        to: The file, open for writing.
        limits: Caps.

    Returns:
        The new validators; None if the server says that nothing has changed.

    Raises:
        InputError: The address cannot be reached, answers with another status than 200 or 304, redirects too often,
            away from https or into a network that is not public, sends more than `limits.size`, or takes longer than
            the time-outs.

    """
    end = time.monotonic() + limits.total
    asked = {"if-none-match": known.etag, "if-modified-since": known.last_modified}
    headers = {name: value for name, value in asked.items() if value}
    target = Target(url)
    try:
        for _ in range(MAX_REDIRECTS + 1):
            address, host, extensions = target.request()
            with client.stream("GET", address, headers=headers | host, extensions=extensions) as answer:
                if not answer.has_redirect_location:
                    return _taken(answer, url, to, limits, end)
                target = redirected(target, answer.headers["location"])
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:  # ValueError: no such URL
        text = reason_of(error).strip() or type(error).__name__
        raise InputError(f"{public(url)}: cannot be fetched: {shorten(text)}") from error
    raise InputError(f"{public(url)}: found more than {MAX_REDIRECTS} redirects, expected fewer")


def page(client: httpx.Client, url: str, limits: DownloadLimits = DownloadLimits()) -> str:  # noqa: B008  # it is frozen
    """Return a page as text, at most `limits.size` bytes of it. Raises InputError as `download` does."""
    content = io.BytesIO()
    download(client, url, Validators(), content, limits)
    return content.getvalue().decode("utf-8", "replace")


def _taken(answer: httpx.Response, url: str, to: BinaryIO, limits: DownloadLimits, end: float) -> Validators | None:
    if answer.status_code == 304:
        return None
    if answer.status_code != 200:
        raise InputError(f"{public(url)}: found status {answer.status_code}, expected 200")
    size = 0
    for part in answer.iter_bytes(1 << 16):
        size += len(part)
        if size > limits.size:
            raise InputError(f"{public(url)}: found more than {limits.size:,} bytes, expected at most that many")
        if time.monotonic() > end:
            raise InputError(f"{public(url)}: not complete after {limits.total:g} seconds")
        to.write(part)
    return Validators(_validator(answer.headers, "etag"), _validator(answer.headers, "last-modified"))


def _validator(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name, "")
    return value if len(value) <= MAX_VALIDATOR and value.isascii() and value.isprintable() else ""
