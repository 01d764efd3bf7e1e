"""Statuses that nobody knows, in listings, webhooks and lookups: nothing is dropped, nothing is settled, and the word is kept.

Source: issue 18, item 4 ("this applies to result codes, rejected calls, decline reasons and status values at all providers").
"""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from polytill.domain.money import Money
from polytill.domain.states import AttemptState, EventState, RefundState
from polytill.flows.reconciliation.payments import reconcile
from polytill.providers.contract import DisputeFact, Page, PaymentFact, RefundFact
from polytill.providers.outcomes import Declined, Pending, Reason, Succeeded, Unknown
from polytill.storage import refunds
from polytill.testing.conformance.subjects import SUBJECTS
from polytill.testing.conformance.wire import Stand
from tests import calls
from tests.flows.scenes import Scene, paid
from tests.flows.test_compare_others import Lists
from tests.flows.test_compare_others import lists as lists
from tests.regressions.test_provider_answers import strange

Json = dict[str, Any]
STRANGE = Unknown(Reason.unreadable, "LEVITATING", "The payment is levitating.")
HOUR = 3600.0
HOSTED = [one for one in SUBJECTS if one.handler.hosts]
STATUSES = ("status", "ResultCode", "resolution", "outcome_code", "payment_status")


def places_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where the statuses of an answer or a webhook are."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = []
    for key, inner in items:
        if key in STATUSES and isinstance(inner, str | int) and not isinstance(inner, bool):
            found.append((*path, key))
        found += places_of(inner, (*path, key))
    return found


def with_word(value: Any, path: tuple[Any, ...], word: str) -> Any:
    """The same with another word in one place."""
    changed = json.loads(json.dumps(value))
    inner = changed
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = word
    return changed


@pytest.mark.parametrize("fixture", HOSTED, ids=lambda one: one.handler.code)
@pytest.mark.parametrize("verb", ["list_transactions", "list_refunds", "list_disputes"])
async def test_an_entry_of_a_listing_with_a_new_word_is_not_dropped(fixture: Any, verb: str) -> None:
    name = {"list_transactions": "transactions", "list_refunds": "refunds", "list_disputes": "disputes"}[verb]
    if getattr(fixture.handler, verb) is None:
        return
    if fixture.handler.code == "paypal":
        return  # its listing of disputes is a summary, and the details of each are read: test_listed_disputes.py
    stand, dice = Stand(fixture), random.Random(f"{fixture.handler.code} {verb}")
    wire = stand.wire(name)
    place = next(at for at, (sample, _) in enumerate(wire.answers) if not stand.is_token(sample))
    content = json.loads(wire.answers[place][1])
    whole = await getattr(stand.handler(stand.wire(name)), verb)(0, fixture.now_s)
    for path in places_of(content):
        if not any(isinstance(step, int) for step in path):
            continue  # of the envelope, not of an entry
        word, wire = strange(dice), stand.wire(name)
        wire.answers[place] = (wire.answers[place][0], json.dumps(with_word(content, path, word)).encode())
        page = await getattr(stand.handler(wire), verb)(0, fixture.now_s)
        assert isinstance(page, Page)
        assert len(page.facts) + page.unread == len(whole.facts) + whole.unread, f"{path} as {word} is dropped"
        if not isinstance(path[-2], int) or path[-1] != "status":
            continue  # not the status of the entry itself
        assert page.facts, f"{path} as {word} is not read"
        [fact] = [one for one in page.facts if one not in whole.facts]
        assert is_strange(fact, word), f"{path} as {word} is {fact!r}"


def is_strange(fact: Any, word: str) -> bool:
    """Whether a fact says that its status is not known, and keeps the word where it has a place for it."""
    if isinstance(fact, PaymentFact):
        return isinstance(fact.outcome, Unknown) and fact.outcome.code == word
    if isinstance(fact, RefundFact):
        return fact.state == "unknown"
    return not fact.understood and fact.state == "open" and fact.provider_state == word


@pytest.mark.parametrize("fixture", HOSTED, ids=lambda one: one.handler.code)
async def test_a_webhook_with_a_new_word_claims_nothing_and_is_not_ignored(fixture: Any) -> None:
    """Allowed: a fact that needs a lookup, or a review case. Never money, a final state, or nothing."""
    stand, dice = Stand(fixture), random.Random(f"{fixture.handler.code} webhook")
    handler = stand.handler(stand.wire("paid"))
    for name in fixture.deliveries:
        content = json.loads(fixture.delivery(name))
        before = handler.process_webhook(json.dumps(content).encode())
        if before.action == "ignore" or not before.facts:
            continue
        own = min((path for path in places_of(content)), key=len, default=())
        for path in places_of(content):
            word = strange(dice)
            try:
                after = handler.process_webhook(json.dumps(with_word(content, path, word)).encode())
            except ValueError:
                continue  # parked as unreadable
            assert after.action in ("apply", "notify"), f"{name} {path} as {word} is ignored"
            for fact in after.facts:
                same = claim_of(fact) in [claim_of(one) for one in before.facts] and path != own
                if same or after.must_fetch:
                    continue  # that word decides nothing, or the provider is asked
                claimed = claim_of(fact)
                assert claimed in HARMLESS or (claimed == "ended" and path[-1] == "ResultCode"), (
                    f"{name} {path} as {word} is {fact!r}"
                )


