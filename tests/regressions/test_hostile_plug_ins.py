"""Whatever a plug-in's code does, only its own call fails: nothing is lost, nothing else stops, and the log names its line.

Source: issue 18, item 11, tried with plug-ins that were broken on purpose. An outcome with a float for an amount, a text
for a reason or a date in its response was an error after the call, where the attempt was to be written: the payment stayed
as it was sent, and each lookup failed in the same way. ``SystemExit`` and other exceptions that are no ``Exception`` ended
the worker.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest

from polytill.domain.money import Money
from polytill.domain.secret import Secret
from polytill.domain.states import AttemptState, EventState, PaymentStatus, RefundState
from polytill.flows import provider_calls
from polytill.flows.context import Practice
from polytill.flows.handler_guard import listed, log
from polytill.flows.payments.candidates import candidates
from polytill.flows.routing.eligibility import Wanted
from polytill.flows.webhooks import receive
from polytill.providers.contract import CredentialTest, DisputeFact, Page, PaymentFact, RefundFact, WebhookResult
from polytill.providers.outcomes import Declined, NeedsAction, NextAction, NextKind, NotSent, Pending, Reason, Succeeded
from polytill.providers.registry import BUILT_IN, Registry
from polytill.providers.well_formed import wrong_in
from polytill.storage import refunds
from polytill.storage.provider_configs import Account
from tests import calls
from tests.flows.scenes import Scene, keys, paid
from tests.flows.scripted import Other, Scripted
from tests.regressions.test_plug_ins import EntryPoint, Installs, declared
from tests.regressions.test_plug_ins import installs as installs
from tests.routing.making import decided

NGN = Money(1000, "NGN")
NEST: list[Any] = []
for _ in range(200):
    NEST = [NEST]


class Odd(BaseException):
    """No ``Exception``."""


# What a create answers, and what is wrong with it.
WRONG: dict[str, Any] = {
    "None": None,
    "a text": "succeeded",
    "an object": {"status": "paid"},
    "a float amount": Succeeded(Money(10.5, "NGN"), "tx-1"),  # type: ignore[arg-type]
    "an amount that is a number": Succeeded(1000, "tx-1"),  # type: ignore[arg-type]
    "a currency that is none": Succeeded(Money(1000, "naira"), "tx-1"),
    "an amount beyond all bounds": Succeeded(Money(10**30, "NGN"), "tx-1"),
    "an id that is a number": Succeeded(NGN, 17),  # type: ignore[arg-type]
    "a fee that is a float": Succeeded(NGN, "tx-1", 0.15),  # type: ignore[arg-type]
    "a reason of its own": Declined("no_money", True),  # type: ignore[arg-type]
    "a code that is a number": Declined(Reason.declined, True, 51),  # type: ignore[arg-type]
    "a detail with NUL": Declined(Reason.declined, True, "51", "no\0"),
    "an action that is a text": NeedsAction("https://scripted.example/pay"),  # type: ignore[arg-type]
    "an action of another kind": NeedsAction(NextAction("popup", "https://scripted.example/pay")),  # type: ignore[arg-type]
    "a token that is no secret": NeedsAction(NextAction(NextKind.client_token, provider_token="t")),  # type: ignore[arg-type]
    "an amount that is a date": Pending(datetime(2026, 1, 1)),  # type: ignore[arg-type]  # noqa: DTZ001
}
RAISED: dict[str, BaseException] = {
    "SystemExit": SystemExit(3),
    "no Exception": Odd("sk_live_1"),
    "a cancellation of its own": asyncio.CancelledError(),
    "RecursionError": RecursionError(),
    "MemoryError": MemoryError(),
}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What was logged of handlers that failed."""
    lines: list[dict[str, Any]] = []
    monkeypatch.setattr(log, "error", lambda event, **more: lines.append(more) if event == "handler_failed" else None)
    return lines


