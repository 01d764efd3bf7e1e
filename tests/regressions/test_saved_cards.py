"""One customer's same card is one saved method, and removing it removes every copy, here and at the provider.

Source: https://github.com/woocommerce/woocommerce-gateway-stripe/issues/4041.
"""

from __future__ import annotations

from typing import Any

import pytest

from polytill.background import sweep
from polytill.domain.contacts import stored_phone
from polytill.domain.secret import Secret
from polytill.domain.states import Environment
from polytill.flows.payments.saved_methods import customer_key, is_same_card
from polytill.providers.flutterwave.reading import saved_method
from polytill.storage import saved_methods
from polytill.web.words import LANGUAGES
from polytill.web.words import texts as sentences
from tests.installation import Installation
from tests.web.support import PROVIDERS, Json, Practice, is_problem
from tests.web.test_saved_methods import charge, saved

DETACHES = ("stripe", "paystack")


async def _listed(practice: Practice, query: str = "") -> list[Json]:
    found = await practice.call("GET", f"/saved-methods?environment=sandbox{query}")
    assert found.status == 200, found.body
    return list(found.body["data"])


async def _detachments(practice: Practice) -> list[tuple[str, Any]]:
    rows = await (await practice.db).fetch("SELECT state, sealed_token FROM saved_method_detachments ORDER BY id")
    return [(row["state"], row["sealed_token"]) for row in rows]


@pytest.mark.parametrize("code", PROVIDERS)
async def test_the_same_card_is_one_method_and_removed_with_its_copies(installation: Installation, code: str) -> None:
    practice = await Practice.make(installation, code)
    first = (await saved(practice))["savedMethod"]
    second = (await saved(practice, "Ada@Example.com"))["savedMethod"]
    assert second["id"] == first["id"]
    [entry] = await _listed(practice)
    assert entry["id"] == first["id"]
    assert len(entry["fingerprint"]) == 32
    assert entry["expired"] is False
    again = await charge(practice, first["id"])
    assert again["status"] == "succeeded"
    ids = await (await practice.db).fetch("SELECT id FROM saved_methods ORDER BY id")
    assert len(ids) == 2
    # Whichever copy is named, the method goes with all of them.
    assert (await practice.call("DELETE", f"/saved-methods/{ids[1]['id']}")).status == 204
    assert await _listed(practice) == []
    for row in ids:
        body = {"amount": 7_000, "currency": again["currency"], "savedMethod": row["id"]}
        gone = await practice.call("POST", "/payments", body, idempotency=row["id"])
        assert is_problem(gone, 422)["errors"][0]["pointer"] == "/savedMethod"
        assert (await practice.call("DELETE", f"/saved-methods/{row['id']}")).status == 404
    assert await _detachments(practice) == ([("detached", None)] * 2 if code in DETACHES else [])
    rows = await (await practice.db).fetch("SELECT sealed_token FROM saved_methods")
    assert [row["sealed_token"] for row in rows] == [None, None]


async def test_different_people_with_the_same_card_stay_apart(installation: Installation) -> None:
    practice = await Practice.make(installation, "paystack")
    ada, bisi = (await saved(practice))["savedMethod"], (await saved(practice, "bisi@example.com"))["savedMethod"]
    assert ada["id"] != bisi["id"]
    one, other = await _listed(practice)
    assert one["fingerprint"] == other["fingerprint"]
    assert (await practice.call("DELETE", f"/saved-methods/{ada['id']}")).status == 204
    assert [row["id"] for row in await _listed(practice)] == [bisi["id"]]
    assert (await charge(practice, bisi["id"]))["status"] == "succeeded"


async def test_a_method_is_found_by_e_mail_whatever_its_capitals(installation: Installation) -> None:
    practice = await Practice.make(installation, "paystack")
    method = (await saved(practice, "Ada.Obi@Example.COM"))["savedMethod"]
    for email in ("ada.obi@example.com", "ADA.OBI@EXAMPLE.COM", "%20Ada.Obi@Example.COM"):
        assert [row["id"] for row in await _listed(practice, f"&customerEmail={email}")] == [method["id"]]
    assert await _listed(practice, "&customerEmail=ada@example.com") == []
    assert [row["id"] for row in await _listed(practice, "&customerEmail=%20")] == [method["id"]]  # blank is absent
    for nonsense in ("ada", "ada@@example.com", "ada@example.com,bisi@example.com"):
        found = await practice.call("GET", f"/saved-methods?environment=sandbox&customerEmail={nonsense}")
        assert is_problem(found, 422)["errors"][0]["pointer"] == "query:customerEmail"
    paid = await charge(practice, method["id"], customer={"email": "ADA.OBI@example.com"})
    assert paid["status"] == "succeeded"


