"""What the Stripe handler sends, byte for byte, and what it makes of the answers; amounts, catalog and keys."""

import re
from dataclasses import replace
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from tests.providers import scripted
from tests.providers.stripe_objects import Json, intent, refund

from polytill.domain.clock import World
from polytill.domain.currencies import CURRENCIES, exponent_of
from polytill.domain.errors import InvalidAmount
from polytill.domain.money import Money, from_major
from polytill.domain.secret import Secret
from polytill.domain.states import CaptureMode, Environment
from polytill.providers.contract import (
    ConfirmPaymentParams,
    CreatePaymentParams,
    Customer,
    LookupParams,
    OperationParams,
    Page,
    ProviderConfig,
    RefundLookupParams,
    RefundParams,
)
from polytill.providers.http import AnswerLost, ConnectionNotMade, Http
from polytill.providers.outcomes import Declined, NeedsAction, NextKind, NotSent, Pending, Reason, Succeeded, Unknown
from polytill.providers.stripe.handler import API_VERSION, MAX_PAGES, StripeProvider
from polytill.providers.stripe.terms import money_of, wire_amount, wire_exponent

NOW = 1_800_000_000
DAY = 86_400


class Script(scripted.Script):
    repeats = True

    @property
    def calls(self) -> list[str]:
        return [unquote(call.replace("https://api.stripe.com", "", 1)) for call in super().calls]

    def query(self, index: int) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.requests[index][1]).query)


def handler(
    transport: Any = None, base: str = "https://api.stripe.com", key: str = "sk_test_12345678"
) -> StripeProvider:
    config = ProviderConfig(Environment.sandbox, base, "pk_test_12345678", Secret(key))
    return StripeProvider(config, Http(transport), World(time_s=lambda: NOW))


def error(code: str | None = None, kind: str = "invalid_request_error", message: str = "No.", **more: Any) -> Json:
    return {"error": {"type": kind, "message": message, **({"code": code} if code else {}), **more}}


def listed(*items: Json, has_more: bool = False) -> Json:
    return {"object": "list", "data": list(items), "has_more": has_more}


def create(**more: Any) -> CreatePaymentParams:
    params = CreatePaymentParams(
        "att-1", "pay-1", Money(1050, "USD"), Customer("a+b@example.com"), "https://x.example/back"
    )
    return replace(params, **more)


def lookup(**more: Any) -> LookupParams:
    params = LookupParams("att-1", None, Money(1050, "USD"), create(), 30.0, NOW - 30)
    return replace(params, **more)


REPLAYED = {"idempotent-replayed": "true"}
FAILED_FOR_GOOD = (500, error(kind="api_error"), REPLAYED)


# ── Requests ──


async def test_create_sends_exactly_this() -> None:
    script = Script((200, intent()))
    params = create(description="Check-up & Co", metadata={"tenant": "t 1", "a": "1", "none": ""})
    outcome = await handler(script).create_payment_intent(params)
    assert isinstance(outcome, NeedsAction)
    assert outcome.action is not None
    assert outcome.action.kind is NextKind.client_token
    assert outcome.action.provider_token == Secret("pi_1_secret_x")
    assert outcome.provider_transaction_id == "pi_1"
    assert script.requests == [
        (
            "POST",
            "https://api.stripe.com/v1/payment_intents",
            {
                "Authorization": "Bearer sk_test_12345678",
                "Accept": "application/json",
                "Stripe-Version": "2026-10-28.endive",
                "Content-Type": "application/x-www-form-urlencoded",
                "Idempotency-Key": "att-1",
            },
            b"amount=1050&currency=usd&capture_method=automatic&description=Check-up+%26+Co"
            b"&receipt_email=a%2Bb%40example.com&metadata[a]=1&metadata[polytill_attempt]=att-1"
            b"&metadata[polytill_payment]=pay-1&metadata[tenant]=t+1",
        )
    ]


