"""Listings become entries: a transaction each, by the trigger as actor, for the tenant that owns the application."""

from __future__ import annotations

import logging
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from authz.control.lists.automatic import list_client, reason_of
from authz.control.lists.batch import Batch
from authz.control.lists.entries import layers_of
from authz.control.model import MAIN_TENANT, Actor
from authz.control.notify.outbox import note_changes
from authz.control.problems import NotReady, Problem
from authz.control.store.access import get_tenant, list_tenants

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from authz.control.detect.detector import Listing
    from authz.control.plane import ControlPlane
    from authz.control.store.access import Tenant

_LOG = logging.getLogger("authz.control.detect")


def write_listing(plane: ControlPlane, listing: Listing) -> bool:
    """Write what a trigger lists; return whether there is an entry now. One that only tries or tells writes nothing.

    Raises:
        NotReady: The store is away.

    """
    trigger = listing.trigger
    if trigger.dry_run or trigger.then.list == "notify":
        how = "would list" if trigger.dry_run else "tells of"
        _LOG.info("%s %s %s: %s", trigger.name, how, listing.subject, reason_of(listing))
        return False
    try:
        _write(plane, listing)
    except NotReady:
        raise
    except Problem as error:  # a like entry came meanwhile, the layer is full, a limit forbids it
        _LOG.warning("%s cannot list %s: %s", trigger.name, listing.subject, error.message)
        return False
    return True


def _write(plane: ControlPlane, listing: Listing) -> None:
    actor_name = listing.trigger.name
    with plane.store.writing() as tx:
        tenant = _owner(tx, listing.applications)
        actor = Actor(tenant.name, actor_name, "trigger", "automatic")
        rules = plane.rules(tx)
        batch = Batch(tx, rules, actor, tenant, plane.store.now(), layers=layers_of(rules), approved=True)
        entry = list_client(batch, listing)
        note_changes(tx, plane.config.notify, batch.write(), batch.now)
        plane.signals.announce(tx, "changed")
    plane.signals.wake("changed")
    _LOG.info("listed %s as %s: %s", listing.subject, entry.id, entry.reason)


def _owner(tx: Connection, applications: tuple[str, ...]) -> Tenant:
    """Return the tenant whose patterns name the applications; the main one where none or several do."""
    main = get_tenant(tx, MAIN_TENANT)
    assert main is not None  # noqa: S101  # `authz control init` makes it
    owners = [
        tenant
        for tenant in list_tenants(tx)
        if tenant.name != MAIN_TENANT
        and applications
        and all(any(fnmatchcase(name, pattern) for pattern in tenant.applications) for name in applications)
    ]
    return owners[0] if len(owners) == 1 else main
