"""The providers of one practice in the plan of an import: what would be added, and why one cannot be."""

from __future__ import annotations

import asyncio
from typing import Any

from polytill.domain.errors import FieldError, Invalid
from polytill.domain.legacy_findings import LegacyFinding, Severity
from polytill.domain.secret import Secret
from polytill.domain.states import Environment
from polytill.flows.admin.credentials import check_keys
from polytill.flows.admin.provider_configs import NewConfiguration, check_new
from polytill.flows.context import Context, Practice
from polytill.flows.handlers import handler_or_reason
from polytill.flows.legacy.key_checks import KeyChecks
from polytill.flows.legacy.mapping import Mapping
from polytill.flows.legacy.model import Found, LegacyField, LegacySet
from polytill.flows.legacy.planned import PlannedPractice
from polytill.flows.legacy.wishes import configured, keys_of, wish_of
from polytill.storage import provider_configs
from polytill.storage.provider_configs import Configuration, open_credentials

Places = dict[tuple[str, Environment | None], str]  # the pointer of each set
_FIELD = "/paymentProviders"
_BY_REASON = {
    "live_key": LegacyFinding.key_of_other_environment,
    "test_key": LegacyFinding.key_of_other_environment,
    "key_in_wrong_field": LegacyFinding.key_not_valid,
    "not_this_key": LegacyFinding.key_not_valid,
    "unknown_provider": LegacyFinding.provider_unknown,
}


