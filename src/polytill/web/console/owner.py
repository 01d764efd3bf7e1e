"""The owner's console without the catalog: platform state, practices, open work, activity. It shows no practice's
money."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Path, Response

from polytill.domain.currencies import CURRENCIES
from polytill.domain.errors import CallerError, PolytillError, invalid
from polytill.domain.jobs import JobKind
from polytill.domain.localities import time_zones
from polytill.domain.states import DeliveryState, PracticeState
from polytill.flows.admin import event_destination, placement
from polytill.flows.admin import practices as admin_practices
from polytill.flows.admin import staff as people
from polytill.flows.context import Context
from polytill.flows.handlers import handler_or_reason
from polytill.flows.jobs import delete
from polytill.flows.lifecycle import closing
from polytill.flows.recovery import lookup
from polytill.flows.webhooks import receive
from polytill.storage import (
    cases,
    cluster_rows,
    event_deliveries,
    jobs,
    leases,
    migrating,
    overview,
    practice_backups,
    practice_moves,
    practices,
    staff,
    webhook_events,
)
from polytill.storage.overview import Waiting
from polytill.storage.practices import PracticeEntry
from polytill.web.api.models.practices import ChangePractice, CreatePractice
from polytill.web.api.values import After
from polytill.web.console.flashes import REPLAYS, Done
from polytill.web.console.pages import EXPECTED, errors_by_field, page_router, shaped
from polytill.web.console.payments import refund_request
from polytill.web.console.sessions import OwnerAdmin, OwnerViewer, PracticeId
from polytill.web.console.shown_once import show_once
from polytill.web.words import Said

router = page_router("/owner")

A_DAY_S = 24 * 3600
LOOKED_AT = 50  # practices whose databases one page opens
AT_ONCE = 8
PER_PAGE = 50
Cursor = Annotated[int, Path(ge=1, le=2**53)]


@dataclass(frozen=True, slots=True)
class Looked:
    """The open work of one practice; ``waiting`` is None if its database could not be read."""

    practice: PracticeEntry
    waiting: Waiting | None


async def look(context: Context) -> list[Looked]:
    """Read the open work of the practices with the most recent payments, a bounded number of them."""
    held = await leases.all_held(context.owner)
    newest = sorted(held, key=lambda practice_id: held[practice_id], reverse=True)[:LOOKED_AT]
    since, gate = context.world.after(-A_DAY_S), asyncio.Semaphore(AT_ONCE)

    async def one(practice_id: int) -> Looked:
        entry = await context.opening.any_entry(practice_id)
        async with gate:
            try:
                return Looked(entry, await overview.waiting(await context.opening.practice(practice_id), since))
            except PolytillError:
                return Looked(entry, None)

    return list(await asyncio.gather(*(one(practice_id) for practice_id in newest)))


async def health(context: Context, looked: list[Looked]) -> list[dict[str, Any]]:
    """Each provider's last day: calls with an answer, and calls without one."""
    found = []
    for code, entry in sorted((await context.catalog()).items()):
        counts: Counter[str] = Counter()
        for one in looked:
            for (provider, state), calls in (one.waiting.calls if one.waiting else {}).items():
                if provider == code:
                    counts[state] += calls
        # A call that was not sent has an answer or never left: a rate limit is no outage. Only unknown outcomes count
        # as lost.
        calls, lost = counts.total(), counts["unknown"]
        missing = handler_or_reason(context, entry)[0] is None
        tone = "bad" if missing or (calls and lost * 4 > calls) else "warn" if lost else "good" if calls else ""
        found.append({"entry": entry, "calls": calls, "lost": lost, "tone": tone, "missing": missing})
    return found


@router.get("")
async def home(visitor: OwnerViewer) -> Response:
    """Show the state of the platform."""
    context = visitor.context
    entries = [e for e in await practices.listed(context.owner, 0, 100_000) if e.state.has_database]
    head = migrating.head("practice")
    looked, backlog = await look(context), await event_destination.read_backlog(context)
    volumes = await overview.volumes(context.owner, context.world.after(-30 * A_DAY_S))
    return visitor.page(
        "owner/home.html",
        practices=len(entries),
        suspended=sum(e.state is PracticeState.suspended for e in entries),
        behind=sum(e.schema_version != head for e in entries),
        waits=sum(one.waiting.total for one in looked if one.waiting) + backlog.abandoned,
        events_failing=event_destination.state_of(backlog, context.world.now()) == "failing",
        health=await health(context, looked),
        payments=sum(volumes.values()),
        unread=[one.practice for one in looked if one.waiting is None],
    )


# ── Practices ──


@router.get("/practices")
async def list_practices(visitor: OwnerViewer, after: After = 0) -> Response:
    """List practices with their recent number of payments. If some are not migrated, the page says so."""
    context, head = visitor.context, migrating.head("practice")
    by_schema = await practices.count_by_schema(context.owner)
    found = await practices.listed(context.owner, after, PER_PAGE + 1)
    return visitor.page(
        "owner/practices.html",
        practices=[one for one in found[:PER_PAGE] if one.state is not PracticeState.provisioning],
        following=found[PER_PAGE - 1].id if len(found) > PER_PAGE else None,
        head=head,
        volumes=await overview.volumes(context.owner, context.world.after(-30 * A_DAY_S)),
        in_all=sum(by_schema.values()),
        behind=sum(by_schema.values()) - by_schema.get(head, 0),
        migration=await jobs.unfinished(context.owner, JobKind.migrate),
    )


