"""Reads a row of a host application's past payments: which field is what, and what its values mean. Pure.

Fields are found by their usual names in any spelling (``providerTransactionId``, ``provider_transaction_id``), and the
mapping names what is unusual. A number is a decimal and never a float, and nothing is rounded.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping as MappingOf
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, NoReturn
from zoneinfo import ZoneInfo

import msgspec

from polytill.domain.contacts import InvalidContact, read_email, read_name, read_phone
from polytill.domain.currencies import CURRENCIES
from polytill.domain.errors import InvalidAmount
from polytill.domain.localities import locality, time_zones
from polytill.domain.money import MAX_MINOR, from_major, scaled
from polytill.domain.past_payments import Rejection
from polytill.domain.states import Environment
from polytill.domain.text import visible
from polytill.flows.legacy.mapping import Mapping
from polytill.flows.legacy.names import normal
from polytill.providers.http import parse_json

# The fields of a past payment, and the names that they have in the wild, in their normal form. The first one counts.
NAMES: dict[str, tuple[str, ...]] = {
    "practice": ("practice", "practiceid", "externalid", "clinicid", "tenantid", "practiceexternalid"),
    "provider": ("providercode", "provider", "gateway", "paymentprovider", "processor", "paymentgateway"),
    "transactionId": (
        *("providertransactionid", "transactionid", "gatewaytransactionid", "providerid", "paymentintentid"),
        *("paymentintent", "txid", "externaltransactionid", "gatewayid"),
    ),
    "providerReference": (
        *("providerreference", "gatewayreference", "txref", "merchantreference", "paystackreference"),
        *("transactionreference", "paymentreference"),
    ),
    "id": ("hostid", "paymentid", "id", "uuid"),
    "reference": ("reference", "invoiceid", "invoicenumber", "orderid", "invoice", "bookingid"),
    "amount": ("amount", "total", "amountpaid", "paidamount"),
    "amountMinor": ("amountminor", "amountcents", "amountkobo", "amountinminorunits", "amountincents"),
    "currency": ("currency", "currencycode"),
    "fee": ("providerfee", "fee", "fees", "gatewayfee", "transactionfee"),
    "feeCurrency": ("providerfeecurrency", "feecurrency"),
    "paidAt": ("paidat", "completedat", "paymentdate", "paidon", "createdat", "created", "date"),
    "status": ("status", "paymentstatus", "state"),
    "refunded": ("refunded", "amountrefunded", "refundedamount", "refundamount"),
    "refunds": ("refunds",),
    "refundedAt": ("refundedat", "refunddate"),
    "method": ("paymentmethod", "method", "channel"),
    "environment": ("environment", "mode", "env"),
    "email": ("customeremail", "email", "payeremail"),
    "name": ("customername", "payername"),
    "phone": ("customerphone", "phone"),
    "description": ("description", "memo", "narration"),
    "response": ("providerresponse", "gatewayresponse", "rawresponse", "response"),
}
# Words of a status, in their normal form. ``disputed``: the money was taken, and the customer's bank claims it.
STATUSES = {
    **dict.fromkeys(("paid", "succeeded", "success", "successful", "completed", "complete", "captured"), "paid"),
    **dict.fromkeys(("settled", "approved", "confirmed", "refunded", "partiallyrefunded", "partialrefund"), "paid"),
    **dict.fromkeys(("disputed", "chargeback", "chargedback", "reversed"), "disputed"),
    **dict.fromkeys(("failed", "failure", "pending", "processing", "canceled", "cancelled", "abandoned"), "not_paid"),
    **dict.fromkeys(("expired", "declined", "error", "unpaid", "created", "initiated", "voided", "open"), "not_paid"),
}
_REFUNDED = frozenset({"refunded", "partiallyrefunded", "partialrefund"})
_BOOLEANS = {"true": True, "yes": True, "t": True, "false": False, "no": False, "f": False}
MAX_ID, MAX_TEXT, MAX_REFUNDS, MAX_RESPONSE = 200, 500, 100, 200_000
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
CLOCKS = timedelta(days=1)
# From here on, a whole number of seconds since the epoch is one of milliseconds.
_MILLISECONDS = 10**11


class PastSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Where the rows are in a database: a table or a query, and a column of unique values that pages follow."""

    table: str = "payments"
    schema: str | None = None
    query: str | None = None
    key: str | None = None


class PastMapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The mapping file of a backfill. ``fields``: the host's name of each field. ``amounts``: the unit of amounts and
    fees. ``providers``, ``environments`` and ``statuses``: the host's words. ``environment``, ``provider`` and
    ``currency`` count where a row has none, ``time_zone`` where a time has none."""

    amounts: Literal["major", "minor"] | None = None
    fields: dict[str, str] = {}
    providers: dict[str, str] = {}
    environments: dict[str, Environment] = {}
    statuses: dict[str, Literal["paid", "not_paid", "disputed"]] = {}
    environment: Environment = Environment.production
    provider: str | None = None
    currency: str | None = None
    time_zone: str = "UTC"
    delimiter: str = ","
    source: PastSource = PastSource()


def wrong_in(mapping: PastMapping) -> str | None:
    """What is wrong with a mapping, as one sentence for people. None: nothing."""
    if mapping.amounts is None and "amountMinor" not in mapping.fields:
        return (
            'Say whether amounts are in major units (150.00) or minor units (15000): "amounts" in the mapping, or'
            " --amounts."
        )
    if unknown := sorted(mapping.fields.keys() - NAMES.keys()):
        return f"The mapping has no field {unknown[0]!r}. Its fields are {', '.join(NAMES)}."
    if mapping.currency is not None and mapping.currency not in CURRENCIES:
        return f"The mapping's currency {mapping.currency!r} is no ISO 4217 code."
    if len(mapping.delimiter) != 1:
        return "The mapping's delimiter must be one character."
    if mapping.time_zone not in time_zones():
        return f"The mapping's timeZone {mapping.time_zone!r} is no IANA time zone, such as Africa/Lagos."
    return None


class RowRejected(Exception):
    """The row cannot be taken over."""

    def __init__(self, reason: Rejection, field: str) -> None:
        self.reason, self.field = reason, field
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class PastRefund:
    """A refund that was made before. ``amount`` in minor units of the payment's currency."""

    amount: int
    provider_refund_id: str | None
    made_at: datetime


@dataclass(frozen=True, slots=True)
class PastPayment:
    """A past payment as the host has recorded it. Amounts in minor units. ``host_id``: the host's id of the payment;
    ``reference``: what it was for, such as an invoice; ``provider_reference``: the reference that the provider got."""

    provider_code: str
    environment: Environment
    amount: int
    currency: str
    paid_at: datetime
    transaction_id: str | None
    provider_reference: str | None
    reference: str | None
    host_id: str | None
    fee: int | None
    fee_currency: str | None
    refunds: tuple[PastRefund, ...]
    method: str | None
    email: str | None
    name: str | None
    phone: str | None
    description: str | None
    response: Any
    is_disputed: bool

    @property
    def refunded(self) -> int:
        """What was refunded before, in minor units."""
        return sum(refund.amount for refund in self.refunds)


Row = MappingOf[str, Any]


def _reject(reason: Rejection, field: str) -> NoReturn:
    raise RowRejected(reason, field)


