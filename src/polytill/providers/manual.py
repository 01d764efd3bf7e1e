"""Cash and bank transfers that staff confirm: a provider without a network.

Staff confirm such a payment in ``flows/payments/manual.py`` with a note, which is stored in the audit log. So this
handler only describes how to pay, and never reports a payment as paid.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from polytill.domain.currencies import CURRENCIES
from polytill.domain.identifiers import IdentifierKind
from polytill.domain.money import Money, to_major
from polytill.providers.contract import (
    CatalogEntry,
    ConfirmPaymentParams,
    CreatePaymentParams,
    CredentialTest,
    CurrencyTerms,
    Handler,
    Idempotency,
    IdentifierPaths,
    KeyField,
    LookupParams,
    RefundLookupParams,
    RefundParams,
    WebhookProof,
)
from polytill.providers.outcomes import JsonObject, NeedsAction, NextAction, NextKind, Outcome, PayOffline, Succeeded

# ── Facts ──

CASH, TRANSFER = "cash", "bank_transfer"


def _text(title: str, length: int) -> JsonObject:
    return {"type": "string", "title": title, "maxLength": length}


class ManualProvider(Handler):
    """The desk and the bank account of one practice."""

    code = "manual"
    name = "Cash and bank transfer"
    hosts = frozenset[str]()  # nothing is ever sent
    keys: ClassVar[Mapping[str, KeyField]] = {}
    config_schema: ClassVar[JsonObject] = {
        "type": "object",
        "properties": {
            "instructions": _text("Instructions for customers", 500),
            "bank": _text("Bank", 100),
            "accountName": _text("Account holder", 100),
            "accountNumber": _text("Account number or IBAN", 50),
        },
        "additionalProperties": False,
    }
    catalog = CatalogEntry(
        description="Paid at the desk or into the practice's account, and confirmed by staff",
        website_url="",
        documentation_url="",
        api_base_url="",
        sandbox_api_base_url="",
        methods=(CASH, TRANSFER),
        currencies={code: CurrencyTerms() for code in CURRENCIES},
    )
    idempotency = Idempotency.reference
    webhook_proof = WebhookProof.none
    confirmed_by_staff = True
    identifiers: ClassVar[IdentifierPaths] = {IdentifierKind.receipt: ("proof",)}

    # ── Public methods ──

    async def create_payment_intent(self, params: CreatePaymentParams) -> Outcome:
        """Return how to pay, and which reference to name."""
        return self._waiting(params.reference, params.amount, params)

    async def confirm_payment(self, params: ConfirmPaymentParams) -> Outcome:
        """Return ``NeedsAction``: only staff know whether it was paid."""
        return NeedsAction(None, params.amount, params.reference)

    async def lookup_payment(self, params: LookupParams) -> Outcome:
        """Return how to pay: a create call that was cut off can be paid all the same."""
        return self._waiting(params.reference, params.amount, params.create)

    async def refund_payment(self, params: RefundParams) -> Outcome:
        """Return ``Succeeded``: staff who request the refund confirm that the money was returned."""
        return Succeeded(params.amount, params.reference)

    async def lookup_refund(self, params: RefundLookupParams) -> Outcome:
        """Return the same as ``refund_payment``."""
        return Succeeded(params.amount, params.reference)

    async def test_credentials(self) -> CredentialTest:
        """Return ``ok``: there are no keys."""
        return CredentialTest(True, "There are no keys to test.", self.config.environment)

    def validate_webhook(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Return False: there are no webhooks."""
        return False

    def get_public_config(self) -> JsonObject:
        """All settings: the customer may read them."""
        return {name: self.config.config[name] for name in sorted(self.config.config)}

    # ── Answers ──

    def _waiting(self, reference: str, amount: Money, first: CreatePaymentParams | None) -> Outcome:
        told, account = self.config.config, self.config.config.get("accountNumber")
        code = (first.number if first else None) or reference[-8:]  # an attempt of an earlier version has no number
        sum_text = f"{amount.currency} {to_major(amount.minor, amount.currency):,}"
        if not account or (first is not None and first.method == CASH):
            text, offline = f"Pay {sum_text} at the desk. Payment number: {code}.", PayOffline(transfer_reference=code)
        else:
            text = f"Transfer {sum_text} to {account}. Give the payment number as the reference: {code}."
            offline = PayOffline(
                bank=told.get("bank"),
                account_number=account,
                account_name=told.get("accountName"),
                transfer_reference=code,
            )
        text = " ".join(part for part in (told.get("instructions"), text) if part)
        return NeedsAction(NextAction(NextKind.instructions, instructions=text, offline=offline), amount, reference)
