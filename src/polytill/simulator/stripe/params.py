"""Stripe's requests: form encoding with brackets, known parameters, amounts and currencies, errors.

The amount rules are written for the simulator from Stripe's documentation; the product's handler has its own. Nothing
here changes any state.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl

from polytill.domain.currencies import exponent_of
from polytill.simulator.books import Json
from polytill.simulator.wire import Rejected

_ZERO = "BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF"
_THREE = "BHD JOD KWD OMR TND"
_TWO = """
AED AFN AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BWP BYN BZD CAD CDF CHF CNY COP
CRC CVE CZK DKK DOP DZD EGP ETB EUR FJD FKP GBP GEL GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR JMD
KES KGS KHR KYD KZT LAK LBP LKR LRD LSL MAD MDL MKD MMK MNT MOP MUR MVR MWK MXN MYR MZN NAD NGN NIO
NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SEK SGD SHP SLE SRD SZL THB TJS TRY
TTD TWD TZS UAH USD UYU UZS WST XCD XCG YER ZAR ZMW
"""
ZERO_DECIMAL = frozenset(_ZERO.split())
WHOLE_HUNDREDS = frozenset(("UGX", "ISK"))
THREE_DECIMAL = frozenset(_THREE.split())
TWO_DECIMAL = frozenset(_TWO.split())
# The smallest charge, in Stripe's own units.
_HALF = "USD ARS AUD BRL CAD CHF COP EUR IDR ILS INR NZD PHP RUB SGD ZAR"
MINIMUM = {
    **dict.fromkeys(_HALF.split(), 50),
    **{"AED": 200, "CZK": 1500, "DKK": 250, "GBP": 30, "HKD": 400, "HUF": 17500, "JPY": 50, "KRW": 50},
    **{"MXN": 1000, "MYR": 200, "NOK": 300, "PLN": 200, "RON": 200, "SEK": 300, "THB": 1000},
}
MAXIMUM = 999_999_999_999

_COMMON_INTENT = """
allowed_payment_method_types amount_details capture_method excluded_payment_method_types expand hooks payment_details
payment_method payment_method_data payment_method_options receipt_email setup_future_usage shipping
"""
_INTENT_DATA = """
application_fee_amount customer customer_account description metadata payment_method_configuration statement_descriptor
statement_descriptor_suffix transfer_data transfer_group
"""
_CONFIRM_ONLY = """
confirmation_token error_on_requires_action mandate mandate_data off_session radar_options return_url use_stripe_sdk
"""
_CREATE_ONLY = " amount currency automatic_payment_methods confirm confirmation_method on_behalf_of"
_PARAMETERS = {
    "intent.create": _COMMON_INTENT + _INTENT_DATA + _CONFIRM_ONLY + _CREATE_ONLY,
    "intent.update": _COMMON_INTENT + _INTENT_DATA + " amount currency",
    "intent.confirm": _COMMON_INTENT + _CONFIRM_ONLY + " amount_to_confirm client_secret",
    "intent.capture": """
        amount_details amount_to_capture application_fee_amount expand final_capture hooks metadata payment_details
        statement_descriptor statement_descriptor_suffix transfer_data
    """,
    "intent.cancel": "cancellation_reason expand",
    "retrieve": "expand client_secret",
    "list": """
        created customer payment_intent charge type delivery_success status ending_before expand limit starting_after
    """,
    "refund.create": """
        amount charge currency customer expand instructions_email metadata origin payment_intent reason
        refund_application_fee reverse_transfer
    """,
    "customer.create": """
        address balance business_name cash_balance description email expand individual_name invoice_prefix
        invoice_settings metadata name next_invoice_sequence payment_method phone preferred_locales shipping source tax
        tax_exempt tax_id_data test_clock validate
    """,
    "attach": "customer expand",
    "session.create": """
        adaptive_pricing after_expiration allow_promotion_codes allowed_payment_method_types automatic_tax
        billing_address_collection branding_settings cancel_url client_reference_id consent_collection currency
        custom_fields custom_text customer customer_account customer_creation customer_email customer_update discounts
        excluded_payment_method_types expand expires_at integration_identifier invoice_creation line_items locale
        managed_payments metadata mode name_collection optional_items origin_context payment_intent_data
        payment_method_collection payment_method_configuration payment_method_data payment_method_options permissions
        phone_number_collection redirect_on_completion return_url saved_payment_method_options setup_intent_data
        shipping_address_collection shipping_options submit_type subscription_data success_url tax_id_collection ui_mode
        wallet_options
    """,
    "endpoint.create": "api_version connect description enabled_events expand metadata url",
}
KNOWN = {call: frozenset(words.split()) for call, words in _PARAMETERS.items()}


class Refused(Rejected):
    """Stripe rejects the request. ``early``: before execution, so the answer is not stored under an idempotency key."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        kind: str = "invalid_request_error",
        early: bool = False,
        more: Json | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.early = status, early
        error: Json = {"message": message, "type": kind}
        if code is not None:
            error["code"] = code
            error["doc_url"] = f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}"
        if param is not None:
            error["param"] = param
        self.error: Json = {**error, **(more or {})}


def invalid(message: str, param: str | None = None, code: str | None = None) -> Refused:
    """The error of a request that cannot be understood: nothing was executed."""
    return Refused(400, message, code=code, param=param, early=True)


def parse_form(text: str) -> Json:
    """``a[b][c]=v`` and ``a[]=v`` as nested dictionaries; a list has the keys "0", "1", ..."""
    root: Json = {}
    for name, value in parse_qsl(text, keep_blank_values=True, max_num_fields=2000):
        head, *rest = [name.split("[", 1)[0], *re.findall(r"\[([^\]]*)\]", name)]
        place = root
        for part, following in zip([head, *rest], rest, strict=False):
            place = place.setdefault(part or str(len(place)), {})
            if not isinstance(place, dict):
                raise invalid(f"Invalid object: {part}[{following}]", part)
        last = [head, *rest][-1]
        place[last or str(len(place))] = value
    return root


