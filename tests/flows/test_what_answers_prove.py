"""What the answers of real handlers prove through the whole house: a gateway's 404, a page that cannot be read, a list that
is away at the wrong moment. Each provider is a few lines that answer as it does."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit

import pytest

from polytill.app import Polytill
from polytill.background import sweep
from polytill.domain.clock import World
from polytill.domain.errors import Invalid
from polytill.domain.money import Money
from polytill.domain.secret import Secret
from polytill.domain.states import AttemptState, CaptureMode, Environment, EventState, PaymentStatus, RefundState
from polytill.flows.admin import provider_configs
from polytill.flows.admin.credentials import Keys
from polytill.flows.admin.provider_configs import Wish
from polytill.flows.command import Command
from polytill.flows.payments.create import create_payment
from polytill.flows.payments.reading import PaymentDetails
from polytill.flows.payments.request import PaymentRequest
from polytill.flows.reconciliation.payments import reconcile
from polytill.flows.refunds.create import RefundRequest, create_refund, refresh_by_id
from polytill.flows.webhooks import receive
from polytill.providers.contract import Customer
from polytill.providers.http import AnswerLost
from polytill.storage import cases, payments, saved_methods
from polytill.storage.payments import Payment
from polytill.storage.webhook_events import WebhookEvent
from tests import calls
from tests.flows.scenes import Clock
from tests.installation import TEST_KEYS, fresh_settings, opened

Said = tuple[int, Any]
WORD = {"verif-hash": TEST_KEYS["flutterwave"]["webhookSecret"]}


@dataclass
class Wire:
    """A provider that is asked in this process. ``answer`` may be an exception; ``page``: something else answers for it."""

    log: list[str] = field(default_factory=list)
    page: Said | None = None

    async def send(self, method: str, url: str, _: Any, body: bytes | None) -> Any:
        parts = urlsplit(url)
        self.log.append(f"{method} {parts.path}")
        answer = self.page or self.answer(method, parts, body or b"{}")
        if isinstance(answer, Exception):
            raise answer
        status, said = answer
        return status, {}, said if isinstance(said, bytes) else json.dumps(said).encode()

    def answer(self, method: str, url: SplitResult, body: bytes) -> Said | Exception:
        raise NotImplementedError(f"{method} {url.path}")


@dataclass
class Paystack(Wire):
    refund_answer: Said | Exception = field(default_factory=lambda: AnswerLost("lost on the way back"))
    refund_list: Said = (200, {"status": True, "data": [], "meta": {}})

    def answer(self, method: str, url: SplitResult, body: bytes) -> Said | Exception:
        sent, path = json.loads(body), url.path
        card = {
            "authorization_code": "AUTH_x",
            "reusable": True,
            "channel": "card",
            "last4": "4081",
            "signature": "SIG",
        }
        # The payer bears the fee: 352.47 were charged where 250.00 were asked for.
        paid = {"status": "success", "currency": "NGN", "domain": "test", "amount": 35_247, "fees": 10_247, "id": 99}
        if path == "/transaction/initialize":
            link = {"authorization_url": "https://checkout.paystack.com/x", "access_code": "c"}
            return 200, {"status": True, "data": {**link, "reference": sent["reference"]}}
        if path == "/transaction/charge_authorization":
            return 200, {"status": True, "data": {**paid, "authorization": card, "reference": sent["reference"]}}
        if path.startswith("/transaction/verify/"):
            told = {"requested_amount": 25_000, "reference": path.rpartition("/")[2], "authorization": card}
            return 200, {"status": True, "data": {**paid, **told}}
        if path == "/refund":
            return self.refund_answer if method == "POST" else self.refund_list
        return 200, {"status": True, "data": [], "meta": {}}


NO_TRANSACTION = (404, {"status": "error", "message": "No transaction was found for this id", "data": None})


@dataclass
class Flutterwave(Wire):
    known: list[dict[str, Any]] = field(default_factory=list)
    list_answer: Said | None = None
    refund_list: Said = (200, {"status": "success", "data": []})
    reference: str = ""

    def transaction(self, number: int, status: str = "successful") -> dict[str, Any]:
        said = "Approved" if status == "successful" else "Insufficient Funds"
        money = {"amount": 250, "charged_amount": 250, "app_fee": 1, "currency": "NGN"}
        return {"id": number, "tx_ref": self.reference, "status": status, "processor_response": said, **money}

    def answer(self, method: str, url: SplitResult, body: bytes) -> Said | Exception:
        path = url.path.removeprefix("/v3")
        if method == "POST" and path.endswith("/refund"):
            return AnswerLost("lost on the way back")
        if method == "POST":
            self.reference = json.loads(body)["tx_ref"]
            return 200, {"status": "success", "data": {"link": "https://checkout.flutterwave.com/x"}}
        if path.endswith("/verify"):
            found = [one for one in self.known if str(one["id"]) == path.split("/")[-2]]
            return (200, {"status": "success", "data": found[0]}) if found else NO_TRANSACTION
        if path.endswith("/verify_by_reference"):
            return (200, {"status": "success", "data": self.known[0]}) if self.known else NO_TRANSACTION
        if path == "/refunds":
            return self.refund_list
        if path == "/transactions" and self.list_answer is not None:
            return self.list_answer
        is_first = parse_qs(url.query).get("page", ["1"]) == ["1"]
        return 200, {"status": "success", "data": self.known if path == "/transactions" and is_first else []}


class FlutterwaveV4(Wire):
    """The first charge is made and its answer lost; the address is not served to who repeats it."""

    def answer(self, method: str, url: SplitResult, body: bytes) -> Said | Exception:
        if url.path.endswith("/token"):
            return 200, {"access_token": "tok", "expires_in": 600}
        if method == "POST" and self.log.count(f"POST {url.path}") == 1:
            return AnswerLost("lost on the way back")
        return 404, {
            "status": "failed",
            "error": {"type": "RESOURCE_NOT_FOUND", "code": "10404", "message": "no route"},
        }


@dataclass
class Stripe(Wire):
    is_paid: bool = False

    def answer(self, method: str, url: SplitResult, body: bytes) -> Said | Exception:
        intent = {
            "id": "pi_1",
            "object": "payment_intent",
            "status": "requires_payment_method",
            "livemode": False,
            "amount": 25_000,
            "currency": "usd",
            "client_secret": "pi_1_secret_x",
            "metadata": {},
        }
        if url.path.endswith("/cancel"):
            self.is_paid = True  # the payer was faster; then the line goes down
            text = "You cannot cancel this PaymentIntent because it has a status of succeeded."
            return 400, {
                "error": {"type": "invalid_request_error", "code": "payment_intent_unexpected_state", "message": text}
            }
        return AnswerLost("gone") if self.is_paid else (200, intent)


@dataclass
class Shop:
    till: Polytill
    clock: Clock
    practice_id: int
    code: str

    async def pays(self, key: str = "k", **more: Any) -> PaymentDetails:
        currency = "USD" if self.code == "stripe" else "NGN"
        request = PaymentRequest(Money(25_000, currency), customer=Customer("ada@example.com"), **more)
        return await create_payment(self.till.context, self.practice_id, request, Command(key, "test"))

    async def later(self, seconds: float) -> None:
        self.clock.at_s += seconds
        await sweep(self.till.context)

    async def paid(self, wire: Wire, **more: Any) -> Payment:
        made = await self.pays(**more)
        if isinstance(wire, Flutterwave):
            wire.known = [wire.transaction(7)]
        found = await calls.confirm(self.till, self.practice_id, made.payment.id)
        assert found.payment.status is PaymentStatus.succeeded
        return found.payment

    async def told(self, headers: dict[str, str], event: dict[str, Any]) -> WebhookEvent | None:
        practice = await self.till.context.practice(self.practice_id)
        configuration = (await self.till.context.configured(practice.db)).configurations[self.code]
        return await receive.receive(self.till.context, configuration.hook_token, headers, json.dumps(event).encode())

    async def stored(self, payment_id: str) -> Payment:
        found = await payments.by_id(await self.till.context.opening.practice(self.practice_id), payment_id)
        assert found is not None
        return found

    async def cases(self) -> list[str]:
        return [case.kind for case in await cases.listed(await self.till.context.opening.practice(self.practice_id))]


@asynccontextmanager
async def shop(folder: Path, engine_url: str | None, code: str, wire: Wire, **config: str) -> AsyncIterator[Shop]:
    clock, given = Clock(), TEST_KEYS[code]
    world = World(clock, elapsed_s=clock)
    async with opened(fresh_settings(folder, engine_url), [code], world=world, transport=wire) as till:
        currency = "USD" if code == "stripe" else "NGN"
        entry, _ = await calls.create_practice(till, "Clinic", currency)
        word = Secret(given["webhookSecret"]) if "webhookSecret" in given else None
        keys = Keys(given["publicKey"], Secret(given["secretKey"]), word, **({"config": config} if config else {}))
        wish = Wish(code, Environment.sandbox, keys, is_enabled=True, supported_currencies=[currency])
        await provider_configs.configure(till.context, entry.id, wish, "test")
        yield Shop(till, clock, entry.id, code)


NOT_SERVED = (404, {"status": False, "message": "Route not found"})


@pytest.mark.parametrize("provider", [Paystack, Flutterwave])
async def test_a_list_of_refunds_that_is_not_served_proves_nothing(
    tmp_path: Path, engine_url: str | None, provider: type[Paystack | Flutterwave]
) -> None:
    wire = provider(refund_list=NOT_SERVED)
    async with shop(tmp_path, engine_url, provider.__name__.lower(), wire) as at:
        payment = await at.paid(wire)
        made, _ = await create_refund(
            at.till.context, at.practice_id, payment.id, RefundRequest(), Command("back", "t")
        )
        assert made.state is RefundState.unknown
        for _ in range(10):
            await at.later(60)
        found = await refresh_by_id(at.till.context, at.practice_id, payment.id, made.id)
        assert found.state is RefundState.unknown
        assert sum(call.startswith("POST") and call.endswith("/refund") for call in wire.log) == 1


async def test_a_repeat_whose_address_is_not_served_proves_nothing(tmp_path: Path, engine_url: str | None) -> None:
    wire = FlutterwaveV4()
    async with shop(tmp_path, engine_url, "flutterwave_v4", wire) as at:
        made = await at.pays()
        for _ in range(12):
            await at.later(31)
        found = await calls.confirm(at.till, at.practice_id, made.payment.id)
        assert [attempt.state for attempt in found.attempts] == [AttemptState.unknown]


GATEWAYS_NO = (400, {"message": "Bad Request"})


async def test_a_gateways_refusal_of_a_repeated_charge_proves_nothing(tmp_path: Path, engine_url: str | None) -> None:
    wire = FlutterwaveV4()
    async with shop(tmp_path, engine_url, "flutterwave_v4", wire) as at:
        made = await at.pays()
        wire.page = GATEWAYS_NO
        for _ in range(12):
            await at.later(31)
        found = await calls.confirm(at.till, at.practice_id, made.payment.id)
        assert [attempt.state for attempt in found.attempts] == [AttemptState.unknown]


@dataclass
class StripeGivesBack(Wire):
    """Refunds are made, each under a name of its own, and the first answer is lost."""

    given: list[str] = field(default_factory=list)

    def answer(self, method: str, url: SplitResult, body: bytes) -> Said | Exception:
        if method == "POST" and url.path.endswith("/refunds"):
            self.given.append(f"re_{len(self.given) + 1}")
            made = {"object": "refund", "amount": 10_000, "currency": "usd", "status": "succeeded", "metadata": {}}
            return AnswerLost("made, and lost") if len(self.given) == 1 else (200, {"id": self.given[-1], **made})
        paid = {"status": "succeeded", "amount": 25_000, "amount_received": 25_000, "currency": "usd", "metadata": {}}
        whose = {"id": "pi_1", "object": "payment_intent", "livemode": False, "client_secret": "pi_1_secret_x"}
        return 200, {**whose, **paid}


async def test_a_gateways_refusal_of_a_repeated_refund_sets_nothing_free(
    tmp_path: Path, engine_url: str | None
) -> None:
    wire = StripeGivesBack()
    async with shop(tmp_path, engine_url, "stripe", wire) as at:
        payment = await at.paid(wire)
        made, _ = await create_refund(
            at.till.context, at.practice_id, payment.id, RefundRequest(10_000), Command("a", "t")
        )
        assert made.state is RefundState.unknown
        wire.page = GATEWAYS_NO
        await at.later(5)
        wire.page = None
        stored = await at.stored(payment.id)
        assert (stored.refund_reserved, wire.given) == (10_000, ["re_1"])


async def test_a_v4_delivery_and_the_v3_listing_are_of_one_payment(tmp_path: Path, engine_url: str | None) -> None:
    wire = Flutterwave()
    async with shop(tmp_path, engine_url, "flutterwave", wire, webhookVersion="v4") as at:
        made = await at.pays()
        data = {"id": "chg_9X", "amount": 250, "currency": "NGN", "reference": wire.reference, "status": "succeeded"}
        event = {"webhook_id": "wbk_1", "timestamp": 1, "type": "charge.completed", "data": data}
        digest = hmac.new(WORD["verif-hash"].encode(), json.dumps(event).encode(), "sha256").digest()
        told = await at.told({"flutterwave-signature": base64.b64encode(digest).decode()}, event)
        assert told is not None
        assert (await at.stored(made.payment.id)).status is PaymentStatus.succeeded
        wire.known = [wire.transaction(7)]
        await at.later(3600)
        await reconcile(at.till.context, at.practice_id)
        found = await calls.confirm(at.till, at.practice_id, made.payment.id)
        assert [attempt.state for attempt in found.attempts] == [AttemptState.succeeded]
        assert await at.cases() == []


async def test_a_second_try_on_a_link_is_not_missed_while_the_list_is_away(
    tmp_path: Path, engine_url: str | None
) -> None:
    wire = Flutterwave()
    async with shop(tmp_path, engine_url, "flutterwave", wire) as at:
        made = await at.pays()
        wire.known = [wire.transaction(1, "failed")]
        await at.told(WORD, {"event": "charge.completed", "data": wire.known[0]})
        wire.known.append(wire.transaction(2))
        wire.list_answer = (503, {"status": "error", "message": "upstream"})
        at.clock.at_s += 6
        told = await at.told(WORD, {"event": "charge.completed", "data": wire.known[1]})
        assert told is not None
        assert told.state is EventState.received
        assert made.payment.expires_at is not None
        await at.later(made.payment.expires_at.timestamp() + 1 - at.clock.at_s)
        assert (await at.stored(made.payment.id)).status is PaymentStatus.requires_action
        wire.list_answer = None
        await at.later(3600)
        assert (await at.stored(made.payment.id)).status is PaymentStatus.succeeded


@pytest.mark.parametrize("provider", [Paystack, Flutterwave, Stripe])
async def test_nothing_expires_by_an_answer_that_cannot_be_read(
    tmp_path: Path, engine_url: str | None, provider: type[Wire]
) -> None:
    wire = provider()
    async with shop(tmp_path, engine_url, provider.__name__.lower(), wire) as at:
        made = await at.pays()
        wire.page = (403, b"<html>blocked</html>")
        assert made.payment.expires_at is not None
        await at.later(made.payment.expires_at.timestamp() + 1 - at.clock.at_s)
        assert (await at.stored(made.payment.id)).status is PaymentStatus.requires_action


async def test_what_cannot_be_canceled_for_its_state_is_not_expired_unseen(
    tmp_path: Path, engine_url: str | None
) -> None:
    wire = Stripe()
    async with shop(tmp_path, engine_url, "stripe", wire) as at:
        made = await at.pays()
        assert made.payment.expires_at is not None
        await at.later(made.payment.expires_at.timestamp() + 1 - at.clock.at_s)
        assert wire.is_paid
        assert (await at.stored(made.payment.id)).status is not PaymentStatus.canceled


async def test_who_bears_the_fee_with_a_saved_card_has_paid_what_was_asked(
    tmp_path: Path, engine_url: str | None
) -> None:
    wire = Paystack()
    async with shop(tmp_path, engine_url, "paystack", wire) as at:
        payment = await at.paid(wire, save_method=True)
        practice = await at.till.context.practice(at.practice_id)
        method = await saved_methods.of_payment(practice.db, payment.id)
        assert method is not None
        charged = await at.pays("k2", saved_method=method.id)
        assert (charged.payment.status, charged.payment.amount_captured) == (PaymentStatus.succeeded, 25_000)
        assert await at.cases() == []
        with pytest.raises(Invalid):
            await at.pays("k3", saved_method=method.id, capture=CaptureMode.manual)


@pytest.mark.parametrize("status", [401, 404, 429, 500])
async def test_a_card_that_was_charged_stays_so_where_the_amount_cannot_be_asked_for(
    tmp_path: Path, engine_url: str | None, status: int
) -> None:
    wire = Paystack()
    async with shop(tmp_path, engine_url, "paystack", wire) as at:
        payment = await at.paid(wire, save_method=True)
        practice = await at.till.context.practice(at.practice_id)
        method = await saved_methods.of_payment(practice.db, payment.id)
        assert method is not None
        answer, said = wire.answer, (status, {"status": False, "message": "Transaction reference not found"})

        def without_verify(verb: str, url: SplitResult, body: bytes) -> Said | Exception:
            return said if url.path.startswith("/transaction/verify/") else answer(verb, url, body)

        wire.answer = without_verify  # type: ignore[method-assign]
        charged = await at.pays("k2", saved_method=method.id)
        assert [attempt.state for attempt in charged.attempts] == [AttemptState.unknown]
        wire.answer = answer  # type: ignore[method-assign]
        await at.later(300)
        assert (await at.stored(charged.payment.id)).amount_captured == 25_000


@pytest.mark.parametrize("kind", ["processor_error", "api_error"])
async def test_a_refusal_from_behind_the_provider_does_not_set_a_refund_free(
    tmp_path: Path, engine_url: str | None, kind: str
) -> None:
    wire = Paystack(refund_answer=(400, {"status": False, "message": "Could not complete the refund", "type": kind}))
    async with shop(tmp_path, engine_url, "paystack", wire) as at:
        payment = await at.paid(wire)
        made, _ = await create_refund(
            at.till.context, at.practice_id, payment.id, RefundRequest(), Command("back", "t")
        )
        assert made.state is RefundState.unknown
