"""Webhooks and listings beside past payments: the host's own references name nothing here for certain."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from polytill.domain.ids import new_id
from polytill.domain.money import Money
from polytill.domain.past_payments import BackfillAction, Certainty, Doubt, Rejection
from polytill.domain.states import Environment, EventState
from polytill.flows.admin import webhook_relay
from polytill.flows.legacy import backfill
from polytill.flows.legacy.backfill import Backfill, NumberedRow, Verdict
from polytill.flows.legacy.past_check import Checker
from polytill.flows.legacy.past_rows import PastMapping, RowReader
from polytill.flows.listing import attempt_listed
from polytill.flows.provider_calls import configuration_of
from polytill.flows.webhooks import dismiss
from polytill.providers.contract import DisputeFact, Fact, PaymentFact, RefundFact, WebhookResult
from polytill.providers.http import to_json
from polytill.storage import webhook_events
from tests.flows import scenes
from tests.flows.scenes import Scene, paid
from tests.flows.scripted import HANDLERS, put
from tests.flows.test_relay import OLD, OldCode, Relaying
from tests.storage.making import plain, run
from tests.web.support import fresh

pytestmark = pytest.mark.asyncio(loop_scope="module")
S = EventState


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared(file_engine_url: str | None, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with scenes.scene(tmp_path_factory.mktemp("past"), file_engine_url) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def relaying(shared: Scene) -> Relaying:
    """One installation for all tests of this module; the old code has a relay address."""
    for table in ("webhook_relays", "webhook_events"):
        await run(shared.db, f"DELETE FROM {table}")
    shared.context.relays.transport = old = OldCode()
    configuration = await shared.configure()
    await webhook_relay.set_relay(shared.context, shared.practice_id, "scripted", Environment.sandbox, OLD, "test")
    return Relaying(shared, old, configuration)


async def taken_over(scene: Scene, *rows: Any, check: bool = False) -> list[Verdict]:
    """Take over rows, each of which says what differs from a plain payment."""
    words = {code: code for code in HANDLERS}
    now = scene.context.world.now()
    reader = RowReader(PastMapping(amounts="minor", environment=Environment.sandbox, providers=words), now)
    given_by_all = {"provider": "scripted", "amount": 1000, "currency": "NGN", "paidAt": "2025-03-04T10:00:00Z"}

    async def at_once(_: float) -> None:
        return None

    run_once = Backfill(
        scene.context, reader, "test", scene.practice_id, False, Checker(1000, at_once) if check else None
    )
    given = [NumberedRow(number, {**given_by_all, "id": fresh("host-"), **row}) for number, row in enumerate(rows, 1)]
    return await run_once.rows(given)


@pytest.mark.parametrize("is_like_ours", [False, True])
async def test_a_reference_of_a_past_payment_elsewhere_is_the_old_codes(relaying: Relaying, is_like_ours: bool) -> None:
    """The host's code tried another provider, or the other environment, under the same reference, which may look like
    an id of polytill."""
    scene = relaying.scene
    reference = new_id(scene.context.world) if is_like_ours else fresh("ORD-")
    await scene.configure("plain")
    await taken_over(scene, {"provider": "plain", "providerTransactionId": fresh("t-"), "providerReference": reference})
    other = fresh("ORD-")
    elsewhere = {"environment": "production", "providerTransactionId": fresh("t-"), "providerReference": other}
    await taken_over(scene, elsewhere)
    for name in (reference, other):
        fact = PaymentFact(paid(transaction=fresh("n-")), name)
        result = WebhookResult("event", fresh("key-"), "apply", facts=(fact,))
        event, _ = await relaying.arrives(raw=to_json({"event": put(result), "order": name}))
        assert event.state is S.relayed
    assert len(relaying.old.got) == 2


@pytest.mark.parametrize("field", ["providerReference", "reference"])
async def test_another_transaction_under_the_same_reference_is_another_payment(relaying: Relaying, field: str) -> None:
    """The host takes several installments under one reference: none is a duplicate of the first."""
    scene, reference, own, next_one = relaying.scene, fresh("INV-"), fresh("t-"), fresh("t-")
    [verdict] = await taken_over(scene, {field: reference, "providerTransactionId": own})
    facts: list[Fact] = [
        PaymentFact(paid(transaction=next_one), reference, next_one),
        RefundFact("succeeded", None, fresh("r-"), reference, next_one, paid().amount),
        DisputeFact("lost", "lost", fresh("d-"), reference, next_one, amount=paid().amount),
    ]
    practice = await scene.context.practice(scene.practice_id)
    configuration = await configuration_of(practice, relaying.configuration.id)
    account = configuration.account(Environment.sandbox) if configuration else None
    assert account is not None
    for number, fact in enumerate(facts, 1):
        event, _ = await relaying.arrives(fact)
        assert (event.state, len(relaying.old.got)) == (S.relayed, number)
        assert await attempt_listed(practice, account, fact) is None
    payment = await scene.payment(str(verdict.payment_id))
    assert (len(await scene.attempts(payment.id)), payment.amount_refunded, payment.amount_lost) == (1, 0, 0)
    [second] = await taken_over(
        scene, {"id": fresh("host-"), "reference": reference, "providerTransactionId": next_one}
    )
    assert second.payment_id not in (None, verdict.payment_id), "the second is a payment of its own"


async def test_a_success_of_another_amount_is_not_about_a_past_payment_without_a_transaction(
    relaying: Relaying,
) -> None:
    scene, reference = relaying.scene, fresh("ORD-")
    [verdict] = await taken_over(scene, {"providerReference": reference})
    other, own = fresh("t-"), fresh("t-")
    event, _ = await relaying.arrives(PaymentFact(paid(500, transaction=other), reference, other))
    assert event.state is S.relayed
    event, _ = await relaying.arrives(PaymentFact(paid(1000, transaction=own), reference, own))
    assert event.state is S.applied
    payment = await scene.payment(str(verdict.payment_id))
    assert (payment.provider_transaction_id, payment.provider_fee) == (own, 15)


async def test_facts_about_a_past_payment_itself_are_still_its_own(relaying: Relaying) -> None:
    scene, reference, own = relaying.scene, fresh("ORD-"), fresh("t-")
    [verdict] = await taken_over(scene, {"providerReference": reference, "providerTransactionId": own})
    for named in ((reference, None), (reference, own), (None, own)):
        event, _ = await relaying.arrives(PaymentFact(paid(transaction=own), *named))
        assert (event.state, event.payment_id) == (S.applied, verdict.payment_id)
    assert relaying.old.got == []


async def test_the_same_reference_at_two_providers_is_of_two_payments(relaying: Relaying) -> None:
    scene, reference = relaying.scene, fresh("ORD-")
    await scene.configure("plain")
    first, second, third = await taken_over(
        scene,
        {"providerReference": reference, "providerTransactionId": fresh("t-")},
        {"providerReference": reference, "providerTransactionId": fresh("t-"), "provider": "plain"},
        {"providerReference": reference, "provider": "plain"},
    )
    assert first.payment_id != second.payment_id
    assert (second.certainty, third.reasons) == (Certainty.recorded, (Rejection.reference_taken,))


async def test_an_invoice_is_tried_as_the_reference_and_names_one_transaction(relaying: Relaying) -> None:
    scene, invoice, found = relaying.scene, fresh("INV-"), fresh("t-")
    event, _ = await relaying.arrives(PaymentFact(paid(transaction=fresh("t-")), invoice))
    asked: list[str] = []

    async def answer(params: Any) -> Any:
        asked.append(params.reference)
        return paid(transaction=found)

    scene.wire.says("confirm", answer, answer)
    first, second = await taken_over(scene, {"reference": invoice}, {"reference": invoice}, check=True)
    assert asked == [invoice, invoice]
    assert (first.certainty, second.reasons) == (Certainty.verified, (Doubt.no_transaction_id,))
    [again] = await taken_over(scene, {"id": "x", "providerTransactionId": found})
    assert again.payment_id == first.payment_id
    assert event.state is S.relayed


async def test_webhooks_that_came_before_their_payment_was_taken_over_are_applied_then(relaying: Relaying) -> None:
    """One was relayed, one parked, one dismissed; one names the same reference and is about another payment."""
    scene, reference, own, other = relaying.scene, fresh("ORD-"), fresh("t-"), fresh("t-")
    refund = RefundFact("succeeded", None, fresh("r-"), reference, None, Money(300, "NGN"))
    relayed, _ = await relaying.arrives(refund)
    strangers, _ = await relaying.arrives(PaymentFact(paid(transaction=other), reference, other))
    relaying.old.answer = 404
    parked, _ = await relaying.arrives(PaymentFact(paid(transaction=own), None, own), must_fetch=True)
    disputed = DisputeFact("open", "open", fresh("d-"), None, own, amount=Money(1000, "NGN"))
    dismissed, _ = await relaying.arrives(disputed)
    which = webhook_events.Which(ids=(dismissed.id,))
    await dismiss.dismiss(scene.context, scene.practice_id, which, "not ours", "test")
    states = [(await relaying.event(one.id)).state for one in (relayed, strangers, parked, dismissed)]
    assert states == [S.relayed, S.relayed, S.parked, S.dismissed]

    row = {"id": fresh("host-"), "providerReference": reference, "providerTransactionId": own}
    scene.wire.says("confirm", paid(transaction=own))
    [verdict] = await taken_over(scene, row)
    states = [(await relaying.event(one.id)).state for one in (relayed, strangers, parked, dismissed)]
    assert states == [S.applied, S.relayed, S.applied, S.applied]
    payment = await scene.payment(str(verdict.payment_id))
    assert (payment.amount_captured, payment.amount_refunded, payment.amount_disputed) == (1000, 300, 1000)
    await taken_over(scene, row)
    assert (await scene.payment(payment.id)).amount_refunded == 300


async def test_a_run_that_was_killed_before_it_applied_them_does_so_when_it_is_repeated(
    relaying: Relaying, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene, own = relaying.scene, fresh("t-")
    fact = RefundFact("succeeded", None, fresh("r-"), None, own, Money(300, "NGN"))
    relayed, _ = await relaying.arrives(fact)
    row = {"id": fresh("host-"), "providerTransactionId": own}

    async def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(backfill, "apply_earlier", killed)
    with pytest.raises(KeyboardInterrupt):
        await taken_over(scene, row)
    monkeypatch.undo()
    [verdict] = await taken_over(scene, row)
    assert verdict.action is BackfillAction.unchanged
    assert (await relaying.event(relayed.id)).state is S.applied
    assert (await scene.payment(str(verdict.payment_id))).amount_refunded == 300


async def test_a_fee_that_is_learned_later_is_booked_by_the_date_of_its_past_payment(relaying: Relaying) -> None:
    scene, own = relaying.scene, fresh("t-")
    [verdict] = await taken_over(scene, {"providerTransactionId": own, "method": "card of Ada Obi"})
    for _ in range(2):
        await relaying.arrives(PaymentFact(paid(transaction=own, fee=15), None, own))
    methods = {key.method for key in scene.context.pool.charged}
    assert "card of Ada Obi" not in methods, "other practices learn nothing of it"
    lines = await plain(
        scene.db,
        "SELECT fact, amount, created_at FROM ledger_lines WHERE account = 'fees'"
        f" AND payment_id = '{verdict.payment_id}'",
    )
    assert [(fact, amount, str(at)[:10]) for fact, amount, at in lines] == [("opening_fee", 15, "2025-03-04")]
