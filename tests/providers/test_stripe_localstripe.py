"""The Stripe handler against somebody else's idea of Stripe: localstripe, over real sockets."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import aiohttp
import pytest
from tests.providers.localstripe_server import REFUSED, Mailbox, Proxy, localstripe, proxied

from polytill.domain.clock import World
from polytill.domain.money import Money
from polytill.domain.secret import Secret
from polytill.domain.states import CaptureMode, Environment
from polytill.providers.contract import (
    ConfirmPaymentParams,
    CreatePaymentParams,
    Customer,
    LookupParams,
    OperationParams,
    Page,
    PaymentFact,
    ProviderConfig,
    RefundLookupParams,
    RefundParams,
)
from polytill.providers.http import AiohttpTransport, Http
from polytill.providers.outcomes import Declined, NeedsAction, NotSent, Outcome, Reason, Succeeded
from polytill.providers.stripe.handler import StripeProvider

SECRET = "whsec_0123456789abcdef"
DAY = 86_400
DECLINED_CARD = "pm_card_chargeCustomerFail"  # the one that localstripe declines when it is charged


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with localstripe() as address:
        yield address


@pytest.fixture
async def proxy(server: str) -> AsyncIterator[Proxy]:
    async with proxied(server) as running:
        yield running


@pytest.fixture
async def stripe(proxy: Proxy) -> AsyncIterator[StripeProvider]:
    transport = AiohttpTransport()
    key, secrets = Secret("sk_test_12345678"), (Secret(SECRET),)
    config = ProviderConfig(Environment.sandbox, proxy.address, "pk_test_12345678", key, secrets)
    yield StripeProvider(config, Http(transport), World())
    await transport.close()


def create(reference: str, minor: int = 10_00) -> CreatePaymentParams:
    return CreatePaymentParams(
        reference,
        f"payment-of-{reference}",
        Money(minor, "EUR"),
        Customer("a@example.com"),
        "https://practice.example/back",
        method="card",
        description="Check-up",
        metadata={"tenant": "t 1"},
    )


async def paid(
    stripe: StripeProvider, params: CreatePaymentParams, method: str = "pm_card_visa"
) -> tuple[str, Outcome]:
    """The intent's id, and what confirming it on the server answers."""
    created = await stripe.create_payment_intent(params)
    assert isinstance(created, NeedsAction)
    assert created.amount == params.amount
    assert created.provider_transaction_id is not None
    assert created.action is not None
    assert created.action.provider_token is not None
    assert created.action.provider_token.reveal().startswith(created.provider_transaction_id + "_secret_")
    confirm = ConfirmPaymentParams(
        params.reference, created.provider_transaction_id, params.amount, method, params.return_url
    )
    return created.provider_transaction_id, await stripe.confirm_payment(confirm)


async def test_a_payment_and_its_refunds(stripe: StripeProvider, proxy: Proxy) -> None:
    params = create("att-1")
    intent_id, outcome = await paid(stripe, params)
    assert isinstance(outcome, Succeeded)
    assert (outcome.amount, outcome.fee, outcome.authorized_only) == (Money(10_00, "EUR"), Money(0, "EUR"), False)
    outcome = await stripe.confirm_payment(ConfirmPaymentParams("att-1", intent_id, params.amount))
    assert isinstance(outcome, Succeeded)
    assert outcome.provider_transaction_id == intent_id

    part = RefundParams("ref-1", "att-1", intent_id, Money(3_50, "EUR"), False, "requested_by_customer")
    rest = replace(part, reference="ref-2", amount=Money(6_50, "EUR"))
    ids = set()
    for refund in (part, rest):
        made = await stripe.refund_payment(refund)
        assert isinstance(made, Succeeded)
        assert made.amount == refund.amount
        found = RefundLookupParams(refund.reference, "att-1", intent_id, None, refund.amount, False, age_s=DAY)
        again = await stripe.lookup_refund(found)
        by_id = await stripe.lookup_refund(replace(found, provider_refund_id=made.provider_transaction_id))
        assert made == again == by_id
        ids.add(made.provider_transaction_id)
    assert len(ids) == 2
    unknown = RefundLookupParams("ref-3", "att-1", intent_id, None, Money(1, "EUR"), False, age_s=DAY)
    missing = await stripe.lookup_refund(unknown)
    assert isinstance(missing, NotSent)

    used = {name for _, _, name in proxy.left_out}
    assert used == {"description", "receipt_email", "allowed_payment_method_types[0]", "return_url", "reason"}


async def test_a_declined_card(stripe: StripeProvider) -> None:
    _, outcome = await paid(stripe, create("att-2"), DECLINED_CARD)
    assert isinstance(outcome, Declined)
    assert (outcome.reason, outcome.code, outcome.final) == (Reason.declined, "card_declined", False)


