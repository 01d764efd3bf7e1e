"""A practice sets up a provider: what is checked, what is kept, and that money already taken keeps its way back."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from polytill.domain.errors import Conflict, Invalid, NotFound
from polytill.domain.secret import Secret
from polytill.domain.states import Environment, PaymentStatus
from polytill.flows.admin import catalog
from polytill.flows.admin import provider_configs as configuring
from polytill.flows.admin.credentials import Keys, credential_view
from polytill.flows.admin.provider_configs import Wish
from polytill.providers.contract import CredentialTest
from polytill.providers.outcomes import NotSent, Reason
from polytill.storage import provider_configs
from tests import calls
from tests.flows.scenes import LINK, Scene, keys, paid
from tests.flows.scripted import Scripted
from tests.storage.making import plain

SANDBOX, LIVE = Environment.sandbox, Environment.production
WRONG = [
    (keys(mode="live"), SANDBOX, "/publicKey", "live key"),
    (keys(mode="test"), LIVE, "/publicKey", "test key"),
    (Keys("pk_test_1", Secret("sk_live_1")), SANDBOX, "/secretKey", "live key"),
    (Keys("nonsense", Secret("sk_test_1")), SANDBOX, "/publicKey", "does not look like"),
    (Keys(None, Secret("sk_test_1")), SANDBOX, "/publicKey", "needs its public key"),
    (Keys("pk_test_1", None), SANDBOX, "/secretKey", "needs its secret key"),
    (Keys("pk_test_1", Secret("  ")), SANDBOX, "/secretKey", "needs its secret key"),
    (Keys("pk_test_1", Secret("sk_test_1"), Secret("nothing")), SANDBOX, "/webhookSecret", "does not look like"),
    (Keys("pk_test_1", Secret("sk_test_1"), None, {"region": 5}), SANDBOX, "/config/region", "type"),
    (Keys("pk_test_1", Secret("sk_test_1"), None, {"paint": "red"}), SANDBOX, "/config", "additionalProperties"),
    (Keys("pk_test_1", Secret("sk_test_1"), None, {"pin": "12"}), SANDBOX, "/config/pin", "minLength"),
]


async def stored(scene: Scene) -> provider_configs.Configuration:
    return (await provider_configs.all_of(scene.db))["scripted"]


def opened(scene: Scene, kept: provider_configs.CredentialSet) -> provider_configs.Opened:
    return provider_configs.open_credentials(scene.db.data_key, "scripted", kept)


@pytest.mark.parametrize(
    ("given", "environment", "pointer", "says"), WRONG, ids=lambda v: str(v) if isinstance(v, str) else ""
)
async def test_wrong_keys_are_refused(
    scene: Scene, given: Keys, environment: Environment, pointer: str, says: str
) -> None:
    with pytest.raises(Invalid) as caught:
        await scene.configure(given=given, environment=environment)
    assert caught.value.errors[0].pointer == pointer
    assert says in caught.value.errors[0].detail
    assert await plain(scene.db, "SELECT COUNT(*) FROM practice_payment_providers") == [(0,)]
    for part in (given.public_key, given.secret_key.reveal().strip() if given.secret_key else None, "red", '"12"'):
        assert not part or part not in repr(caught.value.errors), "an error message repeats no key"


async def test_a_live_key_in_the_sandbox_has_its_own_code(scene: Scene) -> None:
    with pytest.raises(Invalid) as caught:
        await scene.configure(given=keys(mode="live"))
    assert caught.value.code == "wrong_environment"


async def test_the_help_of_a_key_does_not_decide_the_code(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The code was chosen by the word "environment" in a sentence, which may be a handler's own."""
    fields = {**Scripted.keys, "publicKey": replace(Scripted.keys["publicKey"], help="Select the environment first.")}
    monkeypatch.setattr(Scripted, "keys", fields)
    with pytest.raises(Invalid) as caught:
        await scene.configure(given=Keys("nonsense", Secret("sk_test_1")))
    assert [error.reason for error in caught.value.errors] == ["not_this_key"]
    assert caught.value.code != "wrong_environment"


