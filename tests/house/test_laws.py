"""The laws of the architecture, checked in the source. Each failure is a sentence."""

from __future__ import annotations

import importlib

import pytest

from tests.house.dialect import no_dialect
from tests.house.reading import ROOT, modules, tracked_files
from tests.house.rules import MAKES_DATABASES, RULES, Rule, no_places_of_one_machine
from tests.house.style import LONG_FILES, MANY_PARAMETERS, MAX_FILE_LINES

FOUND = modules()


def test_there_is_something_to_read() -> None:
    names = {module.name for module in FOUND}
    assert {
        "domain.states",
        "providers.contract",
        "providers.paystack.handler",
        "flows.payments.settle",
        "flows.payments.create",
    } <= names
    assert len(FOUND) > 80


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_law(rule: Rule) -> None:
    broken = list(rule(FOUND))
    assert not broken, f"\n{rule.__doc__}\n" + "\n".join(broken)


def test_no_places_of_one_machine() -> None:
    broken = list(no_places_of_one_machine(tracked_files()))
    assert not broken, "\n" + "\n".join(broken)


def test_no_dialect() -> None:
    broken = list(no_dialect(tracked_files()))
    assert not broken, "\n" + "\n".join(broken)


def test_exceptions_are_still_needed() -> None:
    by_name = {module.name: module for module in FOUND}
    for name, reason in LONG_FILES.items():
        assert by_name[name].source.count("\n") > MAX_FILE_LINES, f"{name} is short enough now; drop its exception"
        assert reason
    assert len(MANY_PARAMETERS) <= 10
    assert all(MANY_PARAMETERS.values())
    for name in MAKES_DATABASES:
        assert name in by_name


def test_the_version_is_that_of_the_distribution() -> None:
    package = importlib.import_module("polytill")
    assert f'version = "{package.__version__}"' in (ROOT / "pyproject.toml").read_text()


def test_typed_marker_is_shipped() -> None:
    assert (ROOT / "src" / "polytill" / "py.typed").exists()
