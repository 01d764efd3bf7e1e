"""The director: starts every actor, and the faults, clock changes and key changes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from polytill.flows.admin import provider_configs
from polytill.flows.admin.provider_configs import Wish
from polytill.simulator.faults import Fault
from simulation.ground import keys_of, secret_key
from simulation.hosts import Host
from simulation.plan import PlannedFault
from simulation.staff import outage
from simulation.stories import Story

if TYPE_CHECKING:
    from simulation.history import History, Merchant

LEAST_OPERATIONS = 5
ANOTHER_ACCOUNT = 50  # the versions of its keys start here: a rotation can run at the same time


async def direct(history: History) -> None:
    """Run every actor; ends with the last one. A history has at least five operations and one fault."""
    plan, director = history.plan, _Director(history, "director")
    acts = [Story(history, str(number)).run() for number in range(1, plan.payments + 1)]
    acts += [director.fault(planned) for planned in plan.faults]
    acts += [director.clock(*jump) for jump in plan.clock_jumps]
    acts += [director.rotation(at) for at in plan.rotations]
    acts += [director.move(at) for at in plan.moves]
    acts += [outage(history, *plan.outage)] if plan.outage else []
    for task in [history.loop.create_task(act) for act in acts]:
        await task
    number, rules = plan.payments, history.network.faults.rules
    kinds = ("call.", "crash.", "fault.")
    struck = sum(n for kind, n in history.tally.counts.items() if kind.startswith(kinds))
    while history.operations < LEAST_OPERATIONS or not struck + sum(rule.struck for rule in rules):
        number += 1
        rules.insert(0, Fault("extra", "*", "create", "lose_answer", 1.0, 1, 0.0))
        await Story(history, str(number)).run(0.0)
        rules[0].count = 0


class _Director(Host):
    def __init__(self, history: History, name: str) -> None:
        super().__init__(history, name)
        # One person changes keys at a time: two at once can leave keys here that have ended at the provider.
        self.keys_in_hand = asyncio.Lock()

    async def fault(self, planned: PlannedFault) -> None:
        await asyncio.sleep(planned.at)
        rule = Fault(
            self.h.network.faults.next_id(),
            planned.provider,
            planned.operation,
            planned.kind,
            planned.probability,
            planned.count,
            planned.delay,
        )
        self.h.network.faults.rules.append(rule)

    async def clock(self, at: float, jump: float, lasts: float) -> None:
        await asyncio.sleep(at)
        node = self.chance.choice(self.h.nodes)
        node.skew[0] = jump
        self.h.count("fault.clock_forward" if jump > 0 else "fault.clock_back")
        self.h.tell(f"the clock of {node.name} jumps by {jump:.0f} s")
        await asyncio.sleep(lasts)
        node.skew[0] = 0.0

    async def rotation(self, at: float) -> None:
        """New keys at the provider, then here. Webhooks are signed with the new secret; some time later the old keys
        end."""
        await asyncio.sleep(at)
        async with self.keys_in_hand:
            h, merchant = self.h, self._any_merchant()
            old, version = merchant.account.key, merchant.version + 1
            fresh = secret_key(merchant.practice, merchant.provider, merchant.environment, version)
            h.network.accounts[merchant.provider, fresh] = merchant.account
            h.count("fault.rotation")
            h.rekeyed.add((merchant.practice, merchant.provider))
            if not await self._configure(merchant, version):
                return
            merchant.account.key, merchant.version = fresh, version
            h.register(merchant)
        await asyncio.sleep(self.chance.uniform(3, 60))
        h.revoked.add((merchant.provider, old))
        h.tell(f"the old keys of practice {merchant.practice} at {merchant.provider} end")

    async def move(self, at: float) -> None:
        """A practice opens another account at its provider and enters its keys. The payments of the old account stay
        there."""
        await asyncio.sleep(at)
        async with self.keys_in_hand:
            h, old = self.h, self._any_merchant()
            old.left = True
            new = h.open_account(old.practice, old.provider, old.environment, old.version + ANOTHER_ACCOUNT)
            h.count("fault.move")
            h.rekeyed.add((old.practice, old.provider))
            await self._configure(new, new.version)

    def _any_merchant(self) -> Merchant:
        h = self.h
        return self.chance.choice(
            [m for m in h.merchants if m.environment is h.plan.profiles[m.practice].environment and not m.left]
        )

    async def _configure(self, merchant: Merchant, version: int) -> bool:
        keys = keys_of(merchant.practice, merchant.provider, merchant.environment, version)
        wish = Wish(merchant.provider, merchant.environment, keys)
        done = await self.ask(
            f"new keys for practice {merchant.practice} at {merchant.provider}",
            lambda context: provider_configs.configure(context, merchant.practice, wish, "host", True),
        )
        return done is not None
