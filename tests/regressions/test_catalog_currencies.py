"""A provider gets no currency that it cannot take (pages, D17)."""

from __future__ import annotations

import pytest

from tests.installation import Installation

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_currency_that_a_provider_cannot_take_is_refused(shared: Installation) -> None:
    terms = {"percentage": "1.0", "isActive": True}
    door = "/api/owner/payment-providers"
    before = (await shared.call("GET", f"{door}/mpesa", shared.owner_key)).body["supportedCurrencies"]
    put = await shared.call("PUT", f"{door}/mpesa/currencies/JPY", shared.owner_key, terms)
    patched = await shared.call("PATCH", f"{door}/mpesa", shared.owner_key, {"supportedCurrencies": [*before, "JPY"]})
    assert (put.status, patched.status) == (422, 422)
    assert patched.body["errors"][0]["pointer"] == "/supportedCurrencies"
    assert (await shared.call("GET", f"{door}/mpesa", shared.owner_key)).body["supportedCurrencies"] == before
