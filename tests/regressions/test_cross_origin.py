"""A script on a shop's own page can use a publishable key: CORS for its three calls, and for nothing else.

Source: https://github.com/gauravmehta13/razorpay_web/issues/15 and https://github.com/dubinc/dub/pull/2737.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.routing import APIRoute

from polytill.web.api.auth import PracticeCaller
from polytill.web.api.cors import _PUBLISHABLE
from tests.installation import Installation
from tests.web.support import Practice

SHOP = {"Origin": "https://shop.example"}
ASKS = {**SHOP, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}


async def _publishable(practice: Practice) -> str:
    return str((await practice.call("POST", "/keys", {"kind": "publishable"})).body["key"])


async def test_the_three_calls(installation: Installation) -> None:
    practice = await Practice.make(installation, "paystack")
    key = await _publishable(practice)
    made = (await practice.create()).body
    for path in (
        "/payment-providers/available",
        "/payment-providers/for-currency/NGN?amount=5000",
        f"/payments/{made['id']}?clientToken={made['clientToken']}",
    ):
        asked = await installation.call("OPTIONS", practice.base + path, headers=ASKS)
        assert (asked.status, asked.body) == (204, "")
        assert asked.headers["Access-Control-Allow-Origin"] == "*"
        assert asked.headers["Access-Control-Allow-Methods"] == "GET"
        assert "Authorization" in asked.headers["Access-Control-Allow-Headers"]
        assert int(asked.headers["Access-Control-Max-Age"]) > 0
        assert "Origin" in asked.headers["Vary"]
        for where, sent, status in (
            (path, key, 200),
            (path, None, 401),
            (path, "pt_pub_wrong", 401),
            (
                path.replace("NGN", "XXX").replace("available", "available?currency=x").replace("?clientToken", "?no"),
                key,
                (422, 403),
            ),
        ):
            found = await installation.call("GET", practice.base + where, sent, headers=SHOP)
            assert found.status == status or found.status in (status if isinstance(status, tuple) else ()), found.body
            assert found.headers["Access-Control-Allow-Origin"] == "*"
            assert "Origin" in found.headers["Vary"]
            assert "Access-Control-Allow-Credentials" not in found.headers
        missing = await installation.call("GET", f"/api/practices/999{path}", key, headers=SHOP)
        assert (missing.status, missing.headers["Access-Control-Allow-Origin"]) == (404, "*")
        secret = await installation.call("GET", practice.base + path, practice.key, headers=SHOP)
        assert secret.status == 200
        assert "Access-Control-Allow-Origin" not in secret.headers
        plain = await installation.call("GET", practice.base + path, key)
        assert "Access-Control-Allow-Origin" not in plain.headers
        assert "Origin" in plain.headers["Vary"]


async def test_a_fault_of_ours_can_be_read_as_well(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    practice = await Practice.make(installation, "paystack")
    key = await _publishable(practice)

    async def broken(*_: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(type(installation.till.context), "configured", broken)
    found = await installation.call("GET", f"{practice.base}/payment-providers/available", key, headers=SHOP)
    assert (found.status, found.headers["Access-Control-Allow-Origin"]) == (500, "*")


async def test_nothing_else(installation: Installation) -> None:
    practice = await Practice.make(installation, "paystack")
    key = await _publishable(practice)
    made = (await practice.create()).body
    for method, path in (
        ("GET", f"{practice.base}/payments"),
        ("GET", f"{practice.base}/payment-providers"),
        ("GET", f"/pay/{made['clientToken']}"),
        ("GET", "/healthz"),
        ("GET", "/openapi.json"),
        ("GET", "/api/owner/practices"),
        ("POST", f"{practice.base}/payments/{made['id']}/confirm"),
        ("GET", "/static/checkout.css"),
        ("GET", f"/practice/{practice.id}/login"),
        ("POST", f"{practice.base}/payments/{made['id']}"),
    ):
        asked = await installation.call("OPTIONS", path, headers={**ASKS, "Access-Control-Request-Method": method})
        found = await installation.call(method, path, key, headers=SHOP)
        assert "Access-Control-Allow-Origin" not in found.headers, path
        if path != f"{practice.base}/payments/{made['id']}":
            assert not [name for name in asked.headers if name.lower().startswith("access-control")], path
        else:
            assert asked.headers["Access-Control-Allow-Methods"] == "GET"


def _publishable_routes(routes: list[Any]) -> Iterator[str]:
    for route in routes:
        if isinstance(route, APIRoute):
            calls = [dependency.call for dependency in route.dependant.dependencies]
            if any(isinstance(call, PracticeCaller) and call.publishable for call in calls):
                assert route.methods == {"GET"}
                yield route.path
        elif hasattr(route, "original_router"):
            yield from _publishable_routes(route.original_router.routes)


async def test_cors_is_for_the_calls_of_a_publishable_key(installation: Installation) -> None:
    found = list(_publishable_routes(list(installation.app.router.routes)))
    assert len(found) == 3
    for path in found:
        assert _PUBLISHABLE.fullmatch(re.sub(r"{[^}]*}", "7", path)), path
