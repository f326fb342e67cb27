"""Roles and the rights that they give.

    viewer      read
    operator    read, ban (also unban, and change the period of bans)
    editor      read, ban, edit (all entries, preview, undo, rollback)
    approver    read, approve (what waits for a second person)
    admin       all, and admin (tokens, tenants, applications, settings)
    sidecar     layers (fetch signed files and say what is served), events
    source      events (send what clients do: a WAF, a log shipper)

A role is of a token, within its tenant.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

Right = Literal["read", "ban", "edit", "approve", "admin", "layers", "events"]
Role = Literal["viewer", "operator", "editor", "approver", "admin", "sidecar", "source"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)
RIGHTS: Final[dict[str, frozenset[Right]]] = {
    "viewer": frozenset({"read"}),
    "operator": frozenset({"read", "ban"}),
    "editor": frozenset({"read", "ban", "edit"}),
    "approver": frozenset({"read", "approve"}),
    "admin": frozenset({"read", "ban", "edit", "approve", "admin", "layers", "events"}),
    "sidecar": frozenset({"layers", "events"}),
    "source": frozenset({"events"}),
}
