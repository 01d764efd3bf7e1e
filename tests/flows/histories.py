"""Random histories of one practice for the tests of its summaries: payments, duplicates, refunds, disputes, fees, days."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from itertools import count

from polytill.domain.errors import Conflict, Invalid
from polytill.domain.money import Money
from polytill.flows.review import resolve
from polytill.providers.contract import DisputeFact, PaymentFact, RefundFact
from polytill.providers.outcomes import Succeeded
from polytill.storage import cases
from polytill.storage.provider_configs import Configuration
from tests import calls
from tests.flows.scenes import LINK, REFUSED, Scene

CODES = ("scripted", "other")


@dataclass
class History:
    """What happens in one practice, by a seed."""

    scene: Scene
    chance: random.Random
    configured: dict[str, Configuration] = field(default_factory=dict)
    succeeded: list[str] = field(default_factory=list)
    refunds: list[str] = field(default_factory=list)
    numbers: count[int] = field(default_factory=lambda: count(1))

    def _paid(self, amount: int) -> Succeeded:
        fee = self.chance.choice([None, Money(0, "NGN"), Money(amount // 70, "NGN"), Money(amount // 900, "USD")])
        return Succeeded(Money(amount, "NGN"), f"tx-{next(self.numbers)}", fee)

    def _amount(self) -> int:
        return self.chance.randint(100, 99_999_999)

    async def _configuration(self, payment_id: str, number: int = -1) -> tuple[Configuration, str, int]:
        attempt = (await self.scene.attempts(payment_id))[number]
        return self.configured[attempt.provider_code], attempt.id, attempt.amount

    async def pay(self) -> None:
        """One that succeeds, is refused, or stays open."""
        amount, method = self._amount(), self.chance.choice([None, "card"])
        answer = self.chance.choice(["paid", "paid", "paid", "refused", "open"])
        if answer == "paid":
            self.scene.wire.says("create", self._paid(amount))
        elif answer == "refused":
            self.scene.wire.says("create", REFUSED, REFUSED)
        else:
            self.scene.wire.says("create", LINK)
        taken = await self.scene.pay(amount=amount, payment_method=method)
        if answer == "paid":
            self.succeeded.append(taken.payment.id)

    async def pay_twice(self) -> None:
        """The first attempt was refused, the second one won, and the first succeeds after all."""
        amount = self._amount()
        self.scene.wire.says("create", REFUSED, self._paid(amount))
        taken = await self.scene.pay(amount=amount)
        configuration, reference, _ = await self._configuration(taken.payment.id, 0)
        await self.scene.delivery(configuration, PaymentFact(self._paid(amount), reference))
        self.succeeded.append(taken.payment.id)

    async def refund(self) -> None:
        """Part or all of what is left, by us."""
        payment = await self.scene.payment(self.chance.choice(self.succeeded))
        left = payment.amount_captured - payment.amount_refunded - payment.refund_reserved - payment.amount_lost
        if left <= 0:
            return
        amount = self.chance.choice([left, self.chance.randint(1, left)])
        name = f"re-{next(self.numbers)}"
        self.scene.wire.says("refund", Succeeded(Money(amount, "NGN"), name))
        made = await calls.refund(self.scene.till, self.scene.practice_id, payment.id, key=name, amount=amount)
        self.refunds.append(made.id)

    async def refund_fails(self) -> None:
        """A refund that had succeeded comes to nothing."""
        if not self.refunds:
            return
        made = self.refunds.pop(self.chance.randrange(len(self.refunds)))
        row = await self.scene.db.one("SELECT payment_id, attempt_id FROM refunds WHERE id = $1", made)
        assert row is not None
        attempts = {attempt.id: attempt for attempt in await self.scene.attempts(row["payment_id"])}
        attempt = attempts[row["attempt_id"]]
        self.scene.wire.says("lookup_refund", REFUSED)
        fact = RefundFact("failed", made, payment_reference=attempt.id)
        await self.scene.delivery(self.configured[attempt.provider_code], fact)

    async def refund_at_provider(self) -> None:
        """In the provider's own dashboard, perhaps more than was captured."""
        configuration, reference, amount = await self._configuration(self.chance.choice(self.succeeded))
        returned = Money(self.chance.randint(1, amount), "NGN")
        fact = RefundFact("succeeded", None, f"dash-{next(self.numbers)}", reference, amount=returned)
        await self.scene.delivery(configuration, fact)

    async def dispute(self) -> None:
        """The bank takes part or all of a success back, of a duplicate as well."""
        number = self.chance.choice([0, -1])
        configuration, reference, amount = await self._configuration(self.chance.choice(self.succeeded), number)
        lost = Money(self.chance.randint(1, amount), "NGN")
        name = f"d-{next(self.numbers)}"
        for state in self.chance.choice([("open", "lost"), ("open", "won"), ("lost",)]):
            fact = DisputeFact(state, state, name, payment_reference=reference, amount=lost)
            await self.scene.delivery(configuration, fact)

    async def refund_duplicate(self) -> None:
        """A person gives a second success back."""
        found = await cases.listed(self.scene.db, kind="duplicate_payment")
        if not found:
            return
        case = self.chance.choice(found)
        attempts = await self.scene.attempts(str(case.payment_id))
        [attempt] = [one for one in attempts if one.id == case.subject]
        self.scene.wire.says("refund", Succeeded(Money(attempt.amount, "NGN"), f"re-{next(self.numbers)}"))
        try:
            await resolve.refund_duplicate(self.scene.context, self.scene.practice_id, case.id, "ada")
        except (Conflict, Invalid):
            self.scene.wire._script["refund"].clear()


async def play(scene: Scene, seed: int, steps: int = 40) -> History:
    """Some weeks of a practice, at any hour."""
    history = History(scene, random.Random(seed))
    for code in CODES:
        history.configured[code] = await scene.configure(code)
    scene.wire.always("confirm", LINK)
    scene.wire.always("lookup", LINK)
    for step in range(steps):
        scene.clock.at_s += history.chance.choice([1, 600, 1799, 1800, 3600, 7 * 3600, 26 * 3600])
        actions = [history.pay, history.pay, history.pay_twice]
        if history.succeeded:
            actions += [
                history.refund,
                history.refund,
                history.refund_fails,
                history.refund_at_provider,
                history.dispute,
                history.refund_duplicate,
            ]
        action = history.chance.choice(actions) if step > 3 else history.pay_twice
        try:
            await action()
        except Conflict:  # a refund of a disputed payment, for example
            for queue in scene.wire._script.values():
                queue.clear()
    return history
