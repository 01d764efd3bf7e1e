"""Erasing one customer's personal data."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.table import Table

from polytill.cli.backups import AsJson
from polytill.cli.opened import PracticeId, console, opened
from polytill.domain.personal_data import Elsewhere, WhyKept
from polytill.flows.erasure import Customer, Erased, erase

WHY: dict[WhyKept, str] = {
    WhyKept.payment: "it is not paid, failed or canceled yet",
    WhyKept.retry: "it failed, and the customer can still try again until it expires",
    WhyKept.lookup: "the provider is still asked about it",
    WhyKept.refund: "a refund is under way",
    WhyKept.operation: "a capture or cancel is under way",
    WhyKept.dispute: "a dispute is open",
    WhyKept.case: "a review case is open: resolve it",
    WhyKept.webhook: "a webhook about it is not applied: replay or dismiss it",
}
ELSEWHERE: dict[Elsewhere, str] = {
    Elsewhere.providers: "The providers have the customer's data: {providers}. Ask each of them to erase the customer.",
    Elsewhere.saved_methods: "{methods} cannot detach saved methods by a call. Delete them in the provider's dashboard.",
    Elsewhere.host: "The host application has what it received in events and answers.",
    Elsewhere.backups: "Backups that were made before now have the data until they are deleted.",
}


def practices_erase_customer(
    practice: PracticeId,
    customer: Annotated[str | None, typer.Option(help="Your own reference, as in a payment's `reference`")] = None,
    email: Annotated[str | None, typer.Option(help="The customer's e-mail address")] = None,
    phone: Annotated[str | None, typer.Option(help="The customer's phone number")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what has their data; change nothing")] = False,
    as_json: AsJson = False,
) -> None:
    """Erase one customer's personal data in all rows of a practice; amounts and books stay.

    Everything that any of the given identifiers names is erased. Payments that are still under way are kept, and the
    worker erases them when they have ended.
    """
    who = Customer(customer, email, phone)
    found = opened(lambda context: erase(context, practice, who, "cli", dry_run))
    if as_json:
        print(json.dumps(_shown(found, dry_run)))
    else:
        _say(found, dry_run)


def _shown(found: Erased, is_dry: bool) -> dict[str, Any]:
    return {
        "isDryRun": is_dry,
        "payments": found.payments,
        "changed": found.changed,
        "kept": [{"payment": one.payment_id, "number": one.number, "why": one.why.value} for one in found.kept],
        "webhooks": found.webhooks,
        "isDetaching": found.is_detaching,
        "isComplete": found.is_complete,
        "elsewhere": [one.value for one in found.elsewhere()],
        "providers": found.providers,
        "savedMethodsAt": found.methods,
    }


def _say(found: Erased, is_dry: bool) -> None:
    if found.changed:
        table = Table("table", "rows to erase" if is_dry else "rows erased")
        for name, rows in found.changed.items():
            table.add_row(name, str(rows))
        console.print(table)
    else:
        console.print("There is nothing to erase." if found.is_complete else "Nothing can be erased yet.")
    for one in found.kept:
        console.print(f"Payment {one.number} is kept: {WHY[one.why]}.", soft_wrap=True)
    if found.webhooks:
        console.print(
            f"Webhooks that name the customer and wait for a decision: {found.webhooks}. Replay or dismiss them."
        )
    if found.is_detaching:
        console.print("A provider is still asked to detach a saved method.")
    if not found.is_complete and not is_dry:
        console.print("The worker erases the rest when nothing needs it any more.")
    for place in found.elsewhere():
        text = ELSEWHERE[place].format(providers=", ".join(found.providers), methods=", ".join(found.methods))
        console.print(text, soft_wrap=True)
