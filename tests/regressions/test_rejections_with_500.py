"""A rejection that PayPal sends with HTTP 500 is a rejection where its body is certainly PayPal's, and unknown elsewhere.

Source: issue 18, item 4 ("rejected calls (HTTP 500 with a known rejection included)"). What the bodies look like: the error
schemas of Orders v2 and Payments v2 in paypal/paypal-rest-api-specifications.
"""

from __future__ import annotations

from typing import Any

import pytest

from polytill.domain.money import Money
from polytill.providers.contract import OperationParams, RefundParams
from polytill.providers.outcomes import Declined, NeedsAction, NotSent, Reason, Succeeded, Unknown
from tests.providers.test_paypal import create
from tests.regressions.test_provider_answers import ASKED, CAPTURED, HOLD, ORDER, USD, order, paypal, refused

Json = dict[str, Any]


def broken(*issues: str, **other: Any) -> tuple[int, Json]:
    """HTTP 500 with the body of a rejection."""
    details = [{"issue": issue, "description": f"About {issue}."} for issue in issues]
    return 500, {"name": "UNPROCESSABLE_ENTITY", "debug_id": "90957fca61718", "details": details} | other


@pytest.mark.parametrize(
    ("issue", "final"), [("TRANSACTION_REFUSED", True), ("PAYER_CANNOT_PAY", True), ("INSTRUMENT_DECLINED", False)]
)
async def test_a_decline_with_500_is_a_decline(issue: str, final: bool) -> None:
    handler, wire = paypal(order("APPROVED"), broken(issue), order("APPROVED"))
    found = await handler.confirm_payment(ASKED)
    assert (type(found), found.final, found.code, found.detail) == (Declined, final, issue, f"About {issue}.")
    assert not wire.answers, "the order was read again"


@pytest.mark.parametrize("issue", ["PAYEE_ACCOUNT_RESTRICTED", "INCOMPATIBLE_PARAMETER_VALUE"])
async def test_after_another_known_issue_with_500_the_order_decides(issue: str) -> None:
    handler, _ = paypal(order("APPROVED"), broken(issue), order("APPROVED"))
    found = await handler.confirm_payment(ASKED)
    assert (type(found), found.final, found.code) == (Declined, True, issue)


@pytest.mark.parametrize(
    ("after", "kind"),
    [(order("COMPLETED", captures=[CAPTURED]), Succeeded), ((503, {}), Unknown), (order("LEVITATING"), Unknown)],
    ids=["captured", "away", "strange"],
)
@pytest.mark.parametrize("issue", ["TRANSACTION_REFUSED", "INSTRUMENT_DECLINED", "PAYEE_ACCOUNT_RESTRICTED"])
async def test_what_the_order_says_afterwards_stands(issue: str, after: tuple[int, Json], kind: type) -> None:
    handler, _ = paypal(order("APPROVED"), broken(issue), after)
    assert type(await handler.confirm_payment(ASKED)) is kind


@pytest.mark.parametrize(
    "answer",
    [
        broken("TRANSACTION_REFUSED", debug_id=None),
        broken("TRANSACTION_REFUSED", debug_id=""),
        broken("TRANSACTION_REFUSED", name="INTERNAL_SERVER_ERROR"),
        broken("TRANSACTION_REFUSED", name=None),
        broken(),
        broken("LEVITATION_REFUSED"),
        broken("TRANSACTION_REFUSED", "LEVITATION_REFUSED"),
        broken("TRANSACTION_REFUSED", details="TRANSACTION_REFUSED"),
        (502, broken("TRANSACTION_REFUSED")[1]),
        (503, broken("TRANSACTION_REFUSED")[1]),
    ],
)
async def test_a_body_that_is_not_certainly_paypals_proves_nothing(answer: tuple[int, Json]) -> None:
    handler, _ = paypal(order("APPROVED"), answer)
    found = await handler.confirm_payment(ASKED)
    assert (type(found), found.reason) == (Unknown, Reason.provider_unavailable)


async def test_an_order_that_is_rejected_with_500_was_not_made() -> None:
    handler, _ = paypal(broken("PAYEE_ACCOUNT_RESTRICTED"))
    found = await handler.create_payment_intent(create(amount=USD))
    assert (type(found), found.reason, found.code) == (NotSent, Reason.config, "PAYEE_ACCOUNT_RESTRICTED")


async def test_a_capture_of_a_hold_that_is_declined_with_500() -> None:
    held = order("COMPLETED", authorizations=[{**HOLD, "status": "CREATED"}])
    params = OperationParams("op", "r", ORDER, USD)
    handler, _ = paypal(held, broken("TRANSACTION_REFUSED"), held)
    found = await handler.capture_payment(params)
    assert (type(found), found.code) == (Declined, "TRANSACTION_REFUSED")
    taken = order("COMPLETED", authorizations=[{**HOLD, "status": "CAPTURED"}], captures=[CAPTURED])
    handler, _ = paypal(held, broken("TRANSACTION_REFUSED"), taken)
    assert isinstance(await handler.capture_payment(params), Succeeded)
    expired = order("COMPLETED", authorizations=[{**HOLD, "status": "EXPIRED"}])
    handler, _ = paypal(held, broken("AUTHORIZATION_EXPIRED"), expired)
    found = await handler.capture_payment(params)
    assert (type(found), found.reason) == (Declined, Reason.expired)


async def test_a_refund_that_is_rejected_with_500_stays_unknown() -> None:
    """Its lookup reads the order's refunds, which proves more than this answer; a second refund must not be invited."""
    paid = order("COMPLETED", captures=[CAPTURED])
    handler, _ = paypal(paid, broken("REFUND_NOT_ALLOWED"))
    found = await handler.refund_payment(RefundParams("re", "r", ORDER, Money(1_00, "USD"), False))
    assert isinstance(found, Unknown)


async def test_a_payer_who_must_approve_again_may() -> None:
    handler, _ = paypal(order("APPROVED"), broken("PAYER_ACTION_REQUIRED"))
    assert isinstance(await handler.confirm_payment(ASKED), NeedsAction)
    assert refused("PAYER_ACTION_REQUIRED")[0] == 422
