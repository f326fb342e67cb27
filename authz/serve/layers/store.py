"""A file of an object store: `s3://BUCKET/KEY`, `gs://BUCKET/KEY`, `az://CONTAINER/KEY`, with obstore (extra `stores`).

Credentials, region and endpoint come from the environment, as the tools of each cloud have them (`AWS_ACCESS_KEY_ID`,
`AWS_ENDPOINT`, `GOOGLE_SERVICE_ACCOUNT`, `AZURE_STORAGE_ACCOUNT_NAME`, ...).

S3 is spoken by servers of many makers, so of S3 obstore only signs a URL, and it is asked like any web server: within
all limits of `WebSource` (decision 0118). Google and Azure are asked by obstore.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from authz.errors import Refusal, SnapshotRefused, StartError, reason_of_store
from authz.serve.layers.fetched import MAX_TIME, Answer, FetchedSource
from authz.serve.layers.web import WebSource

if TYPE_CHECKING:
    from collections.abc import Iterator

    from authz.serve.layers.config import LayerConfig

_STEP: Final = 1 << 16  # bytes that are read at a time, at least
_SIGNED_FOR: Final = timedelta(minutes=5)  # clocks differ
_MAX_CODE: Final = 4096  # bytes of an error's body in which its code is looked for
_PAUSES: Final = (0.1, 0.5)  # seconds before S3 is asked again: it is busy now and then
_BUSY: Final = frozenset({500, 502, 503, 504})
_CODE: Final = re.compile(rb"<Code>([A-Za-z0-9.]{1,64})</Code>")
# By itself obstore goes on for three minutes; a layer has a pace of its own, and tells what it waits for.
_RETRIES: Final[Any] = {
    "max_retries": 2,
    "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=1), "base": 2},
    "retry_timeout": timedelta(seconds=10),
}


class _Bucket:
    """What obstore is asked for.

    Args:
        config: Of the layer.

    Raises:
        StartError: The extra is not installed.
    """

    def __init__(self, config: LayerConfig) -> None:
        try:
            import obstore  # noqa: PLC0415  # 20 MB that most sidecars do not need
            from obstore.exceptions import NotModifiedError  # noqa: PLC0415  # the same
            from obstore.store import from_url  # noqa: PLC0415  # the same
        except ImportError as error:
            raise StartError(f"{config.url}: no obstore", hint="pip install authz[stores]") from error
        self.obstore, self._from_url, self.not_modified = obstore, from_url, NotModifiedError
        url = urlsplit(config.url or "")
        self._where, self.key = f"{url.scheme}://{url.netloc}", url.path.lstrip("/")
        self._timeout = timedelta(seconds=config.timeout)
        self._store: Any = None

    def store(self) -> Any:
        """Return the store; the first call reads the environment. Raises whatever obstore does."""
        if self._store is None:
            options: Any = {
                "timeout": timedelta(seconds=MAX_TIME), "connect_timeout": self._timeout,
                "read_timeout": self._timeout, "allow_http": True,
            }  # fmt: skip
            self._store = self._from_url(self._where, client_options=options, retry_config=_RETRIES)
        return self._store


class StoreSource(FetchedSource):
    """The object at a URL of Google's store or Azure's.

    Raises:
        StartError: The extra is not installed.
    """

    def __init__(self, config: LayerConfig) -> None:
        super().__init__(config.url or "", config.max_size, config.poll)
        self._bucket = _Bucket(config)

    @contextlib.contextmanager
    def ask(self, tag: str, suffix: str = "") -> Iterator[Answer | bool]:
        """Ask for the object."""
        try:
            options: Any = {"if_none_match": tag} if tag else None
            answer = self._bucket.obstore.get(self._bucket.store(), self._bucket.key + suffix, options=options)
        except self._bucket.not_modified as error:
            if not tag:
                raise SnapshotRefused(
                    Refusal.BAD_ANSWER, f"{self.name}: found the status 304, expected 200: no file was named"
                ) from error
            yield False
            return
        except FileNotFoundError as error:
            raise SnapshotRefused(Refusal.ABSENT, f"{self.name}: no such object") from error
        except Exception as error:  # each store has errors of its own
            raise self._unreachable(error) from error
        if answer.meta["size"] > self._max_size:
            raise self._too_large(f"{answer.meta['size']} bytes")
        yield Answer(answer.meta.get("e_tag") or "", self._pieces(answer))

    def _pieces(self, answer: Any) -> Iterator[bytes]:
        try:
            for piece in answer.stream(min_chunk_size=_STEP):
                yield bytes(piece)
        except Exception as error:  # as above
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> SnapshotRefused:
        return SnapshotRefused(Refusal.UNREACHABLE, f"{self.name}: {reason_of_store(error)}")


class S3Source(WebSource):
    """The object at a URL of S3.

    Raises:
        StartError: The extra is not installed.
    """

    def __init__(self, config: LayerConfig) -> None:
        super().__init__(config)
        self._wait = 0.0  # no such server holds its answer back
        self._bucket = _Bucket(config)

    @contextlib.contextmanager
    def ask(self, tag: str, suffix: str = "") -> Iterator[Answer | bool]:
        """Ask for the object; again where the server is busy."""
        with contextlib.ExitStack() as stack:
            for pause in _PAUSES:
                try:
                    answer = stack.enter_context(super().ask(tag, suffix))
                    break
                except (_Busy, ConnectionError):
                    time.sleep(pause)
            else:
                answer = stack.enter_context(super().ask(tag, suffix))
            yield answer

    def _where(self, suffix: str) -> str:
        """Return a signed URL."""
        try:
            signed = self._bucket.obstore.sign(self._bucket.store(), "GET", self._bucket.key + suffix, _SIGNED_FOR)
        except Exception as error:
            raise SnapshotRefused(
                Refusal.UNREACHABLE,
                f"{self.name}: cannot be signed: {reason_of_store(error)}",
                hint="are there credentials in the environment? A bucket that anybody may read has an https URL",
            ) from error
        return str(signed)

    def _headers(self, tag: str) -> dict[str, str]:
        """Return what is asked with: who we are is nobody's business there."""
        headers = super()._headers(tag)
        return {name: headers[name] for name in ("Accept-Encoding", "User-Agent", "If-None-Match") if name in headers}

    def _refusal(self, answer: http.client.HTTPResponse) -> SnapshotRefused:
        """Return why an answer is none: by its status, and by the code of S3's errors."""
        match = None
        with contextlib.suppress(OSError, http.client.HTTPException):
            match = _CODE.search(answer.read1(_MAX_CODE))
        code = f" {match[1].decode()}" if match else ""
        if answer.status == http.client.NOT_FOUND:
            return SnapshotRefused(Refusal.ABSENT, f"{self.name}: no such object{code and f' ({code[1:]})'}")
        kind = _Busy if answer.status in _BUSY else SnapshotRefused
        return kind(Refusal.BAD_ANSWER, f"{self.name}: found the status {answer.status}{code}, expected 200")


class _Busy(SnapshotRefused):
    """An answer that may be another one in a moment."""
