"""Each limit of what an outsider can make grow stands in docs/internals/reliability.md, with the number in the code."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[3]
PAGE: Final = ROOT / "docs/internals/reliability.md"
FOLDERS: Final = (
    *("serve/http1", "serve/http2", "serve/grpc", "serve/listeners", "serve/observe"),
    *("engine/request", "engine/decision"),
)
# By the row's first words, what of it is in the code.
LIMITS: Final = {
    "connections, gRPC": ["serve.http2.listener.MAX_CONNECTIONS"],
    "new connections": ["serve.listeners.accept.ACCEPTED_A_TURN", "serve.listeners.bind.BACKLOG"],
    "calls at once": ["serve.http2.streams.MAX_STREAMS"],
    "frames that carry no call": ["serve.http2.rate.MAX_IDLE", "serve.http2.rate.MAX_AT_ONCE"],
    "streams that we are made to reset": ["serve.http2.streams._MAX_RESET"],
    "header bytes": ["serve.http2.fields.MAX_HEADER_LIST"],
    "fields of a call, gRPC": ["serve.http2.fields.MAX_FIELDS", "serve.http2.fields._MAX_FIELDS_READ"],
    "Huffman code": ["serve.http2.fields._MAX_CODED"],
    "header blocks that are remembered": [
        "serve.http2.headers._MAX_KNOWN", "serve.http2.headers._MAX_BLOCK", "serve.http2.fields._MAX_TEXTS",
        "serve.http2.fields._MAX_TEXT",
    ],
    "header blocks that never end": ["serve.http2.receiving._MAX_BLOCK", "serve.http2.receiving._MAX_SKIPPED"],
    "addresses in a header": [
        "engine.request.client_address.MAX_ELEMENTS", "engine.request.client_address.MAX_ELEMENT_LENGTH"
    ],
    "headers in a CheckRequest": ["serve.observe.details.MAX_RAW_HEADERS", "serve.grpc.check._MAX_FORGED"],
    "a message": ["serve.http2.grpc_messages._MAX_RATIO"],
    "bodies, HTTP": ["serve.http1.connection.LINGER"],
    "unfinished bodies": ["serve.http2.streams.STREAM_WINDOW", "serve.http2.streams._EXTENSIONS"],
    "answers that nobody reads": [
        "serve.http2.sending.MAX_BLOCKED", "serve.http1.connection._MAX_UNSENT", "serve.listeners.budget.MAX_HELD",
        "serve.http2.connection._UNCOUNTED",
    ],
    "pages for one piece": ["serve.http1.connection._MAX_PAGES"],
    "watchers of health": ["serve.grpc.health._MAX_WATCHERS", "serve.http2.sending._MAX_WATCHED"],
    "pages of the admin listener": [
        "serve.admin.pages._MAX_ENTRIES", "serve.admin.status._SHOWN_HITS", "serve.observe.watch.MAX_KEPT",
        "serve.observe.watch.PATIENCE",
    ],
    "waiting for a turn": ["serve.listeners.budget.MAX_WAIT"],
    "pipelined requests": ["serve.http1.connection.PIECE"],
    "TLS handshakes": [
        "serve.listeners.tls.certificates.MAX_HANDSHAKES", "serve.listeners.tls.connection._RECORDS",
        "serve.listeners.tls.connection._MAX_IDLE",
    ],
    "metric labels": ["serve.observe.metrics.MAX_UNKNOWN", "serve.observe.hits.MAX_NAMES"],
    "queues": [
        "serve.observe.details.MAX_SHORT", "serve.observe.details.MAX_HOST", "serve.observe.details.MAX_PATH",
        "serve.observe.details.MAX_WHOLE",
    ],
    "remembered requests": [
        "engine.decision.generation.MAX_RECENT", "engine.decision.generation.MAX_OUTCOMES",
        "engine.decision.outcome.MAX_RENDERED", "engine.decision.decider.MAX_HOST", "serve.http1.routes.MAX_ROUTES",
        "serve.http1.routes.MAX_TARGET", "engine.request.client_address.MAX_PROXIES",
        "serve.observe.log.lines._MAX_PEERS", "serve.observe.log.lines._MAX_TARGETS", "serve.grpc.check._MAX_PEERS",
        "serve.grpc.check._MAX_SOURCE", "serve.http2.sending._MAX_SHAPES", "serve.http1.spellings.MAX_SPELLINGS",
        "serve.http1.spellings._MAX_NAME",
    ],
}  # fmt: skip
# What the protocol says, what the operator writes, and what we send.
OF_NO_PEER: Final = {
    "serve.http1.messages.MAX_HEAD", "serve.http2.frames.MAX_FRAME_SIZE", "serve.http2.frames.MAX_WINDOW",
    "serve.observe.senders.batches.MAX_BATCH", "serve.observe.senders.batches.MAX_PAUSE",
    "engine.decision.verdict.MAX_WARNINGS", "serve.listeners.tls.crl.MAX_FILE",
}  # fmt: skip


def row(begin: str) -> str:
    """Return what the page says of a limit, and does beyond it."""
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith(f"| {begin}")]
    assert len(rows) == 1, begin
    return rows[0]


def spellings(value: float) -> list[str]:
    """Return how a number may be written: with a comma, or as a multiple of 1,024."""
    units = [f"{value / size:g} {unit}" for size, unit in ((1 << 10, "KiB"), (1 << 20, "MiB")) if not value % size]
    return [f"{value:,.10g}", *units]


@pytest.mark.parametrize("begin", LIMITS)
def test_a_limit_has_the_number_of_the_code(begin: str) -> None:
    text = row(begin)
    for name in LIMITS[begin]:
        module, _, constant = name.rpartition(".")
        value = getattr(importlib.import_module(f"authz.{module}"), constant)
        known = "|".join(map(re.escape, spellings(value)))
        assert re.search(rf"(?<![\d,.])(?:{known})(?![\d,]\d|\d)", text), (name, value)


def test_no_limit_of_the_code_is_missing_in_the_page() -> None:
    there = {
        f"{path.relative_to(ROOT / 'authz').with_suffix('').as_posix().replace('/', '.')}.{name}"
        for folder in FOLDERS
        for path in (ROOT / "authz" / folder).rglob("*.py")
        for name in re.findall(r"^(_?MAX_[A-Z_]+)(?:: Final[^=]*)? = ", path.read_text(), re.MULTILINE)
    }
    assert there - OF_NO_PEER - {name for names in LIMITS.values() for name in names} == set()
