"""A blank answer to what a provider asks the customer for is no answer (issue 18, item 1: blank is absent).

It went to the provider, and a wrong one-time password ends the charge.
"""

from __future__ import annotations

import pytest

from tests.installation import Installation
from tests.regressions.test_customer_data import send
from tests.web.support import Practice, is_problem

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_blank_password_leaves_the_charge_open(shared: Installation) -> None:
    practice = await Practice.make(shared, None, "GHS")
    await practice.configure("paystack", ["GHS", "NGN"])
    bank = {"code": "057", "account_number": "0000000000"}
    made = (await practice.create(500_000, currency="NGN", paymentMethod="bank", methodDetails=bank)).body
    path = f"/payments/{made['id']}/continue"
    page = f"/pay/{made['clientToken']}"
    for wanted, right in (("birthday", "1995-12-23"), ("otp", "123456")):
        for blank in (" ", "\u200b", "\u00a0 \ufeff", "\u202a\u202c"):
            found = is_problem(await practice.call("POST", path, {"values": {wanted: blank}}), 422)
            assert [error["pointer"] for error in found["errors"]] == [f"/values/{wanted}"], ascii(blank)
            answered = await send(practice, f"{page}/continue", **{wanted: blank})
            assert answered.headers["Location"] == f"{page}?incomplete=1", ascii(blank)
        assert (await practice.payment(made["id"]))["nextAction"]["wants"] == wanted
        assert (await practice.call("POST", path, {"values": {wanted: f"\u200b{right} "}})).status == 200
    assert (await practice.payment(made["id"]))["status"] == "succeeded"