@pytest.mark.parametrize("code", DETACHES)
@pytest.mark.parametrize("fault", ["lose_answer", "error_500", "error_500_after"])
async def test_a_lost_answer_of_detaching_is_made_good(installation: Installation, code: str, fault: str) -> None:
    """The provider does not answer, or the process ends: the copy is detached by a later visit."""
    practice = await Practice.make(installation, code)
    method = (await saved(practice))["savedMethod"]
    await practice.fault("*", fault)
    assert (await practice.call("DELETE", f"/saved-methods/{method['id']}")).status == 204
    [(state, token)] = await _detachments(practice)
    assert (state, token is not None) == ("due", True)
    assert await _listed(practice) == []
    db = await practice.db
    async with db.transaction() as tx:
        tx.add("UPDATE saved_method_detachments SET next_try_at = $1", installation.till.context.shared_after(-1))
    await sweep(installation.till.context, everyone=True)
    assert await _detachments(practice) == [("detached", None)]
    assert not await saved_methods.anything_to_detach(db)


@pytest.mark.parametrize("code", DETACHES)
async def test_a_provider_that_refuses_to_detach_opens_one_review_case(installation: Installation, code: str) -> None:
    """The provider does not know the token, as after a change of the account."""
    practice = await Practice.make(installation, code)
    payment = await saved(practice)
    method, db = payment["savedMethod"]["id"], await practice.db
    place = saved_methods.token_place(method, Environment.sandbox)
    foreign = db.data_key.seal(Secret("pm_unknown"), place, installation.till.context.world)
    await db.fetch("UPDATE saved_methods SET sealed_token = $1", foreign)
    assert (await practice.call("DELETE", f"/saved-methods/{method}")).status == 204
    assert await _detachments(practice) == [("refused", None)]
    [case] = (await practice.call("GET", "/cases?status=open")).body
    assert (case["kind"], case["paymentId"]) == ("saved_method_not_detached", payment["id"])
    await sweep(installation.till.context, everyone=True)
    assert len((await practice.call("GET", "/cases?status=open")).body) == 1
    for language in LANGUAGES:
        assert {f"{part}.saved_method_not_detached" for part in ("case", "case_help")} <= sentences(language).keys()


async def test_a_detached_card_cannot_be_charged_at_the_provider(installation: Installation) -> None:
    """The judge is the provider: the token itself, outside of polytill."""
    practice = await Practice.make(installation, "paystack")
    payment = await saved(practice)
    db = await practice.db
    kept = await saved_methods.by_id(db, payment["savedMethod"]["id"])
    assert kept is not None
    token = saved_methods.open_token(db.data_key, kept)
    assert token is not None
    body = {"authorization_code": token.reveal(), "email": "ada@example.com", "amount": 5000, "currency": "NGN"}
    headers = {"Authorization": f"Bearer {practice.keys['secretKey']}"}
    url = f"{installation.simulator.url}/paystack/transaction/charge_authorization"
    async with installation.http.post(url, json=body, headers=headers) as answered:
        assert answered.status == 200
    await practice.call("DELETE", f"/saved-methods/{kept.id}")
    async with installation.http.post(url, json=body, headers=headers) as answered:
        assert answered.status == 400


async def test_an_expired_card_is_marked(installation: Installation) -> None:
    practice = await Practice.make(installation, "stripe")
    await saved(practice)
    db = await practice.db
    async with db.transaction() as tx:
        tx.add("UPDATE saved_methods SET expires = '2020-01'")
    [entry] = await _listed(practice)
    assert (entry["expires"], entry["expired"]) == ("2020-01", True)


def test_who_a_customer_is() -> None:
    assert customer_key("Ada@Example.com") == customer_key(" ada@example.COM") == "ada@example.com"
    assert (
        customer_key("ada@bücher.example") == customer_key("Ada@XN--BCHER-KVA.example") == "ada@xn--bcher-kva.example"
    )
    for phone in ("+254 712 345 678", "0712345678"):
        assert (
            customer_key(None, stored_phone(phone, "KES"))
            == customer_key("", stored_phone(phone, "KES"))
            == "+254712345678"
        )
    assert customer_key(None) is customer_key("", stored_phone(" ")) is None
    assert is_same_card("id1", 1, None, "email:a") == is_same_card("id1", 1, "F", None) == "id1"
    assert len({is_same_card("id", c, f, k) for c in (1, 2) for f in ("F", "G") for k in ("email:a", "email:b")}) == 8


def test_flutterwave_cards_have_a_fingerprint() -> None:
    card = {"first_6digits": "553188", "last_4digits": "2950", "expiry": "09/32", "country": "NG NIGERIA", "type": "X"}
    prints = set()
    for token, change in (("a", {}), ("b", {}), ("c", {"last_4digits": "2951"}), ("d", {"expiry": "10/32"})):
        found = saved_method({"card": {**card, **change, "token": f"flw-t1nf-{token}"}})
        assert found is not None
        assert found.fingerprint is not None
        assert "553188" not in found.fingerprint
        prints.add(found.fingerprint)
    assert len(prints) == 3
