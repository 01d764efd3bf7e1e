"""Identifiers of a payment that its provider, a bank statement, the customer's SMS or receipt, and staff use.

Authorization codes and tokens are not identifiers: anyone who has one can charge the customer again.
"""

from __future__ import annotations

from enum import StrEnum

from polytill.domain.clock import World
from polytill.domain.text import compact

FEWEST_DIGITS, MOST_DIGITS = 6, 9
MAX_REMEMBERED = 100_000


class IdentifierKind(StrEnum):
    """The kinds of identifiers that are stored with an attempt: a closed list. The values are the names in the API."""

    transaction = "transaction"  # the provider's main id of the payment, used for lookups
    reference = "reference"  # another reference that the provider gives it, such as Flutterwave's flw_ref
    payment_intent = "paymentIntent"
    session = "session"
    order = "order"
    authorization = "authorization"  # PayPal's id of a hold; never an authorization code
    charge = "charge"
    capture = "capture"
    receipt = "receipt"  # shown in the customer's SMS or on the receipt, such as M-Pesa's receipt number
    balance_transaction = "balanceTransaction"
    bank_reference = "bankReference"  # shown on a bank statement
    invoice = "invoice"
    card_last4 = "cardLast4"


# The kinds that a provider may use for a charge when it names neither our reference nor the payment's own id.
OF_A_CHARGE = (IdentifierKind.charge, IdentifierKind.capture, IdentifierKind.transaction)

Identifiers = dict[IdentifierKind, tuple[str, ...]]


def new_number(world: World, digits: int) -> str:
    """A payment's number for people. It is random: one wrong digit is no other payment's number, and nobody can count
    payments."""
    lowest = 10 ** (digits - 1)
    return str(lowest + int.from_bytes(world.random_bytes(8), "big") % (9 * lowest))


def identifier_key(value: str) -> str:
    """An identifier in the form in which searches compare it: without punctuation and case-insensitive."""
    return compact(value)


class Numbers:
    """The number of digits of each practice's next payment number. It grows by one whenever a drawn number was taken.

    Six digits suffice for about a thousand payments before that happens, seven for three thousand, and so on. The
    number is kept in memory only: a restarted process draws one short number again.
    """

    def __init__(self) -> None:
        self._digits: dict[int, int] = {}

    def digits(self, practice_id: int) -> int:
        """The number of digits of a practice's next payment number."""
        return self._digits.get(practice_id, FEWEST_DIGITS)

    def taken(self, practice_id: int) -> None:
        """Record that a drawn number belongs to another payment."""
        if len(self._digits) >= MAX_REMEMBERED:
            self._digits.clear()
        self._digits[practice_id] = min(self.digits(practice_id) + 1, MOST_DIGITS)
