"""The contract of payments and refunds: fields, repeats, lists, filters, pages, and who may call what."""

from __future__ import annotations

import asyncio

import pytest

from tests.installation import Installation
from tests.web.support import CURRENCY, PROVIDERS, Json, Practice, fresh, is_problem
from tests.web.test_contract import ATTEMPT, PAYMENT, has

pytestmark = pytest.mark.asyncio(loop_scope="module")


def seen(payment: Json) -> Json:
    """A payment without when it was touched: deliveries come in between."""
    attempts = [{**attempt, "updatedAt": ""} for attempt in payment["attempts"]]
    return {**payment, "updatedAt": "", "attempts": attempts}


@pytest.mark.parametrize("code", PROVIDERS)
async def test_create_and_read(shared: Installation, code: str) -> None:
    practice = await Practice.make(shared, code)
    more = {
        "description": "Filling",
        "reference": "INV-7",
        "metadata": {"tooth": "12"},
        "returnUrl": "https://a.example/x",
    }
    made = await practice.create(10_000, idempotency="k1", **more)
    assert made.status == 201
    has(made.body, PAYMENT)
    has(made.body["attempts"][0], ATTEMPT)
    for name, value in {**more, "amount": 10_000, "currency": CURRENCY[code], "providerCode": code}.items():
        assert made.body[name] == value
    assert made.body["customer"] == {"email": "ada@example.com", "name": None, "phone": None}
    assert "Idempotent-Replayed" not in made.headers
    again = await practice.create(10_000, idempotency="k1", **more)
    assert (again.status, again.headers["Idempotent-Replayed"]) == (201, "true")
    assert seen(again.body) == seen(made.body)
    other = await practice.create(10_001, idempotency="k1", **more)
    is_problem(other, 409, "idempotency_key_reused")
    assert len(await practice.books()) == 1
    got = await practice.call("GET", f"/payments/{made.body['id']}")
    assert (got.status, seen(got.body)) == (200, seen(made.body))
    # A repeat shows the present state, not the first one.
    await practice.act(made.body["attempts"][0]["reference"])
    await practice.settled(made.body["id"], status="succeeded")
    later = await practice.create(10_000, idempotency="k1", **more)
    assert (later.status, later.body["status"], later.body["nextAction"]) == (201, "succeeded", None)


@pytest.mark.parametrize("code", PROVIDERS)
async def test_the_same_key_twenty_times_at_once(shared: Installation, code: str) -> None:
    practice = await Practice.make(shared, code)
    answers = await asyncio.gather(*(practice.create(10_000, idempotency="once") for _ in range(20)))
    assert {a.status for a in answers} == {201}
    assert len({a.body["id"] for a in answers}) == 1
    assert sum("Idempotent-Replayed" not in a.headers for a in answers) == 1
    payment = await practice.payment(answers[0].body["id"])
    assert len(payment["attempts"]) == 1
    await practice.act(payment["attempts"][0]["reference"])
    await practice.settled(payment["id"], status="succeeded")
    assert [row["captured"] for row in await practice.books()] == [10_000]


