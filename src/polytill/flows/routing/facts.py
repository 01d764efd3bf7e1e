"""What a decision is made from: one immutable snapshot, read by the caller. Nothing here reads a clock or a database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b

from polytill.flows.routing.health import ProviderHealth
from polytill.flows.routing.policy import DEFAULT, Policy

# Provider code, currency, payment method. None: all methods together, payments without a method included.
Line = tuple[str, str, str | None]


@dataclass(frozen=True, slots=True)
class Traffic:
    """Attempts that ended at one provider, pooled over all practices, in thousandths: old ones count less.

    Technical failures do not belong here; the provider's health has them. Neither do attempts that expired without an
    answer from the customer.
    """

    paid: int = 0
    declined: int = 0

    @property
    def attempts(self) -> int:
        """All of them, in thousandths."""
        return self.paid + self.declined


@dataclass(frozen=True, slots=True)
class Charged:
    """Fees that a provider really charged, as sums in minor units over payments with a known fee in their currency."""

    payments: int
    amount: int
    fees: int


@dataclass(frozen=True, slots=True)
class Statistics:
    """What is known of providers in one environment, the same for every payment. Missing keys: nothing is known."""

    traffic: Mapping[Line, Traffic] = field(default_factory=dict)
    charged: Mapping[Line, Charged] = field(default_factory=dict)
    health: Mapping[str, ProviderHealth] = field(default_factory=dict)
    # The traffic of each provider in all currencies, and of all providers under None: summed once, not in each decision.
    pools: Mapping[str | None, Traffic] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        sums: dict[str | None, list[int]] = {}
        for (provider, _, method), one in self.traffic.items():
            if method is None:
                for pool in (provider, None):
                    sum_of = sums.setdefault(pool, [0, 0])
                    sum_of[0] += one.paid
                    sum_of[1] += one.declined
        object.__setattr__(self, "pools", {pool: Traffic(*sum_of) for pool, sum_of in sums.items()})


NOTHING_KNOWN = Statistics()


@dataclass(frozen=True, slots=True)
class Traits:
    """What rules may ask about a payment besides ``Wanted``. None: not known, so that no condition on it holds."""

    country: str | None = None  # of the practice, ISO 3166-1 alpha-2
    metadata: Mapping[str, str] | None = None
    customer_is_known: bool | None = None  # has paid this practice before
    email_domain: str | None = None  # in lower case
    phone_country: str | None = None  # ISO 3166-1 alpha-2


NO_TRAITS = Traits()


@dataclass(frozen=True, slots=True)
class RoutingFacts:
    """The snapshot for one payment. ``draw`` is ``draw_of`` the payment; ``at`` is aware, in the practice's time zone.
    ``tried``: the codes of providers that come after the others, because the payment was tried there."""

    at: datetime
    draw: int = 0
    policy: Policy = DEFAULT
    version: int | None = None  # of the practice's policy; None: the default policy
    statistics: Statistics = NOTHING_KNOWN
    traits: Traits = NO_TRAITS
    tried: frozenset[str] = frozenset()


def draw_of(practice_id: int, key: str) -> int:
    """A payment's stable draw, 64 bits: the same for the same idempotency key, so that a repeat chooses as before."""
    return int.from_bytes(blake2b(f"{practice_id} {key}".encode(), digest_size=8).digest(), "big")