@router.post("/practices/migration")
async def migrate_all(visitor: OwnerAdmin) -> Response:
    """Let the workers migrate every practice. A migration that is running is not started twice."""
    begun = await visitor.till.migrate_fleet(visitor.actor)
    job = await jobs.unfinished(visitor.context.owner, JobKind.migrate)
    to = "/practices" if job is None else f"/jobs/{job.id}"
    return visitor.see(to, Done.migration_begun if begun else Done.migration_goes_on)


async def _new_practice(visitor: OwnerAdmin, **more: Any) -> Response:
    rows, counts = await cluster_rows.listed(visitor.context.owner), await cluster_rows.counts(visitor.context.owner)
    clusters = [row.name for row in placement.in_order(rows, counts)]
    return visitor.page(
        "owner/practice_new.html", clusters=clusters, currencies=sorted(CURRENCIES), zones=sorted(time_zones()), **more
    )


def _upper(given: dict[str, str]) -> dict[str, str]:
    """A form with its currency in upper case, as in ISO 4217."""
    return given | {name: text.upper() for name, text in given.items() if name in ("defaultCurrency", "country")}


@router.get("/practices/new")
async def new_practice(visitor: OwnerAdmin) -> Response:
    """Show the form for a new practice."""
    return await _new_practice(visitor)


@router.post("/practices/new")
async def create_practice(visitor: OwnerAdmin) -> Response:
    """Create a practice. Its key is shown once, on the next page only."""
    given = _upper(visitor.form.given("name", "defaultCurrency", "cluster", "country", "timeZone", "externalId"))
    try:
        wanted = shaped(CreatePractice, given).new()
        entry, key = await admin_practices.create_practice(visitor.context, wanted, visitor.actor)
    except EXPECTED as error:
        return await _new_practice(visitor, error=error, given=given, errors=_wrong(error))
    return show_once(visitor, f"/owner/practices/{entry.id}", kind="key", name=entry.name, key=key)


def _wrong(error: CallerError) -> dict[str, Said]:
    """The errors of a practice's form, each at its field."""
    return {"externalId": error} if error.code == "duplicate_external_id" else errors_by_field(error)


async def _practice_page(visitor: OwnerViewer, practice_id: int, **more: Any) -> Response:
    context = visitor.context
    entry = await context.opening.any_entry(practice_id)
    if entry.state is PracticeState.deleted:
        return visitor.page("owner/practice_deleted.html", practice=entry)
    try:
        practice = await context.practice(practice_id)
        waiting = await overview.waiting(practice.db, context.world.after(-A_DAY_S))
        nobody = not await staff.listed(practice.db)
        configured = list((await context.configured(practice.db)).live.values())
    except PolytillError:
        waiting, configured, nobody = None, [], False
    volumes = await overview.volumes(context.owner, context.world.after(-30 * A_DAY_S))
    stored = {
        "name": entry.name,
        "defaultCurrency": entry.default_currency,
        "country": entry.country,
        "timeZone": entry.time_zone,
        "externalId": entry.external_id or "",
    }
    return visitor.page(
        "owner/practice.html",
        practice=entry,
        waiting=waiting,
        configured=configured,
        head=migrating.head("practice"),
        payments=volumes.get(practice_id, 0),
        currencies=sorted(CURRENCIES),
        zones=sorted(time_zones()),
        nobody=nobody,
        move=await practice_moves.last(context.owner, practice_id),
        elsewhere=[
            (row.name, row.name) for row in await cluster_rows.listed(context.owner) if row.name != entry.cluster
        ],
        backup=await practice_backups.find(context.owner, practice_id),
        has_backups=bool(context.settings.backups),
        run_out_days=context.settings.run_out_days,
        is_over=entry.is_over(context.world.now()),
        **{"email": "", "given": stored, "life": {}, **more},
    )


@router.get("/practices/{practice_id}")
async def show_practice(visitor: OwnerViewer, practice_id: PracticeId) -> Response:
    """Show one practice, without its money."""
    return await _practice_page(visitor, practice_id)


@router.post("/practices/{practice_id}")
async def change_practice(visitor: OwnerAdmin, practice_id: PracticeId) -> Response:
    """Change the name, the currency, the country, the time zone, the external id or the state."""
    form = visitor.form
    given = _upper(form.given("name", "defaultCurrency", "state", "country", "timeZone", "externalId"))
    removed = {"externalId": None} if form.has("externalId") else {}
    try:
        changes = shaped(ChangePractice, {**removed, **given}).changes()
        await admin_practices.change_practice(visitor.context, practice_id, changes, visitor.actor)
    except EXPECTED as error:
        return await _practice_page(visitor, practice_id, error=error, given=given, errors=_wrong(error))
    return visitor.see(f"/practices/{practice_id}", Done.saved)