@pytest.mark.parametrize("code", PROVIDERS)
async def test_refunds(shared: Installation, code: str) -> None:
    practice = await Practice.make(shared, code)
    open_one = (await practice.create(10_000)).body
    is_problem(await practice.refund(open_one["id"]), 409, "not_refundable")
    payment = await practice.paid(10_000)
    path = f"/payments/{payment['id']}/refunds"
    for amount in (0, -1, 10.5, "5", True):
        is_problem(await practice.call("POST", path, {"amount": amount}, idempotency=fresh()), 422, "invalid")
    is_problem(await practice.refund(payment["id"], 10_001), 409, "refund_exceeds_captured")
    made = await practice.call("POST", path, {"amount": 4_000, "reason": "Too late"}, idempotency="r1")
    assert made.status == 201
    has(made.body, "id, status, amount, paymentId, currency, reason, environment, createdAt, updatedAt")
    assert (made.body["amount"], made.body["reason"], made.body["paymentId"]) == (4_000, "Too late", payment["id"])
    again = await practice.call("POST", path, {"amount": 4_000, "reason": "Too late"}, idempotency="r1")
    assert (again.status, again.headers["Idempotent-Replayed"], again.body["id"]) == (201, "true", made.body["id"])
    reused = await practice.call("POST", path, {"amount": 5_000}, idempotency="r1")
    is_problem(reused, 409, "idempotency_key_reused")
    is_problem(await practice.refund(payment["id"], 6_001), 409, "refund_exceeds_captured")
    rest = await practice.refund(payment["id"])
    assert (rest.status, rest.body["amount"]) == (201, 6_000)
    is_problem(await practice.refund(payment["id"]), 409, "refund_exceeds_captured")
    await practice.settled(payment["id"], amountRefunded=10_000)
    listed = await practice.call("GET", path)
    assert [(r["id"], r["amount"]) for r in listed.body] == [(made.body["id"], 4_000), (rest.body["id"], 6_000)]
    one = await practice.call("GET", f"{path}/{made.body['id']}")
    assert (one.status, one.body["id"]) == (200, made.body["id"])
    is_problem(await practice.call("GET", f"{path}/none"), 404, "not_found")
    assert [(b["captured"], b["refunded"]) for b in await practice.books()] == [(0, 0), (10_000, 10_000)]


@pytest.mark.parametrize("code", PROVIDERS)
async def test_concurrent_refunds_never_exceed(shared: Installation, code: str) -> None:
    practice = await Practice.make(shared, code)
    payment = await practice.paid(10_000)
    answers = await asyncio.gather(*(practice.refund(payment["id"], 6_000) for _ in range(6)))
    assert sorted(a.status for a in answers) == [201, 409, 409, 409, 409, 409]
    assert {a.body["code"] for a in answers if a.status == 409} == {"refund_exceeds_captured"}
    await practice.settled(payment["id"], amountRefunded=6_000)
    assert [row["refunded"] for row in await practice.books()] == [6_000]


async def test_hold_capture_and_cancel(shared: Installation) -> None:
    practice = await Practice.make(shared, "stripe")
    made = (await practice.create(10_000, capture="manual")).body
    path = f"/payments/{made['id']}"
    is_problem(await practice.call("POST", f"{path}/capture", {}, idempotency=fresh()), 409, "not_capturable")
    await practice.act(made["attempts"][0]["reference"])
    held = await practice.settled(made["id"], status="authorized")
    assert (held["amountAuthorized"], held["amountCaptured"]) == (10_000, 0)
    is_problem(await practice.call("POST", f"{path}/capture", {"amount": 10_001}, idempotency=fresh()), 422, "invalid")
    taken = await practice.call("POST", f"{path}/capture", {"amount": 6_000}, idempotency="c1")
    assert (taken.status, taken.body["status"], taken.body["amountCaptured"]) == (200, "succeeded", 6_000)
    again = await practice.call("POST", f"{path}/capture", {"amount": 6_000}, idempotency="c1")
    assert (again.status, again.headers["Idempotent-Replayed"]) == (200, "true")
    is_problem(await practice.call("POST", f"{path}/capture", {"amount": 1}, idempotency="c1"), 409)
    is_problem(await practice.call("POST", f"{path}/cancel", {}, idempotency=fresh()), 409, "not_cancelable")
    assert [row["captured"] for row in await practice.books()] == [6_000]


@pytest.mark.parametrize("code", PROVIDERS)
async def test_cancel(shared: Installation, code: str) -> None:
    practice = await Practice.make(shared, code)
    made = (await practice.create(10_000)).body
    path = f"/payments/{made['id']}/cancel"
    gone = await practice.call("POST", path, None, idempotency="x1")
    assert (gone.status, gone.body["status"], gone.body["cancelReason"]) == (200, "canceled", "canceled")
    assert gone.body["nextAction"] is None
    again = await practice.call("POST", path, {}, idempotency="x1")
    assert (again.status, again.body["status"], again.headers["Idempotent-Replayed"]) == (200, "canceled", "true")


