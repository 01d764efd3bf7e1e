"""Webhooks that are not about anything here: forwarded to the old address byte for byte, and never lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from polytill.doctor import examine
from polytill.domain.errors import Conflict, Invalid, NotFound, NotNow, TooMany, Unauthorized
from polytill.domain.states import Environment, EventState, PaymentStatus, RelayState
from polytill.flows.admin import webhook_relay
from polytill.flows.admin.event_destination import read_backlog
from polytill.flows.webhooks import forward, receive, relay, unsigned
from polytill.providers.contract import PaymentFact, WebhookProof, WebhookResult
from polytill.providers.http import ConnectionNotMade, to_json
from polytill.providers.outcomes import Reason, Unknown
from polytill.storage import webhook_events, webhook_relays
from polytill.storage.units import Unit
from polytill.storage.webhook_events import WebhookEvent
from polytill.storage.webhook_relays import Relay
from tests.flows import scenes
from tests.flows.scenes import LINK, Scene, paid
from tests.flows.scripted import HANDLERS, put
from tests.storage.making import plain, run

pytestmark = pytest.mark.asyncio(loop_scope="module")

OLD = "https://old.example/hooks/paystack?v=1"
S = EventState


@dataclass
class OldCode:
    """The old address: remembers what it got, and answers what a test says."""

    got: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    answer: Any = 200
    headers: dict[str, str] = field(default_factory=dict)

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> tuple[int, Mapping[str, str], bytes]:
        self.got.append((method, url, dict(headers), body or b""))
        if isinstance(self.answer, Exception):
            raise self.answer
        if callable(self.answer):
            await self.answer()
            return 200, {}, b""
        return self.answer, self.headers, b""


@dataclass
class Relaying:
    """A scene whose account has a relay."""

    scene: Scene
    old: OldCode
    configuration: Any
    sent: int = 0

    async def arrives(self, *facts: Any, raw: bytes | None = None, secret: str = "wh_test1", **more: Any) -> Any:
        """A webhook arrives; what is to be forwarded is forwarded."""
        self.sent += 1
        result = WebhookResult(
            more.pop("event_type", "event"), more.pop("dedupe_key", f"key-{self.sent}"),
            more.pop("action", "apply"), facts=facts, **more
        )  # fmt: skip
        named = [fact.provider_transaction_id for fact in facts]
        body = raw if raw is not None else to_json({"event": put(result), "named": named}) + b"\n "
        headers = {
            "x-secret": secret, "Content-Type": "application/json; charset=utf-8", "host": "pay.example",
            "connection": "keep-alive, x-hop", "x-hop": "1", "content-length": "7", "x-forwarded-host": "pay.example",
            "x-forwarded-for": "52.31.139.75",
        }  # fmt: skip
        context = self.scene.context
        event = await forward.receive(context, self.configuration.hook_token, headers, body)
        await forward.finish(context)
        return event if event is None else await self.event(event.id), body

    async def event(self, event_id: str) -> WebhookEvent:
        found = await webhook_events.by_id(self.scene.db, event_id)
        assert found is not None
        return found

    async def relay(self, event_id: str) -> Relay:
        found = await webhook_relays.of_event(self.scene.db, event_id)
        assert found is not None
        return found

    async def later(self, seconds: float) -> None:
        await self.scene.later(seconds)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(file_engine_url: str | None, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    folder: Path = tmp_path_factory.mktemp("relay")
    async with scenes.scene(folder, file_engine_url) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def relaying(shared: Scene) -> Relaying:
    """One installation for all tests of this module; what one test leaves is deleted."""
    for table in ("webhook_relays", "webhook_events"):
        await run(shared.db, f"DELETE FROM {table}")
    old = OldCode()
    shared.context.relays.transport = old
    configuration = await shared.configure()
    await webhook_relay.set_relay(shared.context, shared.practice_id, "scripted", Environment.sandbox, OLD, "test")
    return Relaying(shared, old, configuration)


def stranger(transaction: str = "old-1") -> PaymentFact:
    """A fact about a payment of the old code."""
    return PaymentFact(paid(transaction=transaction), "order-1", transaction)


async def test_what_is_not_ours_is_forwarded_byte_for_byte_and_its_bytes_are_deleted(relaying: Relaying) -> None:
    event, body = await relaying.arrives(stranger())
    [(method, url, headers, got)] = relaying.old.got
    assert (method, url, got) == ("POST", OLD, body)
    assert headers == {
        "x-secret": "wh_test1",
        "content-type": "application/json; charset=utf-8",
        "x-forwarded-for": "52.31.139.75",
        "polytill-relay-id": event.id,
    }
    its = await relaying.relay(event.id)
    assert (event.state, its.state, its.sealed_request, its.last_status) == (S.relayed, RelayState.forwarded, None, 200)
    assert relaying.scene.wire.problems == []


async def test_what_is_ours_is_applied_and_never_sent_away(relaying: Relaying) -> None:
    relaying.scene.wire.says("create", LINK)
    taken = await relaying.scene.pay()
    event, _ = await relaying.arrives(PaymentFact(paid(), taken.attempts[0].id, "tx-1"))
    assert (event.state, relaying.old.got) == (S.applied, [])
    ours = taken.attempts[0].id.encode()
    event, _ = await relaying.arrives(raw=b"not json, but it names " + ours)
    assert (event.state, relaying.old.got) == (S.parked, [])


@pytest.mark.parametrize("secret", ["", "wrong"])
async def test_an_unverified_webhook_is_not_forwarded(relaying: Relaying, secret: str) -> None:
    with pytest.raises(Unauthorized):
        await relaying.arrives(stranger(), secret=secret)
    assert relaying.old.got == []
    assert await plain(relaying.scene.db, "SELECT count(*) FROM webhook_relays") == [(0,)]


async def test_event_types_that_polytill_ignores_and_unreadable_ones_reach_the_old_code(relaying: Relaying) -> None:
    ignored, _ = await relaying.arrives(action="ignore", reason="not_a_payment")
    unreadable, body = await relaying.arrives(raw=b"\xff\x00 no json")
    assert [ignored.state, unreadable.state] == [S.relayed, S.relayed]
    assert relaying.old.got[1][3] == body


async def test_a_replay_takes_no_webhook_from_the_old_code(relaying: Relaying) -> None:
    scene = relaying.scene
    relaying.old.answer = 500
    arrived = [
        await relaying.arrives(stranger()),
        await relaying.arrives(action="ignore", reason="not_a_payment"),
        await relaying.arrives(raw=b"\xff no json"),
    ]
    for event, _ in arrived:
        assert (await receive.replay(scene.context, scene.practice_id, event.id)).state is S.relaying
    relaying.old.answer, relaying.old.got = 200, []
    await relaying.later(11)
    assert sorted(got[3] for got in relaying.old.got) == sorted(body for _, body in arrived)
    assert (await receive.replay(scene.context, scene.practice_id, arrived[1][0].id)).state is S.relayed


@pytest.mark.parametrize(("status", "headers"), [(404, {}), (410, {}), (200, {"polytill-relay": "Not-Mine"})])
async def test_what_is_neither_ours_nor_theirs_is_parked_as_without_a_relay(
    relaying: Relaying, status: int, headers: dict[str, str]
) -> None:
    relaying.old.answer, relaying.old.headers = status, headers
    event, _ = await relaying.arrives(stranger())
    ignored, _ = await relaying.arrives(action="ignore", reason="not_a_payment")
    assert (event.state, event.reason) == (S.parked, "unknown_reference")
    assert (ignored.state, ignored.reason) == (S.ignored, "not_a_payment")
    assert (await relaying.relay(event.id)).state is RelayState.not_theirs
    told = await plain(relaying.scene.db, "SELECT count(*) FROM events WHERE type = 'webhook.parked'")
    assert told[0][0] >= 1


@pytest.mark.parametrize("answer", [500, 301, 401, ConnectionNotMade("down"), RuntimeError("bug")])
async def test_a_failing_old_address_is_tried_again_with_growing_pauses_until_it_is_given_up(
    relaying: Relaying, answer: Any
) -> None:
    relaying.old.answer = answer
    event, body = await relaying.arrives(stranger())
    its = await relaying.relay(event.id)
    assert (event.state, its.state, its.tries) == (S.relaying, RelayState.waiting, 1)
    assert its.sealed_request
    assert "52.31.139.75" not in its.sealed_request, "it is sealed"
    await relaying.later(5)
    assert len(relaying.old.got) == 1, "not before its pause has ended"
    if answer == 301:  # all failures are alike from here on; one goes to the end
        for pause in forward.RETRY_S:
            await relaying.later(pause + 1)
        assert len(relaying.old.got) == len(forward.RETRY_S) + 1
        event, its = await relaying.event(event.id), await relaying.relay(event.id)
        assert (event.state, event.reason) == (S.parked, "relay_gave_up")
        assert (its.state, its.sealed_request) == (RelayState.gave_up, None)
        return
    relaying.old.answer = 204
    await relaying.later(11)
    assert [one[3] for one in relaying.old.got] == [body, body]
    assert (await relaying.event(event.id)).state is S.relayed


@pytest.mark.parametrize("fault", ["applying", "opening"])
async def test_a_webhook_that_cannot_be_processed_is_tried_like_any_other_and_given_up(
    relaying: Relaying, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    def fails(*_: Any) -> Any:
        raise ValueError("a bug")

    module, name = (receive, "apply_stored") if fault == "applying" else (relay, "opened")
    with monkeypatch.context() as patch:
        patch.setattr(module, name, fails)
        event, _ = await relaying.arrives(stranger())
        its = await relaying.relay(event.id)
        assert (its.state, its.tries, its.last_error) == (RelayState.waiting, 1, "ValueError")
        for pause in forward.RETRY_S:
            await relaying.later(pause + 1)
    event, its = await relaying.event(event.id), await relaying.relay(event.id)
    assert (event.state, event.reason) == (S.parked, "relay_gave_up")
    assert (its.state, its.sealed_request, relaying.old.got) == (RelayState.gave_up, None, [])


async def test_a_try_that_fails_late_takes_no_later_try_from_another_process(relaying: Relaying) -> None:
    """Its claim had ended, and another process is sending the webhook."""
    scene = relaying.scene
    until = scene.context.shared_after(300)

    async def claimed_by_another() -> None:
        unit = Unit()
        [sent] = await webhook_relays.due(scene.db, scene.context.shared_after(1000), 1)
        webhook_relays.claim(unit, sent, until)
        await scene.db.commit(unit)
        raise ConnectionNotMade("down")

    relaying.old.answer = claimed_by_another
    event, _ = await relaying.arrives(stranger())
    its = await relaying.relay(event.id)
    assert (its.state, its.tries, its.next_try_at) == (RelayState.waiting, 2, until)
    assert scene.wire.problems == []


async def test_every_process_knows_what_waits_in_all_practices(relaying: Relaying) -> None:
    """The worker that visits a practice writes it to the owner database."""
    scene = relaying.scene
    relaying.old.answer = 500
    for _ in range(2):
        event, _ = await relaying.arrives(stranger())
    for answer, expected in ((500, 2), (200, 0)):
        relaying.old.answer = answer
        for _ in range(2):
            await relaying.later(200)
        scene.context.relays.everywhere = webhook_relays.Waiting()
        await read_backlog(scene.context)
        waiting = scene.context.relays.everywhere
        assert waiting.number == expected
        oldest = (await relaying.event(event.id)).received_at
        assert waiting.oldest_at is None if expected == 0 else waiting.oldest_at == oldest
        told = [one.sentence for one in await examine(scene.context.settings)]
        assert any("2 webhooks" in one for one in told) == bool(expected)


async def test_a_webhook_that_was_stored_before_a_crash_is_forwarded_by_the_worker(relaying: Relaying) -> None:
    async def crash() -> None:
        raise asyncio.CancelledError

    relaying.old.answer = crash
    facts = (stranger(),)
    result = WebhookResult("event", "crashed", "apply", facts=facts)
    body = to_json({"event": put(result)})
    token = relaying.configuration.hook_token
    event = await receive.receive(relaying.scene.context, token, {"x-secret": "wh_test1"}, body)
    assert event is not None
    forward.begin(await relaying.scene.context.practice(relaying.scene.practice_id))
    with pytest.raises(asyncio.CancelledError):  # the process ends while the old address has the request
        await forward.finish(relaying.scene.context)
    relaying.old.answer = 200
    await relaying.later(5)
    assert len(relaying.old.got) == 1, "its claim has not ended"
    await relaying.later(60)
    assert [one[3] for one in relaying.old.got] == [body, body]
    assert (await relaying.event(event.id)).state is S.relayed


async def test_a_repeat_is_forwarded_once_and_another_body_of_the_same_fact_again(relaying: Relaying) -> None:
    result = WebhookResult("event", "same", "apply", facts=(stranger(),))
    number = put(result)
    one, other = (to_json({"event": number, "at": at}) for at in (1, 2))
    for body in (one, one, other, other):
        await relaying.arrives(raw=body)
    assert [got[3] for got in relaying.old.got] == [one, other]


async def test_one_that_may_be_about_a_payment_being_created_waits_and_is_applied(relaying: Relaying) -> None:
    """The provider's answer, which names the transaction, has not arrived; the webhook names only the transaction."""
    scene = relaying.scene
    arrived: list[Any] = []

    async def slow(_: Any) -> Any:
        arrived.append(await relaying.arrives(PaymentFact(paid(transaction="tx-new"), None, "tx-new")))
        return paid(transaction="tx-new")

    scene.wire.says("create", slow)
    taken = await scene.pay()
    [(event, _)] = arrived
    assert event.state is S.relaying
    assert relaying.old.got == []
    await relaying.later(11)
    assert (await relaying.event(event.id)).state is S.applied
    its = await relaying.relay(event.id)
    assert (relaying.old.got, its.state, its.sealed_request) == ([], RelayState.ours, None)
    assert (await scene.payment(taken.payment.id)).status is PaymentStatus.succeeded


