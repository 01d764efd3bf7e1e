"""The decisions of a seed before the first act: practices, nodes, number of payments, faults, crashes."""

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass, field

from polytill.domain.states import Environment
from simulation.ground import FIRST, JOINED, PRACTICES, Profile
from simulation.telling import CALL_FAULTS, WEBHOOK_FAULTS

# A delayed call takes effect before any handler's settle horizon: later would contradict the provider's documentation.
LATE_S = (1.0, 3.0, 8.0, 20.0, 45.0)
SORTS = 32
SLOW_S = (0.5, 4.0, 25.0, 45.0)
# Seeds below were drawn when the simulation had three providers. Their histories stay the same.
ALL_PROVIDERS_FROM = 30_000_000
# From here on, customers, providers and staff replay faults from reports about other systems: see ``edges.py``.
EDGES_FROM = 60_000_000
# In these, every provider may be down for more than an hour, and staff resolve unknown outcomes: see ``staff.py``.
STAFF_FROM, STAFF_UNTIL = 65_000_000, 70_000_000
AWAY = ("error_500", "lose_answer", "timeout")
OPERATIONS = {"create": 40, "refund": 22, "lookup": 12, "capture": 6, "cancel": 6, "*": 14}
# PayPal's order is captured by a separate call, and some providers issue a token first.
MORE_OPERATIONS = OPERATIONS | {"confirm": 10, "other": 6}


@dataclass(frozen=True, slots=True)
class Trigger:
    """When a node crashes: at the n-th crash point, at the n-th new kind of point, or at the first point of one of the
    32 sorts into which all kinds fall, so that rare ones are included."""

    how: str
    number: int

    def strikes(self, point: str, passed: int, met: int) -> bool:
        """Whether the node crashes at this point."""
        if self.how == "point":
            return passed == self.number
        if self.how == "new kind of point":
            return met == self.number
        return zlib.crc32(point.encode()) % SORTS == self.number

    def __str__(self) -> str:
        return f"at {self.how} {self.number}"


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """One rule for the network, from a given time on."""

    at: float
    provider: str
    operation: str
    kind: str
    probability: float
    count: int
    delay: float


@dataclass(slots=True)
class Plan:
    """The shape of one history."""

    profiles: dict[int, Profile]
    nodes: int
    payments: int
    faults: list[PlannedFault] = field(default_factory=list)
    crashes: list[Trigger] = field(default_factory=list)
    clock_jumps: list[tuple[float, float, float]] = field(default_factory=list)  # when, how far, for how long
    rotations: list[float] = field(default_factory=list)
    moves: list[float] = field(default_factory=list)  # to another account at the same provider
    to_the_end: bool = False
    edges: bool = False  # disputes and refunds of the same money, unknown codes, customers who correct their data
    outage: tuple[float, str] | None = None  # when every provider is down for more than an hour, and with which fault
    compares: bool = (
        False  # reconciliation finds the facts that no webhook delivered, instead of webhooks that are sent again
    )

    @classmethod
    def draw(cls, seed: int) -> Plan:
        """Draw a random plan."""
        chance, all_providers = random.Random(seed), seed >= ALL_PROVIDERS_FROM
        count = chance.choices(range(1, PRACTICES + 1), (60, 28, 12))[0]
        profiles = {number: _profile(chance, all_providers) for number in range(1, count + 1)}
        plan = cls(profiles, chance.choices((1, 2), (60, 40))[0], 0)
        plan.payments = chance.choices((1, 2, 3, 4), (20, 40, 25, 15))[0]
        plan.faults = [
            _call_fault(chance, all_providers) for _ in range(chance.choices((0, 1, 2, 3), (15, 40, 30, 15))[0])
        ]
        plan.faults += [_webhook_fault(chance) for _ in range(chance.choices((0, 1, 2), (35, 45, 20))[0])]
        for _ in range(chance.choices((0, 1, 2, 3), (30, 40, 20, 10))[0]):
            how = chance.choices(("point", "new kind of point", "sort of point"), (35, 25, 40))[0]
            most = {"point": 120, "new kind of point": 40}.get(how, SORTS - 1)
            plan.crashes.append(Trigger(how, chance.randint(0, most)))
        late = any(fault.kind in ("act_late", "slow") for fault in plan.faults)
        if chance.random() < 0.2:
            size = chance.uniform(5, 60) if late else chance.choice((20.0, 60.0, 400.0, 3700.0))
            plan.clock_jumps.append(
                (chance.uniform(0, 60), size if chance.random() < 0.5 else -size, chance.uniform(10, 300))
            )
        if chance.random() < 0.12:
            plan.rotations.append(chance.uniform(0, 30))
        if not (plan.faults or plan.crashes):
            plan.faults.append(_call_fault(chance, all_providers))
        plan.to_the_end = chance.random() < 0.1
        if chance.random() < 0.06:
            plan.moves.append(chance.uniform(0, 40))
        plan.compares = chance.random() < 0.3
        plan.edges = seed >= EDGES_FROM
        if STAFF_FROM <= seed < STAFF_UNTIL:
            apart = random.Random(f"staff {seed}")
            plan.outage = (apart.uniform(0, 60), apart.choice(AWAY)) if apart.random() < 0.6 else None
        return plan


def _profile(chance: random.Random, all_providers: bool) -> Profile:
    providers = chance.sample(FIRST, chance.choices((1, 2, 3), (55, 30, 15))[0])
    if all_providers and chance.random() < 0.6:
        # At most one in addition: each combination is a database that is kept for the next history.
        providers = [chance.choice(JOINED)]
        if chance.random() < 0.5:
            beside = chance.choice([code for code in FIRST + JOINED if code not in providers])
            providers.insert(chance.randrange(2), beside)
    kind = chance.choices(("sandbox", "live", "both"), (60, 15, 25))[0]
    environment = Environment.sandbox if kind == "sandbox" else Environment.production
    return Profile(tuple(providers), environment, kind == "both")


def _call_fault(chance: random.Random, all_providers: bool) -> PlannedFault:
    kind = chance.choice(CALL_FAULTS)
    weights = MORE_OPERATIONS if all_providers else OPERATIONS
    operation = chance.choices(list(weights), list(weights.values()))[0]
    delay = {"act_late": chance.choice(LATE_S), "slow": chance.choice(SLOW_S)}.get(kind, 0.0)
    often = chance.choice((1, 1, 2, 3))
    return PlannedFault(
        chance.choice((0.0, 0.0, chance.uniform(0, 40))),
        "*",
        operation,
        kind,
        chance.choice((1.0, 1.0, 0.4)),
        often,
        delay,
    )


def _webhook_fault(chance: random.Random) -> PlannedFault:
    kind = chance.choice(WEBHOOK_FAULTS)
    return PlannedFault(
        chance.choice((0.0, chance.uniform(0, 40))),
        "*",
        "webhook",
        kind,
        chance.choice((1.0, 0.5)),
        chance.choice((1, 2, 5)),
        chance.choice((2.0, 10.0, 90.0)),
    )
