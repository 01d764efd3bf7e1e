"""Stripe's rules on the wire: amounts, parameters, keys, idempotency, expiry, pages."""

from __future__ import annotations

import base64

import pytest

from tests.simulator.conftest import STRIPE_KEY, Client

BACK = "http://127.0.0.1:9/back"
CARD = {"payment_method": "pm_card_visa", "confirm": "true", "return_url": BACK}


@pytest.mark.parametrize(
    ("currency", "wire", "minor", "fee"),
    [
        ("usd", 1000, 1000, 59),
        ("jpy", 500, 500, 45),
        ("xof", 5000, 5000, 175),
        ("ugx", 500_000, 5000, 175),
        ("isk", 50_000, 500, 45),
        ("mga", 1000, 100_000, 2930),
        ("kwd", 5120, 5120, 178),
        ("ngn", 100, 100, 33),
    ],
)
async def test_amounts_are_booked_in_minor_units(
    client: Client, currency: str, wire: int, minor: int, fee: int
) -> None:
    paid = await client.paid_intent("amount", wire, currency)
    assert (paid["amount"], paid["amount_received"]) == (wire, wire)
    row = (await client.book(reference="amount"))[0]
    assert (row["amount"], row["captured"], row["fee"], row["currency"]) == (minor, minor, fee, currency.upper())


@pytest.mark.parametrize(
    ("currency", "amount", "code"),
    [
        ("usd", "49", "amount_too_small"),
        ("gbp", "29", "amount_too_small"),
        ("jpy", "49", "amount_too_small"),
        ("mxn", "999", "amount_too_small"),
        ("usd", "1000000000000", "amount_too_large"),
        ("ugx", "550", "parameter_invalid_integer"),
        ("isk", "101", "parameter_invalid_integer"),
        ("kwd", "5124", "parameter_invalid_integer"),
        ("usd", "10.5", "parameter_invalid_integer"),
        ("usd", "-5", "parameter_invalid_integer"),
        ("usd", "0", "parameter_invalid_integer"),
        ("usd", "", "parameter_missing"),
        ("irr", "5000", None),
        ("usdollar", "5000", None),
    ],
)
async def test_amounts_that_stripe_refuses(client: Client, currency: str, amount: str, code: str | None) -> None:
    reply = await client.stripe("POST", "/payment_intents", {"amount": amount, "currency": currency})
    assert (reply.status, reply.json["error"].get("code")) == (400, code)
    assert reply.json["error"]["type"] == "invalid_request_error"
    assert await client.book() == []


@pytest.mark.parametrize(
    ("form", "code", "param"),
    [
        ({"paint": "red"}, "parameter_unknown", "paint"),
        ({"payment_method_types[0]": "card"}, "payment_method_types_no_longer_supported", "payment_method_types"),
        ({"payment_method": "pm_unknown"}, "resource_missing", "payment_method"),
        ({"customer": "cus_unknown"}, "resource_missing", "customer"),
        ({"return_url": BACK}, None, "return_url"),
        ({"confirm": "true", "payment_method": "pm_card_visa"}, None, "return_url"),
        ({"confirm": "yes"}, None, "confirm"),
        ({"capture_method": "later"}, None, "capture_method"),
        ({"metadata": "text"}, None, "metadata"),
        ({"automatic_payment_methods": "yes"}, None, "automatic_payment_methods"),
        (
            {"automatic_payment_methods[enabled]": "true", "allowed_payment_method_types[]": "card"},
            None,
            "allowed_payment_method_types",
        ),
    ],
)
async def test_parameters_that_stripe_refuses(
    client: Client, form: dict[str, str], code: str | None, param: str
) -> None:
    reply = await client.stripe("POST", "/payment_intents", {"amount": "2000", "currency": "usd", **form})
    assert reply.status in (400, 404)
    assert (reply.json["error"].get("code"), reply.json["error"].get("param")) == (code, param)
    assert reply.headers["Request-Id"].startswith("req_")
    assert await client.book() == []


