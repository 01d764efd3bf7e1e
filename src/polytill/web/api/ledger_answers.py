"""Response models of the ledger: fees and balances. Only for the OpenAPI document, as in ``answers``."""

from __future__ import annotations

from polytill.web.api.answering import Answer, Environment, Minor


class Fee(Answer):
    """The fees that providers deducted from a payment and its duplicates, in one currency."""

    amount: Minor
    currency: str


class Ledger(Answer):
    """Account balances by currency."""

    environment: Environment
    balances: dict[str, dict[str, int]]
