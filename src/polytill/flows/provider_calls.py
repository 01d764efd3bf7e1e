"""The only way to call a handler: builds it with a practice's credentials and calls it outside of transactions."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeGuard

from polytill.domain.money import Money
from polytill.domain.secret import Secret
from polytill.domain.states import ATTEMPT_CLOSED, ATTEMPT_WON, CredentialState, Environment
from polytill.flows.context import Context, Practice, log
from polytill.flows.handler_guard import answered_wrongly, clean, declared, handler_failed, listed, own_copy, understood
from polytill.flows.handlers import handler_or_reason
from polytill.flows.installation import may_use
from polytill.flows.next_action import charges_at_once
from polytill.flows.provider_waits import provider_wait
from polytill.providers.contained import ends_only_itself
from polytill.providers.contract import (
    ConfirmPaymentParams,
    CredentialTest,
    Detachment,
    DetachSavedMethodParams,
    Handler,
    Page,
    ProviderConfig,
)
from polytill.providers.http import may_receive_keys
from polytill.providers.outcomes import JsonObject, NotSent, Outcome, Reason, Succeeded, Unknown
from polytill.providers.well_formed import is_json, wrong_in
from polytill.storage import attempts, cases, payments
from polytill.storage.attempts import Attempt
from polytill.storage.catalog import ProviderEntry
from polytill.storage.provider_configs import Account, Configuration, CredentialSet, Opened, open_credentials
from polytill.storage.units import work_is_open

# What only reads. A practice whose database is behind calls no other verb: what it is about may be done already.
LOOKUPS = frozenset({"confirm_payment", "lookup_payment", "lookup_refund"})
# The code of an ``Unknown`` that stays unknown until a person has checked the account of the old keys.
OTHER_ACCOUNT = "other_account"
# The code of a ``NotSent`` because the handler lacks the verb.
NOT_SUPPORTED = "not_supported"
# No built-in verb takes this long. Each request has its own time limit (``provider_timeout_s``, at most 120 s), and
# this is four times the longest; a verb that reads a list reads 200 pages in it. A verb that never ends would block its
# caller, and all other work that is due in the practice.
LONGEST_VERB_S = 480.0


class TransactionOpen(AssertionError):
    """A provider was about to be called while database work was open: a bug in polytill."""


class NoEnd(Exception):
    """A verb did not end within ``LONGEST_VERB_S``."""


def build(practice: Practice, entry: ProviderEntry, account: Account, for_webhook: bool = False) -> Handler | NotSent:
    """A handler for one account. ``NotSent`` if keys must not be sent to the address in the catalog, ``InstallationCopied``
    for production keys in a copy that nobody has adopted.

    Only a handler that verifies a webhook gets the webhook secrets.
    """
    may_use(practice.context, account.environment)
    cls, missing = handler_or_reason(practice.context, entry)
    if cls is None:
        return NotSent(Reason.config, "handler_missing", missing)
    base_url = entry.base_url(account.environment) or cls.catalog.api_base_url
    if not may_receive_keys(base_url, cls.hosts, practice.context.settings.allowed_provider_origins):
        return NotSent(
            Reason.config, "host_not_allowed", "The catalog's address for this provider may not be sent keys."
        )
    opened = open_credentials(practice.db.data_key, account.provider_code, account.credentials)
    config = ProviderConfig(
        opened.environment,
        base_url,
        opened.public_key,
        opened.secret_key,
        _webhook_secrets(practice, cls, account, opened) if for_webhook else (),
        opened.config,
        hook_url(practice.context, account.configuration.hook_token),
    )
    try:
        return cls(config, practice.context.http, practice.context.world)
    except BaseException as error:
        if not ends_only_itself(error):
            raise
        handler_failed(cls.code, "initialize", error)
        return NotSent(Reason.config, type(error).__name__, "The provider's handler cannot be started with these keys.")


def hook_url(context: Context, token: str) -> str:
    """The webhook address of one configuration: registered at the provider, or sent with a call."""
    return f"{context.settings.public_url}/hooks/{token}"


def _webhook_secrets(practice: Practice, cls: type[Handler], account: Account, opened: Opened) -> tuple[Secret, ...]:
    """The secrets that verify a webhook of an account's environment: the current ones, and superseded ones for a while.

    ``opened``: the account's own credentials, which are open already; every other set is opened here.
    """
    configuration = account.configuration
    honoured_since = practice.context.world.after(-practice.context.settings.rotation_overlap_s)
    found: list[Secret] = []
    for kept in sorted((configuration.active, *configuration.others), key=lambda s: -s.version):
        if kept.environment != account.environment:
            continue
        if kept.state is CredentialState.superseded and (
            kept.superseded_at is None or kept.superseded_at < honoured_since
        ):
            continue
        its = opened
        if kept.version != opened.version:
            its = open_credentials(practice.db.data_key, configuration.provider_code, kept)
        secret = its.secret_key if cls.webhook_signed_with == "secretKey" else its.webhook_secret
        if secret and secret not in found:
            found.append(secret)
    return tuple(found)


async def call(practice: Practice, handler: Handler, verb: str, *args: Any) -> Outcome:
    """Call a verb. ``Unknown`` if the handler raises, answers another type or does not end: that is a bug in the
    handler, and proves nothing about money. ``PracticeBehind`` if it may move money and the database is behind."""
    if verb not in LOOKUPS:
        practice.db.anchor.must_be_current()
    outcome, error = await _run(handler, verb, *args)
    if isinstance(error, NoEnd):
        return Unknown(Reason.timeout, "no_end", "The provider's handler came to no end.")
    if error is not None:
        return Unknown(Reason.unreadable, type(error).__name__, "The provider's handler failed.")
    return understood(handler, verb, outcome)


async def _run(handler: Handler, verb: str, *args: Any) -> tuple[Any, BaseException | None]:
    """The unchecked answer of a verb, or the exception that it raised, which is logged."""
    if work_is_open():
        raise TransactionOpen
    limit = asyncio.timeout(LONGEST_VERB_S)
    try:
        async with limit:
            with provider_wait():
                return await getattr(handler, verb)(*map(own_copy, args)), None
    except BaseException as error:
        if not ends_only_itself(error):
            raise
        if limit.expired():
            answered_wrongly(handler, verb, "no end")
            return None, NoEnd()
        handler_failed(handler.code, verb, error)
        return None, error


async def detach(
    practice: Practice, config_id: int, version: int | None, environment: Environment, params: DetachSavedMethodParams
) -> Detachment:
    """Detach a saved method with the keys that saved it; if those are deleted or rejected, with the current ones."""
    if work_is_open():
        raise TransactionOpen
    configuration = await configuration_of(practice, config_id, version)
    entry = (await practice.context.catalog()).get(configuration.provider_code) if configuration else None
    if configuration is None or entry is None:
        return Detachment("unknown", "no_configuration")
    kept = configuration.credentials(version) if version is not None else None
    now = [one for one in (configuration.active, *configuration.others) if one.state is not CredentialState.superseded]
    ended = Detachment("unknown", "no_configuration")
    for credentials in (kept, *(one for one in now if one is not kept)):
        if credentials is None or credentials.environment is not environment:
            continue
        handler = build(practice, entry, Account(configuration, credentials))
        if isinstance(handler, NotSent):
            return Detachment("unknown", handler.code)
        found, error = await _run(handler, "detach_saved_method", params)
        if error is not None:
            return Detachment("unknown", type(error).__name__)
        if wrong := wrong_in(found, Detachment):
            answered_wrongly(handler, "detach_saved_method", wrong)
            return Detachment("unknown", "wrong_type")
        ended = found
        if ended.state == "detached":
            break
    return ended


async def configuration_of(practice: Practice, config_id: int, version: int | None = None) -> Configuration | None:
    """A practice's configuration by its id, with the credentials of a version if they are still stored. Reads again if
    the snapshot lacks them, because another node may just have created them."""
    configuration = None
    for _ in range(2):
        found = (await practice.context.configured(practice.db)).configurations.values()
        configuration = next((one for one in found if one.id == config_id), None)
        if configuration is not None and (version is None or configuration.credentials(version) is not None):
            break
        practice.context.forget(practice.id)
    return configuration


async def call_for(practice: Practice, attempt: Attempt, verb: str, params: Any) -> Outcome:
    """Call a verb about an attempt, or a refund of it, with the credentials that created the attempt."""
    configuration = await configuration_of(practice, attempt.config_id, attempt.credential_version)
    if configuration is None:
        log.error("configuration_missing", practice=practice.id, attempt=attempt.id)
        return NotSent(Reason.config, "no_configuration", "The configuration that this was made with is gone.")
    return await call_with(practice, configuration, attempt, verb, params)


async def fetched(practice: Practice, attempt: Attempt, hinted_id: str | None) -> Outcome:
    """The provider's own current answer about a payment. ``hinted_id``: its id in a webhook or a listing."""
    payment = await payments.by_id(practice.db, attempt.payment_id)
    params = ConfirmPaymentParams(
        attempt.id,
        attempt.provider_transaction_id or hinted_id,
        Money(attempt.amount, attempt.currency),
        only_ask=attempt.state in ATTEMPT_CLOSED | ATTEMPT_WON,
        direct=payment is not None and charges_at_once(payment),
    )
    return await call_for(practice, attempt, "confirm_payment", params)


