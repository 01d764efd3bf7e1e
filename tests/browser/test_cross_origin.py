"""A shop's page on another origin, in a real browser: its script can use a publishable key, and no other key."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio
from aiohttp import web
from playwright.async_api import Page

from tests.browser.checkout_scenes import launched
from tests.installation import Installation, running
from tests.web.support import Practice

ASK = """async ([url, key]) => {
  try {
    const answer = await fetch(url, {headers: {Authorization: `Bearer ${key}`}});
    return [answer.status, await answer.json()];
  } catch (error) { return [error.name, null]; }
}"""


@pytest_asyncio.fixture
async def shop(tmp_path: Path) -> AsyncIterator[tuple[Installation, Page]]:
    """The service, and a page on another server."""

    async def page_of_the_shop(_: web.Request) -> web.Response:
        return web.Response(text="<!doctype html><title>Shop</title>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/", page_of_the_shop)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with running(tmp_path) as house, launched() as browser:
            page = await browser.new_page()
            await page.goto(f"http://127.0.0.1:{runner.addresses[0][1]}/")
            yield house, page
    finally:
        await runner.cleanup()


async def test_a_publishable_key_on_the_shops_own_page(shop: tuple[Installation, Page]) -> None:
    house, page = shop
    practice = await Practice.make(house, "paystack")
    key = (await practice.call("POST", "/keys", {"kind": "publishable"})).body["key"]
    made = (await practice.create()).body

    async def ask(path: str, with_key: str = key) -> Any:
        return await page.evaluate(ASK, [f"{house.url}{practice.base}{path}", with_key])

    status, chosen = await ask("/payment-providers/for-currency/NGN")
    assert (status, chosen["code"]) == (200, "paystack")
    assert (await ask("/payment-providers/available"))[0] == 200
    status, payment = await ask(f"/payments/{made['id']}?clientToken={made['clientToken']}")
    assert (status, payment["id"]) == (200, made["id"])
    status, problem = await ask("/payment-providers/for-currency/XXX")
    assert (status, problem["code"]) == (422, "invalid")
    assert (await ask("/payment-providers/available", "pt_pub_wrong"))[0] == 401
    assert await ask("/payment-providers/available", practice.key) == ["TypeError", None]
    assert await ask("/payments", key) == ["TypeError", None]