class ProviderPlans:
    """Plans the providers of practices."""

    def __init__(self, context: Context, mapping: Mapping, checks_keys: bool) -> None:
        self._context = context
        self._mapping = mapping
        self._checks_keys = checks_keys
        self._checks = KeyChecks(context)

    async def add(self, planned: PlannedPractice, found: LegacyField) -> None:
        """Add the providers of a field to the plan of a practice."""
        said: list[Found] = list(found.findings)
        at = {(one.provider, one.environment): _at(one) for one in found.sets}
        held: dict[str, Configuration] = {}
        defaults: dict[tuple[Environment, str], int] = {}
        practice, meant = None, configured(found)
        if planned.existing is not None:
            practice = await self._context.practice(planned.existing.id)
            held, defaults = await provider_configs.all_of(practice.db), await provider_configs.defaults(practice.db)
        for code in dict.fromkeys(one.provider for one in found.sets):
            sets = [one for one in (found if code in held else meant).sets if one.provider == code]
            if not sets:
                continue  # reported as no_keys
            active = next((one for one in sets if one.environment is found.active.get(code)), sets[0])
            other = next((one for one in sets if one is not active), None)
            if code in held and practice is not None:
                planned.unchanged.append(code)
                said += await self._against(practice, held[code], active, other)
                continue
            new = await self._checked(active, other, said)
            if new is not None:
                planned.new.append(new)
                said += self._of_one(new, active, other)
        said += await self._defaults(planned, defaults, at)
        if self._checks_keys:
            said += await self._tested(planned, at)
        planned.findings += dict.fromkeys(said)

    # ── One provider ──

    async def _checked(self, active: LegacySet, other: LegacySet | None, said: list[Found]) -> NewConfiguration | None:
        """The configuration as it would be added; None, and findings, if it cannot be."""
        at = _at(active)
        try:
            catalog = await self._context.catalog()
            wish = await check_new(self._context, wish_of(active, self._mapping, catalog))
        except Invalid as wrong:
            said += [_refusal(at, error) for error in wrong.errors if not self._is_known(active, error, said)]
            return None
        if other is None or other.environment is None or not (other.keys or other.config):
            return NewConfiguration(wish)
        keys = keys_of(other)
        entry = (await self._context.catalog())[active.provider]
        handler, _ = handler_or_reason(self._context, entry)
        try:
            if handler is not None:
                check_keys(handler, entry, other.environment, keys, None)
        except Invalid as wrong:
            said += [_refusal(_at(other), error) for error in wrong.errors]
            return None
        return NewConfiguration(wish, keys)

    def _is_known(self, one: LegacySet, error: FieldError, said: list[Found]) -> bool:
        """Whether reading the field has reported the cause of a refusal: an unknown environment, a key that it rejected."""
        if any(each.type is _kind(error) and each.pointer == _at(one) for each in said):
            return True
        rejected = [each for each in said if each.severity is not Severity.note and each.pointer.startswith(_at(one))]
        return bool(rejected) and (error.pointer == "/environment" or error.reason == "key_needed")

    def _of_one(self, new: NewConfiguration, active: LegacySet, other: LegacySet | None) -> list[Found]:
        found, at = [], _at(active)
        if active.is_enabled is None and self._mapping.is_enabled is None:
            detail = "Nothing says whether it is switched on, so it is added switched off. See defaults.isEnabled."
            found.append(Found(LegacyFinding.enabled_missing, at, detail))
        if active.currencies is None and self._mapping.currencies is None:
            detail = "Nothing says its currencies, so it is added for all that the provider supports."
            found.append(Found(LegacyFinding.currencies_missing, at, detail))
        if other is not None:
            names = ("is_enabled", "is_default", "currencies", "priority")
            if any(getattr(other, name) not in (None, getattr(active, name)) for name in names):
                detail = "Settings of the environment that is not used differ, and are not kept."
                found.append(Found(LegacyFinding.settings_of_other_environment, _at(other), detail))
        return found

    async def _against(
        self, practice: Practice, held: Configuration, active: LegacySet, other: LegacySet | None
    ) -> list[Found]:
        """How a configuration that is here differs from the field. It stays as it is."""
        wish = wish_of(active, self._mapping, await self._context.catalog())
        differs = [
            held.removed_at is not None and "it was removed here",
            active.environment not in (None, held.environment) and "its environment",
            active.is_enabled is not None and wish.is_enabled != held.is_enabled and "whether it is switched on",
            active.currencies is not None
            and set(active.currencies) != set(held.supported_currencies)
            and "its currencies",
        ]
        for one in (active, other):
            kept = held.newest(one.environment) if one is not None and one.environment is not None else None
            if one is None or kept is None:
                continue
            opened = open_credentials(practice.db.data_key, held.provider_code, kept)
            here: dict[str, Any] = {
                "publicKey": Secret(opened.public_key) if opened.public_key else None,
                "secretKey": opened.secret_key,
                "webhookSecret": opened.webhook_secret,
            }
            if any(here[name] is not None and here[name] != key for name, key in one.keys.items()):
                differs.append(f"its {kept.environment.value} keys")
        parts = ", ".join(one for one in differs if one)
        if not parts:
            return []
        detail = f"The practice has {held.provider_code} already, and it stays as it is. Different: {parts}."
        return [Found(LegacyFinding.configuration_differs, _at(active), detail)]

    # ── All providers ──

    async def _defaults(
        self, planned: PlannedPractice, there: dict[tuple[Environment, str], int], at: Places
    ) -> list[Found]:
        catalog = await self._context.catalog()
        taken: dict[tuple[Environment, str], str] = {}
        found = []
        for one in planned.new:
            wish, code = one.wish, one.wish.provider_code
            if not wish.is_default or wish.environment is None:
                continue
            currencies = wish.supported_currencies
            mine = [(wish.environment, each) for each in currencies or catalog[code].supported_currencies]
            if other := next((taken[each] for each in mine if each in taken), None):
                both = ", ".join(sorted(each[1] for each in mine if taken.get(each) == other))
                detail = f"{other} and {code} are both the default of {both}."
                found.append(Found(LegacyFinding.two_defaults, at.get((code, wish.environment), _FIELD), detail))
            elif any(each in there for each in mine):
                detail = (
                    f"Another provider is already the default for a currency of {code} here, and stays the default."
                )
                found.append(Found(LegacyFinding.default_elsewhere, at.get((code, wish.environment), _FIELD), detail))
            taken |= dict.fromkeys(mine, code)
        return found

    async def _tested(self, planned: PlannedPractice, at: Places) -> list[Found]:
        """Test new keys at their providers."""
        tests = []
        for new in planned.new:
            code, environment = new.wish.provider_code, new.wish.environment or Environment.sandbox
            other = Environment.production if environment is Environment.sandbox else Environment.sandbox
            tests.append(self._checks.finding(at.get((code, environment), _FIELD), code, environment, new.wish.keys))
            if new.other is not None:
                tests.append(self._checks.finding(at.get((code, other), _FIELD), code, other, new.other))
        return [one for one in await asyncio.gather(*tests) if one is not None]


def _at(one: LegacySet) -> str:
    return f"{_FIELD}{one.pointer}"


def _kind(error: FieldError) -> LegacyFinding:
    return _BY_REASON.get(error.reason or "", LegacyFinding.configuration_refused)


def _refusal(at: str, error: FieldError) -> Found:
    return Found(_kind(error), at, error.detail)