@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_answer_is_an_unknown_outcome(scene: Scene, told: list[dict[str, Any]], name: str) -> None:
    await scene.configure()
    scene.wire.says("create", WRONG[name])
    payment = (await scene.pay()).payment
    [attempt] = await scene.attempts(payment.id)
    assert (payment.status, attempt.state) == (PaymentStatus.processing, AttemptState.unknown)
    [line] = told
    assert (line["provider"], line["verb"]) == ("scripted", "create_payment_intent")
    [place] = line["places"]
    assert place.startswith("flows/scripted.py:")
    assert place.endswith("create_payment_intent")
    scene.wire.always("lookup", paid())  # it is asked about, as after any lost answer
    await scene.later(120)
    assert (await scene.payment(payment.id)).status is PaymentStatus.succeeded


@pytest.mark.parametrize("name", RAISED)
async def test_whatever_is_raised_is_an_unknown_outcome(scene: Scene, told: list[dict[str, Any]], name: str) -> None:
    await scene.configure()

    async def breaks(_: object) -> None:
        raise RAISED[name]

    scene.wire.says("create", breaks)
    payment = (await scene.pay()).payment
    assert payment.status is PaymentStatus.processing
    assert told[0]["error"] == type(RAISED[name]).__name__
    assert told[0]["places"][-1].startswith("regressions/test_hostile_plug_ins.py:")
    assert "sk_live" not in str(told)
    scene.wire.says("lookup", breaks)
    scene.wire.always("lookup", paid())
    await scene.later(60)  # the sweep outlives it, too
    await scene.later(600)
    assert (await scene.payment(payment.id)).status is PaymentStatus.succeeded


async def test_a_caller_who_goes_away_still_ends_the_call(scene: Scene) -> None:
    """Our cancellation of a task is not the handler's."""
    await scene.configure()
    begun = asyncio.Event()

    async def hangs(_: object) -> None:
        begun.set()
        await asyncio.sleep(3600)

    configuration = await scene.configure()
    entry = (await scene.context.catalog())["scripted"]
    practice = Practice(scene.context, scene.db)
    handler = provider_calls.build(practice, entry, Account(configuration, configuration.active))
    assert not isinstance(handler, NotSent)
    scene.wire.says("test", hangs)
    task = asyncio.create_task(provider_calls.call(practice, handler, "test_credentials"))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    "response",
    [
        {"at": datetime(2026, 1, 1)},  # noqa: DTZ001
        {"x": {1, 2}},
        {"x": "y" * 5_000_000},
        {"x": NEST},
        {"x": "\0"},
        {1: "x"},
        {"x": float("nan")},
    ],
    ids=["a date", "a set", "huge", "deep", "NUL", "a key that is no text", "not a number"],
)
async def test_a_response_that_cannot_be_kept_loses_no_money(
    scene: Scene, told: list[dict[str, Any]], response: Any
) -> None:
    await scene.configure()
    scene.wire.says("create", Succeeded(NGN, "tx-1", response=response))
    payment = (await scene.pay()).payment
    assert payment.status is PaymentStatus.succeeded
    assert told[0]["error"] == "response is no JSON that can be kept"


async def test_an_amount_in_another_currency_is_not_booked(scene: Scene) -> None:
    await scene.configure()
    scene.wire.says("create", Succeeded(Money(1000, "USD"), "tx-1"))
    payment = (await scene.pay()).payment
    assert (payment.status, payment.amount_captured) == (PaymentStatus.processing, 0)
    assert await scene.cases() == ["amount_mismatch"]


async def test_a_key_in_an_answer_is_neither_kept_nor_shown(scene: Scene) -> None:
    await scene.configure()
    key = keys().secret_key
    assert key is not None
    secret = key.reveal()
    asked = NextAction(NextKind.redirect, f"https://scripted.example/pay?key={secret}", instructions=secret)
    scene.wire.says("create", NeedsAction(asked, NGN, "tx-1", response={"sent": [{"auth": f"Bearer {secret}"}]}))
    payment = (await scene.pay()).payment
    assert payment.status is PaymentStatus.requires_action
    [attempt] = await scene.attempts(payment.id)
    assert secret not in repr(attempt)


