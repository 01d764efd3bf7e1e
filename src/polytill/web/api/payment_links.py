"""Payment links of a practice, and the branding of its checkout."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Response

from polytill.flows.payments import payment_links as link_flow
from polytill.flows.recovery import checkout
from polytill.storage import payment_links, practice_profile
from polytill.web.api.auth import Caller, Configures, Pays, PracticeId, Reads
from polytill.web.api.bodies import strict_router
from polytill.web.api.models import payment_links as models
from polytill.web.api.requests import EmptyBody
from polytill.web.api.responses import respond
from polytill.web.api.values import BeforeId, PageLimit

router = strict_router("payment links", "/api/practices/{practiceId}")

LinkId = Annotated[str, Path(alias="linkId", max_length=40)]


@router.post("/payment-links", status_code=201, response_model=models.PaymentLink)
async def create_payment_link(caller: Pays, practice_id: PracticeId, body: models.CreatePaymentLink) -> Response:
    """Create a payment link with a QR code.

    No provider is called yet.
    """
    link = await link_flow.create_link(caller.context, practice_id, body.wish(), caller.actor)
    return respond(models.PaymentLink.of(caller.context, link), 201)


@router.get("/payment-links", response_model=models.PaymentLinkPage)
async def list_payment_links(
    caller: Reads, practice_id: PracticeId, cursor: BeforeId = None, limit: PageLimit = 50
) -> Response:
    """List payment links, newest first."""
    practice = await caller.context.practice(practice_id)
    found = await payment_links.listed(practice.db, cursor, limit + 1)
    following = found[limit - 1].id if len(found) > limit else None
    return respond(
        models.PaymentLinkPage([models.PaymentLink.of(caller.context, one) for one in found[:limit]], following)
    )


@router.get("/payment-links/{linkId}", response_model=models.PaymentLinkWithPayments)
async def get_payment_link(caller: Reads, practice_id: PracticeId, link_id: LinkId) -> Response:
    """Get a payment link with the ids of its payments."""
    practice, link = await link_flow.find_link(caller.context, practice_id, link_id)
    started = await payment_links.payments_of(practice.db, link.id)
    return respond(models.PaymentLinkWithPayments.of(caller.context, link, payments=started))


@router.post("/payment-links/{linkId}/close", response_model=models.PaymentLink)
async def close_payment_link(
    caller: Pays, practice_id: PracticeId, link_id: LinkId, body: EmptyBody | None = None
) -> Response:
    """Close a payment link.

    No new payment can start through it. Payments that have started continue; cancel them separately.
    """
    link = await link_flow.close_link(caller.context, practice_id, link_id, caller.actor)
    return respond(models.PaymentLink.of(caller.context, link))


@router.get("/checkout", response_model=models.Branding)
async def get_branding(caller: Reads, practice_id: PracticeId) -> Response:
    """Get the branding of the checkout."""
    return await _checkout(caller, practice_id)


@router.put("/checkout", response_model=models.Branding)
async def set_branding(caller: Configures, practice_id: PracticeId, body: models.SetBranding) -> Response:
    """Set the color of the checkout.

    Null restores the default color.
    """
    await checkout.set_color(caller.context, practice_id, body.color, caller.actor)
    return await _checkout(caller, practice_id)


async def _checkout(caller: Caller, practice_id: int) -> Response:
    practice = await caller.context.practice(practice_id)
    entry = await caller.context.opening.entry(practice_id)
    return respond(models.Branding(entry.name, await practice_profile.checkout_color(practice.db)))
