"""A very long name, very large amounts and only a keyboard: nothing overflows, and everything can be reached."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.browser.scene import LONG, chromium, visit
from tests.installation import Installation, running
from tests.web.browsing import person
from tests.web.support import Practice
from tests.wording import part, said

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAME = "The Regional Teaching Hospital for Maternal, Neonatal and Paediatric Care at Ikot-Ekpene-Obio-Akpa"
PAYER = "Oluwaseun-Temitope Adebayo-Ogunlesi-Nwachukwu-Chukwuemeka of the Very Long Family Name"
EMAIL = "a.very.long.address.of.somebody.who.pays@the-regional-teaching-hospital-of-ikot-ekpene.example.com"
LARGEST = "9,999,999,999,999.99"  # fifteen digits

# The element with the focus: whether it is visible, and its accessible name.
_FOCUSED = """() => {
  const e = document.activeElement, box = e.getBoundingClientRect(), style = getComputedStyle(e);
  const shown = box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth && box.width > 0;
  return [e.tagName + " " + (e.id || e.name || e.href || e.textContent.trim()).slice(0, 60),
          shown && style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1];
}"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    async with running(tmp_path_factory.mktemp("house")) as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as found:
        yield found


async def tab_through(page: Page) -> list[str]:
    """Every element that Tab reaches, until the focus leaves the page. Each must be visible and show its focus."""
    reached: list[str] = []
    await page.evaluate("document.activeElement?.blur()")
    for _ in range(150):
        await page.keyboard.press("Tab")
        name, seen = await page.evaluate(_FOCUSED)
        if name.startswith("BODY"):
            return reached
        assert seen, (page.url, name)
        reached.append(name)
    return reached


@pytest.mark.parametrize("size", ["desk", "phone"])
async def test_long_texts_and_no_mouse(house: Installation, browser: Browser, size: str, tmp_path: Path) -> None:
    practice = Practice(house, *await house.practice(f"{NAME} {size}", "NGN"))
    door = f"/practice/{practice.id}"
    await person(house, await practice.db, EMAIL, name=PAYER)
    async with visit(house, browser, size, tmp_path) as seen:
        page = seen.page
        await seen.sign_in(door, EMAIL)
        for path in ("payments", "links", "overview", "attention", "providers", "activity"):  # empty
            await seen.go(f"{door}/{path}")
            await seen.look(f"long-empty-{path}")
        await seen.go(f"{door}/providers/manual")
        await page.get_by_role("button", name=said("form.save"), exact=True).click()
        await page.get_by_role("button", name=said("provider.enable")).click()
        await seen.go(f"{door}/manual")
        for label, text in (
            (said("payments.amount"), LARGEST),
            (said("manual.payer"), PAYER),
            (said("login.email"), EMAIL),
            (said("links.what_for"), LONG[:500]),
            (said("links.reference"), "INV-" + "0123456789" * 6),
        ):
            await page.get_by_label(label).fill(text)
        await page.get_by_role("button", name=said("refund.next")).click()
        await seen.look("long-manual-payment")
        await page.get_by_label(part("manual.counted")).fill("1")
        await page.get_by_label(said("manual.seen")).fill(LONG[:500])
        await page.get_by_role("button", name=said("manual.go")).click()
        await expect(page.get_by_text(part("fault.another_amount")).first).to_be_visible()
        await seen.look("long-wrong")
        await page.get_by_label(part("manual.counted")).fill(LARGEST)
        await page.get_by_role("button", name=said("manual.go")).click()
        await seen.look("long-payment")
        payment = page.url.partition("?")[0]
        await seen.go(payment.removeprefix(house.url) + "/refund")
        await page.get_by_label(part("refund.amount")).fill(LARGEST)
        await page.get_by_role("button", name=said("refund.next")).click()
        await seen.look("long-refund")
        await seen.go(f"{door}/links")
        for label, text in (
            (said("payments.amount"), LARGEST),
            (said("links.what_for"), LONG[:200]),
            (said("links.reference"), "INV-" + "0" * 60),
        ):
            await page.get_by_label(label).fill(text)
        await page.get_by_role("button", name=said("links.make")).click()
        await seen.go(f"{door}/routing?environment=sandbox")
        await page.get_by_role("button", name=said("routing.create")).click()
        await page.get_by_role("button", name=said("routing.simulate_go")).click()
        await seen.look("long-routing-simulation")
        for path in (
            "payments",
            "links",
            "overview",
            "people",
            "people/1",
            "providers",
            "routing",
            "routing/try",
            "routing/sandbox/1",
            "activity",
            "checkout",
            "manual-payment",
        ):
            await seen.go(f"{door}/{path}")
            await seen.look(f"long-{path.replace('/', '-')}")
            reached = await tab_through(page)
            assert reached[0].endswith("#main"), (path, reached[:3])  # the skip link
            assert len(reached) > 10, (path, reached)