async def test_secrets_are_sealed_and_never_shown(scene: Scene) -> None:
    given = Keys(
        "pk_test_shown",
        Secret("sk_test_hidden_word"),
        Secret("wh_hidden_word_2"),
        {"region": "eu", "pin": "987654321012"},
    )
    await scene.configure(given=given)
    saved = await stored(scene)
    rows = repr(await plain(scene.db, "SELECT * FROM practice_payment_providers"))
    for word in ("pk_test_shown", "sk_test_hidden_word", "wh_hidden_word_2", "987654321012"):
        assert word not in rows
    back = opened(scene, saved.active)
    assert (back.public_key, back.secret_key, back.config["region"]) == ("pk_test_shown", given.secret_key, "eu")
    assert back.config["pin"] == Secret("987654321012")
    view = credential_view(scene.db, saved, saved.active)
    assert view["secretKey"]["last4"] == "word"
    assert view["config"]["pin"] == {"set": True, "last4": "1012"}
    assert "hidden" not in repr(view)
    assert "hidden" not in repr(await plain(scene.db, "SELECT * FROM audit_log"))


async def test_what_cannot_be_configured(scene: Scene) -> None:
    with pytest.raises(Invalid) as refused:
        await scene.configure("nobody")
    assert refused.value.code == "unknown_provider"
    with pytest.raises(NotFound):
        await scene.configure(patch=True)
    with pytest.raises(Invalid) as refused:
        await scene.configure(supported_currencies=["GHS"])
    assert [error.reason for error in refused.value.errors] == ["no_such_currency"]
    for status in ("deprecated", "inactive"):
        await catalog.change(scene.context, "scripted", {"status": status}, None, "test")
        with pytest.raises(Invalid) as refused:
            await scene.configure()
        assert refused.value.code == "catalog_status"


async def test_one_that_is_there_can_be_changed_when_deprecated(scene: Scene) -> None:
    await scene.configure()
    await catalog.deprecate(scene.context, "scripted", "test")
    await scene.configure(patch=True, given=Keys(), priority=5)
    scene.wire.says("create", LINK)
    assert (await scene.pay()).payment.status is PaymentStatus.requires_action
    await catalog.change(scene.context, "scripted", {"status": "inactive"}, None, "test")
    with pytest.raises(Invalid, match="No configured provider"):
        await scene.pay()


async def test_a_patch_leaves_what_it_does_not_name(scene: Scene) -> None:
    await scene.configure(priority=3, is_default=True)
    before = await stored(scene)
    await scene.configure(patch=True, given=Keys(), priority=4, is_enabled=None, supported_currencies=None)
    after = await stored(scene)
    assert (after.priority, after.is_enabled, after.is_default, after.supported_currencies) == (4, True, True, ["NGN"])
    assert after.active.secret_key == before.active.secret_key
    assert (after.active.version, after.hook_token, after.id) == (1, before.hook_token, before.id)


# ── Defaults ──


async def test_a_new_default_moves_the_old_one(scene: Scene) -> None:
    first = await scene.configure(is_default=True)
    second = await scene.configure("other", is_default=True)
    assert await provider_configs.defaults(scene.db) == {(SANDBOX, "NGN"): second.id}
    flags = {c.id: c.is_default for c in (await provider_configs.all_of(scene.db)).values()}
    assert flags == {first.id: False, second.id: True}
    await configuring.remove(scene.context, scene.practice_id, "other", "test")
    assert await provider_configs.defaults(scene.db) == {}


async def test_a_default_of_part_of_the_currencies(scene: Scene) -> None:
    first = await scene.configure(is_default=True, supported_currencies=["NGN", "USD"])
    second = await scene.configure("other", is_default=True)
    assert await provider_configs.defaults(scene.db) == {(SANDBOX, "NGN"): second.id, (SANDBOX, "USD"): first.id}
    assert all(c.is_default for c in (await provider_configs.all_of(scene.db)).values())


# ── New keys ──