async def test_create_with_a_method_and_manual_capture() -> None:
    for method, sent in (("card", "card"), ("apple_pay", "card"), ("sepa_debit", "sepa_debit")):
        script = Script((200, intent()))
        await handler(script).create_payment_intent(
            create(method=method, capture=CaptureMode.manual, customer=Customer())
        )
        body = script.requests[0][3]
        assert body is not None
        assert parse_qs(body.decode()) == {
            "amount": ["1050"],
            "currency": ["usd"],
            "capture_method": ["manual"],
            "allowed_payment_method_types[0]": [sent],
            "metadata[polytill_attempt]": ["att-1"],
            "metadata[polytill_payment]": ["pay-1"],
        }


async def test_no_caller_can_overwrite_our_marks() -> None:
    script = Script((200, intent()))
    await handler(script).create_payment_intent(create(metadata={"polytill_attempt": "another"}))
    assert b"another" not in (script.requests[0][3] or b"")


@pytest.mark.parametrize(
    "base", ["http://127.0.0.1:8429/stripe", "http://127.0.0.1:8429/stripe/", "http://127.0.0.1:8429/stripe/v1/"]
)
async def test_base_address(base: str) -> None:
    script = Script((200, intent()))
    await handler(script, base).create_payment_intent(create())
    assert script.requests[0][1] == "http://127.0.0.1:8429/stripe/v1/payment_intents"


async def test_every_post_has_its_own_key() -> None:
    script = Script((200, intent("canceled")))
    provider, amount = handler(script), Money(1050, "USD")
    await provider.create_payment_intent(create())
    for method in ("pm_1", "pm_2", "pm_1"):
        await provider.confirm_payment(ConfirmPaymentParams("att-1", "pi_1", amount, method, "https://x.example"))
    await provider.capture_payment(OperationParams("op-1", "att-1", "pi_1", Money(700, "USD")))
    await provider.cancel_payment(OperationParams("op-2", "att-1", "pi_1"))
    await provider.refund_payment(RefundParams("ref-1", "att-1", "pi_1", amount, True, "requested_by_customer"))
    keys = [headers["Idempotency-Key"] for _, _, headers, _ in script.requests]
    assert keys[1] == keys[3]  # the same payment method twice is a repeat
    assert len({*keys}) == 6
    assert [keys[0], *keys[4:]] == ["att-1", "op-1", "op-2", "ref-1"]
    assert all(len(key) <= 255 and re.fullmatch(r"[\w-]+", key) for key in keys)
    assert {headers["Stripe-Version"] for _, _, headers, _ in script.requests} == {API_VERSION}
    expand = "expand[]=latest_charge.balance_transaction"
    back = "return_url=https%3A%2F%2Fx.example"
    sent = [f"{call} {(sent[3] or b'').decode()}" for call, sent in zip(script.calls, script.requests, strict=True)]
    assert sent[1:] == [
        f"POST /v1/payment_intents/pi_1/confirm payment_method=pm_1&{back}&{expand}",
        f"POST /v1/payment_intents/pi_1/confirm payment_method=pm_2&{back}&{expand}",
        f"POST /v1/payment_intents/pi_1/confirm payment_method=pm_1&{back}&{expand}",
        f"POST /v1/payment_intents/pi_1/capture amount_to_capture=700&{expand}",
        "POST /v1/payment_intents/pi_1/cancel ",
        "POST /v1/refunds payment_intent=pi_1&amount=1050&reason=requested_by_customer"
        "&metadata[polytill_attempt]=att-1&metadata[polytill_refund]=ref-1",
    ]


async def test_a_reason_in_our_own_words_is_not_sent() -> None:
    script = Script((200, refund()))
    await handler(script).refund_payment(RefundParams("ref-1", "att-1", "pi_1", Money(500, "USD"), False, "was ill"))
    assert b"reason" not in (script.requests[0][3] or b"")


# ── The present truth ──