def check_known(params: Json, call: str) -> None:
    """Reject parameters that this call does not accept."""
    makes = call.startswith(("intent.", "session.")) and call.endswith((".create", ".update", ".confirm"))
    if makes and "payment_method_types" in params:
        message = "The payment_method_types parameter is no longer supported on this API version."
        raise invalid(message, "payment_method_types", "payment_method_types_no_longer_supported")
    unknown = [name for name in params if name not in KNOWN[call]]
    if unknown:
        plural = "s" if len(unknown) > 1 else ""
        message = f"Received unknown parameter{plural}: {', '.join(unknown)}"
        raise invalid(message, unknown[0], "parameter_unknown")


def need(params: Json, *names: str) -> None:
    """Reject a request without one of these parameters."""
    for name in names:
        if params.get(name, "") == "":
            raise invalid(f"Missing required param: {name}.", name, "parameter_missing")


def text(params: Json, name: str) -> str | None:
    """A string parameter; empty means null."""
    value = params.get(name)
    if isinstance(value, dict):
        raise invalid(f"Invalid string: {name}", name)
    return value or None


def statement_suffix(params: Json, name: str = "statement_descriptor_suffix") -> str | None:
    """A statement descriptor suffix: at most 22 characters, none of ``< > \\ ' " *``, and at least one letter."""
    value = text(params, name)
    if value is None:
        return None
    if len(value) > 22:
        raise invalid("The statement descriptor suffix must be at most 22 characters", name)
    if any(each in "<>\\'\"*" for each in value) or not value.isascii():
        raise invalid("The statement descriptor suffix contains invalid characters", name)
    if not any(each.isalpha() for each in value):
        raise invalid("The statement descriptor suffix must contain at least one letter", name)
    return value


def integer(params: Json, name: str) -> int | None:
    """A whole number."""
    value = params.get(name, "")
    if value == "":
        return None
    if not isinstance(value, str) or not re.fullmatch(r"-?[0-9]{1,15}", value):
        raise invalid(f"Invalid integer: {value}", name, "parameter_invalid_integer")
    return int(value)


def boolean(params: Json, name: str, default: bool = False) -> bool:
    """``true`` or ``false``."""
    value = params.get(name, "")
    if value == "":
        return default
    if value not in ("true", "false"):
        raise invalid(f"Invalid boolean: {value}", name)
    return bool(value == "true")


def choice(params: Json, name: str, allowed: tuple[str, ...]) -> str | None:
    """One of a closed list."""
    value = text(params, name)
    if value is not None and value not in allowed:
        raise invalid(f"Invalid {name}: must be one of {', '.join(allowed)}", name)
    return value


def items(params: Json, name: str) -> list[Any]:
    """A list parameter."""
    value = params.get(name, {})
    return list(value.values()) if isinstance(value, dict) else [value]


def nested(params: Json, name: str) -> Json:
    """An object parameter."""
    value = params.get(name) or {}
    if not isinstance(value, dict):
        raise invalid("Invalid object", name)
    return value


def metadata(params: Json, name: str = "metadata") -> dict[str, str]:
    """Free text by key, within Stripe's limits."""
    value = params.get(name, {})
    if value == "":
        return {}
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise invalid("Invalid hash", name)
    for key, item in value.items():
        if len(key) > 40 or len(item) > 500 or len(value) > 50:
            raise invalid("Metadata keys can have up to 40 characters, values up to 500, at most 50 keys", name)
    return dict(value)


def currency(params: Json, name: str = "currency") -> str:
    """The ISO code, upper case, of one of Stripe's presentment currencies."""
    code = str(text(params, name) or "").upper()
    if code not in TWO_DECIMAL | ZERO_DECIMAL | WHOLE_HUNDREDS | THREE_DECIMAL:
        message = f"Invalid currency: {code.lower()}. Stripe does not currently support this currency."
        raise invalid(message, name)
    return code


def check_amount(wire: int, code: str, param: str = "amount", minimum: bool = True) -> None:
    """Stripe's own rules for an amount."""
    if wire < 1:
        raise invalid("This value must be greater than or equal to 1.", param, "parameter_invalid_integer")
    if code in WHOLE_HUNDREDS and wire % 100:
        raise invalid(
            f"Invalid amount: {code} has no fractions and must end in 00.", param, "parameter_invalid_integer"
        )
    if code in THREE_DECIMAL and wire % 10:
        raise invalid(f"Invalid amount: {code} must be divisible by 10.", param, "parameter_invalid_integer")
    if wire > MAXIMUM:
        raise invalid("Amount must be no more than 999999999999", param, "amount_too_large")
    least = MINIMUM.get(code, 1)
    if minimum and wire < least:
        raise invalid(f"Amount must be at least {least} {code.lower()}", param, "amount_too_small")


def to_minor(wire: int, code: str) -> int:
    """Stripe's amount in ISO minor units."""
    if code in ZERO_DECIMAL:
        return wire * int(10 ** exponent_of_or_two(code))
    if code in WHOLE_HUNDREDS:
        return wire // 100
    return wire


def to_wire(minor: int, code: str) -> int:
    """ISO minor units as Stripe's amount."""
    if code in ZERO_DECIMAL:
        return minor // int(10 ** exponent_of_or_two(code))
    if code in WHOLE_HUNDREDS:
        return minor * 100
    return minor


def exponent_of_or_two(code: str) -> int:
    """ISO decimal places. Stripe still lists ANG, which ISO has withdrawn."""
    try:
        return exponent_of(code)
    except KeyError:
        return 2