@pytest.mark.parametrize(
    ("card", "code", "decline"),
    [
        ("pm_card_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", "expired_card"),
        ("pm_card_visa_chargeDeclinedIncorrectCvc", "incorrect_cvc", "incorrect_cvc"),
        ("pm_card_chargeDeclinedProcessingError", "processing_error", "processing_error"),
        ("pm_card_chargeDeclinedFraudulent", "card_declined", "fraudulent"),
    ],
)
async def test_declines(client: Client, card: str, code: str, decline: str) -> None:
    form = {"amount": "2000", "currency": "usd", **CARD, "payment_method": card}
    reply = await client.stripe("POST", "/payment_intents", form)
    error = reply.json["error"]
    assert (reply.status, error["type"], error["code"], error["decline_code"]) == (402, "card_error", code, decline)
    assert error["payment_intent"]["status"] == "requires_payment_method"
    assert error["payment_intent"]["last_payment_error"]["code"] == code
    charge = await client.stripe("GET", f"/charges/{error['charge']}")
    assert (charge.json["status"], charge.json["failure_code"]) == ("failed", code)
    assert [row["status"] for row in await client.book()] == ["failed"]


async def test_basic_and_bearer_reach_the_same_account(client: Client) -> None:
    made = await client.new_intent("who")
    basic = "Basic " + base64.b64encode(f"{STRIPE_KEY}:".encode()).decode()
    path = f"/stripe/v1/payment_intents/{made['id']}"
    assert (await client.send("GET", path, headers={"Authorization": basic})).status == 200
    for header in ("Basic !!!", "Basic", "Bearer", "Bearer pk_test_0123456789", f"Token {STRIPE_KEY}"):
        assert (await client.send("GET", path, headers={"Authorization": header})).status == 401


async def test_the_key_decides_the_mode(client: Client) -> None:
    assert (await client.new_intent("mode"))["livemode"] is False
    client.keys["stripe"] = "rk_live_0123456789"
    assert (await client.new_intent("mode"))["livemode"] is True


async def test_idempotency(client: Client) -> None:
    form = {"amount": "2000", "currency": "usd"}
    key = {"headers": {"Idempotency-Key": "one"}}
    first = await client.stripe("POST", "/payment_intents", form, **key)
    again = await client.stripe("POST", "/payment_intents", dict(reversed(form.items())), **key)
    assert (first.status, again.text) == (200, first.text)
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.headers["Request-Id"] == first.headers["Request-Id"]
    other = await client.stripe("POST", "/payment_intents", {**form, "amount": "2001"}, **key)
    assert (other.status, other.json["error"]["type"]) == (400, "idempotency_error")
    elsewhere = await client.stripe("POST", "/refunds", form, **key)
    assert (elsewhere.status, elsewhere.json["error"]["type"]) == (400, "idempotency_error")
    client.keys["stripe"] = "sk_test_SomebodyElse"
    stranger = await client.stripe("POST", "/payment_intents", form, **key)
    assert stranger.json["id"] != first.json["id"]
    assert "Idempotent-Replayed" not in stranger.headers
    client.keys["stripe"] = STRIPE_KEY
    await client.control("POST", "/clock", {"advanceSeconds": 86_401})
    later = await client.stripe("POST", "/payment_intents", form, **key)
    assert later.json["id"] != first.json["id"]


async def test_what_a_key_keeps(client: Client) -> None:
    """The result of a decline is stored for the key; that of a request that could not be parsed is not."""
    key = {"headers": {"Idempotency-Key": "kept"}}
    wrong = await client.stripe("POST", "/payment_intents", {"amount": "1", "currency": "usd"}, **key)
    assert wrong.status == 400
    form = {"amount": "2000", "currency": "usd", **CARD, "payment_method": "pm_card_chargeDeclined"}
    declined = await client.stripe("POST", "/payment_intents", form, **key)
    again = await client.stripe("POST", "/payment_intents", form, **key)
    assert (declined.status, again.status, again.text) == (402, 402, declined.text)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len(await client.book()) == 1