async def test_confirm_reads_the_fee_in_the_currency_of_settlement() -> None:
    entry = {"id": "txn_1", "amount": 1150, "fee": 64, "currency": "usd"}
    paid = intent("succeeded", currency="eur", amount_received=1000, latest_charge={"balance_transaction": entry})
    script = Script((200, paid))
    outcome = await handler(script).confirm_payment(ConfirmPaymentParams("att-1", "pi_1", Money(1050, "EUR")))
    assert script.calls == ["GET /v1/payment_intents/pi_1?expand[]=latest_charge.balance_transaction"]
    assert outcome == Succeeded(
        Money(1000, "EUR"), "pi_1", Money(64, "USD"), response={**paid, "client_secret": "[removed]"}
    )
    old = intent(
        "succeeded", latest_charge=None, charges={"data": [{"balance_transaction": {**entry, "currency": "jpy"}}]}
    )
    outcome = await handler(Script((200, old))).confirm_payment(ConfirmPaymentParams("a", "pi_1", Money(1050, "USD")))
    assert isinstance(outcome, Succeeded)
    assert (outcome.amount, outcome.fee) == (Money(1050, "USD"), Money(64, "JPY"))


async def state(data: Json) -> Any:
    script = Script((200, data))
    return await handler(script).confirm_payment(ConfirmPaymentParams("att-1", "pi_1", Money(1050, "USD")))


async def test_statuses() -> None:
    for word in ("requires_payment_method", "requires_confirmation", "requires_source"):
        outcome = await state(intent(word))
        assert isinstance(outcome, NeedsAction)
        assert outcome.last_decline is None
        assert (outcome.amount, outcome.action and outcome.action.kind) == (Money(1050, "USD"), NextKind.client_token)
    problem = {"code": "card_declined", "decline_code": "insufficient_funds", "message": "Your card has…"}
    outcome = await state(intent(last_payment_error=problem))
    assert outcome.last_decline == Declined(
        Reason.insufficient_funds, False, "insufficient_funds", "Your card has…", "pi_1"
    )
    url = "https://hooks.stripe.com/x"
    outcome = await state(intent("requires_action", next_action={"redirect_to_url": {"url": url}}))
    assert (outcome.action.kind, outcome.action.url) == (NextKind.redirect, url)
    assert outcome.action.provider_token.reveal() == "pi_1_secret_x"
    assert url not in str(outcome.response)
    outcome = await state(intent("requires_payment_method", next_action={"redirect_to_url": {"url": url}}))
    assert outcome.action.kind is NextKind.client_token  # the redirect of a try that is over leads nowhere
    outcome = await state(intent("requires_action", next_action={"type": "use_stripe_sdk", "use_stripe_sdk": {}}))
    assert outcome.action.kind is NextKind.client_token
    assert (await state(intent("requires_action", client_secret=None))).action is None
    kept = intent("requires_action", client_secret="[removed]")  # as in a stored webhook
    assert (await state(kept)).action is None
    assert isinstance(await state(intent("processing")), Pending)
    outcome = await state(intent("requires_capture", amount_capturable=900, amount_received=0))
    assert (outcome.amount, outcome.authorized_only) == (Money(900, "USD"), True)
    assert (await state(intent("succeeded", amount_received=700))).amount == Money(700, "USD")
    assert (await state(intent("succeeded"))).amount == Money(1050, "USD")
    for why in ("abandoned", "requested_by_customer", None, "automatic", "expired"):
        reason = Reason.expired if why in ("automatic", "expired") else Reason.canceled
        outcome = await state(intent("canceled", cancellation_reason=why))
        assert (outcome.reason, outcome.final) == (reason, True)


@pytest.mark.parametrize(
    "data",
    [
        intent("a_new_word"),
        intent("succeeded", amount=10.5),
        intent("succeeded", currency="zzz"),
        intent("succeeded", amount_received=-1),
        intent("succeeded", id="pi_2"),
        {"object": "list", "data": []},
    ],
)
async def test_what_cannot_be_read_is_unknown(data: Json) -> None:
    outcome = await state(data)
    assert isinstance(outcome, Unknown)
    assert outcome.reason is Reason.unreadable


async def test_confirm_without_an_id_asks_nobody() -> None:
    script = Script((200, intent()))
    outcome = await handler(script).confirm_payment(ConfirmPaymentParams("att-1", None, Money(1050, "USD")))
    assert isinstance(outcome, Unknown)
    assert not script.requests


