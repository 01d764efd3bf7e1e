"""The network breaks in every way, on every call: no payment fails without proof, and nobody is charged twice.

All faults of one operation at one provider run at the same time, each against an account of its own. The provider's own
books are the judge.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from polytill.background import sweep
from tests.installation import Installation
from tests.web.support import CURRENCY, PROVIDERS, Clock, Json, Practice, books_balance, fresh, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

BEYOND_EVERY_HORIZON_S = 200.0  # Flutterwave's is the longest: 180 s
AMOUNT = 10_000


@dataclass(frozen=True)
class Break:
    """A fault and how it strikes. ``hears``: the caller hears a clear answer after all."""

    name: str
    kind: str
    more: dict[str, Any] = field(default_factory=dict)
    hears: bool = False

    async def on(self, practice: Practice, operation: str) -> None:
        await practice.fault(operation, self.kind, **self.more)


BREAKS = (
    Break("refuse", "refuse"),
    Break("lose_answer", "lose_answer"),
    Break("act_late", "act_late", {"delaySeconds": 0.4}),
    Break("timeout, acts", "timeout", {"acts": True}),
    Break("timeout, does not act", "timeout", {"acts": False}),
    Break("error_500, kept", "error_500"),
    Break("error_500, forgotten", "error_500", {"stored": False}),
    Break("error_500_after, kept", "error_500_after"),
    Break("error_500_after, forgotten", "error_500_after", {"stored": False}),
    Break("rate_limit", "rate_limit", hears=True),
    Break("slow", "slow", {"delaySeconds": 0.1}, hears=True),
    Break("truncate", "truncate"),
    Break("not_json, acts, 200", "not_json", {"acts": True, "status": 200}),
    Break("not_json, does not act, 502", "not_json", {"acts": False, "status": 502}),
)
ON_POSTGRESQL = ("lose_answer", "timeout, acts", "error_500_after, kept", "rate_limit")


@pytest.fixture(autouse=True)
def real_time(clock: Clock) -> Iterator[None]:
    yield
    clock.offset_s = 0.0


async def every_break(house: Installation, check: Callable[[Break], Awaitable[None]]) -> None:
    """Run a check for all faults at once; the failure says which ones.

    What a fault does is decided above the databases, so on PostgreSQL one of each sort is enough.
    """
    on_sqlite = house.till.context.owner.engine.dialect == "sqlite"
    struck = [one for one in BREAKS if on_sqlite or one.name in ON_POSTGRESQL]
    found = await asyncio.gather(*(check(one) for one in struck), return_exceptions=True)
    wrong = {one.name: error for one, error in zip(struck, found, strict=True) if error is not None}
    for error in wrong.values():
        if not isinstance(error, AssertionError):
            raise error
    assert not wrong, "\n".join(f"{name}: {error}" for name, error in wrong.items())


async def payable(practice: Practice, payment: Json) -> Json:
    """Ask until the payer has something to pay with; what it takes is bounded."""
    for _ in range(40):
        assert payment["status"] in ("processing", "requires_action"), payment
        if payment["nextAction"] is not None:
            return payment
        await asyncio.sleep(0.05)
        payment = (await practice.call("POST", f"/payments/{payment['id']}/confirm")).body
    raise AssertionError(f"never payable again: {payment}")


async def fee_is_known(practice: Practice) -> None:
    """Stripe says its fee only when it is asked once more."""
    for payment in (await practice.call("GET", "/payments?status=succeeded")).body["data"]:
        if payment["providerFee"] is None:
            assert (await practice.call("POST", f"/payments/{payment['id']}/confirm")).status == 200


async def captured_once(practice: Practice) -> None:
    await fee_is_known(practice)
    books = await practice.books()
    assert [row["captured"] for row in books if row["captured"]] == [AMOUNT], books
    balances = await practice.ledger()
    assert balances[CURRENCY[practice.code]]["payments"] == -AMOUNT, balances
    books_balance(balances, books, practice.code)


async def refunded(practice: Practice, payment_id: str, amount: int) -> Json:
    """Ask about every refund until the payment shows the amount."""

    async def ask() -> Json:
        for listed in (await practice.call("GET", f"/payments/{payment_id}/refunds")).body:
            await practice.call("GET", f"/payments/{payment_id}/refunds/{listed['id']}")
        return await practice.payment(payment_id)

    return dict(await until(ask, lambda payment: payment["amountRefunded"] == amount))


@pytest.mark.parametrize("code", PROVIDERS)
async def test_create(shared: Installation, code: str) -> None:
    async def check(one: Break) -> None:
        practice = await Practice.make(shared, code)
        await one.on(practice, "create")
        key = fresh()
        made = await practice.create(AMOUNT, idempotency=key)
        assert made.status == 201, made.body
        [first] = made.body["attempts"]
        if one.kind == "rate_limit":
            # Refused before any work: it is certain that nothing happened, so it may be said.
            assert (made.body["status"], first["status"], first["reason"]) == ("failed", "not_sent", "rate_limited")
            assert await practice.books() == []
            return
        if one.kind != "slow":
            # Stripe tells of a new intent by a delivery, which may be here before the answer is given up.
            told = code == "stripe" and first["status"] == "needs_action"
            assert told or (made.body["status"], first["status"]) == ("processing", "unknown"), made.body
            assert told or made.body["nextAction"] is None
        payment = await payable(practice, made.body)
        references = [attempt["reference"] for attempt in payment["attempts"]]
        assert len(set(references)) == len(references)
        if code != "stripe" and not one.hears:
            # The link whose answer was lost is held by nobody: a new one, under a new reference.
            assert len(references) == 2
            assert payment["attempts"][0]["status"] in ("expired", "not_sent"), payment["attempts"]
        again = await practice.create(AMOUNT, idempotency=key)
        assert (again.headers["Idempotent-Replayed"], again.body["id"]) == ("true", payment["id"])
        await practice.act(references[-1])
        await practice.settled(payment["id"], status="succeeded")
        await captured_once(practice)

    await every_break(shared, check)


async def test_sweeping_is_enough(shared: Installation, clock: Clock) -> None:
    """Nobody asks: what was lost is found again by the service itself."""
    practices = [await Practice.make(shared, code) for code in PROVIDERS]
    lost = []
    for practice in practices:
        await practice.fault("create", "lose_answer")
        lost.append((await practice.create(AMOUNT)).body)
    for _ in range(3):
        clock.advance(40)
        await sweep(shared.till.context)
    for practice, payment in zip(practices, lost, strict=True):
        found = await practice.payment(payment["id"])
        assert found["nextAction"] is not None, found
        assert len(found["attempts"]) == (1 if practice.code == "stripe" else 2)


async def test_crash_between_sent_and_answer(shared: Installation, clock: Clock) -> None:
    """The caller disconnects while the provider is working: the payment exists, and a lookup finds its outcome."""
    for code in PROVIDERS:
        practice = await Practice.make(shared, code)
        await practice.fault("create", "slow", delaySeconds=0.3)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(practice.create(AMOUNT), 0.15)
        [row] = (await practice.call("GET", "/payments")).body["data"]
        payment = await practice.settled(row["id"], status="requires_action")
        await practice.act(payment["attempts"][0]["reference"])
        await practice.settled(row["id"], status="succeeded")
        await captured_once(practice)


@pytest.mark.parametrize("code", PROVIDERS)
async def test_lookup(shared: Installation, code: str) -> None:
    """Paid at the provider, all webhooks lost, and the lookup fails, too: the next lookup finds it."""

    async def check(one: Break) -> None:
        practice = await Practice.make(shared, code)
        await practice.fault("webhook", "drop", count=None)
        payment = (await practice.create(AMOUNT)).body
        await practice.act(payment["attempts"][0]["reference"])
        await one.on(practice, "lookup")
        asked = await practice.call("POST", f"/payments/{payment['id']}/confirm")
        assert asked.status == 200, asked.body
        # A question may be repeated at once where its connection broke; what must not be is another word.
        assert asked.body["status"] in ("requires_action", "succeeded"), asked.body
        asked = await practice.call("POST", f"/payments/{payment['id']}/confirm")
        assert (asked.status, asked.body["status"]) == (200, "succeeded")
        assert len(asked.body["attempts"]) == 1
        await captured_once(practice)

    await every_break(shared, check)


@pytest.mark.parametrize("code", PROVIDERS)
async def test_lookup_of_what_was_lost(shared: Installation, code: str) -> None:
    """The create's answer is lost, and the first lookup breaks as well: still unknown, then payable, then paid once."""

    async def check(one: Break) -> None:
        practice = await Practice.make(shared, code)
        await practice.fault("create", "lose_answer")
        payment = (await practice.create(AMOUNT)).body
        # Stripe looks up by the same request again, which is a create to the network.
        await one.on(practice, "create" if code == "stripe" else "lookup")
        asked = (await practice.call("POST", f"/payments/{payment['id']}/confirm")).body
        assert asked["status"] in ("processing", "requires_action"), asked
        payment = await payable(practice, asked)
        await practice.act(payment["attempts"][-1]["reference"])
        await practice.settled(payment["id"], status="succeeded")
        await captured_once(practice)

    await every_break(shared, check)


