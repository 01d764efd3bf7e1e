"""Checks of the money path: requests, answers, refunds, captures, listings."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

from polytill.domain.money import Money
from polytill.providers.contract import Balance, Page, PaymentFact
from polytill.providers.outcomes import Declined, NeedsAction, NotSent, Pending, Reason, Succeeded, Unknown
from polytill.testing.conformance.fixture import NEWLY, OTHER_REFERENCE, REFERENCE, REFUND, Example
from polytill.testing.conformance.register import (
    check,
    declares_identifiers,
    has_keys_of_its_own,
    has_new_decline,
    has_too_fine_amounts,
    names_amounts,
)
from polytill.testing.conformance.wire import Asked, Stand, expect, fields_of

SENDING, READING, REFUNDS, OPERATIONS, LISTS = "sends", "reads", "refunds", "captures", "lists"
sends = check(SENDING)
reads = check(READING)
refunds = check(REFUNDS, verb="refund_payment")


async def created(stand: Stand, money: Money | None = None, reference: str = REFERENCE) -> tuple[Any, Asked]:
    """Start a payment. Returns the outcome and the request that was sent."""
    wire = stand.wire("created")
    outcome = await stand.handler(wire).create_payment_intent(stand.creation(reference, money))
    naming = [one for one in wire.payments if reference in one.text]
    assert naming, "no request contains our reference"
    return outcome, naming[0]


def amounts_in(asked: Asked, name: str) -> list[str]:
    """The values of a field in a form or JSON body, as they were sent."""
    text = asked.body.decode()
    form = re.findall(rf"(?:^|&){re.escape(name)}=([^&]*)", text)
    found: list[str] = form or re.findall(rf'"{re.escape(name)}"\s*:\s*"?(-?[0-9.eE+-]+)', text)
    return found


# ── Requests ──


@sends
async def our_reference_is_sent(stand: Stand) -> None:
    """The request that starts a payment contains our complete reference."""
    _, asked = await created(stand)
    assert REFERENCE in asked.text, "our reference is not sent"
    _, other = await created(stand, reference=OTHER_REFERENCE)
    assert REFERENCE not in other.text, "another payment is sent under our reference"


@sends
async def amounts_are_sent_exactly(stand: Stand) -> None:
    """Every example's amount is in the request in the provider's format and with the provider's exponent."""
    for example in stand.fixture.examples:
        _, asked = await created(stand, example.money)
        found = amounts_in(asked, stand.fixture.amount_field)
        assert found == [example.sent], f"{example.money} is sent as {found}, not as {example.sent}"


@sends
async def currency_is_sent(stand: Stand) -> None:
    """The request names the currency, or the provider has only one."""
    handler = stand.handler_class
    for example in stand.fixture.examples:
        _, asked = await created(stand, example.money)
        named = example.money.currency.lower() in asked.body.decode().lower()
        assert named or len(handler.catalog.currencies) == 1, f"the request does not name {example.money.currency}"


@sends
async def no_float_is_sent(stand: Stand) -> None:
    """No number in a request has an exponent or more than three decimals, as a float would."""
    for example in stand.fixture.examples:
        _, asked = await created(stand, example.money)
        numbers = re.findall(r"[:=\[,]\s*\"?(-?\d+\.\d{4,}|-?\d+(?:\.\d+)?[eE][+-]?\d+)\b", asked.body.decode())
        assert not numbers, f"{example.money} is sent with {numbers}"


@check(SENDING, only=has_too_fine_amounts)
async def too_fine_an_amount_is_refused_here(stand: Stand) -> None:
    """An amount with more decimals than the provider accepts is ``NotSent``, and no request is sent."""
    wire = stand.wire("created")
    outcome = await stand.handler(wire).create_payment_intent(stand.creation(money=stand.fixture.too_fine))
    assert isinstance(outcome, NotSent), f"{stand.fixture.too_fine} is read as {outcome!r}"
    assert not wire.payments, f"{stand.fixture.too_fine} was sent, rounded"


@sends
async def a_repeat_is_byte_for_byte(stand: Stand) -> None:
    """The same payment produces the same request, also in another instance, so that it can be repeated."""
    _, first = await created(stand)
    _, second = await created(stand)
    assert first == second, "the same payment produces two different requests"


@check(SENDING, only=has_keys_of_its_own)
async def the_idempotency_key_is_our_reference(stand: Stand) -> None:
    """If the provider replays by key, our reference is in the header or body, and other payments have other keys."""
    _, first = await created(stand)
    _, second = await created(stand, reference=OTHER_REFERENCE)
    carrying = [name for name, value in first.headers.items() if REFERENCE in value]
    in_body = "idempotency_key" in first.body.decode()
    assert carrying or in_body, "no header or field contains the idempotency key"
    assert all(first.headers[name] != second.headers[name] for name in carrying), "two payments share a key"


