"""How likely a payment succeeds at a provider, from the attempts of all practices.

The expected success is the product of two shares:

* the **conversion**: of the attempts that the provider answered, those that were paid. It changes slowly, so attempts
  count for days, each of them less as it gets older (``flows/provider_pool.py``).
* the **availability**: of the last twenty calls, those without a technical failure. It changes fast: it is forgotten ten
  minutes after the last call (``health.py``).

With few attempts, the share of a currency and method is pulled to the provider's own share, and that one to the share of
all providers, as if ``PULL`` attempts with that share had been seen: the mean of a beta distribution whose prior is the
next larger group (A. Gelman et al., "Bayesian Data Analysis", 3rd edition, section 2.4 and chapter 5). ``PRIOR_PPM`` is the
share that is assumed without any attempt. Providers are compared by this mean less one standard deviation of the same
distribution (a lower confidence bound), times the availability.

A fixed share of payments tries a provider at random (epsilon-greedy with a constant step for shares that change: R. Sutton,
A. Barto, "Reinforcement Learning", 2nd edition, sections 2.2 and 2.5), so that a provider that became better is noticed.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

from polytill.domain.money import PPM
from polytill.flows.routing.facts import Statistics, Traffic

PULL = 20
PRIOR_PPM = 900_000
_THOUSAND = 1_000


@dataclass(frozen=True, slots=True)
class Conversion:
    """The expected share of attempts that are paid, in parts per million, and how many attempts it rests on. ``lower_ppm``:
    less one standard deviation, so that a provider with few attempts does not overtake a proven one by luck."""

    ppm: int
    lower_ppm: int
    attempts: int  # whole attempts of this currency and method, old ones counted less


def conversion(statistics: Statistics, provider: str, currency: str, method: str | None) -> Conversion:
    """The expected share of paid attempts of a provider in a currency and method, pulled to larger groups.

    A larger group is counted without the smaller one, so that no attempt is counted twice.
    """
    pools, none = statistics.pools, Traffic()
    everyone, own = pools.get(None, none), pools.get(provider, none)
    line = statistics.traffic.get((provider, currency, method), none)
    all_ppm = _pulled(_without(everyone, own), PRIOR_PPM)
    own_ppm = _pulled(_without(own, line), all_ppm)
    mean = _pulled(line, own_ppm)
    weight = line.attempts + (PULL + 1) * _THOUSAND
    deviation = isqrt(mean * (PPM - mean) * _THOUSAND // weight)
    return Conversion(mean, max(mean - deviation, 0), line.attempts // _THOUSAND)


def _without(group: Traffic, part: Traffic) -> Traffic:
    return Traffic(max(group.paid - part.paid, 0), max(group.declined - part.declined, 0))


def _pulled(seen: Traffic, to_ppm: int) -> int:
    pull = PULL * _THOUSAND
    return (seen.paid * PPM + pull * to_ppm) // (seen.attempts + pull)
