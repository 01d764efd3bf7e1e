"""What a provider lists between two moments: every page of it, with every set of keys that may still show something."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from polytill.domain.errors import UnreadableRow
from polytill.domain.states import Environment
from polytill.flows.context import Desk, log
from polytill.flows.identifiers import attempt_of
from polytill.flows.provider_calls import is_refused, listing_page
from polytill.flows.unresolved import is_unclear
from polytill.providers.contract import DisputeFact, Fact, Page, PaymentFact, RefundFact
from polytill.storage.databases import PracticeDb
from polytill.storage.payments import Attempt
from polytill.storage.provider_configs import Configuration, CredentialSet, open_credentials
from polytill.storage.reading import tell_unreadable
from polytill.storage.units import Unit

MAX_PAGES = 200
# Replaced keys may be another account's, where what was taken with them is given back or disputed for months to come.
REPLACED_KEYS_COUNT = timedelta(days=180)
# Replaced keys that are refused have most likely ended.
ASKED_AGAIN_S = 86_400.0


@dataclass(slots=True)
class Listing:
    """Facts, not all of them where it was too long."""

    facts: list[Any] = field(default_factory=list)
    whole: bool = True
    unread: int = 0  # entries that could not be read as facts


async def listed(
    desk: Desk, db: PracticeDb, configuration: Configuration, environment: Environment, verb: str, since: datetime,
    until: datetime,
) -> Listing | None:  # fmt: skip
    """Everything between two moments, by all keys. None where the provider lists nothing, or not all keys got an answer."""
    found = Listing()
    for credentials in _worth_asking(desk, db, configuration, environment):
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            page = await listing_page(desk, db, configuration, credentials, verb, since, until, cursor)
            if credentials.state == "superseded" and is_refused(page):
                desk.refused_at_s[db.practice_id, configuration.id, credentials.version] = desk.world.time_s()
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
    strange = sum(_is_strange(fact) for fact in found.facts)
    desk.unread_entries += found.unread + strange
    for event, entries in (("listing_entries_unread", found.unread), ("listing_entries_not_understood", strange)):
        if entries:
            log.warning(
                event, practice=db.practice_id, provider=configuration.provider_code, verb=verb, entries=entries
            )
    return found


def _is_strange(fact: Fact) -> bool:
    """Whether the status of an entry is a word that its handler does not know. Those of ours are asked about."""
    match fact:
        case PaymentFact():
            return is_unclear(fact.outcome)
        case RefundFact():
            return fact.state == "unknown"
        case DisputeFact():
            return not fact.understood


def tell_too_long(db: PracticeDb, configuration: Configuration, verb: str) -> None:
    """Say that a listing has more pages than are read, and that what stands on the others is left to deliveries."""
    log.warning("listing_too_long", practice=db.practice_id, provider=configuration.provider_code, verb=verb)


@dataclass(slots=True)
class Looks:
    """Looks at one entry after the other. ``unread``: one needed a row of ours that this version cannot read. That keeps
    the others from nothing, but nobody can say that all was looked at."""

    unread: bool = False

    async def at(self, look: Awaitable[bool]) -> bool:
        """What a look at one entry says. True, which is nothing to be told, where it is ``unread``."""
        try:
            return await look
        except UnreadableRow as error:
            tell_unreadable(error)
            self.unread = True
            return True


async def attempt_listed(
    db: PracticeDb, configuration: Configuration, environment: Environment, fact: Fact
) -> Attempt | None:
    """The attempt that an entry of a listing is about; None where it is none of this configuration and environment."""
    found = await attempt_of(db, configuration.id, environment, fact)
    is_its = found is not None and (found.config_id, found.environment) == (configuration.id, environment)
    return found if is_its else None


def no_delivery(_: Unit) -> None:
    """What a delivery would have finished together with its fact: nothing, where a listing told it."""


def _worth_asking(
    desk: Desk, db: PracticeDb, configuration: Configuration, environment: Environment
) -> Iterator[CredentialSet]:
    """The newest keys, then other ones of the environment that were replaced by them and may be another account's."""
    newest, seen = configuration.newest(environment), set()
    replaced_since = desk.world.after(-REPLACED_KEYS_COUNT.total_seconds())
    for credentials in (newest, *sorted(configuration.others, key=lambda one: -one.version)):
        if credentials is None or credentials.environment is not environment:
            continue
        if credentials is not newest:
            refused_at_s = desk.refused_at_s.get((db.practice_id, configuration.id, credentials.version))
            if refused_at_s is not None and 0 <= desk.world.time_s() - refused_at_s < ASKED_AGAIN_S:
                continue
            if credentials.superseded_at is None or credentials.superseded_at < replaced_since:
                continue
        opened = open_credentials(db.data_key, configuration.provider_code, credentials)
        account = (opened.public_key, opened.secret_key.reveal() if opened.secret_key else None)
        if account not in seen:
            seen.add(account)
            yield credentials