@pytest.mark.parametrize("newer", [0, 51])  # webhooks of the old code that arrived after it
async def test_one_that_was_sent_away_is_still_applied_when_its_payment_becomes_known(
    relaying: Relaying, newer: int
) -> None:
    scene, late = relaying.scene, f"tx-late-{newer}"
    scene.wire.says("create", Unknown(Reason.timeout))
    taken = await scene.pay()
    event, _ = await relaying.arrives(PaymentFact(paid(transaction=late), None, late))
    assert event.state is S.relaying
    scene.wire.always("lookup", Unknown(Reason.timeout))
    await relaying.later(11)
    assert (await relaying.event(event.id)).state is S.relayed
    for number in range(newer):
        await relaying.arrives(stranger(f"old-{number}"))
    scene.wire.always("lookup", paid(transaction=late))
    await relaying.later(600)
    assert (await relaying.event(event.id)).state is S.applied
    assert (await scene.payment(taken.payment.id)).amount_captured == 1000


async def test_an_unsigned_webhook_that_became_ours_keeps_no_later_one_of_its_payment_away(relaying: Relaying) -> None:
    """Finished unsigned webhooks of a payment are deleted, also those that were relayed before it was known."""
    scene = relaying.scene
    scene.wire.says("create", Unknown(Reason.timeout))
    taken = await scene.pay()
    relayed, _ = await relaying.arrives(PaymentFact(paid(transaction="tx-u"), None, "tx-u"), must_fetch=True)
    for call in ("lookup", "confirm"):
        scene.wire.always(call, paid(transaction="tx-u"))
    await relaying.later(600)
    assert (await relaying.event(relayed.id)).state is S.applied
    for _ in range(unsigned.KEPT + 2):
        await relaying.arrives(PaymentFact(paid(transaction="tx-u"), taken.attempts[0].id, "tx-u"), must_fetch=True)
        await relaying.later(unsigned.PAUSE_S)
    assert await webhook_events.by_id(scene.db, relayed.id) is None
    assert await webhook_relays.of_event(scene.db, relayed.id) is None


