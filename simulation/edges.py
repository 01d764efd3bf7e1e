"""Edge-case stories: disputes, refunds and duplicates of the same money, unknown codes, corrected customer data.

Seeds from ``plan.EDGES_FROM`` on run them. The same books judge their results.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from polytill.domain.errors import CallerError
from polytill.flows.command import Command
from polytill.flows.context import Context
from polytill.flows.payments.reading import PaymentDetails
from polytill.flows.recovery import checkout
from polytill.flows.refunds.create import RefundRequest, create_refund
from polytill.flows.review import resolve
from polytill.providers.contract import Customer
from polytill.simulator.books import DisputeStory, Transaction
from simulation import oracle
from simulation.ground import marks_of
from simulation.hosts import Host

if TYPE_CHECKING:
    from polytill.simulator.wire import Provider
    from simulation.history import Merchant

# Providers that report disputes; those that settle a lost one with a refund; those that report inquiries; and those
# whose dashboard rejects refunds while a chargeback is open.
DISPUTED_AT = ("stripe", "paystack", "paypal")
PAY_BY_REFUND = ("paystack", "paypal")
INQUIRE = ("stripe", "paypal")
REFUSE_WHILE_DISPUTED = ("stripe",)
REASONS = {
    "stripe": ("fraudulent", "product_not_received", "duplicate", "a_reason_of_next_year"),
    "paystack": ("chargeback", "fraud", "a reason of next year"),
    "paypal": ("MERCHANDISE_OR_SERVICE_NOT_RECEIVED", "UNAUTHORISED", "A_REASON_OF_NEXT_YEAR"),
}
CORRECTED = "+254722000001"  # the number of "+254 (0)722 000 001"
# Decline codes that no version of the product knows.
NEW_WORDS = {
    "stripe": ("a_decline_of_next_year", "Your card was declined."),
    "paystack": ("A decline of next year", "A decline of next year"),
    "flutterwave": ("A decline of next year", "A decline of next year"),
    "flutterwave_v4": ("decline_of_next_year", "Declined."),
    "paypal": ("ISSUE_OF_NEXT_YEAR", "The request was refused."),
    "mpesa": ("4321", "A result of next year."),
}


class Edges(Host):
    """The edge cases that a story can add."""

    def declines_in_new_words(self, merchant: Merchant, tx: Transaction) -> None:
        """The provider declines with an unknown code."""
        self.h.count("edge.new_words")
        tx.said = NEW_WORDS[merchant.provider]
        self.h.network.providers[merchant.provider].pay(merchant.account, tx, "decline")
        tx.said = None
        self.h.tell(f"{merchant.provider} declines {tx.reference} as {NEW_WORDS[merchant.provider][0]!r}")

    async def tries_again(self, practice: int, payment_id: str) -> bool:
        """After a failed payment, the customer starts a new attempt. Returns whether there is one."""
        typed = self.chance.choice((None, Customer(phone="+254 (0)722 000 001"), Customer("Corrected@Example.com")))
        self.h.count("edge.tries_again" if typed is None else "edge.corrects_data")
        before = await self._attempts(practice, payment_id)

        async def act(context: Context) -> PaymentDetails:
            if typed is None:
                return await checkout.try_again(context, practice, payment_id)
            return await checkout.correct(context, practice, payment_id, typed)

        answer = await self.ask(f"try {payment_id} again", act)
        if isinstance(answer, CallerError):
            self.h.problem(f"a customer could not try {payment_id} again: {answer.code} {answer.detail}")
        if not isinstance(answer, PaymentDetails):
            return False
        self.hand(answer)
        kept = answer.payment
        if typed is not None and len(answer.attempts) > before and typed.phone and kept.customer_phone != CORRECTED:
            self.h.problem(f"{payment_id} was tried again with {kept.customer_phone}, not as it was corrected")
        return len(answer.attempts) > before

    async def _attempts(self, practice: int, payment_id: str) -> int:
        return len(oracle.read(self.h, practice, ("payment_attempts",)).of("payment_attempts", payment_id))

    async def same_money(self, practice: int, merchant: Merchant, tx: Transaction) -> None:
        """A dispute, and refunds at the provider and here at the same time, in any order."""
        h, chance, provider = self.h, self.chance, self.h.network.providers[merchant.provider]
        if chance.random() < 0.3:
            self._refund_at_the_desk(provider, merchant, tx)
            await asyncio.sleep(chance.uniform(0, 5))
        story = self._story(merchant, tx)
        if tx.refundable <= 0 or any(one.status == "lost" for one in tx.disputes) or tx.open_dispute():
            return
        h.count(f"edge.{story.kind}")
        made = provider.dispute(merchant.account, tx, "open", story)
        h.told_only.append(made.id)
        h.tell(f"provider: {story.kind} of {made.amount} about {tx.reference}")
        await asyncio.sleep(chance.uniform(0, 20))
        if made.kind == "chargeback" and chance.random() < 0.4:
            await self._is_asked_about(practice, tx, made.id)
        if chance.random() < (0.6 if story.kind == "inquiry" else 0.35):
            await self.refund(practice, self._payment_of(tx), chance.random() < 0.5)
        if story.kind == "inquiry" and chance.random() < 0.6:
            h.count("edge.escalated")
            provider.dispute(merchant.account, tx, "open", DisputeStory("chargeback"))
            h.tell(f"provider: the inquiry {made.id} becomes a chargeback")
            await asyncio.sleep(chance.uniform(0, 20))
        if chance.random() < 0.3 and (merchant.provider not in REFUSE_WHILE_DISPUTED or made.kind == "inquiry"):
            self._refund_at_the_desk(provider, merchant, tx)
        ends = ("closed", "open") if made.kind == "inquiry" else ("won", "lost", "lost", "open")
        outcome = chance.choice(ends)
        if outcome == "open":
            return
        await asyncio.sleep(chance.uniform(0, 30))
        by_refund = outcome == "lost" and merchant.provider in PAY_BY_REFUND and chance.random() < 0.6
        provider.dispute(merchant.account, tx, outcome, DisputeStory(made.kind, with_refund=by_refund))
        if made.paid_by_refund:
            h.count("edge.paid_by_refund")
            h.told_only += marks_of(tx.refunds[-1])
        h.count(f"edge.{made.kind}_{outcome}")
        h.tell(f"provider: {made.kind} {made.id} is {outcome}{', paid by a refund' if made.paid_by_refund else ''}")

    async def _is_asked_about(self, practice: int, tx: Transaction, dispute: str) -> None:
        """A request that does not accept the risk refunds no money of an open chargeback."""

        def told() -> list[int]:
            rows = oracle.read(self.h, practice, ("disputes",)).tables["disputes"]
            open_ones = [row for row in rows if row["state"] == "open" and row["kind"] == "chargeback"]
            return [row["amount"] or tx.captured for row in open_ones if row["provider_dispute_id"] == dispute]

        payment_id, key = self._payment_of(tx), self.fresh("unasked")
        if sum(one.captured > 0 for one in self.h.transactions_of(payment_id)) > 1:
            return  # duplicate payment: the dispute can be about the other money
        free = tx.refundable - sum(told()) if told() else None
        answer = await self.ask(
            f"refund all of {payment_id}, which is disputed",
            lambda context: create_refund(context, practice, payment_id, RefundRequest(), Command(key, "host")),
        )
        if isinstance(answer, tuple) and free is not None and told() and answer[0].amount > max(0, free):
            self.h.problem(f"{answer[0].amount} of {payment_id} was refunded, although only {free} is not disputed")

    def _story(self, merchant: Merchant, tx: Transaction) -> DisputeStory:
        chance, code = self.chance, merchant.provider
        kind = chance.choice(("inquiry", "chargeback")) if code in INQUIRE else "chargeback"
        amount = chance.choice((None, None, max(1, tx.refundable // 3)))
        # Paystack's samples name neither currency nor amount. Such a dispute is about the whole payment.
        bare = code == "paystack" and amount is None and not tx.reserved and chance.random() < 0.5
        return DisputeStory(kind, amount, chance.choice(REASONS[code]), bare)

    def _refund_at_the_desk(self, provider: Provider, merchant: Merchant, tx: Transaction) -> None:
        if tx.refundable <= 100:
            return
        # Never the disputed amount: of two equal amounts, only a person can tell which was returned how.
        amount = self.chance.choice((tx.refundable, max(1, tx.refundable // 5)))
        if any(dispute.amount == amount for dispute in tx.disputes):
            amount -= 100
        self.h.plan.compares = True  # of two refunds of one amount, the webhooks can report only one
        made = provider.refund_in_dashboard(merchant.account, tx, amount)
        self.h.count("edge.refund_beside_dispute")
        self.h.told_only += marks_of(made)
        self.h.tell(f"dashboard: {amount} of {tx.reference} refunded beside a dispute")

    def _payment_of(self, tx: Transaction) -> str:
        return next(name for name, made in self.h._by_payment.items() if tx in made)

    async def refunds_duplicates(self, practice: int) -> None:
        """Staff refund duplicate payments, regardless of other events about that money."""
        rows = oracle.read(self.h, practice, ("operator_cases",)).tables["operator_cases"]
        for case in [row for row in rows if row["kind"] == "duplicate_payment" and row["state"] == "open"]:
            accepts = self.chance.random() < 0.5
            self.h.count("edge.refund_duplicate")

            async def act(context: Context, name: str = case["id"], accepts: bool = accepts) -> object:
                return await resolve.refund_duplicate(context, practice, name, "staff", accepts)

            answer = await self.ask(f"refund the duplicate {case['subject']}", act)
            if isinstance(answer, CallerError):
                self.h.tell(f"the duplicate {case['subject']} is not refunded: {answer.code}")