async def test_what_a_handler_writes_into_its_parameters_stays_there(scene: Scene) -> None:
    await scene.configure()

    async def writes(params: Any) -> Any:
        params.metadata["order"] = "changed"
        params.metadata["more"] = "x"
        object.__setattr__(params, "amount", Money(1, "NGN"))
        return NeedsAction(NextAction(NextKind.redirect, "https://scripted.example/pay"), None, "tx-1")

    scene.wire.says("create", writes)
    payment = (await scene.pay(metadata={"order": "7"})).payment
    assert (await scene.payment(payment.id)).metadata == {"order": "7"}
    assert payment.amount == 1000


FACTS: dict[str, Any] = {
    "no result": None,
    "facts that are objects": WebhookResult("e", "k", "apply", facts=({"status": "paid"},)),  # type: ignore[arg-type]
    "facts that are no tuple": WebhookResult("e", "k", "apply", facts=[PaymentFact(paid())]),  # type: ignore[arg-type]
    "an action of its own": WebhookResult("e", "k", "book", facts=()),
    "a key that is none": WebhookResult("e", None, "apply"),  # type: ignore[arg-type]
    "an outcome that is a text": WebhookResult("e", "k", "apply", facts=(PaymentFact("paid"),)),  # type: ignore[arg-type]
    "a state that nobody knows": WebhookResult("e", "k", "apply", facts=(RefundFact("gone", provider_refund_id="r"),)),
    "a dispute of a kind of its own": WebhookResult(
        "e", "k", "apply", facts=(DisputeFact("open", "o", "d", kind="x"),)
    ),
    "a date that is no text": WebhookResult(
        "e",
        "k",
        "apply",
        facts=(DisputeFact("open", "o", "d", due_at=datetime(2026, 1, 1)),),  # type: ignore[arg-type]  # noqa: DTZ001
    ),
}


@pytest.mark.parametrize("name", [*FACTS, *RAISED])
async def test_a_webhook_that_is_read_wrongly_is_kept(
    scene: Scene, told: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """It is stored as unreadable, the provider gets its 200, and a mended version can read it again."""
    configuration = await scene.configure()

    def reads(self: object, body: bytes) -> Any:
        if name in RAISED:
            raise RAISED[name]
        return FACTS[name]

    monkeypatch.setattr(Scripted, "process_webhook", reads)
    secret = keys().webhook_secret
    assert secret is not None
    body = b'{"event": "of a kind"}'
    event = await receive.receive(scene.context, configuration.hook_token, {"x-secret": secret.reveal()}, body)
    assert event is not None
    assert (event.state, event.event_type) == (EventState.parked, "unreadable")
    assert event.body == {"event": "of a kind"}
    assert [line["verb"] for line in told] == ["process_webhook"]


async def test_entries_of_a_listing_that_are_wrong_are_counted(scene: Scene, told: list[dict[str, Any]]) -> None:
    good = PaymentFact(paid(), "r1")
    page = listed(Scripted, "list_transactions", Page((good, {"id": 1}, PaymentFact("paid")), None, 2))  # type: ignore[arg-type]
    assert page == Page((good,), None, 4)
    assert listed(Scripted, "list_transactions", ["r1"]) is None
    assert len(told) == 3


async def test_a_test_of_keys_that_answers_wrongly_says_so(scene: Scene, told: list[dict[str, Any]]) -> None:
    configuration = await scene.configure()
    entry = (await scene.context.catalog())["scripted"]
    handler: Any = provider_calls.build(
        Practice(scene.context, scene.db), entry, Account(configuration, configuration.active)
    )
    for answer in (None, True, CredentialTest("yes", "x"), SystemExit()):  # type: ignore[arg-type]

        async def says(_: object, answer: Any = answer) -> Any:
            if isinstance(answer, BaseException):
                raise answer
            return answer

        scene.wire.says("test", says)
        found = await provider_calls.call_test(handler)
        assert (found.ok, found.reached) == (False, False)
    assert len(told) == 4


BROKEN: dict[str, Callable[..., Any]] = {
    "raises": lambda *_: 1 / 0,
    "exits": lambda *_: sys.exit(3),
    "None": lambda *_: None,
    "a text": lambda *_: "email",
}


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("what", ["takes_currency", "customer_fields", "charge_details", "methods_in"])
async def test_a_declaration_that_breaks_later_takes_no_other_provider_out(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, told: list[dict[str, Any]], what: str, how: str
) -> None:
    await scene.configure()
    await scene.configure("other")
    monkeypatch.setattr(Other, what, classmethod(getattr(Scripted, what).__func__))
    monkeypatch.setattr(Scripted, what, classmethod(BROKEN[how]))
    context = scene.context
    everyone = await candidates(context, await context.configured(scene.db), "NGN")
    ranked = decided(everyone, Wanted("NGN", 1000, customer_fields=frozenset())).ranked
    assert "other" in [candidate.code for candidate in ranked]
    decided(everyone, Wanted("NGN", 1000, "bank_transfer", details={"bank": "044"}))
    scene.wire.says("create", NeedsAction(NextAction(NextKind.redirect, "https://other.example/pay"), None, "tx-1"))
    payment = (await scene.pay(provider_code="other")).payment
    assert payment.status is PaymentStatus.requires_action


async def test_a_refund_that_is_answered_wrongly_is_looked_up(scene: Scene) -> None:
    await scene.configure()
    payment = await scene.succeeded()
    scene.wire.says("refund", Succeeded(Money(1.5, "NGN")))  # type: ignore[arg-type]
    await calls.refund(scene.till, scene.practice_id, payment.id, key="k", amount=100)
    [refund] = await refunds.of_payment(scene.db, payment.id)
    assert refund.state is RefundState.unknown
    scene.wire.always("lookup_refund", Succeeded(Money(100, "NGN"), "re-1"))
    await scene.later(120)
    [refund] = await refunds.of_payment(scene.db, payment.id)
    assert refund.state is RefundState.succeeded


@pytest.mark.parametrize("error", [Odd(), SystemExit(2), asyncio.CancelledError()], ids=lambda e: type(e).__name__)
def test_an_import_that_ends_in_no_exception_refuses_the_plug_in_alone(
    installs: Installs, error: BaseException
) -> None:
    installs(EntryPoint("strange", error), EntryPoint("sound", declared(code="sound"), "sound"))
    registry = Registry()
    assert set(registry.installed()) - set(BUILT_IN) == {"sound"}
    refused = {one.code: one.refused for one in registry.plug_ins()}["strange"] or ""
    assert type(error).__name__ in refused


def test_what_a_plug_in_prints_while_it_is_imported_is_no_output_of_a_command(
    installs: Installs, capsys: pytest.CaptureFixture[str]
) -> None:
    def prints() -> object:
        sys.stdout.write("Thank you for using strange!\n")
        return declared()

    installs(EntryPoint("strange", prints))
    assert "strange" in Registry().installed()
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "Thank you for using strange!\n")