HARMLESS = ("Unknown", "NeedsAction", "Pending", "declined", "refund unknown", "refund pending", "dispute open")


def claim_of(fact: Any) -> str:
    """What a fact claims, in a word."""
    if isinstance(fact, RefundFact | DisputeFact):
        return f"{'refund' if isinstance(fact, RefundFact) else 'dispute'} {fact.state}"
    if isinstance(fact.outcome, Declined):
        return "ended" if fact.outcome.final else "declined"
    return type(fact.outcome).__name__


# ── What the service does with them ──


async def test_a_listed_payment_with_a_new_status_is_asked_about(scene: Scene, lists: Lists) -> None:
    await scene.configure()
    scene.wire.says("create", Pending(None, "tx-1"))
    payment = (await scene.pay()).payment
    [attempt] = await scene.attempts(payment.id)
    lists.put("transactions", scene.clock.at_s, PaymentFact(STRANGE, attempt.id, "tx-1"))
    scene.clock.at_s += HOUR / 2
    scene.wire.always("confirm", STRANGE)
    before = scene.context.unread_entries
    await reconcile(scene.context, scene.practice_id)
    [attempt] = await scene.attempts(payment.id)
    assert (attempt.state, attempt.raw_code) == (AttemptState.pending, "LEVITATING")
    assert scene.context.unread_entries > before


@pytest.mark.parametrize("way", ["listing", "webhook"])
async def test_a_payment_with_a_new_status_is_booked_by_what_the_provider_says(
    scene: Scene, lists: Lists, way: str
) -> None:
    configuration = await scene.configure()
    scene.wire.says("create", Pending(None, "tx-1"))
    payment = (await scene.pay()).payment
    [attempt] = await scene.attempts(payment.id)
    scene.wire.always("confirm", paid())
    fact = PaymentFact(STRANGE, attempt.id, "tx-1")
    if way == "webhook":
        await scene.delivery(configuration, fact)
    else:
        lists.put("transactions", scene.clock.at_s, fact)
        scene.clock.at_s += HOUR / 2
        await reconcile(scene.context, scene.practice_id)
    assert (await scene.payment(payment.id)).amount_captured == 1000


@pytest.mark.parametrize(
    ("said", "state", "code"),
    [(STRANGE, RefundState.pending, "LEVITATING"), (Succeeded(Money(400, "NGN"), "r1"), RefundState.succeeded, None)],
    ids=["strange", "succeeded"],
)
@pytest.mark.parametrize("way", ["listing", "webhook"])
async def test_a_refund_with_a_new_status_is_asked_about(
    scene: Scene, lists: Lists, way: str, said: Any, state: RefundState, code: str | None
) -> None:
    configuration = await scene.configure()
    payment = await scene.succeeded()
    scene.wire.says("refund", Pending(None, "r1"))
    await calls.refund(scene.till, scene.practice_id, payment.id, amount=400, key="back")
    scene.wire.always("lookup_refund", said)
    name = payment.provider_transaction_id
    fact = RefundFact("unknown", None, "r1", None, name, Money(400, "NGN"))
    if way == "webhook":
        event = await scene.delivery(configuration, fact)
        assert event is not None
    else:
        scene.wire.always("confirm", paid(transaction=name or ""))
        lists.put("refunds", scene.clock.at_s, fact)
        scene.clock.at_s += HOUR / 2
        await reconcile(scene.context, scene.practice_id)
    [refund] = await refunds.of_payment(scene.db, payment.id)
    assert (refund.state, refund.raw_code) == (state, code)
    after = await scene.payment(payment.id)
    assert after.amount_refunded == (400 if state is RefundState.succeeded else 0)


async def test_a_refund_of_the_dashboard_with_a_new_status_is_not_booked_and_waits(scene: Scene) -> None:
    configuration = await scene.configure()
    payment = await scene.succeeded()
    scene.wire.always("lookup_refund", STRANGE)
    fact = RefundFact("unknown", None, "r9", None, payment.provider_transaction_id, Money(400, "NGN"))
    event = await scene.delivery(configuration, fact)
    assert event is not None
    assert event.state is EventState.received
    assert await refunds.of_payment(scene.db, payment.id) == []
    assert (await scene.payment(payment.id)).amount_refunded == 0