# ── Lost answers ──


async def test_lookup_is_the_same_request_again() -> None:
    # A replay is the first answer, as things stood then: what holds now is read under the id that it tells.
    first, again = Script((200, intent())), Script((200, intent(), REPLAYED), (200, intent("processing")))
    params = create(method="card", description="Größe ✓", metadata={"b": "2", "a": "1"})
    await handler(first).create_payment_intent(params)
    # What comes back from a database may have another order.
    outcome = await handler(again).lookup_payment(lookup(create=replace(params, metadata={"a": "1", "b": "2"})))
    assert first.requests == again.requests[:1]
    assert again.calls[1].startswith("GET /v1/payment_intents/pi_1")
    assert isinstance(outcome, Pending)
    assert outcome.provider_transaction_id == "pi_1"


async def test_lookup_after_a_replayed_failure_reads_the_list_to_its_end() -> None:
    others = [intent(id="pi_8", metadata={}), intent(id="pi_9", metadata={"polytill_attempt": "att-9"})]
    script = Script(FAILED_FOR_GOOD, (200, listed(*others, has_more=True)), (200, listed(intent("processing"))))
    outcome = await handler(script).lookup_payment(lookup())
    assert isinstance(outcome, Pending)
    assert [call.split("?")[0] for call in script.calls] == [
        "POST /v1/payment_intents",
        "GET /v1/payment_intents",
        "GET /v1/payment_intents",
    ]
    window = {"created[gte]": [str(NOW - 630)], "created[lte]": [str(NOW - 30 + 23 * 3600 + 600)], "limit": ["100"]}
    assert script.query(1) == window
    assert script.query(2) == {**window, "starting_after": ["pi_9"]}


async def test_lookup_finds_nothing() -> None:
    others = 200, listed(intent(metadata={"polytill_attempt": "att-11"}))
    outcome = await handler(Script(FAILED_FOR_GOOD, others, others)).lookup_payment(lookup())
    assert isinstance(outcome, NotSent)
    assert outcome.reason is Reason.not_found
    half = await handler(Script(FAILED_FOR_GOOD, others, (503, {}))).lookup_payment(lookup())
    assert isinstance(half, Unknown)


async def test_lookup_looks_beyond_what_a_wrong_clock_says() -> None:
    """Who made the call may have had a clock that was a day wrong: Stripe files it under its own time."""
    script = Script(FAILED_FOR_GOOD, (200, listed()), (200, listed(intent("processing"))))
    assert isinstance(await handler(script).lookup_payment(lookup()), Pending)
    assert script.query(2)["created[gte]"] == [str(NOW - 30 - 2 * DAY)]
    assert script.query(2)["created[lte]"] == [str(NOW - 30 + 23 * 3600 + 2 * DAY)]


async def test_lookup_outside_the_window_repeats_nothing() -> None:
    script = Script((200, listed()), (200, listed()))
    outcome = await handler(script).lookup_payment(lookup(age_s=DAY, created_at_s=0))
    assert isinstance(outcome, NotSent)
    assert [sent[0] for sent in script.requests] == ["GET", "GET"]
    assert script.query(0)["created[gte]"] == [str(NOW - DAY - 600)]
    at_the_edge = Script((200, listed()), (200, listed()))
    await handler(at_the_edge).lookup_payment(lookup(age_s=23 * 3600))
    assert [sent[0] for sent in at_the_edge.requests] == ["GET", "GET"]
    without_the_call = Script((200, listed(intent())))
    assert isinstance(await handler(without_the_call).lookup_payment(lookup(create=None)), NeedsAction)


