"""Writing a value as the field writes it: ``"yes"`` stays a word, ``1`` a number, ``NGN, GHS`` a text with commas."""

from __future__ import annotations

import re
from typing import Any

from polytill.domain.secret import Secret
from polytill.domain.states import Environment
from polytill.flows.legacy import names
from polytill.flows.legacy.located import Occurrence
from polytill.flows.legacy.lossless import Kind, Node, Slot, insert, made, opened, parse
from polytill.flows.legacy.mapping import Mapping
from polytill.flows.legacy.model import Cipher, Unwritable

_PARTNERS = {"live": "test", "test": "live", "production": "sandbox", "sandbox": "production"}
_SEPARATOR = re.compile(r"\s*[,;|/]\s*|\s+")
WORDS = {Environment.production: "live", Environment.sandbox: "test"}


class Style:
    """How one field writes its values and names."""

    def __init__(self, mapping: Mapping, cipher: Cipher | None) -> None:
        self._mapping = mapping
        self._cipher = cipher

    def rewrite(self, occurrence: Occurrence, value: Any) -> None:
        """Write a changed value in the place and manner of the old one. None removes it."""
        slot, what = occurrence.slot, occurrence.what
        occurrence.value = value
        old = opened(slot.node)
        if value is None:
            slot.node = made(None)
        elif what in ("isEnabled", "isDisabled", "isDefault", "isTest", "isLive"):
            slot.node = _flag(old, _said(what, value))
        elif what == "environment":
            slot.node = made(self._environment(old, value))
        elif what == "supportedCurrencies":
            _currencies(slot, old, value)
        elif what == "priority":
            slot.node = made(str(value) if old.kind is Kind.string else value)
        else:
            slot.node = self.secret(what.removeprefix("."), value, old)

    def plain(self, what: str, value: Any) -> Node:
        """A value as a new member."""
        if isinstance(value, Environment):
            return made(value.value)
        if isinstance(value, tuple):
            return made(list(value))
        return self.secret(what.removeprefix("."), value, None)

    def secret(self, what: str, value: Any, old: Node | None) -> Node:
        """A key or setting, encrypted as the host does it."""
        if not isinstance(value, Secret):
            return made(value)
        if what in self._mapping.encrypted:
            if self._cipher is None:
                raise Unwritable("A key must be encrypted, and no encrypt hook is set up.")
            try:
                text = self._cipher.encrypt(value)
            except ValueError as error:
                raise Unwritable(f"A key was not encrypted: {error}.") from None
            if old is not None and old.kind is Kind.object:
                try:
                    return parse(text).root
                except ValueError:
                    raise Unwritable("The encrypt hook gave no JSON object, as the field has one.") from None
            return made(text)
        text = value.reveal()
        if old is not None and old.kind is Kind.number and re.fullmatch("0|[1-9][0-9]*", text):
            return made(int(text)) if len(text) < 20 else made(text)
        return made(text)

    def _environment(self, old: Node, value: Environment) -> str:
        """The word for the other environment that goes with the old word."""
        word = old.value if old.kind is Kind.string else ""
        partner = _PARTNERS.get(names.normal(word))
        if partner is not None and self._mapping.environment_of(partner) is value:
            return names.in_case_of(partner, word)
        own = [name for name, environment in self._mapping.environments.items() if environment is value]
        return own[0] if own else value.value

    def name(self, what: str, siblings: list[Slot], prefix: Environment | None = None) -> str:
        """A name for a new member, written like those beside it, that is read as ``what``."""
        is_snake = any("_" in (slot.name or "").strip("_") for slot in siblings)
        bare = what.removeprefix(".")
        for candidate in (bare, *names.NAMES.get(bare, ())):
            word = candidate if prefix is None else WORDS[prefix] + candidate[:1].upper() + candidate[1:]
            found = names.meaning(word, dict(self._mapping.members))
            if what[:1] == "." or (found is not None and (found.what, found.environment) == (bare, prefix)):
                return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", word).lower() if is_snake else word
        raise Unwritable(f"The mapping leaves no name for {bare}.")

    def code(self, code: str) -> str:
        """A spelling of a provider's code that is read as it."""
        if self._mapping.provider_of(code) == code:
            return code
        return next((name for name, one in self._mapping.providers.items() if one == code), code)


def _said(what: str, value: Any) -> bool:
    if what == "isDisabled":
        return not value
    if what in ("isTest", "isLive"):
        return (value is Environment.sandbox) is (what == "isTest")
    return bool(value)


def _flag(old: Node, said: bool) -> Node:
    if old.kind is Kind.number:
        return made(int(said))
    if old.kind is not Kind.string or not old.value.strip():
        return made(said)
    word = old.value.strip().casefold()
    if names.yes_or_no(word) is not said:
        word = names.OPPOSITES.get(word, "true" if said else "false")
    return made(names.in_case_of(word, old.value.strip()))


def _currencies(slot: Slot, old: Node, codes: tuple[str, ...]) -> None:
    if old.kind is Kind.string and codes:
        separator = _SEPARATOR.search(old.value.strip())
        text = (separator[0] if separator else ",").join(codes)
        slot.node = made(text.lower() if old.value.islower() else text)
    elif old.kind is Kind.object:
        there = {(one.name or "").strip().upper(): one for one in old.slots}
        for code, one in there.items():
            one.node = made(code in codes)
        for code in codes:
            if code not in there:
                insert(old, code, made(True))
    else:
        slot.node = made(list(codes))
