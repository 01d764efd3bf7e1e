"""A customer's browser, and a payment in each state of the checkout, created by the calls that lead to it in
production."""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, async_playwright

from polytill.flows.payments.reading import find
from polytill.flows.recovery import lookup
from tests.installation import Installation
from tests.web.support import Clock, Json, Practice, fresh

HERE = Path(__file__).parent
# This run takes the pictures of the docs: POLYTILL_SCREENS=docs/screens
SCREENS = os.environ.get("POLYTILL_SCREENS")
PICTURES = frozenset(
    {f"{name}-phone-light" for name in (
        "open", "returned", "card-form", "declined", "finding", "pending", "unreachable", "not-reached", "paid",
        "part-refunded", "canceled", "expired", "failed", "link", "link-poster", "receipt-part-refunded",
    )} | {"open-phone-dark", "finding-phone-dark", "paid-phone-dark", "card-form-desktop-light",
          "receipt-part-refunded-desktop-light", "receipt-printed", "open-sw", "declined-fr"}
)  # fmt: skip
MAX_WEIGHT = 100_000
PHONE, DESKTOP = {"width": 360, "height": 780}, {"width": 1100, "height": 800}


def chromium() -> str:
    """The system's Chromium. Without one the test fails with a sentence."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.fail("The browser tests need the distribution's package chromium.", pytrace=False)
    return found


@contextlib.asynccontextmanager
async def launched() -> AsyncIterator[Browser]:
    """One browser for each test file."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        )
        try:
            yield browser
        finally:
            await browser.close()


@dataclass
class Payer:
    """A browser window that records every problem."""

    page: Page
    house: Installation
    faults: list[str] = field(default_factory=list)

    async def open(self, path: str) -> None:
        """Open one of our pages."""
        await self.page.goto(self.house.url + path, wait_until="load")

    async def state(self) -> str:
        """The payment state that the page shows."""
        return str(await self.page.locator("[data-state]").get_attribute("data-state"))

    async def fine(self) -> None:
        """Fails if a request failed, axe finds a problem, something is wider than the window, or the page is too large."""
        assert not self.faults, self.faults
        found = await self.page.evaluate("axe.run()")
        broken = [(v["id"], [n["html"] for n in v["nodes"]]) for v in found["violations"]]
        assert not broken, broken
        wide = await self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, f"the page is {wide} px wider than the window"
        weight = await self.weight()
        assert sum(weight.values()) < MAX_WEIGHT, weight

    async def weight(self) -> dict[str, int]:
        """Bytes on the wire, compressed, of the page and of everything that it has loaded."""
        weight = {"the page": len(gzip.compress((await self.page.content()).encode()))}
        for url in await self.page.evaluate("performance.getEntriesByType('resource').map(entry => entry.name)"):
            if url.startswith(f"{self.house.url}/static/"):
                async with self.house.http.get(url) as response:
                    weight[url] = len(gzip.compress(await response.read()))
        assert len(weight) >= 3, weight  # the page, its tokens and its style at least
        return weight

    async def picture(self, name: str) -> None:
        """Take a picture for the docs, if this is one of those shown there."""
        if SCREENS and (name in PICTURES or "all" in os.environ.get("POLYTILL_SCREENS_OF", "")):
            await self.page.screenshot(path=f"{SCREENS}/checkout-{name}.png", animations="disabled")


@contextlib.asynccontextmanager
async def payer(
    browser: Browser, house: Installation, size: dict[str, int] = PHONE, scheme: str = "light", **options: Any
) -> AsyncIterator[Payer]:
    """A window of a size and a color scheme, with axe loaded."""
    given = {"viewport": size, "color_scheme": scheme, "locale": "en-GB", **options}
    context = await browser.new_context(**given)
    await context.add_init_script(path=HERE / "axe.min.js")
    page = await context.new_page()
    made = Payer(page, house)

    def check(request: Any) -> None:
        if not request.url.startswith((house.url, house.simulator.url, "data:", "about:")):
            made.faults.append(f"asked for {request.url}")

    page.on("request", check)
    page.on("pageerror", lambda error: made.faults.append(f"script: {error}"))
    page.on("console", lambda said: made.faults.append(said.text) if said.type == "error" else None)
    try:
        yield made
    finally:
        await context.close()


# ── Every state ──


