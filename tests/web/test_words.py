"""What the rules say is said in the reader's language: every sentence with a closed name has a text in each of them."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from polytill.domain.contacts import Phone
from polytill.domain.errors import Conflict, FieldError, invalid
from polytill.domain.money import Money
from polytill.domain.states import Environment
from polytill.flows.routing.eligibility import Candidate, Wanted
from polytill.providers.contract import CustomerFields
from polytill.storage.catalog import CurrencySupport
from polytill.web.words import LANGUAGES, Told, words_for
from tests.house.reading import modules
from tests.routing.making import decided

# Said to programs alone: by the API, to a provider, on the payers' pages, which have texts of their own, or by a command.
TO_PROGRAMS = {
    *("already_removed", "bad_signature", "nothing_wanted", "payment_changed", "no_provider_for_currency"),
    *("not_behind", "practice_created", "not_copied", "installation_in_use"),
}
SAYS = {"Conflict", "Forbidden", "Invalid", "invalid", "NotNow", "NotFound", "TooMany", "FieldError"}


def reasons() -> Iterator[tuple[str, str]]:
    """Each closed name under which a flow or a page refuses something, and the module."""
    for module in modules():
        if module.name.startswith(
            ("flows.", "web.console", "web.console.pages", "web.console.sessions", "web.console.sign_in", "storage.")
        ):
            for call in ast.walk(ast.parse(module.source)):
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in SAYS:
                    given = [k.value for k in call.keywords if k.arg in ("code", "reason")]
                    given += call.args[2:3] if call.func.id == "FieldError" else []
                    yield from ((v.value, module.name) for v in given if isinstance(v, ast.Constant))  # type: ignore[misc]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_closed_reason_has_its_text(language: str) -> None:
    words, found = words_for(language, ""), set(reasons())
    assert len(found) > 40
    assert [
        f"{name} ({module})"
        for name, module in sorted(found)
        if name not in TO_PROGRAMS and not words.has(f"fault.{name}")
    ] == []


UGANDAN = {"customer_fields": frozenset({"phone"}), "phone": Phone("+256712345678")}


def candidate(**more: object) -> Candidate:
    terms = CurrencySupport("NGN", min_amount=5_000, max_amount=100_000)
    values = {
        "code": "paystack",
        "name": "Paystack",
        "config_id": 1,
        "environment": Environment.sandbox,
        "is_enabled": True,
        "catalog_status": "active",
        "handler_missing": None,
        "practice_currencies": frozenset({"NGN"}),
        "support": terms,
        "methods": frozenset({"card"}),
        "captures_manually": False,
        "customer_fields": lambda *_: CustomerFields(("phone",), phone_countries=("KE",)),
        "is_default": False,
        "priority": 0,
        "catalog_priority": 0,
    }
    return Candidate(**{**values, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("of", "wanted"),
    [
        ({"is_enabled": False}, {}),
        ({"catalog_status": "inactive"}, {}),
        ({"handler_missing": "None."}, {}),
        ({}, {"environment": Environment.production}),
        ({}, {"currency": "USD"}),
        ({"support": None}, {}),
        ({}, {"payment_method": "pix"}),
        ({}, {"capture": "manual"}),
        ({}, {"saved_method": "/savedMethod"}),
        ({}, {"details": {}}),
        ({}, UGANDAN),
        ({}, {"customer_fields": frozenset()}),
        ({}, {"amount": 1}),
        ({}, {"amount": 10**9}),
        ({}, {"provider_code": "stripe"}),
        ({}, {}),
    ],
)
def test_whoever_is_out_is_out_for_a_reason_that_can_be_said(of: dict[str, object], wanted: dict[str, object]) -> None:
    found = decided([candidate(**of)], Wanted(**{"currency": "NGN", **wanted}))  # type: ignore[arg-type]
    for language in LANGUAGES:
        words = words_for(language, "")
        said = words.named("why", found.why, "?", {"currency": "NGN"})
        assert said != "?"
        assert "{" not in said
        for out in found.excluded:
            said = words.named("excluded", out.reason, "?", out.about)
            assert said != "?"
            assert "{" not in said


def test_amounts_stand_in_it_as_the_reader_writes_them() -> None:
    error = Conflict("No more than 12.50 EUR.", code="refund_exceeds_captured", left=Money(1250, "EUR"))
    assert words_for("fr", "fr").told(error) == words_for("fr", "")("fault.refund_exceeds_captured", left="12,50\xa0€")
    assert words_for("en", "en").told(error) == words_for("en", "")("fault.refund_exceeds_captured", left="€12.50")
    other = invalid("/amount", "?", reason="another_amount", amount=Money(750_000, "NGN")).errors[0]
    assert "7,500.00" in words_for("sw", "sw").told(other)


def test_what_has_no_name_is_said_in_english() -> None:
    # English to those who read it; to others a general sentence in their language.
    assert words_for("en", "").told(FieldError("/name", "This is odd.")) == "This is odd."
    assert words_for("en", "").told(Conflict("This is odd.")) == "This is odd."
    assert words_for("fr", "").told(FieldError("/name", "This is odd.")) == words_for("fr", "")("fault.unnamed_field")
    assert words_for("sw", "").told(Conflict("This is odd.")) == words_for("sw", "")("fault.unnamed")
    assert words_for("fr", "").told(Told("Déjà dit.")) == "Déjà dit."
