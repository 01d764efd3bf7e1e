"""What is wrong with a form, always as a text key: no message of a library reaches a page.

``problems_of_shape`` names pydantic's errors by their closed types; what has no name here is "check this field".
``Problems`` collects the errors of several readers, so that a form says all of them at once.
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
from polytill.web.console.texts import Said, Words

# Pydantic's type of an error, and our text. Types of our own begin with "polytill_" (values.py).
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
    """Each error with the name of its text. ``say`` makes the API's English sentence of one of them."""
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
    """All that is wrong with a form. ``with problems.caught():`` around each reader, then ``problems.settle()``."""

    errors: list[FieldError] = field(default_factory=list)

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Keep what a reader finds wrong, and go on."""
        try:
            yield
        except Invalid as error:
            self.errors += error.errors or [FieldError("", error.detail, error.reason, error.about)]

    def settle(self) -> None:
        """``Invalid`` with everything that was found, each field once."""
        first: dict[str, FieldError] = {}
        for error in self.errors:
            first.setdefault(error.pointer, error)
        if first:
            raise Invalid(list(first.values()))


def amount_of(
    words: Words, text: str, currency: str, pointer: str = "/amount", *, least: int = 1, most: int = MAX_MINOR
) -> int:
    """The amount in a form's field, in minor units; ``Invalid`` at ``pointer`` says what is wrong with it."""
    try:
        return words.minor(text, currency, least=least, most=most)
    except TypedAmountError as error:
        raise error.at(pointer) from None


def errors_by_field(error: CallerError) -> dict[str, Said]:
    """What is wrong with each field of a form, by its pointer without the slash; "" is the form as a whole."""
    if not isinstance(error, Invalid) or not error.errors:
        return {"": error}
    found: dict[str, Said] = {}
    for one in error.errors:
        found.setdefault(one.pointer.strip("/"), one)
    return found
