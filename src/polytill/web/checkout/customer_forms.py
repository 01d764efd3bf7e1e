"""The customer fields of checkout forms: which ones are shown, what was entered, and what is wrong with it."""

from __future__ import annotations

from polytill.domain.contacts import example_phone, stored_phone
from polytill.domain.errors import Invalid
from polytill.domain.localities import Locality, locality
from polytill.flows.payments.customers import Countries, read_customer
from polytill.providers.contract import Customer, CustomerFields
from polytill.providers.customer_fields import CUSTOMER_FIELDS

_USUAL_COUNTRY = {"USD": "US", "EUR": "FR", "XOF": "CI", "XAF": "CM"}
Wrong = dict[str, str | None]  # by field: an example for the message, or None


def form_fields(fields: CustomerFields) -> dict[str, bool]:
    """The fields of a form, in order, and whether each is required. A charge to a phone omits the e-mail unless it is
    required; elsewhere the e-mail is for the receipt."""
    asked = {*fields.asked, "name"} | (set() if "phone" in fields.asked else {"email"})
    return {name: name in fields.required for name in CUSTOMER_FIELDS if name in asked}


def usual_phone(practice: Locality, currency: str) -> str | None:
    """An example number of the practice's country, or of the currency's; of a large country if several use the
    currency."""
    return example_phone(practice.country or locality(currency).country or _USUAL_COUNTRY.get(currency, "KE"))


def read_form(given: dict[str, str], fields: CustomerFields, countries: Countries) -> tuple[Customer, Wrong]:
    """The customer that was entered, and the fields that are missing or wrong. Ignores fields that the form does not
    show."""
    typed = {name: given.get(name) for name in form_fields(fields)}
    try:
        customer = read_customer(Customer(**typed), countries)
    except Invalid as error:
        return Customer(), customer_errors(error)
    missing = fields.missing(customer.fields())
    wrong: Wrong = dict.fromkeys(missing, None)
    phone = stored_phone(customer.phone)
    if phone is not None and fields.needs_phone and not fields.takes_phone(phone):
        wrong["phone"] = fields.example_phone
    return customer, wrong


def customer_errors(error: Invalid) -> Wrong:
    """The customer fields that an error names."""
    found: Wrong = {}
    for one in error.errors:
        place, _, name = one.pointer.rpartition("/")
        if place in ("/customer", "/values") and name in CUSTOMER_FIELDS:
            found.setdefault(name, str(one.about.get("example") or "") or None)
    return found