async def test_old_payments_are_refunded_with_the_keys_they_were_made_with(scene: Scene) -> None:
    await scene.configure()
    payment = await scene.succeeded()
    await scene.configure(given=keys("2"), patch=True)
    scene.wire.says("refund", paid(100, transaction="r1"))
    await calls.refund(scene.till, scene.practice_id, payment.id, key="one", amount=100)
    assert [made.key for made in scene.wire.of("refund")] == ["sk_test_1"]
    # Where the provider refuses the old keys, the new ones are asked.
    scene.wire.says("refund", NotSent(Reason.config), paid(100, transaction="r2"))
    made = await calls.refund(scene.till, scene.practice_id, payment.id, key="two", amount=100)
    assert [made.key for made in scene.wire.of("refund")][1:] == ["sk_test_1", "sk_test_2"]
    assert made.state == "succeeded"
    scene.wire.says("create", LINK)
    await scene.pay()
    assert scene.wire.of("create")[-1].key == "sk_test_2"


async def test_every_version_stays_open(scene: Scene) -> None:
    for number in range(1, 5):
        await scene.configure(given=keys(str(number)), patch=number > 1)
    saved = await stored(scene)
    assert (saved.active.version, sorted(s.version for s in saved.others)) == (4, [1, 2, 3])
    for kept in (saved.active, *saved.others):
        assert opened(scene, kept).secret_key == Secret(f"sk_test_{kept.version}")


async def test_the_old_webhook_secret_is_honoured_for_a_while(scene: Scene) -> None:
    first = await scene.configure()
    saved = await scene.configure(given=keys("2"), patch=True)
    assert saved.hook_token == first.hook_token
    for secret in ("wh_test1", "wh_test2"):
        assert await scene.delivery(saved, secret=secret) is not None
    scene.clock.at_s += 72 * 3600 + 1
    assert await scene.delivery(saved, secret="wh_test2") is not None
    with pytest.raises(Exception, match="signature"):
        await scene.delivery(saved, secret="wh_test1")


async def test_keys_saved_while_the_old_ones_are_being_tested_stay(scene: Scene) -> None:
    await scene.configure()
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_: Any) -> Any:
        asked.set()
        await go_on.wait()
        return CredentialTest(True, "Fine.")

    scene.wire.says("test", slow)
    testing = asyncio.create_task(configuring.test_configuration(scene.context, scene.practice_id, "scripted", "test"))
    await asked.wait()
    await scene.configure(given=keys("2"), patch=True, priority=9)
    go_on.set()
    result, when = await testing
    assert result.ok
    saved = await stored(scene)
    assert (saved.active.version, saved.priority) == (2, 9)
    assert opened(scene, saved.active).secret_key == Secret("sk_test_2")
    assert saved.last_tested_at in (None, when)


async def test_testing_says_when_and_of_which_environment(scene: Scene) -> None:
    await scene.configure()
    scene.wire.says(
        "test", CredentialTest(True, "Fine.", SANDBOX), CredentialTest(True, "Fine.", LIVE), RuntimeError("x")
    )
    results = [
        (await configuring.test_configuration(scene.context, scene.practice_id, "scripted", "test"))[0]
        for _ in range(3)
    ]
    assert [result.ok for result in results] == [True, False, False]
    assert "production" in results[1].detail
    assert (await stored(scene)).last_tested_at == scene.till.context.world.now()


# ── Environments ──


