"""A test of keys finds what makes every payment fail, at every provider (issue 18, items 4 and 12).

Sources of the providers' answers: the docstrings of ``providers/*_keys.py`` and ``simulator/stripe/access.py``.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from polytill.domain.clock import World
from polytill.domain.money import Money
from polytill.domain.secret import Secret
from polytill.domain.states import Environment
from polytill.flows.admin import key_tests
from polytill.providers.contract import CreatePaymentParams, CredentialTest, Customer, KeyFinding, ProviderConfig
from polytill.providers.http import Http
from polytill.providers.outcomes import NotSent, Reason
from polytill.providers.registry import BUILT_IN
from polytill.web.words import texts
from tests.installation import Installation
from tests.providers.in_process import SIMULATOR, InProcess
from tests.web.browsing import Browser, person
from tests.web.support import Practice

LIVE, SANDBOX = Environment.production, Environment.sandbox
KEYS = {
    "stripe": ("pk_live_0123456789abcdef", "sk_live_0123456789abcdef"),
    "paystack": ("pk_live_" + "0" * 40, "sk_live_" + "0123456789" * 4),
    "flutterwave": ("FLWPUBK-0123456789abcdef-X", "FLWSECK-0123456789abcdef-X"),
    "flutterwave_v4": ("client-0123456789", "secret-0123456789ab"),
    "paypal": ("client-0123456789", "secret-0123456789ab"),
}
AMOUNTS = {"stripe": Money(500, "USD"), "paypal": Money(500, "USD")}


class Stand:
    """A handler with live keys at the simulator, whose account is as a script says."""

    def __init__(self, code: str, secret: str | None = None, public: str | None = None, **account: Any) -> None:
        self.wire = InProcess()
        self.secret = secret or KEYS[code][1]
        held = self.wire.network.account(code, self.secret)
        for name, value in account.items():
            setattr(held, name, value)
        provider = self.wire.network.providers[code]
        environment = SANDBOX if "_test_" in self.secret else LIVE
        config = ProviderConfig(
            environment, SIMULATOR + provider.prefix, public or KEYS[code][0], Secret(self.secret), (Secret("w" * 20),)
        )
        self.handler = BUILT_IN[code](config, Http(self.wire), World())
        self.amount = AMOUNTS.get(code, Money(50_000, "NGN"))

    async def test(self) -> CredentialTest:
        """The test, which must leave nothing behind at the provider."""
        before = len(self.wire.network.transactions())
        found = await self.handler.test_credentials()
        assert len(self.wire.network.transactions()) == before
        assert self.secret not in found.detail
        return found

    async def create(self) -> Any:
        params = CreatePaymentParams(
            "reference-0001", "payment-0001", self.amount, Customer(email="ada@example.com"), "https://shop.example/"
        )
        return await self.handler.create_payment_intent(params)


def seen(found: CredentialTest) -> tuple[bool, KeyFinding | None]:
    return found.ok, found.finding


@pytest.mark.parametrize("code", KEYS)
async def test_good_live_keys_have_no_finding(code: str) -> None:
    found = await Stand(code).test()
    assert (found.ok, found.finding, found.environment) == (True, None, LIVE)


@pytest.mark.parametrize("code", ["stripe", "paystack", "flutterwave"])
async def test_an_account_that_is_not_activated_is_found(code: str) -> None:
    stand = Stand(code, standing="inactive")
    assert seen(await stand.test()) == (False, KeyFinding.account_not_activated)


@pytest.mark.parametrize("code", KEYS)
async def test_a_payment_of_such_an_account_is_our_set_up_and_was_not_sent(code: str) -> None:
    found = await Stand(code, standing="inactive").create()
    assert (type(found), found.reason) == (NotSent, Reason.config)


async def test_an_account_of_stripe_that_is_not_activated_can_still_be_tested() -> None:
    """Test mode works without activation: only live keys fail."""
    stand = Stand("stripe", "sk_test_0123456789abcdef", "pk_test_0123456789abcdef", standing="inactive")
    assert seen(await stand.test()) == (True, None)


@pytest.mark.parametrize("code", KEYS)
@pytest.mark.parametrize("standing", ["unknown", "other_environment"])
async def test_keys_that_a_provider_does_not_know_are_refused(code: str, standing: str) -> None:
    """v4's tokens come from one host for both environments: keys of the other one are refused behind it only."""
    found = await Stand(code, standing=standing).test()
    elsewhere = code == "flutterwave_v4" and standing == "other_environment"
    assert seen(found) == (False, KeyFinding.wrong_environment if elsewhere else KeyFinding.keys_refused)


@pytest.mark.parametrize(
    ("denied", "ok", "finding"),
    [
        ("payments", False, KeyFinding.no_payments),
        ("refunds", True, KeyFinding.no_refunds),
        ("account", True, KeyFinding.not_all_checked),
    ],
)
async def test_what_a_restricted_key_of_stripe_may_not_do_is_found(denied: str, ok: bool, finding: KeyFinding) -> None:
    found = await Stand("stripe", "rk_live_0123456789abcdef", denied=frozenset({denied})).test()
    assert seen(found) == (ok, finding)
    if denied != "account":
        assert re.search(r"rak_\w+_write", found.detail)


