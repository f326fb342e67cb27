"""Doing jobs: rows become entries, many in a transaction, with the rights of who asked.

How far a job is stands in the transaction that did it: after a crash it goes on where it was, and does nothing twice.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

import msgspec

from authz.control.access.callers import Caller, check_token
from authz.control.lists.batch import Batch
from authz.control.lists.entries import layers_of
from authz.control.lists.rules.guard import names_others
from authz.control.model.problems import Missing, Problem, Unauthorized
from authz.control.model.records import SUBJECTS, Method, Written
from authz.control.notify.message import notices_of
from authz.control.notify.outbox import note_notices
from authz.control.store.access.idempotency import Answer, keep_answer, known_answer
from authz.control.store.access.tokens import Token, get_tenant, get_token
from authz.control.store.jobs import Job, add_job, get_job, job_content, next_job, save_job
from authz.control.store.ledger.changes import lock_head

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from authz.control.plane import ControlPlane, Idempotent

CHUNK: Final = 500  # rows in one transaction: other writers wait for a third of a second
SUBJECTS_AT_ONCE: Final = 5000  # of them together, unless the first row has more
MAX_REFUSED: Final = 1000  # refused rows that a job tells; more are counted

Row = dict[str, Any]


class Asked(msgspec.Struct, frozen=True):
    """Who asked for a job."""

    token: Token
    address: str | None
    request_id: str
    method: Method
    session: str


class RefusedRow(msgspec.Struct, frozen=True):
    """A row (from 0) that was refused."""

    row: int
    status: int
    code: str
    detail: str


def ask_job(plane: ControlPlane, caller: Caller, rows: list[Row], idempotent: Idempotent | None = None) -> Job:
    """Keep rows that are to become entries, as a job; a repeated request gets that of before. Raises OtherRequest."""
    asked = Asked(caller.token, caller.address, caller.request_id, caller.method, caller.session)
    job = Job(
        "j-" + secrets.token_hex(6), plane.store.now(), 0, caller.tenant.name, msgspec.json.encode(asked).decode(),
        "waiting", len(rows), 0, 0, "[]", "",
    )  # fmt: skip
    with plane.store.writing() as tx:
        if idempotent is not None:
            lock_head(tx, plane.config.layers[0].name)  # one after the other
            known = known_answer(tx, caller.token.id, idempotent.key, idempotent.request, job.created)
            before = None if known is None else get_job(tx, msgspec.json.decode(known.body))
            if before is not None:
                return before
            answer = Answer(202, msgspec.json.encode(job.id).decode())
            keep_answer(tx, caller.token.id, idempotent.key, idempotent.request, answer, job.created)
        add_job(tx, job, msgspec.json.encode(rows))
    return job


class JobRounds:
    """Does what waits.

    Args:
        add_row: Makes an entry of a row; it may raise Problem.
    """

    def __init__(self, plane: ControlPlane, add_row: Callable[[Batch, Row], object]) -> None:
        self._plane = plane
        self._add_row = add_row

    def round(self) -> int:
        """Do all jobs that wait; return how many. One that fails as a whole is told so, and the next is done."""
        count = 0
        while True:
            with self._plane.store.reading() as tx:
                job = next_job(tx)
                rows = [] if job is None else msgspec.json.decode(job_content(tx, job.id), type=list[Row])
            if job is None:
                return count
            while job.state == "waiting":
                job = self._step(job, rows)
            count += 1

    def _step(self, job: Job, rows: list[Row]) -> Job:
        """Do some rows of a job, in one transaction; return it as it is then."""
        plane, now = self._plane, self._plane.store.now()
        done = job.done + _at_once(rows[job.done : job.done + CHUNK])
        named = [read for row in rows[job.done : done] if (read := _subjects_of(row))]
        known = plane.foresee(lambda _: named) if any(map(names_others, named)) else []
        with plane.signals.writing() as writing:
            tx = writing.tx
            try:
                caller = _caller(tx, job, now)
            except Problem as error:
                job = job._replace(state="failed", finished=now, why=error.message)
                save_job(tx, job)
                return job
            layers = layers_of(plane.config.rules())
            batch = Batch(tx, plane.rules, caller.actor(), caller.tenant, now, layers=layers)
            batch.rules.resolver.foresee(known)
            refused = msgspec.json.decode(job.refused, type=list[RefusedRow])
            added = job.added
            for number, row in enumerate(rows[job.done : done], job.done):
                try:
                    batch.force = bool(row.get("force"))
                    self._add_row(batch, row)
                    added += 1
                except Problem as error:
                    status = 409 if error.status < 300 else error.status
                    refused += [RefusedRow(number, status, error.code, error.message)][: MAX_REFUSED - len(refused)]
            written = batch.write()
            note_notices(tx, plane.config.notify, notices_of(written), now)
            over = done == len(rows)
            job = job._replace(
                done=done, added=added, refused=msgspec.json.encode(refused).decode(), finished=now if over else 0,
                state="done" if over else "waiting",
            )  # fmt: skip
            save_job(tx, job)
            writing.tell_changes(written)
        return job


def subjects_in(row: Row) -> int:
    """Return how many subjects a row names, and exceptions of them."""
    return sum(len(row[name]) for name in (*SUBJECTS, "except") if isinstance(row.get(name), list | tuple))


def _at_once(rows: list[Row]) -> int:
    """Return how many of these rows go into one transaction."""
    named = 0
    for number, row in enumerate(rows):
        named += subjects_in(row)
        if number and named > SUBJECTS_AT_ONCE:
            return number
    return len(rows)


def _subjects_of(row: Row) -> Written | None:
    """Return whom a row names; None if it cannot be read: what adds it says why."""
    named = {name: row[name] for name in ("list", "action", *SUBJECTS) if row.get(name) is not None}
    try:
        return msgspec.convert(named, Written)
    except msgspec.ValidationError:
        return None


def shown_job(tx: Connection, caller: Caller, job_id: str) -> Job:
    """Return a job that the caller may see. Raises Missing."""
    job = get_job(tx, job_id)
    if job is None or caller.sees not in {None, job.tenant}:
        raise Missing("there is no such job")
    return job


def _caller(tx: Connection, job: Job, now: int) -> Caller:
    """Return who asked, with the rights of now. Raises Unauthorized if the token was revoked meanwhile."""
    asked = msgspec.json.decode(job.caller, type=Asked)
    token = asked.token
    if token.id.startswith("t-"):
        known = get_token(tx, token.id)
        if known is None:
            raise Unauthorized("the token is unknown")
        token = known
        check_token(token, now, asked.address)
    tenant = get_tenant(tx, job.tenant)
    if tenant is None:
        raise Unauthorized("the tenant is gone")
    caller = Caller(token, tenant, asked.address, asked.request_id, asked.method, asked.session)
    caller.need("edit")
    return caller
