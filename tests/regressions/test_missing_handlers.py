"""A provider whose handler is missing is asked for again later, and what a handler raises can be found in its code.

Source: a reviewer who wrote plug-ins for Mollie and Razorpay (findings F14, F17 and F24). A refund said that the provider
cannot refund, an error of a handler had no line, and a payable payment kept the reason of an answer that was found since.
"""

from __future__ import annotations

from typing import Any

import pytest

from polytill.domain.errors import NotNow
from polytill.domain.states import CaptureMode, PaymentStatus
from polytill.flows import provider_calls
from polytill.flows.command import Command
from polytill.flows.payments.capture_cancel import cancel, capture
from polytill.flows.reconciliation.payments import reconcile
from polytill.providers.outcomes import Reason, Unknown
from polytill.providers.registry import Registry
from polytill.storage import listings, operations, refunds
from tests import calls
from tests.flows.scenes import LINK, Scene, held


def gone(name: str) -> None:
    """As ``import_module``, where nothing is installed any more."""
    raise ModuleNotFoundError(name=name)


@pytest.fixture
def uninstall(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Take the handler away from a running process."""

    def take() -> None:
        monkeypatch.setattr(scene.context, "registry", Registry(scene.context.registry._allowed))
        monkeypatch.setattr("polytill.providers.registry.import_module", gone)

    return take


@pytest.mark.parametrize("what", ["refund", "capture", "cancel"])
async def test_a_call_of_a_missing_handler_is_to_be_made_again_later(scene: Scene, uninstall: Any, what: str) -> None:
    """F17: 409 "This payment's provider cannot refund", although it can."""
    await scene.configure()
    if what == "refund":
        payment = await scene.succeeded()
    else:
        scene.wire.says("create", held())
        payment = (await scene.pay(capture=CaptureMode.manual)).payment
    uninstall()
    requests = {
        "refund": lambda: calls.refund(scene.till, scene.practice_id, payment.id, key="k", amount=100),
        "capture": lambda: capture(scene.context, scene.practice_id, payment.id, None, Command("k", "test")),
        "cancel": lambda: cancel(scene.context, scene.practice_id, payment.id, Command("k", "test")),
    }
    with pytest.raises(NotNow) as refused:
        await requests[what]()
    assert (refused.value.status, refused.value.code) == (503, "handler_missing")
    assert refused.value.retry_after_s > 0
    assert await refunds.of_payment(scene.db, payment.id) == []
    assert await operations.of_payment(scene.db, payment.id) == []
    assert (await scene.payment(payment.id)).version == payment.version, "nothing was written"


async def test_a_missing_handler_does_not_stop_the_reconciliation(scene: Scene, uninstall: Any) -> None:
    """Its exception ended the sweep, and the practice's other configurations were never reconciled."""
    configuration = await scene.configure()
    uninstall()
    assert await reconcile(scene.context, scene.practice_id) == 0
    kept = await listings.kept(scene.db, configuration.id, configuration.environment)
    assert kept is None, "the period is listed once the handler is back"


async def test_the_log_names_the_line_of_a_handler_that_raises(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """F14: ``{"verb": "create_payment_intent", "error": "KeyError"}`` and nothing else. Its text may quote a secret."""
    await scene.configure()
    lines: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(provider_calls.log, "error", lambda event, **more: lines.append((event, more)))

    async def breaks(_: object) -> None:
        raise KeyError("sk_live_secret")

    scene.wire.says("create", breaks)
    payment = (await scene.pay()).payment
    assert payment.status is PaymentStatus.processing
    [told] = [more for event, more in lines if event == "handler_failed"]
    assert (told["verb"], told["error"]) == ("create_payment_intent", "KeyError")
    assert told["places"][-1].startswith("regressions/test_missing_handlers.py:")
    assert told["places"][-1].endswith(" breaks")
    assert "sk_live" not in str(told)


async def test_a_payment_that_can_be_paid_has_no_reason_of_failure(scene: Scene) -> None:
    """F24: ``failureReason: timeout`` stayed after the lost answer was found."""
    await scene.configure()
    scene.wire.says("create", Unknown(Reason.timeout, "TimeoutError"))
    payment = (await scene.pay()).payment
    assert payment.status is PaymentStatus.processing
    scene.wire.always("lookup", LINK)
    await scene.later(60)
    found = await scene.payment(payment.id)
    assert (found.status, found.failure_reason) == (PaymentStatus.requires_action, None)
    [attempt] = await scene.attempts(payment.id)
    assert (attempt.reason, attempt.raw_code, attempt.detail) == (None, None, None)