class RowReader:
    """Reads rows by one mapping. ``now``: no payment is later."""

    def __init__(self, mapping: PastMapping, now: datetime) -> None:
        self._mapping, self._now = mapping, now
        self._zone = ZoneInfo(mapping.time_zone)
        self._words = Mapping(
            providers={normal(word): code for word, code in mapping.providers.items()},
            environments={normal(word): one for word, one in mapping.environments.items()},
        )
        self._statuses = STATUSES | {normal(word): one for word, one in mapping.statuses.items()}
        # Of fees and refunds; without a word about the unit, all amounts are those of ``amountMinor``.
        self._is_minor = mapping.amounts != "major"
        self._names: dict[str, tuple[str, ...]] = {field: (normal(name),) for field, name in mapping.fields.items()}
        taken = {name for names in self._names.values() for name in names}
        for field, names in NAMES.items():
            self._names.setdefault(field, tuple(name for name in names if name not in taken))

    def practice(self, row: Row) -> str | None:
        """The host's own identifier of the practice that a row belongs to."""
        value = self._values(row).get("practice")
        return None if value is None else str(value).strip() or None

    def read(self, row: Row) -> PastPayment:
        """The payment of a row. ``RowRejected`` with the reason and the field."""
        given = self._values(row)
        status = self._status(given)
        currency = self._currency(given.get("currency") or self._mapping.currency)
        amount = self._amount(given, currency)
        paid_at = self._moment(given.get("paidAt"), "paidAt")
        transaction_id = _text(given, "transactionId", MAX_ID)
        provider_reference = _text(given, "providerReference", MAX_ID)
        reference = _text(given, "reference", MAX_TEXT)
        host_id = _text(given, "id", MAX_ID)
        if not (transaction_id or provider_reference or reference or host_id):
            _reject(Rejection.nothing_identifies, "transactionId")
        fee, fee_currency = self._fee(given, currency)
        return PastPayment(
            provider_code=self._provider(given),
            environment=self._environment(given),
            amount=amount,
            currency=currency,
            paid_at=paid_at,
            transaction_id=transaction_id,
            provider_reference=provider_reference,
            reference=reference,
            host_id=host_id,
            fee=fee,
            fee_currency=fee_currency,
            refunds=self._refunds(given, amount, currency, paid_at),
            method=_text(given, "method", MAX_ID),
            email=_contact(read_email, given, "email"),
            name=_contact(read_name, given, "name"),
            phone=_contact(lambda text: _phone(text, currency), given, "phone"),
            description=_text(given, "description", MAX_TEXT),
            response=_response(given.get("response")),
            is_disputed=status == "disputed",
        )

    def _values(self, row: Row) -> dict[str, Any]:
        """The values of a row by field. An empty text, null and a missing field are the same."""
        by_name = {normal(str(name)): value for name, value in row.items()}
        found: dict[str, Any] = {}
        for field, names in self._names.items():
            values = (by_name.get(name) for name in names)
            value = next((one for one in values if one is not None and one != ""), None)
            if value is not None:
                found[field] = value
        return found

    def _status(self, given: dict[str, Any]) -> str:
        if "status" not in given:
            return "paid"
        status = self._statuses.get(normal(str(given["status"])))
        if status is None:
            _reject(Rejection.status_unknown, "status")
        if status == "not_paid":
            _reject(Rejection.was_not_paid, "status")
        return status

    def _provider(self, given: dict[str, Any]) -> str:
        written = given.get("provider") or self._mapping.provider
        if written is None:
            _reject(Rejection.provider_missing, "provider")
        code = self._words.provider_of(str(written))
        return code or _reject(Rejection.provider_unknown, "provider")

    def _environment(self, given: dict[str, Any]) -> Environment:
        if "environment" not in given:
            return self._mapping.environment
        found = self._words.environment_of(str(given["environment"]))
        return found or _reject(Rejection.environment_unknown, "environment")

    def _currency(self, value: Any, field: str = "currency") -> str:
        if value is None:
            _reject(Rejection.currency_missing, field)
        code = str(value).strip().upper()
        return code if code in CURRENCIES else _reject(Rejection.currency_unknown, field)

    def _amount(self, given: dict[str, Any], currency: str) -> int:
        field = "amountMinor" if "amountMinor" in given else "amount"
        if field not in given or (field == "amount" and self._mapping.amounts is None):  # nobody says its unit
            _reject(Rejection.amount_missing, "amount")
        is_minor = field == "amountMinor" or self._is_minor
        minor = _minor(given[field], currency, is_minor, Rejection.amount_unreadable, field)
        if minor <= 0:
            _reject(Rejection.amount_not_positive, field)
        return minor if minor <= MAX_MINOR else _reject(Rejection.amount_too_large, field)

    def _fee(self, given: dict[str, Any], currency: str) -> tuple[int | None, str | None]:
        if "fee" not in given:
            return None, None
        its = self._currency(given["feeCurrency"], "feeCurrency") if "feeCurrency" in given else currency
        fee = _minor(given["fee"], its, self._is_minor, Rejection.fee_unreadable, "fee")
        return (fee, its) if 0 <= fee <= MAX_MINOR else _reject(Rejection.fee_unreadable, "fee")

    def _refunds(self, given: dict[str, Any], amount: int, currency: str, paid_at: datetime) -> tuple[PastRefund, ...]:
        is_minor = self._is_minor
        listed, total = given.get("refunds"), given.get("refunded")
        if isinstance(listed, str):
            listed = _json(listed, Rejection.refunds_unreadable, "refunds")
        if isinstance(total, str) and total.strip().lower() in _BOOLEANS:
            total = _BOOLEANS[total.strip().lower()]
        if listed is None and not isinstance(total, bool) and str(total).strip() == "1":
            _reject(Rejection.refunds_unreadable, "refunded")  # a database's boolean, or an amount: nothing tells
        status = normal(str(given.get("status", "")))
        made_at = self._moment(given["refundedAt"], "refundedAt") if "refundedAt" in given else paid_at
        found = []
        if listed is not None:
            if not isinstance(listed, list) or len(listed) > MAX_REFUNDS:
                _reject(Rejection.refunds_unreadable, "refunds")
            found = [self._refund(one, currency, is_minor, paid_at) for one in listed]
        elif total is True or (total is None and status == "refunded"):
            found = [PastRefund(amount, None, made_at)]
        elif total not in (None, False):
            minor = _minor(total, currency, is_minor, Rejection.refunds_unreadable, "refunded")
            found = [PastRefund(minor, None, made_at)] if minor else []
        if any(refund.amount <= 0 for refund in found) or (not found and status in _REFUNDED):
            _reject(Rejection.refunds_unreadable, "refunded")  # it says that something was refunded, and not how much
        named = [refund.provider_refund_id for refund in found if refund.provider_refund_id is not None]
        if len(set(named)) < len(named):
            _reject(Rejection.refunds_unreadable, "refunds")
        if sum(refund.amount for refund in found) > amount:
            _reject(Rejection.refunded_too_much, "refunded")
        return tuple(found)

    def _refund(self, given: Any, currency: str, is_minor: bool, paid_at: datetime) -> PastRefund:
        if not isinstance(given, dict):
            _reject(Rejection.refunds_unreadable, "refunds")
        values = {normal(str(name)): value for name, value in given.items() if value not in (None, "")}
        if "amount" not in values:
            _reject(Rejection.refunds_unreadable, "refunds")
        made = next((values[name] for name in ("refundedat", "createdat", "created", "date") if name in values), None)
        refund_id = next((values[name] for name in ("providerrefundid", "refundid", "id") if name in values), None)
        return PastRefund(
            _minor(values["amount"], currency, is_minor, Rejection.refunds_unreadable, "refunds"),
            _text({"refunds": refund_id}, "refunds", MAX_ID),
            self._moment(made, "refunds") if made is not None else paid_at,
        )

    def _moment(self, value: Any, field: str) -> datetime:
        if value is None:
            _reject(Rejection.date_missing, field)
        found = _read_moment(value)
        if found is None:
            _reject(Rejection.date_unreadable, field)
        if found.tzinfo is None:
            found = found.replace(tzinfo=self._zone)
        found = found.astimezone(UTC)
        return found if EARLIEST <= found <= self._now + CLOCKS else _reject(Rejection.date_impossible, field)


