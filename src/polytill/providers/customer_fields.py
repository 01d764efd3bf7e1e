"""What a charge needs to know of its customer: declared by a handler for each currency and method, used by routing,
previews, payment links and forms alike."""

from __future__ import annotations

import re
from dataclasses import dataclass

from polytill.domain.contacts import Phone, example_phone

CUSTOMER_FIELDS = ("email", "phone", "name")  # the closed set, in the order of a form


@dataclass(frozen=True, slots=True)
class CustomerFields:
    """``required``: all of them. ``one_of``: at least one of them, where it is not empty. Names are of
    ``CUSTOMER_FIELDS``.

    A phone that is required is charged, so it must be a mobile number.
    ``phone_countries`` (ISO 3166): the number must be of one of them; empty: of any country. ``phone_pattern`` must match
    the whole number with its country code and without the plus (``254[17][0-9]{8}``). Both count only where a phone
    number is required.
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
        """A number that would be taken, where only those of some country are."""
        return example_phone(self.phone_countries[0]) if self.phone_countries else None

    def missing(self, given: frozenset[str]) -> tuple[str, ...]:
        """The first field that is missing; several where one of them is enough; none where nothing is missing."""
        for name in self.required:
            if name not in given:
                return (name,)
        return self.one_of if self.one_of and not set(self.one_of) & given else ()

    def takes_phone(self, phone: Phone) -> bool:
        """Whether the charge can go to this number."""
        if self.phone_pattern and re.fullmatch(self.phone_pattern, phone.digits) is None:
            return False
        if not phone.could_be_mobile:
            return False
        # Where the number does not tell its country, its country code decides.
        examples = [example_phone(country) or "" for country in self.phone_countries]
        return (
            not self.phone_countries
            or phone.country in self.phone_countries
            or (phone.country is None and any(one.startswith(f"+{phone.country_code} ") for one in examples))
        )


NOTHING = CustomerFields()
