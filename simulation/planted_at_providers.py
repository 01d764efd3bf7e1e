"""Deliberate bugs in the handlers of providers that were added later: found among the seeds that draw them."""

from __future__ import annotations

from dataclasses import replace

from polytill.providers.contract import ConfirmPaymentParams, CreatePaymentParams, LookupParams, WebhookResult
from polytill.providers.flutterwave.v4 import FlutterwaveV4Provider
from polytill.providers.http import Answer
from polytill.providers.mpesa import reading
from polytill.providers.mpesa.handler import MpesaProvider
from polytill.providers.outcomes import JsonObject, NeedsAction, NotSent, Outcome, Reason, Succeeded, Unknown
from polytill.providers.paypal import reading as paypal_reading
from polytill.providers.paypal.handler import PayPalProvider
from simulation.planting import Swap, bug_at_providers


@bug_at_providers
def approval_taken_for_payment() -> list[Swap]:
    """A PayPal payment counts as paid after the customer's approval, without a capture."""
    read = paypal_reading.read_order

    def paid(data: JsonObject) -> Outcome:
        outcome = read(data)
        if isinstance(outcome, NeedsAction) and data.get("status") == "APPROVED" and outcome.amount:
            return Succeeded(outcome.amount, outcome.provider_transaction_id)
        return outcome

    return [(paypal_reading, "read_order", paid)]


@bug_at_providers
def approved_order_never_captured() -> list[Swap]:
    """A PayPal lookup finds an approved order, and it is never captured."""
    confirm = PayPalProvider.confirm_payment

    async def only_asks(self: PayPalProvider, params: ConfirmPaymentParams) -> Outcome:
        return await confirm(self, replace(params, only_ask=True))

    return [(PayPalProvider, "confirm_payment", only_asks)]


@bug_at_providers
def canceled_order_captured() -> list[Swap]:
    """A canceled payment is captured nevertheless when its customer approves late."""
    confirm = PayPalProvider.confirm_payment

    async def captures(self: PayPalProvider, params: ConfirmPaymentParams) -> Outcome:
        return await confirm(self, replace(params, only_ask=False))

    return [(PayPalProvider, "confirm_payment", captures)]


@bug_at_providers
def calls_without_request_id() -> list[Swap]:
    """PayPal cannot tell a repeated call from a new one."""
    call = PayPalProvider._call

    async def unnamed(
        self: PayPalProvider, method: str, path: str, body: JsonObject | None = None, request_id: str | None = None
    ) -> Answer | NotSent | Unknown:
        return await call(self, method, path, body)

    return [(PayPalProvider, "_call", unnamed)]


@bug_at_providers
def lost_prompt_given_up() -> list[Swap]:
    """A prompt with a lost answer counts as not sent, while the customer's phone rings."""
    create = MpesaProvider.create_payment_intent

    async def gives_up(self: MpesaProvider, params: CreatePaymentParams) -> Outcome:
        outcome = await create(self, params)
        return NotSent(Reason.unreachable) if isinstance(outcome, Unknown) else outcome

    return [(MpesaProvider, "create_payment_intent", gives_up)]


@bug_at_providers
def callbacks_refused() -> list[Swap]:
    """M-Pesa's callbacks are rejected: if the answer to a prompt was lost, its money is never found."""
    return [(MpesaProvider, "validate_webhook", lambda self, headers, body: False)]


@bug_at_providers
def callback_believed() -> list[Swap]:
    """A request to M-Pesa's callback address is trusted, whoever sent it."""
    read = reading.read_callback

    def believed(body: bytes) -> WebhookResult:
        return replace(read(body), must_fetch=False)

    return [(reading, "read_callback", believed)]


@bug_at_providers
def lost_charge_given_up() -> list[Swap]:
    """A v4 charge whose id was lost counts as not made: the customer is prompted to pay twice."""
    lookup = FlutterwaveV4Provider.lookup_payment

    async def gives_up(self: FlutterwaveV4Provider, params: LookupParams) -> Outcome:
        if not params.provider_transaction_id:
            return NotSent(Reason.not_found)
        return await lookup(self, params)

    return [(FlutterwaveV4Provider, "lookup_payment", gives_up), (FlutterwaveV4Provider, "settle_horizon_s", 0.0)]
