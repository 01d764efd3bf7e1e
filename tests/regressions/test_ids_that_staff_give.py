"""Staff may name a payment by another id of it than the one that its provider is asked by: that is no contradiction.

Source: the last reading of issue 18, item 4. A provider's pages show a charge (Stripe, ``ch_…``) or a capture (PayPal), and
lookups ask by the intent or order: "not found" by the id that staff gave opened a case against them.
"""

from __future__ import annotations

from typing import Any

import pytest

from polytill.domain.identifiers import IdentifierKind
from polytill.domain.money import Money
from polytill.domain.states import AttemptState
from polytill.providers.contract import ConfirmPaymentParams
from polytill.providers.identifiers import identifiers_in
from polytill.providers.outcomes import Declined, NotSent, Reason, Succeeded, Unknown
from polytill.storage import cases
from tests.flows.scenes import Scene
from tests.flows.scripted import Scripted
from tests.providers.test_paypal import ORDER, USD, handler, order, part
from tests.regressions.test_staff_decisions import NOBODY, paid_payment

MISSING = NotSent(Reason.not_found, "404")
BY_OUR_REFERENCE = Succeeded(Money(1000, "NGN"), "pi_1", Money(15, "NGN"), response={"latest_charge": "TX-77"})


@pytest.fixture
def charges(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider whose payments have a charge, as Stripe's have."""
    paths = {IdentifierKind.charge: ("latest_charge",)}

    def read(_: Any, response: Any) -> Any:
        return identifiers_in(paths, response)

    monkeypatch.setattr(Scripted, "read_identifiers", classmethod(read))


@pytest.mark.usefixtures("charges")
@pytest.mark.parametrize("missing", [MISSING, Unknown(Reason.not_found, "404")], ids=["not sent", "unknown"])
async def test_a_payment_that_staff_named_by_its_charge_is_found_by_our_reference(scene: Scene, missing: Any) -> None:
    _, payment = await paid_payment(scene)
    scene.wire.always("confirm", missing)
    scene.wire.always("lookup", BY_OUR_REFERENCE)
    calls = len(scene.wire.of("create")), len(scene.wire.of("lookup"))
    await scene.later(3600)
    [attempt] = await scene.attempts(payment.id)
    after = await scene.payment(payment.id)
    assert (attempt.provider_transaction_id, after.provider_transaction_id) == ("pi_1", "pi_1")
    assert (after.amount_captured, after.provider_fee) == (1000, 15)
    assert await scene.cases() == []
    assert len(scene.wire.of("create")) == calls[0]
    [asked] = scene.wire.of("lookup")[calls[1] :]
    assert (asked.params.reference, asked.params.provider_transaction_id, asked.params.create) == (
        attempt.id,
        None,
        None,
    )


@pytest.mark.parametrize(
    ("by_reference", "says"),
    [
        (MISSING, "not_found"),
        (Declined(Reason.declined, True, "51", "No.", "pi_1"), "declined"),
        (Succeeded(Money(900, "NGN"), "pi_1"), "other_amount"),
        (Succeeded(Money(1000, "NGN"), "pi_1"), "other_transaction"),
        (NOBODY, None),
        (Unknown(Reason.timeout), None),
    ],
)
async def test_what_our_reference_says_is_held_against_the_decision(
    scene: Scene, by_reference: Any, says: str | None
) -> None:
    _, payment = await paid_payment(scene)
    scene.wire.always("confirm", MISSING)
    scene.wire.always("lookup", by_reference)
    await scene.later(3600)
    found = [one.detail["provider"]["says"] for one in await cases.listed(scene.db)]
    assert found == ([] if says is None else [says])
    [attempt] = await scene.attempts(payment.id)
    assert (attempt.state, attempt.amount) == (AttemptState.succeeded, 1000)
    assert (await scene.payment(payment.id)).amount_captured == 1000


async def test_an_attempt_that_succeeded_is_only_asked_about(scene: Scene) -> None:
    """At PayPal another question might capture an order that staff named by something else."""
    await scene.configure()
    await scene.succeeded(fee=None)
    scene.wire.always("confirm", Succeeded(Money(1000, "NGN"), "tx-1", Money(15, "NGN")))
    await scene.later(3600)
    assert [call.params.only_ask for call in scene.wire.of("confirm")] == [True]


async def test_a_paypal_order_is_found_by_its_capture() -> None:
    missing = (404, {"name": "RESOURCE_NOT_FOUND", "details": [{"issue": "INVALID_RESOURCE_ID"}]})
    capture = part("COMPLETED", supplementary_data={"related_ids": {"order_id": ORDER}})
    whole = order(captures=[part("COMPLETED")])
    provider, script = handler(missing, (200, capture), (200, whole))
    found = await provider.confirm_payment(ConfirmPaymentParams("ref-000001", "CAP1", USD, only_ask=True))
    assert isinstance(found, Succeeded)
    assert (found.amount, found.provider_transaction_id) == (USD, ORDER)
    assert provider.read_identifiers(found.response)[IdentifierKind.capture] == ("CAP1",)
    assert script.calls == [
        "GET /v2/checkout/orders/CAP1",
        "GET /v2/payments/captures/CAP1",
        f"GET /v2/checkout/orders/{ORDER}",
    ]
    provider, script = handler(missing, missing)
    found = await provider.confirm_payment(ConfirmPaymentParams("ref-000001", "CAP1", USD, only_ask=True))
    assert isinstance(found, NotSent)
    assert found.reason is Reason.not_found
