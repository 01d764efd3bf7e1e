"""A webhook that is no JSON object and cannot be read is stored with its text, so that it can be read again.

Source: the author of plug-ins for Mollie and Razorpay, F3 (Mollie sends forms; such a body was stored as nothing, so a
handler that was corrected later could not process it).
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

import pytest

from polytill.domain.states import EventState, PaymentStatus
from polytill.flows.webhooks import receive
from polytill.providers.contract import PaymentFact, WebhookResult
from polytill.providers.http import parse_json
from polytill.storage import webhook_events
from tests.flows.scenes import LINK, Scene, paid
from tests.flows.scripted import Scripted

BATCH = b'[{"reference": "R", "token": "tok_secret"}]'


def reads_json_only(self: Scripted, body: bytes) -> WebhookResult:
    """As a handler whose author did not know that the provider sends forms."""
    event = parse_json(body)
    if not isinstance(event, dict):
        raise ValueError("not an event")
    return WebhookResult("event", "e", "ignore", body=event)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("id=tr_1&reference=R&note=Caf%C3%A9+%26+more&empty=", None),
        (
            "reference=R&token=tok_secret&card[token]=tok_secret&n=1",
            "reference=R&token=%5Bremoved%5D&card[token]=%5Bremoved%5D&n=1",
        ),
        ("<event><reference>R</reference>\n</event>", None),
        ('"R"', None),
        (BATCH.decode(), [{"reference": "R", "token": "[removed]"}]),
    ],
    ids=["form", "form with a secret", "XML", "a JSON text", "a batch"],
)
async def test_it_is_read_by_a_later_version(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, sent: str, kept: Any
) -> None:
    configuration = await scene.configure()
    scene.wire.says("create", LINK)
    taken = await scene.pay()
    monkeypatch.setattr(Scripted, "redacted", frozenset({"token"}))
    with monkeypatch.context() as patch:
        patch.setattr(Scripted, "process_webhook", reads_json_only)
        event = await receive.receive(scene.context, configuration.hook_token, {"x-secret": "wh_test1"}, sent.encode())
        assert event is not None
        assert (await receive.replay(scene.context, scene.practice_id, event.id)).state is EventState.parked
    [stored] = await webhook_events.listed(scene.db)
    assert stored.state is EventState.parked
    assert (stored.reason or "").startswith("unreadable: not ")
    assert stored.body == (sent if kept is None else kept)

    def reads_it(self: Scripted, body: bytes) -> WebhookResult:
        if kept is None:
            assert body == sent.encode(), "the same bytes"
        else:
            assert b"tok_secret" not in body
        if b"=" in body and kept is not None:
            assert parse_qs(body.decode())["reference"] == ["R"]
        return WebhookResult("paid", "e-1", "apply", facts=(PaymentFact(paid(), taken.attempts[0].id, "tx-1"),))

    monkeypatch.setattr(Scripted, "process_webhook", reads_it)
    assert (await receive.replay(scene.context, scene.practice_id, event.id)).state is EventState.applied
    assert (await scene.payment(taken.payment.id)).status is PaymentStatus.succeeded


@pytest.mark.parametrize(
    "sent",
    [
        b"\xff\xfe",
        b"a=\x00",
        b'payload={"token": "tok_secret"}',
        b"payload=%7B%22token%22%3A%22tok_secret%22%7D",
        b"<token>tok_secret</token>",
        b"echo=wh_test1",
        b"echo=sk_test_0123456789abcdef0123",
        b"junk",
    ],
)
async def test_what_may_hold_a_secret_or_is_no_text_is_not_stored(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    configuration = await scene.configure()
    monkeypatch.setattr(Scripted, "redacted", frozenset({"token"}))
    monkeypatch.setattr(Scripted, "process_webhook", reads_json_only)
    event = await receive.receive(scene.context, configuration.hook_token, {"x-secret": "wh_test1"}, sent)
    assert event is not None
    [stored] = await webhook_events.listed(scene.db)
    assert (stored.state, stored.body) == (EventState.parked, None)
