"""What providers say about attempts, refunds, captures and cancels: kept, and shown to staff and to nobody else.

Source: issue 18, item 4 ("code and message are kept on the attempt, shown to staff and logged").
"""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from polytill.domain.states import CaptureMode, Environment, OperationState, RefundState
from polytill.flows.command import Command
from polytill.flows.payments import capture_cancel
from polytill.providers.outcomes import Declined, NotSent, Pending, Reason, Unknown
from polytill.storage import attempts, operations, refunds
from polytill.storage.operations import Operation
from polytill.storage.units import Unit
from polytill.web.api.models.attempts import Operation as OperationBody
from polytill.web.api.models.refunds import Refund
from tests import calls
from tests.flows.scenes import Scene, held
from tests.installation import Installation
from tests.web.browsing import Browser, person
from tests.web.support import Practice, until

HOSTILE = "<script>alert(1)</script>"
ESCAPED = "&lt;script&gt;alert(1)&lt;/script&gt;"


@pytest.mark.parametrize(
    "outcome",
    [
        Declined(Reason.declined, True, "R-77", "Not from this balance."),
        NotSent(Reason.validation, "R-77", "Not from this balance."),
        Unknown(Reason.unreadable, "R-77", "Not from this balance."),
    ],
    ids=["declined", "not sent", "unknown"],
)
async def test_code_and_message_of_a_refund_are_kept(scene: Scene, outcome: Declined | NotSent | Unknown) -> None:
    await scene.configure()
    payment = await scene.succeeded()
    scene.wire.says("refund", outcome)
    made = await calls.refund(scene.till, scene.practice_id, payment.id, amount=400, key="words")
    found = await refunds.by_id(scene.db, made.id)
    assert found is not None
    view = Refund.of(found)
    assert (view.code, view.detail, view.failure_reason) == ("R-77", "Not from this balance.", outcome.reason.value)


async def test_words_of_a_refund_end_with_its_success(scene: Scene) -> None:
    await scene.configure()
    payment = await scene.succeeded()
    scene.wire.says("refund", Unknown(Reason.unreadable, "R-77", "Not understood."))
    made = await calls.refund(scene.till, scene.practice_id, payment.id, amount=400, key="words")
    scene.wire.always("lookup_refund", Pending(None, "r1"))
    await scene.later(60)
    found = await refunds.by_id(scene.db, made.id)
    assert found is not None
    assert (found.state, found.raw_code, found.detail) == (RefundState.pending, None, None)


async def test_code_and_message_of_a_capture_and_a_cancel_are_kept(scene: Scene) -> None:
    await scene.configure()
    scene.wire.says("create", held())
    payment = (await scene.pay(capture=CaptureMode.manual)).payment
    scene.wire.says("capture", NotSent(Reason.validation, "LEVITATION", "Not while levitating."))
    await capture_cancel.capture(scene.context, scene.practice_id, payment.id, 400, Command("take", "test"))
    scene.clock.at_s += 1
    scene.wire.says("cancel", NotSent(Reason.validation, "GRAVITY", "Not while falling."))
    await capture_cancel.cancel(scene.context, scene.practice_id, payment.id, Command("leave", "test"))
    views = [OperationBody.of(one) for one in await operations.of_payment(scene.db, payment.id)]
    assert [(one.kind, one.status, one.reason, one.code, one.detail) for one in views] == [
        ("capture", "not_sent", "validation", "LEVITATION", "Not while levitating."),
        ("cancel", "not_sent", "validation", "GRAVITY", "Not while falling."),
    ]


@pytest.mark.asyncio(loop_scope="module")
async def test_staff_read_the_words_of_attempts_refunds_and_operations(shared: Installation) -> None:
    practice = await Practice.make(shared, "paystack")
    db, door = await practice.db, f"/practice/{practice.id}"
    payment = await practice.paid()
    refund = (await practice.refund(payment["id"], 100)).body
    listing = f"/payments/{payment['id']}/refunds"
    await until(lambda: practice.call("GET", listing), lambda found: found.body[0]["status"] == "succeeded")
    now = datetime.now(UTC)
    unit = Unit()
    attempts.set_message(unit, payment["attempts"][0]["id"], "declined", "A-1", HOSTILE)
    unit.add("UPDATE refunds SET raw_code = 'R-1', detail = $2 WHERE id = $1", refund["id"], HOSTILE)
    capture = Operation(
        "op-1",
        payment["id"],
        practice.id,
        Environment.sandbox,
        payment["attempts"][0]["id"],
        "capture",
        500,
        OperationState.sent,
        "k",
        "h",
        "test",
        now,
        now,
    )
    operations.insert(unit, capture)
    await db.commit(unit)
    unit = Unit()
    capture.raw_code, capture.detail = "C-1", HOSTILE
    capture.state = OperationState.declined
    operations.change(unit, OperationState.sent, capture)
    await db.commit(unit)
    await person(shared, db, "pat@example.com")
    async with Browser(shared) as browser:
        await browser.sign_in(door, "pat@example.com")
        page = await browser.get(f"{door}/payments/{payment['id']}")
        assert HOSTILE not in page.html
        said = [part.split("</span></span>")[0] for part in page.html.split("data-said")[1:]]
        assert len(said) == 3
        for code in ("A-1", "C-1", "R-1"):
            assert any(f"<code>{code}</code>" in one and ESCAPED in one for one in said), code
    found = await practice.payment(payment["id"])
    assert [(one["kind"], one["code"], one["detail"]) for one in found["operations"]] == [("capture", "C-1", HOSTILE)]
    listed = (await practice.call("GET", listing)).body
    assert [(one["code"], one["detail"]) for one in listed] == [("R-1", HOSTILE)]
    # The customer's page and receipt say none of it.
    token = found["clientToken"]
    for path in (f"/pay/{payment['id']}", f"/api/public/payments/{payment['id']}"):
        shown = await shared.call("GET", f"{path}?clientToken={token}", None)
        assert "A-1" not in str(shown.body)
        assert "alert(1)" not in str(shown.body)
