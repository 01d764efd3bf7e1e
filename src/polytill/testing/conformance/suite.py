"""Running the checks: as pytest tests with one import, or all at once as a table."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from polytill.testing.conformance import declared, faults, hooks, paying, saving
from polytill.testing.conformance.fixture import ProviderFixture
from polytill.testing.conformance.register import CHECKS, Check
from polytill.testing.conformance.wire import Stand

# Importing a module of checks adds them to the list.
AREAS = (
    *(declared.DECLARED, declared.INSTANCES, paying.SENDING, paying.READING, faults.FAULTS),
    *(paying.REFUNDS, paying.OPERATIONS, saving.SAVING, paying.LISTS, hooks.DELIVERIES),
)


def in_order() -> list[Check]:
    """All checks, area by area."""
    return sorted(CHECKS, key=lambda check: AREAS.index(check.area))


@dataclass(frozen=True)
class Result:
    """One check of one handler. ``passed`` is None if the check does not apply to the handler."""

    check: Check
    passed: bool | None
    problem: str = ""


def check_one(check: Check, fixture: ProviderFixture) -> Result:
    """Run one check. An exception of the handler counts as a failure."""
    if not check.applies_to(fixture):
        return Result(check, None)
    try:
        asyncio.run(check.body(Stand(fixture)))
    except Exception as error:
        return Result(check, False, f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
    return Result(check, True)


def check_all(fixture: ProviderFixture) -> list[Result]:
    """Run all checks."""
    return [check_one(check, fixture) for check in in_order()]


class Conformance:
    """All checks as pytest tests: subclass it with a name that begins with ``Test``, and set ``fixture``.

    Only the checks that apply to the handler become tests, so nothing is skipped.
    """

    fixture: ClassVar[ProviderFixture]

    def __init_subclass__(cls) -> None:
        """Add a test to the subclass for each check that applies."""
        for check in in_order():
            if check.applies_to(cls.fixture):
                setattr(cls, f"test_{check.name}", _test(check))


def _test(check: Check) -> Callable[[Conformance], None]:
    def test(self: Conformance) -> None:
        asyncio.run(check.body(Stand(type(self).fixture)))

    test.__name__ = f"test_{check.name}"
    test.__doc__ = check.sentence
    return test
