"""Staff who resolve unknown outcomes while every provider is down: from the statement, or wrongly.

Seeds from ``plan.STAFF_FROM`` on play them. Afterward, the providers answer again and confirm or contradict them.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from polytill.domain.errors import CallerError
from polytill.flows.context import Context
from polytill.flows.review import staff_decisions
from polytill.flows.review.staff_decisions import Proof
from polytill.simulator.books import Transaction
from simulation import oracle
from simulation.decisions import was_made
from simulation.ground import marks_of
from simulation.hosts import Host

if TYPE_CHECKING:
    from simulation.history import History

OUTAGE_S = 4800.0  # a review case opens within an hour, and the nodes check at least every 15 minutes
TABLES = ("operator_cases", "payment_attempts", "refunds", "payment_operations", "payment_identifiers")
BY_APPROVAL = ("paypal",)  # a payment that a customer approved there is captured by our call
NOTE = "On the provider's statement."
Row = dict[str, Any]


class Staff(Host):
    """All staff of all practices who resolve review cases."""

    def __init__(self, history: History) -> None:
        super().__init__(history, "staff")

    async def act_blindly(self) -> None:
        """Refund, capture and cancel while no provider answers, to create unknown outcomes."""
        for practice in sorted(self.h.plan.profiles):
            rows = oracle.read(self.h, practice, ("payments", "payment_attempts"))
            for payment in sorted(rows.tables["payments"], key=lambda row: str(row["id"])):
                if self.chance.random() < 0.3:
                    continue
                if payment["status"] == "succeeded":
                    await self.refund(practice, payment["id"])
                elif payment["status"] == "authorized" and self.chance.random() < 0.6:
                    await self.capture(practice, payment["id"], None)
                elif payment["status"] == "authorized":
                    await self.cancel(practice, payment["id"])

    async def decide_all(self) -> None:
        """Read every case with an unknown outcome, and resolve most of them."""
        for practice in sorted(self.h.plan.profiles):
            rows = oracle.read(self.h, practice, TABLES)
            for case in sorted(rows.tables["operator_cases"], key=lambda row: str(row["id"])):
                if case["kind"] == "unresolved" and case["state"] == "open":
                    await self._look_at(practice, rows, case)

    async def _look_at(self, practice: int, rows: oracle.Rows, case: Row) -> None:
        detail = json.loads(case["detail"])
        if "attempt" in detail:
            [attempt] = [row for row in rows.tables["payment_attempts"] if row["id"] == detail["attempt"]]
            await self._payment(practice, rows, case, attempt)
            return
        table = "refunds" if "refund" in detail else "payment_operations"
        found = [row for row in rows.tables[table] if row["id"] == (detail.get("refund") or detail.get("operation"))]
        attempts = {row["id"]: row for row in rows.tables["payment_attempts"]}
        if found:
            what = "refund" if table == "refunds" else found[0]["kind"]
            await self._operation(practice, case, found[0], what, attempts[found[0]["attempt_id"]])

    # ── Payments ──

    async def _payment(self, practice: int, rows: oracle.Rows, case: Row, attempt: Row) -> None:
        chance, held = self.chance, self._held(practice, attempt["id"])
        self._pays_lost(practice, held)
        is_paid = any(tx.captured for tx in held)
        if attempt["id"] in self.h.other_amount or chance.random() < (0.25 if is_paid else 0.6):
            return  # left to the provider
        if chance.random() < 0.3:
            await self._refused(practice, case, attempt, "another amount", "X-1", attempt["amount"] + 100)
            taken = self._of_another(rows, attempt)
            if taken is not None:
                await self._refused(practice, case, attempt, "another's transaction", taken, attempt["amount"])
        named = self._named(held) if is_paid and chance.random() < 0.75 else f"TYPED{chance.randrange(10**8)}"
        kind = "paid_wrongly" if not is_paid else "paid" if named in self._names(held) else "other_receipt"
        self.h.count(f"staff.{kind}")
        if chance.random() < 0.6:  # its provider's report arrives later, at times under another id of the same payment
            self.h.told_only += [tx.id for tx in held]
        said = ("payment", True, named)

        async def act(context: Context) -> object:
            proof = Proof(NOTE, named, attempt["amount"])
            return await staff_decisions.mark_paid(context, practice, case["id"], proof, "staff")

        await self._say(case, attempt["id"], said, f"mark {attempt['id']} as paid by {named}", act)

    def _pays_lost(self, practice: int, held: list[Transaction]) -> None:
        """A link with a lost answer may have been paid meanwhile, because its provider sent it by e-mail."""
        for tx in held:
            if tx.payable and tx.provider not in BY_APPROVAL and self.chance.random() < 0.5:
                [merchant] = [m for m in self.h.merchants if m.practice == practice and tx in m.account.transactions]
                self.h.count("payer.lost_link")
                self.h.told_only.append(str(tx.reference))
                self.h.network.providers[tx.provider].pay(merchant.account, tx, "success")
                self.h.tell(f"payer of the lost {tx.reference}: success")
                return

    async def _refused(self, practice: int, case: Row, attempt: Row, why: str, named: str, amount: int) -> None:
        """A transaction that cannot have paid the attempt is rejected."""

        async def act(context: Context) -> object:
            return await staff_decisions.mark_paid(context, practice, case["id"], Proof(NOTE, named, amount), "staff")

        answer = await self.ask(f"mark {attempt['id']} as paid by {named}: {why}", act)
        self.h.count("staff.refused")
        if answer is not None and not isinstance(answer, CallerError):
            self.h.problem(f"attempt {attempt['id']} was marked as paid by {why}")

    def _of_another(self, rows: oracle.Rows, attempt: Row) -> str | None:
        """The provider's id of another payment of the same configuration."""
        others = {
            row["id"]
            for row in rows.tables["payment_attempts"]
            if row["config_id"] == attempt["config_id"]
            and row["environment"] == attempt["environment"]
            and row["id"] != attempt["id"]
            and row["state"] == "succeeded"
        }
        found = [
            row["value"]
            for row in rows.tables["payment_identifiers"]
            if row["attempt_id"] in others and row["kind"] == "transaction"
        ]
        return sorted(found)[0] if found else None

    def _held(self, practice: int, reference: str) -> list[Transaction]:
        return [
            tx
            for merchant in self.h.merchants
            if merchant.practice == practice
            for tx in merchant.account.transactions
            if tx.reference == reference
        ]

    def _names(self, held: list[Transaction]) -> set[str]:
        paid = [tx for tx in held if tx.captured]
        receipts = [getattr(tx.wire, "receipt", "") for tx in paid]
        return {*(tx.id for tx in paid), *filter(None, receipts)}

    def _named(self, held: list[Transaction]) -> str:
        """Its name on the statement: for M-Pesa, the receipt."""
        paid = next(tx for tx in held if tx.captured)
        receipt = getattr(paid.wire, "receipt", "")
        return str(receipt) if receipt and self.chance.random() < 0.7 else paid.id

    # ── Refunds, captures, cancels ──

    async def _operation(self, practice: int, case: Row, row: Row, what: str, attempt: Row) -> None:
        chance, held = self.chance, self._held(practice, attempt["id"])
        is_made = was_made(what, row["id"], held)
        if chance.random() < 0.2:
            return
        says = is_made if chance.random() < 0.65 else not is_made
        self.h.count(f"staff.{'done' if says else 'not_done'}{'' if says is is_made else '_wrongly'}")
        both = [says, not says] if chance.random() < 0.15 else [says]

        async def one(is_done: bool) -> None:
            async def act(context: Context) -> object:
                return await staff_decisions.decide(context, practice, case["id"], is_done, Proof(NOTE), "staff")

            told = f"decide that {what} {row['id']} was {'' if is_done else 'not '}done"
            await self._say(case, row["id"], (what, is_done, None), told, act)

        for task in [self.h.loop.create_task(one(is_done)) for is_done in both]:
            await task
        if what == "refund":
            self.h.plan.compares = True  # of two refunds of one amount, the webhooks can report only one
            self.h.told_only.append(row["id"])  # a late report of its provider is sent again
            made = [one for tx in held for one in tx.refunds if row["id"] in f"{one.reference} {one.wire}"]
            self.h.told_only += [mark for one in made for mark in marks_of(one)]
            if both == [False] and chance.random() < 0.3:
                self.h.count("staff.refunds_again")
                await self.refund(practice, row["payment_id"])

    async def _say(self, case: Row, subject: str, said: tuple[str, bool, str | None], told: str, act: Any) -> None:
        self.h.said.setdefault(subject, []).append(said)
        answer = await self.ask(told, act)
        if answer is None or isinstance(answer, CallerError):
            return
        if self.h.decided.setdefault(subject, said) != said:
            self.h.problem(f"{subject} was decided twice: {self.h.decided[subject]} and {said}")


async def outage(history: History, at: float, kind: str) -> None:
    """Every provider is down for more than an hour, and staff resolve cases meanwhile."""
    from polytill.simulator.faults import Fault

    await asyncio.sleep(at)
    away = [
        Fault("outage", "*", "*", kind, 1.0, None, 0.0),
        Fault("outage of webhooks", "*", "webhook", "drop", 1.0, None, 0.0),
    ]
    rules = history.network.faults.rules
    rules[:0] = away
    history.tell(f"every provider is away ({kind})")
    staff = Staff(history)
    await asyncio.sleep(staff.chance.uniform(5, 200))
    await staff.act_blindly()
    await asyncio.sleep(OUTAGE_S)
    await staff.decide_all()
    for rule in away:
        rules.remove(rule)
    history.tell("every provider is back")
