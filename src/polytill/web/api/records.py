"""What a practice has recorded: webhooks from providers, audit log, ledger and staff."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query, Response

from polytill.domain.states import Environment, EventState
from polytill.flows.payments.pages import default_environment
from polytill.flows.webhooks import dismiss as dismissing
from polytill.flows.webhooks import receive
from polytill.storage import audit, ledger, staff, webhook_events, webhook_relays
from polytill.web.api.auth import Configures, PracticeId, Reads
from polytill.web.api.bodies import strict_router
from polytill.web.api.models.ledger import Ledger
from polytill.web.api.models.platform import AuditEntry
from polytill.web.api.models.practices import StaffMember
from polytill.web.api.models.webhooks import DismissWebhooks, WebhookEvent, WebhooksDismissed
from polytill.web.api.payments import bounds_between
from polytill.web.api.responses import respond
from polytill.web.api.values import Before, DayOrMoment, Limit

router = strict_router("practice records", "/api/practices/{practiceId}")

EventId = Annotated[str, Path(alias="eventId", max_length=40)]


@router.get("/webhook-events", response_model=list[WebhookEvent])
async def list_webhooks(
    caller: Reads,
    practice_id: PracticeId,
    status: EventState | None = None,
    payment_id: Annotated[str | None, Query(alias="paymentId", max_length=40)] = None,
    before: Annotated[str | None, Query(max_length=40)] = None,
    limit: Limit = 50,
) -> Response:
    """List webhooks from providers, newest first."""
    practice = await caller.context.practice(practice_id)
    found = await webhook_events.listed(practice.db, status, payment_id, before, limit)
    relays = await webhook_relays.of_events(practice.db, [event.id for event in found])
    return respond([WebhookEvent.of(event, relays.get(event.id)) for event in found])


@router.post("/webhook-events/dismiss", response_model=WebhooksDismissed)
async def dismiss_webhooks(caller: Configures, practice_id: PracticeId, body: DismissWebhooks) -> Response:
    """Dismiss parked webhooks in bulk.

    Up to 10,000 at once, the oldest first. They stay stored with the reason and can still be replayed. `dryRun` only
    counts them.
    """
    which = body.which()
    if body.dry_run:
        return respond(WebhooksDismissed(await dismissing.count(caller.context, practice_id, which), True))
    done = await dismissing.dismiss(caller.context, practice_id, which, body.note, caller.actor)
    return respond(WebhooksDismissed(done, False))


@router.post("/webhook-events/{eventId}/replay", response_model=WebhookEvent)
async def replay_webhook(caller: Configures, practice_id: PracticeId, event_id: EventId) -> Response:
    """Process a parked, relayed or dismissed webhook again."""
    event = await receive.replay(caller.context, practice_id, event_id)
    practice = await caller.context.practice(practice_id)
    return respond(WebhookEvent.of(event, await webhook_relays.of_event(practice.db, event.id)))


@router.get("/audit-log", response_model=list[AuditEntry])
async def list_audit_log(
    caller: Reads,
    practice_id: PracticeId,
    subject: Annotated[str | None, Query(max_length=100)] = None,
    before: Before = None,
    limit: Limit = 100,
) -> Response:
    """List the practice's audit log, newest first."""
    practice = await caller.context.practice(practice_id)
    return respond([AuditEntry.of(line) for line in await audit.listed(practice.db, subject, before, limit)])


@router.get("/ledger", response_model=Ledger)
async def get_ledger(
    caller: Reads,
    practice_id: PracticeId,
    environment: Environment | None = None,
    booked_from: Annotated[DayOrMoment | None, Query(alias="from")] = None,
    booked_to: Annotated[DayOrMoment | None, Query(alias="to")] = None,
) -> Response:
    """Get ledger balances by currency and account.

    The balances of a currency sum to zero. ``from`` and ``to`` limit them to entries booked in between; days belong to
    the practice's calendar, and the day ``to`` is included. The default environment is production if any provider is
    configured for it.
    """
    practice = await caller.context.practice(practice_id)
    environment = environment or await default_environment(practice)
    since, until = await bounds_between(caller, practice_id, **{"from": booked_from, "to": booked_to})
    found = await ledger.balances(practice.db, environment, since, until)
    return respond(Ledger(environment, found))


@router.get("/people", response_model=list[StaffMember])
async def list_staff(caller: Reads, practice_id: PracticeId) -> Response:
    """List the practice's people."""
    practice = await caller.context.practice(practice_id)
    return respond([StaffMember.from_record(person) for person in await staff.listed(practice.db)])
