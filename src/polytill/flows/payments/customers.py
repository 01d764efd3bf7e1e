"""The customer of a payment: input becomes the normal form, or is rejected with a pointer to the field."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from polytill.domain.contacts import InvalidContact, Phone, read_email, read_name, read_phone, stored_phone
from polytill.domain.errors import FieldError, Invalid
from polytill.domain.localities import Locality, locality
from polytill.domain.text import is_blank
from polytill.providers.contract import Customer

Countries = Sequence[str | None]


def countries_of(practice: Locality, currency: str) -> Countries:
    """The countries of a number without a country code: the practice's country, then that of the payment's currency."""
    return (practice.country, locality(currency).country)


def read_customer(typed: Customer, countries: Countries) -> Customer:
    """The customer in normal form, blank fields as None. ``Invalid`` names every invalid field."""
    errors: list[FieldError] = []

    def read(name: str, reader: Callable[[str | None], str | None]) -> str | None:
        try:
            return reader(getattr(typed, name))
        except InvalidContact as error:
            errors.append(wrong(f"/customer/{name}", error))
            return None

    def read_number(text: str | None) -> str | None:
        phone = read_phone(text, countries)
        return phone.e164 if phone else None

    customer = Customer(read("email", read_email), read("name", read_name), read("phone", read_number))
    if errors:
        raise Invalid(errors, errors[0].detail if len(errors) == 1 else None)
    return customer


def unless_blank(text: str | None) -> str | None:
    """The text unchanged; None if it has no visible character."""
    return text if text and not is_blank(text) else None


def read_details(typed: Mapping[str, str] | None, countries: Countries) -> dict[str, str] | None:
    """The details of a direct charge without blank ones; the phone number in its normal form."""
    if typed is None:
        return None
    details = {name: value.strip() for name, value in typed.items() if value.strip()}
    try:
        phone = read_phone(details.pop("phone", None), countries)
    except InvalidContact as error:
        raise Invalid([wrong("/methodDetails/phone", error)], str(error)) from None
    return {**details, "phone": phone.e164} if phone else details


def wrong(pointer: str, error: InvalidContact) -> FieldError:
    """The error of a reader, with the pointer to its field."""
    return FieldError(pointer, str(error), error.reason, {"example": error.example or ""})


def given(customer: Customer, details: Mapping[str, str] | None) -> frozenset[str]:
    """The customer fields that are known; the phone number to charge may be among the method's details."""
    return customer.fields() | ({"phone"} if details and details.get("phone") else set())


def charged_phone(customer: Customer, details: Mapping[str, str] | None, currency: str) -> Phone | None:
    """The phone number that a direct charge or a prompt goes to."""
    return stored_phone((details or {}).get("phone") or customer.phone, currency)
