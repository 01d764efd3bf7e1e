"""The payer's next step as it is kept: sealed on its attempt, since a client secret may be in it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from polytill.domain.sealing import Place
from polytill.domain.secret import Secret
from polytill.domain.states import AttemptState
from polytill.flows.context import Desk
from polytill.providers.outcomes import NeedsAction, NextAction, NextKind, Outcome, PayOffline, Pending, Wants
from polytill.storage.databases import PracticeDb
from polytill.storage.payments import Attempt, Payment
from polytill.storage.units import json_text, json_value


def _place(attempt_id: str) -> Place:
    return Place("payment_attempts", attempt_id, "next_action")


def seal_action(desk: Desk, db: PracticeDb, attempt_id: str, action: NextAction) -> str:
    """What the payer must do, for the attempt's row."""
    token = action.provider_token.reveal() if action.provider_token else None
    offline = {name: value for name, value in asdict(action.offline).items() if value} if action.offline else None
    continuation = dict(action.continuation) if action.continuation else None
    parts = [action.kind.value, action.url, token, action.instructions, action.wants, offline, continuation]
    text = json_text(parts)
    assert text is not None
    return db.data_key.seal(Secret(text), _place(attempt_id), desk.world)


def open_action(db: PracticeDb, attempt: Attempt) -> NextAction | None:
    """What the payer of an attempt must do; None where there is nothing to do."""
    if attempt.next_action is None or attempt.state is not AttemptState.needs_action:
        return None
    values: list[Any] = json_value(db.data_key.open(attempt.next_action, _place(attempt.id)).reveal())
    values += [None] * (7 - len(values))  # one that was sealed by an older version has fewer
    kind, url, token, instructions, wants, offline, continuation = values
    return NextAction(
        NextKind(kind), url, Secret(token) if token else None, instructions, Wants(wants) if wants else None,
        PayOffline(**offline) if offline else None, continuation,
    )  # fmt: skip


def charges_at_once(payment: Payment) -> bool:
    """Whether its attempts charge a saved method, or a phone or bank account without the provider's page."""
    return payment.saved_method_id is not None or payment.method_details is not None


def still_asked(db: PracticeDb, payment: Payment, attempt: Attempt, outcome: Outcome) -> Outcome:
    """What a provider said of an attempt, where "pending" may mean that it waits for the payer.

    A charge without the provider's page is under way to the provider from its first call on: what it waits for is what
    the payer was asked for, and that stays so. On a page of the provider, pending means that the payer has done it.
    ``attempt`` is as it was read before the provider was asked.
    """
    if not isinstance(outcome, Pending):
        return outcome
    action = open_action(db, attempt)
    if action is None or (action.wants is None and not charges_at_once(payment)):
        return outcome
    return NeedsAction(None, outcome.amount, outcome.provider_transaction_id, response=outcome.response)
