"""The checkout in a real browser: from open to the receipt, and every state on a phone and a desktop, light and dark."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from tests.browser.checkout_scenes import DESKTOP, PHONE, Payer, Scenes, launched, payer
from tests.installation import Installation, running
from tests.web.support import Clock, Practice
from tests.wording import to_payer

pytestmark = pytest.mark.asyncio(loop_scope="module")

WINDOWS = {"phone": PHONE, "desktop": DESKTOP}
STATES = (
    "open", "returned", "card-form", "declined", "finding", "finding-stopped", "pending", "unreachable", "not-reached",
    "paid", "already", "part-refunded", "refunded", "authorized", "canceled", "expired", "failed", "receipt",
    "receipt-part-refunded", "link", "link-poster", "link-closed", "no-such-payment",
)  # fmt: skip
clock = Clock()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    async with running(tmp_path_factory.mktemp("checkout"), world=clock.world(), provider_timeout_s=1.0) as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with launched() as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scenes(house: Installation) -> dict[str, str]:
    return await Scenes(house, clock).build()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("window", WINDOWS)
async def test_every_state(
    house: Installation, browser: Browser, scenes: dict[str, str], window: str, scheme: str
) -> None:
    async with payer(browser, house, WINDOWS[window], scheme) as who:
        for name in STATES:
            await who.open(scenes[name])
            if name == "card-form":
                await expect(who.page.get_by_role("button")).to_be_enabled()
            if name == "no-such-payment":  # the browser itself reports a 404
                assert who.faults == ["Failed to load resource: the server responded with a status of 404 (Not Found)"]
                who.faults.clear()
            try:
                await who.fine()
            except AssertionError as error:
                raise AssertionError(f"{name}: {error}") from error
            await who.picture(f"{name}-{window}-{scheme}")


# ── From open to the receipt ──


async def _clinic(house: Installation, code: str, currency: str) -> Practice:
    practice = Practice(house, *await house.practice("Lagos Family Clinic", currency))
    await practice.configure(code, [currency])
    return practice


@pytest.mark.parametrize("scripts", [True, False], ids=["script", "no-script"])
@pytest.mark.parametrize("code", ["paystack", "flutterwave"])
async def test_open_pay_return_receipt(house: Installation, browser: Browser, code: str, scripts: bool) -> None:
    """At the provider's own page, with and without JavaScript."""
    practice = await _clinic(house, code, "NGN")
    made = (await practice.create(500_000, description="Consultation")).body
    async with payer(browser, house, java_script_enabled=scripts) as who:
        await who.open(f"/pay/{made['clientToken']}")
        await who.page.get_by_role("link", name=to_payer("action.pay", amount="NGN\u00a05,000.00")).click()
        assert who.page.url.startswith(house.simulator.url)
        await who.page.get_by_role("button", name="Decline").click()
        if not who.page.url.startswith(house.url):  # Paystack's page does not redirect; Flutterwave's does
            await who.open(f"/pay/{made['clientToken']}/return")
        assert await who.state() == "declined"
        await who.page.get_by_role("link", name=to_payer("action.again")).click()
        await who.page.get_by_role("button", name="Pay", exact=True).click()
        await expect(who.page.get_by_role("heading", name=to_payer("paid.title"))).to_be_visible()
        assert await who.state() == "paid"
        await who.page.get_by_role("link", name=to_payer("receipt.title")).click()
        await expect(who.page.get_by_role("heading", name=to_payer("receipt.title"))).to_be_visible()
        await expect(who.page.get_by_text("NGN\u00a05,000.00")).to_be_visible()
        assert not who.faults, who.faults
    assert (await practice.payment(made["id"]))["amountCaptured"] == 500_000
    assert sum(row["captured"] for row in await practice.books()) == 500_000


async def _choose(who: Payer, card: str) -> None:
    await who.page.get_by_label(card).check()
    await who.page.get_by_role("button", name=to_payer("action.pay", amount="US$123.45")).click()


async def test_the_card_form_declines_and_pays(house: Installation, browser: Browser) -> None:
    practice = await _clinic(house, "stripe", "USD")
    made = (await practice.create(12_345)).body
    async with payer(browser, house) as who:
        await who.open(f"/pay/{made['clientToken']}")
        await _choose(who, "Test card that is declined")
        alert = who.page.get_by_role("alert")
        await expect(alert).to_contain_text("declined")
        assert who.faults == ["Failed to load resource: the server responded with a status of 402 (Payment Required)"]
        who.faults.clear()
        await who.fine()
        await _choose(who, "Test card that is approved")
        await expect(who.page.get_by_role("heading", name=to_payer("paid.title"), exact=True)).to_be_visible()
        assert not who.faults, who.faults
    payment = await practice.settled(made["id"], status="succeeded")
    assert (payment["status"], len(payment["attempts"])) == ("succeeded", 1)


async def test_the_card_form_goes_by_the_bank(house: Installation, browser: Browser) -> None:
    practice = await _clinic(house, "stripe", "USD")
    made = (await practice.create(12_345)).body
    async with payer(browser, house, DESKTOP, "dark") as who:
        await who.open(f"/pay/{made['clientToken']}")
        await _choose(who, "Test card whose bank asks on a page of its own")
        await who.page.get_by_role("button", name="Decline").click()
        await expect(who.page.get_by_role("heading", name=to_payer("declined.title"))).to_be_visible()
        await _choose(who, "Test card that is approved")
        await expect(who.page.get_by_role("heading", name=to_payer("paid.title"))).to_be_visible()
        assert not who.faults, who.faults


