"""Checks of the money path: requests, answers, refunds, captures, listings."""

from __future__ import annotations

import json
import re
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
from polytill.testing.conformance.wire import Asked, Stand, Wire

SENDING, READING, REFUNDS, OPERATIONS, LISTS = "sends", "reads", "refunds", "captures", "lists"


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


@check(SENDING)
async def our_reference_is_sent(stand: Stand) -> None:
    """The request that starts a payment contains our complete reference."""
    _, asked = await created(stand)
    assert REFERENCE in asked.text, "our reference is not sent"
    _, other = await created(stand, reference=OTHER_REFERENCE)
    assert REFERENCE not in other.text, "another payment is sent under our reference"


@check(SENDING)
async def amounts_are_sent_exactly(stand: Stand) -> None:
    """Every example's amount is in the request in the provider's format and with the provider's exponent."""
    for example in stand.fixture.examples:
        _, asked = await created(stand, example.money)
        found = amounts_in(asked, stand.fixture.amount_field)
        assert found == [example.sent], f"{example.money} is sent as {found}, not as {example.sent}"


@check(SENDING)
async def currency_is_sent(stand: Stand) -> None:
    """The request names the currency, or the provider has only one."""
    handler = stand.fixture.handler
    for example in stand.fixture.examples:
        _, asked = await created(stand, example.money)
        named = example.money.currency.lower() in asked.body.decode().lower()
        assert named or len(handler.catalog.currencies) == 1, f"the request does not name {example.money.currency}"


@check(SENDING)
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


@check(SENDING)
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
    outcome = await stand.handler(stand.wire("created")).create_payment_intent(stand.creation())
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


async def read(stand: Stand, name: str, example: Example | None = None, **words: str) -> Any:
    """The outcome of a payment lookup with this sample answer."""
    example = example or stand.first
    handler = stand.handler(stand.wire(name, example=example, fault=None, **words))
    return await handler.confirm_payment(stand.question(example.money))


@check(READING)
async def paid_is_succeeded(stand: Stand) -> None:
    """A paid payment is ``Succeeded``, with every example's amount exactly, and the provider's id."""
    for example in stand.fixture.examples:
        outcome = await read(stand, "paid", example)
        assert isinstance(outcome, Succeeded), f"a paid payment is {outcome!r}"
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
        outcome = await read(stand, "paid", Example(stand.first.money, "", nonsense))
        assert not isinstance(outcome, Succeeded), f"the amount {nonsense!r} is read as {outcome!r}"


@check(READING)
async def declined_is_declined(stand: Stand) -> None:
    """A declined attempt is ``Declined``, or waits with the decline, with one of our reasons and the provider's code."""
    outcome = await read(stand, "declined")
    decline = outcome.last_decline if isinstance(outcome, NeedsAction) else outcome
    assert isinstance(decline, Declined), f"a declined payment is {outcome!r}"
    assert isinstance(decline.reason, Reason), "the reason is not from the closed list"
    assert decline.code, "the provider's own word is lost"


@check(READING)
async def pending_is_pending(stand: Stand) -> None:
    """A payment that the provider still processes is ``Pending``."""
    outcome = await read(stand, "pending")
    assert isinstance(outcome, Pending), f"a pending payment is {outcome!r}"


@check(READING)
async def missing_is_not_found(stand: Stand) -> None:
    """A lookup of an unknown payment is ``NotSent(not_found)``, or ``Unknown`` if the answer cannot prove it."""
    outcome = await stand.handler(stand.wire("missing")).lookup_payment(stand.lost())
    provable = isinstance(outcome, NotSent) and outcome.reason is Reason.not_found
    assert provable or isinstance(outcome, Unknown), f"a payment that was never created is {outcome!r}"


@check(READING)
async def a_strange_status_is_unknown(stand: Stand) -> None:
    """A status that the handler does not know is ``Unknown``: never paid, never failed."""
    outcome = await read(stand, "strange")
    assert isinstance(outcome, Unknown), f"an unknown status is {outcome!r}"


@check(READING, only=has_new_decline)
async def a_new_decline_closes_like_any_other(stand: Stand) -> None:
    """A decline with a code that the handler does not know is ``Declined``, as final as a known one, with that code."""
    known, new = await read(stand, "declined"), await read(stand, NEWLY)
    before, decline = (o.last_decline if isinstance(o, NeedsAction) else o for o in (known, new))
    assert isinstance(decline, Declined), f"a decline with an unknown code is {new!r}"
    assert isinstance(before, Declined)
    assert decline.final == before.final, "whether the customer can try again depends on an unknown code"
    told = b"".join(content for _, content in stand.wire(NEWLY).answers).decode()
    assert decline.code, "the provider's own word is lost"
    assert decline.code in told, f"{decline.code} is not the provider's code"


