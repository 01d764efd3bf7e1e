"""Refunds and disputes of one payment in every order, through the real handlers and the simulator's own webhooks.

A story is what happens at the provider: refunds made here and in its dashboard, whole and in parts, and a dispute with its
end. Its webhooks arrive as it happens, all late, or all late and the wrong way round; then all of them again, and the
worker compares with what the provider lists. In the end the ledger must hold what the provider's own books hold.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.providers.money_scene import MoneyScene, News, money_scene

from polytill.domain.errors import Conflict
from polytill.domain.review_cases import CaseKind
from polytill.domain.states import CountedAs
from polytill.flows.review import same_money
from polytill.simulator.paypal.money import No
from polytill.simulator.stripe.params import Refused
from polytill.storage import cases, refunds
from polytill.storage.payments import Payment

WHOLE, PART, LESS = 9_000, 3_000, 2_000
# The provider, and a currency with 0, 2 or 3 decimals.
ACCOUNTS = [
    ("stripe", "JPY"),
    ("stripe", "KWD"),
    ("paystack", "XOF"),
    ("flutterwave", "UGX"),
    ("flutterwave_v4", "UGX"),
    ("paypal", "JPY"),
]
REFUNDS: list[tuple[str, ...]] = [
    (),
    ("here",),
    ("dashboard",),
    ("here", "dashboard"),
    ("dashboard", "here"),
    ("dashboard", "less"),
    ("here", "here"),
    ("all",),
]
DISPUTES: list[tuple[str, ...]] = [
    (opened, *ended)
    for opened in ("open", "open_part", "inquiry")
    for ended in ((), ("lost",), ("won",), ("lost_refund",), ("escalated", "lost"))
    if opened == "inquiry" or ended[:1] != ("escalated",)
]
ARRIVALS = ("as_told", "late", "backwards")
PAYS_BY_REFUND = frozenset({"paystack", "paypal"})
NO_INQUIRIES = frozenset({"paystack", "flutterwave", "flutterwave_v4"})

Story = tuple[str, ...]


def _merged(first: Story, second: Story) -> Iterator[Story]:
    """Every way to take two stories together that keeps the order of each."""
    size = len(first) + len(second)
    for places in itertools.combinations(range(size), len(first)):
        left, right = iter(first), iter(second)
        yield tuple(next(left) if place in places else next(right) for place in range(size))


def stories(code: str) -> list[Story]:
    """All stories of a provider, each once."""
    found: dict[Story, None] = {}
    for disputed in DISPUTES:
        if code not in PAYS_BY_REFUND and "lost_refund" in disputed:
            continue
        if "inquiry" in disputed and (code in NO_INQUIRIES or (code == "stripe" and disputed[1:2] == ("lost",))):
            continue  # at Stripe an inquiry takes nothing, unless it becomes a chargeback
        for refunded in REFUNDS:
            found |= dict.fromkeys(_merged(disputed, refunded))
    return list(found)


async def _act(scene: MoneyScene, payment: Payment, act: str) -> None:
    tx = scene.transaction(payment)
    match act:
        case "here":
            if tx.refundable >= PART:
                with suppress(Conflict):  # more was returned by then than is left
                    await scene.refund(payment, PART, accept_dispute_risk=True)
        case "dashboard" | "less" | "all":
            amount = min({"dashboard": PART, "less": LESS, "all": WHOLE}[act], tx.refundable)
            if amount > 0:
                with suppress(
                    Refused, No
                ):  # Stripe refuses a refund of a charge with a chargeback in its dashboard, too
                    scene.refund_in_dashboard(payment, amount)
        case "open" | "inquiry" | "escalated":
            scene.dispute(payment, "open", kind="inquiry" if act == "inquiry" else "chargeback")
        case "open_part":
            scene.dispute(payment, "open", amount=PART)
        case "lost_refund":
            scene.dispute(payment, "lost", with_refund=True)
        case "won" if tx.disputes[-1].kind == "inquiry":
            scene.dispute(payment, "closed")
        case _:
            scene.dispute(payment, act)


async def play(scene: MoneyScene, story: Story, arrival: str) -> list[str]:
    """Play a story. What is wrong in the end, in words."""
    more = {"payment_method": "mobile_money"} if scene.code == "flutterwave_v4" else {}
    payment = await scene.paid(WHOLE, **more)
    scene.news()
    told: list[News] = []
    for act in story:
        await _act(scene, payment, act)
        told += (news := scene.news())
        if arrival == "as_told":
            await scene.deliver(news)
    scene.pass_time(60)
    told += scene.news()
    if arrival == "backwards":
        told.reverse()
    await scene.deliver(told)
    await scene.deliver(told)
    await scene.sweep()
    await _decided(scene, payment)
    return [wrong async for wrong in _wrong(scene, payment, story)]


async def _decided(scene: MoneyScene, payment: Payment) -> None:
    """Where a refund and a lost dispute may be the same money, staff read the provider's statement and decide it."""
    for case in await cases.listed(scene.db, kind=CaseKind.refund_or_dispute):
        is_right = await scene.held(payment) == scene.truly_held(payment)
        said = CountedAs.same if is_right else CountedAs.separate
        await same_money.count(scene.till.context, scene.practice_id, case.id, said, "Statement of today", "ada")