async def test_switching_the_environment_and_back(scene: Scene) -> None:
    await scene.configure()
    payment = await scene.succeeded()
    with pytest.raises(Conflict) as refused:
        await configuring.activate(scene.context, scene.practice_id, "scripted", LIVE, "test")
    assert refused.value.code == "no_credentials"
    await configuring.prepare_credentials(scene.context, scene.practice_id, "scripted", LIVE, keys("9", "live"), "test")
    assert (await stored(scene)).environment is SANDBOX
    scene.wire.says("test", CredentialTest(True, "Fine.", LIVE))  # live keys are tested before the switch
    await configuring.activate(scene.context, scene.practice_id, "scripted", LIVE, "test")
    scene.wire.says("create", LINK)
    live = (await scene.pay()).payment
    assert (live.environment, scene.wire.of("create")[-1].key) == (LIVE, "sk_live_9")
    # The sandbox's payment is refunded in the sandbox.
    scene.wire.says("refund", paid(100, transaction="r1"))
    await calls.refund(scene.till, scene.practice_id, payment.id, key="one", amount=100)
    assert scene.wire.of("refund")[-1].key == "sk_test_1"
    assert {tuple(r) for r in await plain(scene.db, "SELECT environment FROM refunds")} == {("sandbox",)}
    await configuring.activate(scene.context, scene.practice_id, "scripted", SANDBOX, "test")
    scene.wire.says("create", LINK)
    assert (await scene.pay()).payment.environment is SANDBOX
    assert opened(scene, (await stored(scene)).active).secret_key == Secret("sk_test_1")


async def test_defaults_are_kept_apart_by_environment(scene: Scene) -> None:
    saved = await scene.configure(is_default=True)
    await configuring.prepare_credentials(scene.context, scene.practice_id, "scripted", LIVE, keys("9", "live"), "test")
    scene.wire.says("test", CredentialTest(True, "Fine.", LIVE))
    await configuring.activate(scene.context, scene.practice_id, "scripted", LIVE, "test")
    assert await provider_configs.defaults(scene.db) == {(LIVE, "NGN"): saved.id}


async def test_deleting_keeps_the_way_back(scene: Scene) -> None:
    configuration = await scene.configure(is_default=True)
    payment = await scene.succeeded()
    await configuring.remove(scene.context, scene.practice_id, "scripted", "test")
    with pytest.raises(Invalid):
        await scene.pay()
    with pytest.raises(NotFound):
        await configuring.existing_configuration(scene.context, scene.practice_id, "scripted")
    scene.wire.says("refund", paid(100, transaction="r1"))
    assert (await calls.refund(scene.till, scene.practice_id, payment.id, key="one", amount=100)).state == "succeeded"
    assert await scene.delivery(configuration) is not None
    # Configured again: the same row, the same address, nothing of the old wishes.
    again = await scene.configure(given=keys("2"), is_default=None)
    assert (again.id, again.hook_token, again.is_default) == (configuration.id, configuration.hook_token, False)
    assert again.active.version == 2
    assert (await stored(scene)).removed_at is None


async def test_two_who_save_at_once(scene: Scene) -> None:
    await scene.configure()
    done = await asyncio.gather(
        scene.configure(given=keys("2"), patch=True),
        scene.configure(given=keys("3"), patch=True),
        scene.configure(given=Keys(), patch=True, priority=8),
        return_exceptions=True,
    )
    failed = [one for one in done if isinstance(one, BaseException)]
    assert failed == []
    saved = await stored(scene)
    assert saved.active.version == 3
    assert saved.priority == 8
    assert {opened(scene, s).secret_key for s in (saved.active, *saved.others)} == {
        Secret("sk_test_1"),
        Secret("sk_test_2"),
        Secret("sk_test_3"),
    }


async def test_all_are_read_as_they_were_at_one_moment(scene: Scene) -> None:
    class Meanwhile:
        """Somebody saves a provider, and keys in place of its first ones, right after the first read."""

        reads = 0

        async def fetch(self, sql: str, *args: Any) -> Any:
            rows = await scene.db.fetch(sql, *args)
            self.reads += 1
            if self.reads == 1:
                await scene.configure()
                await scene.configure(given=keys("2"), patch=True)
            return rows

    meanwhile: Any = Meanwhile()
    assert await provider_configs.all_of(meanwhile) == {}
    assert len((await stored(scene)).others) == 1


async def test_a_wish_alone(scene: Scene) -> None:
    wish = Wish("scripted", keys=keys())
    saved, fresh = await configuring.configure(scene.context, scene.practice_id, wish, "test")
    assert (fresh, saved.is_enabled, saved.environment) == (True, False, SANDBOX)
    assert saved.supported_currencies == ["NGN", "USD"]
