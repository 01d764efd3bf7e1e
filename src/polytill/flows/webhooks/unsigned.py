"""Unsigned webhooks prove nothing: anybody who knows the address can send any number of them.

One can only trigger a lookup, so a few lookups per object and pause are enough for any number of webhooks: the first
ones of a pause trigger one each at once (a decline and the success after it), all others together one after the pause.
No later webhook is lost, because a lookup follows it. The number of rows and calls is limited whatever is sent.

A webhook about something else than the payment itself (a refund; another transaction under the same reference, which
may have paid a link twice) gets a separate lookup. Such names can be invented without end, so there is an hourly limit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from polytill.domain.errors import TooMany
from polytill.domain.states import EventState
from polytill.providers.contract import Fact, PaymentFact
from polytill.storage import provider_configs, webhook_events
from polytill.storage.attempts import Attempt
from polytill.storage.databases import PracticeDb
from polytill.storage.units import Unit
from polytill.storage.webhook_events import WebhookEvent

# As long as the sweep ignores a stored webhook: one that waits for the end of a pause is looked up after it.
PAUSE_S = 5.0
AT_ONCE = 3
AN_HOUR = timedelta(hours=1)
# New objects per hour: refunds and other transactions of one payment, and objects that belong to no known payment.
OF_A_PAYMENT, OF_NO_PAYMENT = 50, 200
# The number of finished unsigned webhooks that are kept per payment, newest first.
KEPT = 20
MAX_KEY_LENGTH = 300


async def store(
    db: PracticeDb, hint: WebhookEvent, facts: Sequence[Fact], attempt: Attempt | None, revision: int
) -> tuple[WebhookEvent, bool]:
    """Store an unsigned webhook. Returns it as stored, and whether to apply it now rather than after the pause.

    ``TooMany`` if somebody keeps naming new objects: the provider sends a genuine webhook again. ``Stale`` if the
    configurations are not those of ``revision``.
    """
    if attempt is None:
        return await _of_no_payment(db, hint, revision)
    hint.payment_id = attempt.payment_id
    subject = _subject(hint, facts, attempt)
    if subject.startswith(webhook_events.NAMED):
        await _admit(db, hint, OF_A_PAYMENT)
    pause = int(hint.received_at.timestamp() // PAUSE_S)
    later = f"{pause + 1}:0"
    for place in (*(f"{pause}:{number}" for number in range(AT_ONCE)), later):
        stored = replace(hint, dedupe_key=f"{subject}:{place}")
        unit = Unit()
        provider_configs.unchanged(unit, revision)
        webhook_events.delete_unsigned(unit, attempt.payment_id, KEPT, hint.received_at - AN_HOUR)
        webhook_events.insert_once(unit, stored)
        if (await db.commit(unit))[2]:
            return stored, place != later
    return stored, False


def _subject(hint: WebhookEvent, facts: Sequence[Fact], attempt: Attempt) -> str:
    """The key by which unsigned webhooks are grouped."""
    if not all(isinstance(fact, PaymentFact) for fact in facts):
        return webhook_events.NAMED + hint.dedupe_key
    known = attempt.provider_transaction_id
    others = {fact.provider_transaction_id or known for fact in facts} - {known}
    if known is None or not others:
        return f"hint:{attempt.id}"  # whatever it contains, the lookup is of the payment's current state
    return webhook_events.NAMED + short_key(":".join([attempt.id, *sorted(map(str, others))]))


def short_key(key: str) -> str:
    """A key that fits into an index, however long the names from the sender are."""
    if len(key) <= MAX_KEY_LENGTH:
        return key
    return "sha256:" + hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


async def _of_no_payment(db: PracticeDb, hint: WebhookEvent, revision: int) -> tuple[WebhookEvent, bool]:
    known = await webhook_events.by_dedupe_key(db, hint.config_id, hint.environment, hint.dedupe_key)
    if known is not None:
        return known, False
    await _admit(db, hint, OF_NO_PAYMENT)
    unit = Unit()
    provider_configs.unchanged(unit, revision)
    webhook_events.insert_once(unit, hint)
    stored = bool((await db.commit(unit))[1])
    return hint, stored and hint.state is EventState.received


async def _admit(db: PracticeDb, hint: WebhookEvent, most: int) -> None:
    since = hint.received_at - AN_HOUR
    if await webhook_events.unsigned_since(db, hint.config_id, hint.environment, hint.payment_id, since) >= most:
        raise TooMany("Too many unsigned webhooks. Send this one again later.")
