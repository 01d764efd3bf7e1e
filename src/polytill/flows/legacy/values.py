"""The values of a field: what each one says, and a finding where it does not say it clearly."""

from __future__ import annotations

import re
from typing import Any

from polytill.domain.currencies import CURRENCIES
from polytill.domain.legacy_findings import LegacyFinding
from polytill.domain.secret import Secret
from polytill.domain.states import Environment
from polytill.flows.legacy import names
from polytill.flows.legacy.located import Located
from polytill.flows.legacy.lossless import Document, Kind, Node, opened, plain
from polytill.flows.legacy.mapping import Mapping
from polytill.flows.legacy.model import Cipher

MOST_PRIORITY = 1_000_000
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class Values:
    """Reads values and reports what is not clear to ``located``."""

    def __init__(self, located: Located, mapping: Mapping, cipher: Cipher | None) -> None:
        self._located = located
        self._mapping = mapping
        self._cipher = cipher

    def read(self, what: str, node: Node, pointer: str) -> Any:
        """The value of a member by its API name; None if it says nothing."""
        if what in ("isEnabled", "isDisabled", "isDefault", "isTest", "isLive"):
            return self._flag(what, node, pointer)
        if what == "environment":
            return self._environment(node, pointer)
        if what == "supportedCurrencies":
            return self._currencies(node, pointer)
        if what == "priority":
            return self._priority(node, pointer)
        return self.key(what, node, pointer)

    def _unclear(self, pointer: str, what: str) -> None:
        self._located.say(LegacyFinding.value_unclear, pointer, f"This does not say clearly {what}.")

    def _flag(self, what: str, node: Node, pointer: str) -> bool | Environment | None:
        said = node.value if node.kind is Kind.boolean else None
        if node.is_blank:
            return None
        if node.kind in (Kind.string, Kind.number):
            said = names.yes_or_no(node.value if node.kind is Kind.string else node.text)
        if said is None:
            self._unclear(pointer, "yes or no")
            return None
        if what == "isDisabled":
            return not said
        if what in ("isTest", "isLive"):
            return Environment.sandbox if said is (what == "isTest") else Environment.production
        return bool(said)

    def _environment(self, node: Node, pointer: str) -> Environment | None:
        if node.is_blank:
            return None
        found = self._mapping.environment_of(node.value) if node.kind is Kind.string else None
        if found is None:
            self._unclear(pointer, "which environment is meant")
        return found

    def _priority(self, node: Node, pointer: str) -> int | None:
        if node.is_blank:
            return None
        text = node.value.strip() if node.kind is Kind.string else node.text
        if not (text.isascii() and text.isdecimal() and len(text) <= 7 and int(text) <= MOST_PRIORITY):
            self._unclear(pointer, f"a priority from 0 to {MOST_PRIORITY}")
            return None
        return int(text)

    def _currencies(self, node: Node, pointer: str) -> tuple[str, ...] | None:
        node = opened(node)
        if node.is_blank:
            return None
        if node.kind is Kind.string:
            codes = names.currencies_of(node.value)
        elif node.kind is Kind.array and all(slot.node.kind is Kind.string for slot in node.slots):
            codes = tuple(dict.fromkeys(code for slot in node.slots for code in names.currencies_of(slot.node.value)))
        elif node.kind is Kind.object and all(slot.node.kind is Kind.boolean for slot in node.slots):
            codes = tuple(slot.name.strip().upper() for slot in node.slots if slot.node.value and slot.name)
        else:
            self._unclear(pointer, "a list of currencies")
            return None
        if not codes:
            detail = "The list of currencies is empty: none, or all? Set defaults.currencies in the mapping."
            if self._mapping.currencies is not None:
                return None
            self._located.say(LegacyFinding.currencies_empty, pointer, detail)
            return ()
        if any(code not in CURRENCIES for code in codes):
            detail = "At least one of the currencies is not an ISO 4217 code."
            self._located.say(LegacyFinding.currency_unknown, pointer, detail)
        return tuple(code for code in codes if code in CURRENCIES)

    def key(self, what: str, node: Node, pointer: str) -> Secret | None:
        """A key or a secret setting: trimmed, decrypted, never empty."""
        if node.is_blank:
            return None
        say = self._located.say
        if node.kind is Kind.string:
            text = node.value.strip()
            if text != node.value:
                say(LegacyFinding.key_trimmed, pointer, "White space around the key is left out.")
        elif node.kind is Kind.object:
            text = Document(node).text()
        else:
            say(LegacyFinding.key_not_text, pointer, "A key must be a text.")
            return None
        found = self._opened(what, text, node, pointer)
        if found is not None and _UNSEEN.search(found.reveal()):
            say(LegacyFinding.key_not_valid, pointer, "The key contains a control character or half a character.")
            return None
        return found

    def _opened(self, what: str, text: str, node: Node, pointer: str) -> Secret | None:
        say, is_object = self._located.say, node.kind is Kind.object
        if what not in self._mapping.encrypted or not (is_object or text.startswith(self._mapping.prefix)):
            if not is_object and not names.looks_encrypted(text):
                return Secret(text)
            detail = "The key seems to be encrypted by the host application. Set `decrypt` in the mapping."
            say(LegacyFinding.key_encrypted, pointer, detail)
            return None
        if self._cipher is None:
            say(LegacyFinding.key_encrypted, pointer, "The key is encrypted, and no decrypt hook is set up here.")
            return None
        try:
            return self._cipher.decrypt(text)
        except ValueError as error:
            say(LegacyFinding.key_not_decrypted, pointer, f"The key was not decrypted: {error}.")
            return None

    def setting(self, what: str, node: Node, pointer: str, schema: dict[str, Any]) -> Any:
        """A further setting of a provider, by its type in the handler's schema: a text is a ``Secret``."""
        if node.is_blank:
            return None
        if node.kind in (Kind.object, Kind.array) and what not in self._mapping.encrypted:
            return plain(node)
        if node.kind is Kind.number and schema.get("type") == "string":
            self._located.say(LegacyFinding.value_converted, pointer, "A number was read as a text.")
            return Secret(node.text)
        if node.kind is Kind.number:
            return int(node.text) if node.text.removeprefix("-").isdecimal() else node.text
        return node.value if node.kind is Kind.boolean else self.key(what, node, pointer)