async def test_an_authorization_is_captured_in_part_or_given_up(stripe: StripeProvider) -> None:
    for reference in ("att-3", "att-4"):
        intent_id, outcome = await paid(stripe, replace(create(reference), capture=CaptureMode.manual))
        assert isinstance(outcome, Succeeded)
        assert outcome.authorized_only
        operation = OperationParams(f"op-{reference}", reference, intent_id)
        if reference == "att-3":
            outcome = await stripe.capture_payment(replace(operation, amount=Money(7_00, "EUR")))
            # localstripe has neither amount_received nor amount_capturable: the whole amount is what it says.
            assert isinstance(outcome, Succeeded)
            assert not outcome.authorized_only
        else:
            outcome = await stripe.cancel_payment(operation)
            assert isinstance(outcome, Declined)
            assert (outcome.reason, outcome.final) == (Reason.canceled, True)


async def test_a_lost_answer_is_found_in_the_list(stripe: StripeProvider) -> None:
    lost = await stripe.create_payment_intent(create("att-5"))
    for number in range(120):  # more than a page
        await stripe.create_payment_intent(create(f"att-5-{number}"))
    lookup = LookupParams("att-5", None, Money(10_00, "EUR"), None, DAY, 1_800_000_000)
    found = await stripe.lookup_payment(lookup)
    assert isinstance(found, NeedsAction)
    assert found == lost
    late = await stripe.lookup_payment(replace(lookup, reference="att-5-119"))
    assert isinstance(late, NeedsAction)
    nothing = await stripe.lookup_payment(replace(lookup, reference="att-6"))
    assert isinstance(nothing, NotSent)
    assert nothing.reason is Reason.not_found


async def test_webhooks(stripe: StripeProvider, server: str) -> None:
    mailbox = Mailbox()
    async with mailbox.opened(server, SECRET):
        good, bad = await asyncio.gather(paid(stripe, create("att-7")), paid(stripe, create("att-8"), DECLINED_CARD))
        facts: dict[str | None, tuple[str | None, type]] = {}
        while not {"att-7", "att-8"} <= facts.keys():  # the events of earlier tests may still be on their way
            headers, body = await mailbox.next()
            assert stripe.validate_webhook(headers, body)
            assert not stripe.validate_webhook(headers, body + b" ")
            result = stripe.process_webhook(body)
            assert (result.action, result.environment) == ("apply", Environment.sandbox)
            (fact,) = result.facts
            assert isinstance(fact, PaymentFact)
            facts[fact.reference] = (fact.provider_transaction_id, type(fact.outcome))
    assert facts["att-7"] == (good[0], Succeeded)
    assert facts["att-8"] == (bad[0], Declined)


async def test_listing_and_a_wrong_key(stripe: StripeProvider) -> None:
    intent_id, _ = await paid(stripe, create("att-9"))
    facts: list[PaymentFact] = []
    cursor, pages = None, 0
    while pages == 0 or cursor is not None:
        page = await stripe.list_transactions(0, 2**31, cursor)
        assert isinstance(page, Page)
        facts, cursor, pages = [*facts, *page.facts], page.next, pages + 1
    assert len({fact.provider_transaction_id for fact in facts}) == len(facts)
    assert pages == -(-len(facts) // 100)
    (fact,) = (fact for fact in facts if fact.reference == "att-9")
    assert fact.provider_transaction_id == intent_id
    assert isinstance(fact.outcome, Succeeded)
    assert fact.outcome.fee == Money(0, "EUR")
    wrong = StripeProvider(replace(stripe.config, secret_key=Secret("xx")), stripe.http, World())
    # With a right key there is nothing to see: localstripe's balance lacks the ``object`` that every answer has.
    assert not (await wrong.test_credentials()).ok
    outcome = await wrong.create_payment_intent(create("att-10"))
    assert isinstance(outcome, NotSent)
    assert outcome.reason is Reason.config


async def test_the_proxy_leaves_out_only_what_is_refused(server: str) -> None:
    headers = {"Authorization": "Bearer sk_test_12345678"}
    async with aiohttp.ClientSession(server, headers=headers) as session:

        async def answered(method: str, path: str, fields: dict[str, str]) -> tuple[int, str]:
            data, query = (fields, None) if method == "POST" else (None, fields)
            async with session.request(method, path, data=data, params=query) as answer:
                return answer.status, await answer.text()

        whole = {"amount": "1000", "currency": "eur"}
        async with session.post("/v1/payment_intents", data={**whole, "payment_method": "pm_card_visa"}) as answer:
            intent = (await answer.json())["id"]
        right = {"/v1/payment_intents": whole, "/v1/refunds": {"payment_intent": intent, "amount": "1"}}
        for (method, pattern), names in REFUSED.items():
            path = pattern.replace("*", intent)
            fields = right.get(pattern, {}) if method == "POST" else {}
            for name in names:
                status, text = await answered(method, path, {**fields, name: "1"})
                assert (status, "Unexpected" in text) == (400, True), name
        for path in (f"/v1/payment_intents/{intent}/confirm", "/v1/payment_intents", "/v1/refunds"):
            assert (await answered("POST", path, right.get(path, {})))[0] == 200
        assert (await answered("GET", "/v1/payment_intents", {"limit": "100"}))[0] == 200
