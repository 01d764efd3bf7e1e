"""The end of a history: no more faults, time passes, lost facts are sent again or found, and the books must agree."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from polytill.domain.errors import Conflict
from polytill.domain.review_cases import CaseKind
from polytill.flows.provider_calls import OTHER_ACCOUNT
from polytill.flows.reconciliation.payments import reconcile
from polytill.flows.review import resolve, staff_decisions
from polytill.flows.review.staff_decisions import Proof
from polytill.simulator.faults import Fault
from simulation import oracle
from simulation.ground import FIRST, marks_of

if TYPE_CHECKING:
    from simulation.history import History

HOUR, DAY = 3600.0, 86_400.0
# After the last act, time passes in these steps, with a sweep on every node after each.
SOON = (20.0, 60.0, 150.0, 400.0)
LATER = (1800.0, 1900.0, HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, DAY, 2 * DAY, 4 * DAY, 4 * DAY, HOUR, HOUR)
# Reconciliation repeats after two days, a week, two weeks and a month, and then finds a refund reversal without a
# webhook.
WEEKS = (2 * DAY, 5 * DAY, 7 * DAY, 17 * DAY)


async def come_to_rest(h: History) -> None:
    """Run from the last act to the verdict."""
    _count_webhook_faults(h)
    h.network.faults.rules.clear()
    h.tell("CALM: faults cleared, clocks right, every node up")
    for node in h.nodes:
        node.skew[0] = 0.0
        if node.up() is None:
            node.boot()
    for step in SOON:
        await _pass(h, step)
    for text in oracle.unpayable(h):
        h.problem(text)
    _resend(h)
    await _until_the_books_agree(h, LATER)
    if h.plan.compares and not oracle.judge(h) and _one_comes_back(h):
        await _until_the_books_agree(h, WEEKS)
    if await _a_person_decides(h):
        await _until_the_books_agree(h, SOON)
    for text in oracle.judge(h):
        h.problem(text)


async def _until_the_books_agree(h: History, steps: tuple[float, ...]) -> None:
    for step in steps:
        await _pass(h, step)
        if h.plan.compares:
            await _compare(h)
        if not h.plan.to_the_end and not oracle.judge(h):
            break


async def _pass(h: History, seconds: float) -> None:
    await asyncio.sleep(seconds)
    for node in h.nodes:
        life = node.up()
        if life is not None:
            await h.sweep(life)


async def _compare(h: History) -> None:
    """Run the hourly reconciliation of every practice."""
    life = h.any_life()
    assert life is not None
    for practice in h.plan.profiles:
        h.count("host.compare")
        try:
            await reconcile(life.context, practice)
        except Exception as error:
            h.unexpected(f"a comparison ended in {type(error).__name__}: {error}")


async def _a_person_decides(h: History) -> bool:
    """Resolve what only a practice knows: whether new keys belong to the account of the old ones, and that nothing was
    paid if its provider has no lookup. Returns whether any case was resolved."""
    asked = await _marked_not_paid(h)
    asked = await _told_apart(h) or asked
    for practice in h.plan.profiles:
        moved = {(m.provider, m.environment.value) for m in h.merchants if m.practice == practice and m.left}
        for case in oracle.read(h, practice, ("operator_cases",)).tables["operator_cases"]:
            about = (json.loads(case["detail"]).get("provider"), case["environment"])
            life = h.any_life()
            if case["kind"] == OTHER_ACCOUNT and case["state"] == "open" and about not in moved and life is not None:
                h.count("person.knows_the_account")
                asked = True
                try:
                    await resolve.same_account(life.context, practice, case["id"], "The provider says so.", "operator")
                except Conflict:  # ended together with another case
                    h.tell(f"the case {case['id']} had ended")
    return asked


async def _marked_not_paid(h: History) -> bool:
    """Cancel the charges that are not on the provider's statement. Those on it wait."""
    decided = False
    for practice in h.plan.profiles:
        paid = {
            tx.reference for m in h.merchants if m.practice == practice for tx in m.account.transactions if tx.captured
        }
        asked = oracle.for_a_person(h, oracle.read(h, practice))
        h.tally.counts["person.asked"] += len(asked)
        lost = asked - paid
        for case in oracle.read(h, practice, ("operator_cases",)).tables["operator_cases"] if lost else ():
            life = h.any_life()
            is_open = case["kind"] == CaseKind.unresolved and case["state"] == "open"
            if is_open and case["subject"] in lost and life is not None:
                h.count("person.calls_off")
                decided = True
                await resolve.mark_not_paid(
                    life.context, practice, case["id"], "It is not on the statement.", "operator"
                )
    return decided


