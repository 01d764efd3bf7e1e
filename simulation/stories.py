"""Stories: one payment each, from the order to the last refund, with all its actors."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from polytill.domain.errors import CallerError, Conflict
from polytill.domain.money import Money
from polytill.domain.states import AttemptState, CaptureMode, PaymentStatus
from polytill.flows.command import Command
from polytill.flows.payments.create import create_payment
from polytill.flows.payments.reading import PaymentDetails
from polytill.flows.payments.request import PaymentRequest
from polytill.providers.contract import Customer
from polytill.simulator.books import Transaction
from simulation import forgery, oracle
from simulation.edges import DISPUTED_AT, Edges
from simulation.ground import EXPIRES_S, PUSHED, currencies_of, marks_of
from simulation.hosts import USUAL_REFUND

if TYPE_CHECKING:
    from simulation.history import Merchant

HOLDING = ("stripe", "paypal")  # providers that can authorize an amount first
FIXED_AMOUNT = ("stripe", "paypal", "mpesa")  # the customer cannot pay another amount there
LISTED_DISPUTES = ("flutterwave", "flutterwave_v4")  # reported in a list, without a webhook
SILENT_DISPUTES = tuple(one for one in PUSHED if one not in LISTED_DISPUTES)  # not reported at all
_OPEN = (PaymentStatus.requires_action, PaymentStatus.processing)


class Story(Edges):
    """One payment's story."""

    async def run(self, at: float | None = None) -> None:
        """Run from the order to the last refund."""
        await asyncio.sleep(self.chance.uniform(0, 25) if at is None else at)
        h, chance = self.h, self.chance
        practice = chance.choice(sorted(h.plan.profiles))
        providers = h.plan.profiles[practice].providers
        holding = [code for code in HOLDING if code in providers]
        manual = bool(holding) and chance.random() < 0.3
        pinned = holding[0] if manual else chance.choice((None, None, chance.choice(providers)))
        key = self.fresh("key")
        taken_in = sorted({code for one in ((pinned,) if pinned else providers) for code in currencies_of(one)})
        body = PaymentRequest(
            Money(chance.randrange(100_00, 90_000_00, 100), chance.choice(taken_in)),
            customer=Customer("payer@example.com", "Ada Payer", "254712345678"),
            provider_code=pinned,
            capture=CaptureMode.manual if manual else CaptureMode.automatic,
        )
        first = await self._created(practice, body, key)
        if first is None:
            return
        await self._payer(practice, first)
        await self._afterwards(practice, first.payment.id, manual)

    async def _created(self, practice: int, body: PaymentRequest, key: str) -> PaymentDetails | None:
        h, chance = self.h, self.chance
        h.count("host.create")
        asked = f"create {key} {body.amount} at practice {practice}"

        async def once() -> Any:
            answer = await self.ask(
                asked, lambda context: create_payment(context, practice, body, Command(key, "host"))
            )
            if isinstance(answer, PaymentDetails):
                self._same(practice, key, answer)
                self.hand(answer)
            return answer

        twins = 2 if chance.random() < 0.15 else 1
        answers = [await task for task in [h.loop.create_task(once()) for _ in range(twins)]]
        if twins == 2 or chance.random() < 0.1:
            h.count("host.same_key")
            answers.append(await once())
        taken = [answer for answer in answers if isinstance(answer, PaymentDetails)]
        if taken and chance.random() < 0.1:
            await self._other_body(practice, body, key)
        for answer in answers:
            if isinstance(answer, CallerError):
                h.problem(f"{asked} was refused: {answer.code} {answer.detail}")
        return taken[0] if taken else None

    def _same(self, practice: int, key: str, answer: PaymentDetails) -> None:
        known = self.h.keys.setdefault((practice, key), answer.payment.id)
        if known != answer.payment.id:
            self.h.problem(f"the key {key} gave two payments: {known} and {answer.payment.id}")

    async def _other_body(self, practice: int, body: PaymentRequest, key: str) -> None:
        self.h.count("host.other_body")
        other = PaymentRequest(Money(body.amount.minor + 100, body.amount.currency), customer=body.customer)
        answer = await self.ask(
            f"create {key} with another body",
            lambda context: create_payment(context, practice, other, Command(key, "host")),
        )
        if answer is not None and not isinstance(answer, Conflict):
            self.h.problem(f"the key {key} with another body was not refused")

    async def _link(self, practice: int, payment_id: str) -> str | None:
        """The reference of the customer's payment link; waits for one for a while."""
        for wait in (0.5, 3.0, 15.0, 30.0, 60.0, 90.0):
            taken = await self.look(practice, payment_id)
            if taken is not None:
                mine = [a.id for a in taken.attempts if a.id in self.h.handed and a.state is AttemptState.needs_action]
                if mine:
                    return mine[-1]
                if taken.payment.status not in _OPEN:
                    return None
            prompts = [tx for tx in self.h.transactions_of(payment_id) if _rings(tx) and tx.payable]
            if prompts:  # they need no link
                self.h.count("payer.prompt")
                return prompts[-1].reference
            await asyncio.sleep(wait)
        return None

    # ── The customer ──

    async def _payer(self, practice: int, first: PaymentDetails) -> None:
        h, chance, payment_id = self.h, self.chance, first.payment.id
        shown_at_once = [a.id for a in first.attempts if a.id in h.handed]
        reference = shown_at_once[-1] if shown_at_once else await self._link(practice, payment_id)
        if reference is None:
            return
        await asyncio.sleep(chance.uniform(0.1, 8))
        habits = (
            "pay",
            "decline, pay",
            "abandon",
            "late",
            "cancel",
            "cancel, pay",
            "lost link",
            "other amount",
            "forged",
        )
        habit = chance.choices(habits, (42, 14, 7, 8, 5, 6, 7, 4, 7))[0]
        if habit == "forged":
            await self._forged(practice, reference)
        if habit.startswith("cancel"):
            await self.cancel(practice, payment_id)
        if habit in ("abandon", "cancel") or (habit == "forged" and chance.random() < 0.4):
            h.count("payer.abandon")
            return
        if habit == "late":
            h.count("payer.late")
            await asyncio.sleep(chance.uniform(0.9, 2.2) * EXPIRES_S)
        if habit == "decline, pay":
            self._declined(practice, reference)
            await asyncio.sleep(chance.uniform(0.2, 5))
            if h.plan.edges:
                again = await self._after_decline(practice, payment_id)
                reference = again or reference
        if habit == "other amount":
            self._changes_amount(practice, reference)
        self._pays(practice, reference, "success")
        if habit == "lost link":
            self._pays_lost(practice, payment_id)
        if chance.random() < 0.15:
            h.count("payer.again")
            self._pays(practice, reference, "success")
        if chance.random() < 0.5:
            await asyncio.sleep(chance.uniform(0, 1.0))
            await self.look(practice, payment_id)

    async def _after_decline(self, practice: int, payment_id: str) -> str | None:
        """The customer reads the result and tries again if possible, at times with corrected data."""
        found = await self.look(practice, payment_id)
        if found is None or found.payment.status is not PaymentStatus.failed:
            return None
        again = await self.tries_again(practice, payment_id)
        return await self._link(practice, payment_id) if again else None

    def _declined(self, practice: int, reference: str) -> None:
        found = self.h.transaction(practice, reference)
        if (
            hasattr(found[1] if found else None, "said")
            and self.h.plan.edges
            and found
            and found[1].payable
            and self.chance.random() < 0.7
        ):
            self.declines_in_new_words(*found)
        else:
            self._pays(practice, reference, "decline")

    def _pays(self, practice: int, reference: str, outcome: str) -> None:
        h = self.h
        found = h.transaction(practice, reference)
        if found is None:
            h.problem(f"a payer holds a link to {reference}, which no provider knows")
            return
        merchant, tx = found
        if not tx.payable:
            h.tell(f"payer of {reference} cannot {outcome}: {tx.status}")
            return
        h.count("payer.pay" if outcome == "success" else "payer.decline")
        h.operations += 1
        if merchant.provider == "paypal" and outcome == "success" and tx.wire.status == "PAYER_ACTION_REQUIRED":
            self._agrees(practice, reference)
        h.network.providers[merchant.provider].pay(merchant.account, tx, outcome)
        h.tell(f"payer of {reference}: {outcome}")

    def _agrees(self, practice: int, reference: str) -> None:
        """Money moves only when the approved payment is captured, which is required unless it was given up long before."""
        rows = oracle.read(self.h, practice, ("payment_attempts",)).tables["payment_attempts"]
        [attempt] = [row for row in rows if row["id"] == reference]
        if self.h.plan.clock_jumps:
            return  # then nobody can tell how long before
        if attempt["state"] == "needs_action":
            self.h.agreed[reference] = self.h.loop.now
        elif attempt["state"] in oracle.CLOSED and oracle.changed_at_s(attempt) + oracle.UNDER_WAY_S < self.h.loop.now:
            self.h.agreed_too_late.add(reference)

    def _pays_lost(self, practice: int, payment_id: str) -> None:
        """A link with a lost answer is paid nevertheless: no customer should have it, but the provider's facts count."""
        for tx in self.h.transactions_of(payment_id):
            if tx.payable and tx.reference and tx.reference not in self.h.handed:
                self.h.count("payer.lost_link")
                self.h.told_only.append(tx.reference)  # its attempt has ended: no lookup is made any more
                self._pays(practice, tx.reference, "success")

    def _changes_amount(self, practice: int, reference: str) -> None:
        found = self.h.transaction(practice, reference)
        if found and found[1].payable and found[0].provider not in FIXED_AMOUNT:
            self.h.count("fault.other_amount")
            self.h.other_amount.add(reference)
            found[1].amount -= 100
            self.h.tell(f"{reference} will be paid with {found[1].amount}")

    # ── After the payment ──

    async def _afterwards(self, practice: int, payment_id: str, manual: bool) -> None:
        h, chance = self.h, self.chance
        if manual:
            await self._capture_or_not(practice, payment_id)
        if chance.random() < 0.25:
            return
        for wait in (2.0, 10.0, 40.0):
            await asyncio.sleep(chance.uniform(0, 1.5))
            taken = await self.look(practice, payment_id)
            if taken is not None and taken.payment.status is PaymentStatus.succeeded:
                break
            await asyncio.sleep(wait)
        else:
            return
        acts: list[Coroutine[Any, Any, None]] = [
            self.refund(practice, payment_id) for _ in range(chance.choices((0, 1, 2), (30, 45, 25))[0])
        ]
        if chance.random() < 0.45:
            acts.append(self._provider_acts(practice, payment_id))
        for task in [h.loop.create_task(act) for act in acts]:
            await task
        if h.plan.edges and chance.random() < 0.6:
            await self.refunds_duplicates(practice)

    async def _capture_or_not(self, practice: int, payment_id: str) -> None:
        chance = self.chance
        for wait in (1.0, 5.0, 40.0):
            taken = await self.look(practice, payment_id)
            if taken is not None and taken.payment.status is PaymentStatus.authorized:
                break
            await asyncio.sleep(wait)
        else:
            return
        choice = chance.choices(("capture", "part", "cancel", "nothing", "both"), (45, 20, 15, 8, 12))[0]
        held = taken.payment.amount_authorized
        works: list[Coroutine[Any, Any, None]] = []
        if choice in ("capture", "part", "both"):
            works.append(self.capture(practice, payment_id, held // 2 if choice == "part" else None))
        if choice in ("cancel", "both"):
            works.append(self.cancel(practice, payment_id))
        for task in [self.h.loop.create_task(work) for work in works]:
            await task

    # ── The provider's staff, and others ──

    async def _provider_acts(self, practice: int, payment_id: str) -> None:
        h, chance = self.h, self.chance
        await asyncio.sleep(chance.uniform(0, 20))
        paid = [tx for tx in h.transactions_of(payment_id) if tx.captured and tx.reference]
        if not paid or paid[0].reference in h.other_amount or paid[0].provider == "mpesa":
            return  # a refund by Safaricom's staff is not reported
        found = h.transaction(practice, str(paid[0].reference))
        if found is None:
            return
        merchant, tx = found
        if h.plan.edges and merchant.provider in DISPUTED_AT and chance.random() < 0.7:
            await self.same_money(practice, merchant, tx)
            return
        choice = chance.choice(("refund", "fail", "dispute", "dispute", "echo"))
        if choice == "refund" and tx.refundable > 100:
            h.count("provider.dashboard_refund")
            # At times the host requests the same amount at the same time: neither may be taken for the other.
            amount = chance.choice((tx.refundable, tx.refundable // 2, min(USUAL_REFUND, tx.refundable)))
            if amount == USUAL_REFUND:
                # A webhook without the refund's name may be applied to the other one. Reconciliation then finds the
                # rest.
                h.plan.compares = True
            made = h.network.providers[merchant.provider].refund_in_dashboard(merchant.account, tx, amount)
            h.told_only += marks_of(made)
            h.tell(f"dashboard: {amount} of {tx.reference} refunded")
        elif choice == "fail":
            await self._refund_fails(merchant, tx)
        elif (
            choice == "dispute"
            and merchant.provider not in SILENT_DISPUTES
            and (self.h.plan.compares or merchant.provider not in LISTED_DISPUTES)
            and not any(d.status == "lost" for d in tx.disputes)
        ):
            await self._disputed(merchant, tx)

    async def _refund_fails(self, merchant: Merchant, tx: Transaction) -> None:
        await asyncio.sleep(self.chance.uniform(0, 60))
        if any(dispute.paid_by_refund for dispute in tx.disputes):
            return  # the outcome of a lost dispute whose refund failed is not documented
        for made in tx.refunds:
            if made.status == "succeeded":
                self.h.count("provider.refund_fails")
                self.h.told_only += marks_of(made)
                self.h.tell(f"provider: the refund {made.id} of {tx.reference} comes back")
                self.h.network.providers[merchant.provider].fail_refund(merchant.account, tx, made)
                return

    async def _disputed(self, merchant: Merchant, tx: Transaction) -> None:
        h = self.h
        provider = h.network.providers[merchant.provider]
        made = provider.dispute(merchant.account, tx, "open")
        h.told_only.append(made.id)
        h.count("provider.dispute_open")
        h.tell(f"provider: {tx.reference} is disputed")
        outcome = self.chance.choice(("won", "lost", "open"))
        if outcome == "open":
            return
        await asyncio.sleep(self.chance.uniform(0, 60))
        provider.dispute(merchant.account, tx, outcome)
        h.count(f"provider.dispute_{outcome}")
        h.tell(f"provider: the dispute of {tx.reference} is {outcome}")

    async def _forged(self, practice: int, reference: str) -> None:
        """Before the customer pays, a forged webhook reports the payment as paid."""
        found = self.h.transaction(practice, reference)
        if found is not None and found[1].payable:
            await forgery.attack(self.h, self.chance, *found)


def _rings(tx: Transaction) -> bool:
    """Whether the customer's phone rings, even if the answer is lost."""
    return tx.provider == "mpesa" or (tx.provider == "flutterwave_v4" and tx.wire.method["type"] == "mobile_money")