@check(SENDING, needs_network=False)
async def the_payer_gets_a_way_to_pay(stand: Stand) -> None:
    """The outcome of a started payment is the next action for the customer, or that the provider processes it."""
    outcome = await stand.read("created")
    assert isinstance(outcome, NeedsAction | Pending), f"a started payment is {outcome!r}"
    if isinstance(outcome, NeedsAction):
        action = outcome.action
        assert action is not None, "the outcome has no next action"
        usable = action.url or action.provider_token or action.instructions or action.wants
        assert usable, "the next action has no address, token, instructions or payment input"
        assert action.url is None or action.url.startswith("https://"), "the customer's address is not https"
        kept = json.dumps(outcome.response, default=str)
        token = action.provider_token.reveal() if action.provider_token else None
        assert token is None or token not in kept, "the customer's token would be stored"


# ── Answers ──


async def paid(stand: Stand, example: Example, **words: str) -> Any:
    """The outcome of a payment lookup whose answer says that this example was paid."""
    handler = stand.handler(stand.wire("paid", example=example, fault=None, **words))
    return await handler.confirm_payment(stand.question(example.money))


@reads
async def paid_is_succeeded(stand: Stand) -> None:
    """A paid payment is ``Succeeded``, with every example's amount exactly, and the provider's id."""
    for example in stand.fixture.examples:
        outcome = expect(Succeeded, await paid(stand, example), "a paid payment")
        assert not outcome.authorized_only, "a paid payment is read as authorized only"
        assert outcome.amount == example.money, f"{example.answered} is read as {outcome.amount}, not {example.money}"
        assert type(outcome.amount.minor) is int, "the amount is not an integer"
        assert outcome.provider_transaction_id, "the provider's id is lost"


@check(READING, only=names_amounts)
async def the_amount_is_the_providers(stand: Stand) -> None:
    """The amount is the one in the answer, never the one that we requested."""
    other = stand.fixture.examples[1]
    handler = stand.handler(stand.wire("paid", example=other))
    outcome = await handler.confirm_payment(stand.question(stand.first.money))
    told = outcome.amount if isinstance(outcome, Succeeded) else None
    assert told != stand.first.money, "our own amount is returned as the provider's"
    assert isinstance(outcome, Unknown) or told == other.money, f"{other.answered} is read as {told}"


@check(READING, only=names_amounts)
async def an_unreadable_amount_is_unknown(stand: Stand) -> None:
    """A paid answer whose amount is missing, unreadable or negative is never ``Succeeded``."""
    nonsenses: tuple[Any, ...] = (None, "", "ten", {}, True, "1e999999", "NaN", -10, "-10", "1_000", " 10")
    for nonsense in nonsenses:
        outcome = await paid(stand, Example(stand.first.money, "", nonsense))
        assert not isinstance(outcome, Succeeded), f"the amount {nonsense!r} is read as {outcome!r}"


def decline_of(outcome: Any, what: str) -> Declined:
    """The decline that an outcome is or waits with, with a reason from the closed list."""
    decline = outcome.last_decline if isinstance(outcome, NeedsAction) else outcome
    assert isinstance(decline, Declined), f"{what} is {outcome!r}"
    assert isinstance(decline.reason, Reason), "the reason is not from the closed list"
    return decline


@reads
async def declined_is_declined(stand: Stand) -> None:
    """A declined attempt is ``Declined``, or waits with the decline, with one of our reasons and the provider's code."""
    decline = decline_of(await stand.read("declined"), "a declined payment")
    assert decline.code, "the provider's own word is lost"


@reads
async def pending_is_pending(stand: Stand) -> None:
    """A payment that the provider still processes is ``Pending``."""
    expect(Pending, await stand.read("pending"), "a pending payment")


@reads
async def missing_is_not_found(stand: Stand) -> None:
    """A lookup of an unknown payment is ``NotSent(not_found)``, or ``Unknown`` if the answer cannot prove it."""
    outcome = await stand.call("lookup_payment", "missing")
    provable = isinstance(outcome, NotSent) and outcome.reason is Reason.not_found
    assert provable or isinstance(outcome, Unknown), f"a payment that was never created is {outcome!r}"


@reads
async def a_strange_status_is_unknown(stand: Stand) -> None:
    """A status that the handler does not know is ``Unknown``: never paid, never failed."""
    expect(Unknown, await stand.read("strange"), "an unknown status")


