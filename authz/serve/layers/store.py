"""A file of an object store: `s3://BUCKET/KEY`, `gs://BUCKET/KEY`, `az://CONTAINER/KEY`, by obstore (extra `stores`).

Credentials, region and endpoint come from the environment, as the tools of each cloud have them (`AWS_ACCESS_KEY_ID`,
`AWS_ENDPOINT`, `GOOGLE_SERVICE_ACCOUNT`, `AZURE_STORAGE_ACCOUNT_NAME`, ...).
"""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from authz.errors import Refusal, SnapshotRefused, StartError, shorten
from authz.serve.layers.fetched import Answer, FetchedSource

if TYPE_CHECKING:
    from collections.abc import Iterator

    from authz.serve.layers.config import LayerConfig


# By itself obstore goes on for three minutes; a layer has a pace of its own, and tells what it waits for.
_RETRIES: Final[Any] = {
    "max_retries": 2,
    "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=1), "base": 2},
    "retry_timeout": timedelta(seconds=10),
}


class StoreSource(FetchedSource):
    """The object at a URL of a store.

    Raises:
        StartError: The extra is not installed.
    """

    def __init__(self, config: LayerConfig) -> None:
        assert config.url is not None  # noqa: S101  # as the configuration was checked
        super().__init__(config.url, config.max_size, config.poll)
        self._url = urlsplit(config.url)
        try:
            import obstore  # noqa: PLC0415  # 20 MB that most sidecars do not need
            from obstore.exceptions import NotModifiedError  # noqa: PLC0415  # the same
            from obstore.store import from_url  # noqa: PLC0415  # the same
        except ImportError as error:
            raise StartError(f"{config.url}: no obstore", hint="pip install authz[stores]") from error
        self._obstore, self._from_url, self._not_modified = obstore, from_url, NotModifiedError
        self._timeout = config.timeout
        self._store: Any = None

    @contextlib.contextmanager
    def ask(self, tag: str, suffix: str = "") -> Iterator[Answer | bool]:
        """Ask for the object."""
        try:
            answer = self._get(tag, suffix)
        except self._not_modified:
            yield False
            return
        except FileNotFoundError as error:
            raise SnapshotRefused(Refusal.ABSENT, f"{self.name}: no such object") from error
        except Exception as error:  # each store has errors of its own
            raise SnapshotRefused(Refusal.UNREACHABLE, f"{self.name}: {shorten(error)}") from error
        yield Answer(answer.meta.get("e_tag") or "", (bytes(piece) for piece in answer))

    def _get(self, tag: str, suffix: str) -> Any:
        if self._store is None:
            options: Any = {"timeout": f"{self._timeout:g}s", "allow_http": True}
            where = f"{self._url.scheme}://{self._url.netloc}"
            self._store = self._from_url(where, client_options=options, retry_config=_RETRIES)
        return self._obstore.get(
            self._store, self._url.path.lstrip("/") + suffix, options={"if_none_match": tag} if tag else None
        )
