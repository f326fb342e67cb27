"""Listings become entries: a transaction each, by the trigger as actor, for the tenant that owns the application."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from authz.control.detect.event import as_json
from authz.control.lists.automatic import list_client, reason_of
from authz.control.lists.batch import Batch
from authz.control.lists.entries import layers_of
from authz.control.model.problems import NotReady, Problem
from authz.control.model.records import MAIN_TENANT, Actor
from authz.control.notify.message import Notice, notices_of
from authz.control.notify.outbox import note_notices
from authz.control.store.access.tokens import owner_of
from authz.control.store.detection.listings import add_listing
from authz.control.store.detection.triggers import stop_trigger
from authz.times import format_duration, format_moment

if TYPE_CHECKING:
    from authz.control.detect.counting.detector import Listing
    from authz.control.lists.rules.context import ListContext

_LOG = logging.getLogger("authz.control.detect")


def write_listing(context: ListContext, listing: Listing) -> bool:
    """Write what a trigger lists; return whether there is an entry now. One that only tries or tells makes none.

    Raises:
        NotReady: The store is away.

    """
    trigger = listing.trigger
    if trigger.dry_run:
        _LOG.info("%s would list %s: %s", trigger.name, listing.subject, reason_of(listing))
        return False
    if trigger.then.list == "notify":
        with context.store.writing() as tx:
            tenant = owner_of(tx, listing.applications).name
            note_notices(tx, context.config.notify, [Notice("told", tenant, _told(listing))], context.store.now())
        return False
    try:
        _write(context, listing)
    except NotReady:
        raise
    except Problem as error:  # a like entry came meanwhile, the layer is full, a limit forbids it
        _LOG.warning("%s cannot list %s: %s", trigger.name, listing.subject, error.message)
        return False
    return True


def write_stop(context: ListContext, name: str) -> None:
    """Write down that a breaker has stopped a trigger, and call a person. Raises NotReady."""
    now = context.store.now()
    with context.signals.writing() as writing:
        if not stop_trigger(writing.tx, name, now):
            return
        text = f"the trigger {name} was stopped: it would have listed too many; POST /v1/triggers/{name}/resume"
        notice = Notice("breaker", MAIN_TENANT, {"trigger": name, "text": text})
        note_notices(writing.tx, context.config.notify, [notice], now)
        writing.tell("triggers")
    _LOG.error("the trigger %s was stopped by its breaker", name)


def evidence(listing: Listing) -> dict[str, Any]:
    """Return why a trigger lists somebody, for those who ask later."""
    count = listing.trigger.count
    return {
        "trigger": listing.trigger.name,
        "kind": listing.trigger.kind,
        "time": format_moment(listing.time),
        "counted": listing.counted,
        "limit": count.over,
        "within": format_duration(count.within),
        "distinct": count.distinct or "",
        "asn": listing.asn or None,
        "offence": listing.offence,
        "period": None if listing.period is None else format_duration(listing.period),
        "samples": [as_json(event) for event in listing.samples],
    }


def _told(listing: Listing) -> dict[str, Any]:
    return evidence(listing) | {
        "networks": [listing.network], "applications": listing.applications, "actor": listing.trigger.name,
        "action": "tell", "reason": reason_of(listing),
    }  # fmt: skip


def _write(context: ListContext, listing: Listing) -> None:
    actor_name = listing.trigger.name
    with context.signals.writing() as writing:
        tx = writing.tx
        tenant = owner_of(tx, listing.applications)
        actor = Actor(tenant.name, actor_name, "trigger", "automatic")
        layers = layers_of(context.config.rules())
        batch = Batch(tx, context.rules, actor, tenant, context.store.now(), layers=layers, approved=True)
        entry = list_client(batch, listing)
        written = batch.write()
        add_listing(tx, entry.id, actor_name, evidence(listing), batch.now)
        note_notices(tx, context.config.notify, notices_of(written), batch.now)
        writing.tell_changes(written)
    _LOG.info("listed %s as %s: %s", listing.subject, entry.id, entry.reason)
