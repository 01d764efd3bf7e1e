"""A host application that uses names of ``import polytill`` only, on both engines."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import polytill
from polytill import (
    ConfigurationRequest,
    Conflict,
    Credentials,
    Customer,
    Environment,
    Invalid,
    Money,
    NextKind,
    NotFound,
    PaymentRequest,
    PaymentStatus,
    RefundState,
    Secret,
    Worker,
)
from polytill.domain.errors import Unauthorized
from polytill.domain.states import CaptureMode
from polytill.providers.outcomes import Declined, Reason
from polytill.storage import audit
from tests.flows import scenes
from tests.flows.scenes import Scene, held, paid

ACTOR = "user:17"
REQUEST = PaymentRequest(
    Money(1000, "NGN"), customer=Customer("ada@example.com"), reference="INV-9", metadata={"a": "1"}
)


@pytest.fixture
async def scene(tmp_path: Path, engine_url: str | None) -> AsyncIterator[Scene]:
    async with scenes.scene(tmp_path, engine_url) as made:
        await made.configure()
        yield made


async def test_from_a_practice_to_a_refund(scene: Scene) -> None:
    till, practice_id = scene.till, scene.practice_id
    scene.wire.says("create", scenes.LINK)
    made = await till.pay(practice_id, REQUEST, key="order-17", actor=ACTOR)
    assert (made.status, made.amount, made.is_repeat) == (PaymentStatus.requires_action, Money(1000, "NGN"), False)
    assert (made.reference, dict(made.metadata), made.customer.email) == ("INV-9", {"a": "1"}, "ada@example.com")
    assert made.next_action is not None
    assert (made.next_action.kind, made.next_action.url) == (NextKind.redirect, "https://scripted.example/pay")
    assert made.checkout_url.startswith(f"{scene.context.settings.public_url}/pay/")
    for bearer in (made.checkout_url.rpartition("/")[2], "scripted.example/pay"):
        assert bearer not in repr(made), "an address that lets its bearer pay is in no log"
    again = await till.pay(practice_id, REQUEST, key="order-17", actor="user:18")
    assert (again.id, again.is_repeat, again.status) == (made.id, True, made.status)
    with pytest.raises(Conflict) as reused:
        await till.pay(practice_id, replace(REQUEST, amount=Money(999, "NGN")), key="order-17", actor=ACTOR)
    assert reused.value.code == "idempotency_key_reused"
    scene.wire.says("confirm", paid())
    settled = await till.confirm(practice_id, made.id)
    assert (settled.status, settled.captured, settled.fees) == (
        PaymentStatus.succeeded,
        Money(1000, "NGN"),
        (Money(15, "NGN"),),
    )
    assert await till.get(practice_id, made.id) == settled
    scene.wire.says("refund", paid(400, transaction="re-1", fee=None))
    given = {"key": "back-17", "actor": ACTOR, "amount": Money(400, "NGN"), "reason": "half"}
    refund = await till.refund(practice_id, made.id, **given)
    assert (refund.state, refund.amount, refund.payment_id) == (RefundState.succeeded, Money(400, "NGN"), made.id)
    assert (await till.refund(practice_id, made.id, **given)) == replace(refund, is_repeat=True)
    after = await till.get(practice_id, made.id)
    assert (after.refunded, after.refund_pending) == (Money(400, "NGN"), Money(0, "NGN"))
    page = await till.list(practice_id, limit=1)
    assert ([one.id for one in page.payments], page.next_cursor, page.environment) == (
        [made.id],
        None,
        Environment.sandbox,
    )
    assert page.payments[0].refunded == after.refunded
    told = {line["action"]: line["actor"] for line in await audit.listed(scene.db, None, None, 50)}
    assert (told["payment.created"], told["refund.created"]) == (ACTOR, ACTOR)
    await Worker(till).turn()
    seen = await till.events()
    assert {"payment.succeeded", "refund.succeeded"} <= {event.type for event in seen.events}
    assert all(event.practice_id == practice_id for event in seen.events)
    assert seen.next_cursor == seen.events[-1].cursor
    assert (await till.events(seen.next_cursor)).events == ()


async def test_capture_and_cancel(scene: Scene) -> None:
    till, practice_id = scene.till, scene.practice_id
    for number in (1, 2):
        scene.wire.says("create", held(transaction=f"tx-{number}"))
    first, second = [
        await till.pay(practice_id, replace(REQUEST, capture=CaptureMode.manual), key=f"hold-{number}", actor=ACTOR)
        for number in (1, 2)
    ]
    assert (first.status, first.authorized) == (PaymentStatus.authorized, Money(1000, "NGN"))
    scene.wire.says("capture", paid(400))
    taken = await till.capture(practice_id, first.id, key="take", actor=ACTOR, amount=Money(400, "NGN"))
    assert (taken.status, taken.captured) == (PaymentStatus.succeeded, Money(400, "NGN"))
    scene.wire.says("cancel", Declined(Reason.canceled, True))
    canceled = await till.cancel(practice_id, second.id, key="stop", actor=ACTOR)
    assert canceled.status is PaymentStatus.canceled
    assert (await till.cancel(practice_id, second.id, key="stop", actor=ACTOR)).is_repeat


async def test_a_webhook_at_an_address_of_the_host(scene: Scene) -> None:
    configuration = await scene.configure()
    body, headers = b'{"event": {}}', {"x-secret": "wh_test1"}
    with pytest.raises(NotFound):
        await scene.till.receive_webhook("nobody", headers, body)
    with pytest.raises(Unauthorized):
        await scene.till.receive_webhook(configuration.hook_token, {"x-secret": "wrong"}, body)


async def test_a_practice_and_its_providers(scene: Scene) -> None:
    made = await scene.till.create_practice("Clinic", "NGN", external_id="host-7", actor=ACTOR)
    assert (made.practice.currency, made.practice.country, made.practice.external_id) == ("NGN", "NG", "host-7")
    assert made.key.reveal() not in repr(made)
    given = Credentials("pk_test_9", Secret("sk_test_9"), Secret("wh_test9"))
    request = ConfigurationRequest("scripted", given, currencies=("NGN",), is_default=True)
    saved = await scene.till.configure(made.practice.id, request, actor=ACTOR)
    assert (saved.is_enabled, saved.environment, saved.currencies) == (True, Environment.sandbox, ("NGN",))
    assert saved.default_for == ("NGN",)
    assert saved.webhook_url.startswith(f"{scene.context.settings.public_url}/hooks/")
    found = {one.code: one for one in await scene.till.available(made.practice.id)}
    assert (found["scripted"].is_configured, found["scripted"].environment) == (True, Environment.sandbox)
    assert not any(one.is_configured for code, one in found.items() if code != "scripted")
    with pytest.raises(Conflict):
        await scene.till.create_practice("Clinic", "NGN", external_id="host-7", actor=ACTOR)


BAD: list[tuple[str, Callable[[], PaymentRequest]]] = [
    ("/amount", lambda: replace(REQUEST, amount=Money(0, "NGN"))),
    ("/amount", lambda: replace(REQUEST, amount=Money(-5, "NGN"))),
    ("/amount", lambda: replace(REQUEST, amount=Money(True, "NGN"))),
    ("/amount", lambda: replace(REQUEST, amount=Money(10.5, "NGN"))),  # type: ignore[arg-type]
    ("/amount", lambda: replace(REQUEST, amount=Money(10**16, "NGN"))),
    ("/currency", lambda: replace(REQUEST, amount=Money(10, "XQQ"))),
    ("/currency", lambda: replace(REQUEST, amount=Money(10, "ngn"))),
    ("/capture", lambda: replace(REQUEST, capture="later")),
    ("/description", lambda: replace(REQUEST, description="x" * 501)),
    ("/reference", lambda: replace(REQUEST, reference="a\x00b")),
    ("/providerCode", lambda: replace(REQUEST, provider_code="Pay Stack")),
    ("/returnUrl", lambda: replace(REQUEST, return_url="javascript:alert(1)")),
    ("/expiresAt", lambda: replace(REQUEST, expires_at=datetime(2030, 1, 1, tzinfo=UTC).replace(tzinfo=None))),
    ("/savedMethod", lambda: replace(REQUEST, saved_method="0" * 26, save_method=True)),
    ("/customer/email", lambda: replace(REQUEST, customer=Customer("nobody"))),
    ("/metadata/[x]", lambda: replace(REQUEST, metadata={"[x]": "1"})),
]


@pytest.mark.parametrize(("pointer", "bad"), BAD)
async def test_bad_input_names_its_field_and_changes_nothing(
    scene: Scene, pointer: str, bad: Callable[[], PaymentRequest]
) -> None:
    with pytest.raises(Invalid) as caught:
        await scene.till.pay(scene.practice_id, bad(), key="bad", actor=ACTOR)
    assert pointer in [error.pointer for error in caught.value.errors]
    assert (await scene.till.list(scene.practice_id)).payments == ()
    assert scene.wire.calls == []


async def test_bad_keys_actors_and_pages(scene: Scene) -> None:
    till, practice_id = scene.till, scene.practice_id

    async def refused(pointer: str, call: Any) -> None:
        with pytest.raises(Invalid) as caught:
            await call
        assert caught.value.errors[0].pointer == pointer

    for key in ("", "a b", "é", "x" * 201):
        await refused("/key", till.pay(practice_id, REQUEST, key=key, actor=ACTOR))
    for actor in ("", " ", "a\nb", "x" * 101):
        await refused("/actor", till.pay(practice_id, REQUEST, key="k", actor=actor))
    await refused("/limit", till.list(practice_id, limit=0))
    await refused("/cursor", till.list(practice_id, cursor="nonsense"))
    await refused("/limit", till.events(limit=501))
    scene.wire.says("create", paid())
    made = await till.pay(practice_id, REQUEST, key="k", actor=ACTOR)
    await refused("/amount", till.refund(practice_id, made.id, key="r", actor=ACTOR, amount=Money(400, "USD")))
    assert scene.wire.of("refund") == []
    with pytest.raises(NotFound):
        await till.get(practice_id, "nobody")


async def test_migrate_makes_an_installation_and_may_be_repeated(tmp_path: Path, engine_url: str | None) -> None:
    settings = scenes.fresh_settings(tmp_path, engine_url)
    done = await polytill.migrate(settings)
    assert (len(done.revisions), done.practices, done.failures) == (1, 0, {})
    assert "paystack" in done.providers
    again = await polytill.migrate(settings)
    assert (again.revisions, again.providers) == ((), ())
