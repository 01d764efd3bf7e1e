"""Tests of provider keys: their shape, and whether the provider accepts them, before going live and on request."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from polytill.domain.audit_actions import AuditAction
from polytill.domain.errors import Conflict, FieldError
from polytill.domain.states import Environment
from polytill.domain.text import in_sentence
from polytill.flows.context import Practice
from polytill.flows.provider_calls import build, call_test
from polytill.providers.contract import CredentialTest, Handler, KeyFinding
from polytill.providers.outcomes import NotSent
from polytill.storage import audit
from polytill.storage.catalog import ProviderEntry
from polytill.storage.databases import PracticeDb, Writes
from polytill.storage.provider_configs import Account

# The reasons of fields with a key of the other environment.
OTHER_ENVIRONMENT = frozenset({"live_key", "test_key"})
_LINES = 200


@dataclass(frozen=True, slots=True)
class LastTest:
    """The last test of one environment's keys: its time, whether payments can be made with them, and the finding."""

    at: datetime
    ok: bool
    finding: KeyFinding | None = None


async def tested(practice: Practice, entry: ProviderEntry, account: Account) -> CredentialTest:
    """Test the keys of an account at the provider. ``reached`` is false if it was not asked, or did not answer."""
    handler = build(practice, entry, account)
    if isinstance(handler, NotSent):
        return CredentialTest(False, handler.detail or "The provider cannot be called.", reached=False)
    result = await call_test(handler)
    if result.ok and result.environment is not None and result.environment is not account.environment:
        detail = f"The keys work, but for {result.environment.value}, not for {account.environment.value}."
        return CredentialTest(False, detail, result.environment, finding=KeyFinding.wrong_environment)
    return result


def can_be_called(practice: Practice, entry: ProviderEntry, account: Account) -> bool:
    """Whether polytill can ask the provider at all. If not, it cannot take a payment there either."""
    return not isinstance(build(practice, entry, account), NotSent)


def note(unit: Writes, now: datetime, actor: str, code: str, environment: Environment, result: CredentialTest) -> None:
    """Record a test of the keys of this environment."""
    detail = {"ok": result.ok, "environment": environment.value, "reached": result.reached}
    if result.finding is not None:
        detail["finding"] = result.finding.value
    audit.append(unit, now, actor, AuditAction.provider_tested, code, detail)


async def last_tests(db: PracticeDb, code: str) -> dict[str, LastTest]:
    """Return the newest test of each environment's keys. A test that did not reach the provider does not count."""
    found: dict[str, LastTest] = {}
    for line in await audit.listed(db, code, limit=_LINES):
        detail = line["detail"] or {}
        if line["action"] == AuditAction.provider_tested and "environment" in detail and detail.get("reached", True):
            last = LastTest(line["at"], bool(detail.get("ok")), _finding(detail.get("finding")))
            found.setdefault(detail["environment"], last)
    return found


def _finding(name: object) -> KeyFinding | None:
    return next((known for known in KeyFinding if known == name), None)  # None: no finding, or one of a later version


def _is_surely(pattern: str, text: str) -> bool:
    """Return whether a key has a distinctive shape: a prefix of its own."""
    return bool(re.fullmatch(pattern, text)) and not re.fullmatch(pattern, "z" * len(text))


def wrong_key(
    handler: type[Handler], provider: str, name: str, environment: Environment, text: str
) -> list[FieldError]:
    """Return why a key does not fit its field: it is of the other environment, of another field, or of no known shape."""
    spec = handler.keys[name]
    here, there = spec.sandbox, spec.production
    if environment is Environment.production:
        here, there = there, here
    if _is_surely(here, text):
        return []
    for other, its in handler.keys.items():
        if other != name and any(_is_surely(pattern, text) for pattern in (its.sandbox, its.production)):
            detail = f"This is the {in_sentence(its.label)}. It belongs in another field."
            about = {"provider": provider, "key": its.label}
            return [FieldError(f"/{name}", detail, "key_in_wrong_field", about)]
    if re.fullmatch(here, text):  # many texts have this shape
        return []
    if re.fullmatch(there, text):
        kind = "live" if environment is Environment.sandbox else "test"
        detail = f"This is a {kind} key, but the environment is {environment.value}."
        return [FieldError(f"/{name}", detail, f"{kind}_key")]
    detail = f"This does not look like a {in_sentence(spec.label)} of {provider}. {spec.help}".strip()
    return [FieldError(f"/{name}", detail, "not_this_key", {"provider": provider})]


def wrong_settings(handler: type[Handler], environment: Environment, given: Mapping[str, Any]) -> list[FieldError]:
    """Return errors for settings that are of the other environment (``Handler.settings_by_environment``)."""
    errors = []
    for name, patterns in handler.settings_by_environment.items():
        here, there = patterns if environment is Environment.sandbox else reversed(patterns)
        text = str(given.get(name, ""))
        if text and re.fullmatch(there, text) and not re.fullmatch(here, text):
            kind = "live" if environment is Environment.sandbox else "test"
            detail = f"This is a {kind} key, but the environment is {environment.value}."
            errors.append(FieldError(f"/config/{name}", detail, f"{kind}_key"))
    return errors


class LiveKeysRefused(Conflict):
    """The live keys were tested, and payments cannot be made with them."""

    code = "live_keys_refused"

    def __init__(self, test: CredentialTest) -> None:
        self.test = test
        super().__init__(f"The live keys do not work: {test.detail}", said=test.detail, finding=test.finding)
