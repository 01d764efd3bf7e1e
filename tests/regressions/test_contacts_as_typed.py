"""Phone numbers and e-mail addresses that were read as another number, or refused although they are usual; and the amounts
that a provider has.

Source: a second look at issue 18, items 1 and 2, with the kinds of faults-public, case 3.
"""

from __future__ import annotations

import pytest

from polytill.domain.contacts import InvalidContact, Phone, read_email, read_phone
from polytill.providers.customer_fields import CustomerFields
from polytill.providers.stripe.terms import BY_CURRENCY


def test_each_stripe_currency_has_its_step() -> None:
    # ISO: MGA has two decimals and Stripe none; of three decimals Stripe takes two; UGX and ISK are whole anyway.
    steps = {code: terms.step_minor for code, terms in BY_CURRENCY.items() if terms.step_minor != 1}
    assert steps == {"MGA": 100}


@pytest.mark.parametrize(
    ("country", "typed"),
    [
        ("KE", "07123456789"),
        ("KE", "254712345678.0"),
        ("KE", "4155552671"),
        ("GH", "+233 24 412 345"),
        ("KE", "0712345678, 0722000111"),
        ("KE", "+254712345678 / +254722000111"),
    ],
)
def test_what_is_longer_or_shorter_than_any_telephone_is_refused(country: str, typed: str) -> None:
    with pytest.raises(InvalidContact):
        read_phone(typed, (country,))


@pytest.mark.parametrize(
    ("country", "typed", "number"),
    [
        ("KE", "Tel 0712 345678", "+254712345678"),
        ("KE", "Mob. 0712-345-678", "+254712345678"),
        ("KE", "Telephone: +254712345678", "+254712345678"),
        ("KE", "Simu: 0712 345 678", "+254712345678"),
        ("KE", "Cell 0712345678", "+254712345678"),
        ("FR", "Tél. 06 12 34 56 78", "+33612345678"),
        ("MX", "+52 1 55 1234 5678", "+525512345678"),
        ("US", "011 254 712 345678", "+254712345678"),
    ],
)
def test_usual_spellings_are_read(country: str, typed: str, number: str) -> None:
    assert read_phone(typed, (country,)) == number


def test_a_charge_goes_to_mobile_numbers_only() -> None:
    fields = CustomerFields(("phone",), phone_countries=("KE", "GH"))
    for number, mobile in (
        ("+254712345678", True),
        ("+254110345678", True),
        ("+233244123456", True),
        ("+254202712345", False),
        ("+233302123456", False),
        ("+25471234567", False),
    ):
        assert fields.takes_phone(Phone(number)) is mobile, number


def test_an_address_without_a_domain_of_two_parts_is_refused() -> None:
    for typed in ("ada@test", "ada@localhost", "ada@example"):
        with pytest.raises(InvalidContact):
            read_email(typed)
    assert read_email("ada@clinic.test") == "ada@clinic.test"
