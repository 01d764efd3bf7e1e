"""Every page in French and Swahili with a clinic's data: no English sentence, no raw code (issue 18, item 12; pages, D27).

No browser is needed, only the data that the browser tests look at.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser

import pytest
import pytest_asyncio

from polytill.domain.states import Environment
from polytill.storage import cases, payment_lists
from polytill.storage.payment_lists import Filters
from polytill.web.i18n import LANGUAGES, Plural, texts
from tests.browser.checkout_scenes import Scenes
from tests.browser.scene import stage
from tests.installation import Installation, running
from tests.web.browsing import Browser
from tests.web.support import Clock, Practice, fresh

pytestmark = pytest.mark.asyncio(loop_scope="module")
CLOCK = Clock()
OTHERS = [language for language in LANGUAGES if language != "en"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    async with running(tmp_path_factory.mktemp("house"), world=CLOCK.world(), provider_timeout_s=1.0) as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pages(house: Installation) -> dict[str, list[str]]:
    """The address of every page, by the door through which it is seen; the payers' pages have none."""
    clinic = await stage(house, CLOCK)
    payers = await Scenes(house, CLOCK).build()
    manual = {"providerCode": "manual", "environment": "sandbox", "isEnabled": True, "supportedCurrencies": ["NGN"]}
    assert (await clinic.call("POST", "/payment-providers", manual)).status == 201
    cash = {"amount": 750_000, "currency": "NGN", "providerCode": "manual", "paymentMethod": "cash"}
    made = (await clinic.call("POST", "/payments", cash, idempotency=fresh())).body
    payers["instructions"] = f"/pay/{made['clientToken']}"
    link = {"amount": 150_000, "currency": "NGN", "description": "Visit"}
    assert (await clinic.call("POST", "/payment-links", link)).status == 201
    await clinic.fault("create", "lose_answer")
    await clinic.create(210_000)
    practice, owner = f"/practice/{clinic.id}", "/owner"
    return {
        practice: [practice + path for path in await _of_practice(clinic, made["id"])],
        owner: [
            owner + path
            for path in (
                "", "/catalog", *(f"/catalog/{code}" for code in ("stripe", "paystack", "flutterwave", "mpesa", "manual")),
                "/catalog/new", "/practices", "/practices/new", f"/practices/{clinic.id}", "/waiting", "/activity",
                "/people", "/password",
            )
        ],
        "": sorted({"/", f"{practice}/login", "/owner/login", *payers.values()}),
    }  # fmt: skip


async def _of_practice(clinic: Practice, cash: str) -> list[str]:
    db = await clinic.db
    rows = await payment_lists.listed(db, Filters(Environment.sandbox), 100)
    [excess] = [case.id for case in await cases.listed(db) if case.kind == "excess"]
    paid = next(one.id for one in rows if one.amount_captured and not one.amount_refunded)
    codes = ("paystack", "flutterwave", "flutterwave_v4", "stripe", "manual")
    return [
        "/payments", "/payments?q=nobody", "/by-hand", "/links", "/checkout", "/overview", "/overview?month=2020-02",
        "/waiting", "/waiting?closed=true", f"/waiting/{excess}", f"/waiting/{excess}/refund", "/providers",
        *(f"/providers/{code}" for code in codes), "/activity", "/people", "/settings", "/password", "/payments/none",
        *(f"/payments/{one.id}" for one in rows), f"/payments/{paid}/refund", f"/payments/{cash}/by-hand",
        f"/payments/{cash}/cancel",
    ]  # fmt: skip


class _Said(HTMLParser):
    """Every piece of text for a person, with labels and placeholders; without code, what a person typed, and what is
    marked as English."""

    SILENT = frozenset({"script", "style", "code", "textarea", "datalist"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.pieces: list[str] = []
        self._open: list[tuple[str, bool]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        silent = tag in self.SILENT or (given.get("lang") == "en" and tag != "html") or bool(given.get("hreflang"))
        self.pieces += [given[name] or "" for name in ("aria-label", "placeholder", "alt", "title") if given.get(name)]
        if tag not in ("input", "meta", "link", "br", "img", "path", "circle", "rect", "line", "option"):
            self._open.append((tag, silent))

    def handle_endtag(self, tag: str) -> None:
        while self._open and any(one == tag for one, _ in self._open):
            if self._open.pop()[0] == tag:
                break

    def handle_data(self, data: str) -> None:
        if data.strip() and not any(silent for _, silent in self._open):
            self.pieces.append(" ".join(data.split()))


def _english(language: str) -> list[re.Pattern[str]]:
    """Texts of more than one word whose translation differs, as patterns: a value may stand where it has a place."""
    found = []
    for file in ("", "checkout."):
        theirs = texts(f"{file}{language}")
        for key, text in texts(f"{file}en").items():
            if key.startswith("declared."):
                continue  # they quote what the provider's dashboard calls it; tests/regressions/test_words_of_pages.py
            forms = text.forms.values() if isinstance(text, Plural) else [text]
            other = theirs[key]
            same = set(other.forms.values()) if isinstance(other, Plural) else {other}
            for form in forms:
                fixed = re.sub(r"\{\w+\}", "", form)
                if form not in same and len(re.findall(r"[A-Za-z’]+", fixed)) > 1:
                    found.append(
                        re.compile(r"(?<!\w)" + ".+?".join(map(re.escape, re.split(r"\{\w+\}", form))) + r"(?!\w)")
                    )
    return found


# A name from the code (``lose_answer``), a JSON path (``/customer/email``), a code with its class or module.
_RAW = re.compile(r"(?<![\w./@-])(?:[a-z]+_[a-z_]+[a-z]|/[a-z]+(?:/[a-zA-Z]+)+|practice:\d+|user:\d+)(?![\w./@-])")
# Text of a person or a provider with such a shape: an address of the service itself, the host's own example.
_ALLOWED = re.compile(r"acme_pay|/practice/")


@pytest.mark.parametrize("language", OTHERS)
async def test_no_page_has_an_english_sentence_or_a_raw_code(
    house: Installation, pages: dict[str, list[str]], language: str
) -> None:
    english, wrong, seen = _english(language), [], 0
    async with Browser(house) as browser:
        await browser.get(f"/language/{language}?back=/owner")
        for door, addresses in pages.items():
            if door:
                email = "olu@example.com" if door == "/owner" else "pat@example.com"
                assert (await browser.sign_in(door, email)).status == 303
            for address in addresses:
                page = await browser.get(address, **{"Accept-Language": language, "Accept": "text/html"})
                assert page.status in (200, 404), address
                assert f'lang="{language}"' in page.html, address
                pieces = _Said(page.html).pieces
                seen += len(pieces)
                for piece in pieces:
                    wrong += [(address, piece, one.pattern) for one in english if one.search(piece)]
                    wrong += [(address, piece, raw) for raw in _RAW.findall(_ALLOWED.sub("", piece))]
    assert seen > 1000
    assert sorted(set(wrong)) == []
