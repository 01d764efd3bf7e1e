"""What was read from a host application's ``paymentProviders`` field: sets of values by provider and environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from polytill.domain.legacy_findings import LegacyFinding, Severity, severity_of
from polytill.domain.secret import Secret
from polytill.domain.states import Environment

KEY_NAMES = ("publicKey", "secretKey", "webhookSecret")
# What a set has besides its keys: the name in the API, and the attribute of ``LegacySet``.
SHARED = {
    "isEnabled": "is_enabled",
    "isDefault": "is_default",
    "supportedCurrencies": "currencies",
    "priority": "priority",
}


@dataclass(frozen=True, slots=True)
class Found:
    """One finding: what, where (a JSON pointer into the field, or into the row), and a sentence for people.

    The sentence quotes no value of the field, because any of them may be a secret.
    """

    type: LegacyFinding
    pointer: str
    detail: str

    @property
    def severity(self) -> Severity:
        """Whether this holds up the practice."""
        return severity_of(self.type)


@dataclass(frozen=True, slots=True)
class LegacySet:
    """One provider in one environment. None means that the field does not say it.

    ``keys`` maps ``publicKey``, ``secretKey`` and ``webhookSecret``; ``config`` holds the provider's further settings by
    their API names, with each text as a ``Secret``. ``environment`` is None only together with a finding.
    ``lacks_keys``: no key is written, and its provider needs some.
    """

    provider: str
    environment: Environment | None
    keys: Mapping[str, Secret] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    is_enabled: bool | None = None
    is_default: bool | None = None
    currencies: tuple[str, ...] | None = None
    priority: int | None = None
    pointer: str = ""
    lacks_keys: bool = False


@dataclass(frozen=True, slots=True)
class LegacyField:
    """A practice's whole field. ``active``: the environment that new payments of a provider use."""

    sets: tuple[LegacySet, ...] = ()
    active: Mapping[str, Environment] = field(default_factory=dict)
    findings: tuple[Found, ...] = ()

    def get(self, provider: str, environment: Environment | None) -> LegacySet | None:
        """The set of a provider in an environment."""
        return next((one for one in self.sets if (one.provider, one.environment) == (provider, environment)), None)

    @property
    def held_up(self) -> bool:
        """Whether any finding is wrong or ambiguous."""
        return any(one.severity is not Severity.note for one in self.findings)


class Cipher(Protocol):
    """The host application's encryption of its keys."""

    def decrypt(self, text: str) -> Secret:
        """The plain text of a value. ``ValueError``, without the value in it, if that is impossible."""
        ...

    def encrypt(self, plain: Secret) -> str:
        """The inverse. ``ValueError`` if the host has configured none."""
        ...


class Unwritable(ValueError):
    """A change cannot be written into a field of this shape. The message says why and quotes no value."""
