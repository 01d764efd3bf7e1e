"""The contract on the outside, call by call: every address exists, with its status codes and its fields."""

from __future__ import annotations

import pytest

from tests.installation import TEST_KEYS, Installation
from tests.web.support import Json, Practice, fresh, is_problem

pytestmark = pytest.mark.asyncio(loop_scope="module")

CATALOG_COLUMNS = (
    "id, code, name, description, logoUrl, websiteUrl, documentationUrl, apiBaseUrl, sandboxApiBaseUrl,"
    " supportedCurrencies, supportedPaymentMethods, supportedFeatures, requiresPublicKey, requiresSecretKey,"
    " requiresWebhookSecret, configSchema, status, isDefault, priority, integrationType, handlerModule, createdAt,"
    " updatedAt, createdBy"
)
UNCHANGEABLE = ("id", "code", "createdAt", "updatedAt", "createdBy")
CURRENCY_COLUMNS = "isRecommended, transactionFeePercent, transactionFeeFixed, minAmount, maxAmount, isActive"
AVAILABLE = "code, name, isConfigured, isEnabled, isDefault, environment, isRecommended"
PAYMENT = (
    "id, status, amount, amountCaptured, amountRefunded, currency, providerCode, providerTransactionId, providerFee,"
    " nextAction, clientToken, environment, expiresAt, attempts, createdAt, updatedAt"
)
ATTEMPT = "id, reference, providerCode, status, reason"


def has(body: Json, names: str) -> None:
    missing = [name for name in names.split(", ") if name not in body]
    assert not missing, (missing, body)


async def test_catalog(shared: Installation) -> None:
    listed = await shared.call("GET", "/api/owner/payment-providers", shared.owner_key)
    assert listed.status == 200
    for entry in listed.body:
        has(entry, CATALOG_COLUMNS)
    by_currency = await shared.call("GET", "/api/owner/payment-providers?currency=KES&status=active", shared.owner_key)
    assert {entry["code"] for entry in by_currency.body} == {
        "flutterwave",
        "flutterwave_v4",
        "manual",
        "mpesa",
        "paystack",
        "stripe",
    }
    ngn = await shared.call("GET", "/api/owner/payment-providers?currency=XOF&status=inactive", shared.owner_key)
    assert ngn.body == []

    base, key = "/api/owner/payment-providers", shared.owner_key
    code = f"acme_{fresh('p').replace('-', '_')}"
    is_problem(await shared.call("POST", base, key, {"code": code, "name": "Acme"}), 422, "handler_missing")
    made = await shared.call("POST", base, key, {"code": code, "name": "Acme", "status": "inactive"})
    assert made.status == 201
    has(made.body, CATALOG_COLUMNS)
    assert (made.body["status"], made.body["createdBy"]) == ("inactive", made.body["createdBy"])
    again = await shared.call("POST", base, key, {"code": code, "name": "Acme", "status": "inactive"})
    is_problem(again, 409, "duplicate_code")
    got = await shared.call("GET", f"{base}/{code}", key)
    assert (got.status, got.body) == (200, made.body)
    changed = await shared.call("PATCH", f"{base}/{code}", key, {"description": "Rockets", "priority": 7})
    assert (changed.status, changed.body["description"], changed.body["priority"]) == (200, "Rockets", 7)
    assert changed.body["createdAt"] == made.body["createdAt"]

    nulls = dict.fromkeys(n for n in CATALOG_COLUMNS.split(", ") if n not in UNCHANGEABLE)
    emptied = await shared.call("PATCH", f"{base}/{code}", key, nulls)
    assert emptied.status == 200, emptied.body
    assert (emptied.body["description"], emptied.body["apiBaseUrl"]) == (None, None)
    kept = ("name", "status", "priority", "isDefault", "requiresSecretKey", "integrationType")
    assert all(emptied.body[name] == changed.body[name] for name in kept)

    terms = {"isRecommended": True, "transactionFeePercent": "1.5", "transactionFeeFixed": 100, "minAmount": 5}
    put = await shared.call("PUT", f"{base}/{code}/currencies/EUR", key, terms)
    assert put.status == 200
    has(put.body, CURRENCY_COLUMNS)
    assert put.body == {"currencyCode": "EUR", **terms, "maxAmount": None, "isActive": True}
    currencies = await shared.call("GET", f"{base}/{code}/currencies", key)
    assert (currencies.status, currencies.body) == (200, [put.body])
    assert (await shared.call("GET", f"{base}/{code}", key)).body["supportedCurrencies"] == ["EUR"]
    gone = await shared.call("DELETE", f"{base}/{code}/currencies/EUR", key)
    assert (gone.status, gone.body) == (204, "")
    is_problem(await shared.call("DELETE", f"{base}/{code}/currencies/EUR", key), 404, "not_found")
    is_problem(await shared.call("GET", f"{base}/nobody", key), 404, "not_found")
    is_problem(await shared.call("DELETE", f"{base}/nobody", key), 404, "not_found")


