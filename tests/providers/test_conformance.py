"""Every built-in handler passes the public suite; the suite catches every fault that is planted; the page is current."""

from dataclasses import fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

from polytill.providers.registry import BUILT_IN
from polytill.providers.stripe.handler import StripeProvider
from polytill.testing.conformance import Conformance, check_all
from polytill.testing.conformance.described import TITLES, classes_of, contract_tables, meanings
from polytill.testing.conformance.document import write_document
from polytill.testing.conformance.planted import broken
from polytill.testing.conformance.planting import FAULTS
from polytill.testing.conformance.subjects import SUBJECTS
from polytill.testing.conformance.suite import in_order

PAGE = Path(__file__).parents[2] / "docs" / "providers.md"

# One class of tests for each: TestStripe, TestPaystack, …
for _fixture in SUBJECTS:
    _name = f"Test{_fixture.handler.code.title()}"
    globals()[_name] = type(_name, (Conformance,), {"fixture": _fixture})
del _fixture


def test_every_built_in_handler_has_a_fixture() -> None:
    assert {fixture.handler for fixture in SUBJECTS} == set(BUILT_IN.values())


def test_each_check_has_its_own_name_and_sentence() -> None:
    checks = in_order()
    assert len({check.name for check in checks}) == len(checks) >= 40
    assert all(check.sentence.endswith(".") for check in checks)


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_caught(name: str) -> None:
    code, break_it = FAULTS[name]
    failed = [result for result in check_all(broken(code, break_it)) if result.passed is False]
    assert failed, f"nothing noticed: {break_it.__doc__}"
    assert not any("positional argument" in str(result.problem) for result in failed), "it does not fit the handler"


def test_faults_are_planted_into_every_handler() -> None:
    assert len(FAULTS) >= 30
    assert {code for code, _ in FAULTS.values()} == {"stripe", "paystack", "flutterwave"}


def test_a_fixture_without_an_answer_fails_with_a_sentence() -> None:
    poor = replace(SUBJECTS[0], answers={})
    problems = [result.problem for result in check_all(poor) if result.passed is False]
    assert any("the fixture has no sample answer 'created'" in problem for problem in problems)


def test_every_field_of_the_contract_has_a_meaning() -> None:
    """Issue 18: docs/providers.md lacked ``RefundFact.state`` "unknown" and ``DisputeFact.understood``."""
    text, bare = contract_tables(), []
    for module, _, _ in TITLES:
        for cls in classes_of(module):
            said = meanings(cls)
            names = [member.name for member in cls] if issubclass(cls, StrEnum) else [f.name for f in fields(cls)]
            bare += [f"{cls.__name__}.{name}" for name in names if not said[name]]
    assert bare == []
    for name in ("`unknown`", "`understood`", "`must_fetch`", "`closed_for_certain`"):
        assert name in text


def test_the_page_is_current() -> None:
    results = {fixture.handler.code: check_all(fixture) for fixture in SUBJECTS}
    assert PAGE.read_text() == write_document(results), (
        "docs/providers.md is out of date: python -m polytill.testing.conformance --write docs/providers.md"
    )


def test_a_listed_refund_may_name_the_charge_alone() -> None:
    """Plug-ins, F21: the list of refunds wanted the payment's id, where a list of disputes takes the charge's, too."""

    class ByCharge(StripeProvider):
        async def list_refunds(self, *args: Any) -> Any:
            page = await super().list_refunds(*args)
            by_charge = [
                replace(f, payment_reference=None, provider_transaction_id=None, provider_charge_id="ch_1")
                for f in page.facts
            ]
            return replace(page, facts=tuple(by_charge))

    fixture = next(one for one in SUBJECTS if one.handler is StripeProvider)
    found = {result.check.name: result.passed for result in check_all(replace(fixture, handler=ByCharge))}
    assert found["refunds_are_listed"] is True