@check(READING)
async def a_strange_status_settles_nothing(stand: Stand) -> None:
    """An unknown word in place of a status books no money and makes nothing final."""
    for name in ("paid", "pending"):
        for path, wire in _with_a_new_word(stand, name):
            outcome = await stand.handler(wire).confirm_payment(stand.question())
            assert not isinstance(outcome, Succeeded), f"an unknown word at {path} of {name!r} is read as paid"
            assert not (isinstance(outcome, Declined) and outcome.final), f"an unknown word at {path} is final"


def _with_a_new_word(stand: Stand, name: str) -> list[tuple[str, Wire]]:
    """Wires whose lookup answer has an unknown word in one of its status fields."""
    wire, made = stand.wire(name), []
    place = next(at for at, (sample, _) in enumerate(wire.answers) if not stand.is_token(sample))
    whole = json.loads(wire.answers[place][1])
    for path in status_fields(whole):
        changed = json.loads(wire.answers[place][1])
        inner = changed
        for step in path[:-1]:
            inner = inner[step]
        inner[path[-1]] = "levitating"
        one = stand.wire(name)
        one.answers[place] = (one.answers[place][0], json.dumps(changed).encode())
        made.append(("/".join(map(str, path)), one))
    return made


def status_fields(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The fields of an answer that hold a payment's status as a word."""
    found = []
    for name, inner in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        if name == "status" and isinstance(inner, str):
            found.append((*path, name))
        found += status_fields(inner, (*path, name))
    return found


@check(READING)
async def another_payments_answer_is_not_ours(stand: Stand) -> None:
    """An answer about another payment is not accepted."""
    outcome = await read(stand, "paid", reference=OTHER_REFERENCE, transaction="other-9")
    assert not isinstance(outcome, Succeeded | Declined), f"another payment's answer is accepted: {outcome!r}"


@check(READING)
async def kept_answers_are_clean(stand: Stand) -> None:
    """The stored copy of an answer is JSON without the fields that the handler declares as secret."""
    redacted = stand.fixture.handler.redacted
    for name in ("created", "paid", "declined", "pending"):
        handler = stand.handler(stand.wire(name))
        outcome: Any = await (
            handler.create_payment_intent(stand.creation())
            if name == "created"
            else handler.confirm_payment(stand.question())
        )
        _assert_clean(getattr(outcome, "response", None), redacted)


@check(READING, only=declares_identifiers)
async def declared_identifiers_are_found(stand: Stand) -> None:
    """Every kind of identifier that the handler declares occurs in the stored copy of a sample answer or webhook."""
    handler, kept = stand.fixture.handler, []
    for name in ("created", "paid"):
        built: Any = stand.handler(stand.wire(name))
        call = (
            built.create_payment_intent(stand.creation())
            if name == "created"
            else built.confirm_payment(stand.question())
        )
        kept.append(getattr(await call, "response", None))
    for name in stand.fixture.deliveries:
        told = stand.handler(stand.wire()).process_webhook(stand.fixture.delivery(name))
        kept += [getattr(fact.outcome, "response", None) for fact in told.facts if isinstance(fact, PaymentFact)]
    # Only some payments have these.
    kept += [stand.fixture.filled(sample.body, stand.first) for sample in stand.fixture.answers.get("identified", ())]
    found = {kind for response in kept for kind in handler.read_identifiers(response)}
    missing = sorted(set(handler.identifiers) - found)
    assert not missing, f'no sample has {", ".join(missing)}; the sample "identified" can be an answer as it is stored'


def _assert_clean(value: Any, redacted: frozenset[str]) -> None:
    if isinstance(value, dict):
        for field, inner in value.items():
            assert field not in redacted or inner == "[removed]", f"{field} would be stored"
            _assert_clean(inner, redacted)
    elif isinstance(value, list):
        for inner in value:
            _assert_clean(inner, redacted)


# ── Refunds ──


async def refunded(stand: Stand) -> tuple[Any, list[Asked]]:
    """Start a refund. Returns the outcome and the requests that contain its reference."""
    wire = stand.wire("refunded")
    outcome = await stand.handler(wire).refund_payment(stand.refund())
    return outcome, [one for one in wire.payments if REFUND in one.text]


@check(REFUNDS, verb="refund_payment")
async def a_refund_is_sent_once_under_its_reference(stand: Stand) -> None:
    """One request starts a refund, with the refund's own reference, so that a lookup can find it after a lost answer."""
    _, asked = await refunded(stand)
    assert len(asked) == 1, f"{len(asked)} requests contain the refund's reference"
    _, again = await refunded(stand)
    assert asked == again, "the same refund produces two different requests"


@check(REFUNDS, verb="refund_payment")
async def a_refund_is_read(stand: Stand) -> None:
    """An accepted refund is ``Succeeded`` or ``Pending``, with the amount and the provider's id of the refund."""
    outcome, _ = await refunded(stand)
    assert isinstance(outcome, Succeeded | Pending), f"an accepted refund is {outcome!r}"
    assert outcome.amount == stand.first.money, f"the refund is read as {outcome.amount}"
    assert outcome.provider_transaction_id == stand.fixture.refund_id, "the refund's id is lost"


@check(REFUNDS, verb="refund_payment")
async def refund_amounts_are_sent_exactly(stand: Stand) -> None:
    """A partial refund requests its own amount."""
    other = stand.fixture.examples[1]
    wire = stand.wire("refunded", example=other)
    asked = stand.refund()
    partial = type(asked)(asked.reference, asked.payment_reference, asked.provider_transaction_id, other.money, False)
    await stand.handler(wire).refund_payment(partial)
    body = next(one.body.decode() for one in wire.payments if REFUND in one.text)
    assert re.search(rf"(?<![0-9.]){re.escape(other.sent)}(?![0-9])", body), f"{other.money} is not in the request"


@check(REFUNDS, verb="lookup_refund")
async def a_missing_refund_is_not_found(stand: Stand) -> None:
    """A lookup of a refund that the provider does not have returns "not found" and creates none."""
    wire = stand.wire("refund_missing")
    outcome = await stand.handler(wire).lookup_refund(stand.lost_refund())
    assert isinstance(outcome, NotSent), f"a refund that was never created is {outcome!r}"
    assert outcome.reason is Reason.not_found, f"a refund that was never created is {outcome.reason}"
    assert all(one.method == "GET" for one in wire.payments), "a late lookup started a refund"


# ── Captures ──


@check(OPERATIONS, verb="capture_payment")
async def a_hold_is_no_money(stand: Stand) -> None:
    """An authorized payment is authorized, not paid, and has its amount."""
    outcome = await read(stand, "authorized")
    assert isinstance(outcome, Succeeded), f"an authorized payment is {outcome!r}"
    assert outcome.authorized_only, "an authorization is read as paid"
    assert outcome.amount == stand.first.money, f"the authorized amount is read as {outcome.amount}"


@check(OPERATIONS, verb="capture_payment")
async def a_capture_is_money(stand: Stand) -> None:
    """A captured payment is ``Succeeded``, with the captured amount."""
    outcome = await stand.handler(stand.wire("captured")).capture_payment(stand.operation(True))
    assert isinstance(outcome, Succeeded), f"a captured payment is {outcome!r}"
    assert not outcome.authorized_only, "a capture is read as authorized only"
    assert outcome.amount == stand.first.money, f"the captured amount is read as {outcome.amount}"


@check(OPERATIONS, verb="cancel_payment")
async def a_cancel_is_final(stand: Stand) -> None:
    """A canceled payment is ``Declined``, final and canceled."""
    outcome = await stand.handler(stand.wire("canceled")).cancel_payment(stand.operation(False))
    assert isinstance(outcome, Declined), f"a canceled payment is {outcome!r}"
    assert outcome.final, "a canceled payment could still be paid"
    assert outcome.reason in (Reason.canceled, Reason.expired), f"the reason is {outcome.reason}"


# ── Listings ──


@check(LISTS, verb="list_transactions")
async def transactions_are_listed(stand: Stand) -> None:
    """A listing contains the payment with its reference or id, its amount, and a cursor that is text or None."""
    page = await stand.handler(stand.wire("transactions")).list_transactions(0, stand.fixture.now_s)
    assert isinstance(page, Page), f"a listing is {page!r}"
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
    page = await stand.handler(stand.wire("refunds")).list_refunds(0, stand.fixture.now_s)
    assert isinstance(page, Page), f"a listing is {page!r}"
    assert [fact.provider_refund_id for fact in page.facts] == [stand.fixture.refund_id], (
        "the refund is not in the listing"
    )
    [fact] = page.facts
    assert fact.state in ("pending", "requires_action", "succeeded", "failed", "unknown"), (
        f"{fact.state} is not a state of a refund"
    )
    names_payment = fact.provider_transaction_id == stand.fixture.transaction_id
    assert fact.payment_reference or fact.provider_charge_id or names_payment, "the refund does not name its payment"


@check(LISTS, verb="list_disputes")
async def disputes_are_listed(stand: Stand) -> None:
    """A listing of disputes gives the id and the payment of each dispute."""
    page = await stand.handler(stand.wire("disputes")).list_disputes(0, stand.fixture.now_s)
    assert isinstance(page, Page), f"a listing is {page!r}"
    assert page.facts, "the dispute is not in the listing"
    for fact in page.facts:
        assert fact.provider_dispute_id, "the dispute has no id"
        assert fact.payment_reference or fact.provider_transaction_id or fact.provider_charge_id, "it names no payment"


@check(LISTS, verb="get_balance")
async def the_balance_is_money(stand: Stand) -> None:
    """A balance has the example's amount in its currency."""
    found = await stand.handler(stand.wire("balance")).get_balance()
    assert isinstance(found, Balance), f"a balance is {found!r}"
    assert stand.first.money in found.available, f"{stand.first.money} is not in {found}"
