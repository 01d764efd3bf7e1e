"""A broken plug-in affects nothing else, and everybody is told why it was not loaded.

Source: a reviewer who wrote plug-ins for Mollie and Razorpay (findings F1, F2, F6, F7, F9 to F12, F14).
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from polytill.app import Polytill
from polytill.doctor import examine
from polytill.domain.errors import Invalid, NotNow
from polytill.domain.states import AttemptState, EventState, IntegrationType, PaymentStatus
from polytill.flows.admin import catalog
from polytill.flows.command import Command
from polytill.flows.payments.capture_cancel import cancel
from polytill.flows.payments.payment_links import LinkWish, begin, create_link
from polytill.flows.payments.retries import may_try_again
from polytill.flows.recovery import checkout
from polytill.flows.webhooks import receive
from polytill.providers.contract import CatalogEntry, CurrencyTerms, PaymentFact
from polytill.providers.declaration import faults_of
from polytill.providers.outcomes import Declined, Reason
from polytill.providers.registry import BUILT_IN, HandlerMissing, Registry
from polytill.storage import webhook_events
from polytill.storage.units import Unit
from polytill.testing.conformance.scaffold import rendered
from tests.flows import scenes
from tests.flows.scenes import LINK, Scene, paid
from tests.flows.scripted import HANDLERS, Scripted
from tests.installation import Installation, fresh_settings, opened
from tests.web.browsing import Browser, person


class EntryPoint:
    """What ``importlib.metadata`` says of a plug-in; loading it gives a class or raises."""

    def __init__(self, name: str, found: object, package: str = "strange", value: str | None = None) -> None:
        self.name, self.value, self.found = name, value or f"{package}:Provider", found
        self.dist = SimpleNamespace(name=package, version="0.1.0")
        self.loads = 0

    def load(self) -> object:
        self.loads += 1
        if isinstance(self.found, BaseException):
            raise self.found
        return self.found() if callable(self.found) and not isinstance(self.found, type) else self.found


Installs = Callable[..., None]


@pytest.fixture
def installs(monkeypatch: pytest.MonkeyPatch) -> Installs:
    """Say which plug-ins are installed."""

    def install(*found: EntryPoint) -> None:
        monkeypatch.setattr("polytill.providers.registry.entry_points", lambda group: list(found))

    return install


def declared(**more: Any) -> type[Scripted]:
    """A sound handler but for what is given."""
    return type("Provider", (Scripted,), {"code": "strange", "name": "Strange", **more})


def in_currency(code: str, terms: object) -> CatalogEntry:
    base = Scripted.catalog
    return CatalogEntry(
        base.description,
        base.website_url,
        base.documentation_url,
        base.api_base_url,
        base.sandbox_api_base_url,
        base.methods,
        {code: terms},  # type: ignore[dict-item]
    )


class Unlisted(Scripted):
    """A handler whose catalog entry cannot be read."""

    code = "strange"

    @property
    def catalog(self) -> CatalogEntry:  # type: ignore[override]
        raise AssertionError


async def _sync(self: object, params: object) -> None: ...


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "no catalog entry": ({"catalog": None}, "catalog"),
    "a catalog entry of another type": ({"catalog": {"methods": ()}}, "CatalogEntry"),
    "a currency that ISO withdrew": ({"catalog": in_currency("BGN", CurrencyTerms())}, "BGN"),
    "terms of another type": ({"catalog": in_currency("NGN", {"percent": 1.5})}, "CurrencyTerms"),
    "a fee that is a float": ({"catalog": in_currency("NGN", CurrencyTerms(1.5))}, "whole numbers"),  # type: ignore[arg-type]
    "a code with a space": ({"code": "Bad Code"}, "provider code"),
    "an empty name": ({"name": " "}, "name is empty"),
    "no hosts": ({"hosts": frozenset()}, "hosts"),
    "a host that is a URL": ({"hosts": frozenset({"https://scripted.example"})}, "host name"),
    "an address at a strange host": ({"hosts": frozenset({"other.example"})}, "declared host"),
    "a pattern that is no pattern": (
        {"keys": {"secretKey": SimpleNamespace(label="x", sandbox="(", production="")}},
        "keys",
    ),
    "an open schema": ({"config_schema": {"type": "object", "properties": {}}}, "additionalProperties"),
    "a schema that is not JSON": ({"config_schema": {"type": object}}, "config schema"),
    "a call that is not async": ({"refund_payment": lambda self, params: None}, "refund_payment is not an async"),
    "a reader that is async": ({"process_webhook": _sync}, "process_webhook must not be async"),
    "a verb that is missing": ({"lookup_refund": None}, "needs lookup_refund"),
    "an unknown customer field": ({"required_customer_fields": ("address",)}, "customer field"),
    "an unknown idempotency": ({"idempotency": "uuid"}, "idempotency"),
    "an answer that is not JSON": ({"webhook_answer": {"ok": b"1"}}, "answers"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_broken_declaration_is_refused_when_it_is_loaded(installs: Installs, name: str) -> None:
    """F1, F11: what a handler declares is checked when it is loaded, not by whoever reads it first."""
    given, word = FAULTS[name]
    handler = declared(**given)
    installs(EntryPoint(handler.code, handler))
    assert faults_of(declared()) == [], "the handler is sound but for the one fault"
    registry = Registry()
    assert registry.installed() == BUILT_IN
    [plug_in] = registry.plug_ins()
    assert plug_in.handler is None
    assert word in (plug_in.refused or ""), plug_in.refused
    with pytest.raises(HandlerMissing, match="strange:Provider"):
        registry.get(handler.code, IntegrationType.plugin)


def test_a_declaration_that_raises_is_refused(installs: Installs) -> None:
    installs(EntryPoint("strange", Unlisted), EntryPoint("sound", declared(code="sound"), "sound"))
    registry = Registry()
    assert set(registry.installed()) - set(BUILT_IN) == {"sound"}


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ModuleNotFoundError("No module named 'mollie'", name="mollie"), "ModuleNotFoundError (mollie)"),
        (ImportError("x", name="polytill.nothing"), "ImportError (polytill.nothing)"),
        (AttributeError("x", name="Provider", obj=None), "AttributeError (Provider)"),
        (RuntimeError("sk_live_secret"), "RuntimeError"),
        (SystemExit(3), "SystemExit"),
        (SyntaxError("invalid syntax", ("/somewhere/strange/handler.py", 7, 1, "def x(:")), "strange/handler.py:7"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_the_reason_names_module_and_line_and_no_secret(installs: Installs, error: BaseException, said: str) -> None:
    """F7: nine ways to be broken had one sentence, or none."""
    installs(EntryPoint("strange", error))
    [plug_in] = Registry().plug_ins()
    assert said in (plug_in.refused or "")
    assert "sk_live" not in (plug_in.refused or "")
    assert "test_plug_ins.py:" in (plug_in.refused or "") or isinstance(error, SyntaxError), "the line that raised"


def test_two_plug_ins_of_one_code_are_both_refused_by_name(installs: Installs) -> None:
    """F12: the last one in the order of the path won in silence."""
    first, second = EntryPoint("strange", declared(), "first"), EntryPoint("strange", declared(), "second")
    installs(first, second)
    registry = Registry()
    assert registry.installed() == BUILT_IN
    assert first.loads == second.loads == 0, "no code of either runs"
    with pytest.raises(HandlerMissing) as refused:
        registry.get("strange", IntegrationType.plugin)
    assert "first:Provider (first 0.1.0)" in str(refused.value)
    assert "second:Provider (second 0.1.0)" in str(refused.value)


def test_a_plug_in_that_claims_a_built_in_code_is_refused_by_name(installs: Installs) -> None:
    claim = EntryPoint("stripe", declared(code="stripe"), "thief")
    installs(claim)
    registry = Registry()
    assert registry.get("stripe") is BUILT_IN["stripe"]
    assert claim.loads == 0
    [plug_in] = registry.plug_ins()
    assert "thief:Provider (thief 0.1.0)" in (plug_in.refused or "")


@pytest.fixture
async def broken(tmp_path: Path, engine_url: str | None, installs: Installs) -> AsyncIterator[Polytill]:
    """An installation beside whose built-in providers one plug-in is broken, one doubled, and one sound."""
    installs(
        EntryPoint("strange", declared(catalog=None)),
        EntryPoint("twice", declared(code="twice"), "a"),
        EntryPoint("twice", declared(code="twice"), "b"),
        EntryPoint("sound", declared(code="sound"), "sound"),
    )
    async with opened(fresh_settings(tmp_path, engine_url)) as till:
        yield till


async def test_broken_plug_ins_keep_no_provider_out_of_the_catalog(broken: Polytill) -> None:
    """F1: a class without a catalog ended ``polytill migrate`` with a traceback, and the catalog stayed without the
    built-in providers for good."""
    assert set(await broken.context.catalog()) == {*BUILT_IN, "sound"}
    found = [one.sentence for one in await examine(broken.context.settings) if one.bad]
    assert [code for code in ("strange", "twice") if any(f"plug-in {code} " in sentence for sentence in found)] == [
        "strange",
        "twice",
    ]


async def test_what_a_broken_first_run_left_out_is_added_later(broken: Polytill) -> None:
    unit = Unit()
    unit.add("DELETE FROM provider_currency_support WHERE provider_id > $1", 1)
    unit.add("DELETE FROM payment_providers WHERE id > $1", 1)
    await broken.context.owner.commit(unit)
    broken.context.forget_catalog()
    seeded = await catalog.seed(broken.context)
    assert set(seeded.added) == set(BUILT_IN) - {"stripe"}
    assert set(await broken.context.catalog()) == set(BUILT_IN)


async def test_adding_says_what_is_there_and_why_the_rest_is_not(broken: Polytill) -> None:
    """F7, F8: one sentence stood for "there already" and for every reason not to load."""
    seeded = await catalog.seed(broken.context, ["stripe", "strange", "nothing"])
    assert (seeded.added, seeded.present) == ([], ["stripe"])
    assert set(seeded.refused) == {"strange", "nothing"}
    assert "CatalogEntry" in seeded.refused["strange"]


async def test_a_plug_in_that_is_installed_later_is_found(broken: Polytill, installs: Installs) -> None:
    """F9: a running service did not see a plug-in that was added to the catalog."""
    installs(EntryPoint("later", declared(code="later"), "later"))
    with pytest.raises(HandlerMissing):
        broken.context.registry.get("later", IntegrationType.plugin)
    unit = Unit()
    unit.add(
        "INSERT INTO payment_providers (code, name, status, integration_type) VALUES ($1, $2, 'active', 'plugin')",
        "later",
        "Later",
    )
    await broken.context.owner.commit(unit)
    broken.context.forget_catalog()
    await broken.context.catalog()
    assert broken.context.registry.get("later", IntegrationType.plugin).code == "later"
    assert broken.context.registry.get("sound", IntegrationType.plugin).code == "sound", "what is loaded stays"


async def test_the_platforms_pages_and_health_name_the_refused_ones(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, installs: Installs
) -> None:
    installs(EntryPoint("strange", ModuleNotFoundError("x", name="mollie")))
    monkeypatch.setattr(installation.till.context, "registry", Registry())
    told = (await installation.call("GET", "/api/owner/health", installation.owner_key)).body["plugIns"]
    assert [(one["code"], one["loaded"]) for one in told] == [("strange", False)]
    assert "ModuleNotFoundError (mollie)" in told[0]["reason"]
    unit = Unit()
    unit.add("INSERT INTO provider_currency_support (provider_id, currency_code) VALUES ($1, $2)", 1, "BGN")
    await installation.till.context.owner.commit(unit)
    installation.till.context.forget_catalog()
    await person(installation, installation.till.context.owner, "owner@example.com")
    async with Browser(installation) as browser:
        await browser.sign_in("/owner", "owner@example.com")
        page = await browser.get("/owner/catalog")
        assert "ModuleNotFoundError (mollie)" in page.text
        # F11: a currency that is no longer ISO's ended the page of its provider with a 500.
        assert (await browser.get("/owner/catalog/stripe")).status == 200


def test_a_generated_package_says_no_article_before_its_name() -> None:
    """F27: "not a Acme event". No name is known to the template, so neither is the article."""
    for file, text in rendered("acme").items():
        assert re.search(r"\ban? (Acme|acme)", text, re.IGNORECASE) is None, file


# ── Webhooks ──


async def waiting(scene: Scene) -> tuple[Any, Any]:
    """A configured provider, and a payment that waits for its customer."""
    configuration = await scene.configure()
    scene.wire.says("create", LINK)
    return configuration, await scene.pay()


def success(taken: Any) -> PaymentFact:
    return PaymentFact(paid(), taken.payment.id, "tx-1")


@pytest.mark.parametrize("missing", ["not installed", "not on the allow-list", "not started"])
async def test_a_webhook_whose_handler_is_missing_is_asked_for_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """F6: it was answered 401, after a day of which Razorpay turns the webhook off."""
    configuration, taken = await waiting(scene)
    with monkeypatch.context() as patch:
        if missing == "not started":
            patch.setattr(Scripted, "initialize", lambda self, config: 1 / 0)
        else:
            allowed = frozenset() if missing == "not on the allow-list" else scene.context.registry._allowed
            patch.setattr(scene.context, "registry", Registry(allowed))
            if missing == "not installed":
                patch.setattr("polytill.providers.registry.import_module", _gone)
        with pytest.raises(NotNow) as refused:
            await scene.delivery(configuration, success(taken))
        assert (refused.value.status, refused.value.code) == (503, "handler_missing")
        assert refused.value.retry_after_s > 0
    assert await webhook_events.listed(scene.db) == []
    await scene.delivery(configuration, success(taken))
    assert (await scene.payment(taken.payment.id)).status is PaymentStatus.succeeded


def _gone(name: str) -> None:
    raise ModuleNotFoundError(name=name)


async def test_a_check_that_fails_is_no_wrong_signature(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    configuration, taken = await waiting(scene)
    with monkeypatch.context() as patch:
        patch.setattr(Scripted, "validate_webhook", lambda self, headers, body: headers["x-missing"])
        with pytest.raises(NotNow):
            await scene.delivery(configuration, success(taken))
    assert await webhook_events.listed(scene.db) == []


@pytest.mark.parametrize("error", [KeyError("id"), TypeError(), RecursionError(), ValueError("odd")], ids=repr)
async def test_a_webhook_that_its_handler_cannot_read_is_stored(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    configuration, taken = await waiting(scene)

    def breaks(self: Scripted, body: bytes) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Scripted, "process_webhook", breaks)
        event = await scene.delivery(configuration, success(taken))
    assert event is not None
    [stored] = await webhook_events.listed(scene.db)
    assert stored.state is EventState.parked
    assert (stored.reason or "").startswith("unreadable")
    await receive.replay(scene.context, scene.practice_id, stored.id)
    assert (await scene.payment(taken.payment.id)).status is PaymentStatus.succeeded


async def test_the_answer_of_a_custom_handler_is_sent(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """F10: only built-in handlers and plug-ins had their answer sent."""
    configuration, taken = await waiting(scene)
    monkeypatch.setattr(Scripted, "webhook_answer", {"ok": "[accepted]"})
    event = await scene.delivery(configuration, success(taken))
    assert event is not None
    assert await receive.response_body(scene.context, event) == {"ok": "[accepted]"}


# ── An end that is certain ──


def ended(reason: Reason, certain: bool = True) -> Declined:
    return Declined(reason, True, reason.value, None, "tx-1", closed_for_certain=certain)


@pytest.mark.parametrize("reason", [Reason.canceled, Reason.expired])
@pytest.mark.parametrize("certain", [True, False])
async def test_the_customer_may_try_again_where_the_end_of_an_attempt_is_certain(
    scene: Scene, reason: Reason, certain: bool
) -> None:
    """F2: "Cancel" on Mollie's page ended the payment for ever, and a single-use link led to it for ever."""
    configuration = await scene.configure()
    link = await create_link(scene.context, scene.practice_id, LinkWish(1000, "NGN", "Visit"), "test")
    scene.wire.says("create", LINK)
    customer = scenes.Customer("ada@example.com")
    begun = await begin(scene.context, scene.practice_id, link.id, customer, "payer")
    fact = PaymentFact(ended(reason, certain), begun.payment.id, "tx-1")
    await scene.delivery(configuration, fact)
    payment = await scene.payment(begun.payment.id)
    [attempt] = await scene.attempts(payment.id)
    assert may_try_again(scene.context, payment, [attempt]) is certain
    if not certain:
        assert (payment.status, payment.cancel_reason) == (PaymentStatus.canceled, reason.value)
        return
    assert (payment.status, payment.failure_reason) == (PaymentStatus.failed, reason.value)
    assert (attempt.state, attempt.reason) == (AttemptState.declined, reason.value)
    scene.wire.says("create", paid(transaction="tx-2"))
    again = await checkout.try_again(scene.context, scene.practice_id, payment.id)
    assert (again.payment.status, len(again.attempts)) == (PaymentStatus.succeeded, 2)


