"""An installation with a host's table in memory, whose field a rollout reads and writes."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from polytill.app import Polytill
from polytill.domain.errors import DatabaseUnavailable
from polytill.domain.rollout import RolloutPhase
from polytill.flows.admin import provider_configs as configuring
from polytill.flows.admin.practices import NewPractice, create_practice
from polytill.flows.admin.provider_configs import Wish
from polytill.flows.context import Context, Practice
from polytill.flows.rollout import host, moves, sync
from polytill.flows.rollout.field import is_blank
from polytill.flows.rollout.host import FieldRow
from polytill.flows.rollout_phase import Guard, announce_change
from polytill.storage import practice_rollouts
from polytill.storage.practice_rollouts import Rollout

_numbers = itertools.count(1)
STRIPE = {"publicKey": "pk_test_51Hclinic", "secretKey": "sk_test_51Hclinic0000", "webhookSecret": "whsec_clinic0000"}
PAYSTACK = {"publicKey": "pk_test_0123456789abcdef", "secretKey": "sk_test_0123456789abcdef0123456789abcdef01234567"}


def a_field(**more: Any) -> dict[str, Any]:
    """A field in the shape of the founding document's old code."""
    return {
        "stripe": {**STRIPE, "isEnabled": True, "isDefault": False, "supportedCurrencies": ["USD"], "environment": "sandbox"},
        "paystack": {**PAYSTACK, "isEnabled": True, "isDefault": True, "supportedCurrencies": ["NGN"], "environment": "sandbox"},
        **more,
    }  # fmt: skip


@dataclass
class Table:
    """The host's table in memory: text by external id, compare-and-set, and what a test does in between."""

    rows: dict[str, str | None] = field(default_factory=dict)
    away: bool = False
    writes: int = 0
    before_write: Callable[[], None] | None = None
    before_write_commits: Callable[[], Awaitable[None]] | None = None
    after_write: Callable[[], Awaitable[None]] | None = None
    after_read: Callable[[], None] | None = None
    is_dropped: bool = False
    place: str = "practices.paymentProviders"

    async def read(self, external_id: str) -> FieldRow | None:
        self._there()
        found = FieldRow(external_id, self.rows[external_id]) if external_id in self.rows else None
        if self.after_read is not None:
            self.after_read()
        return found

    async def write(self, row: FieldRow, value: Any) -> bool:
        self._there()
        if self.before_write is not None:
            self.before_write()
        if self.before_write_commits is not None:
            waits, self.before_write_commits = self.before_write_commits, None
            await waits()
        if self.rows[row.external_id] != row.value:
            return False
        self.rows[row.external_id] = value
        self.writes += 1
        if self.after_write is not None:
            hook, self.after_write = self.after_write, None
            await hook()
        return True

    async def pages(self) -> AsyncIterator[list[FieldRow]]:
        self._there()
        yield [FieldRow(name, value) for name, value in self.rows.items()]

    async def filled(self) -> int:
        self._there()
        return sum(not is_blank(value) for value in self.rows.values())

    async def drop_column(self) -> int:
        filled = await self.filled()
        self.is_dropped = not filled
        return filled

    def _there(self) -> None:
        if self.away:
            raise DatabaseUnavailable

    def value(self, external_id: str) -> Any:
        """The field as JSON."""
        text = self.rows[external_id]
        return None if text is None else json.loads(text)

    def put(self, external_id: str, value: Any) -> None:
        """The old code, or a person, writes the field."""
        self.rows[external_id] = json.dumps(value)


@dataclass
class One:
    """One practice in a rollout, and its row in the host's table."""

    till: Polytill
    table: Table
    id: int
    external_id: str
    key: str = ""

    @property
    def context(self) -> Context:
        return self.till.context

    async def practice(self) -> Practice:
        return await self.context.practice(self.id)

    async def rollout(self) -> Rollout:
        found = await practice_rollouts.of_practice(self.context.owner, self.id)
        assert found is not None
        return found

    async def move(self, *phases: RolloutPhase) -> None:
        """Steps, each with a sync before it."""
        for phase in phases:
            if (await self.rollout()).phase is not None:
                await sync.sync(self.context, self.id, "test")
            await moves.move(self.context, self.id, phase, "test")

    async def codes(self) -> dict[str, tuple[bool, bool, str]]:
        """Our configurations: enabled, default, environment."""
        self.context.forget(self.id)
        snapshot = await self.context.configured((await self.practice()).db)
        return {code: (one.is_enabled, one.is_default, one.environment.value) for code, one in snapshot.live.items()}

    def field(self) -> Any:
        return self.table.value(self.external_id)

    def put(self, value: Any) -> None:
        self.table.put(self.external_id, value)


async def a_practice(till: Polytill, table: Table, value: Any = None) -> One:
    """A new practice with a row in the host's table."""
    external_id = f"host-{next(_numbers)}"
    new = NewPractice(f"Clinic {external_id}", "NGN", external_id=external_id)
    entry, key = await create_practice(till.context, new, "test")
    table.put(external_id, a_field() if value is None else value)
    return One(till, table, entry.id, external_id, key)


def connect(till: Polytill, table: Table | None, blank: str | None = None) -> None:
    """Let the installation use the table."""
    till.context.host_field = host.HostField(table, blank)


async def live(shared: Polytill, table: Table, value: Any = None) -> One:
    """A practice in live."""
    one = await a_practice(shared, table, value)
    await one.move(RolloutPhase.legacy, RolloutPhase.shadow, RolloutPhase.live)
    return one


async def switch_off(one: One, code: str = "paystack") -> None:
    """Switch a provider off here."""
    await configuring.configure(one.context, one.id, Wish(code, is_enabled=False), "test", patch=True)


def between(one: One, work: Callable[[], Awaitable[Any]]) -> Guard:
    """A guard that does something between the announcement of a change and the change."""

    async def guard(practice: Practice) -> RolloutPhase | None:
        phase = await announce_change(practice)
        await work()
        return phase

    return guard
