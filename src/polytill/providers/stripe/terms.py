"""Stripe's terms as data: currencies, their exponents on its wire, its minimums, maximum and list prices.

Sources: docs.stripe.com/currencies and the price pages of 2026.
"""

from __future__ import annotations

from typing import Any

from polytill.domain.currencies import CURRENCIES, exponent_of
from polytill.domain.errors import InvalidAmount
from polytill.domain.identifiers import IdentifierKind
from polytill.domain.money import Money, from_major
from polytill.providers.contract import CurrencyTerms
from polytill.providers.identifiers import IdentifierPaths
from polytill.providers.outcomes import JsonObject
from polytill.providers.wire_amounts import amount_step, from_wire, money_or_none, to_wire

PRESENTMENT = (
    "AED AFN AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BIF BMD BND BOB BRL BSD BWP BYN BZD CAD CDF CHF CLP CNY "
    "COP CRC CVE CZK DJF DKK DOP DZD EGP ETB EUR FJD FKP GBP GEL GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS "
    "INR ISK JMD JPY KES KGS KHR KMF KRW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MUR MVR MWK "
    "MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SEK SGD "
    "SHP SLE SRD SZL THB TJS TRY TTD TWD TZS UAH UGX USD UYU UZS VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW"
)
# In major units, as Stripe publishes them.
HALF_A_UNIT = "USD ARS AUD BRL CAD CHF COP EUR IDR ILS INR NZD PHP RUB SGD ZAR"
MINIMUM = {
    **dict.fromkeys(HALF_A_UNIT.split(), "0.50"),
    **{"AED": "2", "CZK": "15", "DKK": "2.50", "GBP": "0.30", "HKD": "4", "HUF": "175", "JPY": "50"},
    **{"KRW": "50", "MXN": "10", "MYR": "2", "NOK": "3", "PLN": "2", "RON": "2", "SEK": "3", "THB": "10"},
}
# Digits on the wire. Cards may allow more; no other method does.
MAXIMUM_DIGITS, MORE_DIGITS = 8, {"IDR": 12, "COP": 10, "INR": 9}
# Price lists for domestic cards: parts per million and minor units.
FEES = {
    "USD": (29_000, 30),
    "GBP": (15_000, 20),
    "EUR": (15_000, 25),
    "AUD": (17_000, 30),
    "CAD": (29_000, 30),
    "SGD": (34_000, 50),
    "JPY": (36_000, 0),
}
OTHER_FEE = (29_000, 0)
RECOMMENDED = frozenset({"USD", "EUR", "GBP"})

ZERO_DECIMAL = frozenset(
    ["BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"]
)
THREE_DECIMAL = frozenset(["BHD", "JOD", "KWD", "OMR", "TND"])


def wire_exponent(currency: str) -> int:
    """Stripe's own list: UGX and ISK count as two-decimal, MGA as zero-decimal, unlike in ISO 4217."""
    return 0 if currency in ZERO_DECIMAL else 3 if currency in THREE_DECIMAL else 2


def wire_amount(money: Money) -> int:
    """The integer to send. Raises ``InvalidAmount`` if Stripe has none, such as 5.124 KWD or 1.50 MGA."""
    value = to_wire(money, wire_exponent(money.currency))
    if money.currency in THREE_DECIMAL and value % 10:
        raise InvalidAmount
    return value


def money_of(value: Any, currency: Any) -> Money:
    """The money for an integer and a lower-case currency. Raises ``InvalidAmount`` if they are invalid."""
    code = str(currency).upper()
    return from_wire(value, code, wire_exponent(code))


def amount_in(data: JsonObject, owed: bool = False) -> Money | None:
    """The ``amount`` of an object; None if it cannot be read."""
    code = str(data.get("currency")).upper()
    return money_or_none(data.get("amount"), code, wire_exponent(code), owed)


def _terms(currency: str) -> CurrencyTerms:
    percent, fixed = FEES.get(currency, OTHER_FEE)
    shift = exponent_of(currency) - wire_exponent(currency)
    on_the_wire = 10 ** MORE_DIGITS.get(currency, MAXIMUM_DIGITS) - 1
    most = on_the_wire * 10**shift if shift >= 0 else on_the_wire // 10**-shift
    least = from_major(MINIMUM[currency], currency) if currency in MINIMUM else None
    step = amount_step(currency, wire_exponent(currency)) * (10 if currency in THREE_DECIMAL else 1)
    return CurrencyTerms(percent, fixed, least, most, currency in RECOMMENDED, step)


BY_CURRENCY = {code: _terms(code) for code in PRESENTMENT.split() if code in CURRENCIES}

# The paths of the identifiers in a stored PaymentIntent.
IDENTIFIERS: IdentifierPaths = {
    IdentifierKind.payment_intent: ("id:pi_",),
    IdentifierKind.session: ("id:cs_",),
    IdentifierKind.charge: ("latest_charge:", "latest_charge.id", "charges.data.id"),
    IdentifierKind.balance_transaction: (
        "latest_charge.balance_transaction:",
        "latest_charge.balance_transaction.id",
        "charges.data.balance_transaction:",
        "charges.data.balance_transaction.id",
    ),
    IdentifierKind.receipt: ("latest_charge.receipt_number", "charges.data.receipt_number"),
    IdentifierKind.card_last4: (
        "latest_charge.payment_method_details.card.last4",
        "charges.data.payment_method_details.card.last4",
    ),
}

METHODS = (
    "card", "apple_pay", "google_pay", "link", "sepa_debit", "bacs_debit", "us_bank_account", "ideal",
    "bancontact", "eps", "p24", "blik", "klarna", "paypal", "cashapp", "swish", "twint", "pix",
)  # fmt: skip
