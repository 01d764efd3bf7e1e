"""What the API answers about booked money: fees and balances. Only documentation, as in ``answers``."""

from __future__ import annotations

from polytill.web.api.answering import Answer, Environment, Minor


class Fee(Answer):
    """What providers kept of a payment and its duplicates, in one currency."""

    amount: Minor
    currency: str


class Ledger(Answer):
    """Account balances by currency."""

    environment: Environment
    balances: dict[str, dict[str, int]]