async def test_deprecating_keeps_the_way_back(shared: Installation) -> None:
    practice, late = await Practice.make(shared, "stripe"), await Practice.make(shared, currency="USD")
    payment = await practice.paid(2_000)
    path = "/api/owner/payment-providers/stripe"
    gone = await shared.call("DELETE", path, shared.owner_key)
    try:
        assert (gone.status, gone.body["status"]) == (200, "deprecated")
        refused = await late.call("POST", "/payment-providers", {"providerCode": "stripe", **TEST_KEYS["stripe"]})
        is_problem(refused, 422, "catalog_status")
        assert "stripe" not in [e["code"] for e in (await late.call("GET", "/payment-providers/available")).body]
        assert "stripe" in [e["code"] for e in (await practice.call("GET", "/payment-providers/available")).body]
        assert (await practice.refund(payment["id"])).status == 201
    finally:
        back = await shared.call("PATCH", path, shared.owner_key, {"status": "active"})
        assert back.status == 200


async def test_practices_keys_audit_health(shared: Installation) -> None:
    base, key = "/api/owner", shared.owner_key
    made = await shared.call("POST", f"{base}/practices", key, {"name": "Nairobi Dental", "defaultCurrency": "KES"})
    assert made.status == 201
    has(made.body["practice"], "id, name, defaultCurrency, state, schemaVersion, createdAt, updatedAt")
    assert made.body["key"].startswith("pt_practice_")
    practice_id = made.body["practice"]["id"]
    got = await shared.call("GET", f"{base}/practices/{practice_id}", key)
    assert (got.status, got.body) == (200, made.body["practice"])
    assert got.body in (await shared.call("GET", f"{base}/practices", key)).body
    after = await shared.call("GET", f"{base}/practices?after={practice_id - 1}&limit=1", key)
    assert [p["id"] for p in after.body] == [practice_id]
    changed = await shared.call("PATCH", f"{base}/practices/{practice_id}", key, {"name": "Nairobi"})
    assert (changed.status, changed.body["name"]) == (200, "Nairobi")
    suspended = await shared.call("PATCH", f"{base}/practices/{practice_id}", key, {"state": "suspended"})
    assert suspended.body["state"] == "suspended"
    practice = Practice(shared, practice_id, made.body["key"])
    is_problem(await practice.create(currency="KES"), 403, "forbidden")

    new = await shared.call("POST", f"{base}/keys", key, {"name": "second"})
    assert new.status == 201
    second = new.body["key"]
    assert second.startswith("pt_owner_")
    listed = (await shared.call("GET", f"{base}/keys", second)).body
    [mine] = [k for k in listed if k["name"] == "second"]
    has(mine, "id, kind, name, practiceId, last4, scopes, createdAt, revokedAt")
    assert mine["last4"] == second[-4:]
    assert (await shared.call("DELETE", f"{base}/keys/{mine['id']}", key)).status == 204
    is_problem(await shared.call("GET", f"{base}/keys", second), 401, "unauthorized")

    audit = await shared.call("GET", f"{base}/audit-log?limit=500", key)
    assert audit.status == 200
    has(audit.body[0], "id, at, actor, action, subject, detail")
    assert [line["id"] for line in audit.body] == sorted((line["id"] for line in audit.body), reverse=True)
    actions = {line["action"] for line in audit.body}
    assert actions >= {"practice.created", "practice.changed", "key.created", "key.revoked", "provider.changed"}
    older = await shared.call("GET", f"{base}/audit-log?before={audit.body[0]['id']}&limit=1", key)
    assert older.body == [audit.body[1]]
    clusters = await shared.call("GET", f"{base}/clusters", key)
    assert (clusters.status, clusters.body[0]["name"]) == (200, "default")
    health = await shared.call("GET", f"{base}/health", key)
    assert health.status == 200
    assert health.body["practicesBehind"] == []
    assert health.body["providers"]["stripe"] == {"status": "active", "installed": True}


