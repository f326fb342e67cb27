"""A sink to ClickHouse, by its HTTP interface: for those who outgrow the store.

A sink is one small class with one method: `write_batch` sends events, and raises NotTaken if they are to be sent
again. Waiting, batches, counting and back-off come with `Writer`. One to Kafka or NATS is the same with another `post`.

    CREATE TABLE authz_events (time DateTime64(6, 'UTC'), client IPv6, country LowCardinality(String),
        application LowCardinality(String), method LowCardinality(String), host String, path String, status UInt16,
        decision LowCardinality(String), reason LowCardinality(String), entry String, attacks Array(String),
        payload String, request_id String)
    ENGINE = MergeTree PARTITION BY toDate(time) ORDER BY (client, time) TTL toDate(time) + INTERVAL 90 DAY
    SETTINGS non_replicated_deduplication_window = 1000

A batch that is sent again, for its answer was lost, has the same token, by which ClickHouse passes it over.
"""

from __future__ import annotations

import gzip
import time
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import orjson

from authz.control.detect.keeping.writer import Writer, in_their_time
from authz.control.model.problems import NotTaken
from authz.control.notify.channels.http import post, secret_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from authz.addresses import Address
    from authz.control.detect.event import Event
    from authz.control.detect.keeping.config import SinkConfig


_KEPT: Final = 90 * 86400.0  # seconds; ClickHouse refuses a batch of more than a hundred days


class ClickHouse(Writer):
    """Sends events to a table.

    Args:
        country_of: Returns the code of a client's country, or "".
        clock: Seconds since 1970.
    """

    def __init__(
        self, config: SinkConfig, country_of: Callable[[Address], str], clock: Callable[[], float] = time.time
    ) -> None:  # fmt: skip
        super().__init__(f"clickhouse {config.table}")
        self._config = config
        self._country_of = country_of
        self._clock = clock
        self._batch: list[Event] = []
        self._kept: list[Event] = []  # of it

    def write_batch(self, batch: list[Event]) -> None:
        """Insert events, all or none, but for those that are older than the table keeps. Raises NotTaken."""
        if batch is not self._batch:  # one that is sent again says the same, whatever the time is then
            self._batch, self._kept = batch, in_their_time(batch, self._clock(), _KEPT)
        if not self._kept:
            return
        lines = b"".join(orjson.dumps(self._row(event), option=orjson.OPT_APPEND_NEWLINE) for event in self._kept)
        query = {
            "query": f"INSERT INTO {self._config.table} FORMAT JSONEachRow",
            "insert_deduplication_token": blake2b(lines, digest_size=16).hexdigest(),
            "wait_end_of_query": "1",  # the answer comes when the events are there
        }
        headers = {
            "Content-Type": "application/x-ndjson", "Content-Encoding": "gzip", "X-ClickHouse-User": self._config.user,
        }  # fmt: skip
        try:
            if password := secret_of(self._config.password_file):
                headers["X-ClickHouse-Key"] = password.decode("ascii", "replace")
        except OSError as error:
            raise NotTaken(f"{self._config.password_file}: {error.strerror}") from error
        post(f"{self._config.clickhouse.rstrip('/')}/?{urlencode(query)}", gzip.compress(lines, 1), headers)

    def _row(self, event: Event) -> dict[str, Any]:
        texts = ("application", "method", "host", "path", "decision", "reason", "entry", "payload", "request_id")
        client = event.client.text if event.client.version == 6 else f"::ffff:{event.client.text}"
        return {
            "time": f"{event.time:.6f}", "client": client, "country": self._country_of(event.client),
            "status": event.status, "attacks": [_plain(text) for text in event.attacks],
            **{name: _plain(getattr(event, name)) for name in texts},
        }  # fmt: skip


def _plain(text: str) -> str:
    """Return a text without a lone surrogate, which no UTF-8 has."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
