"""The log: a line for people, or an object for programs, with the id of each request."""

from __future__ import annotations

import io
import json
import logging
from typing import TYPE_CHECKING
from urllib.parse import quote

from support.control import control

from authz.control.api.common.log import JsonFormatter

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_each_request_is_an_object_with_its_id_and_nothing_breaks_out_of_its_line(tmp_path: Path) -> None:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonFormatter())
    log = logging.getLogger("authz.control.requests")
    before = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        with control(tmp_path / "control") as plane:
            plane.ok("GET", "/v1/bans", X_Request_Id="from-the-proxy")
            plane.ask("GET", "/v1/entries/a%0Ab")
    finally:
        log.removeHandler(handler)
        log.setLevel(before)
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    assert lines[0].items() >= {
        "level": "info", "logger": "authz.control.requests", "method": "GET", "path": "/v1/bans", "status": 200,
        "request_id": "from-the-proxy",
    }.items()  # fmt: skip
    assert (lines[1]["path"], lines[1]["status"], len(lines)) == ("/v1/entries/a\nb", 404, 2)


def test_nobody_writes_a_line_of_the_log_by_a_path(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    forged = "2026-12-01 18:00:00,123 WARNING authz.control the signer is away"
    with control(tmp_path / "control") as plane, caplog.at_level(logging.INFO, "authz.control.requests"):
        plane.client.get("/v1/entries/x%0A" + quote(forged) + "%1b[2J%e2%80%a8")
    [line] = [each.message for each in caplog.records if each.name == "authz.control.requests"]
    assert line.isprintable()
    assert line.startswith("GET /v1/entries/x\\x0a2026")


def test_an_error_is_one_object_with_its_traceback() -> None:
    try:
        raise ValueError("no such thing")
    except ValueError as error:
        record = logging.LogRecord("authz", logging.ERROR, __file__, 1, "internal error", (), (ValueError, error, None))
    told = json.loads(JsonFormatter().format(record))
    assert (told["level"], told["message"]) == ("error", "internal error")
    assert "no such thing" in told["error"]
