"""The checkout without a browser: what every state says and allows, retries that are safe, languages, receipts."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import string
from pathlib import Path
from typing import Any

import pytest

from polytill.domain.states import AttemptState, Environment, IntegrationType, PaymentStatus
from polytill.flows.payments.reading import PaymentDetails, details_of, find
from polytill.flows.payments.retries import may_try_again
from polytill.flows.recovery import lookup
from polytill.flows.recovery.checkout import Step
from polytill.flows.recovery.payment_input import FIELDS
from polytill.providers.contract import ProviderConfig
from polytill.providers.outcomes import Wants
from polytill.providers.registry import Registry
from polytill.providers.stripe.payment_element import POLICY, SCRIPT
from polytill.web.checkout import pages
from polytill.web.checkout.pages import ink_on
from polytill.web.checkout.states import ROUNDS, State, state_of, wait_of
from polytill.web.checkout.texts import LANGUAGES, texts
from tests.installation import Installation
from tests.web.support import PROVIDERS, Clock, Json, Page, Practice, fresh, is_problem, snapshot
from tests.wording import payer_part, to_payer

pytestmark = pytest.mark.asyncio(loop_scope="module")

TEMPLATES = {path.name: path.read_text() for path in (Path(pages.__file__).parent / "templates").glob("*.html")}
HTML = {"Accept": "text/html,application/xhtml+xml"}


async def _shown(house: Installation, path: str, **headers: str) -> tuple[Page, str, Any]:
    found = await house.call("GET", path, headers={**HTML, **headers})
    assert found.status == 200, found.body
    return Page(found.body), found.body, found.headers


def _state(html: str) -> str:
    return re.findall(r'data-state="([a-z_-]+)"', html)[0]


def _policy(headers: Any) -> dict[str, list[str]]:
    return {d.split()[0]: d.split()[1:] for d in headers["Content-Security-Policy"].split(";")}


async def _back(house: Installation, payment: Json, query: str = "") -> str:
    found = await house.call("GET", f"/pay/{payment['clientToken']}/return{query}")
    assert found.status == 303
    return str(found.headers["Location"])


# ── Trying again ──


async def test_a_payment_that_reached_nobody_is_tried_again(shared: Installation) -> None:
    practice = await Practice.make(shared, "paystack")
    await practice.fault("create", "rate_limit")
    made = (await practice.create()).body
    path = f"/pay/{made['clientToken']}"
    page, html, _ = await _shown(shared, path)
    assert (made["status"], _state(html)) == ("failed", "not_reached")
    assert [form["action"] for form, _ in page.forms] == [f"{path}/retry"]
    # Five presses at once make one attempt: there are never two payable links.
    again = await asyncio.gather(*(shared.call("POST", f"{path}/retry") for _ in range(5)))
    assert {(found.status, found.headers["Location"]) for found in again} == {(303, path)}
    payment = await practice.payment(made["id"])
    assert [a["status"] for a in payment["attempts"]] == ["not_sent", "needs_action"]
    assert len(await practice.books()) == 1
    page, html, _ = await _shown(shared, path)
    assert (_state(html), page.ways) == ("open", [payment["nextAction"]["url"]])
    await practice.act(payment["attempts"][-1]["reference"])
    assert await _back(shared, made) == f"{path}?back=paid"
    lines = (await practice.call("GET", f"/audit-log?subject={made['id']}")).body
    assert [line["actor"] for line in lines if line["action"] == "payment.tried_again"] == ["customer"]


async def test_the_retry_prefers_whom_it_has_not_tried(shared: Installation) -> None:
    practice = await Practice.make(shared, "paystack")
    await practice.fault("create", "rate_limit")
    made = (await practice.create()).body
    await practice.configure("flutterwave", ["NGN"])
    await shared.call("POST", f"/pay/{made['clientToken']}/retry")
    payment = await practice.payment(made["id"])
    assert [a["providerCode"] for a in payment["attempts"]] == ["paystack", "flutterwave"]
    assert payment["providerCode"] == "flutterwave"


@pytest.mark.parametrize("code", PROVIDERS)
async def test_nothing_is_tried_again_while_a_link_can_be_paid(shared: Installation, code: str) -> None:
    practice = await Practice.make(shared, code)
    await practice.fault("webhook", "drop", count=None)
    made = (await practice.create()).body
    retry = f"/pay/{made['clientToken']}/retry"

    async def changes_nothing() -> None:
        before = await snapshot(shared, practice.id)
        assert (await shared.call("POST", retry)).status == 303
        assert await snapshot(shared, practice.id) == before

    await changes_nothing()
    await practice.act(made["attempts"][0]["reference"], "decline")
    await _back(shared, made)
    await practice.settled(made["id"], failureReason="declined")
    page, html, _ = await _shown(shared, f"/pay/{made['clientToken']}")
    assert _state(html) == "declined"
    assert page.ways == ([made["nextAction"]["url"]] if code != "stripe" else [])  # the very same link
    await changes_nothing()
    # Marked as not paid by staff: at a provider that cannot close links it may still be payable.
    await practice.call("POST", f"/payments/{made['id']}/cancel", idempotency=fresh())
    page, html, _ = await _shown(shared, f"/pay/{made['clientToken']}")
    assert (_state(html), page.ways, page.forms) == ("canceled", [], [])
    await changes_nothing()
    is_problem(await shared.call("GET", retry), 405)


@pytest.mark.parametrize("state", AttemptState)
async def test_which_attempts_are_closed_for_certain(shared: Installation, state: AttemptState) -> None:
    """Only what was refused for good, or never arrived, lets a payer have a second link."""
    context = shared.till.context
    practice = await Practice.make(shared, "paystack")
    await practice.fault("create", "rate_limit")
    made = (await practice.create()).body
    opened, payment = await find(context, practice.id, made["id"])
    found = await details_of(opened.db, payment)
    assert found.payment.status is PaymentStatus.failed
    found.attempts[0].state = state
    assert may_try_again(context, found.payment, found.attempts) == (state in ("declined", "not_sent"))
    found.attempts[0].state = AttemptState.not_sent
    assert not may_try_again(context, found.payment, found.attempts * 10)
    found.payment.expires_at = context.world.now()
    assert not may_try_again(context, found.payment, found.attempts)


# ── States ──


async def test_expired_says_so_before_the_worker_comes_and_after(shared: Installation, clock: Clock) -> None:
    practice = await Practice.make(shared, "paystack")
    made = (await practice.create()).body
    path = f"/pay/{made['clientToken']}"
    clock.advance(90_000)
    try:
        page, html, _ = await _shown(shared, path)
        assert (_state(html), page.ways) == ("expired", [])
        await lookup.expire(*await find(shared.till.context, practice.id, made["id"]))
    finally:
        clock.offset_s = 0
    page, html, _ = await _shown(shared, path)
    assert (_state(html), page.ways) == ("expired", [])
    assert payer_part("expired.text") in page.text


async def test_a_provider_that_does_not_answer_on_the_way_back(shared: Installation) -> None:
    """Nobody who may have paid is shown a way to pay."""
    practice = await Practice.make(shared, "paystack")
    made = (await practice.create(returnUrl="https://shop.example/thanks")).body
    await practice.fault("webhook", "drop", count=None)
    await practice.act(made["attempts"][0]["reference"])
    await practice.fault("lookup", "error_500")
    place = await _back(shared, made)
    assert place == f"/pay/{made['clientToken']}?back=unanswered"
    page, html, _ = await _shown(shared, place)
    assert (_state(html), page.ways) == (
        "unreachable",
        [f"https://shop.example/thanks?paymentId={made['id']}&status=requires_action"],
    )
    [again] = re.findall(r'content="2; url=([^"]+)"', html)
    assert (await shared.call("GET", again)).headers["Location"] == f"/pay/{made['clientToken']}?back=paid&n=1"
    _, html, _ = await _shown(shared, f"/pay/{made['clientToken']}?back=paid&n=1")
    assert _state(html) == "paid"


async def test_the_page_that_finds_out_looks_by_itself_and_stops(shared: Installation) -> None:
    practice = await Practice.make(shared, "paystack")
    await practice.fault("create", "lose_answer")
    made = (await practice.create()).body
    path = f"/pay/{made['clientToken']}"
    for given, after in (
        ("", 2),
        ("?n=1", 2),
        ("?n=17", 60),
        ("?n=x", 2),
        ("?n=-1", 2),
        ("?n=²", 2),
        ("?back=lies", 2),
    ):
        _, html, headers = await _shown(shared, path + given)
        assert f'http-equiv="refresh" content="{after}; url={path}/return?n=' in html, given
        assert _policy(headers)["script-src"] == ["'self'"]
    for given in ("?n=18", "?n=9999"):
        page, html, headers = await _shown(shared, path + given)
        assert "http-equiv" not in html
        assert "script-src" not in _policy(headers)
        assert page.ways == [f"{path}/return?n=0"]
        assert payer_part("finding.stopped") in page.text
    assert sum(ROUNDS) < 600


def _taken(status: str, attempt: str = "needs_action", **more: Any) -> PaymentDetails:
    class Row:
        def __init__(self, **values: Any) -> None:
            self.__dict__.update(values)

    payment = {
        "status": PaymentStatus(status),
        "amount_captured": 100,
        "amount_refunded": 0,
        "cancel_reason": None,
        "failure_reason": None,
        "expires_at": None,
    }
    reason = more.pop("reason", None)
    rows = [Row(state=AttemptState(attempt), reason=reason)]
    return PaymentDetails(Row(**{**payment, **more}), rows)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "step", "retry", "back", "expected"),
    [
        (_taken("requires_action"), Step("redirect", "u"), False, None, State("open", "plain")),
        (_taken("requires_action"), Step("redirect", "u"), False, "unfinished", State("returned", "plain")),
        (_taken("requires_action"), Step("redirect", "u"), False, "unanswered", State("unreachable", "wait")),
        (_taken("requires_action"), None, False, None, State("finding", "wait")),
        (_taken("requires_action", reason="declined"), Step("redirect", "u"), False, None, State("declined", "bad")),
        (
            _taken("requires_action", reason="expired_card"),
            Step("redirect", "u"),
            False,
            "unfinished",
            State("declined", "bad", "expired_card"),
        ),
        # A lost answer that was found again is no decline.
        (_taken("requires_action", reason="timeout"), Step("redirect", "u"), False, None, State("open", "plain")),
        (
            _taken("requires_action"),
            Step("instructions", instructions="Dial"),
            False,
            None,
            State("instructions", "plain"),
        ),
        *(
            (_taken("requires_action"), Step("input", wants=wants), False, None, State("input", "plain", wants.value))
            for wants in Wants
        ),
        (_taken("processing", "unknown"), None, False, None, State("finding", "wait")),
        (_taken("processing", "sent"), None, False, "unfinished", State("finding", "wait")),
        (_taken("processing", "pending"), None, False, None, State("pending", "wait")),
        (_taken("failed", "declined", failure_reason="declined"), None, True, None, State("failed_again", "bad")),
        (_taken("failed", "not_sent", failure_reason="unreachable"), None, True, None, State("not_reached", "wait")),
        (_taken("failed", "not_sent", failure_reason="unreachable"), None, False, None, State("failed", "bad")),
        (_taken("canceled", "canceled", cancel_reason="canceled"), None, False, None, State("canceled", "over")),
        (_taken("canceled", "expired", cancel_reason="expired"), None, False, None, State("expired", "over")),
        (_taken("authorized", "authorized"), None, False, None, State("authorized", "good")),
        (_taken("succeeded", "succeeded"), None, False, "paid", State("paid", "good")),
        (_taken("succeeded", "succeeded"), None, False, None, State("already", "good")),
        (_taken("succeeded", "succeeded", amount_refunded=1), None, False, None, State("part_refunded", "good")),
        (_taken("succeeded", "succeeded", amount_refunded=100), None, False, "paid", State("refunded", "good")),
    ],
)
async def test_every_state(
    found: PaymentDetails, step: Step | None, retry: bool, back: str | None, expected: State
) -> None:
    state = state_of(found, step, retry, back, None)  # type: ignore[arg-type]
    assert state == expected
    for language in LANGUAGES:
        assert texts(language)[state.name].keys() >= {"title", state.text}
    waits = wait_of(state, 0) is not None
    assert waits == (state.name in ("finding", "pending", "unreachable", "instructions"))
    assert wait_of(state, len(ROUNDS)) is None


# ── What a page may load ──


async def test_a_page_allows_what_its_provider_needs_and_nothing_else(shared: Installation) -> None:
    plain = {"default-src", "style-src", "img-src", "form-action", "base-uri", "frame-ancestors"}
    for code in PROVIDERS:
        practice = await Practice.make(shared, code)
        made = (await practice.create()).body
        _, html, headers = await _shown(shared, f"/pay/{made['clientToken']}")
        policy = _policy(headers)
        if code == "stripe":
            simulator = shared.simulator.url
            assert policy.keys() == plain | {"script-src", "connect-src"}
            assert policy["script-src"] == policy["connect-src"] == ["'self'", simulator]
            assert f'src="{simulator}/stripe/dahlia/stripe.js"' in html
            assert "js.stripe.com" not in html
        else:
            assert policy.keys() == plain
            assert "<script" not in html


async def test_stripe_itself_is_loaded_from_stripe(shared: Installation) -> None:
    context = shared.till.context
    cls = context.registry.get("stripe", IntegrationType.built_in, None)
    for base in ("https://api.stripe.com", "https://api.stripe.com/v1"):
        config = ProviderConfig(Environment.production, base, "pk_live_x")
        public = cls(config, context.http, context.world).get_public_config()
        assert public == {"publicKey": "pk_live_x", "script": SCRIPT, "policy": POLICY}
    assert all(o.startswith("https://") and o.endswith(".stripe.com") for os in POLICY.values() for o in os)


async def test_methods_are_those_of_the_currency() -> None:
    registry = Registry(frozenset())
    for code in PROVIDERS:
        cls = registry.get(code, IntegrationType.built_in, None)
        for currency in cls.catalog.currencies:
            assert set(cls.methods_in(currency)) <= set(cls.catalog.methods), (code, currency)
            assert "card" in cls.methods_in(currency)
    flutterwave, paystack = (registry.get(c, IntegrationType.built_in, None) for c in ("flutterwave", "paystack"))
    assert "ussd" in flutterwave.methods_in("NGN")
    assert not {"ussd", "mobile_money", "bank_transfer"} & set(flutterwave.methods_in("USD"))
    assert "mobile_money" not in flutterwave.methods_in("NGN")
    assert paystack.methods_in("USD") == ("card",)


# ── Language ──


def _placeholders(sentence: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(sentence) if name}


@pytest.mark.parametrize("language", LANGUAGES)
async def test_every_language_says_everything(language: str) -> None:
    english, other = texts("en"), texts(language)
    assert {(s, n) for s in english for n in english[s]} == {(s, n) for s in other for n in other[s]}
    for section, sentences in english.items():
        for name, sentence in sentences.items():
            said = other[section][name]
            assert said.strip(), (section, name)
            assert _placeholders(said) == _placeholders(sentence), (section, name)


async def test_every_field_has_a_label() -> None:
    assert {name for names in FIELDS.values() for name in names} == texts("en")["field"].keys()


async def test_no_page_says_what_is_not_written() -> None:
    for name, source in TEMPLATES.items():
        for section, sentence in re.findall(r"say\('(\w+)', '(\w+)'", source):
            assert sentence in texts("en")[section], (name, section, sentence)


async def test_language_and_amount_of_the_payer(shared: Installation) -> None:
    practice = await Practice.make(shared, "paystack")
    made = (await practice.create(1_234_550)).body
    path = f"/pay/{made['clientToken']}"
    for accepted, lang, amount in (
        ("fr-CI,fr;q=0.9,en;q=0.8", "fr", "12\u202f345,50\u00a0NGN"),
        ("de-DE,de;q=0.9,sw;q=0.3", "sw", "NGN\u00a012,345.50"),
        ("en-NG", "en", "₦12,345.50"),
        ("en;q=0.1, sw;q=0.9", "sw", "NGN\u00a012,345.50"),
        ("xx-YY,*;q=0.5,;;=,en-!!;q=nan,fr;q=0", "en", "NGN\u00a012,345.50"),
        ("", "en", "NGN\u00a012,345.50"),
    ):
        _, html, headers = await _shown(shared, path, **{"Accept-Language": accepted})
        assert f'<html lang="{lang}">' in html, accepted
        assert f'<p class="amount">{amount}</p>' in html, accepted
        assert "Set-Cookie" not in headers
    _, html, headers = await _shown(shared, f"{path}?lang=sw", **{"Accept-Language": "fr"})
    assert '<html lang="sw">' in html
    assert headers["Set-Cookie"].startswith("polytill_lang=sw; HttpOnly; Max-Age=31536000; Path=/; SameSite=lax")
    _, html, _ = await _shown(shared, path, **{"Accept-Language": "en", "Cookie": "polytill_lang=fr"})
    assert '<html lang="fr">' in html
    for nonsense in ("xx", "../en", "EN", "en\u0000"[:2].upper(), ""):
        _, html, headers = await _shown(shared, f"{path}?lang={nonsense}")
        assert '<html lang="en">' in html
        assert "Set-Cookie" not in headers


# ── Color ──


async def test_the_practice_chooses_its_colour(shared: Installation) -> None:
    practice = await Practice.make(shared, "paystack")
    path = f"/pay/{(await practice.create()).body['clientToken']}"
    assert (await practice.call("GET", "/checkout")).body["color"] is None
    for wrong in ("red", "#FFF", "#ABCDEF", "#12345", "#1234567", "#12345g", "}body{display:none", 5, [], "#123456\n"):
        is_problem(await practice.call("PUT", "/checkout", {"color": wrong}), 422)
    is_problem(await practice.call("PUT", "/checkout", {}), 422)
    assert (await practice.call("PUT", "/checkout", {"color": "#ffcc00"})).body["color"] == "#ffcc00"
    _, html, headers = await _shown(shared, path)
    [style] = re.findall(r"<style>(.*)</style>", html)
    assert style == ":root{--brand:#ffcc00;--on-brand:#000000}"
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert _policy(headers)["style-src"] == ["'self'", f"'sha256-{digest}'"]
    assert (await practice.call("PUT", "/checkout", {"color": None})).body["color"] is None
    _, html, _ = await _shown(shared, path)
    assert "<style>" not in html


def _luminance(color: str) -> float:
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


async def test_ink_is_readable_on_any_colour() -> None:
    for red in range(0, 256, 15):
        for green in range(0, 256, 15):
            for blue in range(0, 256, 51):
                color = f"#{red:02x}{green:02x}{blue:02x}"
                low, high = sorted((_luminance(color), _luminance(ink_on(color))))
                assert (high + 0.05) / (low + 0.05) >= 4.5, color


# ── Receipts, and what cannot be shown ──


@pytest.mark.parametrize("code", PROVIDERS)
async def test_a_receipt_shows_what_was_paid_and_given_back(shared: Installation, code: str) -> None:
    practice = await Practice.make(shared, code)
    made = (await practice.create(10_050, description="Root canal", reference="INV-7")).body
    path = f"/pay/{made['clientToken']}/receipt"
    is_problem(await shared.call("GET", path), 404, "not_found")
    refused = await shared.call("GET", path, headers=HTML)
    assert (refused.status, to_payer("problem.no_receipt") in Page(refused.body).text) == (404, True)
    await practice.act(made["attempts"][0]["reference"])
    await practice.settled(made["id"], status="succeeded")
    page, _, _ = await _shown(shared, path)
    name = {"stripe": "Stripe", "paystack": "Paystack", "flutterwave": "Flutterwave"}[code]
    for words in ("Root canal", "INV-7", made["number"], name, "ada@example.com", "100.50", to_payer("page.test")):
        assert words in page.text, words
    assert payer_part("receipt.refunded") not in page.text
    await practice.refund(made["id"], 2_025)
    page, _, _ = await _shown(shared, path)
    assert "20.25" in page.text
    assert "80.25" in page.text
    assert practice.keys["secretKey"] not in page.text


async def test_what_cannot_be_shown_is_said_on_a_page(shared: Installation) -> None:
    practice = await Practice.make(shared, "paystack")
    token = (await practice.create()).body["clientToken"]
    wrong = token[:-1] + ("a" if token[-1] != "a" else "b")
    for path in ("", "/return", "/receipt"):
        found = await shared.call("GET", f"/pay/{wrong}{path}", headers={**HTML, "Accept-Language": "fr"})
        assert (found.status, found.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
        assert texts("fr")["problem"]["not_found"] in Page(found.body).text
        is_problem(await shared.call("GET", f"/pay/{wrong}{path}"), 404, "not_found")
    is_problem(await shared.call("POST", f"/pay/{wrong}/retry"), 404, "not_found")
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        is_problem(await shared.call(method, f"/pay/{token}"), 405)
        is_problem(await shared.call(method, f"/pay/{token}/receipt"), 405)
    for name in ("checkout.css", "checkout.js", "tokens.css", "checkout-icon.svg"):
        assert (await shared.call("GET", f"/static/{name}")).status == 200
