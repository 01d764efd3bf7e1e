"""The pages in a real browser: from signing in to giving money back, on a desk and on a phone, in light and in dark.

Screenshots for the documentation: POLYTILL_SCREENS=docs/screens ./run test tests/browser
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from tests.browser.scene import chromium, stage, visit
from tests.installation import Installation, running
from tests.web.browsing import person
from tests.web.support import Clock, Practice, fresh_keys

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory, clock: Clock) -> AsyncIterator[Installation]:
    async with running(tmp_path_factory.mktemp("house"), world=clock.world(), provider_timeout_s=2.0) as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def clinic(house: Installation, clock: Clock) -> Practice:
    return await stage(house, clock)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as found:
        yield found


@pytest.mark.parametrize("size", ["desk", "phone"])
async def test_payments_to_refund(
    house: Installation, clinic: Practice, browser: Browser, size: str, tmp_path: Path
) -> None:
    door = f"/practice/{clinic.id}"
    async with visit(house, browser, size, tmp_path) as seen:
        page = seen.page
        await seen.go(f"{door}/payments")
        await seen.look("login")
        await page.get_by_label("E-mail").fill("pat@example.com")
        await page.get_by_label("Password").fill("wrong")
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("alert")).to_contain_text("not right")
        await seen.look("login-wrong")
        await seen.sign_in(door, "pat@example.com")
        await seen.look("payments")
        await page.get_by_label("Search").fill("nobody at all")
        await page.get_by_role("button", name="Show").click()
        await expect(page.get_by_text("No payment fits")).to_be_visible()
        await seen.look("payments-none")
        await page.get_by_role("link", name="Clear").first.click()
        await page.get_by_role("link", name="Chidi Okeke" if size == "desk" else "Ada Obi").click()
        await expect(page.get_by_text("Paystack took the money")).to_be_visible()
        await seen.look("payment")
        await page.get_by_role("link", name="Give money back").click()
        await page.get_by_label("Amount").fill("99,999,999.00")
        await page.get_by_role("button", name="Go on").click()
        await expect(page.get_by_text("refund at most").first).to_be_visible()
        await seen.look("refund-wrong")
        await page.get_by_label("Amount").fill("1,000.50")
        await page.get_by_label("Reason").fill("Visit was shorter")
        await page.get_by_role("button", name="Go on").click()
        whom = "Chidi Okeke" if size == "desk" else "Ada Obi"
        await expect(page.get_by_role("heading", name=f"Refund ₦1,000.50 to {whom}?")).to_be_visible()
        await seen.look("refund-sure")
        await page.get_by_role("button", name="Refund ₦1,000.50").click()
        await expect(page.get_by_role("status")).to_contain_text("Refund submitted")
        await seen.look("payment-refunded")
        await page.get_by_role("link", name="Overview").click()
        await expect(page.locator("svg.chart")).to_have_count(3)
        await seen.look("overview")
        await seen.go(f"{door}/overview?month=2020-02")
        await seen.look("overview-empty")
        await seen.go(f"{door}/activity")
        await seen.look("activity")
        await seen.go(f"{door}/waiting")
        await seen.look("waiting")
        await page.get_by_role("link", name="Look").first.click()
        await expect(page.get_by_role("heading", name="What can be done")).to_be_visible()
        await seen.look("case")
        await seen.go(f"{door}/payments?q=Wole")
        await page.get_by_role("link", name="Wole Soyinka").click()
        await seen.look("payment-unknown")
        await seen.go(f"{door}/payments/{'0' * 26}")
        await seen.look("not-found")
        await seen.go(f"{door}/password")
        await seen.look("password")


@pytest.mark.parametrize("size", ["desk", "phone"])
async def test_setting_a_provider_up(
    house: Installation, clinic: Practice, browser: Browser, size: str, tmp_path: Path
) -> None:
    practice = Practice(house, *await house.practice(f"Port Harcourt Eye Hospital {size}", "NGN"))
    practice.code, practice.keys = "paystack", fresh_keys("paystack")
    door = f"/practice/{practice.id}"
    await person(house, await practice.db, "pat@example.com", name="Pat Practice")
    async with visit(house, browser, size, tmp_path) as seen:
        page = seen.page
        await seen.sign_in(door, "pat@example.com")
        await seen.look("payments-first")
        await page.get_by_role("link", name="Set up a provider").click()
        await seen.look("providers-first")
        await page.get_by_role("link", name="Set up Paystack").click()
        await page.get_by_label("Secret key").fill("sk_live_0123456789abcdef0123456789abcdef01234567")
        await page.get_by_label("Public key").fill(practice.keys["publicKey"])
        await expect(page.get_by_text("This is a live key")).to_be_visible()  # said at once, nothing was saved
        await seen.look("provider-new")
        await page.get_by_label("Secret key").fill(practice.keys["secretKey"])
        await page.get_by_label("Public key").click()
        await expect(page.get_by_text("This looks right.").first).to_be_visible()
        await page.get_by_role("button", name="Save the keys").click()
        await expect(page.get_by_text("Waiting for the first delivery")).to_be_visible()
        await page.get_by_role("button", name="Test the connection").click()
        await expect(page.get_by_text("The keys work.").first).to_be_visible()
        await page.get_by_role("button", name="Switch on").click()
        await expect(page.get_by_role("status").first).to_contain_text("Switched on")
        # The sign of the first delivery comes by itself.
        hook = await page.get_by_role("textbox", name="Webhook address").input_value()
        body = {
            "provider": "paystack",
            "account": practice.keys["secretKey"],
            "url": hook,
            "secret": practice.keys["secretKey"],
        }
        await house.network("POST", "/webhooks", body)
        await practice.paid(500_000)
        await expect(page.get_by_text("First delivery received")).to_be_visible()
        await seen.look("provider")
        await seen.go(f"{door}/providers/flutterwave")
        for label, name in (("Public key", "publicKey"), ("Secret key", "secretKey"), ("Secret hash", "webhookSecret")):
            await page.get_by_label(label).fill(fresh_keys("flutterwave")[name])
        await page.get_by_role("button", name="Save the keys").click()
        await page.get_by_role("button", name="Switch on").click()
        await seen.go(f"{door}/providers")
        names = page.locator(".order .go")
        await expect(names).to_have_text(["Paystack", "Flutterwave"])
        down = page.get_by_role("button", name="Move Paystack down")
        await down.focus()
        await page.keyboard.press("Enter")
        await expect(names).to_have_text(["Flutterwave", "Paystack"])
        if size == "desk":
            items = page.locator(".order li")
            await items.nth(1).drag_to(
                items.nth(0), target_position={"x": 300, "y": 4}, source_position={"x": 300, "y": 20}
            )
            await expect(page.get_by_role("status").first).to_contain_text("new order")
            await expect(names).to_have_text(["Paystack", "Flutterwave"])
        await page.get_by_label("Amount").fill("20")
        await page.keyboard.press("Tab")
        await expect(page.locator("#answer")).to_contain_text("Takes no less than ₦50.00")
        await seen.look("providers")


@pytest.mark.parametrize("size", ["desk", "phone"])
async def test_the_owners_console(
    house: Installation, clinic: Practice, browser: Browser, size: str, tmp_path: Path
) -> None:
    async with visit(house, browser, size, tmp_path) as seen:
        page = seen.page
        await seen.sign_in("/owner", "olu@example.com")
        await seen.look("owner")
        for name, path in (
            ("owner-catalog", "/catalog"), ("owner-provider", "/catalog/paystack"), ("owner-provider-large", "/catalog/stripe"),
            ("owner-provider-new", "/catalog/new?code=stripe"), ("owner-practices", "/practices"),
            ("owner-practice", f"/practices/{clinic.id}"), ("owner-practice-new", "/practices/new"),
            ("owner-waiting", "/waiting"), ("owner-activity", "/activity"), ("owner-people", "/people"),
        ):  # fmt: skip
            await seen.go(f"/owner{path}")
            await seen.look(name)
        await seen.go("/owner/catalog/paystack")
        await page.get_by_label("Fee in %, NGN").fill("a lot")
        await page.get_by_role("button", name="Save the table").click()
        await expect(page.get_by_text("isn’t a percentage").first).to_be_visible()
        await seen.look("owner-provider-wrong")
        await seen.go("/owner/practices/new")
        await page.get_by_label("Name").fill(f"Accra Smiles {size}")
        await page.get_by_label("Currency").fill("GHS")
        await page.get_by_role("button", name="Make the practice").click()
        await expect(page.get_by_role("heading", name="API key")).to_be_visible()
        await seen.look("owner-practice-made")


@pytest.mark.parametrize("size", ["desk", "phone"])
async def test_the_desk_and_its_people(
    house: Installation, clinic: Practice, browser: Browser, size: str, tmp_path: Path
) -> None:
    practice = Practice(house, *await house.practice(f"Ibadan Physiotherapy {size}", "NGN"))
    door = f"/practice/{practice.id}"
    await person(house, await practice.db, "pat@example.com", name="Pat Practice")
    async with visit(house, browser, size, tmp_path) as seen:
        page = seen.page
        await seen.go("/")
        await seen.look("doors")
        await page.get_by_label("Number of the practice").fill("one")
        await page.get_by_role("button", name="Go on").click()
        await expect(page.get_by_text("not the number")).to_be_visible()
        await seen.look("doors-wrong")
        await page.get_by_label("Number of the practice").fill(str(practice.id))
        await page.keyboard.press("Enter")
        await page.wait_for_url(f"**{door}/login")
        await seen.sign_in(door, "pat@example.com")
        # People
        await page.get_by_role("link", name="People").click()
        await page.get_by_label("E-mail").fill("nobody")
        await page.get_by_role("button", name="Make the link").click()
        await expect(page.get_by_text("not an e-mail address").first).to_be_visible()
        await seen.look("people-wrong")
        await page.get_by_label("E-mail").fill("a.very.long.address.of.somebody.new@the-regional-hospital.example.com")
        await page.get_by_label("Name").fill("Oluwaseun Adebayo-Ogunlesi of the Very Long Family Name")
        await page.get_by_role("button", name="Make the link").click()
        await expect(page.get_by_role("heading", name="A link for")).to_be_visible()
        await seen.look("person-link")
        await page.get_by_role("button", name="Done").click()
        await seen.look("people")
        await page.get_by_role("link", name="Oluwaseun").click()
        await seen.look("person")
        await page.get_by_label("admin").check()
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_role("status")).to_contain_text("Saved")
        # Money at the desk
        await page.get_by_role("link", name="Payments", exact=True).click()
        await page.get_by_role("link", name="Take a payment").click()
        await seen.look("by-hand-off")
        await page.get_by_role("link", name="Set it up").click()
        await page.get_by_role("button", name="Save", exact=True).click()
        await page.get_by_role("button", name="Switch on").click()
        await seen.go(f"{door}/by-hand")
        await page.get_by_label("Amount").fill("a lot")
        await page.get_by_role("button", name="Go on").click()
        await expect(page.get_by_text("valid amount").first).to_be_visible()
        await page.get_by_label("Amount").fill("7500")
        await page.get_by_label("Who pays").fill("Ngozi Eze")
        await page.get_by_label("What it is for").fill("Four sessions")
        await seen.look("by-hand")
        await page.get_by_role("button", name="Go on").click()
        await seen.look("by-hand-confirm")
        await page.get_by_label("Amount that you counted").fill("7000")
        await page.get_by_label("What you saw").fill("Cash at the desk")
        await page.get_by_role("button", name="The money is there").click()
        await expect(page.get_by_text("must be exactly").first).to_be_visible()
        await seen.look("by-hand-wrong")
        await page.get_by_label("Amount that you counted").fill("7,500.00")
        await page.get_by_role("button", name="The money is there").click()
        await expect(page.get_by_role("status")).to_contain_text("Booked")
        await seen.look("by-hand-paid")
        # The colour
        await page.get_by_role("link", name="Payment links").click()
        await seen.look("links")
        await page.get_by_role("link", name="Colour of the checkout").click()
        await page.get_by_label("Colour").fill("#8a2be2")
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_role("status")).to_contain_text("Payers see it")
        await seen.look("look")


async def test_with_the_keyboard_alone(house: Installation, clinic: Practice, browser: Browser, tmp_path: Path) -> None:
    door = f"/practice/{clinic.id}"
    async with visit(house, browser, "desk", tmp_path) as seen:
        page = seen.page
        await seen.go(f"{door}/login")
        await page.keyboard.type("pat@example.com")  # the first field has the focus
        await page.keyboard.press("Tab")
        await page.keyboard.type("correct-horse-battery")
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/payments")
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.locator("main")).to_be_focused()
        menu = page.locator("details.who summary")
        await menu.focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("button", name="Sign out")).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("button", name="Sign out")).to_be_hidden()
        await expect(menu).to_be_focused()


async def test_without_a_script(house: Installation, clinic: Practice, browser: Browser, tmp_path: Path) -> None:
    paid = await clinic.paid(330_000, customer={"email": "kemi@example.com", "name": "Kemi"})
    async with visit(house, browser, "phone", tmp_path, java_script_enabled=False) as seen:
        page, door = seen.page, f"/practice/{clinic.id}"
        await seen.sign_in(door, "pat@example.com")
        await seen.go(f"{door}/payments/{paid['id']}/refund")
        await page.get_by_role("button", name="Go on").click()
        await page.get_by_role("button", name="Refund ₦").click()
        await expect(page.get_by_role("status")).to_contain_text("Refund submitted")
        await seen.go(f"{door}/providers?amount=5000&currency=NGN#who")
        await expect(page.locator("#answer")).to_contain_text("will take")
        await (
            page.get_by_role("button", name="Move Flutterwave down")
            .or_(page.get_by_role("button", name="Move Flutterwave up"))
            .and_(page.locator(":enabled"))
            .first.click()
        )
        await expect(page.get_by_role("status").first).to_contain_text("new order")
        await page.locator("details.who summary").click()
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_text("You are signed out.")).to_be_visible()


@pytest.mark.parametrize("language", ["fr", "sw"])
async def test_in_other_languages(
    house: Installation, clinic: Practice, browser: Browser, language: str, tmp_path: Path
) -> None:
    door = f"/practice/{clinic.id}"
    async with visit(house, browser, "phone", tmp_path) as seen:
        await seen.sign_in(door, "pat@example.com")
        await seen.go(f"/language/{language}?back={door}/overview")
        await seen.look(f"overview-{language}")
        for path in ("payments", "providers", "providers/paystack", "activity"):
            await seen.go(f"{door}/{path}")
            assert await seen.page.locator("html").get_attribute("lang") == language
