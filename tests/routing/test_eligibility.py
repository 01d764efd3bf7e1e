"""Who takes a payment, as tables: every reason to be out, every tie-break, in whatever order the candidates come."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polytill.domain.contacts import Phone
from polytill.domain.routing import WhyExcluded, WhyFirst
from polytill.domain.states import CaptureMode, Environment
from polytill.flows.routing.eligibility import Candidate, Wanted
from polytill.providers.contract import CustomerFields
from polytill.storage.catalog import CurrencySupport
from tests.routing.making import ANY, EMAIL, LIVE, SANDBOX, decided

PHONE = CustomerFields(("phone",))
NEEDS = {
    "EMAIL": EMAIL,
    "PHONE": PHONE,
    "EITHER": CustomerFields(one_of=("email", "phone")),
    "KENYAN": CustomerFields(("phone",), phone_countries=("KE",)),
    "ALL": frozenset({"email", "phone"}),
    "KENYAN_NUMBER": Phone("+254712345678"),
    "UGANDAN": Phone("+256712345678"),
}
FULL = Wanted("NGN", 500, "card", CaptureMode.manual, frozenset({"email"}))

# What is changed of the candidate | what is changed of the request | the reason | the pointer
EXCLUDED = """
is_enabled=False                          |                                    | not_enabled             |
catalog_status='inactive'                 |                                    | catalog_status          |
catalog_status=None                       |                                    | catalog_status          |
handler_missing='Not installed.'          |                                    | handler_missing         |
environment=LIVE                          | environment=SANDBOX                | environment             |
environment=SANDBOX                       | environment=LIVE                   | environment             |
practice_currencies=frozenset()           |                                    | currency_not_configured | /currency
                                          | currency='GHS'                     | currency_not_configured | /currency
support=None                              |                                    | currency_not_supported  | /currency
support=replace(SUPPORT, is_active=False) |                                    | currency_not_supported  | /currency
                                          | payment_method='ussd'              | payment_method          | /paymentMethod
captures_manually=False                   |                                    | capture_mode            | /capture
customer_fields=lambda *_: PHONE          |                                    | customer_field          | /customer/phone
                                          | customer_fields=frozenset()        | customer_field          | /customer/email
                                          | amount=99                          | below_minimum           | /amount
                                          | amount=1001                        | above_maximum           | /amount
amount_step=7                             | amount=500                         | amount_step             | /amount
                                          | provider_code='other'              | not_requested           | /providerCode
                                          | saved_method='/saveMethod'         | saved_methods           | /saveMethod
customer_fields=lambda *_: EITHER         | customer_fields=frozenset()        | customer_field          | /customer/email
customer_fields=lambda *_: KENYAN         | customer_fields=ALL, phone=UGANDAN | customer_phone          | /customer/phone
                                          | details={}                         | method_details          | /methodDetails
charge_details=lambda *_: ('bank',)       | details={'phone': '1'}             | method_details          | /methodDetails/bank
"""
# What is changed of the candidate | what is changed of the request
TAKEN = """
                                                            |
catalog_status='beta'                                       |
catalog_status='deprecated'                                 |
                                                            | amount=100
                                                            | amount=1000
support=replace(SUPPORT, min_amount=None, max_amount=None)  | amount=1
captures_manually=False                                     | capture='automatic'
customer_fields=lambda *_: PHONE                            | customer_fields=None
                                                            | amount=None
                                                            | payment_method=None
environment=LIVE                                            |
environment=LIVE                                            | environment=LIVE
                                                            | provider_code='able'
charges_saved=True                                          | saved_method='/savedMethod'
charge_details=lambda *_: ('bank',)                         | details={'bank': 'gtb'}
customer_fields=lambda *_: EITHER                           | customer_fields=frozenset({'phone'})
customer_fields=lambda *_: KENYAN                           | customer_fields=ALL, phone=KENYAN_NUMBER
"""


def rows(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")] for line in table.strip("\n").splitlines()]


def changed(text: str) -> dict[str, object]:
    names = {
        "LIVE": LIVE,
        "SANDBOX": SANDBOX,
        "replace": replace,
        "SUPPORT": ANY.support,
        "frozenset": frozenset,
        **NEEDS,
    }
    return eval(f"dict({text})", {**names, "dict": dict})  # type: ignore[no-any-return]


@pytest.mark.parametrize("row", rows(EXCLUDED), ids=lambda row: f"{row[2]}: {row[0] or row[1]}")
def test_out(row: list[str]) -> None:
    candidate, wanted = replace(ANY, **changed(row[0])), replace(FULL, **changed(row[1]))
    found = decided([candidate], wanted)
    assert found.candidates == ()
    [out] = found.excluded
    assert (out.code, out.reason, out.pointer or "") == ("able", row[2], row[3])
    assert out.detail.endswith((".", ")."))
    assert "No configured provider" in found.reason


@pytest.mark.parametrize("row", rows(TAKEN), ids=lambda row: row[0] + row[1])
def test_in(row: list[str]) -> None:
    candidate, wanted = replace(ANY, **changed(row[0])), replace(FULL, **changed(row[1]))
    found = decided([candidate], wanted)
    assert found.candidates == (candidate,)
    assert found.excluded == ()


def test_every_reason_is_in_the_table() -> None:
    assert {row[2] for row in rows(EXCLUDED)} == set(WhyExcluded)


# The winner is `first`; every line is stronger than the ones below it.
ORDER = """
is_default=True                                 | priority=9, catalog_priority=9  | default
priority=1                                      | catalog_priority=9              | practice's highest priority
support=replace(SUPPORT, is_recommended=True)   | catalog_priority=9              | recommended
catalog_priority=1                              |                                 | catalog's highest priority
                                                |                                 | first by code