async def call_with(
    practice: Practice, configuration: Configuration, attempt: Attempt, verb: str, params: Any
) -> Outcome:
    """Call a verb about something that was created with a certain set of credentials.

    If the provider rejects those keys, they were rotated: the sets that replaced them are tried in order. Newer keys
    may belong to another account, which knows no earlier payment. So "not found" proves nothing, unless these keys find
    a payment that is known to have been taken with the old ones, or a person has confirmed that the account is the
    same.
    """
    entry = (await practice.context.catalog()).get(configuration.provider_code)
    if entry is None:
        return NotSent(Reason.config, "not_in_catalog", "The provider is no longer in the catalog.")
    nothing: Outcome | None = None
    for credentials in _made_with_or_after(configuration, attempt):
        handler = build(practice, entry, Account(configuration, credentials))
        if isinstance(handler, NotSent):
            return handler
        if getattr(handler, verb, None) is None:
            return NotSent(Reason.invalid_state, NOT_SUPPORTED, f"{handler.name} has no such operation.")
        asked = params
        if getattr(params, "create", None) and credentials.version != attempt.credential_version:
            # A create that is repeated in another account would create a second payment.
            is_same = await _is_same_account(practice, handler, attempt, credentials.version)
            asked = params if is_same else replace(params, create=None)
        if getattr(asked, "create", None) and practice.db.anchor.behind is not None:
            asked = replace(asked, create=None)  # a lookup repeats nothing that may have ended long ago
        outcome = await call(practice, handler, verb, asked)
        if is_refused(outcome):
            nothing = nothing or outcome
        elif credentials.version == attempt.credential_version or not _finds_nothing(outcome, verb):
            return outcome
        elif verb in LOOKUPS and not await _is_same_account(practice, handler, attempt, credentials.version):
            detail = "The keys that it was made with are refused by now, and the newer ones may be another account's."
            nothing = Unknown(Reason.config, OTHER_ACCOUNT, detail)
        elif verb in LOOKUPS or outcome.reason is not Reason.not_found:
            return outcome
        else:
            nothing = outcome
    return nothing or NotSent(Reason.config, "no_credentials", "There are no credentials for this environment.")


