"""Provider configurations of a practice: fields and keys are checked, secrets sealed, all in one transaction.

Keys are checked by pattern here. ``test_configuration`` tests them at the provider, outside of any transaction, so that
a provider's outage never stops a practice from saving.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from polytill.domain.audit_actions import AuditAction
from polytill.domain.errors import Conflict, Duplicate, FieldError, Invalid, NotFound, Stale, invalid
from polytill.domain.rollout import RolloutPhase
from polytill.domain.states import CredentialState, Environment, ProviderStatus
from polytill.flows.admin import key_tests
from polytill.flows.admin.credentials import Keys, check_keys, seal
from polytill.flows.admin.key_tests import LiveKeysRefused
from polytill.flows.commits import until_committed
from polytill.flows.context import Context, Practice
from polytill.flows.handlers import handler_or_reason
from polytill.flows.practice_state import may_have_credentials
from polytill.flows.rollout_phase import Guard, StepMade, announce_change, hold
from polytill.flows.webhooks.receive import new_hook_token
from polytill.providers.contract import CredentialTest, Handler, environment_of_key
from polytill.storage import audit, provider_configs
from polytill.storage.catalog import ProviderEntry
from polytill.storage.databases import Tx
from polytill.storage.provider_configs import Account, Configuration, CredentialSet, Opened, open_credentials

NEW_ALLOWED = frozenset({ProviderStatus.active, ProviderStatus.beta})


@dataclass(frozen=True, slots=True)
class Wish:
    """The requested values of a configuration. None: leave the value, or take the default for a new configuration."""

    provider_code: str
    environment: Environment | None = None
    keys: Keys = field(default_factory=Keys)
    is_enabled: bool | None = None
    is_default: bool | None = None
    supported_currencies: list[str] | None = None
    priority: int | None = None
    configured_by: int | None = None


# ── Checks ──


async def _provider(context: Context, code: str, existing: Configuration | None) -> tuple[ProviderEntry, type[Handler]]:
    entry = (await context.catalog()).get(code)
    if entry is None:
        raise invalid("/providerCode", f"The catalog has no provider {code!r}.", code="unknown_provider")
    if existing is None and entry.status not in NEW_ALLOWED:
        detail = f"{entry.name} accepts no new configurations (catalog status {entry.status})."
        raise invalid("/providerCode", detail, code="catalog_status")
    handler, missing = handler_or_reason(context, entry)
    if handler is None:
        raise invalid("/providerCode", missing, code="handler_missing")
    return entry, handler


def _checked_currencies(entry: ProviderEntry, wanted: list[str] | None, existing: Configuration | None) -> list[str]:
    if wanted is None:
        return existing.supported_currencies if existing else entry.supported_currencies
    known = set(entry.supported_currencies)
    errors = [
        FieldError(
            f"/supportedCurrencies/{number}",
            f"{entry.name} does not support {code!r}.",
            "no_such_currency",
            {"currency": code, "provider": entry.name},
        )
        for number, code in enumerate(wanted)
        if code not in known
    ]
    if errors:
        raise Invalid(errors)
    return sorted(set(wanted))


async def check_new(context: Context, wish: Wish) -> Wish:
    """Do every check of a new configuration, without a practice. Return the values with their environment.

    If no environment is given, the pattern of the secret key decides it.
    """
    entry, handler = await _provider(context, wish.provider_code, None)
    environment = wish.environment
    if environment is None and wish.keys.secret_key is not None:
        environment = environment_of_key(handler, "secretKey", wish.keys.secret_key.reveal())
    if environment is None:
        raise invalid("/environment", "The keys do not show their environment. Send sandbox or production.")
    check_keys(handler, entry, environment, wish.keys, None)
    _checked_currencies(entry, wish.supported_currencies, None)
    return replace(wish, environment=environment)


# ── Saving ──


async def configure(
    context: Context, practice_id: int, wish: Wish, actor: str, patch: bool = False, guard: Guard = announce_change
) -> tuple[Configuration, bool]:
    """Create, replace or (``patch``) change a configuration. Return it, and whether it is new.

    ``guard``: who may change it in the practice's rollout phase. ``FieldDecides`` if it is changed elsewhere.
    """
    practice = await context.practice(practice_id)
    if not patch or wish.keys.given():
        await may_have_credentials(context, practice_id)
    if patch and wish.environment is not None and not wish.keys.given():
        await activate(context, practice_id, wish.provider_code, wish.environment, actor, guard)
        wish = replace(wish, environment=None)

    async def decide() -> tuple[ProviderEntry, bool]:
        return await _configured(practice, wish, actor, patch, await guard(practice))

    # A step of the rollout was made meanwhile, or another request has just created it: then this one changes it.
    entry, fresh = await until_committed(decide, (StepMade, Duplicate), tries=3)
    context.forget(practice_id)
    snapshot = await context.configured(practice.db)
    saved = snapshot.configurations[entry.code]
    if context.on_configured is not None:
        await context.on_configured(practice.db, entry, saved)
    return saved, fresh


async def _configured(
    practice: Practice, wish: Wish, actor: str, patch: bool, phase: RolloutPhase | None
) -> tuple[ProviderEntry, bool]:
    async with practice.db.transaction() as tx:
        await hold(practice, tx, phase)
        await provider_configs.lock(tx, wish.provider_code)
        existing = (await provider_configs.all_of(tx)).get(wish.provider_code)
        live = existing if existing is not None and existing.removed_at is None else None
        if patch and live is None:
            raise NotFound(f"{wish.provider_code} is not configured.")
        entry, handler = await _provider(practice.context, wish.provider_code, live)
        environment = wish.environment or (live.environment if live else Environment.sandbox)
        held_set = live.newest(environment) if live and patch else None
        held = open_credentials(practice.db.data_key, entry.code, held_set) if held_set else None
        opened = check_keys(handler, entry, environment, wish.keys, held)
        wish = replace(wish, supported_currencies=_checked_currencies(entry, wish.supported_currencies, live))
        fields = await _save(practice, tx, wish, existing, entry, opened)
        audit.append(tx, practice.now(), actor, AuditAction.provider_configured, entry.code, fields)
    return entry, live is None


@dataclass(frozen=True, slots=True)
class NewConfiguration:
    """A configuration to add: checked values with their environment, and keys for the other one, if there are any."""

    wish: Wish
    other: Keys | None = None


async def add_missing(
    context: Context, practice_id: int, new: list[NewConfiguration], actor: str
) -> tuple[list[str], list[str]]:
    """Add the configurations that the practice has never had, all or none. What it has or had stays as it is.

    A configuration does not become the default of currencies if one of them has a default. Returns the codes of those
    that were added, and of those that are not the default for this reason.
    """
    practice = await context.practice(practice_id)
    await may_have_credentials(context, practice_id)

    async def decide() -> tuple[list[str], list[str]]:
        return await _added(practice, new, actor, await announce_change(practice))

    # A step of the rollout was made meanwhile, or another request just created one of them: it stays.
    added, not_default = await until_committed(decide, (StepMade, Duplicate), tries=3)
    context.forget(practice_id)
    if added and context.on_configured is not None:
        snapshot, entries = await context.configured(practice.db), await context.catalog()
        for code in added:
            await context.on_configured(practice.db, entries[code], snapshot.configurations[code])
    return added, not_default


async def _added(
    practice: Practice, new: list[NewConfiguration], actor: str, phase: RolloutPhase | None
) -> tuple[list[str], list[str]]:
    added, not_default, now = [], [], practice.now()
    async with practice.db.transaction() as tx:
        await hold(practice, tx, phase)
        held, defaults = await provider_configs.all_of(tx), set(await provider_configs.defaults(tx))
        for one in new:
            code, environment = one.wish.provider_code, one.wish.environment or Environment.sandbox
            if code in held:
                continue
            entry, handler = await _provider(practice.context, code, None)
            opened = check_keys(handler, entry, environment, one.wish.keys, None)
            wish = replace(
                one.wish, supported_currencies=_checked_currencies(entry, one.wish.supported_currencies, None)
            )
            mine = {(environment, currency) for currency in wish.supported_currencies or ()}
            if wish.is_default and mine & defaults:
                wish = replace(wish, is_default=False)
                not_default.append(code)
            defaults |= mine if wish.is_default else set()
            fields = await _save(practice, tx, wish, None, entry, opened)
            audit.append(tx, now, actor, AuditAction.provider_configured, code, fields)
            if one.other is not None:
                other = Environment.production if environment is Environment.sandbox else Environment.sandbox
                prepared = check_keys(handler, entry, other, one.other, None)
                prepared.version = opened.version + 1
                sealed = seal(practice, code, prepared, CredentialState.prepared)
                provider_configs.keep(tx, (await provider_configs.all_of(tx))[code], sealed, now)
                detail = {"environment": other.value, "version": prepared.version}
                audit.append(tx, now, actor, AuditAction.provider_credentials_prepared, code, detail)
            added.append(code)
    return added, not_default


async def _save(
    practice: Practice, tx: Tx, wish: Wish, existing: Configuration | None, entry: ProviderEntry, opened: Opened
) -> dict[str, Any]:
    """Write a configuration with its checked currencies and keys. Return its line in the audit log."""
    now = practice.now()
    versions = [s.version for s in (existing.active, *existing.others)] if existing else [0]
    opened.version = max(versions) + 1
    unchanged = existing is not None and not wish.keys.given() and existing.environment is opened.environment
    active = (
        existing.active
        if unchanged and existing is not None
        else seal(practice, entry.code, opened, CredentialState.active)
    )
    gone = existing is not None and existing.removed_at is not None
    base = existing if existing is not None and not gone else None
    saved = Configuration(
        id=existing.id if existing else 0,
        practice_id=practice.id,
        provider_code=entry.code,
        provider_name=entry.name,
        is_enabled=_first(wish.is_enabled, base.is_enabled if base else False),
        is_default=_first(wish.is_default, base.is_default if base else False),
        supported_currencies=list(wish.supported_currencies or ()),
        priority=_first(wish.priority, base.priority if base else 0),
        hook_token=existing.hook_token if existing else new_hook_token(practice.context, practice.id),
        active=active,
        configured_by=wish.configured_by,
        last_tested_at=existing.last_tested_at if existing and unchanged else None,
    )
    if existing is None:
        await provider_configs.insert(tx, saved, now)
    else:
        _keep_previous(tx, existing, saved, now)
        provider_configs.update(tx, saved, now)
    await _move_defaults(tx, saved)
    return {
        "environment": active.environment.value,
        "version": active.version,
        "enabled": saved.is_enabled,
        "default": saved.is_default,
        "currencies": saved.supported_currencies,
    }


def _first(value: Any, otherwise: Any) -> Any:
    return otherwise if value is None else value


def _keep_previous(tx: Tx, existing: Configuration, saved: Configuration, now: datetime) -> None:
    if saved.active is existing.active or existing.is_placeholder:
        return
    same_environment = existing.environment is saved.environment
    kept = replace(
        existing.active,
        state=CredentialState.superseded if same_environment else CredentialState.prepared,
        superseded_at=now if same_environment else None,
    )
    provider_configs.supersede_prepared(tx, existing.id, saved.environment, now)
    provider_configs.keep(tx, existing, kept, now)


async def _move_defaults(tx: Tx, saved: Configuration) -> None:
    """If ``isDefault`` is set, make this configuration the default of each of its currencies, in place of the previous
    one."""
    provider_configs.clear_defaults(tx, saved.id)
    if saved.is_default:
        for currency in saved.supported_currencies:
            provider_configs.set_default(tx, saved.practice_id, saved.environment, currency, saved.id)
        await provider_configs.mark_defaults(tx)


async def prepare_credentials(
    context: Context, practice_id: int, code: str, environment: Environment, keys: Keys, actor: str
) -> Configuration:
    """Store keys for an environment. Those of the active one are used at once; those of the other wait for the switch."""
    return await prepare(context, practice_id, Wish(code, environment, keys), actor)


async def prepare(
    context: Context, practice_id: int, wish: Wish, actor: str, guard: Guard = announce_change
) -> Configuration:
    """Do what ``prepare_credentials`` does, with the keys of a wish that names its environment."""
    code, environment, keys = wish.provider_code, wish.environment or Environment.sandbox, wish.keys
    await may_have_credentials(context, practice_id)
    practice, existing = await existing_configuration(context, practice_id, code)
    if environment is existing.environment:
        return (await configure(context, practice_id, wish, actor, patch=True, guard=guard))[0]
    entry, handler = await _provider(context, code, existing)
    opened = check_keys(handler, entry, environment, keys, None)
    now, phase = context.world.now(), await guard(practice)
    async with practice.db.transaction() as tx:
        existing = await _locked(practice, tx, code, phase)
        if environment is existing.environment:
            raise Stale  # somebody just switched to it
        opened.version = max(s.version for s in (existing.active, *existing.others)) + 1
        sealed = seal(practice, code, opened, CredentialState.prepared)
        provider_configs.supersede_prepared(tx, existing.id, environment, now)
        provider_configs.keep(tx, existing, sealed, now)
        detail = {"environment": environment.value, "version": opened.version}
        audit.append(tx, now, actor, AuditAction.provider_credentials_prepared, code, detail)
    context.forget(practice_id)
    saved = (await context.configured(practice.db)).configurations[code]
    if context.on_configured is not None:
        await context.on_configured(practice.db, entry, saved)
    return saved


async def drop_prepared(
    context: Context, practice_id: int, wish: Wish, actor: str, guard: Guard = announce_change
) -> None:
    """Give up the keys that were prepared for the environment of a wish. They stay for what was paid with them."""
    code, environment = wish.provider_code, wish.environment or Environment.sandbox
    practice = await context.practice(practice_id)
    now, phase = context.world.now(), await guard(practice)
    async with practice.db.transaction() as tx:
        existing = await _locked(practice, tx, code, phase)
        provider_configs.supersede_prepared(tx, existing.id, environment, now)
        detail = {"environment": environment.value}
        audit.append(tx, now, actor, AuditAction.provider_credentials_dropped, code, detail)
    context.forget(practice_id)


async def activate(
    context: Context, practice_id: int, code: str, environment: Environment, actor: str, guard: Guard = announce_change
) -> Configuration:
    """Do what ``switch`` does, without the test's result."""
    return (await switch(context, practice_id, code, environment, actor, guard))[0]


