"""A green banner is only for what has succeeded: its tone follows from the outcome, by type (issue 18, item 12; pages, D1, D9).

A webhook event that could not be processed yet was "processed" in green, a capture whose outcome is unknown was "requested",
and one that was never sent was "declined by the provider".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import polytill.web
from polytill.domain.states import EventState, OperationState, RefundState
from polytill.flows.webhooks import receive
from polytill.storage import webhook_events
from polytill.storage.webhook_events import WebhookEvent
from polytill.web.console import flashes
from polytill.web.console.flashes import TONES, Done, Outcome
from tests.installation import Installation
from tests.web.browsing import Browser, person
from tests.web.support import Practice

TEMPLATES = Path(polytill.web.__file__).parent / "templates"


def test_only_a_succeeded_outcome_is_green() -> None:
    assert [outcome for outcome, tone in TONES.items() if tone == "good"] == [Outcome.succeeded]
    assert TONES.keys() == set(Outcome)


@pytest.mark.parametrize(
    ("by_state", "states", "green"),
    [
        (flashes.REFUNDS, RefundState, {"succeeded"}),
        (flashes.CAPTURES, OperationState, {"succeeded"}),
        (flashes.CANCELS, OperationState, {"succeeded"}),
        (flashes.REPLAYS, EventState, {"applied", "ignored"}),
    ],
    ids=["refunds", "captures", "cancels", "replays"],
)
def test_what_a_provider_has_not_confirmed_is_never_green(
    by_state: Mapping[Any, Done], states: Any, green: set[str]
) -> None:
    assert by_state.keys() == set(states)
    assert {state.value for state, done in by_state.items() if done.tone == "good"} == green
    unknown = [done for state, done in by_state.items() if state == "unknown"]
    assert all(done.outcome is Outcome.unknown for done in unknown)
    declined, unsent = by_state.get("declined"), by_state.get("not_sent")  # what was never sent was declined by nobody
    assert declined is None or declined is not unsent


# Boxes that are green without a form: what they say has happened.
GREEN_BOXES = {
    "owner/practice_created.html",  # the practice was created
    "practice/last_webhook.html",  # a webhook arrived
    "practice/provider.html",  # keys were saved, or their test succeeded
}


def test_no_other_box_is_green() -> None:
    green = {
        str(path.relative_to(TEMPLATES))
        for path in TEMPLATES.rglob("*.html")
        if re.search(r'class="notice[^>]*good', path.read_text())
    }
    assert green == GREEN_BOXES


@pytest.mark.asyncio(loop_scope="module")
async def test_an_event_that_waits_is_not_processed(shared: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its handler is missing, or its practice is busy: it stays as received."""
    practice = await Practice.make(shared, "paystack")
    await practice.paid()
    db = await practice.db
    await person(shared, db, "pat@example.com")
    [event, *_] = await webhook_events.listed(db)

    async def waits(*_: object) -> WebhookEvent:
        return replace(event, state=EventState.received)

    monkeypatch.setattr(receive, "replay", waits)
    door = f"/practice/{practice.id}"
    async with Browser(shared) as browser:
        await browser.sign_in(door, "pat@example.com")
        page = await browser.get(f"{door}/people")
        token = next(fields["form_token"] for fields in page.forms.values() if "form_token" in fields)
        sent = await browser.post(f"{door}/attention/webhooks/{event.id}", {"form_token": token})
        assert (sent.status, sent.done) == (303, "replay_waits")
        assert (await browser.get(f"{door}/attention")).said == ("replay_waits", "info")