async def test_pages_and_filters(shared: Installation) -> None:
    practice = await Practice.make(shared, "paystack")
    await practice.configure("stripe", ["USD"])
    made = []
    for number in range(7):
        currency, email = ("USD" if number % 3 == 2 else "NGN"), {"email": "a@b.example"}
        body = {"amount": 5_000 + number, "currency": currency, "customer": email, "reference": f"INV-{number}"}
        made.append((await practice.call("POST", "/payments", body, idempotency=fresh())).body)
    await practice.call("POST", f"/payments/{made[2]['id']}/cancel", idempotency=fresh())

    async def ids(query: str) -> list[str]:
        found = await practice.call("GET", f"/payments?{query}")
        assert found.status == 200, found.body
        assert found.body.keys() == {"data", "nextCursor", "environment"}
        return [payment["id"] for payment in found.body["data"]]

    newest_first = [payment["id"] for payment in reversed(made)]
    assert await ids("") == newest_first
    seen, cursor, pages = [], "", 0
    while True:
        page = (await practice.call("GET", f"/payments?limit=3{cursor}")).body
        seen += [payment["id"] for payment in page["data"]]
        pages += 1
        if page["nextCursor"] is None:
            break
        cursor = f"&cursor={page['nextCursor']}"
        if pages == 1:  # what comes in between does not shift the pages
            await practice.create(9_000, currency="NGN")
    assert (seen, pages) == (newest_first, 3)
    assert await ids("currency=USD") == [made[5]["id"], made[2]["id"]]
    assert await ids("providerCode=stripe&status=canceled") == [made[2]["id"]]
    assert await ids("reference=INV-3") == [made[3]["id"]]
    assert await ids("environment=production") == []
    assert await ids("status=succeeded") == []
    assert set(await ids(f"createdFrom={made[4]['createdAt']}")) >= {made[5]["id"], made[6]["id"]}
    assert made[0]["id"] not in await ids(f"createdFrom={made[4]['createdAt']}")
    assert await ids("createdTo=2020-01-01T00:00:00Z") == []


