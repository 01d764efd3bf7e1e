"""What a host application's field has that is unusual: a value built from the mapping file, or the defaults without one."""

from __future__ import annotations

from collections.abc import Mapping as MappingOf
from dataclasses import dataclass, field

from polytill.domain.states import Environment
from polytill.flows.legacy import names
from polytill.providers.contract import Handler
from polytill.providers.registry import BUILT_IN


@dataclass(frozen=True, slots=True)
class Mapping:
    """How to read one host application's fields.

    ``handlers``: the providers that can be meant, by code. ``providers``: further spellings of their codes.
    ``members``: further names of members (normal form), and the API name of what they mean; an empty text means that the
    member is not needed. ``environments``: further words for the two environments. ``is_enabled``, ``environment`` and
    ``currencies`` are used where a field does not say them. ``encrypted``: the API names of the keys that the host has
    encrypted; those of ``prefix``, if that is set.
    """

    handlers: MappingOf[str, type[Handler]] = field(default_factory=lambda: dict(BUILT_IN))
    providers: MappingOf[str, str] = field(default_factory=dict)
    members: MappingOf[str, str] = field(default_factory=dict)
    environments: MappingOf[str, Environment] = field(default_factory=dict)
    is_enabled: bool | None = None
    environment: Environment | None = None
    currencies: tuple[str, ...] | None = None
    encrypted: frozenset[str] = frozenset()
    prefix: str = ""

    def provider_of(self, written: str) -> str | None:
        """The code of the provider that a host's spelling means; None if no provider is known by it."""
        form = names.normal(written)
        if form in self.providers:
            return self.providers[form]
        known = next((code for code in self.handlers if names.normal(code) == form), None)
        if known is None and names.PROVIDERS.get(form) in self.handlers:
            return names.PROVIDERS[form]
        return known

    def environment_of(self, word: str) -> Environment | None:
        """The environment that a word means."""
        return self.environments.get(names.normal(word)) or names.environment_word(word)