async def test_lookup_whose_bytes_differ_reads_the_list() -> None:
    script = Script((400, error(kind="idempotency_error")), (200, listed(intent())))
    assert isinstance(await handler(script).lookup_payment(lookup()), NeedsAction)


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ([(500, error(kind="api_error"))], Reason.provider_unavailable),
        ([(409, error("idempotency_key_in_use", "idempotency_error"))], Reason.conflict),
        ([(401, error())], Reason.config),
        ([(404, error("resource_missing"))], Reason.not_found),
        ([(429, error("rate_limit"))], Reason.rate_limited),
        ([ConnectionNotMade()], Reason.unreachable),
        ([AnswerLost()], Reason.timeout),
        ([FAILED_FOR_GOOD, (401, error())], Reason.config),
        ([FAILED_FOR_GOOD, (429, error())], Reason.rate_limited),
        ([FAILED_FOR_GOOD, ConnectionNotMade()], Reason.unreachable),
        ([FAILED_FOR_GOOD, (200, listed(has_more=True))], Reason.unreadable),
    ],
)
async def test_a_lookup_that_fails_proves_nothing(answers: list[Any], reason: Reason) -> None:
    script = Script(*answers)
    outcome = await handler(script).lookup_payment(lookup())
    assert isinstance(outcome, Unknown)
    assert outcome.reason is reason
    assert len(script.requests) == len(answers)


async def test_a_list_without_end_proves_nothing() -> None:
    script = Script(FAILED_FOR_GOOD, (200, listed(intent(metadata={}), has_more=True)))
    outcome = await handler(script).lookup_payment(lookup())
    assert isinstance(outcome, Unknown)
    assert len(script.requests) == 1 + MAX_PAGES


async def test_a_repeat_that_is_refused_proves_that_the_first_was_not_executed() -> None:
    outcome = await handler(Script((400, error("amount_too_small")))).lookup_payment(lookup())
    assert isinstance(outcome, NotSent)
    assert outcome.reason is Reason.amount_too_small


async def test_lookup_with_an_id_reads_it() -> None:
    script = Script((200, intent("succeeded")))
    assert isinstance(await handler(script).lookup_payment(lookup(provider_transaction_id="pi_1")), Succeeded)
    assert script.calls == ["GET /v1/payment_intents/pi_1?expand[]=latest_charge.balance_transaction"]
    gone = Script((404, error("resource_missing")))
    assert isinstance(await handler(gone).lookup_payment(lookup(provider_transaction_id="pi_1")), Unknown)


def refund_lookup(**more: Any) -> RefundLookupParams:
    params = RefundLookupParams(
        "ref-1", "att-1", "pi_1", None, Money(500, "USD"), False, "duplicate", age_s=30, created_at_s=NOW - 30
    )
    return replace(params, **more)


async def test_lookup_of_a_refund() -> None:
    first, again = Script((200, refund())), Script((200, refund("pending"), REPLAYED), (200, refund("failed")))
    await handler(first).refund_payment(RefundParams("ref-1", "att-1", "pi_1", Money(500, "USD"), False, "duplicate"))
    assert isinstance(await handler(again).lookup_refund(refund_lookup()), Declined)
    assert (first.requests, again.calls[1]) == (again.requests[:1], "GET /v1/refunds/re_1")

    known = Script((200, refund()))
    outcome = await handler(known).lookup_refund(refund_lookup(provider_refund_id="re_1"))
    assert (known.calls, isinstance(outcome, Succeeded)) == (["GET /v1/refunds/re_1"], True)

    other = refund(id="re_0", metadata={})
    script = Script(FAILED_FOR_GOOD, (200, listed(other, has_more=True)), (200, listed(refund())))
    outcome = await handler(script).lookup_refund(refund_lookup())
    assert isinstance(outcome, Succeeded)
    assert outcome.provider_transaction_id == "re_1"
    assert script.query(2) == {"payment_intent": ["pi_1"], "limit": ["100"], "starting_after": ["re_0"]}

    late = Script((200, listed(other)))
    assert isinstance(await handler(late).lookup_refund(refund_lookup(age_s=DAY)), NotSent)
    assert late.calls == ["GET /v1/refunds?payment_intent=pi_1&limit=100"]
    assert isinstance(
        await handler(Script((404, error()))).lookup_refund(refund_lookup(provider_refund_id="re_1")), Unknown
    )
    assert isinstance(
        await handler(Script((200, {}))).lookup_refund(refund_lookup(provider_transaction_id=None)), Unknown
    )


