"""The customer fields that a charge requires. A handler declares them for each currency and method; routing, previews,
payment links and forms use them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from polytill.domain.contacts import Phone, example_phone

CUSTOMER_FIELDS = ("email", "phone", "name")  # the closed list, in the order of a form


@dataclass(frozen=True, slots=True)
class CustomerFields:
    """All of ``required`` and, if it is not empty, at least one of ``one_of`` are needed. Names are of
    ``CUSTOMER_FIELDS``.

    A required phone number is the one that is charged, so it must be a mobile number. It must belong to one of
    ``phone_countries`` (ISO 3166); empty: any country. ``phone_pattern`` must match the whole number with its country
    code and without the plus (``254[17][0-9]{8}``). Both apply only if a phone number is required.
    """

    required: tuple[str, ...] = ()
    one_of: tuple[str, ...] = ()
    phone_countries: tuple[str, ...] = ()
    phone_pattern: str = ""

    @property
    def asked(self) -> tuple[str, ...]:
        """The fields that a form shows, in its order."""
        return tuple(name for name in CUSTOMER_FIELDS if name in self.required or name in self.one_of)

    @property
    def needs_phone(self) -> bool:
        """Whether a charge goes to a phone number."""
        return "phone" in self.required

    @property
    def example_phone(self) -> str | None:
        """An example of an accepted number, if only numbers of certain countries are accepted."""
        return example_phone(self.phone_countries[0]) if self.phone_countries else None

    def missing(self, given: frozenset[str]) -> tuple[str, ...]:
        """The first field that is missing; several if one of them is enough; empty if nothing is missing."""
        for name in self.required:
            if name not in given:
                return (name,)
        return self.one_of if self.one_of and not set(self.one_of) & given else ()

    def takes_phone(self, phone: Phone) -> bool:
        """Whether this number can be charged."""
        if self.phone_pattern and re.fullmatch(self.phone_pattern, phone.digits) is None:
            return False
        if not phone.could_be_mobile:
            return False
        # If the number does not determine its country, its country code decides.
        examples = [example_phone(country) or "" for country in self.phone_countries]
        return (
            not self.phone_countries
            or phone.country in self.phone_countries
            or (phone.country is None and any(one.startswith(f"+{phone.country_code} ") for one in examples))
        )


NOTHING = CustomerFields()