async def test_expansion(client: Client) -> None:
    made = await client.paid_intent("expand")
    path = f"/payment_intents/{made['id']}"
    assert isinstance(made["latest_charge"], str)
    seen = (
        await client.stripe("GET", f"{path}?expand[]=latest_charge.balance_transaction&expand[]=payment_method")
    ).json
    assert seen["latest_charge"]["balance_transaction"]["fee"] == 88
    assert seen["payment_method"]["card"]["last4"] == "4242"
    rows = (await client.stripe("GET", "/payment_intents?expand[]=data.latest_charge")).json["data"]
    assert rows[0]["latest_charge"]["id"] == made["latest_charge"]
    bad = await client.stripe("GET", f"{path}?expand[]=amount")
    assert (bad.status, "cannot be expanded" in bad.json["error"]["message"]) == (400, True)


async def test_a_list_by_time_finds_what_an_answer_lost(client: Client) -> None:
    await client.new_intent("lost")
    row = (await client.book(reference="lost"))[0]
    listed = (await client.stripe("GET", "/payment_intents?created[gte]=1000000000&limit=100")).json
    assert [(item["id"], item["metadata"]) for item in listed["data"]] == [(row["id"], {"polytill_attempt": "lost"})]
    for query in ("limit=0", "limit=x", "created[gte]=soon", "created[near]=1", "starting_after=pi_no", "paint=red"):
        assert (await client.stripe("GET", f"/payment_intents?{query}")).status in (400, 404), query


async def test_updating(client: Client) -> None:
    made = await client.new_intent("before")
    form = {"amount": "2100", "metadata[polytill_attempt]": "after", "metadata[note]": "x"}
    changed = (await client.stripe("POST", f"/payment_intents/{made['id']}", form)).json
    assert (changed["amount"], changed["metadata"]) == (2100, {"polytill_attempt": "after", "note": "x"})
    removed = (await client.stripe("POST", f"/payment_intents/{made['id']}", {"metadata[note]": ""})).json
    assert removed["metadata"] == {"polytill_attempt": "after"}
    assert [row["amount"] for row in await client.book(reference="after")] == [2100]
    await client.pay("after")
    late = await client.stripe("POST", f"/payment_intents/{made['id']}", {"amount": "1"})
    assert (late.status, late.json["error"]["code"]) == (400, "payment_intent_unexpected_state")


async def test_an_authorization_ends_after_a_week(client: Client) -> None:
    held = await client.paid_intent("held", capture_method="manual")
    assert (held["status"], (await client.book())[0]["status"]) == ("requires_capture", "authorized")
    await client.control("POST", "/clock", {"advanceSeconds": 7 * 86_400 + 1})
    seen = (await client.stripe("GET", f"/payment_intents/{held['id']}")).json
    assert (seen["status"], seen["cancellation_reason"]) == ("canceled", "automatic")
    assert seen["canceled_at"] == seen["created"] + 7 * 86_400
    late = await client.stripe("POST", f"/payment_intents/{held['id']}/capture")
    assert late.status == 400


async def test_refunds_that_come_later(client: Client) -> None:
    for card, end in (("pm_card_pendingRefund", "succeeded"), ("pm_card_refundFail", "failed")):
        paid = await client.paid_intent(card, payment_method=card)
        made = (await client.stripe("POST", "/refunds", {"payment_intent": paid["id"], "amount": "500"})).json
        assert made["status"] == ("pending" if end == "succeeded" else "succeeded")
        await client.control("POST", "/clock", {"advanceSeconds": 2})
        assert (await client.stripe("GET", f"/refunds/{made['id']}")).json["status"] == end
        charge = (await client.stripe("GET", f"/charges/{paid['latest_charge']}")).json
        assert charge["amount_refunded"] == (500 if end == "succeeded" else 0)
        assert (await client.book(reference=card))[0]["refunded"] == (500 if end == "succeeded" else 0)


async def test_saved_cards(client: Client) -> None:
    customer = (await client.stripe("POST", "/customers", {"email": "ada@example.com"})).json["id"]
    paid = await client.paid_intent("save", customer=customer, setup_future_usage="off_session")
    cards = (await client.stripe("GET", f"/customers/{customer}/payment_methods")).json["data"]
    assert [card["id"] for card in cards] == [paid["payment_method"]]
    form = {"amount": "700", "currency": "usd", "customer": customer, "payment_method": cards[0]["id"]}
    again = await client.stripe("POST", "/payment_intents", {**form, "confirm": "true", "off_session": "true"})
    assert (again.status, again.json["status"]) == (200, "succeeded")