async def test_refund_states() -> None:
    async def made(data: Json) -> Any:
        return await handler(Script((200, data))).refund_payment(
            RefundParams("ref-1", "att-1", "pi_1", Money(500, "USD"), False)
        )

    assert (await made(refund())).amount == Money(500, "USD")
    assert isinstance(await made(refund("pending")), Pending)
    assert (await made(refund("requires_action"))).action.kind is NextKind.instructions
    failed = await made(refund("failed", failure_reason="lost_or_stolen_card"))
    assert (failed.final, failed.code, failed.provider_transaction_id) == (True, "lost_or_stolen_card", "re_1")
    assert (await made(refund("canceled"))).reason is Reason.canceled
    assert isinstance(await made(refund("new")), Unknown)
    assert isinstance(await made(refund(amount="x")), Unknown)
    without = RefundParams("ref-1", "att-1", None, Money(500, "USD"), False)
    assert isinstance(await handler(Script((200, refund()))).refund_payment(without), NotSent)


# ── Capture and cancel ──


async def test_an_unexpected_state_is_read_again() -> None:
    refused = (400, error("payment_intent_unexpected_state", payment_intent=intent("processing")))
    for verb in ("capture", "cancel"):
        script = Script(refused, (200, intent("succeeded", amount_received=1050)))
        operation = OperationParams("op-1", "att-1", "pi_1")
        outcome = await getattr(handler(script), f"{verb}_payment")(operation)
        assert isinstance(outcome, Succeeded)
        assert script.calls == [
            f"POST /v1/payment_intents/pi_1/{verb}",
            "GET /v1/payment_intents/pi_1?expand[]=latest_charge.balance_transaction",
        ]
        # The refusal is certain even where the truth is not to be had just now.
        outcome = await getattr(handler(Script(refused, AnswerLost())), f"{verb}_payment")(operation)
        assert isinstance(outcome, NotSent)
        assert outcome.reason is Reason.invalid_state
        outcome = await getattr(handler(script), f"{verb}_payment")(OperationParams("op-1", "att-1", None))
        assert isinstance(outcome, NotSent)


async def test_capture_of_a_part_and_cancel() -> None:
    script = Script((200, intent("succeeded", amount_received=700)))
    outcome = await handler(script).capture_payment(OperationParams("op", "att-1", "pi_1", Money(700, "USD")))
    assert isinstance(outcome, Succeeded)
    assert outcome.amount == Money(700, "USD")
    outcome = await handler(Script((200, intent("canceled")))).cancel_payment(OperationParams("op", "a", "pi_1"))
    assert isinstance(outcome, Declined)
    assert outcome.final


# ── Errors ──


@pytest.mark.parametrize(
    ("status", "answer", "expected"),
    [
        (400, error("parameter_missing"), NotSent(Reason.validation, "parameter_missing", "No.")),
        (400, error("amount_too_small"), NotSent(Reason.amount_too_small, "amount_too_small", "No.")),
        (400, error("amount_too_large"), NotSent(Reason.amount_too_large, "amount_too_large", "No.")),
        (
            400,
            error(message="Invalid currency: abc."),
            NotSent(Reason.currency_not_supported, None, "Invalid currency: abc."),
        ),
        (
            400,
            error("payment_method_types_no_longer_supported"),
            NotSent(Reason.integrator_bug, "payment_method_types_no_longer_supported", "No."),
        ),
        (400, error("resource_missing"), NotSent(Reason.not_found, "resource_missing", "No.")),
        (
            404,
            error("resource_missing", message="No such x; a similar object exists in live mode, but a test key…"),
            NotSent(
                Reason.config, "resource_missing", "No such x; a similar object exists in live mode, but a test key…"
            ),
        ),
        (400, error(kind="idempotency_error"), Unknown(Reason.duplicate, "idempotency_error", "No.")),
        (401, error(), NotSent(Reason.config, "401", "No.")),
        (403, error("more_permissions_required"), NotSent(Reason.config, "more_permissions_required", "No.")),
        (403, error(), NotSent(Reason.config, "403", "No.")),
        (404, error(), NotSent(Reason.not_found, None, "No.")),
        (409, error("idempotency_key_in_use"), Unknown(Reason.conflict, "idempotency_key_in_use", "No.")),
        (424, error(), Unknown(Reason.provider_unavailable, "424", "No.")),
        (500, error(kind="api_error"), Unknown(Reason.provider_unavailable, "500", "No.")),
        (503, {}, Unknown(Reason.provider_unavailable, "503", None)),
        (302, {}, Unknown(Reason.unreadable, "302", "The provider's answer could not be read.")),
        (200, {}, Unknown(Reason.unreadable, "200", "Stripe's answer could not be read.")),
        (
            400,
            {"error": "text"},
            NotSent(Reason.unreadable, "400", "What refused the call does not speak as Stripe does."),
        ),
    ],
)
async def test_errors(status: int, answer: Json, expected: NotSent | Unknown) -> None:
    assert await handler(Script((status, answer))).create_payment_intent(create()) == expected