async def test_configurations(shared: Installation) -> None:
    practice = await Practice.make(shared, currency="NGN")
    available = await practice.call("GET", "/payment-providers/available")
    assert available.status == 200
    for entry in available.body:
        has(entry, AVAILABLE)
    assert [e["code"] for e in available.body] == ["stripe", "paystack", "flutterwave", "flutterwave_v4", "manual"]
    override = (await practice.call("GET", "/payment-providers/available?currency=XOF")).body
    assert {entry["currency"] for entry in override} == {"XOF"}

    body = {
        "providerCode": "paystack",
        "environment": "sandbox",
        "isEnabled": True,
        "isDefault": True,
        "priority": 3,
        "supportedCurrencies": ["NGN", "GHS"],
        **TEST_KEYS["paystack"],
    }
    made = await practice.call("POST", "/payment-providers", body)
    assert made.status == 201
    view = made.body
    assert view["webhookUrl"].startswith(f"{shared.url}/hooks/")
    assert view["publicKey"] == TEST_KEYS["paystack"]["publicKey"]
    assert view["secretKey"] == {"set": True, "last4": "4567", "updatedAt": view["secretKey"]["updatedAt"]}
    assert view["secretKey"]["updatedAt"].endswith("Z")
    assert (view["webhookSecret"]["set"], view["webhookSecret"]["last4"]) == (False, None)
    assert (view["isEnabled"], view["priority"], view["defaultFor"]) == (True, 3, ["GHS", "NGN"])
    again = await practice.call("POST", "/payment-providers", {**body, "priority": 4})
    assert (again.status, again.body["priority"], again.body["webhookUrl"]) == (200, 4, view["webhookUrl"])
    listed = await practice.call("GET", "/payment-providers")
    assert (listed.status, listed.body) == (200, [again.body])
    one = await practice.call("GET", "/payment-providers/paystack")
    assert (one.status, one.body) == (200, again.body)
    changed = await practice.call("PATCH", "/payment-providers/paystack", {"isEnabled": False})
    assert (changed.status, changed.body["isEnabled"], changed.body["secretKey"]["set"]) == (200, False, True)
    nobody = is_problem(
        await practice.call("GET", "/payment-providers/for-currency/NGN"), 404, "no_provider_for_currency"
    )
    assert nobody["errors"] == [{"pointer": "/", "detail": "paystack: Paystack is not enabled for this practice."}]
    await practice.call("PATCH", "/payment-providers/paystack", {"isEnabled": True})
    preview = await practice.call("GET", "/payment-providers/for-currency/NGN?amount=5000&paymentMethod=card")
    assert preview.status == 200
    has(preview.body, "code, name, publicKey, environment, reason")
    for query in ("amount=4999", "paymentMethod=klarna", "capture=manual"):
        out = await practice.call("GET", f"/payment-providers/for-currency/NGN?{query}")
        is_problem(out, 404, "no_provider_for_currency")

    tested = await practice.call("POST", "/payment-providers/paystack/test")
    assert tested.status == 200
    assert tested.body.keys() == {"ok", "environment", "finding", "detail", "testedAt"}
    assert (tested.body["ok"], tested.body["environment"]) == (True, "sandbox")
    live = {name: value.replace("_test_", "_live_") for name, value in TEST_KEYS["paystack"].items()}
    put = await practice.call("PUT", "/payment-providers/paystack/credentials/production", live)
    assert (put.status, put.body["environment"], put.body["preparedEnvironments"]) == (200, "sandbox", ["production"])
    switched = await practice.call("POST", "/payment-providers/paystack/activate", {"environment": "production"})
    assert (switched.status, switched.body["environment"]) == (200, "production")
    assert switched.body["publicKey"] == live["publicKey"]
    gone = await practice.call("DELETE", "/payment-providers/paystack")
    assert gone.status == 204
    is_problem(await practice.call("GET", "/payment-providers/paystack"), 404, "not_found")
    is_problem(await practice.call("DELETE", "/payment-providers/paystack"), 404, "not_found")
    assert (await practice.call("POST", "/payment-providers", body)).status == 201


async def test_wrong_keys_are_told_by_the_test(shared: Installation) -> None:
    practice = await Practice.make(shared, currency="NGN")
    bad = {"secretKey": "sk_test_invalid0123456789abcdef", "publicKey": TEST_KEYS["paystack"]["publicKey"]}
    made = await practice.call("POST", "/payment-providers", {"providerCode": "paystack", **bad})
    assert made.status == 201
    tested = await practice.call("POST", "/payment-providers/paystack/test")
    assert (tested.status, tested.body["ok"]) == (200, False)
    assert bad["secretKey"] not in tested.body["detail"]


async def test_service_addresses(shared: Installation) -> None:
    assert (await shared.call("GET", "/healthz")).body == {"status": "ok"}
    assert (await shared.call("GET", "/readyz")).body["status"] in ("ready", "degraded")
    is_problem(await shared.call("GET", "/metrics"), 404)
    document = await shared.call("GET", "/openapi.json")
    assert document.status == 200
    assert document.body["openapi"].startswith("3.1")
    is_problem(await shared.call("GET", "/api/nothing"), 404, "not_found")
    one, two = [(await shared.call("GET", "/healthz")).headers["X-Request-Id"] for _ in range(2)]
    assert one != two
