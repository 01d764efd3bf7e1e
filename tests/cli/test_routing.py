"""The commands about routing: from a draft to the way back, readable and as JSON, and one sentence for bad input."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from polytill.app import Polytill
from polytill.cli import app
from polytill.domain.errors import Conflict, NotFound
from polytill.domain.money import Money
from polytill.domain.secret import Secret
from polytill.domain.states import Environment
from polytill.flows.admin import provider_configs
from polytill.flows.admin.credentials import Keys
from polytill.flows.admin.provider_configs import Wish
from polytill.flows.payments.request import PaymentRequest
from polytill.providers.manual import ManualProvider
from tests import calls
from tests.installation import TEST_KEYS, fresh_settings, opened

Run = Callable[..., str]
IN_SANDBOX = ("--environment", "sandbox")


async def _configured(till: Polytill) -> None:
    made = await calls.create_practice(till, "Clinic", "NGN")
    for code, priority in (("paystack", 2), ("flutterwave", 1)):
        given = TEST_KEYS[code]
        hook = Secret(given["webhookSecret"]) if "webhookSecret" in given else None
        keys = Keys(given["publicKey"], Secret(given["secretKey"]), hook)
        wish = Wish(code, Environment.sandbox, keys, True, priority=priority, supported_currencies=["NGN"])
        await provider_configs.configure(till.context, made[0].id, wish, "test")


async def _paid_by_hand(till: Polytill) -> str:
    """A payment that calls no provider."""
    keys = Keys(config={"instructions": "At the desk."})
    wish = Wish(ManualProvider.code, Environment.sandbox, keys, True, supported_currencies=["NGN"])
    await provider_configs.configure(till.context, 1, wish, "test")
    request = PaymentRequest(Money(1000, "NGN"), provider_code=ManualProvider.code)
    return (await calls.pay(till, 1, request, key="one")).payment.id


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Runs commands of the group on one installation, which stays open between them."""
    settings = fresh_settings(tmp_path)
    with asyncio.Runner() as loop:
        opening = opened(settings)
        till = loop.run(opening.__aenter__())
        loop.run(_configured(till))
        monkeypatch.setattr("polytill.cli.routing.opened", lambda work: loop.run(work(till.context)))

        def run(*arguments: str, code: int = 0) -> str:
            found = CliRunner().invoke(app, ["routing", *arguments])
            assert found.exit_code == code, (arguments, found.output, found.exception)
            return found.output

        run.work = lambda work: loop.run(work(till))  # type: ignore[attr-defined]
        yield run
        loop.run(opening.__aexit__(None, None, None))


def test_a_policy_from_a_draft_to_the_way_back(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "policy.json"

    def read(*arguments: str) -> Any:
        return json.loads(run(*arguments, "--json"))

    with_email = ("decide", "1", "NGN", "--amount", "500000", "--with", "email=ada@example.com")
    assert [one["code"] for one in read(*with_email)["providers"]][:2] == ["paystack", "flutterwave"]
    assert "No policy is active" in run("show", "1", *IN_SANDBOX)
    file.write_text('{"strategy": "weighted", "weights": {"nobody": 1}, "more": 1}')
    wrong = run("draft", "1", str(file), *IN_SANDBOX, code=1)
    assert "/policy/weights/nobody" in wrong
    assert "/policy/more" in wrong
    file.write_text('{"strategy": "weighted", "weights": {"flutterwave": 1}}')
    made = read("draft", "1", str(file), *IN_SANDBOX, "--note", "Try")
    assert made == {"environment": "sandbox", "version": 1, "failedTests": []}
    assert read(*with_email, "--policy", "1", "--with", "environment=sandbox")["providers"][0]["code"] == "flutterwave"
    assert read("simulate", "1", str(file), *IN_SANDBOX)["payments"] == 0
    assert "0 payments" in run("simulate", "1", "1", *IN_SANDBOX)
    published = read("publish", "1", "1", *IN_SANDBOX, "--instead-of", "0")
    assert (published["active"], published["before"], published["warnings"]) == (1, 0, [])
    assert "flutterwave" in run("show", "1", "1", *IN_SANDBOX)
    assert [one["state"] for one in read("show", "1", *IN_SANDBOX)["versions"]] == ["active"]
    assert "Flutterwave" in run(*with_email)
    assert "default order" in run("rollback", "1", "0", *IN_SANDBOX)
    run("decide", "1", "NGN", "--with", "color=blue", code=1)
    run("draft", "1", str(tmp_path / "missing.json"), code=1)
    assert isinstance(CliRunner().invoke(app, ["routing", "publish", "1", "1", *IN_SANDBOX]).exception, Conflict)


def test_a_payment_is_explained(run: Run) -> None:
    payment_id = run.work(_paid_by_hand)  # type: ignore[attr-defined]
    [told] = json.loads(run("explain", "1", payment_id, "--json"))["attempts"]
    assert (told["number"], told["providerCode"], told["providers"][0]["reason"]) == (1, "manual", "requested")
    assert {one["reason"] for one in told["providers"][1:]} == {"not_requested"}
    assert "not Paystack" in run("explain", "1", payment_id)
    assert isinstance(CliRunner().invoke(app, ["routing", "explain", "1", "nothing"]).exception, NotFound)
