"""A string type that refuses to print, and the removal of secrets from foreign text."""

from __future__ import annotations

import re
from typing import NoReturn

_SECRET_LIKE = re.compile(
    r"(sk|rk|pk)_(test|live)_\w+|whsec_\S+|FLW(SECK|PUBK)[\w-]+|pt_(owner|practice|pub)_\w+|"
    r"Bearer\s+\S+|postgres(ql)?:\S+|\w+://[^\s/@]*:\S*@\S+",
    re.IGNORECASE,
)
# What a match of each alternative contains, in lower case. The pattern costs thirty times as much as these.
_MARKS = ("sk_", "rk_", "pk_", "whsec_", "flw", "pt_", "bearer", "postgres", "://")


def without_secrets(text: str) -> str:
    """The text, with everything that looks like a key removed."""
    if text.isascii():  # beyond ASCII, letters have other lower cases
        lower = text.lower()
        if not any(mark in lower for mark in _MARKS):
            return text
    return _SECRET_LIKE.sub("[removed]", text)


class Secret:
    """A string that no log, repr, traceback or JSON shows. ``reveal()`` is the only way to read it, and easy to search
    for."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself."""
        return self._value

    @property
    def last4(self) -> str:
        """The last four characters. Empty if they would be a large part of the secret."""
        return self._value[-4:] if len(self._value) >= 12 else ""

    def __repr__(self) -> str:
        return "Secret(•••)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")