def _read_moment(value: Any) -> datetime | None:
    """A time: ISO 8601 with or without a zone, or seconds or milliseconds since the epoch."""
    if isinstance(value, datetime):
        return value
    text = str(value).strip() if isinstance(value, str | int | Decimal) and not isinstance(value, bool) else ""
    try:
        if text.isascii() and text.isdecimal() and len(text) > len("20260101"):
            number = int(text[:15])
            return datetime.fromtimestamp(number / 1000 if number >= _MILLISECONDS else number, UTC)
        return datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        return None


def _minor(value: Any, currency: str, is_minor: bool, unreadable: Rejection, field: str) -> int:
    """An amount in minor units. Text or a number, exactly as it is written."""
    if isinstance(value, str):
        value = value.strip()
    if isinstance(value, bool | float) or not isinstance(value, str | int | Decimal):
        _reject(unreadable, field)
    try:
        return scaled(value, 0) if is_minor else from_major(value, currency)
    except InvalidAmount:
        try:
            scaled(value, 6)
        except InvalidAmount:
            _reject(unreadable, field)
        _reject(Rejection.amount_too_fine if unreadable is Rejection.amount_unreadable else unreadable, field)


def _text(given: MappingOf[str, Any], field: str, most: int) -> str | None:
    value = given.get(field)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        _reject(Rejection.text_unreadable, field)
    try:
        str(value).encode()
    except UnicodeEncodeError:  # not UTF-8 in the source
        _reject(Rejection.text_unreadable, field)
    text = visible(str(value))
    return (text or None) if len(text) <= most else _reject(Rejection.text_unreadable, field)


def _contact(read: Callable[[str | None], str | None], given: MappingOf[str, Any], field: str) -> str | None:
    """A customer field in its normal form. What is not one is left out: the payment counts without it."""
    try:
        return read(_text(given, field, MAX_TEXT))
    except InvalidContact:
        return None


def _phone(text: str | None, currency: str) -> str | None:
    phone = read_phone(text, (locality(currency).country,))
    return phone.e164 if phone else None


def _json(text: str, reason: Rejection, field: str) -> Any:
    try:
        return parse_json(text.encode("utf-8", "surrogatepass"))
    except ValueError:
        _reject(reason, field)


def _response(value: Any) -> Any:
    """The provider's answer that the host has kept. What is not JSON is kept as text."""
    if not isinstance(value, str):
        return value
    if len(value) > MAX_RESPONSE:
        _reject(Rejection.text_unreadable, "response")
    try:
        return parse_json(value.encode("utf-8", "surrogatepass"))
    except ValueError:
        return {"text": visible(value)}
