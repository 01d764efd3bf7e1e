"""Every code that a page can print has a text in every language (review of the pages, D27, D30, operations D10)."""

from __future__ import annotations

import pytest

from polytill.web.checkout.texts import texts as checkout_texts
from polytill.web.console.flashes import Done
from polytill.web.words import LANGUAGES, texts


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
