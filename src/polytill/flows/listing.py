"""A provider's listing for a period: all pages, by every set of keys that may still list something."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from polytill.domain.errors import UnreadableRow
from polytill.domain.states import CredentialState
from polytill.flows.context import Practice, log
from polytill.flows.identifiers import attempt_of
from polytill.flows.provider_calls import is_refused, listing_page
from polytill.flows.unresolved import is_unclear
from polytill.providers.contract import DisputeFact, Fact, Page, PaymentFact, RefundFact
from polytill.storage.attempts import Attempt
from polytill.storage.provider_configs import Account, open_credentials
from polytill.storage.reading import report_unreadable
from polytill.storage.units import Unit

MAX_PAGES = 200
# Replaced keys may belong to another account, whose payments are refunded or disputed for months.
REPLACED_KEYS_COUNT = timedelta(days=180)
# Replaced keys that the provider rejects have most likely ended.
KEYS_TRIED_AGAIN_S = 86_400.0


@dataclass(slots=True)
class Listing:
    """The facts of a listing. ``whole``: False if the listing was too long to read all of it."""

    facts: list[Any] = field(default_factory=list)
    whole: bool = True
    unread: int = 0  # entries that could not be read as facts


async def listed(practice: Practice, account: Account, verb: str, since: datetime, until: datetime) -> Listing | None:
    """All entries of a period, by all keys. None if the provider lists nothing, or a request by one key set failed."""
    found = Listing()
    for one in _accounts_to_list(practice, account):
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            page = await listing_page(practice, one, verb, since, until, cursor)
            if one.credentials.state is CredentialState.superseded and is_refused(page):
                refused = practice.id, one.config_id, one.credentials.version
                practice.context.refused_at_s[refused] = practice.context.world.time_s()
                break
            if not isinstance(page, Page):
                return None
            found.facts += page.facts
            found.unread += page.unread
            cursor = page.next
            if cursor is None:
                break
        else:
            found.whole = False
    unclear = sum(_is_unclear(fact) for fact in found.facts)
    practice.context.unread_entries += found.unread + unclear
    for event, entries in (("listing_entries_unread", found.unread), ("listing_entries_not_understood", unclear)):
        if entries:
            log.warning(event, practice=practice.id, provider=account.provider_code, verb=verb, entries=entries)
    return found


def _is_unclear(fact: Fact) -> bool:
    """Whether the handler does not know the status of an entry. Entries about our own rows are looked up."""
    match fact:
        case PaymentFact():
            return is_unclear(fact.outcome)
        case RefundFact():
            return fact.state == "unknown"
        case DisputeFact():
            return not fact.understood


def warn_too_long(practice: Practice, account: Account, verb: str) -> None:
    """Log that a listing has more pages than are read. The entries on the others are left to webhooks."""
    log.warning("listing_too_long", practice=practice.id, provider=account.provider_code, verb=verb)


@dataclass(slots=True)
class EntryReader:
    """Processes entries one by one. ``unread``: an entry needed a stored row that this version cannot read. The other
    entries are still processed, but the period is not complete."""

    unread: bool = False

    async def at(self, entry: Awaitable[bool]) -> bool:
        """The result for one entry. True (nothing to report) if it sets ``unread``."""
        try:
            return await entry
        except UnreadableRow as error:
            report_unreadable(error)
            self.unread = True
            return True


async def attempt_listed(practice: Practice, account: Account, fact: Fact) -> Attempt | None:
    """The attempt that a listed entry is about; None if it does not belong to this configuration and environment."""
    found = await attempt_of(practice.db, account.config_id, account.environment, fact)
    is_its = found is not None and (found.config_id, found.environment) == (account.config_id, account.environment)
    return found if is_its else None


def without_webhook(_: Unit) -> None:
    """The step that finishes a webhook together with its fact: does nothing for a fact from a listing."""


def _accounts_to_list(practice: Practice, account: Account) -> Iterator[Account]:
    """The account, then those that the keys which it replaced may belong to."""
    configuration, newest, seen = account.configuration, account.credentials, set()
    replaced_since = practice.context.world.after(-REPLACED_KEYS_COUNT.total_seconds())
    for credentials in (newest, *sorted(configuration.others, key=lambda one: -one.version)):
        if credentials.environment is not account.environment:
            continue
        if credentials is not newest:
            refused_at_s = practice.context.refused_at_s.get((practice.id, configuration.id, credentials.version))
            if refused_at_s is not None and 0 <= practice.context.world.time_s() - refused_at_s < KEYS_TRIED_AGAIN_S:
                continue
            if credentials.superseded_at is None or credentials.superseded_at < replaced_since:
                continue
        opened = open_credentials(practice.db.data_key, configuration.provider_code, credentials)
        keys = (opened.public_key, opened.secret_key.reveal() if opened.secret_key else None)
        if keys not in seen:
            seen.add(keys)
            yield Account(configuration, credentials)
