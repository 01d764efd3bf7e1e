"""Every signed fixture, posted byte for byte to a hook that is configured with its secret: taken, or refused unseen."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tests.installation import Installation
from tests.web.support import CURRENCY, Clock, Practice, fresh_keys, is_problem, snapshot

ROOT = Path(__file__).parents[1] / "fixtures" / "providers"
SECRET = {"stripe": "webhookSecret", "paystack": "secretKey", "flutterwave": "webhookSecret"}
# M-Pesa signs nothing: its deliveries are hints, and have tests of their own.
SIGNED = sorted(path for code in SECRET for path in ROOT.glob(f"{code}/signed/*.json"))


@pytest.fixture(scope="module")
def practices() -> dict[tuple[str, str, str], Practice]:
    return {}


async def _configured(
    shared: Installation, practices: dict[tuple[str, str, str], Practice], code: str, secret: str
) -> Practice:
    place = (shared.url, code, secret)
    if place not in practices:
        practice = await Practice.make(shared, currency=CURRENCY[code])
        practice.code, practice.keys = code, {**fresh_keys(code), SECRET[code]: secret}
        practice.configuration = await shared.configure(
            practice.id, practice.key, code, [CURRENCY[code]], practice.keys
        )
        practices[place] = practice
    return practices[place]


def test_there_are_fixtures() -> None:
    assert len(SIGNED) > 70
    assert {path.parents[1].name for path in SIGNED} == set(CURRENCY)
    expected = [json.loads(path.read_text())["expect"] for path in SIGNED]
    assert min(expected.count("accept"), expected.count("reject")) > 10


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("path", SIGNED, ids=lambda path: f"{path.parents[1].name}.{path.stem}")
async def test_signed_fixture(
    shared: Installation, practices: dict[tuple[str, str, str], Practice], clock: Clock, path: Path
) -> None:
    code = path.parents[1].name
    delivery: dict[str, Any] = json.loads(path.read_text())  # noqa: ASYNC240
    clock.stands_at = None
    # One fixture has no secret at all, neither here nor there: no practice can be configured so.
    practice = await _configured(shared, practices, code, delivery["secret"] or "some-secret")
    clock.stands_at = delivery.get("verify_at")
    body = base64.b64decode(delivery["body_b64"])
    before = await snapshot(shared, practice.id)
    answered = await practice.deliver(body, delivery["headers"])
    if delivery["expect"] == "reject":
        is_problem(answered, 401, "bad_signature")
        assert await snapshot(shared, practice.id) == before
        return
    assert answered.status == 200, answered.body
    assert answered.body["received"] is True
    db = await practice.db
    stored = await db.fetch("SELECT state, event_type FROM webhook_events")
    assert stored
    # No fixture is about a payment of this practice: nothing was booked, and nothing is left undecided.
    assert {row["state"] for row in stored} <= {"parked", "ignored", "applied"}
    assert await db.fetch("SELECT id FROM ledger_lines") == []
