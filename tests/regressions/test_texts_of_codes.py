"""Every code that a page can print has a text in every language (review of the pages, D27, D30, operations D10)."""

from __future__ import annotations

import ast

import pytest

from polytill.web.checkout.texts import texts as checkout_texts
from polytill.web.console.flashes import Done
from polytill.web.console.texts import LANGUAGES, texts
from tests.house.reading import modules


def _constants(module_prefix: str, function: str, place: int) -> set[str]:
    """The constant at one place of every call of a function."""
    found = set()
    for module in modules():
        if module.name.startswith(module_prefix):
            for call in ast.walk(ast.parse(module.source)):
                named = (
                    isinstance(call, ast.Call) and getattr(call.func, "attr", getattr(call.func, "id", "")) == function
                )
                if named and len(call.args) > place and isinstance(call.args[place], ast.Constant):  # type: ignore[attr-defined]
                    found.add(call.args[place].value)  # type: ignore[attr-defined]
    return {one for one in found if isinstance(one, str)}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_action_of_the_audit_log_has_a_text(language: str) -> None:
    actions = {one for one in _constants("flows.", "append", 3) if "." in one}
    assert len(actions) > 25
    assert {one for one in actions if f"action.{one.replace('.', '_')}" not in texts(language)} == set()


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_banner_has_a_text(language: str) -> None:
    named = {key.removeprefix("done.") for key in texts(language) if key.startswith("done.")}
    assert named == set(Done)  # ``see`` takes no other name: mypy holds it


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_payment_method_has_a_text_at_the_checkout(language: str) -> None:
    """D30: "You pay at PayPal: card." for everything else that PayPal offers."""
    methods = {key.partition(".")[2] for key in texts(language) if key.startswith("method.")}
    assert {"paypal", "apple_pay", "google_pay", "opay"} <= methods
    assert methods - set(checkout_texts(language)["method"]) == set()