@dataclass
class Scenes:
    """Paths of pages by name."""

    house: Installation
    clock: Clock
    paths: dict[str, str] = field(default_factory=dict)

    async def build(self) -> dict[str, str]:
        """Create a payment in every state."""
        clinic = await self._practice("Lagos Family Clinic", "paystack", "NGN")
        boston = await self._practice("Boston Dental", "stripe", "USD")
        assert (await boston.call("PUT", "/checkout", {"color": "#2f3e9e"})).status == 200
        await self._to_be_paid(clinic, boston)
        await self._waiting(clinic)
        await self._over(clinic, boston)
        await self._links(clinic)
        self.paths["no-such-payment"] = "/pay/nothing"
        return self.paths

    async def _practice(self, name: str, code: str, currency: str) -> Practice:
        practice = Practice(self.house, *await self.house.practice(name, currency))
        await practice.configure(code, [currency])
        return practice

    async def _to_be_paid(self, clinic: Practice, boston: Practice) -> None:
        made = await self._make(clinic, "open")
        self.paths["returned"] = f"{self.paths['open']}?back=unfinished"
        await self._make(boston, "card-form", 12_345, description="Root canal, second visit")
        declined = await self._make(clinic, "declined")
        await clinic.act(declined["attempts"][0]["reference"], "decline")
        await self._asked(declined)
        self.paths["unreachable"] = f"/pay/{made['clientToken']}?back=unanswered"

    async def _waiting(self, clinic: Practice) -> None:
        await clinic.fault("create", "lose_answer")
        await self._make(clinic, "finding")
        self.paths["finding-stopped"] = f"{self.paths['finding']}?n=18"
        pending = await self._make(clinic, "pending")
        network = self.house.simulator.network
        tx = network.by_reference(pending["attempts"][0]["reference"], "paystack", clinic.keys["secretKey"])
        assert tx is not None
        tx.wire.status = "ongoing"
        await self._asked(pending)
        await clinic.fault("create", "rate_limit")
        await self._make(clinic, "not-reached")

    async def _over(self, clinic: Practice, boston: Practice) -> None:
        paid = await clinic.paid(500_000, description="Consultation", reference="INV-2041")
        self.paths["paid"] = f"/pay/{paid['clientToken']}?back=paid"
        self.paths["already"] = f"/pay/{paid['clientToken']}"
        self.paths["receipt"] = f"/pay/{paid['clientToken']}/receipt"
        for name, amount in (("part-refunded", 2_345), ("refunded", 12_345)):
            back = await boston.paid(12_345, description="Root canal, second visit", reference="B-77")
            assert (await boston.refund(back["id"], amount)).status == 201
            await boston.settled(back["id"], amountRefunded=amount)
            self.paths[name] = f"/pay/{back['clientToken']}"
            self.paths[f"receipt-{name}"] = f"/pay/{back['clientToken']}/receipt"
        held = (await boston.create(12_345, capture="manual")).body
        await boston.act(held["attempts"][0]["reference"])
        await boston.settled(held["id"], status="authorized")
        self.paths["authorized"] = f"/pay/{held['clientToken']}"
        canceled = await self._make(clinic, "canceled")
        await clinic.call("POST", f"/payments/{canceled['id']}/cancel", idempotency=fresh())
        late = await self._make(clinic, "expired")
        context = self.house.till.context
        self.clock.advance(90_000)
        await lookup.expire(*await find(context, clinic.id, late["id"]))
        self.clock.offset_s = 0
        await self._fail_for_good(clinic)

    async def _fail_for_good(self, clinic: Practice) -> None:
        await clinic.fault("create", "rate_limit", count=10)
        failed = await self._make(clinic, "failed")
        for _ in range(9):
            await self.house.call("POST", f"/pay/{failed['clientToken']}/retry")

    async def _links(self, clinic: Practice) -> None:
        body = {"amount": 1_500_000, "currency": "NGN", "description": "Term fee, Grade 4", "singleUse": False}
        link = (await clinic.call("POST", "/payment-links", body)).body
        self.paths["link"] = link["url"].removeprefix(self.house.url)
        self.paths["link-poster"] = f"{self.paths['link']}/poster"
        closed = (await clinic.call("POST", "/payment-links", body)).body
        await clinic.call("POST", f"/payment-links/{closed['id']}/close")
        self.paths["link-closed"] = closed["url"].removeprefix(self.house.url)

    async def _make(self, practice: Practice, name: str, amount: int = 500_000, **more: Any) -> Json:
        made = await practice.create(amount, **{"description": "Consultation", **more})
        assert made.status == 201, made.body
        self.paths[name] = f"/pay/{made.body['clientToken']}"
        return dict(made.body)

    async def _asked(self, payment: Json) -> None:
        assert (await self.house.call("GET", f"/pay/{payment['clientToken']}/return")).status == 303