def _made_with_or_after(configuration: Configuration, attempt: Attempt) -> list[CredentialSet]:
    """The credential set that created an attempt, then the sets of its environment that replaced it, in order."""
    sets = [s for s in (configuration.active, *configuration.others) if s.environment is attempt.environment]
    later = {s.version: s for s in sets if s.version >= attempt.credential_version}
    if newest := configuration.newest(attempt.environment):
        later.setdefault(newest.version, newest)
    return sorted(later.values(), key=lambda s: (s is newest, s.version))


def _finds_nothing(outcome: Outcome, verb: str) -> TypeGuard[NotSent | Unknown]:
    """Whether another account may have answered: a lookup reports "not found" with or without taking it as proof."""
    is_missing = isinstance(outcome, Unknown) and outcome.reason is Reason.not_found
    return isinstance(outcome, NotSent) or (is_missing and verb in LOOKUPS)


def is_refused(answer: object) -> bool:
    """Whether a provider rejected these keys."""
    return isinstance(answer, NotSent | Unknown) and answer.reason is Reason.config


async def _is_same_account(practice: Practice, handler: Handler, attempt: Attempt, version: int) -> bool:
    """Whether newer keys are known to belong to the account in which an attempt was created."""
    if {"config": attempt.config_id, "made_with": attempt.credential_version, "same_as": version} in (
        await cases.same_accounts(practice.db)
    ):
        return True
    taken = await attempts.last_taken(practice.db, attempt)
    if taken is None:
        return False
    asked = ConfirmPaymentParams(taken.id, taken.provider_transaction_id, Money(taken.amount, taken.currency))
    return isinstance(await call(practice, handler, "confirm_payment", asked), Succeeded)


async def listing_page(
    practice: Practice, account: Account, verb: str, since: datetime, until: datetime, cursor: str | None
) -> Page[Any] | NotSent | Unknown | None:
    """One page of the provider's listing, by the keys of one account. None if it lists nothing, or its answer is invalid."""
    if work_is_open():
        raise TransactionOpen
    entry = (await practice.context.catalog()).get(account.provider_code)
    handler = build(practice, entry, account) if entry else None
    if handler is None or isinstance(handler, NotSent) or getattr(handler, verb) is None:
        return None
    page, _ = await _run(handler, verb, int(since.timestamp()), int(until.timestamp()), cursor)
    return page if isinstance(page, NotSent | Unknown) else listed(handler, verb, page)


async def admits(handler: Handler, headers: Mapping[str, str], body: bytes) -> bool | None:
    """Whether a webhook is authentic; None if the handler failed to decide. Fetches the key that the check needs first,
    if the webhook names one (PayPal)."""
    if work_is_open():
        raise TransactionOpen
    try:
        if handler.fetch_webhook_key is not None:
            async with asyncio.timeout(LONGEST_VERB_S):
                await handler.fetch_webhook_key(dict(headers))
        return handler.validate_webhook(dict(headers), body) is True
    except BaseException as error:
        if not ends_only_itself(error):
            raise
        handler_failed(handler.code, "validate_webhook", error)
        return None


def public_config(handler: Handler) -> JsonObject:
    """The account data that a browser may know; empty if the handler failed."""
    found = declared(handler, "get_public_config", dict, {})
    return dict(found) if is_json(found) else {}


async def call_test(handler: Handler) -> CredentialTest:
    """Call ``test_credentials``, by the same rules as ``call``."""
    found, error = await _run(handler, "test_credentials")
    if error is None:
        wrong = wrong_in(found, CredentialTest)
        if wrong is None:
            told: CredentialTest = replace(found, detail=clean(handler, found.detail) or "")
            return told
        answered_wrongly(handler, "test_credentials", wrong)
    return CredentialTest(False, "The provider's answer could not be read.", reached=False)
