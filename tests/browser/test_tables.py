"""The last column of every table can be reached at every width in every language (review of the pages, D12).

Open, QR code and "deactivate" were cut off on every tablet, in Swahili even at 1280 pixels.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.browser.scene import chromium, stage, visit
from tests.installation import Installation, running
from tests.web.support import Clock, Practice

pytestmark = pytest.mark.asyncio(loop_scope="module")

WIDTHS = (320, 390, 705, 768, 870, 1024, 1160, 1280)
# Cells whose right edge stays outside the visible part of any box around them, after scrolling to them.
_OUT_OF_REACH = """[...document.querySelectorAll('table tr')].map(row => row.lastElementChild).filter(cell => cell
  && cell.getClientRects().length && getComputedStyle(cell.closest('tr')).clipPath === 'none'
  && !(cell.closest('thead') && getComputedStyle(cell.closest('thead')).position === 'absolute')).filter(cell => {
  cell.scrollIntoView({block: 'nearest', inline: 'end'});
  const right = Math.floor(cell.getBoundingClientRect().right);
  let shown = innerWidth;
  for (let box = cell.parentElement; box; box = box.parentElement) {
    if (getComputedStyle(box).overflowX !== 'visible') shown = Math.min(shown, box.getBoundingClientRect().right);
  }
  return right > Math.ceil(shown) + 1;
}).map(cell => cell.outerHTML.slice(0, 150))"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    async with running(tmp_path_factory.mktemp("house"), world=CLOCK.world(), provider_timeout_s=2.0) as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def clinic(house: Installation) -> Practice:
    made = await stage(house, CLOCK)
    for what in ("Consultation and a very long description of what it is for", "Visit"):
        link = {"amount": 1_234_567_800, "currency": "NGN", "description": what, "reference": "INV-" + "0" * 30}
        await made.call("POST", "/payment-links", link)
    return made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as found:
        yield found


CLOCK = Clock()


@pytest.mark.parametrize("language", ["en", "fr", "sw"])
async def test_every_tables_last_column_can_be_reached(
    house: Installation, clinic: Practice, browser: Browser, language: str, tmp_path: Path
) -> None:
    door = f"/practice/{clinic.id}"
    async with visit(house, browser, "desk", tmp_path) as seen:
        wrong = []
        for at, email, paths in (
            (door, "pat@example.com", ("payments", "links", "overview", "attention", "activity", "people")),
            ("/owner", "olu@example.com", ("", "practices", "attention", "activity", "people", "catalog/paystack")),
        ):
            await seen.sign_in(at, email)
            await seen.go(f"/language/{language}?back={at}")
            for path in paths:
                await seen.go(f"{at}/{path}".rstrip("/"))
                for details in await seen.page.locator("details.more").all():
                    await details.evaluate("box => { box.open = true; }")
                for width in WIDTHS:
                    await seen.page.set_viewport_size({"width": width, "height": 800})
                    wider = await seen.page.evaluate("document.documentElement.scrollWidth - innerWidth")
                    cells = await seen.page.evaluate(_OUT_OF_REACH)
                    wrong += [(path, width, wider)] if wider > 0 else []
                    wrong += [(path, width, cell) for cell in cells]
            await seen.go(f"/language/en?back={at}")
        assert wrong == []