@check(READING, only=has_new_decline)
async def a_new_decline_closes_like_any_other(stand: Stand) -> None:
    """A decline with a code that the handler does not know is ``Declined``, as final as a known one, with that code."""
    before = decline_of(await stand.read("declined"), "a declined payment")
    decline = decline_of(await stand.read(NEWLY), "a decline with an unknown code")
    assert decline.final == before.final, "whether the customer can try again depends on an unknown code"
    told = b"".join(content for _, content in stand.wire(NEWLY).answers).decode()
    assert decline.code, "the provider's own word is lost"
    assert decline.code in told, f"{decline.code} is not the provider's code"


@reads
async def a_strange_status_settles_nothing(stand: Stand) -> None:
    """An unknown word in place of a status books no money and makes nothing final."""
    for name in ("paid", "pending"):
        answers = stand.wire(name).answers
        place = next(at for at, (sample, _) in enumerate(answers) if not stand.is_token(sample))
        for path, value in fields_of(json.loads(answers[place][1])):
            if path[-1] != "status" or not isinstance(value, str):
                continue
            outcome = await stand.read(name, stand.altered(name, place, path, "levitating"))
            where = f"an unknown word at {'/'.join(map(str, path))} of {name!r}"
            assert not isinstance(outcome, Succeeded), f"{where} is read as paid"
            assert not (isinstance(outcome, Declined) and outcome.final), f"{where} is final"


@reads
async def another_payments_answer_is_not_ours(stand: Stand) -> None:
    """An answer about another payment is not accepted."""
    outcome = await paid(stand, stand.first, reference=OTHER_REFERENCE, transaction="other-9")
    assert not isinstance(outcome, Succeeded | Declined), f"another payment's answer is accepted: {outcome!r}"


@reads
async def kept_answers_are_clean(stand: Stand) -> None:
    """The stored copy of an answer is JSON without the fields that the handler declares as secret."""
    for name in ("created", "paid", "declined", "pending"):
        kept = getattr(await stand.read(name), "response", None)
        for path, value in fields_of(kept):
            assert path[-1] not in stand.handler_class.redacted or value == "[removed]", f"{path[-1]} would be stored"


@check(READING, only=declares_identifiers)
async def declared_identifiers_are_found(stand: Stand) -> None:
    """Every kind of identifier that the handler declares occurs in the stored copy of a sample answer or webhook."""
    handler = stand.handler_class
    kept = [getattr(await stand.read(name), "response", None) for name in ("created", "paid")]
    for name in stand.fixture.deliveries:
        told = stand.handler(stand.wire()).process_webhook(stand.fixture.delivery(name))
        kept += [getattr(fact.outcome, "response", None) for fact in told.facts if isinstance(fact, PaymentFact)]
    # Only some payments have these.
    kept += [stand.fixture.filled(sample.body, stand.first) for sample in stand.fixture.samples("identified")]
    found = {kind for response in kept for kind in handler.read_identifiers(response)}
    missing = sorted(set(handler.identifiers) - found)
    assert not missing, f'no sample has {", ".join(missing)}; the sample "identified" can be an answer as it is stored'


# ── Refunds ──


async def refunded(stand: Stand) -> tuple[Any, list[Asked]]:
    """Start a refund. Returns the outcome and the requests that contain its reference."""
    wire = stand.wire("refunded")
    outcome = await stand.call("refund_payment", wire)
    return outcome, [one for one in wire.payments if REFUND in one.text]


@refunds
async def a_refund_is_sent_once_under_its_reference(stand: Stand) -> None:
    """One request starts a refund, with the refund's own reference, so that a lookup can find it after a lost answer."""
    _, asked = await refunded(stand)
    assert len(asked) == 1, f"{len(asked)} requests contain the refund's reference"
    _, again = await refunded(stand)
    assert asked == again, "the same refund produces two different requests"


@refunds
async def a_refund_is_read(stand: Stand) -> None:
    """An accepted refund is ``Succeeded`` or ``Pending``, with the amount and the provider's id of the refund."""
    outcome, _ = await refunded(stand)
    assert isinstance(outcome, Succeeded | Pending), f"an accepted refund is {outcome!r}"
    assert outcome.amount == stand.first.money, f"the refund is read as {outcome.amount}"
    assert outcome.provider_transaction_id == stand.fixture.refund_id, "the refund's id is lost"


@refunds
async def refund_amounts_are_sent_exactly(stand: Stand) -> None:
    """A partial refund requests its own amount."""
    other = stand.fixture.examples[1]
    wire = stand.wire("refunded", example=other)
    await stand.handler(wire).refund_payment(replace(stand.refund(), amount=other.money, full=False))
    body = next(one.body.decode() for one in wire.payments if REFUND in one.text)
    assert re.search(rf"(?<![0-9.]){re.escape(other.sent)}(?![0-9])", body), f"{other.money} is not in the request"


