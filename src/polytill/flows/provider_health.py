"""The health of providers as this process knows it: the shared state of all processes, and its own results since then.

A process acts on its own results at once. ``flows/pool_exchange.py`` merges them with those of the others every few
seconds. Of all processes one at a time may let a payment probe a failing provider: it holds a permit, which it asks for
when a payment would need it. A process that cannot reach the owner database gives itself one, and so does one whose
payments are so rare that a permit ends before the next one comes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from polytill.domain.routing import HealthState, Verdict
from polytill.flows.routing.health import (
    NOBODY,
    PROBE_TIMEOUT,
    ProviderHealth,
    Witness,
    begin_probe,
    concerns,
    failures,
    is_unprobed,
    observe,
    seen_by,
    verdict,
)

HEALTHY = ProviderHealth()
MOST_RESULTS = 100  # results of one provider that wait for the exchange
_NOT_OURS = "another process"

Key = tuple[str, str]  # provider code and environment
Holder = tuple[int, str]  # a payment: its practice, and its idempotency key


class Result(NamedTuple):
    """The result of one call. ``failed``: for a technical reason. ``permit``: of the probe that it was."""

    failed: bool
    at: datetime
    permit: str | None
    witness: Witness = NOBODY


@dataclass(slots=True)
class _Permit:
    token: str
    until: datetime
    holder: Holder | None = None
    is_called: bool = False  # its payment calls the provider

    def is_free_for(self, holder: Holder | None, at: datetime) -> bool:
        return at < self.until and not self.is_called and self.holder in (None, holder)


def after(health: ProviderHealth, results: list[Result]) -> ProviderHealth:
    """A health after some results, in their order."""
    for one in results:
        if one.permit is not None and one.permit != health.probe:  # of a process that did not ask
            health = begin_probe(health, one.permit, one.at) or health
        health = observe(health, one.failed, one.at, one.permit, one.witness)
    return health


def has_failures(health: ProviderHealth) -> bool:
    """Whether a health differs from that of a provider whose calls all work."""
    return health.state is not HealthState.closed or failures(health)[0] > 0


class ProvidersHealth:
    """The health of every provider in every environment, in one process."""

    def __init__(self) -> None:
        self.results: dict[Key, list[Result]] = {}  # that are not part of the shared state yet
        self.wanted: set[Key] = set()  # payments could have probed them, if this process had had a permit
        self.any_failures = False
        self.process = ""  # the tag of this process
        self._known: dict[Key, ProviderHealth] = {}
        self._permits: dict[Key, _Permit] = {}

    # ── Deciding ──

    def seen(
        self, key: Key, at: datetime, holder: Holder | None = None, witness: Witness | None = None
    ) -> ProviderHealth:
        """The health to decide by. It allows a probe only if this process has a permit that ``holder`` may use, which is
        the payment that is made now; None: nothing is made. ``witness``: who asks; None: anybody."""
        known = self._known.get(key, HEALTHY)
        if witness is not None:
            known = seen_by(known, witness)
        if known.state is HealthState.closed:
            return known
        permit = self._permits.get(key)
        if permit is not None and permit.is_free_for(holder, at):
            return replace(known, state=HealthState.half_open, probe=None, probe_until=None)
        if verdict(known, at) is not Verdict.probe:
            return known
        if holder is not None:
            self.wanted.add(key)
        return replace(known, state=HealthState.half_open, probe=_NOT_OURS, probe_until=at + PROBE_TIMEOUT)

    def all_known(self) -> dict[Key, ProviderHealth]:
        """The health of each provider that was called lately."""
        return dict(self._known)

    @property
    def skipped(self) -> int:
        """How many providers this process skips now, for at least one practice."""
        return sum(
            one.state is not HealthState.closed and one.only_process in (None, self.process)
            for one in self._known.values()
        )

    # ── Probes ──

    def permit(self, key: Key, token: str, until: datetime) -> None:
        """Let one payment of this process probe a provider."""
        self._permits[key] = _Permit(token, until)

    def permit_alone(self, token: str, at: datetime) -> None:
        """Give this process the permits that it wants, because it cannot ask the others."""
        self._permit_each(self.wanted, token, at)
        self.wanted.clear()

    def permit_unprobed(self, keys: Iterable[Key], witness: Witness, token: str, at: datetime) -> None:
        """Give this process permits for those of these providers that nobody has probed for long. The next exchange tells
        the others."""
        known = [(key, self._known.get(key, HEALTHY)) for key in keys]
        unprobed = [key for key, one in known if is_unprobed(one, at) and concerns(one, witness)]
        self._permit_each(unprobed, token, at)
        self.wanted.update(unprobed)

    def held(self, key: Key, at: datetime) -> str | None:
        """The token of the permit that this process has for a provider."""
        permit = self._permits.get(key)
        return permit.token if permit is not None and at < permit.until else None

    def reserve(self, key: Key, holder: Holder) -> None:
        """Keep the permit for a payment."""
        permit = self._permits.get(key)
        if permit is not None and permit.holder is None:
            permit.holder = holder

    def call(self, key: Key, holder: Holder) -> None:
        """The payment calls the provider now. Its call is the probe if no other payment has the permit, also where the
        provider was not the first one."""
        permit = self._permits.get(key)
        if permit is not None and not permit.is_called and permit.holder in (None, holder):
            permit.holder, permit.is_called = holder, True

    @contextmanager
    def holding(self, practice_id: int, key: str) -> Iterator[Holder]:
        """A payment that is decided and made now, so that it may hold permits. Another payment may use those that it
        has not used in the end."""
        holder = practice_id, key
        try:
            yield holder
        finally:
            for permit in self._permits.values():
                if permit.holder == holder and not permit.is_called:
                    permit.holder = None

    def unobserved(self, key: Key, holder: Holder) -> None:
        """The payment's call said nothing about the provider, so that another payment may probe it."""
        permit = self._permits.get(key)
        if permit is not None and permit.holder == holder:
            permit.holder, permit.is_called = None, False

    # ── Results ──

    def observe(self, key: Key, holder: Holder, failed: bool, at: datetime, witness: Witness = NOBODY) -> None:
        """The result of a payment's call."""
        permit, token = self._permits.get(key), None
        if permit is not None and permit.is_called and permit.holder == holder:
            token = permit.token
            del self._permits[key]
        waiting = self.results.setdefault(key, [])
        waiting.append(Result(failed, at, token, witness))
        del waiting[:-MOST_RESULTS]
        self._know(key, after(self._known.get(key, HEALTHY), waiting[-1:]))

    # ── Exchange ──

    def learn(self, shared: dict[Key, ProviderHealth]) -> None:
        """Take the shared state; results that are not part of it yet still count here."""
        self._known, self.any_failures = {}, False
        for key in {*shared, *self.results}:
            self._know(key, after(shared.get(key, HEALTHY), self.results.get(key, [])))

    def stored(self, key: Key, count: int) -> None:
        """The first ``count`` results of a provider are part of the shared state now."""
        waiting = self.results.get(key, [])
        del waiting[:count]
        if not waiting:
            self.results.pop(key, None)

    def _permit_each(self, keys: Iterable[Key], token: str, at: datetime) -> None:
        for key in keys:
            begun = begin_probe(self._known.get(key, HEALTHY), token, at)
            if begun is not None and self.held(key, at) is None:
                self._know(key, begun)
                self.permit(key, token, at + PROBE_TIMEOUT)

    def _know(self, key: Key, health: ProviderHealth) -> None:
        self._known[key] = health
        self.any_failures = self.any_failures or has_failures(health)
