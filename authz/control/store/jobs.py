"""Jobs: work that takes longer than a request may, kept so that it goes on after a restart where it was."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from sqlalchemy import delete, insert, select, update

from authz.control.store.tables import job_contents, jobs

if TYPE_CHECKING:
    from sqlalchemy import Connection

State = Literal["waiting", "done", "failed"]
KEPT: Final = 7 * 86_400_000_000  # microseconds that a finished job is kept
_COLUMNS = tuple(jobs.c[name] for name in ("id", "created", "finished", "tenant", "caller", "state", "total", "done",
                                           "added", "refused", "why"))  # fmt: skip


class Job(NamedTuple):
    """A job. Times: microseconds.

    Attributes:
        finished: 0: not yet.
        caller: JSON of who asked for it.
        total, done, added: Rows there are, were looked at, became entries.
        refused: JSON of rows that were not.
        why: It failed as a whole.
    """

    id: str
    created: int
    finished: int
    tenant: str
    caller: str
    state: State
    total: int
    done: int
    added: int
    refused: str
    why: str


def add_job(tx: Connection, job: Job, content: bytes) -> None:
    """Keep a new job with what it has to do; those that ended long ago are let go of."""
    old = select(jobs.c.id).where(jobs.c.finished != 0, jobs.c.finished < job.created - KEPT)
    tx.execute(delete(job_contents).where(job_contents.c.id.in_(old)))
    tx.execute(delete(jobs).where(jobs.c.finished != 0, jobs.c.finished < job.created - KEPT))
    tx.execute(insert(jobs).values(**job._asdict()))
    tx.execute(insert(job_contents).values(id=job.id, content=gzip.compress(content, 1)))


def save_job(tx: Connection, job: Job) -> None:
    """Write how far a job is; in the transaction of what it did. What it had to do goes when it is over."""
    tx.execute(update(jobs).where(jobs.c.id == job.id).values(**job._asdict()))
    if job.state != "waiting":
        tx.execute(delete(job_contents).where(job_contents.c.id == job.id))


def next_job(tx: Connection) -> Job | None:
    """Return the oldest job that is to be done."""
    row = tx.execute(select(*_COLUMNS).where(jobs.c.state == "waiting").order_by(jobs.c.created).limit(1)).first()
    return None if row is None else Job(*row)


def job_content(tx: Connection, job_id: str) -> bytes:
    """Return what a job has to do."""
    content: bytes = tx.execute(select(job_contents.c.content).where(job_contents.c.id == job_id)).scalar_one()
    return gzip.decompress(content)


def get_job(tx: Connection, job_id: str) -> Job | None:
    """Return a job; None: there is none."""
    row = tx.execute(select(*_COLUMNS).where(jobs.c.id == job_id)).first()
    return None if row is None else Job(*row)


def list_jobs(tx: Connection, tenant: str | None) -> list[Job]:
    """Return the jobs of a tenant, or all, newest first."""
    query = select(*_COLUMNS).order_by(jobs.c.created.desc()).limit(1000)
    return [Job(*row) for row in tx.execute(query if tenant is None else query.where(jobs.c.tenant == tenant))]
