"""What the browser tests show: a platform with three practices, staff, and payments of every kind; and a browser."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from polytill.background import sweep
from tests.browser.chromium import MISSING, find_chromium
from tests.installation import Installation
from tests.web.browsing import PASSWORD, person
from tests.web.support import Clock, Practice, fresh
from tests.wording import said

HERE = Path(__file__).parent
SIZES = {"desk": {"width": 1280, "height": 820}, "phone": {"width": 390, "height": 800}}
# The folder for screenshots: POLYTILL_SCREENS=docs/screens ./run test tests/browser
SCREENS = os.environ.get("POLYTILL_SCREENS")
# The pictures that the documentation shows. The others are checked and not stored.
KEPT = frozenset(
    """login payments payment payment-unknown refund-sure case overview providers provider provider-new payments-first
    owner owner-catalog owner-provider owner-practices owner-waiting owner-job
    waiting people person-link by-hand-confirm look doors links""".split()  # noqa: SIM905
)
KEPT_AS = (("desk", "light"), ("phone", "dark"))
DAYS = 21
NAMES = ("Femi Kuti", "Kemi Adeosun", "Buchi Emecheta", "Ifeoma Okoye", "Sunny Ade", "Amaka Igwe", "Teju Cole")
LONG = "Consultation, root canal treatment of two teeth, X-ray and a follow-up visit in six weeks, " * 3


async def stage(house: Installation, clock: Clock) -> Practice:
    """A clinic with three weeks of payments, practices that are not set up yet, and their staff."""
    clock.offset_s = -DAYS * 24 * 3600.0
    clinic = Practice(house, *await house.practice("Lagos Family Clinic", "NGN"))
    await clinic.configure("flutterwave", ["NGN"])
    other = Practice(house, clinic.id, clinic.key)
    other.code, other.keys, other.configuration = clinic.code, clinic.keys, clinic.configuration
    await clinic.configure("paystack", ["NGN"])
    for day in range(DAYS):
        name = NAMES[day % len(NAMES)]
        who = {"email": f"{name.split()[0].lower()}@example.com", "name": name}
        paid = await clinic.paid(250_000 + day * 7_919_00 % 1_100_000, customer=who, description="Consultation")
        if day % 3 == 0:
            await other.paid(180_000 + day * 31_000, customer=who, description="Cleaning", providerCode="flutterwave")
        if day % 6 == 2:
            await clinic.refund(paid["id"], 90_000)
            await clinic.settled(paid["id"], amountRefunded=90_000)
        if day % 5 == 4:
            given_up = (await clinic.create(400_000, customer=who)).body
            await clinic.call("POST", f"/payments/{given_up['id']}/cancel", idempotency=fresh())
        clock.advance(24 * 3600)
    for amount, name, what in (
        (500_000, "Ada Obi", "Consultation"),
        (1_250_000, "Chidi Okeke", "Root canal"),
        (320_000, "Ngozi Adichie-Okonkwo of the Very Long Family Name", LONG),
        (75_000, "Tunde Bello", "Cleaning"),
    ):
        email = f"{name.split()[0].lower()}.today@example.com"
        await clinic.paid(amount, customer={"email": email, "name": name}, description=what[:500])
    declined = (await clinic.create(640_000, customer={"email": "sade@example.com", "name": "Sade Adu"})).body
    await clinic.act(declined["attempts"][-1]["reference"], "decline")
    await _paid_twice(clinic)
    await clinic.fault("create", "lose_answer")
    await clinic.create(210_000, customer={"email": "wole@example.com", "name": "Wole Soyinka"}, description="Check-up")
    await house.practice("Boston Dental", "USD")
    await house.practice("Nairobi Eye Centre", "KES")
    await person(house, house.till.context.owner, "olu@example.com", name="Olu Owner")
    await person(house, await clinic.db, "pat@example.com", name="Pat Practice")
    await sweep(house.till.context)
    return clinic


async def _paid_twice(clinic: Practice) -> None:
    await clinic.fault("create", "lose_answer")
    who = {"email": "bisi@example.com", "name": "Bisi Ojo"}
    made = (await clinic.create(350_000, customer=who, description="Whitening")).body
    found = (await clinic.call("POST", f"/payments/{made['id']}/confirm")).body
    lost, held = (attempt["reference"] for attempt in found["attempts"])
    await clinic.act(held)
    await clinic.settled(made["id"], status="succeeded")
    await clinic.act(lost)


@dataclass
class Visit:
    """One browser window at one size, and the problems seen in it."""

    house: Installation
    page: Page
    context: BrowserContext
    size: str
    folder: Path
    problems: list[str] = field(default_factory=list)

    async def go(self, path: str) -> None:
        await self.page.goto(self.house.url + path)

    async def sign_in(self, door: str, email: str) -> None:
        await self.go(f"{door}/login")
        await self.page.get_by_label(said("login.email")).fill(email)
        await self.page.get_by_label(said("login.password")).fill(PASSWORD)
        await self.page.get_by_role("button", name=said("login.go")).click()
        await self.page.wait_for_url(f"**{door}**")

    async def look(self, name: str) -> None:
        """Check the page in both themes with axe, check that nothing is wider than the window, and take a picture."""
        for theme in ("light", "dark"):
            await self.page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
            found = await self.page.evaluate(_axe() + "; axe.run(document, {resultTypes: ['violations']})")
            said = [f"{v['id']}: {v['help']}: {[n['html'][:120] for n in v['nodes']][:3]}" for v in found["violations"]]
            assert not said, (name, theme, self.size, said)
            wider = await self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert wider <= 0, (name, self.size, wider)
            await self.page.evaluate("document.activeElement?.blur()")
            clipped = await self.page.evaluate(_CLIPPED)
            assert not clipped, (name, theme, self.size, clipped)
            path = self.folder / f"{name}-{self.size}-{theme}.png"
            await self.page.screenshot(path=path, full_page=True, animations="disabled")
            if SCREENS and name in KEPT and (self.size, theme) in KEPT_AS:
                await self._keep(Path(SCREENS) / f"{name}-{self.size}-{theme}.webp")
        await self.page.emulate_media(color_scheme="light")

    async def _keep(self, path: Path) -> None:
        """Store a small picture for the documentation."""
        protocol = await self.context.new_cdp_session(self.page)
        size = (await protocol.send("Page.getLayoutMetrics"))["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 1900), "scale": 1}
        options = {"format": "webp", "quality": 82, "captureBeyondViewport": True, "clip": clip}
        taken = await protocol.send("Page.captureScreenshot", options)
        path.write_bytes(base64.b64decode(taken["data"]))  # noqa: ASYNC240
        await protocol.detach()


# Cards whose content overflows and cannot be scrolled to.
_CLIPPED = (
    "[...document.querySelectorAll('.card, td, dd')].filter(e => e.scrollWidth > e.clientWidth + 1"
    " && getComputedStyle(e).overflowX !== 'auto').map(e => e.outerHTML.slice(0, 120))"
)


def _axe() -> str:
    source = (HERE / "axe.min.js").read_bytes()
    sums = dict(reversed(line.split()) for line in (HERE / "SHA256SUMS").read_text().splitlines())
    assert hashlib.sha256(source).hexdigest() == sums["axe.min.js"]
    return source.decode()


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """The browser."""
    path = find_chromium()
    if path is None:
        pytest.fail(MISSING, pytrace=False)
    async with async_playwright() as playwright:
        # Chromium's sandbox does not work for root in a container. Only our own pages are opened here.
        browser = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            await browser.close()


@contextlib.asynccontextmanager
async def visit(house: Installation, browser: Browser, size: str, folder: Path, **more: Any) -> AsyncIterator[Visit]:
    """A new window. Messages in its console are problems at the end."""
    # Without motion, a color has its final value at once.
    context = await browser.new_context(viewport=SIZES[size], locale="en-NG", reduced_motion="reduce", **more)  # type: ignore[arg-type]
    page = await context.new_page()
    page.set_default_timeout(15_000)
    found = Visit(house, page, context, size, folder)
    page.on("console", lambda m: found.problems.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: found.problems.append(str(error)))
    try:
        yield found
        # A page that answers 4xx on purpose also writes a line to the console.
        assert [p for p in found.problems if "status of 4" not in p] == []
    finally:
        await context.close()