async def test_a_webhook_that_was_relayed_once_is_not_relayed_again(relaying: Relaying) -> None:
    result = WebhookResult("event", "loop", "apply", facts=(stranger(),))
    headers = {"x-secret": "wh_test1", "Polytill-Relay-Id": "0" * 26}
    event = await forward.receive(
        relaying.scene.context, relaying.configuration.hook_token, headers, to_json({"event": put(result)})
    )
    assert event is not None
    assert (event.state, relaying.old.got) == (S.parked, [])


async def test_the_backlog_is_bounded(relaying: Relaying, monkeypatch: pytest.MonkeyPatch) -> None:
    relaying.old.answer = 500
    for name, most in (("MOST_WAITING", 1), ("MOST_BYTES", 10)):
        monkeypatch.setattr(relay, name, most)
        await run(relaying.scene.db, "DELETE FROM webhook_relays")
        await relaying.arrives(stranger())
        with pytest.raises(NotNow):
            await relaying.arrives(stranger())
        monkeypatch.undo()
    relaying.scene.wire.says("create", LINK)
    taken = await relaying.scene.pay()
    event, _ = await relaying.arrives(PaymentFact(paid(), taken.attempts[0].id, "tx-1"))
    assert event.state is S.applied, "ours do not wait for the old address"
    monkeypatch.setattr(relay, "MOST_UNSIGNED", 1)
    await relaying.arrives(stranger(), must_fetch=True)
    with pytest.raises(TooMany):
        await relaying.arrives(stranger(), must_fetch=True)