"""


@pytest.mark.parametrize("row", rows(ORDER), ids=lambda row: row[2])
def test_tie_breaks(row: list[str]) -> None:
    # The stronger one comes later by code, unless the code itself decides.
    last = "by code" in row[2]
    strong = replace(ANY, code="a" if last else "z", name="Strong", **changed(row[0]))
    weak = replace(ANY, code="b", name="Weak", **changed(row[1]))
    for order in ([strong, weak], [weak, strong]):
        found = decided(order, FULL)
        assert found.candidates == (strong, weak)
        assert row[2] in found.reason, found.reason
        assert "Strong" in found.reason


def test_the_only_one_and_the_one_requested() -> None:
    other = replace(ANY, code="other", name="Other", is_default=True)
    assert decided([ANY], FULL).why is WhyFirst.only
    found = decided([ANY, other], replace(FULL, provider_code="able"))
    assert [c.code for c in found.ranked] == ["able"]
    assert found.why is WhyFirst.requested


def test_a_live_practice_never_pays_into_a_test_account() -> None:
    live, test = replace(ANY, code="live", environment=LIVE), replace(ANY, code="test", is_default=True, priority=9)
    found = decided([live, test], FULL)
    assert [c.code for c in found.ranked] == ["live"]
    assert [(out.code, out.reason) for out in found.excluded] == [("test", "environment")]
    # Live for another currency, or switched off, does not make this currency live.
    for elsewhere in (replace(live, practice_currencies=frozenset({"GHS"})), replace(live, is_enabled=False)):
        assert [c.code for c in decided([elsewhere, test], FULL).ranked] == ["test"]
    # A live one that cannot take this payment does not let the test account take it.
    found = decided([replace(live, support=None), test], FULL)
    assert found.candidates == ()
    assert {out.reason for out in found.excluded} == {"currency_not_supported", "environment"}


candidates = st.builds(
    Candidate,
    code=st.sampled_from("abcdef"),
    name=st.just("N"),
    config_id=st.just(1),
    environment=st.sampled_from(Environment),
    is_enabled=st.booleans(),
    catalog_status=st.sampled_from(["active", "beta", "deprecated", "inactive", None]),
    handler_missing=st.sampled_from([None, None, "gone"]),
    practice_currencies=st.frozensets(st.sampled_from(["NGN", "GHS"])),
    support=st.none()
    | st.builds(CurrencySupport, st.just("NGN"), st.booleans(), max_amount=st.none() | st.integers(1, 900)),
    methods=st.frozensets(st.sampled_from(["card", "ussd"])),
    captures_manually=st.booleans(),
    customer_fields=st.sampled_from([lambda *_: EMAIL, lambda *_: PHONE]),
    is_default=st.booleans(),
    priority=st.integers(0, 2),
    catalog_priority=st.integers(0, 2),
)


@given(st.lists(candidates, unique_by=lambda c: c.code), st.data())
def test_order_does_not_matter_and_nobody_is_lost(found: list[Candidate], data: st.DataObject) -> None:
    wanted = data.draw(
        st.builds(Wanted, st.just("NGN"), st.none() | st.integers(1, 1000), st.sampled_from([None, "card"]))
    )
    first = decided(found, wanted)
    assert decided(data.draw(st.permutations(found)), wanted) == first
    assert sorted([c.code for c in first.ranked] + [out.code for out in first.excluded]) == sorted(
        c.code for c in found
    )
    assert len({c.environment for c in first.candidates}) <= 1
    # Taking away who was out changes nothing for who is in, unless it decided the environment.
    if all(c.environment is SANDBOX for c in found):
        assert decided(first.candidates, wanted).candidates == first.candidates