async def test_a_payment_that_staff_cancel_is_canceled(scene: Scene) -> None:
    configuration, taken = await waiting(scene)

    async def told_first(_: object) -> Declined:
        # The webhook of the cancel overtakes the answer to it.
        await scene.delivery(configuration, PaymentFact(ended(Reason.canceled), taken.payment.id, "tx-1"))
        return ended(Reason.canceled)

    scene.wire.says("cancel", told_first)
    await cancel(scene.context, scene.practice_id, taken.payment.id, Command("cancel-1", "test"))
    payment = await scene.payment(taken.payment.id)
    assert (payment.status, payment.cancel_reason) == (PaymentStatus.canceled, "canceled")


async def test_a_payment_whose_time_is_over_is_expired(scene: Scene) -> None:
    configuration, taken = await waiting(scene)
    scene.clock.at_s += 10**7
    await scene.delivery(configuration, PaymentFact(ended(Reason.expired), taken.payment.id, "tx-1"))
    payment = await scene.payment(taken.payment.id)
    assert (payment.status, payment.cancel_reason) == (PaymentStatus.canceled, "expired")


def test_the_scripted_handlers_are_sound() -> None:
    assert {code: faults_of(handler) for code, handler in HANDLERS.items()} == {code: [] for code in HANDLERS}


@pytest.mark.parametrize("module", ["strange.module:Class", "module", "strange.module.Class", None])
async def test_a_handler_module_that_cannot_be_loaded_is_named_at_its_field(scene: Scene, module: str | None) -> None:
    """F23: the error of ``handlerModule`` stood at ``/code``."""
    given = {
        "code": "clinic",
        "name": "Clinic Pay",
        "integration_type": IntegrationType.custom,
        "handler_module": module,
    }
    with pytest.raises(Invalid) as refused:
        await catalog.add(scene.context, given, None, "test")
    assert [error.pointer for error in refused.value.errors] == ["/handlerModule"]
    assert refused.value.code == "handler_missing"
