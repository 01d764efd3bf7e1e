"""The host's metadata: the names and values that every provider accepts."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

from polytill.domain.errors import FieldError, Invalid

MAX_ENTRIES, MAX_METADATA_NAME, MAX_METADATA_VALUE = 20, 40, 500

# Reserved beside everything that starts with "polytill": names that change what a provider does with the payment, or
# that the provider itself writes into what it returns.
RESERVED = frozenset(
    {
        "payment_id",
        "attempt_id",
        "cancel_action",
        "custom_fields",
        "custom_filters",
        "referrer",  # Paystack
        "authorization",
        "originatoramount",
        "preauthorize",
        "sidenote",  # Flutterwave v3
    }
)


def read_metadata(given: Mapping[str, Any] | None) -> dict[str, str] | None:
    """The metadata as given. Raises ``Invalid`` with a pointer for each entry that a provider would reject."""
    if given is None:
        return None
    errors = [
        FieldError(f"/metadata/{_escaped(name)}", wrong)
        for name, value in given.items()
        if (wrong := problem(name, value))
    ]
    if len(given) > MAX_ENTRIES:
        errors.append(FieldError("/metadata", f"Metadata has at most {MAX_ENTRIES} entries."))
    if errors:
        raise Invalid(errors)
    return dict(given)


def problem(name: Any, value: Any) -> str | None:
    """What is wrong with one entry, in a sentence. None if nothing is."""
    if not isinstance(name, str) or not isinstance(value, str):
        return "Names and values of metadata are text."
    if not name.strip() or name != name.strip() or len(name) > MAX_METADATA_NAME:
        return f"A name has 1 to {MAX_METADATA_NAME} characters, without spaces at its ends."
    if "[" in name or "]" in name:  # Stripe rejects them in any capitals
        return "A name must not contain square brackets."
    if _has(name, ("Cc", "Cf", "Cs", "Zl", "Zp")):
        return "A name must not contain control characters."
    if _has(value, ("Cc", "Cs")):
        return "A value must not contain control characters."
    if len(value) > MAX_METADATA_VALUE:
        return f"A value has at most {MAX_METADATA_VALUE} characters."
    bare = unicodedata.normalize("NFKC", name).casefold()
    if bare.startswith("polytill") or bare in RESERVED:
        return "This name is reserved."
    return None


def _has(text: str, categories: tuple[str, ...]) -> bool:
    """Whether a text has a character of one of these categories, of which printable text has none."""
    return not text.isprintable() and any(unicodedata.category(letter) in categories for letter in text)


def _escaped(name: Any) -> str:
    return str(name).replace("~", "~0").replace("/", "~1")
