"""``supported_currencies`` of a catalog row always equals the active rows of the currency table."""

from __future__ import annotations

import asyncio

from polytill.app import Polytill
from polytill.domain.states import ProviderStatus
from polytill.flows.admin import catalog
from polytill.storage.catalog import CurrencySupport
from polytill.storage.units import json_value
from tests.storage.making import plain


async def copies_agree(till: Polytill) -> dict[str, list[str]]:
    found = {}
    for provider_id, code, copied in await plain(
        till.context.owner, "SELECT id, code, supported_currencies FROM payment_providers"
    ):
        rows = await plain(
            till.context.owner,
            "SELECT currency_code FROM provider_currency_support WHERE provider_id = $1 AND is_active ORDER BY 1",
            provider_id,
        )
        found[code] = sorted(json_value(copied))
        assert found[code] == sorted(row[0] for row in rows), code
    return found


async def test_after_every_way_to_change_it(till: Polytill) -> None:
    context = till.context
    assert (await copies_agree(till)).keys() >= {"stripe", "paystack", "flutterwave"}
    await catalog.change(context, "paystack", {}, ["NGN", "GHS"], "test")
    assert (await copies_agree(till))["paystack"] == ["GHS", "NGN"]
    await catalog.put_currency(context, "paystack", CurrencySupport("KES", True, 29_000, 0), "test")
    assert (await copies_agree(till))["paystack"] == ["GHS", "KES", "NGN"]
    await catalog.put_currency(context, "paystack", CurrencySupport("GHS", is_active=False), "test")
    assert (await copies_agree(till))["paystack"] == ["KES", "NGN"]
    await catalog.remove_currency(context, "paystack", "NGN", "test")
    assert (await copies_agree(till))["paystack"] == ["KES"]
    await catalog.change(context, "paystack", {"name": "Other"}, None, "test")
    assert (await copies_agree(till))["paystack"] == ["KES"]
    await catalog.add(
        context, {"code": "later", "name": "Later", "status": ProviderStatus.inactive}, ["NGN", "USD"], "test"
    )
    assert (await copies_agree(till))["later"] == ["NGN", "USD"]
    assert (await context.catalog())["later"].supported_currencies == ["NGN", "USD"]


async def test_a_currency_that_comes_back_keeps_its_terms(till: Polytill) -> None:
    before = (await till.context.catalog())["paystack"].currencies["NGN"]
    await catalog.change(till.context, "paystack", {}, ["GHS"], "test")
    assert not (await till.context.catalog())["paystack"].currencies["NGN"].is_active
    await catalog.change(till.context, "paystack", {}, ["GHS", "NGN"], "test")
    assert (await till.context.catalog())["paystack"].currencies["NGN"] == before


async def test_several_writers_at_once(till: Polytill) -> None:
    await catalog.change(till.context, "paystack", {}, ["NGN"], "test")
    await asyncio.gather(
        *(
            catalog.put_currency(till.context, "paystack", CurrencySupport(code), "test")
            for code in ("GHS", "KES", "ZAR")
        ),
        catalog.change(till.context, "paystack", {"priority": 77}, None, "test"),
        catalog.remove_currency(till.context, "paystack", "NGN", "test"),
    )
    assert (await copies_agree(till))["paystack"] == ["GHS", "KES", "ZAR"]
    assert (await till.context.catalog())["paystack"].priority == 77
