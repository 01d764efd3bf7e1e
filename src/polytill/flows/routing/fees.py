"""What a provider would charge for an amount: by the catalog's terms, corrected by the fees that it really charged.

All amounts are integers of minor units, and an estimate is rounded up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from polytill.domain.money import PPM, Money
from polytill.domain.routing import FeeSource
from polytill.flows.routing.eligibility import Candidate, Wanted
from polytill.flows.routing.facts import Charged, Line, Statistics


class EstimatedFee(NamedTuple):
    """The fee of a payment, and where the estimate comes from."""

    money: Money
    source: FeeSource


def estimated_fee(candidate: Candidate, wanted: Wanted, statistics: Statistics, enough: int) -> EstimatedFee | None:
    """The estimated fee of a payment at a provider. None: the amount or the terms are not known.

    ``enough``: with so many payments whose fee is known, of the same method or else of all methods together, the terms
    are multiplied by the fees charged for them over the fees by the terms. If the catalog has no terms, the estimate is
    the share of the amounts that was charged.
    """
    if wanted.amount is None:
        return None
    percent, fixed = _terms(candidate)
    charged = _charged(statistics.charged, candidate.code, wanted, enough)
    if percent is None:
        if charged is None or charged.amount <= 0:
            return None
        minor = _up(wanted.amount * max(charged.fees, 0), charged.amount)
        return EstimatedFee(Money(minor, wanted.currency), FeeSource.charged)
    by_terms = wanted.amount * percent + fixed * PPM
    if charged is None:
        return EstimatedFee(Money(_up(by_terms, PPM), wanted.currency), FeeSource.catalog)
    expected = charged.amount * percent + charged.payments * fixed * PPM
    if expected <= 0:  # the catalog says that it is free
        by_terms, expected = wanted.amount * PPM, charged.amount * PPM
    if expected <= 0:
        return EstimatedFee(Money(0, wanted.currency), FeeSource.catalog)
    # by_terms is in millionths of a minor unit, and so is expected.
    minor = _up(by_terms * max(charged.fees, 0), expected)
    return EstimatedFee(Money(minor, wanted.currency), FeeSource.charged)


def _terms(candidate: Candidate) -> tuple[int | None, int]:
    support = candidate.support
    if support is None or (support.transaction_fee_percent is None and support.transaction_fee_fixed is None):
        return None, 0
    return support.transaction_fee_percent or 0, support.transaction_fee_fixed or 0


def _charged(charged: Mapping[Line, Charged], code: str, wanted: Wanted, enough: int) -> Charged | None:
    found = charged.get((code, wanted.currency, wanted.payment_method))
    if found is None or found.payments < enough:
        found = charged.get((code, wanted.currency, None))
    return None if found is None or found.payments < max(enough, 1) else found


def _up(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)
