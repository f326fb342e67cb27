"""`/v1/jobs`: what became of very many rows."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Response, Router, get
from litestar.params import FromPath

from authz.control.api.common.asking import AnyRequest, Asker, in_thread, plane_of
from authz.control.api.common.bodies import micro_moment
from authz.control.api.common.problems import documented
from authz.control.maintenance.jobs import RefusedRow, shown_job
from authz.control.store.jobs import Job, list_jobs


class JobBody(msgspec.Struct, frozen=True):
    """A job. state: waiting, done, or failed (why). refused: the first 1,000 rows that became no entries."""

    id: str
    state: str
    why: str
    total: int
    done: int
    added: int
    refused: list[RefusedRow]
    created: str
    finished: str | None


def job_body(job: Job) -> JobBody:
    """Return a job as JSON shows it."""
    return JobBody(
        job.id, job.state, job.why, job.total, job.done, job.added,
        msgspec.json.decode(job.refused, type=list[RefusedRow]), micro_moment(job.created),
        micro_moment(job.finished) if job.finished else None,
    )  # fmt: skip


def accepted(job: Job) -> Response[Any]:
    """Answer that a job was begun, and where to ask for it."""
    return Response(job_body(job), status_code=202, headers={"Location": f"/v1/jobs/{job.id}"})


@get("/{job_id:str}", summary="How far a job is", responses=documented(404))
async def get_job(request: AnyRequest, caller: Asker, job_id: FromPath[str]) -> JobBody:
    """Show a job; it is kept for a week after its end."""
    caller.need("read")
    plane = plane_of(request)

    def read() -> JobBody:
        with plane.store.reading() as tx:
            return job_body(shown_job(tx, caller, job_id))

    return await in_thread(read)


@get("", summary="Jobs", responses=documented())
async def get_jobs(request: AnyRequest, caller: Asker) -> list[JobBody]:
    """List jobs, newest first."""
    caller.need("read")
    plane = plane_of(request)

    def read() -> list[JobBody]:
        with plane.store.reading() as tx:
            return [job_body(job) for job in list_jobs(tx, caller.sees)]

    return await in_thread(read)


router: Any = Router("/v1/jobs", route_handlers=[get_job, get_jobs], tags=["entries"])