@pytest.mark.parametrize("code", PROVIDERS)
async def test_refund(shared: Installation, clock: Clock, code: str) -> None:
    part = 4_000
    lost: dict[str, tuple[Practice, str, str, str]] = {}

    async def ask(one: Break) -> None:
        practice = await Practice.make(shared, code)
        payment = await practice.paid(AMOUNT)
        await practice.fault("webhook", "drop", count=None)
        await one.on(practice, "refund")
        key = fresh("refund")
        made = await practice.refund(payment["id"], part, key)
        assert made.status == 201, made.body
        if one.kind == "rate_limit":
            assert made.body["status"] == "not_sent"
        elif one.kind != "slow":
            assert made.body["status"] == "unknown", made.body
            # While its outcome is unknown, its amount is reserved: the whole payment cannot be refunded as well.
            whole = await practice.refund(payment["id"], AMOUNT)
            assert (whole.status, whole.body["code"]) == (409, "refund_exceeds_captured")
        again = await practice.refund(payment["id"], part, key)
        assert (again.status, again.body["id"]) == (201, made.body["id"])
        if made.body["status"] == "unknown":
            # "Not found" proves nothing while the call may still be running at the provider: it may be about to succeed.
            asked = await practice.call("GET", f"/payments/{payment['id']}/refunds/{made.body['id']}")
            assert asked.body["status"] in ("unknown", "pending", "succeeded"), asked.body
        lost[one.name] = (practice, payment["id"], made.body["id"], key)

    async def find(one: Break) -> None:
        practice, payment_id, refund_id, key = lost[one.name]
        refund: Json = {}
        for _ in range(40):
            found = await practice.call("GET", f"/payments/{payment_id}/refunds/{refund_id}")
            assert found.status == 200, found.body
            refund = found.body
            if refund["status"] in ("succeeded", "not_sent"):
                break
            await asyncio.sleep(0.05)
        books = [row for row in await practice.books() if row["captured"]]
        given_back = [r["amount"] for row in books for r in row["refunds"]]
        if refund["status"] == "succeeded":
            assert given_back == [part], given_back
        else:
            # "It was not sent" is only ever said where the provider has nothing.
            assert (refund["status"], given_back) == ("not_sent", []), (refund, given_back)
            second = await practice.refund(payment_id, part)
            assert second.status == 201, second.body
        again = await practice.refund(payment_id, part, key)
        assert again.body["id"] == refund_id
        payment = await refunded(practice, payment_id, part)
        assert (payment["status"], payment["amountRefundPending"]) == ("succeeded", 0)
        [row] = [row for row in await practice.books() if row["captured"]]
        assert [r["amount"] for r in row["refunds"]] == [part]
        await fee_is_known(practice)
        books_balance(await practice.ledger(), await practice.books(), code)

    await every_break(shared, ask)
    clock.advance(BEYOND_EVERY_HORIZON_S)
    await every_break(shared, find)


@pytest.mark.parametrize("code", PROVIDERS)
@pytest.mark.parametrize("kind", ["duplicate", "late", "reorder", "drop", "forge"])
async def test_deliveries_break(shared: Installation, code: str, kind: str) -> None:
    practice = await Practice.make(shared, code)
    await practice.fault("webhook", kind, count=None, **({"delaySeconds": 0.2} if kind == "late" else {}))
    payment = (await practice.create(AMOUNT)).body
    await practice.act(payment["attempts"][0]["reference"])
    if kind == "drop":
        await practice.call("POST", f"/payments/{payment['id']}/confirm")
    await practice.settled(payment["id"], status="succeeded", amountCaptured=AMOUNT)
    assert (await practice.refund(payment["id"], 4_000)).status == 201
    await refunded(practice, payment["id"], 4_000)
    await captured_once(practice)