@router.post("/practices/{practice_id}/life")
async def end_practice(visitor: OwnerAdmin, practice_id: PracticeId) -> Response:
    """Close a practice, reopen it, or let the workers delete it."""
    context, form, actor = visitor.context, visitor.form, visitor.actor
    given = form.given("runOutDays", "confirm", "reason")
    try:
        match form.text("action"):
            case "close":
                days = given.get("runOutDays", "")
                # No more digits than a number of days has: a longer one is refused as it is.
                days_or_none = int(days) if days.isdecimal() and len(days) < 7 else -1 if days else None
                await closing.close(context, practice_id, days_or_none, actor)
                return visitor.see(f"/practices/{practice_id}", Done.practice_closed)
            case "reopen":
                await closing.reopen(context, practice_id, actor)
                return visitor.see(f"/practices/{practice_id}", Done.practice_reopened)
            case "delete":
                ticked = form.has("now"), given.get("reason", ""), form.has("acceptUnresolved")
                wanted = delete.Wanted(practice_id, given.get("confirm", ""), *ticked)
                job = await delete.begin(context, wanted, actor)
                return visitor.see(f"/jobs/{job.id}", Done.job_started)
            case _:
                raise invalid("/action", "Choose an action.", reason="job_action")
    except EXPECTED as error:
        return await _practice_page(visitor, practice_id, error=error, life=given, errors=errors_by_field(error))


@router.post("/practices/{practice_id}/invite")
async def invite_first(visitor: OwnerAdmin, practice_id: PracticeId) -> Response:
    """Invite the practice's first admin, who then invites all others."""
    email, practice = visitor.form.text("email"), await visitor.context.practice(practice_id)
    try:
        link = await people.invite_first(practice, email, "", f"owner:{visitor.person.id}")
    except EXPECTED as error:
        return await _practice_page(visitor, practice_id, error=error, email=email)
    return show_once(visitor, f"/owner/practices/{practice_id}", kind="link", email=email, link=link)


@router.post("/practices/{practice_id}/migrate")
async def migrate_practice(visitor: OwnerAdmin, practice_id: PracticeId) -> Response:
    """Migrate one practice's database to the current schema."""
    await admin_practices.migrate_practice(visitor.context, practice_id, visitor.actor)
    return visitor.see(f"/practices/{practice_id}", Done.migrated)


# ── Open work ──


@router.get("/attention")
async def waiting(visitor: OwnerViewer) -> Response:
    """Show parked webhooks, unknown outcomes and open review cases, without amounts."""
    context = visitor.context
    groups = []
    for one in await look(context):
        if one.waiting is None or one.waiting.total == 0:
            continue
        practice = await context.practice(one.practice.id)
        open_cases = await cases.listed(practice.db, limit=20)
        groups.append(
            {
                "practice": one.practice,
                "provider_of": await overview.providers_of(
                    practice.db, [c.payment_id for c in open_cases if c.payment_id]
                ),
                "parked": await webhook_events.listed(practice.db, "parked", limit=20),
                "unknown": await overview.unknown(practice.db, 20),
                "cases": open_cases,
                "in_all": one.waiting.total,
            }
        )
    backlog = await event_destination.read_backlog(context)
    abandoned = await event_deliveries.listed(
        context.owner, DeliveryState.abandoned, None, None, PER_PAGE, unresolved=True
    )
    return visitor.page(
        "owner/attention.html",
        groups=groups,
        limit=LOOKED_AT,
        names=await visitor.provider_names(),
        backlog=backlog,
        abandoned=abandoned if backlog.abandoned else [],
        events_failing=event_destination.state_of(backlog, context.world.now()) == "failing",
    )


@router.post("/event-deliveries/replay")
async def replay_abandoned(visitor: OwnerAdmin) -> Response:
    """Send every abandoned event again."""
    await event_destination.replay_abandoned(visitor.context, visitor.actor)
    return visitor.see("/attention", Done.events_replayed)


@router.post("/event-deliveries/{cursor}")
async def decide_abandoned(visitor: OwnerAdmin, cursor: Cursor) -> Response:
    """Send an abandoned event again, or resolve its review case."""
    if visitor.form.text("action") == "replay":
        await event_destination.replay(visitor.context, cursor, visitor.actor)
        return visitor.see("/attention", Done.events_replayed)
    await event_destination.resolve(visitor.context, cursor, visitor.actor)
    return visitor.see("/attention", Done.event_resolved)


@router.post("/attention/{practice_id}/events/{event_id}")
async def replay(visitor: OwnerAdmin, practice_id: PracticeId, event_id: str) -> Response:
    """Process a parked webhook again."""
    event = await receive.replay(visitor.context, practice_id, event_id)
    return visitor.see("/attention", REPLAYS[event.state])


@router.post("/attention/{practice_id}/payments/{payment_id}")
async def ask_again(visitor: OwnerAdmin, practice_id: PracticeId, payment_id: str) -> Response:
    """Look up a payment at the provider now."""
    asked = await lookup.confirm(visitor.context, practice_id, payment_id)
    return visitor.see("/attention", refund_request(asked))