async def test_who_may_call_what(shared: Installation) -> None:
    one, other = await Practice.make(shared, "paystack"), await Practice.make(shared, "paystack")
    payment = await one.paid(10_000)
    event = (await one.call("GET", "/webhook-events")).body[0]
    calls = [
        ("GET", "/payment-providers/available", None), ("GET", "/payment-providers", None), ("GET", "/payments", None),
        ("POST", "/payment-providers", {}), ("GET", "/payment-providers/for-currency/NGN", None),
        ("PATCH", "/payment-providers/paystack", {}), ("DELETE", "/payment-providers/paystack", None),
        ("POST", "/payment-providers/paystack/test", None), ("POST", "/payment-providers/paystack/activate", {}),
        ("PUT", "/payment-providers/paystack/credentials/sandbox", {}), ("GET", "/payment-providers/paystack", None),
        ("POST", "/payments", {}), ("GET", f"/payments/{payment['id']}", None),
        ("POST", f"/payments/{payment['id']}/confirm", None), ("POST", f"/payments/{payment['id']}/capture", {}),
        ("POST", f"/payments/{payment['id']}/cancel", {}), ("POST", f"/payments/{payment['id']}/refunds", {}),
        ("GET", f"/payments/{payment['id']}/refunds", None), ("GET", f"/payments/{payment['id']}/refunds/x", None),
        ("GET", "/webhook-events", None), ("POST", f"/webhook-events/{event['id']}/replay", None),
        ("GET", "/audit-log", None), ("GET", "/ledger", None), ("GET", "/people", None), ("GET", "/keys", None),
        ("POST", "/keys", {}), ("DELETE", "/keys/1", None),
        ("POST", f"/payments/{payment['id']}/confirm-manually", {}), ("GET", "/cases", None), ("GET", "/cases/x", None),
        ("POST", "/cases/x/resolve", {}), ("POST", "/payment-links", {}), ("GET", "/payment-links", None),
        ("GET", "/payment-links/x", None), ("POST", "/payment-links/x/close", None), ("GET", "/checkout", None),
        ("PUT", "/checkout", {}), ("POST", f"/payments/{payment['id']}/continue", {}),
        ("GET", "/saved-methods", None), ("DELETE", "/saved-methods/x", None),
        ("POST", "/payment-providers/decide", {}), ("POST", "/payment-providers/simulate-routing", {}),
        ("PUT", "/payment-providers/paystack/webhook-relay/sandbox", {}),
        ("DELETE", "/payment-providers/paystack/webhook-relay/sandbox", None),
        ("GET", f"/payments/{payment['id']}/decision", None), ("GET", "/routing-policies/sandbox", None),
        ("POST", "/routing-policies/sandbox", {}), ("POST", "/routing-policies/sandbox/rollback", {}),
        ("GET", "/routing-policies/sandbox/1", None), ("PUT", "/routing-policies/sandbox/1", {}),
        ("POST", "/routing-policies/sandbox/1/publish", {}), ("POST", "/webhook-events/dismiss", {}),
        ("POST", "/rollout/decisions", {}), ("POST", "/rollout/choice", {}), ("PUT", "/rollout/field", {}),
        ("POST", "/rollout/field-reads", {"reads": []}), ("POST", "/customer-erasures", {}),
    ]  # fmt: skip
    document = (await shared.call("GET", "/openapi.json")).body
    operations = sum(
        len(methods) for path, methods in document["paths"].items() if path.startswith("/api/practices/{practiceId}")
    )
    assert len(calls) == operations  # nothing is left out
    for method, path, body in calls:
        for key, status in ((other.key, 404), (shared.owner_key, 403), (None, 401), (one.key + "x", 401)):
            found = await shared.call(method, one.base + path, key, body, idempotency="any")
            is_problem(found, status)
    # The practice's own address with another practice's things on it.
    for path in (f"/payments/{payment['id']}", f"/payments/{payment['id']}/refunds"):
        is_problem(await other.call("GET", path), 404, "not_found")
    for path in (f"/payments/{payment['id']}/refunds", f"/payments/{payment['id']}/cancel"):
        is_problem(await other.call("POST", path, {}, idempotency=fresh()), 404, "not_found")
    is_problem(await other.call("POST", f"/webhook-events/{event['id']}/replay"), 404, "not_found")
    for path in document["paths"]:
        if path.startswith("/api/owner"):
            address = path.replace("{practiceId}", "1").replace("{code}", "x").replace("{currency}", "NGN")
            for method in document["paths"][path]:
                found = await shared.call(method.upper(), address.replace("{keyId}", "1"), one.key, {})
                is_problem(found, 403, "forbidden")


@pytest.mark.parametrize(("kind", "after"), [("capture", "succeeded"), ("cancel", "canceled")])
async def test_what_was_certainly_not_made_leaves_the_payment_as_it_was(
    shared: Installation, kind: str, after: str
) -> None:
    """The key of a capture or cancel that never arrived replays that; only a new one acts."""
    practice = await Practice.make(shared, "stripe")
    made = (await practice.create(10_000, capture="manual")).body
    await practice.act(made["attempts"][0]["reference"])
    await practice.settled(made["id"], status="authorized")
    await practice.fault(kind, "rate_limit")
    path, key = f"/payments/{made['id']}/{kind}", fresh()
    for replayed in (None, "true"):
        found = await practice.call("POST", path, {}, idempotency=key)
        assert (found.status, found.body["status"]) == (200, "authorized")
        assert found.headers.get("Idempotent-Replayed") == replayed
    found = await practice.call("POST", path, {}, idempotency=fresh())
    assert (found.status, found.body["status"]) == (200, after)