async def _told_apart(h: History) -> bool:
    """Decide refunds of one amount that nobody can tell apart: several are unknown here, and the provider has one
    without our id. It is one of them, or none; the others were not made. Returns whether any was decided."""
    decided = False
    for practice in h.plan.profiles:
        rows = oracle.read(h, practice)
        held = [(str(tx.reference), tx) for m in h.merchants if m.practice == practice for tx in m.account.transactions]
        for reference, tx in held:
            unknown = [one for one in rows.tables["refunds"] if one["attempt_id"] == reference and _is_unknown(one)]
            known = {one["provider_refund_id"] for one in rows.tables["refunds"]}
            free = [one for one in tx.refunds if one.reference is None and known.isdisjoint(marks_of(one))]
            for amount in sorted({one.amount for one in free}):
                alike = [row for row in unknown if row["amount"] == amount]
                if len(alike) > 1:
                    decided = True
                    await _decide(h, rows, alike, [one.id for one in free if one.amount == amount])
    return decided


def _is_unknown(row: dict[str, Any]) -> bool:
    return row["state"] == "unknown" and row["provider_refund_id"] is None


async def _decide(h: History, rows: oracle.Rows, alike: list[dict[str, Any]], made: list[str]) -> None:
    cases = {case["subject"]: case for case in rows.tables["operator_cases"] if case["kind"] == CaseKind.unresolved}
    for row in alike:
        life, case = h.any_life(), cases.get(row["id"])
        if case is None or life is None:
            continue  # then the judge reports it
        named = made.pop() if made else None
        h.count("person.tells_apart")
        h.said.setdefault(row["id"], []).append(("refund", named is not None, named))
        h.tell(f"a person decides that the refund {row['id']} was {'made' if named else 'not made'}")
        proof = Proof("It is the only one of this amount on the statement.", named)
        await staff_decisions.decide(life.context, rows.practice, case["id"], named is not None, proof, "operator")


def _one_comes_back(h: History) -> bool:
    """Reverse one completed refund long after its reconciliation, without a webhook. Returns whether there was one."""
    for merchant in h.merchants:
        for tx in merchant.account.transactions:
            done = [refund for refund in tx.refunds if refund.status == "succeeded"]
            if not done or merchant.provider not in FIRST or tx.reference in h.other_amount | h.strange:
                continue
            if any(dispute.paid_by_refund for dispute in tx.disputes):
                continue  # the outcome of a lost dispute whose refund failed is not documented
            h.network.faults.rules.append(Fault("late", "*", "webhook", "drop", 1.0, None, 0.0))
            h.network.providers[merchant.provider].fail_refund(merchant.account, tx, done[0])
            h.network.faults.rules.clear()
            h.count("provider.refund_back_late")
            h.tell(f"provider: the refund {done[0].id} of {tx.reference} comes back, and no delivery tells it")
            return True
    return False


def _count_webhook_faults(h: History) -> None:
    for rule in h.network.faults.rules:
        if rule.operation == "webhook" and rule.struck:
            h.tally.counts[f"webhook.{rule.kind}"] += rule.struck


def _resend(h: History) -> None:
    """Send again the facts that only a webhook carries, as a provider's dashboard does on request. With reconciliation,
    they are found in the provider's listings, if it has any."""
    wanted = [mark.encode() for mark in [*h.told_only, *_paid_after_the_end(h)]]
    for delivery in list(h.network.deliverer.log):
        lost = delivery.state in ("dropped", "given_up") and not delivery.forged
        lost = lost and not (h.plan.compares and delivery.hook.provider in FIRST)
        if lost and any(mark in delivery.body for mark in wanted):
            delivery.state, delivery.tries = "queued", 0
            h.network.deliverer._put(delivery)
            h.tell(f"the provider sends {delivery.event} again")


def _paid_after_the_end(h: History) -> list[str]:
    """The references that were paid although their attempt had ended here: no lookup is made for it any more."""
    paid = {tx.reference for merchant in h.merchants for tx in merchant.account.transactions if tx.captured}
    attempts = [
        row
        for practice in h.plan.profiles
        for row in oracle.read(h, practice, ("payment_attempts",)).tables["payment_attempts"]
    ]
    return [row["id"] for row in attempts if row["id"] in paid and row["state"] in oracle.CLOSED]
