"""The owner migrates all practices to the current schema, and the page shows the progress without a reload."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import expect

from polytill.flows.admin import fleet
from polytill.flows.admin.practices import migrate_practice
from tests.browser.scene import chromium, visit
from tests.fleets import a_newer_schema, break_it, mend
from tests.installation import Installation, running
from tests.web.browsing import person
from tests.wording import said

NAMES = ("Lagos Family Clinic", "Boston Dental", "Nairobi Eye Centre", "Accra Smiles", "Kigali Children's Hospital")


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Installation]:
    async with running(tmp_path) as found:
        for name in NAMES:
            await found.practice(name, "NGN")
        await person(found, found.till.context.owner, "olu@example.com", name="Olu Owner")
        yield found


@pytest.mark.parametrize("size", ["desk", "phone"])
async def test_migrating_all_practices(house: Installation, size: str, tmp_path: Path) -> None:
    context = house.till.context
    with a_newer_schema():
        await break_it(house.till, 2)
        async with chromium() as browser, visit(house, browser, size, tmp_path) as seen:
            page = seen.page
            await seen.sign_in("/owner", "olu@example.com")
            await page.get_by_role("link", name=said("nav.practices"), exact=True).click()
            await expect(page.get_by_role("heading", name=said("fleet.behind", n=5, of="5"))).to_be_visible()
            await seen.look("owner-fleet-behind")
            # Another process starts a migration, and the page shows its progress.
            run = await fleet.begin(context, "elsewhere")
            assert run is not None
            await page.get_by_role("button", name=said("fleet.begin")).click()
            await expect(page.locator("[data-done=migration_goes_on]")).to_be_visible()
            for done in (1, 3):
                await migrate_practice(context, done, "elsewhere")
            await expect(page.get_by_text(said("fleet.progress", n="2", of="5", failed="0"))).to_be_visible()
            await expect(page.get_by_text(said("practices.behind"), exact=True)).to_have_count(3)
            await seen.look("owner-fleet")
            await fleet.run(context, run, "elsewhere")
            await expect(page.get_by_text("the step after practice_0")).to_be_visible()
            await seen.look("owner-fleet-failed")
            await mend(house.till, 2)
            await page.get_by_role("button", name=said("fleet.again")).click()
            await expect(page.locator("[data-done=migration_begun]")).to_be_visible()
            await expect(page.locator("#fleet-title")).to_have_count(0)
            assert all([(await context.opening.entry(n)).schema_version.endswith("9999") for n in range(1, 6)])


async def test_watching_without_a_script(house: Installation, tmp_path: Path) -> None:
    with a_newer_schema():
        async with chromium() as browser, visit(house, browser, "phone", tmp_path, java_script_enabled=False) as seen:
            await seen.sign_in("/owner", "olu@example.com")
            await seen.go("/owner/practices")
            await seen.page.get_by_role("button", name=said("fleet.begin")).click()
            await expect(seen.page.locator("[data-done=migration_begun]")).to_be_visible()
            migration = house.till._migration
            assert migration is not None
            await migration
            await seen.page.reload()
            await expect(seen.page.locator("#fleet-title")).to_have_count(0)
