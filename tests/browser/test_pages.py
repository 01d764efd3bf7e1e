"""The pages in a real browser: from signing in to a refund, on a desktop and on a phone, light and dark.

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
from tests.jobs import node
from tests.web.browsing import person
from tests.web.support import Clock, Practice, fresh_keys
from tests.wording import part, said

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
        await page.get_by_label(said("login.email")).fill("pat@example.com")
        await page.get_by_label(said("login.password")).fill("wrong")
        await page.get_by_role("button", name=said("login.go")).click()
        await expect(page.get_by_role("alert")).to_contain_text(said("login.wrong"))
        await seen.look("login-wrong")
        await seen.sign_in(door, "pat@example.com")
        await seen.look("payments")
        await page.get_by_label(said("payments.search")).fill("nobody at all")
        await page.get_by_role("button", name=said("payments.filter_go")).click()
        await expect(page.get_by_text(said("payments.none_found"))).to_be_visible()
        await seen.look("payments-none")
        await page.get_by_role("link", name=said("payments.clear")).first.click()
        await page.get_by_role("link", name="Chidi Okeke" if size == "desk" else "Ada Obi").click()
        await expect(page.get_by_text(said("story.attempt.succeeded", provider="Paystack"))).to_be_visible()
        await seen.look("payment")
        await page.get_by_role("link", name=said("payment.refund"), exact=True).click()
        await page.get_by_label(said("payments.amount")).fill("99,999,999.00")
        await page.get_by_role("button", name=said("refund.next")).click()
        await expect(page.get_by_text(part("fault.refund_exceeds_captured")).first).to_be_visible()
        await seen.look("refund-wrong")
        await page.get_by_label(said("payments.amount")).fill("1,000.50")
        await page.get_by_label(said("refund.reason")).fill("Visit was shorter")
        await page.get_by_role("button", name=said("refund.next")).click()
        whom = "Chidi Okeke" if size == "desk" else "Ada Obi"
        await expect(
            page.get_by_role("heading", name=said("refund.sure", amount="₦1,000.50", whom=whom))
        ).to_be_visible()
        await seen.look("refund-sure")
        await page.get_by_role("button", name=said("refund.go", amount="₦1,000.50")).click()
        await expect(page.locator("[data-done=refund_submitted]")).to_be_visible()
        await seen.look("payment-refunded")
        await page.get_by_role("link", name=said("nav.overview")).click()
        await expect(page.locator("svg.chart")).to_have_count(3)
        await seen.look("overview")
        await seen.go(f"{door}/overview?month=2020-02")
        await seen.look("overview-empty")
        await seen.go(f"{door}/activity")
        await seen.look("activity")
        await seen.go(f"{door}/attention")
        await seen.look("attention")
        await page.get_by_role("link", name=said("attention.look")).first.click()
        await expect(page.get_by_role("heading", name=said("attention.choices"))).to_be_visible()
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
        await page.get_by_role("link", name=said("payments.set_up")).click()
        await seen.look("providers-first")
        await page.get_by_role("link", name=said("providers.set_up", name="Paystack")).click()
        await page.get_by_label("Secret key").fill("sk_live_0123456789abcdef0123456789abcdef01234567")
        await page.get_by_label("Public key").fill(practice.keys["publicKey"])
        await expect(page.get_by_text(said("fault.live_key"))).to_be_visible()  # reported at once, nothing was saved
        await seen.look("provider-new")
        await page.get_by_label("Secret key").fill(practice.keys["secretKey"])
        await page.get_by_label("Public key").click()
        await expect(page.get_by_text(said("provider.key_fits")).first).to_be_visible()
        await page.get_by_role("button", name=said("provider.save_keys")).click()
        await expect(page.get_by_text(said("provider.delivery_waiting"))).to_be_visible()
        await page.get_by_role("button", name=said("provider.test_go")).click()
        await expect(page.get_by_text(said("provider.test_ok")).first).to_be_visible()
        await page.get_by_role("button", name=said("provider.enable")).click()
        await expect(page.locator("[data-done=enable]")).to_be_visible()
        # The notice of the first webhook appears without a reload.
        hook = await page.get_by_role("textbox", name=said("provider.webhook")).input_value()
        body = {
            "provider": "paystack",
            "account": practice.keys["secretKey"],
            "url": hook,
            "secret": practice.keys["secretKey"],
        }
        await house.network("POST", "/webhooks", body)
        await practice.paid(500_000)
        await expect(page.get_by_text(said("provider.delivery_received"))).to_be_visible()
        await seen.look("provider")
        await seen.go(f"{door}/providers/flutterwave")
        for label, name in (("Public key", "publicKey"), ("Secret key", "secretKey"), ("Secret hash", "webhookSecret")):
            await page.get_by_label(label).fill(fresh_keys("flutterwave")[name])
        await page.get_by_role("button", name=said("provider.save_keys")).click()
        await page.get_by_role("button", name=said("provider.enable")).click()
        await seen.go(f"{door}/providers")
        names = page.locator(".order .go")
        await expect(names).to_have_text(["Paystack", "Flutterwave"])
        down = page.get_by_role("button", name=said("providers.down", name="Paystack"))
        await down.focus()
        await page.keyboard.press("Enter")
        await expect(names).to_have_text(["Flutterwave", "Paystack"])
        if size == "desk":
            items = page.locator(".order li")
            await items.nth(1).drag_to(
                items.nth(0), target_position={"x": 300, "y": 4}, source_position={"x": 300, "y": 20}
            )
            await expect(page.locator("[data-done=order]")).to_be_visible()
            await expect(names).to_have_text(["Paystack", "Flutterwave"])
        await page.get_by_label(said("payments.amount")).fill("20")
        await page.keyboard.press("Tab")
        await expect(page.locator("#answer")).to_contain_text(said("excluded.below_minimum", least="₦50.00"))
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
            ("owner-catalog", "/catalog"),
            ("owner-provider", "/catalog/paystack"),
            ("owner-provider-large", "/catalog/stripe"),
            ("owner-provider-new", "/catalog/new?code=stripe"),
            ("owner-practices", "/practices"),
            ("owner-practice", f"/practices/{clinic.id}"),
            ("owner-practice-new", "/practices/new"),
            ("owner-attention", "/attention"),
            ("owner-activity", "/activity"),
            ("owner-people", "/people"),
        ):
            await seen.go(f"/owner{path}")
            await seen.look(name)
        await seen.go("/owner/catalog/paystack")
        await page.get_by_label(f"{said('catalog.percent')}, NGN").fill("a lot")
        await page.get_by_role("button", name=said("catalog.save_table")).click()
        await expect(page.get_by_text(part("fault.no_percentage")).first).to_be_visible()
        await seen.look("owner-provider-wrong")
        await seen.go("/owner/practices/new")
        await page.get_by_label(said("form.name")).fill(f"Accra Smiles {size}")
        await page.get_by_label(said("practices.currency")).fill("GHS")
        await page.get_by_role("button", name=said("practices.go")).click()
        await expect(page.get_by_role("heading", name=said("practices.key"))).to_be_visible()
        await seen.look("owner-practice-made")


@pytest.mark.parametrize("size", ["desk", "phone"])
async def test_the_end_of_a_practice(house: Installation, browser: Browser, size: str, tmp_path: Path) -> None:
    name = f"Jos Dental {size}"
    practice_id, _ = await house.practice(name, "NGN")
    if size == "desk":
        await person(house, house.till.context.owner, "end@example.com", name="Olu Owner")
    async with visit(house, browser, size, tmp_path) as seen:
        page = seen.page
        await seen.sign_in("/owner", "end@example.com")
        await seen.go(f"/owner/practices/{practice_id}")
        await page.get_by_role("button", name=said("practices.close")).click()
        await expect(page.get_by_text(said("done.practice_closed"))).to_be_visible()
        await seen.look("owner-practice-closed")
        await page.get_by_label(said("practices.delete_confirm")).fill("Another")
        await page.get_by_role("button", name=said("practices.delete")).click()
        await expect(page.get_by_text(said("fault.confirm_name")).first).to_be_visible()
        await seen.look("owner-practice-delete-wrong")
        await page.get_by_label(said("practices.delete_confirm")).fill(name)
        await page.get_by_label(said("practices.delete_now")).check()
        await page.get_by_label(said("practices.delete_reason")).fill("Opened by mistake")
        await page.get_by_role("button", name=said("practices.delete")).click()
        await page.wait_for_url("**/owner/jobs/*")
        async with node(house.till.context) as engine:
            await engine.drive(int(page.url.rpartition("/")[2]))
        await seen.go(f"/owner/practices/{practice_id}")
        await expect(page.get_by_text(said("practices.deleted_note"))).to_be_visible()
        await seen.look("owner-practice-deleted")
        await seen.go("/owner/practices")
        await seen.look("owner-practices-deleted")


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
        await page.get_by_label(said("doors.number")).fill("one")
        await page.get_by_role("button", name=said("refund.next")).click()
        await expect(page.get_by_text(said("doors.no_number"))).to_be_visible()
        await seen.look("doors-wrong")
        await page.get_by_label(said("doors.number")).fill(str(practice.id))
        await page.keyboard.press("Enter")
        await page.wait_for_url(f"**{door}/login")
        await seen.sign_in(door, "pat@example.com")
        # Team
        await page.get_by_role("link", name=said("nav.people")).click()
        await page.get_by_label(said("login.email")).fill("nobody")
        await page.get_by_role("button", name=said("people.invite_go")).click()
        await expect(page.get_by_text(said("fault.not_an_email")).first).to_be_visible()
        await seen.look("people-wrong")
        await page.get_by_label(said("login.email")).fill(
            "a.very.long.address.of.somebody.new@the-regional-hospital.example.com"
        )
        await page.get_by_label(said("form.name")).fill("Oluwaseun Adebayo-Ogunlesi of the Very Long Family Name")
        await page.get_by_role("button", name=said("people.invite_go")).click()
        await expect(page.get_by_role("heading", name=part("people.link_for"))).to_be_visible()
        await seen.look("person-link")
        await page.get_by_role("button", name=said("people.link_done")).click()
        await seen.look("people")
        await page.get_by_role("link", name="Oluwaseun").click()
        await seen.look("person")
        await page.get_by_label(said("role.admin")).check()
        await page.get_by_role("button", name=said("form.save")).click()
        await expect(page.locator("[data-done=saved]")).to_be_visible()
        # Manual payments
        await page.get_by_role("link", name=said("nav.payments"), exact=True).click()
        await page.get_by_role("link", name=said("manual.title")).click()
        await seen.look("manual-payment-off")
        await page.get_by_role("link", name=said("manual.set_up")).click()
        await page.get_by_role("button", name=said("form.save"), exact=True).click()
        await page.get_by_role("button", name=said("provider.enable")).click()
        await seen.go(f"{door}/manual")
        await page.get_by_label(said("payments.amount")).fill("a lot")
        await page.get_by_role("button", name=said("refund.next")).click()
        await expect(page.get_by_text(part("fault.amount_unreadable")).first).to_be_visible()
        await page.get_by_label(said("payments.amount")).fill("7500")
        await page.get_by_label(said("manual.payer")).fill("Ngozi Eze")
        await page.get_by_label(said("links.what_for")).fill("Four sessions")
        await seen.look("manual-payment")
        await page.get_by_role("button", name=said("refund.next")).click()
        await seen.look("manual-payment-confirm")
        await page.get_by_label(part("manual.counted")).fill("7000")
        await page.get_by_label(said("manual.seen")).fill("Cash at the desk")
        await page.get_by_role("button", name=said("manual.go")).click()
        await expect(page.get_by_text(part("fault.another_amount")).first).to_be_visible()
        await seen.look("manual-payment-wrong")
        await page.get_by_label(part("manual.counted")).fill("7,500.00")
        await page.get_by_role("button", name=said("manual.go")).click()
        await expect(page.locator("[data-done=booked]")).to_be_visible()
        await seen.look("manual-payment-paid")
        # The color
        await page.get_by_role("link", name=said("nav.links")).click()
        await seen.look("links")
        await page.get_by_role("link", name=said("look.open")).click()
        await page.get_by_label(said("look.color")).fill("#8a2be2")
        await page.get_by_role("button", name=said("form.save")).click()
        await expect(page.locator("[data-done=look]")).to_be_visible()
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
        await expect(page.get_by_role("link", name=said("nav.skip"))).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.locator("main")).to_be_focused()
        menu = page.locator("details.who summary")
        await menu.focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("button", name=said("nav.sign_out"))).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("button", name=said("nav.sign_out"))).to_be_hidden()
        await expect(menu).to_be_focused()


async def test_without_a_script(house: Installation, clinic: Practice, browser: Browser, tmp_path: Path) -> None:
    paid = await clinic.paid(330_000, customer={"email": "kemi@example.com", "name": "Kemi"})
    async with visit(house, browser, "phone", tmp_path, java_script_enabled=False) as seen:
        page, door = seen.page, f"/practice/{clinic.id}"
        await seen.sign_in(door, "pat@example.com")
        await seen.go(f"{door}/payments/{paid['id']}/refund")
        await page.get_by_role("button", name=said("refund.next")).click()
        await page.get_by_role("button", name=part("refund.go")).click()
        await expect(page.locator("[data-done=refund_submitted]")).to_be_visible()
        await seen.go(f"{door}/providers?amount=5000&currency=NGN#who")
        await expect(page.locator("#answer")).to_contain_text(part("who.takes"))
        await (
            page.get_by_role("button", name=said("providers.down", name="Flutterwave"))
            .or_(page.get_by_role("button", name=said("providers.up", name="Flutterwave")))
            .and_(page.locator(":enabled"))
            .first.click()
        )
        await expect(page.locator("[data-done=order]")).to_be_visible()
        await page.locator("details.who summary").click()
        await page.get_by_role("button", name=said("nav.sign_out")).click()
        await expect(page.locator("[data-done=signed_out]")).to_be_visible()


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