@pytest.mark.parametrize(
    ("code", "decline", "reason", "shown"),
    [
        ("card_declined", "generic_decline", Reason.declined, "generic_decline"),
        ("card_declined", "insufficient_funds", Reason.insufficient_funds, "insufficient_funds"),
        ("card_declined", "something_new", Reason.declined, "something_new"),
        ("expired_card", None, Reason.expired_card, "expired_card"),
        ("incorrect_cvc", None, Reason.incorrect_details, "incorrect_cvc"),
        (
            "authentication_required",
            "authentication_required",
            Reason.authentication_required,
            "authentication_required",
        ),
        ("card_declined", "fraudulent", Reason.declined, "generic_decline"),
        ("card_declined", "stolen_card", Reason.declined, "generic_decline"),
        ("card_declined", "lost_card", Reason.declined, "generic_decline"),
        ("card_declined", "merchant_blacklist", Reason.declined, "generic_decline"),
        ("card_declined", "pickup_card", Reason.declined, "generic_decline"),
    ],
)
async def test_declines(code: str, decline: str | None, reason: Reason, shown: str) -> None:
    more = {"decline_code": decline} if decline else {}
    answer = error(code, "card_error", f"Declined: {decline}", payment_intent=intent(), **more)
    confirm = ConfirmPaymentParams("att-1", "pi_1", Money(1050, "USD"), "pm_1")
    outcome = await handler(Script((402, answer))).confirm_payment(confirm)
    assert isinstance(outcome, Declined)
    assert (outcome.reason, outcome.final, outcome.code) == (reason, False, shown)
    assert outcome.provider_transaction_id == "pi_1"
    assert "pi_1_secret_x" not in str(outcome.response)
    if shown != decline and decline:
        assert decline not in str(outcome.detail)


# ── Credentials and listing ──


async def test_credentials() -> None:
    async def tested(status: int, data: Json, key: str = "sk_test_12345678") -> tuple[bool, Environment | None]:
        rest = ((400, error()),) * 5  # whatever else is asked cannot be told
        test = await handler(Script((status, data), *rest), key=key).test_credentials()
        assert key not in test.detail
        return test.ok, test.environment

    balance = {"object": "balance", "livemode": True}
    assert await tested(200, balance) == (True, Environment.production)
    assert await tested(200, {"object": "balance"}, "rk_live_12345678") == (True, Environment.production)
    assert await tested(403, error(), "rk_test_12345678") == (True, Environment.sandbox)
    assert await tested(403, error()) == (False, None)
    assert await tested(401, error()) == (False, None)
    assert await tested(500, error()) == (False, None)
    assert not (await handler(Script(ConnectionNotMade())).test_credentials()).ok


async def test_listing() -> None:
    script = Script((200, listed(intent("succeeded"), intent("canceled", id="pi_2", metadata={}))))
    facts = await handler(script).list_transactions(10, 20, "pi_0")
    assert isinstance(facts, Page)
    assert [(fact.provider_transaction_id, fact.reference) for fact in facts.facts] == [
        ("pi_1", "att-1"),
        ("pi_2", None),
    ]
    assert script.calls == [
        "GET /v1/payment_intents?created[gte]=10&created[lte]=20&limit=100"
        "&starting_after=pi_0&expand[]=data.latest_charge.balance_transaction"
    ]
    assert isinstance(await handler(Script((401, error()))).list_transactions(10, 20), NotSent)
    assert isinstance(await handler(Script((402, error()))).list_transactions(10, 20), Unknown)


