"""Pages say the same in every language: statuses, what handlers declare, and what we note ourselves.

Source: review of the pages (section 2b and D27: labels and names from handlers are English everywhere) and issue 18, item 12.
"Checking" stood for payments that their provider had under way, "Canceled" for those that expired.
"""

from __future__ import annotations

import ast
import re
from html import escape
from typing import Any

import pytest

from polytill.domain.errors import FieldError
from polytill.flows.payments.reading import find
from polytill.flows.recovery import lookup
from polytill.providers.registry import BUILT_IN
from polytill.web.console.timeline import told
from polytill.web.i18n import LANGUAGES, known_sentence, texts
from polytill.web.words import words_for
from tests.house.reading import modules
from tests.installation import Installation
from tests.web.browsing import Browser, person
from tests.web.support import Clock, Practice, fresh

OTHERS = [language for language in LANGUAGES if language != "en"]


def _declared(code: str) -> set[str]:
    handler: Any = BUILT_IN[code]
    settings = handler.config_schema.get("properties", {}).values()
    found = {handler.name, handler.catalog.description}
    found |= {text for spec in handler.keys.values() for text in (spec.label, spec.help)}
    return found | {text for spec in settings for text in (spec.get("title"), spec.get("description"))} - {None}


@pytest.mark.parametrize("code", sorted(BUILT_IN))
def test_all_that_a_built_in_handler_declares_has_a_text(code: str) -> None:
    assert {text for text in _declared(code) if text and known_sentence("declared", text) is None} == set()
    for spec in BUILT_IN[code].config_schema.get("properties", {}).values():
        assert {one for one in spec.get("enum", ()) if f"setting_choice.{one}" not in texts("en")} == set()


def test_what_a_plug_in_or_the_platform_calls_it_stays() -> None:
    words = words_for("fr", "")
    assert words.declared("Secret key") == texts("fr")["declared.secret_key"]
    assert [words.declared(text) for text in ("Acme merchant code", "Our own Paystack", "")] == [
        "Acme merchant code",
        "Our own Paystack",
        "",
    ]


@pytest.mark.parametrize("language", OTHERS)
def test_an_error_about_a_key_names_it_in_the_readers_language(language: str) -> None:
    error = FieldError("/secretKey", "…", "key_needed", {"provider": "Cash and bank transfer", "key": "Secret key"})
    said = words_for(language, "").told(error)
    assert words_for(language, "").declared("Cash and bank transfer") in said
    assert "ecret key" not in said


# What our own code notes on attempts, refunds and operations beside a reason.
_NOTES = {"NotSent": (1, 2), "Unknown": (1, 2), "Declined": (2, 3)}


def _noted() -> set[tuple[str, str]]:
    """Code and sentence of every outcome that is not a provider's."""
    found = set()
    for module in modules():
        if not module.name.startswith(("flows.", "providers.http")):
            continue
        for call in ast.walk(ast.parse(module.source)):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") in _NOTES:
                given: dict[str | None, ast.expr] = {}
                for name, place in zip(("code", "detail"), _NOTES[call.func.id], strict=True):  # type: ignore[attr-defined]
                    if len(call.args) > place:
                        given[name] = call.args[place]
                given |= {one.arg: one.value for one in call.keywords if one.arg in ("code", "detail")}
                detail, code = given.get("detail"), given.get("code")
                if isinstance(detail, ast.Constant) and isinstance(detail.value, str):
                    found.add((code.value if isinstance(code, ast.Constant) else "", detail.value))
    return found


def test_every_note_of_our_own_has_a_text() -> None:
    notes = _noted()
    assert len(notes) > 12
    silent = {
        note
        for code, note in notes
        if known_sentence("noted", note) is None and f"noted_code.{code}" not in texts("en") and code != "not_sent"
    }
    assert silent == set()
    assert {"noted_code.handler_missing", "noted_code.not_supported"} <= texts("en").keys()


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_note_of_ours_is_no_message_of_the_provider(language: str) -> None:
    words = words_for(language, "")
    missing = words.ours("handler_missing", "No handler for 'acme' is installed.")
    assert missing == texts(language)["noted_code.handler_missing"]
    assert words.ours("x", "The provider's answer did not arrive.") == texts(language)["noted.no_answer"]
    assert words.ours("51", "Insufficient funds") == ""


