"""Hosts: the practices' own software. It sends requests, retries with the same key after a crash, and finally gives up."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from polytill.domain.errors import CallerError, NotNow, PolytillError
from polytill.domain.states import AttemptState
from polytill.flows.command import Command
from polytill.flows.context import Context
from polytill.flows.payments import capture_cancel
from polytill.flows.payments.reading import PaymentDetails
from polytill.flows.recovery import lookup
from polytill.flows.refunds.create import RefundRequest, create_refund
from simulation.deaths import Cut

if TYPE_CHECKING:
    from simulation.history import History

Act = Callable[[Context], Coroutine[Any, Any, Any]]
TRIES = 9
USUAL_REFUND = 50_00  # the amount that the host and the provider refund repeatedly


class Host:
    """One practice's software, or a part of it. ``chance`` is its own, so its choices depend on nothing else."""

    def __init__(self, history: History, name: str) -> None:
        self.h = history
        self.name = name
        self.chance = random.Random(f"{history.seed} {name}")
        self._keys = 0

    def fresh(self, kind: str) -> str:
        """An unused idempotency key."""
        self._keys += 1
        return f"{kind}-{self.name}.{self._keys}"

    async def ask(self, what: str, act: Act) -> Any:
        """Send a request until there is an answer, always with the same key. A rejection is returned as the exception."""
        h = self.h
        for number in range(TRIES):
            if number:
                h.count("host.same_key")
                await asyncio.sleep(self.chance.uniform(0.1, 1.5) * 1.7**number)
            life = h.any_life()
            if life is None:
                continue
            h.operations += 1
            try:
                answer = await life.serve(act, self.chance.choice((2.0, 20.0, 60.0)))
            except Cut as cut:
                h.tell(f"{what} on {life.name}: {cut}")
                continue
            except CallerError as refusal:
                h.tell(f"{what} on {life.name}: {refusal.status} {refusal.code}")
                return refusal
            except NotNow as error:
                h.tell(f"{what} on {life.name}: {error.code}")
                continue
            except PolytillError as error:
                h.unexpected(f"{what.split()[0]} ended in {type(error).__name__}: {error}")
                continue
            except Exception as error:
                h.unexpected(f"{what.split()[0]} raised {type(error).__name__}: {error}")
                continue
            h.tell(f"{what} on {life.name}: {shown(answer)}")
            return answer
        h.tell(f"{what}: given up")
        return None

    def hand(self, taken: PaymentDetails) -> None:
        """Give the customer the next action."""
        payable = {a.id for a in taken.attempts if a.state is AttemptState.needs_action and a.next_action is not None}
        if len(payable) > 1:
            self.h.problem(f"a second link for payment {taken.payment.id} beside the one in the payer's hand")
        self.h.handed |= payable

    async def look(self, practice: int, payment_id: str) -> PaymentDetails | None:
        """Read the current state of a payment."""
        self.h.count("host.confirm")
        answer = await self.ask(f"confirm {payment_id}", lambda context: lookup.confirm(context, practice, payment_id))
        if isinstance(answer, PaymentDetails):
            self.hand(answer)
            return answer
        return None

    async def cancel(self, practice: int, payment_id: str) -> None:
        """Cancel a payment."""
        self.h.count("host.cancel")
        key = self.fresh("cancel")
        await self.ask(
            f"cancel {payment_id}",
            lambda context: capture_cancel.cancel(context, practice, payment_id, Command(key, "host")),
        )

    async def capture(self, practice: int, payment_id: str, amount: int | None) -> None:
        """Capture an authorized payment, or part of it."""
        self.h.count("host.capture")
        key = self.fresh("capture")
        await self.ask(
            f"capture {payment_id} {amount or 'all'}",
            lambda context: capture_cancel.capture(context, practice, payment_id, amount, Command(key, "host")),
        )

    async def refund(self, practice: int, payment_id: str, accepts: bool = False) -> None:
        """Refund part of a payment, at times with two requests at once under one key. ``accepts``: also disputed money."""
        h, chance = self.h, self.chance
        await asyncio.sleep(chance.uniform(0, 3))
        h.count("host.refund")
        key = self.fresh("refund")
        amount = chance.choice((None, chance.randrange(1_00, 60_000_00, 100), USUAL_REFUND))

        async def once() -> Any:
            return await self.ask(
                f"refund {key} {amount or 'all'} of {payment_id}",
                lambda context: create_refund(
                    context, practice, payment_id, RefundRequest(amount, None, accepts), Command(key, "host")
                ),
            )

        answers = [await task for task in [h.loop.create_task(once()) for _ in range(chance.choice((1, 1, 1, 2)))]]
        made = {answer[0].id for answer in answers if isinstance(answer, tuple)}
        if len(made) > 1:
            h.problem(f"the key {key} gave two refunds")
        if not made and not accepts and any(getattr(answer, "code", "") == "payment_disputed" for answer in answers):
            h.count("edge.refused_while_disputed")
            accepts = True
            again = await once()  # the rejection has left the key unused
            if getattr(again, "code", "") in ("payment_disputed", "idempotency_key_reused"):
                h.problem(f"the refund {key} was refused although its risk was accepted: {again.code}")


def shown(answer: Any) -> str:
    """An answer in a few words."""
    if isinstance(answer, PaymentDetails):
        attempts = " ".join(f"{a.provider_code}:{a.id}={a.state.value}" for a in answer.attempts)
        return f"{answer.payment.id} {answer.payment.status.value}{' again' if answer.replayed else ''} [{attempts}]"
    if isinstance(answer, tuple) and hasattr(answer[0], "state"):
        return f"{answer[0].id} {answer[0].state.value}{' again' if answer[1] else ''}"
    return "done"
