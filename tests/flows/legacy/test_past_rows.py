"""Rows of past payments: amounts exactly as written, dates, words, and one reason for each row that is rejected."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polytill.domain.currencies import CURRENCIES
from polytill.domain.money import MAX_MINOR, to_major
from polytill.domain.past_payments import Doubt, Rejection
from polytill.domain.states import Environment
from polytill.flows.legacy.past_ids import ids_of
from polytill.flows.legacy.past_rows import PastMapping, RowReader, RowRejected, wrong_in
from polytill.providers.http import parse_json
from polytill.providers.registry import BUILT_IN

NOW = datetime(2026, 11, 30, tzinfo=UTC)
GOOD: dict[str, Any] = {
    "id": "p-1",
    "provider_code": "paystack",
    "providerTransactionId": "4099260516",
    "amount": "150.00",
    "currency": "NGN",
    "paid_at": "2025-03-04T10:11:12Z",
}


def read(row: dict[str, Any], **mapping: Any) -> Any:
    return RowReader(PastMapping(**{"amounts": "major", **mapping}), NOW).read(row)


def rejected(row: dict[str, Any], **mapping: Any) -> Rejection:
    with pytest.raises(RowRejected) as found:
        read(row, **mapping)
    return found.value.reason


@given(st.sampled_from(sorted(CURRENCIES)), st.integers(1, MAX_MINOR), st.booleans(), st.booleans())
def test_an_amount_is_read_exactly_in_either_unit(currency: str, minor: int, is_minor: bool, as_number: bool) -> None:
    text = str(minor) if is_minor else format(to_major(minor, currency), "f")
    amount = parse_json(text.encode()) if as_number else text
    row = {**GOOD, "amount": amount, "fee": amount, "currency": currency}
    past = read(row, amounts="minor" if is_minor else "major")
    assert (past.amount, past.fee, past.fee_currency) == (minor, minor, currency)


def test_a_json_number_is_a_decimal() -> None:
    row = parse_json(b'{"amount": 150.1, "fee": 0.29}')
    past = read({**GOOD, **row})
    assert (past.amount, past.fee) == (15010, 29)
    assert rejected({**GOOD, "amount": Decimal("150.101")}) is Rejection.amount_too_fine
    assert rejected({**GOOD, "amount": 150.1}) is Rejection.amount_unreadable, "a float has been rounded already"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"amount": None}, Rejection.amount_missing),
        ({"amount": "1,500.00"}, Rejection.amount_unreadable),
        ({"amount": "NaN"}, Rejection.amount_unreadable),
        ({"amount": True}, Rejection.amount_unreadable),
        ({"amount": "0"}, Rejection.amount_not_positive),
        ({"amount": "-5"}, Rejection.amount_not_positive),
        ({"amount": "1.5", "currency": "JPY"}, Rejection.amount_too_fine),
        ({"amount": "99999999999999"}, Rejection.amount_too_large),
        ({"currency": ""}, Rejection.currency_missing),
        ({"currency": "XYZ"}, Rejection.currency_unknown),
        ({"provider_code": None}, Rejection.provider_missing),
        ({"provider_code": "bitpay"}, Rejection.provider_unknown),
        ({"environment": "moon"}, Rejection.environment_unknown),
        ({"paid_at": None}, Rejection.date_missing),
        ({"paid_at": "04/03/2025"}, Rejection.date_unreadable),
        ({"paid_at": "2027-01-01"}, Rejection.date_impossible),
        ({"paid_at": "1970-01-01"}, Rejection.date_impossible),
        ({"status": "failed"}, Rejection.was_not_paid),
        ({"status": "perhaps"}, Rejection.status_unknown),
        ({"fee": "x"}, Rejection.fee_unreadable),
        ({"fee": "-1"}, Rejection.fee_unreadable),
        ({"fee": "1", "fee_currency": "?"}, Rejection.currency_unknown),
        ({"refunded": "200"}, Rejection.refunded_too_much),
        ({"refunded": "-1"}, Rejection.refunds_unreadable),
        ({"refunds": "[{"}, Rejection.refunds_unreadable),
        ({"refunds": [{"id": "r"}]}, Rejection.refunds_unreadable),
        ({"status": "partially_refunded"}, Rejection.refunds_unreadable),
        ({"refunded": 1}, Rejection.refunds_unreadable),  # a boolean of SQLite or MySQL, or an amount
        ({"refunded": "1", "status": "refunded"}, Rejection.refunds_unreadable),
        ({"status": "refunded", "refunded": "0"}, Rejection.refunds_unreadable),
        ({"id": None, "providerTransactionId": ""}, Rejection.nothing_identifies),
        ({"providerTransactionId": "x" * 201}, Rejection.text_unreadable),
        ({"description": "\ud800"}, Rejection.text_unreadable),
        ({"description": ["x"]}, Rejection.text_unreadable),
    ],
)
def test_one_reason_for_each_row_that_is_rejected(change: dict[str, Any], reason: Rejection) -> None:
    assert rejected({**GOOD, **change}) is reason


def test_every_reason_of_a_row_has_a_test() -> None:
    of_the_database = {"row_unreadable", "practice_unknown", "reference_taken", "contradicts_known"}
    [mark] = test_one_reason_for_each_row_that_is_rejected.pytestmark  # type: ignore[attr-defined]
    assert {reason for _, reason in mark.args[1]} == {one for one in Rejection if one not in of_the_database}


@pytest.mark.parametrize(
    ("written", "zone", "read_as"),
    [
        ("2025-03-04 10:11:12", "Africa/Lagos", datetime(2025, 3, 4, 9, 11, 12, tzinfo=UTC)),
        ("2025-03-04", "UTC", datetime(2025, 3, 4, tzinfo=UTC)),
        ("2025-03-04T10:11:12+03:00", "Africa/Lagos", datetime(2025, 3, 4, 7, 11, 12, tzinfo=UTC)),
        (1741083072, "UTC", datetime(2025, 3, 4, 10, 11, 12, tzinfo=UTC)),
        ("1741083072000", "Africa/Lagos", datetime(2025, 3, 4, 10, 11, 12, tzinfo=UTC)),
        (datetime(2025, 3, 4, 10), "Africa/Lagos", datetime(2025, 3, 4, 9, tzinfo=UTC)),  # noqa: DTZ001
    ],
)
def test_times_with_and_without_a_zone(written: Any, zone: str, read_as: datetime) -> None:
    assert read({**GOOD, "paid_at": written}, time_zone=zone).paid_at == read_as


def test_refunds_that_were_made_before() -> None:
    listed = '[{"id": "R1", "amount": "50.00", "createdAt": "2025-04-01"}, {"amount": 10}]'
    past = read({**GOOD, "refunds": listed})
    assert [(one.amount, one.provider_refund_id, one.made_at.month) for one in past.refunds] == [
        (5000, "R1", 4),
        (1000, None, 3),
    ]
    assert read({**GOOD, "refunds": listed, "refunded": 1}).refunded == 6000
    assert read({**GOOD, "refunded": "150.00"}).refunded == 15000
    assert read({**GOOD, "status": "Refunded"}).refunded == 15000
    assert read({**GOOD, "refunded": "false"}).refunded == 0
    assert read({**GOOD, "amountRefunded": "0.00"}).refunds == ()


@pytest.mark.parametrize(
    ("amounts", "refunded", "fee", "read_as"),
    [
        ("major", "50.00", "1.50", (5000, 150)),
        ("minor", "5000", "150", (5000, 150)),
        (None, "5000", "150", (5000, 150)),
    ],
)
def test_fees_and_refunds_beside_an_amount_in_minor_units_have_the_unit_of_the_mapping(
    amounts: str | None, refunded: str, fee: str, read_as: tuple[int, int]
) -> None:
    row = {**GOOD, "refunded": refunded, "fee": fee, "kobo": 15000}
    del row["amount"]
    for refunds in ({}, {"refunds": [{"amount": refunded}]}):
        past = read({**row, **refunds}, amounts=amounts, fields={"amountMinor": "kobo"})
        assert (past.amount, (past.refunded, past.fee)) == (15000, read_as)
    without = {name: value for name, value in row.items() if name != "kobo"} | {"amount": "150.00"}
    if amounts is None:
        assert rejected(without, amounts=None, fields={"amountMinor": "kobo"}) is Rejection.amount_missing


def test_a_mapping_names_what_is_unusual() -> None:
    row = {"Tx No": "77", "Betrag": "1500", "Wann": "2025-03-04", "Zustand": "ok", "Weg": "PSTK", "live?": "J"}
    past = read(
        row,
        amounts="minor",
        currency="NGN",
        fields={
            "transactionId": "Tx No", "amount": "Betrag", "paidAt": "Wann", "status": "Zustand", "provider": "Weg",
            "environment": "live?",
        },
        providers={"PSTK": "paystack"},
        statuses={"OK": "paid"},
        environments={"J": Environment.production},
    )  # fmt: skip
    assert (past.provider_code, past.amount, past.transaction_id) == ("paystack", 1500, "77")
    assert past.environment is Environment.production


def test_a_contact_that_is_none_is_left_out() -> None:
    past = read({**GOOD, "email": "nobody", "phone": "x", "customer_name": "Ada"})
    assert (past.email, past.phone, past.name) == (None, None, "Ada")


@pytest.mark.parametrize(
    ("code", "row", "transaction", "reference", "doubt"),
    [
        ("paystack", {"providerTransactionId": "77", "reference": "inv-1"}, "77", None, None),
        ("paystack", {"providerTransactionId": "inv_1"}, None, "inv_1", Doubt.no_transaction_id),
        ("paystack", {"providerTransactionId": "", "reference": "inv-1"}, None, None, Doubt.no_transaction_id),
        ("paystack", {"providerTransactionId": "", "response": {"data": {"id": 9, "reference": "r"}}}, "9", "r", None),
        ("flutterwave", {"providerTransactionId": "5", "response": '{"tx_ref": "t"}'}, "5", "t", None),
        ("stripe", {"providerTransactionId": "pi_1", "reference": "inv-1"}, "pi_1", None, None),
        ("stripe", {"providerTransactionId": "ch_1", "response": {"payment_intent": "pi_2"}}, "pi_2", None, None),
        ("stripe", {"providerTransactionId": "ch_1"}, None, None, Doubt.transaction_id_form),
    ],
)
def test_the_ids_that_a_provider_knows(
    code: str, row: dict[str, Any], transaction: str | None, reference: str | None, doubt: Doubt | None
) -> None:
    ids = ids_of(read({**GOOD, "provider_code": code, **row}), BUILT_IN[code])
    assert (ids.transaction_id, ids.reference, ids.doubt) == (transaction, reference, doubt)


@pytest.mark.parametrize(
    "mapping",
    [{"amounts": None}, {"fields": {"amont": "x"}}, {"currency": "XYZ"}, {"delimiter": "::"}, {"time_zone": "Mars"}],
)
def test_a_mapping_that_is_wrong_is_one_sentence(mapping: dict[str, Any]) -> None:
    assert wrong_in(PastMapping(**{"amounts": "major", **mapping}))
    assert wrong_in(PastMapping(amounts="major")) is None