async def test_scopes(shared: Installation) -> None:
    practice = await Practice.make(shared, "paystack")
    payment = await practice.paid(10_000)
    keys = {}
    for scope in ("read", "payments", "refunds", "configure"):
        made = await practice.call("POST", "/keys", {"name": scope, "scopes": [scope]})
        assert made.status == 201
        keys[scope] = made.body["key"]
    calls = {
        "read": ("GET", "/payments", None),
        "payments": ("POST", f"/payments/{payment['id']}/confirm", None),
        "refunds": ("POST", f"/payments/{payment['id']}/refunds", {"amount": 1}),
        "configure": ("POST", "/payment-providers/paystack/test", None),
    }
    for scope, (method, path, body) in calls.items():
        for held, key in keys.items():
            found = await shared.call(method, practice.base + path, key, body, idempotency=fresh())
            if held == scope:
                assert found.status in (200, 201), found.body
            else:
                assert scope in is_problem(found, 403, "forbidden")["detail"]
    wider = await shared.call("POST", f"{practice.base}/keys", keys["configure"], {"scopes": ["refunds"]})
    is_problem(wider, 422, "invalid")
    wider = await shared.call("POST", f"{practice.base}/keys", keys["configure"], {})
    is_problem(wider, 422, "invalid")
    for name, body in (("absent", {}), ("null", {"scopes": None})):
        assert (await practice.call("POST", "/keys", {"name": name, **body})).status == 201
    listed = {k["name"]: k["scopes"] for k in (await practice.call("GET", "/keys")).body}
    assert listed["absent"] == listed["null"] == list(keys)
    [read] = [k for k in (await practice.call("GET", "/keys")).body if k["name"] == "read"]
    assert (await practice.call("DELETE", f"/keys/{read['id']}")).status == 204
    is_problem(await shared.call("GET", f"{practice.base}/payments", keys["read"]), 401, "unauthorized")


async def test_publishable_keys(shared: Installation) -> None:
    practice, other = await Practice.make(shared, "stripe"), await Practice.make(shared, "stripe")
    made = (await practice.create(10_000, metadata={"note": "ours alone"}, reference="INV-1")).body
    key = (await practice.call("POST", "/keys", {"kind": "publishable"})).body["key"]
    assert key.startswith("pt_pub_")
    for path in ("/payment-providers/available", "/payment-providers/for-currency/USD"):
        assert (await shared.call("GET", practice.base + path, key)).status == 200
        is_problem(await shared.call("GET", other.base + path, key), 404)
    path = f"{practice.base}/payments/{made['id']}"
    seen = await shared.call("GET", f"{path}?clientToken={made['clientToken']}", key)
    assert seen.status == 200
    assert seen.body.keys() == {
        "id",
        "number",
        "status",
        "amount",
        "currency",
        "description",
        "nextAction",
        "environment",
        "expiresAt",
        "createdAt",
    }
    assert seen.body["nextAction"]["publicKey"] == practice.keys["publicKey"]
    assert "ours alone" not in str(seen.body)
    is_problem(await shared.call("GET", path, key), 403, "forbidden")
    is_problem(await shared.call("GET", f"{path}?clientToken=wrong", key), 404, "not_found")
    another = (await practice.create(10_000)).body
    is_problem(await shared.call("GET", f"{path}?clientToken={another['clientToken']}", key), 404, "not_found")
    for method, rest in (("GET", "/payments"), ("POST", "/payments"), ("GET", "/payment-providers"), ("GET", "/keys")):
        is_problem(await shared.call(method, practice.base + rest, key, {}, idempotency=fresh()), 403, "forbidden")
    is_problem(await shared.call("GET", "/api/owner/practices", key), 403, "forbidden")