def _statuses(html: str) -> list[str]:
    return re.findall(r'data-status="(\w+)"', html)


@pytest.mark.asyncio(loop_scope="module")
async def test_processing_checking_and_expired_are_three_words(shared: Installation, clock: Clock) -> None:
    practice = await Practice.make(shared, "paystack")
    door = f"/practice/{practice.id}"
    await person(shared, await practice.db, "pat@example.com")
    made = {}
    made["processing"] = (await practice.create()).body
    tx = shared.simulator.network.by_reference(
        made["processing"]["attempts"][0]["reference"], "paystack", practice.keys["secretKey"]
    )
    assert tx is not None
    tx.wire.status = "ongoing"
    await practice.call("POST", f"/payments/{made['processing']['id']}/confirm")
    made["canceled"] = (await practice.create()).body
    await practice.call("POST", f"/payments/{made['canceled']['id']}/cancel", idempotency=fresh())
    await practice.fault("create", "lose_answer")
    made["checking"] = (await practice.create()).body
    assert made["checking"]["status"] == "processing"
    async with Browser(shared) as browser:
        await browser.sign_in(door, "pat@example.com")
        for word, payment in made.items():
            page = await browser.get(f"{door}/payments/{payment['id']}")
            assert _statuses(page.html) == [word]
            assert ("notice warn" in page.html) == (word in ("processing", "checking"))
        assert _statuses((await browser.get(f"{door}/payments")).html) == ["checking", "canceled", "processing"]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_payment_that_nobody_paid_in_time_is_expired(shared: Installation, clock: Clock) -> None:
    practice = await Practice.make(shared, "paystack")
    door = f"/practice/{practice.id}"
    await person(shared, await practice.db, "pat@example.com")
    late = (await practice.create()).body
    clock.advance(90_000)
    await lookup.expire(*await find(shared.till.context, practice.id, late["id"]))
    clock.offset_s = 0
    assert (await practice.payment(late["id"]))["status"] == "canceled"
    async with Browser(shared) as browser:
        await browser.sign_in(door, "pat@example.com")
        assert _statuses((await browser.get(f"{door}/payments")).html) == ["expired"]
        assert _statuses((await browser.get(f"{door}/payments/{late['id']}")).html) == ["expired"]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("language", OTHERS)
async def test_setting_a_provider_up_has_no_english_labels(shared: Installation, language: str) -> None:
    practice = await Practice.make(shared)
    door = f"/practice/{practice.id}"
    await person(shared, await practice.db, "pat@example.com")
    theirs = texts(language)
    async with Browser(shared) as browser:
        await browser.sign_in(door, "pat@example.com")
        await browser.get(f"/language/{language}?back={door}/providers")
        for code in ("paystack", "stripe", "flutterwave", "manual"):
            page = await browser.get(f"{door}/providers/{code}")
            assert page.status == 200, code
            for english in _declared(code):
                key = known_sentence("declared", english)
                assert key is not None
                if theirs[key] != texts("en")[key]:
                    assert not re.search(rf">{re.escape(escape(english))}\s*<", page.html), (code, english)
        secret = await browser.send(f"{door}/providers/paystack", f"{door}/providers/paystack", publicKey="")
        assert secret.status == 422
        assert "ecret key" not in secret.text


@pytest.mark.parametrize("language", OTHERS)
def test_the_activity_log_names_kinds_of_keys(language: str) -> None:
    for kind in ("owner", "practice", "publishable"):
        line = {"action": "key.created", "actor": "cli", "subject": "1", "detail": {"kind": kind}}
        [told_line] = told(words_for(language, ""), [line], {})
        assert told_line["said"] == texts(language)[f"key_kind.{kind}"] != kind
