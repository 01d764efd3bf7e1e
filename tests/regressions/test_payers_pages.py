"""A payer's page says only what is so (issue 18, item 12).

The page that tells how to pay at the desk or by transfer said that it updates automatically, and never did; where the provider
could not be asked it took the account away that the payer was about to pay into. Every wait was the payer's bank's, also where
their phone asked for a PIN. A receipt was wider than a phone of 360 pixels (``tests/browser/test_checkout.py``).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from polytill.domain.states import PaymentStatus
from polytill.flows.recovery.checkout import Step
from polytill.web.checkout.states import ROUNDS, State, state_of, wait_of
from polytill.web.i18n import LANGUAGES, texts
from tests.installation import Installation
from tests.web.support import Page, Practice, fresh
from tests.web.test_checkout import _taken
from tests.wording import to_payer

MANUAL = {"providerCode": "manual", "environment": "sandbox", "isEnabled": True, "supportedCurrencies": ["NGN"]}


@pytest.mark.asyncio(loop_scope="module")
async def test_how_to_pay_at_the_desk_looks_again_by_itself(shared: Installation) -> None:
    practice = await Practice.make(shared)
    assert (await practice.call("POST", "/payment-providers", MANUAL)).status == 201
    body = {"amount": 150_000, "currency": "NGN", "providerCode": "manual", "paymentMethod": "cash"}
    made = (await practice.call("POST", "/payments", body, idempotency=fresh())).body
    path = f"/pay/{made['clientToken']}"
    first = (await shared.call("GET", path)).body
    assert 'data-state="instructions"' in first
    assert (f'data-next="{path}/return?n=1"' in first, "/static/checkout.js" in first) == (True, True)
    assert to_payer("instructions.text") in Page(first).text
    unanswered = (await shared.call("GET", f"{path}?back=unanswered")).body
    assert made["number"] in Page(re.sub(r'(?s)<section class="sum".*?</section>', "", unanswered)).text
    last = (await shared.call("GET", f"{path}?n={len(ROUNDS)}")).body
    assert "data-next" not in last
    assert to_payer("instructions.stopped") in Page(last).text
    assert f"{path}/return?n=0" in Page(last).links


def test_what_says_that_it_updates_does_so() -> None:
    """Each state whose text promises it, in each language: a text "stopped" stands for the time after."""
    promise = {"en": "updates automatically", "fr": "met à jour automatiquement", "sw": "utajisasisha"}
    for language in LANGUAGES:
        promised = {
            key.partition(".")[0]
            for key, text in texts(f"checkout.{language}").items()
            if isinstance(text, str) and promise[language] in text and key.endswith(".text")
        }
        assert promised >= {"finding", "pending", "instructions"}
        for name in promised:
            assert wait_of(State(name, "wait"), 0) is not None, name
            assert f"{name}.stopped" in texts(f"checkout.{language}")


def test_how_to_pay_stays_where_the_provider_cannot_be_asked() -> None:
    taken = _taken(PaymentStatus.requires_action.value)
    told = Step("instructions", instructions="Transfer to account 0123456789")
    now = datetime(2026, 11, 30, tzinfo=UTC)
    assert state_of(taken, told, False, "unanswered", now).name == "instructions"
    assert state_of(taken, Step("redirect", url="https://x"), False, "unanswered", now).name == "unreachable"


@pytest.mark.parametrize(("language", "phone"), [("en", "phone"), ("fr", "téléphone"), ("sw", "simu")])
def test_a_wait_is_not_always_the_banks(language: str, phone: str) -> None:
    """M-Pesa and mobile money wait for a PIN on the payer's phone."""
    assert phone in str(texts(f"checkout.{language}")["pending.text"])
