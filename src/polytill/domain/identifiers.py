"""What a payment is called outside: by its provider, on a statement, in a customer's SMS or receipt, and by staff.

Authorization codes and tokens are no identifiers: whoever has one can charge the customer again.
"""

from __future__ import annotations

from enum import StrEnum

from polytill.domain.clock import World
from polytill.domain.text import compact

FEWEST_DIGITS, MOST_DIGITS = 6, 9
MAX_REMEMBERED = 100_000


class IdentifierKind(StrEnum):
    """The kinds of identifiers that are kept with an attempt: a closed list. The values are the names on the wire."""

    transaction = "transaction"  # the provider's main id of the payment, by which it is looked up
    reference = "reference"  # another reference that the provider gives to it, such as Flutterwave's flw_ref
    payment_intent = "paymentIntent"
    session = "session"
    order = "order"
    authorization = "authorization"  # PayPal's id of a hold; never an authorization code
    charge = "charge"
    capture = "capture"
    receipt = "receipt"  # what the customer's SMS or receipt shows, such as M-Pesa's receipt number
    balance_transaction = "balanceTransaction"
    bank_reference = "bankReference"  # what a bank statement shows
    invoice = "invoice"
    card_last4 = "cardLast4"


# Under which of them a provider may speak of one charge, where it names neither our reference nor the payment's own id.
OF_A_CHARGE = (IdentifierKind.charge, IdentifierKind.capture, IdentifierKind.transaction)

Identifiers = dict[IdentifierKind, tuple[str, ...]]


def new_number(world: World, digits: int) -> str:
    """A payment's number for people: random, so that one wrong digit names no other payment and nobody can count them."""
    lowest = 10 ** (digits - 1)
    return str(lowest + int.from_bytes(world.random_bytes(8), "big") % (9 * lowest))


def identifier_key(value: str) -> str:
    """How an identifier is compared in a search: without punctuation, whatever its capitals."""
    return compact(value)


class Numbers:
    """How many digits the next number of each practice has: more of them once a number that was drawn was taken.

    Six digits are enough for about a thousand payments before that happens, seven for three thousand, and so on. It is
    only remembered here: a process that begins anew draws a short number once more.
    """

    def __init__(self) -> None:
        self._digits: dict[int, int] = {}

    def digits(self, practice_id: int) -> int:
        """How long a practice's next number is."""
        return self._digits.get(practice_id, FEWEST_DIGITS)

    def taken(self, practice_id: int) -> None:
        """A number that was drawn is another payment's."""
        if len(self._digits) >= MAX_REMEMBERED:
            self._digits.clear()
        self._digits[practice_id] = min(self.digits(practice_id) + 1, MOST_DIGITS)
