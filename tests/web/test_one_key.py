"""One idempotency key at every entry point: HTTP API, library and pages agree on what the same request is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import pytest
import pytest_asyncio

from polytill import Conflict, Customer, Money, PaymentRequest, Polytill
from polytill.storage import operations, payments, refunds
from tests.installation import Answered, Installation
from tests.web.browsing import Browser, person
from tests.web.support import Practice, fresh

pytestmark = pytest.mark.asyncio(loop_scope="module")

CASH = {"providerCode": "manual", "environment": "sandbox", "isEnabled": True, "supportedCurrencies": ["NGN"]}
ORDERS = list(permutations(("api", "library", "page")))
# The library's actor, as it stands in the audit log.
HOST = "host"


@dataclass
class Doors:
    """A practice with cash and a card provider, and its three entry points."""

    practice: Practice
    till: Polytill
    browser: Browser

    @property
    def page(self) -> str:
        return f"/practice/{self.practice.id}"


@pytest_asyncio.fixture(loop_scope="module")
async def doors(shared: Installation) -> AsyncIterator[Doors]:
    practice = await Practice.make(shared, "paystack")
    assert (await practice.call("POST", "/payment-providers", CASH)).status == 201
    email = f"{fresh('admin')}@example.com"
    await person(shared, await practice.db, email, name="Pat")
    async with Browser(shared) as browser:
        await browser.sign_in(f"/practice/{practice.id}", email)
        yield Doors(practice, shared.till, browser)


def _key() -> str:
    """A key as the pages make them."""
    return fresh("key").replace("-", "") + "0" * 20


async def _twice(
    api: Callable[[int], Awaitable[Answered]],
    library: Callable[[int], Awaitable[Any]],
    page: Callable[[int], Awaitable[int]],
    order: tuple[str, ...],
) -> list[bool]:
    """The same request at each entry point in this order, then another one under the same key at each. Whether each
    request was accepted."""

    async def accepted(door: str, amount: int) -> bool:
        if door == "api":
            answer = await api(amount)
            assert answer.status in (200, 201, 409), answer.body
            assert answer.status != 409 or answer.body["code"] == "idempotency_key_reused", answer.body
            return answer.status != 409
        if door == "page":
            status = await page(amount)
            assert status in (303, 409)
            return status == 303
        refused = ""
        try:
            await library(amount)
        except Conflict as error:
            refused = error.code
        assert refused in ("", "idempotency_key_reused")
        return not refused

    return [await accepted(door, amount) for amount in (50_000, 40_000) for door in order]


SAME_THEN_OTHER = [True] * 3 + [False] * 3


@pytest.mark.parametrize("order", ORDERS)
async def test_a_payment(doors: Doors, order: tuple[str, ...]) -> None:
    key, practice, browser = _key(), doors.practice, doors.browser

    async def api(amount: int) -> Answered:
        more = {"customer": {"name": "Ada", "email": ""}, "capture": "automatic", "description": " ", "metadata": {}}
        body = {"amount": amount, "currency": "NGN", "providerCode": "manual", "paymentMethod": "cash", **more}
        return await practice.call("POST", "/payments", body, idempotency=key)

    async def library(amount: int) -> None:
        request = PaymentRequest(
            Money(amount, "NGN"),
            payment_method="cash",
            provider_code="manual",
            customer=Customer(name="Ada"),
            reference="",
        )
        await doors.till.pay(practice.id, request, key=key, actor=HOST)

    async def page(amount: int) -> int:
        given = {"key": key, "amount": f"{amount // 100}", "currency": "NGN", "method": "cash", "name": "Ada"}
        return (await browser.send(f"{doors.page}/manual", f"{doors.page}/manual", **given)).status

    assert await _twice(api, library, page, order) == SAME_THEN_OTHER
    made = await payments.by_key(await practice.db, key)
    assert made is not None
    assert (made.amount, made.created_by.partition(":")[0]) == (
        50_000,
        {"api": "key", "library": HOST, "page": "user"}[order[0]],
    )
    listed = (await practice.call("GET", "/payments")).body["data"]
    assert [one["id"] for one in listed] == [made.id], "one payment, whoever asked first"


@pytest.mark.parametrize("order", ORDERS)
async def test_a_refund(doors: Doors, order: tuple[str, ...]) -> None:
    key, practice, browser = _key(), doors.practice, doors.browser
    payment_id = (await practice.paid(100_000))["id"]
    path = f"{doors.page}/payments/{payment_id}/refund"

    async def api(amount: int) -> Answered:
        body = {"amount": amount, "reason": "half"}
        return await practice.call("POST", f"/payments/{payment_id}/refunds", body, idempotency=key)

    async def library(amount: int) -> None:
        await doors.till.refund(
            practice.id, payment_id, key=key, amount=Money(amount, "NGN"), reason="half", actor=HOST
        )

    async def page(amount: int) -> int:
        sure = await browser.send(path, f"{path}/confirm", amount=f"{amount // 100}", reason="half")
        return (await browser.post(path, {**sure.forms[path], "key": key})).status

    assert await _twice(api, library, page, order) == SAME_THEN_OTHER
    assert [one.amount for one in await refunds.of_payment(await practice.db, payment_id)] == [50_000]


@pytest.mark.parametrize("order", ORDERS)
async def test_a_capture(doors: Doors, order: tuple[str, ...]) -> None:
    key, browser = _key(), doors.browser
    practice = await Practice.make(doors.practice.house, "stripe")
    email = f"{fresh('admin')}@example.com"
    await person(practice.house, await practice.db, email, name="Pat")
    await browser.sign_in(f"/practice/{practice.id}", email)
    made = (await practice.create(100_000, capture="manual")).body
    await practice.act(made["attempts"][-1]["reference"])
    payment_id = (await practice.settled(made["id"], status="authorized"))["id"]
    path = f"/practice/{practice.id}/payments/{payment_id}/capture"
    form = (await browser.get(path)).forms[path]

    async def api(amount: int) -> Answered:
        return await practice.call("POST", f"/payments/{payment_id}/capture", {"amount": amount}, idempotency=key)

    async def library(amount: int) -> None:
        await doors.till.capture(practice.id, payment_id, key=key, amount=Money(amount, "USD"), actor=HOST)

    async def page(amount: int) -> int:
        return (await browser.post(path, {**form, "key": key, "amount": f"{amount // 100}"})).status

    assert await _twice(api, library, page, order) == SAME_THEN_OTHER
    assert [one.kind for one in await operations.of_payment(await practice.db, payment_id)] == ["capture"]
    assert (await practice.payment(payment_id))["amountCaptured"] == 50_000


async def test_a_cancel(doors: Doors) -> None:
    practice, browser = doors.practice, doors.browser
    for order in (("api", "page"), ("page", "api")):
        key = _key()
        payment_id = (await practice.create(50_000, providerCode="manual")).body["id"]
        path = f"{doors.page}/payments/{payment_id}/cancel"
        form = (await browser.get(path)).forms[path]
        for door in order:
            if door == "page":
                assert (await browser.post(path, {**form, "key": key})).status == 303
            else:
                answer = await practice.call("POST", f"/payments/{payment_id}/cancel", idempotency=key)
                assert (answer.status, answer.body["status"]) == (200, "canceled")
        assert len(await operations.of_payment(await practice.db, payment_id)) == 1
