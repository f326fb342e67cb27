"""What waits for a second person."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import func, insert, select, update

from authz.control.model.problems import Conflict, Forbidden, Missing
from authz.control.store.access.tokens import note
from authz.control.store.tables import approvals

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from authz.control.access.callers import Caller

APPROVED_BY: Final = ", approved by "  # in history, between two persons
MAX_WAITING: Final = 500  # of a tenant: more hide what they are about
WAITING, APPROVED, REJECTED = "waiting", "approved", "rejected"


class Approval(NamedTuple):
    """A change that waits, or waited.

    Attributes:
        actor: The name of the token that asked.
        person: Whose that is.
        request: JSON of the operation.
        created, decided: Microseconds.
        decided: 0: not yet.
    """

    id: str
    created: int
    tenant: str
    actor: str
    person: str
    why: str
    request: str
    state: str
    decided_by: str
    decided: int


def ask_approval(tx: Connection, caller: Caller, why: str, request: str, now: int) -> str:
    """Keep a change that waits for a second person; return its id. Raises Conflict where too many wait already."""
    waiting = select(func.count()).where(approvals.c.tenant == caller.tenant.name, approvals.c.state == WAITING)
    if tx.execute(waiting).scalar_one() >= MAX_WAITING:
        detail = f"{MAX_WAITING:,} changes of '{caller.tenant.name}' wait for a second person, expected fewer"
        raise Conflict(detail, code="too_many", hint="approve or reject them first")
    approval_id = "a-" + secrets.token_hex(6)
    tx.execute(
        insert(approvals).values(
            id=approval_id, created=now, tenant=caller.tenant.name, actor=caller.token.name,
            person=caller.token.who, why=why, request=request, state=WAITING, decided_by="", decided=0,
        )
    )  # fmt: skip
    note(tx, caller.actor(), "approval.ask", approval_id, now, why)
    return approval_id


def list_approvals(tx: Connection, tenant: str | None, state: str | None) -> list[Approval]:
    """Return what waits (or waited), newest first."""
    query = select(approvals).order_by(approvals.c.created.desc()).limit(1000)
    if tenant is not None:
        query = query.where(approvals.c.tenant == tenant)
    if state is not None:
        query = query.where(approvals.c.state == state)
    return [Approval(*row) for row in tx.execute(query)]


def get_approval(tx: Connection, tenant: str | None, approval_id: str) -> Approval:
    """Return one. tenant: None: of any. Raises Missing."""
    row = tx.execute(select(approvals).where(approvals.c.id == approval_id)).first()
    if row is None or tenant not in {None, row.tenant}:
        raise Missing("there is no such approval")
    return Approval(*row)


def decide_approval(tx: Connection, caller: Caller, approval_id: str, state: str, now: int) -> Approval:
    """Approve or reject. Raises Missing, Conflict if it was decided, Forbidden for the person who asked."""
    row = tx.execute(select(approvals).where(approvals.c.id == approval_id).with_for_update()).first()
    if row is None or caller.sees not in {None, row.tenant}:
        raise Missing("there is no such approval")
    approval = Approval(*row)
    if approval.state != WAITING:
        raise Conflict(f"it was {approval.state} by {approval.decided_by}", code="decided")
    if state == APPROVED and approval.person == caller.token.who:
        raise Forbidden("a second person must approve", code="four_eyes")
    decided = approval._replace(state=state, decided_by=caller.token.name, decided=now)
    tx.execute(update(approvals).where(approvals.c.id == approval_id).values(**decided._asdict()))
    note(tx, caller.actor(), f"approval.{state}", approval_id, now)
    return decided
