"""Pushing a snapshot to where sidecars fetch it: never over a newer serial, whoever else pushes at the same moment.

    what is there?  serial 7, ETag "a"      put, if it still has the ETag "a"        (412: somebody was quicker)
    nothing         no ETag                 put, if there still is nothing

A web server must answer PUT and give ETags (RFC 9110, 13); an object store of S3, GCS or Azure does. What is there is
read no further than its manifest, before and after: a server may answer 200 and keep nothing. One that ignores
conditions cannot be found out: there the last of two that push at once wins.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import threading
import urllib.error
import urllib.request
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeVar
from urllib.parse import urlsplit

from authz.engine.entries.opened_snapshot import POLICY_LAYER
from authz.errors import InputError, SnapshotRefused, reason_of, reason_of_store, shorten
from authz.snapshot.read import manifest_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from authz.wire.snapshot.v1.snapshot_pb2 import Manifest

T = TypeVar("T")
TIMEOUT = 30.0  # seconds without a byte
MAX_TIME = 600.0  # seconds for all of it: an answer may go on for ever, a byte now and then
_STORES = frozenset({"s3", "gs", "az"})
# By itself obstore waits up to 15 seconds between two tries, and goes on for three minutes.
_RETRIES: Final[Any] = {
    "max_retries": 5,
    "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=1), "base": 2},
    "retry_timeout": timedelta(seconds=30),
}


class There(NamedTuple):
    """What is at a URL.

    Attributes:
        serial: Of the snapshot.
        tag: Its ETag.
        version: What a store has besides, if anything.
        layer: The name of the snapshot's layer.
        digest: Of its manifest: another one is another snapshot, whoever signed it.
    """

    serial: int
    tag: str
    version: str | None = None
    layer: str = POLICY_LAYER
    digest: str = ""


class Place(Protocol):
    """Where a file can be put."""

    def look(self) -> There | None:
        """Return what is there, None if nothing is. Raises InputError."""

    def put(self, data: bytes, before: There | None) -> None:
        """Put a file there, if that still is what is there. Raises InputError."""


def push(data: bytes, url: str) -> There | None:
    """Put a snapshot at a URL and return what was there before. Nothing is done where the very serial is there already.

    Args:
        data: The file.
        url: `https://...`, `http://...`, `s3://BUCKET/KEY`, `gs://BUCKET/KEY` or `az://CONTAINER/KEY`.

    Raises:
        InputError: There is a newer serial, another snapshot with the same one or one of another layer, or something
            that is no snapshot; or the place cannot be read or written, or does not have the file afterwards.
    """
    return _in_time(lambda: _push(data, url), url)


def _push(data: bytes, url: str) -> There | None:
    ours = _there(manifest_of(io.BytesIO(data).read), "")
    serial = ours.serial
    place = place_of(url)
    before = place.look()
    if before is not None and before.layer != ours.layer:
        raise InputError(
            f"{_shown(url)}: has a snapshot of the layer '{shorten(before.layer)}', and the file is one of "
            f"'{shorten(ours.layer)}'",
            hint="each layer has a URL of its own; is it the right one?",
        )
    if before is not None and before.serial == serial and before.digest != ours.digest:
        raise InputError(
            f"{_shown(url)}: has another snapshot with the same serial {serial}: two were built at once, or the clock "
            "went back",
            hint="build again: the next has a higher serial",
        )
    if before is not None and before.serial > serial:
        raise InputError(
            f"{_shown(url)}: has serial {before.serial}, found {serial}, expected a serial above it",
            hint="to go back, `authz snapshot rollback` signs the old content under a higher serial",
        )
    if before is None or before.serial < serial:
        place.put(data, before)
        after = place.look()
        if after is None or after.serial < serial:
            has = "nothing" if after is None else f"serial {after.serial}"
            raise InputError(
                f"{_shown(url)}: took serial {serial}, and has {has} now",
                hint="does it keep what is PUT there? Behind a cache, push to the server itself",
            )
    return before


def _in_time(work: Callable[[], T], url: str) -> T:
    """Return the result of `work`; what it raises is raised. Raises InputError where that takes too long."""
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:  # noqa: BLE001  # it is raised again where it is waited for
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)  # what hangs does not keep the command from its end
    thread.start()
    thread.join(MAX_TIME)
    if failed:
        raise failed[0]
    if not done:
        raise InputError(
            f"{_shown(url)}: has not answered within {MAX_TIME:g} seconds",
            hint="look at what is there before a new try",
        )
    return done[0]


def place_of(url: str) -> Place:
    """Return the place that a URL names. Raises InputError."""
    scheme = urlsplit(url).scheme
    if scheme in {"http", "https"}:
        return _Web(url)
    if scheme in _STORES:
        return _Store(url)
    raise InputError(f"URL: found '{shorten(url)}', expected https://, s3://, gs:// or az://")


class _Web:
    def __init__(self, url: str) -> None:
        self._url = url

    def look(self) -> There | None:
        request = urllib.request.Request(self._url, headers={"Cache-Control": "no-cache"})  # noqa: S310  # as checked
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310  # as checked
                manifest = _manifest_at(self._url, answer.read)
                tag = answer.headers.get("ETag", "")
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in {404, 410}:
                return None
            raise InputError(f"{_shown(self._url)}: the server answers {error.code} {shorten(error.reason)}") from error
        except (OSError, http.client.HTTPException) as error:
            raise InputError(f"{_shown(self._url)}: cannot be reached: {shorten(reason_of(error))}") from error
        if not tag or tag.startswith("W/"):
            raise InputError(
                f"{_shown(self._url)}: found no strong ETag, expected one: else a newer file could be overwritten"
            )
        return _there(manifest, tag)

    def put(self, data: bytes, before: There | None) -> None:
        condition = {"If-Match": before.tag} if before else {"If-None-Match": "*"}
        headers = {"Content-Type": "application/octet-stream", **condition}
        request = urllib.request.Request(self._url, data, headers, method="PUT")  # noqa: S310  # as checked
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT):  # noqa: S310  # as checked
                return
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in {409, 412}:
                raise _changed(self._url) from error
            raise InputError(f"{_shown(self._url)}: the server answers {error.code} to PUT") from error
        except (OSError, http.client.HTTPException) as error:
            raise InputError(f"{_shown(self._url)}: cannot be written: {shorten(reason_of(error))}") from error


class _Store:
    def __init__(self, url: str) -> None:
        try:
            import obstore  # noqa: PLC0415  # an extra
            from obstore import exceptions  # noqa: PLC0415  # the same
            from obstore.store import from_url  # noqa: PLC0415  # the same
        except ImportError as error:
            raise InputError(f"{_shown(url)}: no obstore", hint="pip install authz[stores]") from error
        parts = urlsplit(url)
        self._url, self._key = url, parts.path.lstrip("/")
        if not parts.netloc or not self._key:
            raise InputError(f"URL: found '{shorten(url)}', expected {parts.scheme}://BUCKET/KEY")
        self._obstore, self._errors = obstore, exceptions
        where = f"{parts.scheme}://{parts.netloc}"
        self._store: Any = from_url(where, client_options={"allow_http": True}, retry_config=_RETRIES)

    def look(self) -> There | None:
        try:
            meta, position = self._obstore.head(self._store, self._key), 0

            def read(size: int) -> bytes:
                nonlocal position
                start, position = position, min(position + size, meta["size"])
                if start == position:
                    return b""
                return bytes(self._obstore.get_range(self._store, self._key, start=start, end=position))

            return _there(_manifest_at(self._url, read), meta.get("e_tag") or "", meta.get("version"))
        except FileNotFoundError:
            return None
        except self._errors.BaseError as error:
            raise InputError(f"{_shown(self._url)}: cannot be read: {reason_of_store(error)}") from error

    def put(self, data: bytes, before: There | None) -> None:
        # Google compares the version (its generation), the others the entity tag.
        version = {"version": before.version} if before and before.version else {}
        mode: Any = {"e_tag": before.tag, **version} if before else "create"
        try:
            self._obstore.put(self._store, self._key, data, mode=mode, use_multipart=False)
        except (self._errors.AlreadyExistsError, self._errors.PreconditionError) as error:
            raise _changed(self._url) from error
        except self._errors.BaseError as error:
            raise InputError(f"{_shown(self._url)}: cannot be written: {reason_of_store(error)}") from error


def _there(manifest: Manifest, tag: str, version: str | None = None) -> There:
    digest = hashlib.sha256(manifest.SerializeToString(deterministic=True)).hexdigest()
    return There(manifest.serial, tag, version, manifest.layer or POLICY_LAYER, digest)


def _manifest_at(url: str, read: Callable[[int], bytes]) -> Manifest:
    try:
        return manifest_of(read)
    except SnapshotRefused as error:
        raise InputError(
            f"{_shown(url)}: has something that is not a snapshot: {error.message}", hint="is it the right URL?"
        ) from error


def _changed(url: str) -> InputError:
    return InputError(f"{_shown(url)}: was changed by somebody else just now", hint="look at what is there, push again")


def _shown(url: str) -> str:
    """Return a URL without user and password."""
    parts = urlsplit(url)
    return shorten(parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl())
