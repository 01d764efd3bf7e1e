"""Cash and bank transfers that staff see with their own eyes: a provider without a network.

What to know: the truth of such a payment is a person's word, given in ``flows/payments/manual.py`` with a note and kept in the
audit log. So this handler says how to pay and nothing else: it never calls a payment paid by itself.
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
    KeyField,
    LookupParams,
    RefundLookupParams,
    RefundParams,
    WebhookProof,
)
from polytill.providers.outcomes import (
    JsonObject,
    NeedsAction,
    NextAction,
    NextKind,
    Outcome,
    PayOffline,
    Succeeded,
)

# ── Facts ──

CASH, TRANSFER = "cash", "bank_transfer"


def _text(title: str, length: int) -> JsonObject:
    return {"type": "string", "title": title, "maxLength": length}


class ManualProvider(Handler):
    """One practice's desk and bank account."""

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
    identifiers: ClassVar[Mapping[IdentifierKind, tuple[str, ...]]] = {IdentifierKind.receipt: ("proof",)}

    # ── Public verbs ──

    async def create_payment_intent(self, params: CreatePaymentParams) -> Outcome:
        """How to pay, and under which words."""
        return self._waiting(params.reference, params.number, params.amount, params.method)

    async def confirm_payment(self, params: ConfirmPaymentParams) -> Outcome:
        """Nobody but staff knows: the payment waits."""
        return NeedsAction(None, params.amount, params.reference)

    async def lookup_payment(self, params: LookupParams) -> Outcome:
        """A create that was cut off can be paid all the same."""
        first = params.create
        return self._waiting(
            params.reference, first.number if first else None, params.amount, first.method if first else None
        )

    async def refund_payment(self, params: RefundParams) -> Outcome:
        """Whoever asks for the refund says that the money was handed back."""
        return Succeeded(params.amount, params.reference)

    async def lookup_refund(self, params: RefundLookupParams) -> Outcome:
        """As ``refund_payment``: the word stands."""
        return Succeeded(params.amount, params.reference)

    async def test_credentials(self) -> CredentialTest:
        """There are none."""
        return CredentialTest(True, "There are no keys to test.", self.config.environment)

    def validate_webhook(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Nobody sends deliveries."""
        return False

    def get_public_config(self) -> JsonObject:
        """What a payer may read: all of it."""
        return {name: self.config.config[name] for name in sorted(self.config.config)}

    # ── Answers ──

    def _waiting(self, reference: str, payment_number: str | None, amount: Money, method: str | None) -> Outcome:
        told, account = self.config.config, self.config.config.get("accountNumber")
        code = payment_number or reference[-8:]  # an attempt of an earlier version has no number
        sum_text = f"{amount.currency} {to_major(amount.minor, amount.currency):,}"
        if method == CASH or not account:
            text, offline = f"Pay {sum_text} at the desk. Payment number: {code}.", PayOffline(transfer_reference=code)
        else:
            text = f"Transfer {sum_text} to {account}. Give the payment number as the reference: {code}."
            offline = PayOffline(
                bank=told.get("bank"), account_number=account, account_name=told.get("accountName"),
                transfer_reference=code,
            )  # fmt: skip
        text = " ".join(part for part in (told.get("instructions"), text) if part)
        return NeedsAction(NextAction(NextKind.instructions, instructions=text, offline=offline), amount, reference)
