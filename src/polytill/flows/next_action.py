"""The payer's next action as stored: sealed on its attempt, because it may contain a client secret."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from polytill.domain.sealing import Place
from polytill.domain.secret import Secret
from polytill.domain.states import AttemptState
from polytill.flows.context import Practice
from polytill.providers.outcomes import NeedsAction, NextAction, NextKind, Outcome, PayOffline, Pending, Wants
from polytill.storage.attempts import Attempt
from polytill.storage.databases import PracticeDb
from polytill.storage.payments import Payment
from polytill.storage.units import json_text, json_value


def _place(attempt_id: str) -> Place:
    return Place("payment_attempts", attempt_id, "next_action")


def seal_action(practice: Practice, attempt_id: str, action: NextAction) -> str:
    """Seal a next action for the attempt's row."""
    token = action.provider_token.reveal() if action.provider_token else None
    offline = {name: value for name, value in asdict(action.offline).items() if value} if action.offline else None
    continuation = dict(action.continuation) if action.continuation else None
    parts = [action.kind.value, action.url, token, action.instructions, action.wants, offline, continuation]
    text = json_text(parts)
    assert text is not None
    return practice.db.data_key.seal(Secret(text), _place(attempt_id), practice.context.world)


def open_action(db: PracticeDb, attempt: Attempt) -> NextAction | None:
    """The next action of an attempt; None if there is none."""
    if attempt.next_action is None or attempt.state is not AttemptState.needs_action:
        return None
    if attempt.opened_action is not None and attempt.opened_action[0] == attempt.next_action:
        action: NextAction = attempt.opened_action[1]
        return action
    values: list[Any] = json_value(db.data_key.open(attempt.next_action, _place(attempt.id)).reveal())
    kind, url, token, instructions, wants, offline, continuation = values
    return NextAction(
        NextKind(kind),
        url,
        Secret(token) if token else None,
        instructions,
        Wants(wants) if wants else None,
        PayOffline(**offline) if offline else None,
        continuation,
    )


def charges_at_once(payment: Payment) -> bool:
    """Whether its attempts charge a saved method, or a phone or bank account without the provider's page."""
    return payment.saved_method_id is not None or payment.method_details is not None


def unless_stale(db: PracticeDb, payment: Payment, attempt: Attempt, outcome: Outcome) -> Outcome:
    """A provider's outcome for an attempt, corrected if "pending" may mean that the provider waits for the payer.

    A charge without the provider's page is processing at the provider from the first call on. It waits for the payer's
    input, so the requested next action stays. On a provider's page, pending means that the payer has finished.
    ``attempt``: as read before the lookup.
    """
    if not isinstance(outcome, Pending):
        return outcome
    action = open_action(db, attempt)
    if action is None or (action.wants is None and not charges_at_once(payment)):
        return outcome
    return NeedsAction(None, outcome.amount, outcome.provider_transaction_id, response=outcome.response)