@pytest.mark.parametrize(
    ("denied", "ok", "finding"), [("payments", False, KeyFinding.no_payments), ("refunds", True, KeyFinding.no_refunds)]
)
async def test_what_an_app_of_paypal_may_not_do_is_found(denied: str, ok: bool, finding: KeyFinding) -> None:
    assert seen(await Stand("paypal", denied=frozenset({denied})).test()) == (ok, finding)


async def test_a_publishable_key_of_another_stripe_account_is_found() -> None:
    """Stripe.js would say "No such payment_intent" to every customer."""
    stand = Stand("stripe", public_key="pk_live_another_account_0")
    assert seen(await stand.test()) == (True, None)  # nothing was ever paid: nothing tells
    await stand.create()
    assert seen(await stand.test()) == (False, KeyFinding.public_key_elsewhere)
    assert seen(await Stand("stripe", public="pk_live_invalid_key").test()) == (False, KeyFinding.public_key_refused)


@pytest.mark.parametrize(
    ("code", "name", "text", "reason"),
    [
        ("flutterwave", "webhookSecret", "FLWSECK_TEST-0123456789abcdef-X", "key_in_wrong_field"),
        ("flutterwave", "webhookSecret", "any word", None),
        ("stripe", "publicKey", "sk_test_0123456789abcdef", "key_in_wrong_field"),
        ("flutterwave_v4", "secretKey", "FLWSECK-0123456789abcdef-X", "not_this_key"),
    ],
)
def test_a_key_in_the_field_of_another_is_refused(code: str, name: str, text: str, reason: str | None) -> None:
    """A secret hash may be any word, so a secret key in its field was taken for one."""
    found = key_tests.wrong_key(BUILT_IN[code], code, name, SANDBOX, text)
    assert [one.reason for one in found] == ([] if reason is None else [reason])


@pytest.mark.parametrize(
    ("environment", "text", "reason"),
    [
        (LIVE, "FLWSECK_TEST0123456789ab", "test_key"),
        (SANDBOX, "0123456789abcdef01234567", "live_key"),
        (LIVE, "0123456789abcdef01234567", None),
        (SANDBOX, "FLWSECK_TEST0123456789ab", None),
    ],
)
def test_an_encryption_key_of_the_other_mode_is_refused(
    environment: Environment, text: str, reason: str | None
) -> None:
    found = key_tests.wrong_settings(BUILT_IN["flutterwave"], environment, {"encryptionKey": text})
    assert [(one.pointer, one.reason) for one in found] == (
        [] if reason is None else [("/config/encryptionKey", reason)]
    )


@pytest.mark.parametrize("language", ["en", "fr", "sw"])
def test_every_finding_says_what_to_do(language: str) -> None:
    for finding in KeyFinding:
        assert "{name}" in texts(language)[f"finding.{finding}"] or "key" in finding or "environment" in finding


@pytest.mark.asyncio(loop_scope="module")
class TestPages:
    """The same findings in the API, on the page after the test and later, and in the way of going live."""

    async def test_the_api_and_the_page_tell_the_finding(self, shared: Installation) -> None:
        practice = await Practice.make(shared, "paystack")
        account = {"provider": "paystack", "account": practice.keys["secretKey"], "standing": "inactive"}
        await shared.network("POST", "/accounts", account)
        told = await practice.call("POST", "/payment-providers/paystack/test")
        assert (told.status, told.body["ok"], told.body["finding"]) == (200, False, "account_not_activated")
        door = f"/practice/{practice.id}/providers/paystack"
        await person(shared, await practice.db, "pat@example.com")
        async with Browser(shared) as browser:
            await browser.sign_in(f"/practice/{practice.id}", "pat@example.com")
            tested = await browser.send(door, f"{door}/test")
            assert 'data-finding="account_not_activated"' in tested.html
            assert 'data-found="account_not_activated"' in (await browser.get(door)).html
            await shared.network("POST", "/accounts", {**account, "standing": "active"})
            again = await browser.send(door, f"{door}/test")
            assert "data-finding" not in again.html
            assert "data-found" not in (await browser.get(door)).html

    async def test_going_live_stops_at_an_account_that_is_not_activated(self, shared: Installation) -> None:
        """The simulator took any live key; now it knows which accounts are active."""
        practice = await Practice.make(shared, "paystack")
        live = {"publicKey": "pk_live_" + "1" * 40, "secretKey": "sk_live_" + f"{practice.id:040d}"}
        account = {"provider": "paystack", "account": live["secretKey"], "standing": "inactive"}
        await shared.network("POST", "/accounts", account)
        door = f"/practice/{practice.id}/providers/paystack"
        await person(shared, await practice.db, "pat@example.com")
        async with Browser(shared) as browser:
            await browser.sign_in(f"/practice/{practice.id}", "pat@example.com")
            await browser.send(door, f"{door}/credentials/production", **live)
            refused = await browser.send(door, f"{door}/activate/production", understood="yes")
            assert (refused.status, 'data-finding="account_not_activated"' in refused.html) == (409, True)
            assert (await practice.call("GET", "/payment-providers/paystack")).body["environment"] == "sandbox"
            await shared.network("POST", "/accounts", {**account, "standing": "active"})
            done = await browser.send(door, f"{door}/activate/production", understood="yes")
            assert (done.status, done.done) == (303, "production")
