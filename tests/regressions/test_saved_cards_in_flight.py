"""A saved card that changes while something is under way: nothing is charged twice, and nothing that was charged is lost.

Source: issue 18, item 8.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from polytill.domain.errors import Invalid
from polytill.domain.money import Money
from polytill.domain.secret import Secret
from polytill.domain.states import Environment
from polytill.flows.command import Command
from polytill.flows.context import Practice as OpenPractice
from polytill.flows.payments import saved_methods as saving
from polytill.flows.payments.create import create_payment
from polytill.flows.payments.request import PaymentRequest
from polytill.providers.contract import Customer
from polytill.providers.outcomes import Declined, NotSent, Reason, Unknown
from polytill.storage import saved_methods
from polytill.storage.saved_methods import StoredMethod
from polytill.storage.units import moment
from tests import calls
from tests.flows.scenes import Scene, keys, paid
from tests.flows.test_saved import CARD
from tests.installation import Installation
from tests.regressions.test_saved_cards import _detachments, _listed
from tests.web.support import Practice
from tests.web.test_saved_methods import charge, saved

LOST = Unknown(Reason.timeout)


async def _kept(scene: Scene, email: str = "ada@example.com", transaction: str = "tx-1", **card: Any) -> StoredMethod:
    scene.wire.says("create", replace(paid(transaction=transaction), saved_method=replace(CARD, **card)))
    request = PaymentRequest(Money(1000, "NGN"), customer=Customer(email), save_method=True)
    command = Command(f"save-{transaction}", "test")
    made = await create_payment(scene.context, scene.practice_id, request, command)
    found = await saved_methods.of_payment(scene.db, made.payment.id)
    assert found is not None
    return found


async def _charge(scene: Scene, method_id: str, key: str = "charge", **more: Any) -> Any:
    request = PaymentRequest(Money(1000, "NGN"), saved_method=method_id, **more)
    return await create_payment(scene.context, scene.practice_id, request, Command(key, "test"))


async def test_a_card_that_was_renewed_is_charged_with_its_newest_token(scene: Scene) -> None:
    await scene.configure()
    old = await _kept(scene, "Ada@Example.com", "tx-1", expires="2026-12", token=Secret("token-old"))
    scene.clock.at_s += 60  # copies are ordered by time
    new = await _kept(scene, "ada@EXAMPLE.COM", "tx-2", expires="2031-08", token=Secret("token-new"))
    listed = await saved_methods.listed(scene.db, Environment.sandbox, "ada@example.com", None, 9)
    [shown] = await saving.shown(scene.db, listed)
    assert (shown.id, shown.expires) == (old.id, "2031-08")
    for key, method_id in (("by the old id", old.id), ("by the new id", new.id)):
        scene.wire.says("charge", paid(transaction=key))
        assert (await _charge(scene, method_id, key)).payment.amount_captured == 1000
        assert scene.wire.of("charge")[-1].params.token.reveal() == "token-new"
        # Paystack charges a token only under the e-mail that it was saved with, as it was spelled.
        assert scene.wire.of("charge")[-1].params.customer.email == new.customer_email


async def test_a_method_that_is_removed_during_its_charge(scene: Scene) -> None:
    """The charge is booked as it ended, and no further one is made."""
    await scene.configure()
    method = await _kept(scene)

    async def meanwhile(_: Any) -> Any:
        await saving.remove(scene.context, scene.practice_id, method.id, "test")
        return paid(transaction="tx-2")

    scene.wire.says("charge", meanwhile)
    made = await _charge(scene, method.id)
    assert (made.payment.status, made.payment.amount_captured) == ("succeeded", 1000)
    with pytest.raises(Invalid):
        await _charge(scene, method.id, "another")
    assert (await _charge(scene, method.id)).payment.id == made.payment.id
    assert len(scene.wire.of("charge")) == 1
    await scene.books_agree()


@pytest.mark.parametrize("went_through", [True, False])
async def test_a_method_that_is_removed_while_the_outcome_is_unknown(scene: Scene, went_through: bool) -> None:
    """Its token is deleted, so the call cannot be repeated; the lookup finds its outcome."""
    await scene.configure()
    method = await _kept(scene)
    scene.wire.says("charge", LOST)
    made = await _charge(scene, method.id)
    assert made.payment.status == "processing"
    await saving.remove(scene.context, scene.practice_id, method.id, "test")
    scene.wire.always("lookup", paid(transaction="tx-2") if went_through else NotSent(Reason.not_found))
    for _ in range(4):
        await scene.later(300)
    payment = await scene.payment(made.payment.id)
    assert (payment.status, payment.amount_captured) == (("succeeded", 1000) if went_through else ("failed", 0))
    assert len(scene.wire.of("charge")) == 1
    await scene.books_agree()


async def test_an_expired_token_fails_its_payment_once(scene: Scene) -> None:
    await scene.configure()
    method = await _kept(scene)
    scene.wire.says("charge", Declined(Reason.expired_card, True, "expired_card", "Your card has expired."))
    made = await _charge(scene, method.id)
    assert (made.payment.status, made.payment.failure_reason) == ("failed", "expired_card")
    scene.wire.always("confirm", Declined(Reason.expired_card, True, "expired_card"))
    for _ in range(3):
        await scene.later(600)
    assert (await _charge(scene, method.id)).payment.id == made.payment.id
    assert len(scene.wire.of("charge")) == 1
    assert len(await scene.attempts(made.payment.id)) == 1


async def test_a_method_of_another_practice_or_environment_is_not_charged(scene: Scene) -> None:
    await scene.configure()
    method = await _kept(scene)
    await scene.configure(given=keys(mode="live"), environment=Environment.production)
    with pytest.raises(Invalid) as refused:
        await _charge(scene, method.id, environment=Environment.production)
    assert refused.value.errors[0].pointer == "/savedMethod"
    other = (await calls.create_practice(scene.till, "Other", "NGN"))[0].id
    request = PaymentRequest(Money(1000, "NGN"), saved_method=method.id)
    with pytest.raises(Invalid) as refused:
        await create_payment(scene.context, other, request, Command("k", "test"))
    assert refused.value.errors[0].pointer == "/savedMethod"
    assert len(scene.wire.of("charge")) == 0
    assert len(await scene.db.fetch("SELECT id FROM payments")) == 1, "nothing was written"


@pytest.mark.parametrize("code", ["stripe", "paystack"])
async def test_a_provider_that_cannot_detach_for_days_is_asked_again(installation: Installation, code: str) -> None:
    """The card is gone here at once; each try that is due is one call, and others' cards are charged meanwhile."""
    practice = await Practice.make(installation, code)
    method, other = (await saved(practice))["savedMethod"], (await saved(practice, "bisi@example.com"))["savedMethod"]
    db, context = await practice.db, installation.till.context
    await practice.fault("*", "error_500")
    assert (await practice.call("DELETE", f"/saved-methods/{method['id']}")).status == 204
    assert [one["id"] for one in await _listed(practice)] == [other["id"]]
    for tries in range(1, 9):
        [(state, token)] = await _detachments(practice)
        assert (state, token is not None) == ("due", True)
        [row] = await db.fetch("SELECT tries, next_try_at FROM saved_method_detachments")
        assert row["tries"] == tries
        due_at = moment(row["next_try_at"])
        assert due_at is not None
        pause_s = (due_at - context.shared_after(0)).total_seconds()
        assert pause_s <= saving.DETACH_AGAIN_S[min(tries - 1, len(saving.DETACH_AGAIN_S) - 1)]
        assert await saving.detach_due(OpenPractice(context, db)) == 0, "it is not due yet"
        async with db.transaction() as tx:
            tx.add("UPDATE saved_method_detachments SET next_try_at = $1", context.shared_after(-1))
        if tries < 8:
            await practice.fault("*", "error_500")
        assert await saving.detach_due(OpenPractice(context, db)) == 1
    assert await _detachments(practice) == [("detached", None)]
    assert (await charge(practice, other["id"]))["status"] == "succeeded"
