"""What this process knows of providers from all practices: outcomes of attempts, and fees really charged.

Outcomes are counted here, in memory. ``flows/pool_exchange.py`` adds them to the owner database every few seconds and
reads back what all processes have counted together. So nothing here waits, and all of it works while the owner database
is unavailable. No practice, no payment and no amount of one payment is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from polytill.domain.money import PPM
from polytill.domain.states import Environment
from polytill.flows.routing.facts import Charged, Line, Statistics, Traffic
from polytill.flows.routing.policy import SMALLEST_POOL
from polytill.storage import routing_pool
from polytill.storage.routing_pool import SCALE, FeeKey, OutcomeKey, Sums

OUTCOMES_HALVED_S = 72 * 3600
# The half-life of fees: a change of terms shows within weeks, and a rare amount is still known.
FEES_HALVED_S = 30 * 24 * 3600
MOST_KEYS = 2000  # keys that are counted between two exchanges; more are not counted


def outcomes_period(now_s: float) -> int:
    """The period of outcomes that a time is in."""
    return int(now_s // OUTCOMES_HALVED_S)


def fees_period(now_s: float) -> int:
    """The period of fees that a time is in."""
    return int(now_s // FEES_HALVED_S)


class ProviderPool:
    """Counts of this process, and its copy of what all processes counted."""

    def __init__(self) -> None:
        self.counted: dict[OutcomeKey, tuple[int, int]] = {}
        self.charged: dict[FeeKey, tuple[int, int]] = {}
        self.generation = 0  # rises when the copy changes
        self.exchanged_at_s = float("-inf")  # by ``World.elapsed_s``
        self._made_of: Any = None
        self._made: dict[tuple[Environment, str, int], Statistics] = {}
        self._traffic: dict[Environment, dict[Line, Traffic]] = {}
        self._outcomes: dict[OutcomeKey, Sums] = {}
        self._fees: dict[FeeKey, Sums] = {}

    # ── Counting ──

    def count(self, key: OutcomeKey, paid: bool) -> None:
        """Count one attempt that was paid or declined."""
        before = self.counted.get(key, (0, 0))
        if key in self.counted or len(self.counted) < MOST_KEYS:
            self.counted[key] = before[0] + paid, before[1] + (not paid)

    def charge(self, of: OutcomeKey, amount: int, fee: int) -> None:
        """Count the fee of one payment, in the payment's currency. Both are in minor units."""
        if not 0 <= fee <= amount or amount <= 0:
            return
        key = FeeKey(*of, amount.bit_length())
        payments, share = self.charged.get(key, (0, 0))
        if key in self.charged or len(self.charged) < MOST_KEYS:
            self.charged[key] = payments + 1, share + (fee * PPM * 2 + amount) // (2 * amount)

    # ── Exchange ──

    def take(
        self, most: int = 2 * MOST_KEYS
    ) -> tuple[dict[OutcomeKey, tuple[int, int]], dict[FeeKey, tuple[int, int]]]:
        """At most so many keys of what was counted, the longest known first; the caller stores them, or calls
        ``put_back``."""
        outcomes = list(islice(self.counted, most))
        fees = list(islice(self.charged, most - len(outcomes)))
        return {key: self.counted.pop(key) for key in outcomes}, {key: self.charged.pop(key) for key in fees}

    def put_back(
        self, counted: Mapping[OutcomeKey, tuple[int, int]], charged: Mapping[FeeKey, tuple[int, int]]
    ) -> None:
        """Count again what could not be stored."""
        for outcome, (paid, declined) in counted.items():
            before = self.counted.get(outcome, (0, 0))
            self.counted[outcome] = before[0] + paid, before[1] + declined
        for fee, (payments, share) in charged.items():
            known = self.charged.get(fee, (0, 0))
            self.charged[fee] = known[0] + payments, known[1] + share

    def learn(self, outcomes: dict[OutcomeKey, Sums], fees: dict[FeeKey, Sums]) -> None:
        """Replace the copy by what was read."""
        if outcomes != self._outcomes or fees != self._fees:
            self._outcomes, self._fees = outcomes, fees
            self.generation += 1

    # ── Reading ──

    def statistics(self, environment: Environment, currency: str, amount: int | None, now_s: float) -> Statistics:
        """What is known for payments of about this amount, without health. Pools that are too small are left out."""
        band = amount.bit_length() if amount else 0
        periods = outcomes_period(now_s), fees_period(now_s)
        if self._made_of != (self.generation, periods) or len(self._made) > MOST_KEYS:
            self._made_of, self._made, self._traffic = (self.generation, periods), {}, {}
        found = self._made.get((environment, currency, band))
        if found is None:
            if environment not in self._traffic:
                self._traffic[environment] = self._traffic_in(environment, periods[0])
            charged = self._charged_for(environment, currency, band, periods[1])
            found = Statistics(self._traffic[environment], charged)
            self._made[environment, currency, band] = found
        return found

    def _traffic_in(self, environment: Environment, period: int) -> dict[Line, Traffic]:
        found: dict[Line, Traffic] = {}
        for key, sums in self._outcomes.items():
            if key.environment == environment:
                paid, declined = routing_pool.faded(sums, period)
                for line in _lines(key):
                    known = found.get(line, Traffic())
                    found[line] = Traffic(known.paid + paid, known.declined + declined)
        return {line: one for line, one in found.items() if one.attempts >= SMALLEST_POOL * SCALE}

    def _charged_for(self, environment: Environment, currency: str, band: int, period: int) -> dict[Line, Charged]:
        # No amount is stored, so each payment counts with the amount in the middle of its band.
        amount = 3 << (band - 2) if band > 1 else 1
        found: dict[Line, tuple[int, int]] = {}
        for key, sums in self._fees.items():
            if (key.environment, key.currency, key.band) == (environment.value, currency, band):
                payments, share = routing_pool.faded(sums, period)
                for line in _lines(key):
                    known = found.get(line, (0, 0))
                    found[line] = known[0] + payments, known[1] + share
        return {
            line: Charged(payments // SCALE, payments // SCALE * amount, share * amount // (PPM * SCALE))
            for line, (payments, share) in found.items()
            if payments >= SMALLEST_POOL * SCALE
        }


def _lines(key: OutcomeKey | FeeKey) -> Iterator[Line]:
    """The line of a method, and that of all methods together."""
    yield key.provider_code, key.currency, None
    if key.method:
        yield key.provider_code, key.currency, key.method