async def test_the_page_that_stands_in_for_the_card_form(client: Client) -> None:
    made = await client.new_intent("<b>page</b>", description="<script>alert(1)</script>")
    path = f"/stripe/pay/{made['id']}"
    shown = await client.send("GET", f"{path}?payment_intent_client_secret={made['client_secret']}&return_url={BACK}")
    assert shown.status == 200
    assert "<script>" not in shown.text
    assert "&lt;script&gt;" in shown.text
    assert "USD 20.00" in shown.text
    assert f'name="return_url" value="{BACK}"' in shown.text
    assert (await client.send("GET", f"{path}?client_secret=pi_wrong")).status == 404
    evil = await client.send("GET", f"{path}?return_url=javascript:alert(1)")
    assert "javascript" not in evil.text
    declined = await client.send("POST", path, data={"outcome": "decline", "return_url": BACK})
    assert declined.status == 303
    assert "redirect_status=failed" in declined.headers["Location"]
    nowhere = await client.send("POST", path, data={"outcome": "decline", "return_url": "javascript:alert(1)"})
    assert (nowhere.status, "javascript" in nowhere.text) == (200, False)
    left = await client.send("POST", path, data={"outcome": "abandon"})
    assert "You left without paying" in left.text
    paid = await client.send("POST", path, data={"outcome": "success", "return_url": BACK})
    expected = f"{BACK}?payment_intent={made['id']}&payment_intent_client_secret={made['client_secret']}"
    assert paid.headers["Location"] == f"{expected}&redirect_status=succeeded"
    assert "complete" in (await client.send("GET", path)).text
    assert (await client.send("POST", path, data={"outcome": "success"})).status == 409
    assert (await client.book())[0]["captured"] == 2000
    assert (await client.send("GET", "/stripe/pay/pi_nothing")).status == 404
    assert (await client.send("POST", path, data={"outcome": "explode"})).status == 400


async def test_a_failed_authentication(client: Client) -> None:
    made = await client.paid_intent("3ds", payment_method="pm_card_authenticationRequired")
    page = made["next_action"]["redirect_to_url"]["url"]
    failed = await client.send("POST", page, data={"outcome": "decline"})
    assert failed.headers["Location"].startswith(f"{BACK}?payment_intent={made['id']}")
    assert failed.headers["Location"].endswith("redirect_status=failed")
    seen = (await client.stripe("GET", f"/payment_intents/{made['id']}")).json
    assert seen["status"] == "requires_payment_method"
    assert seen["last_payment_error"]["code"] == "payment_intent_authentication_failure"
    assert seen["next_action"] is None


async def test_a_session_expires_by_itself(client: Client) -> None:
    form = {
        "mode": "payment",
        "success_url": BACK,
        "line_items[0][price_data][currency]": "usd",
        "line_items[0][price_data][unit_amount]": "500",
        "line_items[0][price_data][product_data][name]": "Visit",
        "line_items[0][quantity]": "1",
        "metadata[polytill_attempt]": "session",
    }
    made = (await client.stripe("POST", "/checkout/sessions", form)).json
    assert made["expires_at"] - made["created"] == 86_400
    await client.control("POST", "/clock", {"advanceSeconds": 86_400})
    assert (await client.stripe("GET", f"/checkout/sessions/{made['id']}")).json["status"] == "expired"
    assert (await client.book(reference="session"))[0]["status"] == "canceled"
    late = await client.control("POST", "/pay/session", {"outcome": "success"})
    assert (late.status, late.json["code"]) == (409, "not_payable")


async def test_webhook_endpoints_stay_on_this_machine(client: Client) -> None:
    form = {"url": "https://merchant.example.com/hook", "enabled_events[]": "*"}
    reply = await client.stripe("POST", "/webhook_endpoints", form)
    assert (reply.status, reply.json["error"]["code"]) == (400, "url_invalid")


async def test_unknown_addresses(client: Client) -> None:
    reply = await client.stripe("GET", "/moonbeams")
    assert (reply.status, reply.json["error"]["type"]) == (404, "invalid_request_error")
