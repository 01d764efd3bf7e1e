"""The owner migrates all practices to the current schema, and the page shows the progress without a reload."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import expect

from polytill.domain.jobs import JobKind
from polytill.storage import jobs
from tests.browser.scene import chromium, visit
from tests.fleets import a_newer_schema, break_it, mend
from tests.installation import Installation, running
from tests.jobs import node
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
            await page.get_by_role("button", name=said("fleet.begin")).click()
            await expect(page.locator("[data-done=migration_begun]")).to_be_visible()
            job = await jobs.unfinished(context.owner, JobKind.migrate)
            assert job is not None
            # A worker elsewhere migrates, and the page shows its progress without a reload.
            async with node(context) as worker:
                worker.runner._at_once = 2
                await worker.runner.turn()
                while worker.runner.under_way:
                    await worker.runner.pause(0.1)
                await expect(page.get_by_text(said("job.done", n="1", of="5", failed="1"))).to_be_visible()
                await seen.look("owner-job")
                await worker.drive(job.id)
            await expect(page.locator("section[data-state=failed]")).to_be_visible()
            await expect(page.get_by_text("table added already exists")).to_be_visible()
            await seen.look("owner-job-failed")
            await mend(house.till, 2)
            await page.locator("tr[data-practice='2'] button").click()
            await expect(page.locator("[data-done=job_resumed]")).to_be_visible()
            async with node(context) as worker:
                await worker.drive(job.id)
            await expect(page.locator("section[data-state=succeeded]")).to_be_visible()
            assert all([(await context.opening.entry(n)).schema_version.endswith("9999") for n in range(1, 6)])
            await page.get_by_role("link", name=said("nav.jobs"), exact=True).first.click()
            await expect(page.locator("tr[data-state=succeeded]")).to_be_visible()
            await seen.look("owner-jobs")


async def test_watching_without_a_script(house: Installation, tmp_path: Path) -> None:
    with a_newer_schema():
        async with chromium() as browser, visit(house, browser, "phone", tmp_path, java_script_enabled=False) as seen:
            await seen.sign_in("/owner", "olu@example.com")
            await seen.go("/owner/practices")
            await seen.page.get_by_role("button", name=said("fleet.begin")).click()
            await expect(seen.page.locator("[data-done=migration_begun]")).to_be_visible()
            job = await jobs.unfinished(house.till.context.owner, JobKind.migrate)
            assert job is not None
            async with node(house.till.context) as worker:
                await worker.drive(job.id)
            await seen.page.reload()
            await expect(seen.page.locator("section[data-state=succeeded]")).to_be_visible()