async def _wrong(scene: MoneyScene, payment: Payment, story: Story) -> Any:
    fresh, tx = await scene.payment(payment.id), scene.transaction(payment)
    gone = tx.refunded + tx.lost
    if fresh.status != "succeeded" or fresh.amount_captured != tx.captured:
        yield f"the payment is {fresh.status} with {fresh.amount_captured} of {tx.captured}"
    told = fresh.amount_refunded + fresh.duplicate_refunded + fresh.amount_lost
    if told != gone:
        yield f"refunded and lost {told}, truly {gone}"
    if (held := await scene.held(payment)) != scene.truly_held(payment):
        yield f"the ledger holds {held}, the provider {scene.truly_held(payment)}"
    open_now = [d for d in tx.disputes if d.status == "open"]
    claimed = sum(d.amount for d in open_now if d.kind == "chargeback")
    if fresh.amount_disputed != claimed:
        yield f"disputed {fresh.amount_disputed}, truly {claimed}"
    states = Counter((d.provider_dispute_id, _end(scene, d.state.value)) for d in await scene.disputes(payment))
    truly = Counter((d.id, _end(scene, d.status)) for d in tx.disputes)
    if states != truly:
        yield f"disputes {states}, truly {truly}"
    expected = Counter("inquiry_open" if d.kind == "inquiry" else "dispute_open" for d in open_now)
    expected += Counter("dispute_lost" for d in tx.disputes if d.status == "lost")
    expected += Counter(["over_returned"] if gone > tx.captured else [])
    waiting = Counter(await scene.cases_of(payment))
    if waiting != expected:
        yield f"cases {dict(waiting)}, expected {dict(expected)}"
    events = Counter(await scene.events(payment, "refund.", "dispute.", "inquiry."))
    done = sum(refund.status == "succeeded" for refund in tx.refunds)
    refused = sum(refund.state in ("declined", "not_sent") for refund in await refunds.of_payment(scene.db, payment.id))
    if events["refund.succeeded"] != done or events["refund.failed"] != refused:
        yield f"events {dict(events)} for {done} refunds"
    twice = [
        kind for kind, times in events.items() if times > len(tx.disputes) and kind[0] in "di" and "updated" not in kind
    ]
    if twice:
        yield f"told more than once: {twice}"


def _end(scene: MoneyScene, state: str) -> str:
    """PayPal's dispute that the customer withdraws is one that is won."""
    return "won" if scene.code == "paypal" and state == "closed" else state


@pytest.mark.parametrize(("code", "currency"), ACCOUNTS)
async def test_every_order_books_what_the_provider_holds(
    tmp_path: Path, engine_url: str | None, code: str, currency: str
) -> None:
    """A part of the stories on each engine; ``ARRIVALS`` take turns."""
    mine = stories(code)[:: 19 if engine_url is None else 67]
    found = []
    async with money_scene(tmp_path, engine_url, code, currency) as scene:
        for number, story in enumerate(mine):
            arrival = ARRIVALS[number % len(ARRIVALS)]
            found += [f"{'-'.join(story)} {arrival}: {wrong}" for wrong in await play(scene, story, arrival)]
    assert found == []
