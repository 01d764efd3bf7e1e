"""Webhooks from providers on the command line: parked ones, and the relay to an old address."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.table import Table

from polytill.cli.opened import PracticeId, console, fail, opened
from polytill.domain.states import Environment, EventState
from polytill.flows.admin import webhook_relay
from polytill.flows.admin.provider_configs import existing_configuration
from polytill.flows.context import Context
from polytill.flows.webhooks import dismiss as dismissing
from polytill.storage import webhook_events, webhook_relays
from polytill.storage.provider_configs import Configuration
from polytill.storage.webhook_events import WebhookEvent, Which
from polytill.storage.webhook_relays import Relay

webhooks_app = typer.Typer(no_args_is_help=True, help="Webhooks from providers: parked ones, and the relay.")


@webhooks_app.command("list")
def webhooks_list(
    practice: PracticeId,
    status: Annotated[EventState, typer.Option(help="Only webhooks in this state")] = EventState.parked,
    limit: Annotated[int, typer.Option(min=1, max=500, help="At most this many, the newest first")] = 50,
) -> None:
    """List webhooks of a practice, newest first, with the state of their relay."""

    async def read(context: Context) -> tuple[list[WebhookEvent], dict[str, Relay]]:
        db = await context.opening.practice(practice)
        found = await webhook_events.listed(db, status.value, limit=limit)
        return found, await webhook_relays.of_events(db, [event.id for event in found])

    found, relays = opened(read)
    table = Table("webhook", "received", "provider", "environment", "type", "reason", "relay", "tries", "last answer")
    for event in found:
        relay = relays.get(event.id)
        answer = str(relay.last_status or relay.last_error or "") if relay else ""
        table.add_row(
            event.id,
            f"{event.received_at:%Y-%m-%d %H:%M}",
            event.provider_code,
            event.environment.value,
            event.event_type,
            event.reason or "",
            relay.state.value if relay else "",
            str(relay.tries) if relay else "",
            answer,
        )
    console.print(table)


@webhooks_app.command("dismiss")
def webhooks_dismiss(
    practice: PracticeId,
    note: Annotated[str, typer.Option(help="Why they are dismissed; it is stored with each")],
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="provider=…, environment=…, type=…, reason=… (why it is parked) or before=… (a time in UTC); may be"
            " repeated"
        ),
    ] = None,
    webhook: Annotated[list[str] | None, typer.Option(help="The id of one; may be repeated")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every parked webhook of the practice")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count them")] = False,
) -> None:
    """Dismiss parked webhooks in bulk. They stay stored and can still be replayed."""
    which = _which(only or [], webhook or [])
    if not which.named() and not every:
        fail("Select the webhooks by --only or --webhook, or give --all.")
    if dry_run:
        found = opened(lambda context: dismissing.count(context, practice, which))
        console.print(f"Parked webhooks in the selection: {found}. Nothing was changed.")
        return
    done = opened(lambda context: dismissing.dismiss(context, practice, which, note, "cli"))
    console.print(f"Dismissed webhooks: {done}.")


_ONLY = {"provider": "provider_code", "type": "event_type", "reason": "reason"}


def _which(only: list[str], webhooks: list[str]) -> Which:
    given: dict[str, Any] = {"ids": tuple(webhooks)} if webhooks else {}
    for one in only:
        name, _, value = one.partition("=")
        try:
            if name in _ONLY and value:
                given[_ONLY[name]] = value
            elif name == "environment":
                given["environment"] = Environment(value)
            elif name == "before":
                before = datetime.fromisoformat(value)
                given["received_before"] = before if before.tzinfo else before.replace(tzinfo=UTC)
            else:
                raise ValueError
        except ValueError:
            fail(
                "--only is provider=…, environment=sandbox or production, type=…, reason=…, or before= and a time such as"
                " 2026-11-30T18:00."
            )
    return Which(**given)


@webhooks_app.command("relay")
def webhooks_relay(
    practice: PracticeId,
    provider: Annotated[str, typer.Argument(help="The provider's code, such as paystack")],
    environment: Annotated[Environment, typer.Option(help="The environment of the account")],
    url: Annotated[str | None, typer.Option(help="The old address; https")] = None,
    off: Annotated[
        bool, typer.Option("--off", help="Remove the relay; waiting webhooks are handled as without one")
    ] = False,
) -> None:
    """Set the address to which webhooks go that are not about anything here, or show it with the states of relays."""
    if url is not None and off:
        fail("Give either --url or --off.")

    async def work(context: Context) -> tuple[Configuration, dict[str, int]]:
        if url is not None or off:
            saved = await webhook_relay.set_relay(context, practice, provider, environment, url, "cli")
        else:
            _, saved = await existing_configuration(context, practice, provider)
        db = await context.opening.practice(practice)
        return saved, {state.value: n for state, n in (await webhook_relays.counts(db, saved.id)).items()}

    saved, counts = opened(work)
    told = ", ".join(f"{state} {number}" for state, number in sorted(counts.items())) or "none yet"
    console.print(
        f"Relay of {provider} ({environment.value}): {saved.relay_urls.get(environment.value, 'off')}.", soft_wrap=True
    )
    console.print(f"Relayed webhooks: {told}.")
