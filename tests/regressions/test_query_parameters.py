"""A query parameter that an operation does not have is refused: a filter that is ignored answers with everything.

Source: the review of operations, "Integrate": ``?type=`` and ``?practiceId=`` on the feed were ignored.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from fastapi.routing import APIRoute

from tests.installation import Installation
from tests.web.support import Practice, snapshot


@pytest.mark.parametrize("query", ["type=payment.failed", "practiceId=7", "after=0&After=3", "limit=5&limit=9"])
async def test_the_feed(installation: Installation, query: str) -> None:
    found = await installation.call("GET", f"/api/owner/events?{query}", installation.owner_key)
    assert (found.status, found.body["code"]) == (422, "invalid")
    name = query.split("&")[-1].partition("=")[0]
    assert [error["pointer"] for error in found.body["errors"]] == [f"query:{name}"]


def _operations(routes: list[Any]) -> list[tuple[str, str]]:
    found = []
    for route in routes:
        if isinstance(route, APIRoute) and route.path.startswith("/api/"):
            found += [(method, route.path) for method in route.methods or ()]
        elif hasattr(route, "original_router"):
            found += _operations(route.original_router.routes)
    return found


async def test_every_operation_of_the_api(installation: Installation) -> None:
    practice = await Practice.make(installation, "paystack")
    before = await snapshot(installation, practice.id)
    operations = _operations(list(installation.app.router.routes))
    assert len(operations) > 50
    for method, path in operations:
        key = installation.owner_key if path.startswith("/api/owner") else practice.key
        path = re.sub(r"{[^}]*}", "1", path.replace("{practiceId}", str(practice.id)))
        found = await installation.call(method, f"{path}?providrCode=x", key, {} if method != "GET" else None)
        assert found.status == 422, (method, path, found.body)
        assert "query:providrCode" in [error["pointer"] for error in found.body["errors"]], (method, path, found.body)
        assert (await installation.call(method, f"{path}?providrCode=x", "pt_owner_wrong")).status == 401
    assert await snapshot(installation, practice.id) == before