@check(REFUNDS, verb="lookup_refund")
async def a_missing_refund_is_not_found(stand: Stand) -> None:
    """A lookup of a refund that the provider does not have returns "not found" and creates none."""
    wire = stand.wire("refund_missing")
    outcome = expect(NotSent, await stand.call("lookup_refund", wire), "a refund that was never created")
    assert outcome.reason is Reason.not_found, f"a refund that was never created is {outcome.reason}"
    assert all(one.method == "GET" for one in wire.payments), "a late lookup started a refund"


# ── Captures ──


@check(OPERATIONS, verb="capture_payment")
async def a_hold_is_no_money(stand: Stand) -> None:
    """An authorized payment is authorized, not paid, and has its amount."""
    outcome = expect(Succeeded, await stand.read("authorized"), "an authorized payment")
    assert outcome.authorized_only, "an authorization is read as paid"
    assert outcome.amount == stand.first.money, f"the authorized amount is read as {outcome.amount}"


@check(OPERATIONS, verb="capture_payment")
async def a_capture_is_money(stand: Stand) -> None:
    """A captured payment is ``Succeeded``, with the captured amount."""
    outcome = expect(Succeeded, await stand.call("capture_payment", "captured"), "a captured payment")
    assert not outcome.authorized_only, "a capture is read as authorized only"
    assert outcome.amount == stand.first.money, f"the captured amount is read as {outcome.amount}"


@check(OPERATIONS, verb="cancel_payment")
async def a_cancel_is_final(stand: Stand) -> None:
    """A canceled payment is ``Declined``, final and canceled."""
    outcome = expect(Declined, await stand.call("cancel_payment", "canceled"), "a canceled payment")
    assert outcome.final, "a canceled payment could still be paid"
    assert outcome.reason in (Reason.canceled, Reason.expired), f"the reason is {outcome.reason}"


# ── Listings ──


@check(LISTS, verb="list_transactions")
async def transactions_are_listed(stand: Stand) -> None:
    """A listing contains the payment with its reference or id, its amount, and a cursor that is text or None."""
    page = expect(Page, await stand.call("list_transactions", "transactions"), "a listing")
    assert isinstance(page.next, str | None), "the cursor is not text"
    ours = [
        fact
        for fact in page.facts
        if fact.reference == REFERENCE or fact.provider_transaction_id == stand.fixture.transaction_id
    ]
    assert ours, "the payment is not in the listing"
    assert getattr(ours[0].outcome, "amount", None) == stand.first.money, "the amount in the listing is wrong"


@check(LISTS, verb="list_transactions")
async def a_cursor_is_used(stand: Stand) -> None:
    """The cursor requests the next page, not the first page again."""
    wire = stand.wire("transactions")
    handler = stand.handler(wire)
    await handler.list_transactions(0, stand.fixture.now_s)
    first = len(wire.asked)
    await handler.list_transactions(0, stand.fixture.now_s, "7")
    urls = {one.url + one.body.decode() for one in wire.asked[:first]}
    assert all(one.url + one.body.decode() not in urls for one in wire.payments[first:]), "the cursor is ignored"


@check(LISTS, verb="list_refunds")
async def refunds_are_listed(stand: Stand) -> None:
    """A listing of refunds gives the provider's id, the payment and the status of each refund."""
    page = expect(Page, await stand.call("list_refunds", "refunds"), "a listing")
    assert len(page.facts) == 1, "the refund is not in the listing"
    [fact] = page.facts
    assert fact.provider_refund_id == stand.fixture.refund_id, "the refund is not in the listing"
    assert fact.state in ("pending", "requires_action", "succeeded", "failed", "unknown"), (
        f"{fact.state} is not a state of a refund"
    )
    names_payment = fact.provider_transaction_id == stand.fixture.transaction_id
    assert fact.payment_reference or fact.provider_charge_id or names_payment, "the refund does not name its payment"


@check(LISTS, verb="list_disputes")
async def disputes_are_listed(stand: Stand) -> None:
    """A listing of disputes gives the id and the payment of each dispute."""
    page = expect(Page, await stand.call("list_disputes", "disputes"), "a listing")
    assert page.facts, "the dispute is not in the listing"
    for fact in page.facts:
        assert fact.provider_dispute_id, "the dispute has no id"
        assert fact.payment_reference or fact.provider_transaction_id or fact.provider_charge_id, "it names no payment"


@check(LISTS, verb="get_balance")
async def the_balance_is_money(stand: Stand) -> None:
    """A balance has the example's amount in its currency."""
    found = expect(Balance, await stand.call("get_balance", "balance"), "a balance")
    assert stand.first.money in found.available, f"{stand.first.money} is not in {found}"
