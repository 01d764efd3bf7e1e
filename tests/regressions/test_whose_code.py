"""A note of our own is no code of the provider (issue 18, item 4): ``codeBy`` says whose an attempt's code is."""

from __future__ import annotations

import pytest

from polytill.domain.states import AttemptState
from polytill.flows.recovery.lookup import _LINK_LOST
from polytill.providers.outcomes import NotSent, Reason, Unknown
from polytill.web.api.models.attempts import Attempt
from polytill.web.code_by import code_by
from tests.flows.scenes import LINK, REFUSED, Scene


async def test_the_providers_code_and_ours_are_told_apart(scene: Scene) -> None:
    await scene.configure()
    scene.wire.says("create", REFUSED, Unknown(Reason.timeout, "TimeoutError", "The provider's answer did not arrive."))
    [declined] = await scene.attempts((await scene.pay()).payment.id)
    [lost] = await scene.attempts((await scene.pay()).payment.id)
    assert (Attempt.of(declined).code, Attempt.of(declined).code_by) == ("51", "provider")
    assert Attempt.of(lost).code_by == "polytill"


async def test_an_expiry_is_ours(scene: Scene) -> None:
    await scene.configure()
    scene.wire.says("create", LINK)
    scene.wire.always("confirm", LINK)
    scene.wire.always("cancel", NotSent(Reason.invalid_state, "nothing_to_close"))
    payment = (await scene.pay()).payment
    assert Attempt.of((await scene.attempts(payment.id))[0]).code_by is None
    await scene.later(2 * 86_400)
    [attempt] = await scene.attempts(payment.id)
    assert attempt.state is AttemptState.expired
    assert (Attempt.of(attempt).code, Attempt.of(attempt).code_by) == ("expired", "polytill")


@pytest.mark.parametrize(
    ("code", "detail", "whose"),
    [
        (_LINK_LOST.code, _LINK_LOST.detail, "polytill"),
        ("handler_missing", "No handler for 'x' is installed.", "polytill"),
        ("wrong_type", "The provider's handler answered wrongly: amount is int.", "polytill"),
        ("expired", "The session has expired.", "provider"),
        ("expired", None, "provider"),
        (None, None, None),
    ],
)
def test_whose_a_code_is(code: str | None, detail: str | None, whose: str | None) -> None:
    assert code_by(code, detail) == whose