# ── Amounts ──


@pytest.mark.parametrize(
    ("major", "currency", "wire"),
    [
        ("10.50", "USD", 1050),
        ("0.50", "EUR", 50),
        ("500", "JPY", 500),
        ("5", "UGX", 500),
        ("1500", "ISK", 150000),
        ("5.120", "KWD", 5120),
        ("5.120", "TND", 5120),
        ("250", "XOF", 250),
        ("7", "MGA", 7),
        ("100.25", "HUF", 10025),
        ("12", "RWF", 12),
        ("99.99", "TWD", 9999),
    ],
)
def test_amounts(major: str, currency: str, wire: int) -> None:
    money = Money(from_major(major, currency), currency)
    assert wire_amount(money) == wire
    assert money_of(wire, currency.lower()) == money


@pytest.mark.parametrize(("major", "currency"), [("5.124", "KWD"), ("0.001", "BHD"), ("1.50", "MGA")])
async def test_amounts_that_stripe_has_no_number_for(major: str, currency: str) -> None:
    money, script = Money(from_major(major, currency), currency), Script((200, intent()))
    with pytest.raises(InvalidAmount):
        wire_amount(money)
    provider = handler(script)
    for outcome in (
        await provider.create_payment_intent(create(amount=money)),
        await provider.refund_payment(RefundParams("ref-1", "att-1", "pi_1", money, False)),
        await provider.capture_payment(OperationParams("op-1", "att-1", "pi_1", money)),
        await provider.lookup_payment(lookup(create=create(amount=money))),
    ):
        assert isinstance(outcome, NotSent)
        assert outcome.reason is Reason.validation
    assert not script.requests


@pytest.mark.parametrize(
    ("value", "currency"),
    [(550, "ugx"), (1, "isk"), (-1, "usd"), (True, "usd"), (Decimal("1.5"), "usd"), ("", "usd"), (1, "abc"), (1, None)],
)
def test_numbers_that_are_no_amounts(value: Any, currency: Any) -> None:
    with pytest.raises(InvalidAmount):
        money_of(value, currency)


def test_every_currency_there_and_back() -> None:
    for code in CURRENCIES:
        for major in (1, 7, 120, 99_999):
            money = Money(major * 10 ** exponent_of(code), code)
            assert money_of(wire_amount(money), code.lower()) == money
            assert wire_amount(money) == major * 10 ** wire_exponent(code)


def test_catalog() -> None:
    terms = StripeProvider.catalog.currencies
    assert (len(terms), "ANG" in terms, "KWD" in terms) == (129, False, False)
    assert [code for code, one in terms.items() if one.recommended] == ["EUR", "GBP", "USD"]
    usd, jpy, mga, ugx = terms["USD"], terms["JPY"], terms["MGA"], terms["UGX"]
    assert (usd.percent_ppm, usd.fixed_minor, usd.min_minor, usd.max_minor) == (29_000, 30, 50, 99_999_999)
    assert (jpy.percent_ppm, jpy.fixed_minor, jpy.min_minor, jpy.max_minor) == (36_000, 0, 50, 99_999_999)
    assert (mga.min_minor, mga.max_minor, ugx.max_minor) == (None, 9_999_999_900, 999_999)
    assert (terms["HUF"].min_minor, terms["DKK"].min_minor) == (17_500, 250)
    for code, one in terms.items():
        digits = {"IDR": 12, "COP": 10, "INR": 9}.get(code, 8)
        assert len(str(wire_amount(Money(one.max_minor or 0, code)))) <= digits
    assert "card" in StripeProvider.catalog.methods


def test_the_webhook_secret_may_come_later() -> None:
    assert not StripeProvider.keys["webhookSecret"].required