LATER: dict[str, dict[str, Any]] = {
    "a setting for an environment with a broken pattern": {"settings_by_environment": {"region": ("(", "x")}},
    "a schema with a broken pattern": {
        "config_schema": {
            "type": "object",
            "properties": {"region": {"type": "string", "pattern": "("}},
            "additionalProperties": False,
        }
    },
    "identifiers of a kind of its own": {"identifiers": {"order": ("id",)}},
    "further currencies that are none": {"further_currencies": frozenset({"XXL"})},
    "a description that is no text": {"catalog": SimpleNamespace(description=None)},
}


@pytest.mark.parametrize("name", LATER)
def test_what_would_break_a_page_later_is_refused_when_it_is_loaded(installs: Installs, name: str) -> None:
    given = dict(LATER[name])
    if "catalog" in given:
        from dataclasses import replace

        given["catalog"] = replace(Scripted.catalog, description=None)  # type: ignore[arg-type]
    installs(EntryPoint("strange", declared(**given)))
    [plug_in] = Registry().plug_ins()
    assert plug_in.refused is not None


def test_the_built_in_answers_are_of_their_types() -> None:
    """The check knows nothing of values: a sentence names fields and types only."""
    assert wrong_in(paid(), Succeeded) is None
    assert wrong_in(Succeeded(NGN, "x" * 30_000), Succeeded) == "provider_transaction_id is no text that can be kept"
    saved = NextAction(NextKind.client_token, provider_token=Secret(7))  # type: ignore[arg-type]
    assert wrong_in(NeedsAction(saved), NeedsAction) == "action.provider_token is int"
