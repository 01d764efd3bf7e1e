"""Reading a JSON document that a person wrote: every value by its kind, every error with its pointer and one sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, TypeVar

from polytill.domain.errors import FieldError
from polytill.domain.routing import PolicyError

MAX_CHARACTERS = 200_000
MAX_ERRORS = 100
_SHOWN = 80
MAX_POINTER = 400

# Control characters and single surrogates, which a database does not store. A description may have several lines.
_UNWRITABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")

T = TypeVar("T")

_SENTENCES = {
    PolicyError.unreadable: "This is not valid JSON.",
    PolicyError.unreadable_at: "This is not valid JSON; see line {line}, column {column}.",
    PolicyError.not_object: "Give an object.",
    PolicyError.not_list: "Give a list.",
    PolicyError.not_text: "Give a string.",
    PolicyError.not_integer: "Give a whole number.",
    PolicyError.unknown_field: "There is no field {field!r}. Use one of {allowed}.",
    PolicyError.unused_field: "The strategy {strategy} does not use {field!r}.",
    PolicyError.missing_field: "The field {field!r} is missing.",
    PolicyError.unknown_value: "{value!r} is not known. Use one of {allowed}.",
    PolicyError.unknown_provider: "There is no provider {provider!r}.",
    PolicyError.out_of_range: "Give a number from {least} to {most}.",
    PolicyError.too_many: "There are more than {most}.",
    PolicyError.too_long: "There are more than {most} characters.",
    PolicyError.empty: "This is empty.",
    PolicyError.not_writable: "This contains control characters.",
    PolicyError.no_weight: "Give at least one provider a weight above 0.",
    PolicyError.too_deep: "Conditions are nested more than {most} deep.",
    PolicyError.repeated: "{value!r} is given twice.",
    PolicyError.unreachable: "This rule never applies, because the rule {rule!r} before it always applies first.",
    PolicyError.never_true: "This condition is never true.",
    PolicyError.amount_without_currency: "Give the amount with its currency: an object with currency, atLeast and below,"
    " in minor units.",
    PolicyError.not_currency: "{value!r} is not a currency. Give an ISO 4217 code, for example NGN.",
    PolicyError.not_country: "{value!r} is not a country. Give an ISO 3166-1 code, for example NG.",
    PolicyError.not_time: "Give a time of the day from 00:00 to 24:00, for example 08:30.",
    PolicyError.not_domain: "Give a domain without @, for example example.com.",
    PolicyError.test_failed: "The test expects {expected}, but {rule} chooses {found}.",
}


class Reading:
    """The errors of a document, in the order in which they were found, at most ``MAX_ERRORS``. ``failed``: its own tests
    that fail, which are run if it has no errors."""

    def __init__(self, providers: Collection[str]) -> None:
        self.providers = frozenset(providers)
        self.errors: list[FieldError] = []
        self.failed: list[FieldError] = []

    def wrong(self, pointer: str, error: PolicyError, **about: Any) -> None:
        """Add an error, or a test that fails."""
        shown = {name: value if name == "allowed" else _short(value) for name, value in about.items()}
        found = self.failed if error is PolicyError.test_failed else self.errors
        if len(found) < MAX_ERRORS:
            found.append(FieldError(_valid(pointer)[:MAX_POINTER], _SENTENCES[error].format(**shown), error, shown))

    def object(
        self, value: Any, pointer: str, allowed: Collection[str], needed: Collection[str] = ()
    ) -> dict[str, Any]:
        """The known fields of an object; empty if it is none."""
        if not isinstance(value, dict):
            self.wrong(pointer, PolicyError.not_object)
            return {}
        for name in value:
            if name not in allowed:
                self.wrong(at(pointer, name), PolicyError.unknown_field, field=name, allowed=", ".join(sorted(allowed)))
        for name in needed:
            if name not in value:
                self.wrong(pointer, PolicyError.missing_field, field=name)
        return {name: value[name] for name in value if name in allowed}

    def list(self, value: Any, pointer: str, most: int, least: int = 1) -> Iterator[tuple[Any, str]]:
        """The items of a list with their pointers; nothing if it is none, or has too many."""
        if not isinstance(value, list):
            self.wrong(pointer, PolicyError.not_list)
        elif len(value) > most:
            self.wrong(pointer, PolicyError.too_many, most=most)
        elif len(value) < least:
            self.wrong(pointer, PolicyError.empty)
        else:
            yield from ((item, f"{pointer}/{number}") for number, item in enumerate(value))

    def text(self, value: Any, pointer: str, most: int) -> str | None:
        """A text that is not blank."""
        if not isinstance(value, str):
            self.wrong(pointer, PolicyError.not_text)
        elif not value.strip():
            self.wrong(pointer, PolicyError.empty)
        elif len(value) > most:
            self.wrong(pointer, PolicyError.too_long, most=most)
        elif _UNWRITABLE.search(value):
            self.wrong(pointer, PolicyError.not_writable)
        else:
            return value
        return None

    def integer(self, value: Any, pointer: str, least: int, most: int) -> int | None:
        """A whole number within bounds."""
        if not isinstance(value, int) or isinstance(value, bool):
            self.wrong(pointer, PolicyError.not_integer)
        elif not least <= value <= most:
            self.wrong(pointer, PolicyError.out_of_range, least=least, most=most)
        else:
            return value
        return None

    def one_of(self, value: Any, pointer: str, known: Mapping[str, T]) -> T | None:
        """The meaning of one of several words."""
        word = self.text(value, pointer, 100)
        if word is not None and word not in known:
            self.wrong(pointer, PolicyError.unknown_value, value=word, allowed=", ".join(known))
            return None
        return None if word is None else known[word]

    def provider(self, value: Any, pointer: str) -> str | None:
        """The code of a provider in the catalog."""
        code = self.text(value, pointer, 100)
        if code is not None and code not in self.providers:
            self.wrong(pointer, PolicyError.unknown_provider, provider=code)
            return None
        return code

    def each(self, value: Any, pointer: str, most: int, read: Callable[[Any, str], T | None]) -> tuple[T, ...]:
        """The items of a list that can be read."""
        found = (read(item, place) for item, place in self.list(value, pointer, most))
        return tuple(item for item in found if item is not None)


def at(pointer: str, name: str) -> str:
    """The pointer to a field (RFC 6901)."""
    return f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}"


class _Twice(ValueError):
    """An object has a field twice, so that nobody can say which one was meant."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__()


def loaded(text: str | bytes) -> Any:
    """A JSON document. ``ValueError`` if it is none, too long or too deep, or has a field twice."""
    if len(text) > MAX_CHARACTERS:
        raise ValueError
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except RecursionError as error:
        raise ValueError from error


def load(reading: Reading, text: str | bytes) -> Any:
    """The same; an error is added to the reading instead."""
    try:
        return loaded(text)
    except _Twice as twice:
        reading.wrong("", PolicyError.repeated, value=twice.name)
    except json.JSONDecodeError as error:
        reading.wrong("", PolicyError.unreadable_at, line=error.lineno, column=error.colno)
    except ValueError:  # NaN, a number of thousands of digits, bytes that are no UTF-8
        if len(text) > MAX_CHARACTERS:
            reading.wrong("", PolicyError.too_long, most=MAX_CHARACTERS)
        else:
            reading.wrong("", PolicyError.unreadable)
    return None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _Twice(name)
        found[name] = value
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _short(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return _valid(value[:_SHOWN] + "…" if len(value) > _SHOWN else value)


def _valid(text: str) -> str:
    # A single surrogate cannot be encoded, so the answer with the error could not be sent.
    return text.encode("utf-8", "replace").decode("utf-8")