async def test_the_card_form_says_when_it_cannot_be_loaded(house: Installation, browser: Browser) -> None:
    practice = await _clinic(house, "stripe", "USD")
    made = (await practice.create(12_345)).body
    async with payer(browser, house) as who:
        await who.page.route("**/stripe.js", lambda route: route.abort())
        await who.open(f"/pay/{made['clientToken']}")
        await expect(who.page.get_by_role("alert")).to_contain_text(to_payer("method.not_loaded"))
    async with payer(browser, house, java_script_enabled=False) as who:
        await who.open(f"/pay/{made['clientToken']}")
        # A browser that a debugger controls does not render noscript, so the test looks for it in the source.
        assert f'<noscript><p class="problem">{to_payer("method.script")}' in await who.page.content()
        await expect(who.page.get_by_role("button")).to_be_disabled()


@pytest.mark.parametrize("scripts", [True, False], ids=["script", "no-script"])
async def test_the_page_finds_out_by_itself(house: Installation, browser: Browser, scripts: bool) -> None:
    practice = await _clinic(house, "paystack", "NGN")
    await practice.fault("create", "lose_answer")
    made = (await practice.create()).body
    async with payer(browser, house, java_script_enabled=scripts) as who:
        await who.open(f"/pay/{made['clientToken']}")
        assert await who.state() == "finding"
        # A lookup finds that the link was lost, and a new one can be paid.
        await expect(who.page.get_by_role("link", name=to_payer("action.pay", amount="NGN"))).to_be_visible(
            timeout=15_000
        )
        assert not who.faults, who.faults


async def test_the_payer_tries_again_after_nobody_was_reached(house: Installation, browser: Browser) -> None:
    practice = await _clinic(house, "paystack", "NGN")
    await practice.fault("create", "rate_limit")
    made = (await practice.create()).body
    async with payer(browser, house, java_script_enabled=False) as who:
        await who.open(f"/pay/{made['clientToken']}")
        assert await who.state() == "not_reached"
        await who.page.get_by_role("button", name=to_payer("action.again")).click()
        assert await who.state() == "open"
        await who.page.get_by_role("link", name=to_payer("action.pay", amount="NGN")).click()
        assert who.page.url.startswith(house.simulator.url)


async def test_a_link_by_keyboard_alone(house: Installation, browser: Browser) -> None:
    practice = await _clinic(house, "paystack", "NGN")
    body = {"amount": 1_500_000, "currency": "NGN", "description": "Term fee, Grade 4"}
    link = (await practice.call("POST", "/payment-links", body)).body
    async with payer(browser, house) as who:
        await who.open(link["url"].removeprefix(house.url))
        await who.page.keyboard.press("Tab")
        await who.page.keyboard.type("ada")
        await who.page.keyboard.press("Enter")
        await expect(who.page.get_by_text(to_payer("link.email_wrong"))).to_be_visible()
        await expect(who.page.get_by_label(to_payer("link.email"))).to_be_focused()
        who.faults.clear()  # the browser reports the 422
        await who.fine()
        await who.page.keyboard.press("End")
        await who.page.keyboard.type("@example.com")
        await who.page.keyboard.press("Enter")
        await expect(who.page.get_by_role("link", name=to_payer("action.pay", amount="NGN"))).to_be_visible()
        await who.page.keyboard.press("Tab")
        await who.page.keyboard.press("Enter")
        await who.page.wait_for_url(f"{house.simulator.url}/**")


# ── Languages and print ──


async def test_other_languages_and_long_words(house: Installation, browser: Browser, scenes: dict[str, str]) -> None:
    practice = Practice(house, *await house.practice("Clinique " + "Ouagadougou" * 8 + " & fils", "NGN"))
    await practice.configure("paystack", ["NGN"])
    made = (await practice.create(10**13, description="W" * 300)).body
    async with payer(browser, house) as who:
        for path, name in (
            (f"{scenes['open']}?lang=sw", "open-sw"),
            (f"{scenes['declined']}?lang=fr", "declined-fr"),
            (f"/pay/{made['clientToken']}?lang=fr", "long-words"),
        ):
            await who.open(path)
            await who.fine()
            await who.picture(name)
        # A language chosen once stays chosen.
        await who.open(scenes["paid"])
        assert await who.page.locator("html").get_attribute("lang") == "fr"


async def test_a_receipt_on_paper(house: Installation, browser: Browser, scenes: dict[str, str]) -> None:
    async with payer(browser, house, {"width": 700, "height": 620}, "dark") as who:
        await who.open(scenes["receipt-part-refunded"])
        await who.page.emulate_media(media="print", color_scheme="dark")
        await expect(who.page.get_by_role("link", name=to_payer("action.to_payment"))).to_be_hidden()
        await expect(who.page.get_by_role("navigation")).to_be_hidden()
        ink = "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
        assert await who.page.evaluate(ink) == ["rgb(255, 255, 255)", "rgb(0, 0, 0)"]  # also in the dark theme
        await who.picture("receipt-printed")
        pdf = await who.page.pdf(format="A4")
        assert pdf.count(b"/Type /Page\n") == 1 or pdf.count(b"/Type /Page ") == 1