async def switch(
    context: Context, practice_id: int, code: str, environment: Environment, actor: str, guard: Guard = announce_change
) -> tuple[Configuration, CredentialTest | None]:
    """Switch to the environment whose keys were prepared; the current keys are kept for the way back.

    Live keys are tested first, and keys that the provider rejects are never used. An unreachable provider does not stop
    the switch; the returned test reports it. None: nothing was tested.
    """
    practice, existing = await existing_configuration(context, practice_id, code)
    await guard(practice)  # before a provider is asked
    if environment is existing.environment:
        return existing, None
    prepared, result = _prepared(existing, environment), None
    if environment is Environment.production:
        entry, _ = await _provider(context, code, existing)
        account = Account(existing, prepared)
        result = await key_tests.tested(practice, entry, account)
        if not result.ok and (result.reached or not key_tests.can_be_called(practice, entry, account)):
            async with practice.db.transaction() as tx:
                key_tests.note(tx, context.world.now(), actor, code, environment, result)
            raise LiveKeysRefused(result)
    now, phase = context.world.now(), await guard(practice)
    async with practice.db.transaction() as tx:
        existing = await _locked(practice, tx, code, phase)
        if environment is existing.environment:
            return existing, result
        prepared = _prepared(existing, environment, prepared.version)
        saved = replace(existing, active=replace(prepared, state=CredentialState.active), others=[])
        provider_configs.drop_kept(tx, existing.id, prepared.version)
        provider_configs.keep(tx, existing, replace(existing.active, state=CredentialState.prepared), now)
        provider_configs.update(tx, saved, now)
        await _move_defaults(tx, saved)
        if result is not None:
            key_tests.note(tx, now, actor, code, environment, result)
        audit.append(
            tx, now, actor, AuditAction.provider_environment_switched, code, {"environment": environment.value}
        )
    context.forget(practice_id)
    return (await context.configured(practice.db)).configurations[code], result


