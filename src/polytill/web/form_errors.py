"""Validation errors of forms, always as text keys: no message of a library reaches a page.

``problems_of_shape`` maps pydantic's closed error types to keys; an unmapped type becomes "check this field".
``Problems`` collects the errors of several readers, so that a form shows all of them together.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from polytill.domain.contacts import InvalidContact
from polytill.domain.errors import CallerError, FieldError, Invalid
from polytill.domain.money import MAX_MINOR
from polytill.domain.typed_amounts import TypedAmountError
from polytill.web.words import Said, Words

# Pydantic's error type, and our text key. Types that begin with "polytill_" are defined in values.py.
_NAMES = {
    "missing": "shape_missing",
    "string_too_short": "shape_missing",
    "string_too_long": "shape_too_long",
    "polytill_blank": "shape_missing",
    "polytill_currency": "no_currency",
    "polytill_control": "shape_control",
    "polytill_url": "shape_url",
    "string_pattern_mismatch": "shape_pattern",
    "literal_error": "shape_choice",
    "enum": "shape_choice",
    "too_long": "shape_too_many",
}


def problems_of_shape(error: ValidationError, say: Any) -> list[FieldError]:
    """Each error with its text key. ``say`` builds the API's English sentence for one error."""
    found = []
    for one in error.errors():
        pointer = "/" + "/".join(map(str, one["loc"]))
        context = one.get("ctx") or {}
        about = {"n": context["max_length"]} if "max_length" in context else {}
        name = _NAMES.get(one["type"], "shape_other")
        if name in ("shape_too_long", "shape_too_many") and "n" not in about:
            name = "shape_other"
        if name != "shape_other" and one["type"] != "missing" and pointer.lower().endswith("currency"):
            name, about = "no_currency", {}
        if name == "shape_pattern" and pointer.lower().endswith("email"):
            name = "not_an_email"
        if isinstance(cause := context.get("error"), InvalidContact):
            name, about = cause.reason, {"example": cause.example or ""}
        found.append(FieldError(pointer, say(dict(one)), name, about))
    return found


@dataclass(slots=True)
class Problems:
    """Collects the errors of a form. Put ``with problems.caught():`` around each reader, then call
    ``problems.settle()``."""

    errors: list[FieldError] = field(default_factory=list)

    @contextmanager
    def caught(self, pointer: str = "") -> Iterator[None]:
        """Collect the errors that a reader raises, and continue. ``pointer``: the field of a number that was typed."""
        try:
            yield
        except TypedAmountError as error:
            self.errors += error.at(pointer).errors
        except Invalid as error:
            self.errors += error.errors or [FieldError("", error.detail, error.reason, error.about)]

    def settle(self) -> None:
        """Raise ``Invalid`` with the first error of each field, if there are any."""
        first: dict[str, FieldError] = {}
        for error in self.errors:
            first.setdefault(error.pointer, error)
        if first:
            raise Invalid(list(first.values()))


def amount_of(
    words: Words, text: str, currency: str, pointer: str = "/amount", *, least: int = 1, most: int = MAX_MINOR
) -> int:
    """Read an amount from a form field, in minor units. Raises ``Invalid`` at ``pointer``."""
    try:
        return words.minor(text, currency, least=least, most=most)
    except TypedAmountError as error:
        raise error.at(pointer) from None


def errors_by_field(error: CallerError) -> dict[str, Said]:
    """The error of each field of a form, by its pointer without the slash; "" is the form as a whole."""
    if not isinstance(error, Invalid) or not error.errors:
        return {"": error}
    found: dict[str, Said] = {}
    for one in error.errors:
        found.setdefault(one.pointer.strip("/"), one)
    return found
