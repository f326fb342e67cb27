"""The log of the control plane: a line for people, or (`--log-format json`) an object for programs.

2026-12-01 18:00:00,123 INFO authz.control.requests POST /v1/bans 201 4.2 ms id=5f1c...
{"time": "2026-12-01T18:00:00.123456Z", "level": "info", "logger": "authz.control.requests", "message": "POST /v1/bans
 201 4.2 ms id=5f1c...", "method": "POST", "path": "/v1/bans", "status": 201, "ms": 4.2, "request_id": "5f1c..."}
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec

Format = Literal["text", "json"]
FIELDS: Final = "authz_fields"  # of a record: what its line says, apart


class JsonFormatter(logging.Formatter):
    """Writes each record as one JSON object on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as JSON."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC)
            .isoformat(timespec="microseconds")
            .replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, FIELDS, {}),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode("utf-8", "replace")


def start_log(level: str, form: Format) -> None:
    """Log to standard error from now on. level: debug, info, warning or error."""
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s")
    handler.setFormatter(JsonFormatter() if form == "json" else text)
    logging.basicConfig(level=level.upper(), handlers=[handler])
