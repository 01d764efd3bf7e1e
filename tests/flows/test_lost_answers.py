"""A create call whose answer is lost, at the real handlers: Paystack and Flutterwave go on under a new reference,
Stripe under the same one. In the end each payment can be paid, and only once."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from polytill.app import Polytill
from polytill.background import sweep
from polytill.domain.clock import World
from polytill.domain.money import Money
from polytill.domain.secret import Secret
from polytill.domain.states import AttemptState, Environment, PaymentStatus
from polytill.flows.admin import provider_configs
from polytill.flows.admin.credentials import Keys
from polytill.flows.admin.provider_configs import Wish
from polytill.flows.command import Command
from polytill.flows.next_action import open_action
from polytill.flows.payments.create import create_payment
from polytill.flows.payments.request import PaymentRequest
from polytill.providers.contract import Customer
from polytill.providers.http import AnswerLost
from tests import calls
from tests.flows.scenes import Clock
from tests.installation import TEST_KEYS, fresh_settings, opened

SECOND_S = 3.0


@dataclass
class Provider:
    """The other side of the wire: it does what it is asked, and its first answer to a create call gets lost."""

    requests: list[tuple[str, str, Mapping[str, str], bytes]] = field(default_factory=list)
    known: dict[str, Any] = field(default_factory=dict)  # reference or idempotency key → what was made
    loses: int = 1
    works_before_losing: bool = True

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> tuple[int, Mapping[str, str], bytes]:
        self.requests.append((method, url, headers, body or b""))
        loses = method == "POST" and self.loses > 0
        if loses:
            self.loses -= 1
        if loses and not self.works_before_losing:
            raise AnswerLost("lost on the way there")
        status, answer = getattr(self, urlsplit(url).hostname.split(".")[1])(
            method, urlsplit(url), headers, body or b""
        )  # type: ignore[union-attr]
        if loses:
            raise AnswerLost("lost on the way back")
        return status, {}, json.dumps(answer).encode()

    def creates(self) -> list[tuple[str, str, Mapping[str, str], bytes]]:
        return [request for request in self.requests if request[0] == "POST"]

    def paystack(self, method: str, url: Any, headers: Mapping[str, str], body: bytes) -> tuple[int, Any]:
        if method == "POST":
            asked = json.loads(body)
            self.known[asked["reference"]] = asked
            link = {"authorization_url": f"https://checkout.paystack.com/{asked['reference']}", "access_code": "c"}
            return 200, {"status": True, "message": "ok", "data": link | {"reference": asked["reference"]}}
        reference = url.path.rpartition("/")[2]
        if reference not in self.known:
            return 400, {
                "status": False,
                "message": "Transaction reference not found.",
                "code": "transaction_not_found",
            }
        asked = self.known[reference]
        data = {
            "id": 7,
            "status": "abandoned",
            "reference": reference,
            "amount": asked["amount"],
            "currency": asked["currency"],
            "domain": "test",
            "fees": None,
        }
        return 200, {"status": True, "message": "ok", "data": data}

    def flutterwave(self, method: str, url: Any, headers: Mapping[str, str], body: bytes) -> tuple[int, Any]:
        if method == "POST":
            asked = json.loads(body)
            self.known[asked["tx_ref"]] = asked
            link = {"link": f"https://checkout.flutterwave.com/v3/hosted/pay/{asked['tx_ref']}"}
            return 200, {"status": "success", "message": "Hosted Link", "data": link}
        # A link has no transaction until somebody pays.
        return 404, {"status": "error", "message": "No transaction was found for this id", "data": None}

    def stripe(self, method: str, url: Any, headers: Mapping[str, str], body: bytes) -> tuple[int, Any]:
        if method == "POST":
            made = self.known.setdefault(headers["Idempotency-Key"], (body, f"pi_{len(self.known)}"))
            assert made[0] == body, "other bytes under the same key"
            asked = {name: values[0] for name, values in parse_qs(body.decode()).items()}
            intent = {
                "id": made[1],
                "object": "payment_intent",
                "status": "requires_payment_method",
                "livemode": False,
                "amount": int(asked["amount"]),
                "currency": asked["currency"],
                "client_secret": f"{made[1]}_secret_x",
                "metadata": {},
            }
            return 200, intent
        return 200, {"object": "list", "data": [], "has_more": False}


@asynccontextmanager
async def practice(
    folder: Path, engine_url: str | None, code: str, currency: str, provider: Provider
) -> AsyncIterator[tuple[Polytill, Clock, int]]:
    clock = Clock()
    async with opened(fresh_settings(folder, engine_url), [code], world=World(clock), transport=provider) as till:
        entry, _ = await calls.create_practice(till, "Clinic", currency)
        given = TEST_KEYS[code]
        webhook = given.get("webhookSecret")
        keys = Keys(given["publicKey"], Secret(given["secretKey"]), Secret(webhook) if webhook else None)
        wish = Wish(code, Environment.sandbox, keys, is_enabled=True, supported_currencies=[currency])
        await provider_configs.configure(till.context, entry.id, wish, "test")
        yield till, clock, entry.id


@pytest.mark.parametrize("worked", [True, False], ids=["lost on the way back", "lost on the way there"])
@pytest.mark.parametrize(("code", "currency"), [("paystack", "NGN"), ("flutterwave", "NGN"), ("stripe", "USD")])
async def test_a_lost_answer(tmp_path: Path, engine_url: str | None, code: str, currency: str, worked: bool) -> None:
    provider = Provider(works_before_losing=worked)
    async with practice(tmp_path, engine_url, code, currency, provider) as (till, clock, practice_id):
        request = PaymentRequest(Money(50_000, currency), customer=Customer("ada@example.com"))
        taken = await create_payment(till.context, practice_id, request, Command("key", "test"))
        assert (taken.payment.status, taken.attempts[0].state) == (PaymentStatus.processing, AttemptState.unknown)
        clock.at_s += SECOND_S
        await sweep(till.context)
        taken = await create_payment(
            till.context, practice_id, request, Command("key", "test")
        )  # the same key shows the same payment
        assert taken.replayed
        assert taken.payment.status is PaymentStatus.requires_action
        current = taken.attempts[-1]
        action = open_action(await till.context.opening.practice(practice_id), current)
        assert action is not None, "the payer can pay"
        first, second = provider.creates()
        if code == "stripe":
            assert len(taken.attempts) == 1
            assert first[1:] == second[1:], "the identical request, byte for byte"
            assert first[2]["Idempotency-Key"] == current.id
            assert action.provider_token is not None
            assert action.provider_token.reveal() == "pi_0_secret_x"
            assert len(provider.known) == 1
        else:
            assert [a.state for a in taken.attempts][1:] == [AttemptState.needs_action]
            assert taken.attempts[0].state in (AttemptState.expired, AttemptState.not_sent)
            assert current.id != taken.attempts[0].id
            assert current.id in str(action.url)
            assert taken.attempts[0].id.encode() in first[3]
            assert current.id.encode() in second[3]
        assert len(provider.creates()) == 2


async def test_a_payer_who_comes_back_early_is_not_made_to_wait(tmp_path: Path, engine_url: str | None) -> None:
    provider = Provider()
    async with practice(tmp_path, engine_url, "paystack", "NGN", provider) as (till, _, practice_id):
        request = PaymentRequest(Money(50_000, "NGN"), customer=Customer("ada@example.com"))
        taken = await create_payment(till.context, practice_id, request, Command("key", "test"))
        confirmed = await calls.confirm(till, practice_id, taken.payment.id)
        assert confirmed.payment.status is PaymentStatus.requires_action
        assert len(confirmed.attempts) == 2
