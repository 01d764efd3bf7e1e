"""The test of the suite: handlers with one realistic fault each, and whether a check catches it.

Each fault is a subclass of a built-in handler that passes every check, so the fault causes every failure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from polytill.providers.contract import Handler
from polytill.testing.conformance import planted_calls, planted_claims, planted_saving
from polytill.testing.conformance.fixture import ProviderFixture
from polytill.testing.conformance.planting import FAULTS
from polytill.testing.conformance.subjects.flutterwave import FLUTTERWAVE
from polytill.testing.conformance.subjects.paystack import PAYSTACK
from polytill.testing.conformance.subjects.stripe import STRIPE
from polytill.testing.conformance.suite import check_all

# Importing a module of faults adds them to the list.
FAULT_MODULES = (planted_calls, planted_claims, planted_saving)

SOUND = {"stripe": STRIPE, "paystack": PAYSTACK, "flutterwave": FLUTTERWAVE}


@dataclass(frozen=True)
class Caught:
    """One planted fault, and the checks that it fails. If there are none, the fault was missed."""

    name: str
    sentence: str
    checks: tuple[str, ...]


def broken(code: str, break_it: Callable[[type[Any]], type[Any]]) -> ProviderFixture:
    """A sound fixture with a handler that has one fault."""
    sound = SOUND[code]
    made: type[Handler] = break_it(sound.handler)
    return replace(sound, handler=made)


def catch_all() -> list[Caught]:
    """Every planted fault, with the checks that catch it."""
    found = []
    for name, (code, break_it) in FAULTS.items():
        results = check_all(broken(code, break_it))
        failed = tuple(result.check.name for result in results if result.passed is False)
        found.append(Caught(name, (break_it.__doc__ or "").strip(), failed))
    return found


def score() -> tuple[str, int]:
    """A report of the caught faults, and the number of missed faults."""
    found = catch_all()
    lines = [
        f"caught  {one.name:34} {one.sentence}\n{'':8}by {one.checks[0]} and {len(one.checks) - 1} more\n"
        if one.checks
        else f"MISSED  {one.name:34} {one.sentence}\n"
        for one in found
    ]
    missed = sum(not one.checks for one in found)
    return "".join(lines) + f"\n{len(found) - missed} of {len(found)} planted faults were caught.\n", missed