async def test_a_relay_that_is_turned_off_parks_what_waits(relaying: Relaying) -> None:
    scene = relaying.scene
    relaying.old.answer = 500
    event, _ = await relaying.arrives(stranger())
    await webhook_relay.set_relay(scene.context, scene.practice_id, "scripted", Environment.sandbox, None, "test")
    await relaying.later(1)
    its = await relaying.relay(event.id)
    assert ((await relaying.event(event.id)).state, its.state, its.sealed_request) == (
        S.parked,
        RelayState.turned_off,
        None,
    )
    event, _ = await relaying.arrives(stranger())
    assert event.state is S.parked
    lines = await plain(scene.db, "SELECT action FROM audit_log WHERE action LIKE 'provider.relay%' ORDER BY id DESC")
    assert [line[0] for line in lines[:2]] == ["provider.relay_removed", "provider.relay_set"]


@pytest.mark.parametrize(
    "url",
    ["http://old.example/", "https://10.0.0.8/", "https://[::1]/", "https://[::ffff:10.0.0.1]/", "https://localhost/x",
     "https://db.internal/", "https://2130706433/", "https://a:b@old.example/", "ftp://old.example/", "old.example", "",
     "https://old.example/#x", "https://old.example/\n", "http://127.0.0.1:8420/hooks/x", "https://old.example/é"],
)  # fmt: skip
async def test_an_address_that_may_not_be_used(relaying: Relaying, url: str) -> None:
    scene = relaying.scene
    with pytest.raises(Invalid):
        await webhook_relay.set_relay(scene.context, scene.practice_id, "scripted", Environment.sandbox, url, "test")
    fresh = await scene.context.configured(scene.db, 0)
    assert fresh.configurations["scripted"].relay_urls == {"sandbox": OLD}


async def test_a_configuration_without_webhooks_or_none_at_all(
    relaying: Relaying, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = relaying.scene
    with pytest.raises(NotFound):
        await webhook_relay.set_relay(scene.context, scene.practice_id, "other", Environment.sandbox, OLD, "test")
    await scene.configure("plain")
    entry = HANDLERS["plain"]
    monkeypatch.setattr(entry, "webhook_proof", WebhookProof.none)
    with pytest.raises(Conflict):
        await webhook_relay.set_relay(scene.context, scene.practice_id, "plain", Environment.sandbox, OLD, "test")
