"""Deciding many requests, on several cores, in the order of the file.

The file is read in blocks of whole lines. A block is decided by one process, which has loaded the snapshot itself; at
most two blocks for each process are under way, so memory does not grow with the file.
"""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import Future, ProcessPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from authz.engine.request.request import WrittenReader, WrittenRequest
from authz.errors import BadLine, InputError, shorten
from authz.replay.formats import LoggedRequest, hint_for, parser, recognise
from authz.replay.summary import Summary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from authz.engine.decision.decider import Decider

BLOCK = 1 << 20  # bytes of a block, and the longest line


class Job(NamedTuple):
    """How requests are decided.

    Attributes:
        application: For requests that name none.
        at: Seconds since 1970 for all of them; None: each at its own time, or now.
        lines: Whether each decision is wanted.
        only_changed: Only the decisions that changed.
        skip: Pass over lines that cannot be read.
    """

    decider: Decider
    against: Decider | None = None
    format: str = "auto"
    application: str | None = None
    at: float | None = None
    lines: bool = True
    only_changed: bool = False
    skip: bool = False


class Done(NamedTuple):
    """A decided block.

    Attributes:
        size: Its bytes, for the progress.
        error: Of the line at which it ends before its end.
    """

    output: bytes
    summary: Summary
    size: int
    error: InputError | None = None


def blocks(file: BinaryIO, where: str) -> Iterator[tuple[int, bytes]]:
    """Yield (number of the first line, whole lines) of about BLOCK bytes. where: the file, for errors.

    Raises InputError if a line is longer than that.
    """
    number = 1
    rest = b""
    while data := file.read(BLOCK):
        data = rest + data
        end = data.rfind(b"\n") + 1
        if not end and len(data) > BLOCK:
            raise InputError(f"{where}:{number}: found more than {BLOCK} bytes, expected a shorter line")
        rest = data[end:]
        if end:
            yield number, data[:end]
            number += data.count(b"\n", 0, end)
    if rest:
        yield number, rest


def decide_block(job: Job, where: str, number: int, block: bytes) -> Done:
    """Decide the requests of a block, up to the first bad line. where: the file, for errors."""
    summary = Summary()
    output: list[bytes] = []
    reader = WrittenReader(job.decider.settings)
    log_format = None if job.format == "auto" else job.format
    parse: Callable[[bytes], LoggedRequest] | None = None if log_format is None else parser(log_format)
    for line_number, line in enumerate(block.split(b"\n"), start=number):
        if not line.strip():
            continue
        try:
            if parse is None:
                log_format = recognise(line)
                parse = parser(log_format)
            decision = decide(job, reader, parse(line), summary)
        except BadLine as error:
            if job.skip:
                summary.skip(f"{where}:{line_number}: {error}")
                continue
            text = shorten(line.decode("utf-8", "replace").strip())
            problem = InputError(f"{where}:{line_number}: found {text}: {error}", hint=hint_for(log_format, line))
            return Done(b"".join(output), summary, len(block), problem)
        if decision is not None:
            output.append(orjson.dumps(decision, option=orjson.OPT_APPEND_NEWLINE))
    return Done(b"".join(output), summary, len(block))


def decide(job: Job, reader: WrittenReader, logged: LoggedRequest, summary: Summary) -> dict[str, Any] | None:
    """Decide one request and count it; return it as printed, or None if it is not wanted."""
    now = job.at if job.at is not None else time.time() if logged.time is None else logged.time
    application = logged.application or job.application
    request = reader.read(WrittenRequest(logged.peer, logged.headers, application, logged.metadata))
    outcome, client = job.decider.check(request, now)
    covering = job.decider.covering(request, client)
    summary.count(outcome, client, covering)
    other = None
    if job.against is not None:
        other = job.against.check(request, now)[0]
        summary.count_change(outcome, other, client)
    changed = other is not None and other.decision != outcome.decision
    if not job.lines or (job.only_changed and not changed):
        return None
    matches = [{"entry": e.id, "list": e.list, "network": str(network)} for e, network, _ in covering]
    decision = {**outcome.as_dict(client), "matches": matches}
    if other is not None:
        decision["against"] = {**other.as_dict(client), "changed": changed}
    return decision


_worker_job: Job | None = None  # of this worker process


def _begin_worker(make_job: Callable[[], Job]) -> None:
    global _worker_job  # noqa: PLW0603  # what a worker is for cannot be sent with every block
    _worker_job = make_job()


def _decide_in_worker(where: str, number: int, block: bytes) -> Done:
    assert _worker_job is not None  # noqa: S101  # _begin_worker ran
    return decide_block(_worker_job, where, number, block)


def replay(file: BinaryIO, where: str, make_job: Callable[[], Job], workers: int) -> Iterator[Done]:
    """Decide all requests of a file, in its order.

    Args:
        file: One request a line.
        where: Its name, for errors.
        make_job: Called in this process and once in each worker; it must be picklable.
        workers: Processes; 1: this one alone.
    """
    if workers == 1:
        job = make_job()
        for number, block in blocks(file, where):
            yield decide_block(job, where, number, block)
        return
    make_job()  # what is wrong with it is told here; workers that cannot begin only break the pool
    with ProcessPoolExecutor(workers, initializer=_begin_worker, initargs=(make_job,)) as pool:
        under_way: deque[Future[Done]] = deque()
        problem: InputError | None = None
        try:
            for number, block in blocks(file, where):
                under_way.append(pool.submit(_decide_in_worker, where, number, block))
                if len(under_way) > 2 * workers:
                    yield under_way.popleft().result()
        except InputError as error:  # a line that is too long; what stands before it is decided all the same
            problem = error
        while under_way:
            yield under_way.popleft().result()
        if problem is not None:
            raise problem
