"""Verifies a webhook: the configuration that its address names, and the environment whose secrets verify it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from polytill.domain.errors import InstallationCopied, NotFound, NotNow, PolytillError, SandboxOnly, Unauthorized
from polytill.domain.states import Environment
from polytill.flows.context import CHECKED_TTL_S, Practice, Snapshot, log
from polytill.flows.handlers import handler_is_missing
from polytill.flows.provider_calls import admits, build
from polytill.providers.contract import Handler
from polytill.providers.outcomes import NotSent
from polytill.storage.provider_configs import Configuration


@dataclass(frozen=True, slots=True)
class Verified:
    """A webhook's configuration, the environment whose secrets verified it, its handler, and the revision of the
    configurations that were read."""

    configuration: Configuration
    environment: Environment
    handler: Handler
    revision: int


async def verified(practice: Practice, token: str, headers: Mapping[str, str], body: bytes) -> Verified:
    """Verify a webhook. ``NotFound`` for an unknown token, ``Unauthorized`` if no secret verifies it, ``NotNow`` if it
    could not be checked: the provider then sends it again.

    A success may come from an old snapshot: the unit that stores the webhook checks the revision. No webhook is
    rejected because of an old snapshot.
    """
    snapshot = await practice.context.configured(practice.db, CHECKED_TTL_S)
    try:
        return await _verified(practice, snapshot, token, headers, body)
    except (NotFound, Unauthorized, NotNow):
        fresh = await practice.context.configured(practice.db)
        if fresh is snapshot:
            raise
    return await _verified(practice, fresh, token, headers, body)


async def _verified(
    practice: Practice, snapshot: Snapshot, token: str, headers: Mapping[str, str], body: bytes
) -> Verified:
    configuration = next((c for c in snapshot.configurations.values() if c.hook_token == token), None)
    if configuration is None:
        raise NotFound("There is no such webhook address.")
    entry = (await practice.context.catalog()).get(configuration.provider_code)
    active = configuration.environment
    other = Environment.production if active is Environment.sandbox else Environment.sandbox
    copied: PolytillError | None = None
    unchecked: str | None = None if entry else "The provider is not in the catalog."
    for environment in (active, other):
        account = configuration.account(environment)
        if entry is None or account is None:
            continue
        try:
            handler = build(practice, entry, account, for_webhook=True)
        except (InstallationCopied, SandboxOnly) as error:  # the installation that it is for is elsewhere
            copied = error
            continue
        if isinstance(handler, NotSent):
            unchecked = handler.detail
            continue
        admitted = await admits(handler, headers, body)
        if admitted:
            return Verified(configuration, environment, handler, snapshot.revision)
        if admitted is None:
            unchecked = "The provider's handler failed."
    if copied is not None:
        raise copied
    if unchecked is not None:
        log.error("webhook_not_checked", provider=configuration.provider_code, practice=practice.id, reason=unchecked)
        raise handler_is_missing(configuration.provider_code)
    raise Unauthorized("The webhook's signature is missing or wrong.", code="bad_signature")