def _prepared(existing: Configuration, environment: Environment, version: int | None = None) -> CredentialSet:
    """Return the prepared keys of this environment; ``Stale`` if they are not the ones that were tested."""
    found = next(
        (s for s in existing.others if s.state is CredentialState.prepared and s.environment is environment), None
    )
    if found is None:
        raise Conflict(f"There are no keys for {environment.value} yet. Save them first.", code="no_credentials")
    if version not in (None, found.version):
        raise Stale
    return found


async def existing_configuration(context: Context, practice_id: int, code: str) -> tuple[Practice, Configuration]:
    """Return a configuration from the database; ``NotFound`` if there is none."""
    practice = await context.practice(practice_id)
    return practice, _there(await provider_configs.all_of(practice.db), code)


async def _locked(practice: Practice, tx: Tx, code: str, phase: RolloutPhase | None) -> Configuration:
    """Return a configuration that nobody else can change until the transaction ends."""
    await hold(practice, tx, phase)
    await provider_configs.lock(tx, code)
    return _there(await provider_configs.all_of(tx), code)


def _there(found: dict[str, Configuration], code: str) -> Configuration:
    existing = found.get(code)
    if existing is None or existing.removed_at is not None:
        raise NotFound(f"{code} is not configured.")
    return existing


async def remove(context: Context, practice_id: int, code: str, actor: str, guard: Guard = announce_change) -> None:
    """Remove a configuration for new payments. The row and its keys stay, so that old payments can still be refunded."""
    practice = await context.practice(practice_id)
    now, phase = context.world.now(), await guard(practice)
    async with practice.db.transaction() as tx:
        existing = await _locked(practice, tx, code, phase)
        saved = replace(existing, is_enabled=False, is_default=False, removed_at=now)
        provider_configs.update(tx, saved, now)
        await _move_defaults(tx, saved)
        audit.append(tx, now, actor, AuditAction.provider_removed, code, None)
    context.forget(practice_id)


async def test_configuration(
    context: Context, practice_id: int, code: str, actor: str
) -> tuple[CredentialTest, datetime]:
    """Test the active keys at the provider, and record the time."""
    practice, existing = await existing_configuration(context, practice_id, code)
    entry, _ = await _provider(context, code, existing)
    result = await key_tests.tested(practice, entry, Account(existing, existing.active))
    now = context.world.now()
    async with practice.db.transaction() as tx:
        provider_configs.tested(tx, existing.id, now)
        key_tests.note(tx, now, actor, code, existing.environment, result)
    context.forget(practice_id)
    return result, now
