"""A copy of an installation calls no provider with production keys and sends nothing, until it is adopted or neutralized."""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from polytill.app import Polytill
from polytill.background import sweep
from polytill.doctor import examine
from polytill.domain.copies import CopyReason
from polytill.domain.errors import Conflict, InstallationCopied, PracticeBehind, SandboxOnly
from polytill.domain.states import Environment, PaymentStatus
from polytill.flows.admin import event_destination, readiness, staff
from polytill.flows.admin.practices import create_key, key_hash
from polytill.flows.adoption.installation import adopt_installation
from polytill.flows.adoption.neutralize import neutralize
from polytill.flows.recovery import lookup
from polytill.flows.webhooks import forward as forwarding
from polytill.flows.worker import event_delivery
from polytill.providers.contract import PaymentFact, WebhookResult
from polytill.providers.http import to_json
from polytill.providers.outcomes import Reason, Unknown
from polytill.settings import Settings
from polytill.storage import api_keys, installations, payments
from polytill.storage.opening import is_postgres
from polytill.storage.payments import Payment
from polytill.storage.postgres_connect import connect, with_database
from polytill.worker import working
from tests import calls
from tests.flows import scenes
from tests.flows.scenes import Scene, keys, paid
from tests.flows.scripted import put

LIVE, TEST = Environment.production, Environment.sandbox


@dataclass
class Original:
    """An installation with a payment of production whose outcome is unknown, and one of the sandbox."""

    scene: Scene
    unknown: Payment
    paid: Payment
    api_key: str

    @property
    def settings(self) -> Settings:
        found: Settings = self.scene.context.settings
        return found

    def calls(self, environment: Environment | None = None) -> int:
        """How many calls a provider got, with the keys of this environment."""
        mode = {LIVE: "sk_live", TEST: "sk_test", None: ""}[environment]
        return sum(call.key.startswith(mode) for call in self.scene.wire.calls)


@pytest.fixture
async def original(tmp_path: Path, engine_url: str | None) -> AsyncIterator[Original]:
    async with scenes.scene(tmp_path / "original", engine_url) as scene:
        await scene.configure(given=keys("1", "live"), environment=LIVE)
        await scene.configure("other", given=keys("2"))
        api_key = await create_key(scene.context, "practice", scene.practice_id, "host", None, "test")
        await event_destination.set_destination(scene.context, "http://127.0.0.1:9/events", "test")
        scene.wire.says("create", paid(transaction="tx-live"))
        done = (await scene.pay("done", environment=LIVE)).payment
        await sweep(scene.context)
        scene.wire.says("create", Unknown(Reason.timeout))
        unknown = (await scene.pay("unknown", environment=LIVE)).payment
        yield Original(scene, unknown, done, api_key)
        scene.wire.says("lookup", paid(transaction="tx-unknown"))
        await scene.later(3600)


async def copied(original: Original, folder: Path, **changes: Any) -> Settings:
    """Copy databases and key ring, as somebody does who needs a staging environment."""
    settings = original.settings
    await asyncio.to_thread(folder.mkdir)
    ring = folder / "keyring"
    shutil.copy2(settings.keyring, ring)
    owner = settings.owner_database_url.get_secret_value()
    if not is_postgres(owner):
        source = Path(settings.practice_databases.get_secret_value()).parent
        await asyncio.to_thread(shutil.copytree, source / "practices", folder / "practices")
        for file in source.glob("owner.db*"):
            shutil.copy2(file, folder / file.name)
        places = {"owner_database_url": f"sqlite:///{folder}/owner.db", "practice_databases": str(folder / "practices")}
    else:
        places = {"owner_database_url": await _copied_on_server(owner, original), "practice_databases": None}
        del places["practice_databases"]
    secret = type(settings.owner_database_url)
    found = {name: secret(value) for name, value in places.items()}
    return settings.model_copy(update={**found, "keyring": ring, **changes})


async def _copied_on_server(owner: str, original: Original) -> str:
    """Two databases from templates. The directory of the copy names the copied one: there is no second server here."""
    server, _, name = owner.rpartition("/")
    entry = await original.scene.context.opening.entry(original.scene.practice_id)
    mark = secrets.token_hex(3)
    admin = await connect(with_database(server, "postgres"))
    try:
        for one in (name, entry.database_name):
            await admin.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{one}'")
            await admin.execute(f'CREATE DATABASE "{one}_{mark}" TEMPLATE "{one}"')
    finally:
        await admin.close()
    inside = await connect(with_database(server, f"{name}_{mark}"))
    try:
        await inside.execute("UPDATE practices SET database_name = database_name || $1", f"_{mark}")
    finally:
        await inside.close()
    return f"{server}/{name}_{mark}"


@asynccontextmanager
async def running(original: Original, settings: Settings) -> AsyncIterator[Scene]:
    """A process of the copy. Its providers are the original's, so that each call is counted."""
    options: Any = {"world": original.scene.context.world, "transport": original.scene.wire}
    async with Polytill.open(settings, **options) as till:
        db = await till.context.opening.practice(original.scene.practice_id)
        yield replace(original.scene, till=till, db=db)


def _webhook(reference: str, mark: str) -> bytes:
    fact = PaymentFact(paid(transaction=mark), reference, mark)
    result = WebhookResult("event", f"event-{mark}", "apply", facts=(fact,))
    return to_json({"event": put(result), "named": [mark]})


async def test_a_copy_calls_no_provider_with_production_keys(original: Original, tmp_path: Path) -> None:
    settings = await copied(original, tmp_path / "copy")
    before = original.calls()
    async with running(original, settings) as copy:
        context, practice_id = copy.context, copy.practice_id
        assert context.installation.copied is CopyReason.place
        # Reading works, and a repeat of a known request gets its payment.
        assert (await copy.payment(original.paid.id)).status is PaymentStatus.succeeded
        assert (await copy.pay("done", environment=LIVE)).payment.id == original.paid.id
        found = await api_keys.by_hash(context.owner, key_hash(original.api_key))
        assert found is not None
        for refused in (
            copy.pay("new", environment=LIVE),
            calls.refund(copy.till, practice_id, original.paid.id, key="r"),
            lookup.confirm(context, practice_id, original.unknown.id),
            copy.configure("plain", given=keys("9", "live"), environment=LIVE),
            create_key(context, "owner", None, "new", None, "test"),
            event_destination.set_destination(context, "https://staging.example/events", "test"),
            calls.create_practice(copy.till, "New", "NGN"),
        ):
            with pytest.raises(InstallationCopied):
                await refused
        assert await payments.by_key(copy.db, "new") is None
        # The worker does nothing, for as long as it runs.
        assert await sweep(context, everyone=True) == 0
        async with working(copy.till):
            await asyncio.sleep(1.5)
        assert await event_delivery.deliver(context) == 0 or not original.scene.wire.problems
        looked = await readiness.check(context)
        assert (readiness.COPIED in looked.degraded, looked.red) == (True, None)
    assert original.calls() == before
    said = " ".join(one.sentence for one in await examine(settings))
    assert "polytill installation adopt" in said
    assert "polytill neutralize" in said


async def test_the_sandbox_of_a_copy_works(original: Original, tmp_path: Path) -> None:
    settings = await copied(original, tmp_path / "copy")
    live = original.calls(LIVE)
    async with running(original, settings) as copy:
        copy.wire.says("create", paid(transaction="tx-sandbox"))
        assert (await copy.pay("sandbox", environment=TEST)).payment.status is PaymentStatus.succeeded
        configured = (await copy.context.configured(copy.db)).configurations
        token = configured["other"].hook_token
        [attempt] = await copy.attempts((await payments.by_key(copy.db, "sandbox")).id)  # type: ignore[union-attr]
        event = await forwarding.receive(
            copy.context, token, {"x-secret": "wh_test2"}, _webhook(attempt.id, "tx-sandbox")
        )
        assert event is not None
        # A webhook of production belongs to the original: its provider sends it again.
        [open_attempt] = await copy.attempts(original.unknown.id)
        with pytest.raises(InstallationCopied):
            await forwarding.receive(
                copy.context,
                configured["scripted"].hook_token,
                {"x-secret": "wh_live1"},
                _webhook(open_attempt.id, "tx-live-2"),
            )
        assert (await copy.payment(original.unknown.id)).status is PaymentStatus.processing
    assert original.calls(LIVE) == live


async def test_another_name_makes_a_copy_of_the_same_databases(original: Original) -> None:
    context = original.scene.context
    async with running(original, context.settings.model_copy(update={"installation": "prod"})) as named:
        assert named.context.installation.copied is None  # the first process with a name names it
    assert (await installations.read(context.owner)).name == "prod"
    async with running(original, context.settings.model_copy(update={"installation": "staging"})) as copy:
        assert copy.context.installation.copied is CopyReason.name
        with pytest.raises(InstallationCopied):
            await copy.pay("new", environment=LIVE)
        assert await sweep(copy.context) == 0
    async with running(original, context.settings) as unnamed:
        assert unnamed.context.installation.copied is None


async def test_an_adopted_copy_goes_on(original: Original, tmp_path: Path) -> None:
    """As after pg_upgrade, or on a new server: the original did nothing since."""
    settings = await copied(original, tmp_path / "copy")
    async with running(original, settings) as copy:
        context = copy.context
        dry = await adopt_installation(context, "test", is_dry=True)
        assert not dry.is_done
        assert context.installation.copied is CopyReason.place
        found = await adopt_installation(context, "test", nothing_lost=True)
        assert (found.is_done, found.behind) == (True, [])
        copy.wire.says("lookup", paid(transaction="tx-unknown"))
        await copy.later(120)
        assert (await copy.payment(original.unknown.id)).status is PaymentStatus.succeeded
        copy.wire.says("create", paid(transaction="tx-new"))
        assert (await copy.pay("new", environment=LIVE)).payment.status is PaymentStatus.succeeded
        with pytest.raises(Conflict):
            await adopt_installation(context, "test")
    async with running(original, settings) as again:
        assert again.context.installation.copied is None


async def test_practices_of_a_copy_are_adopted_one_by_one_if_the_original_went_on(
    original: Original, tmp_path: Path, engine_url: str | None
) -> None:
    settings = await copied(original, tmp_path / "copy")
    async with running(original, settings) as copy:
        found = await adopt_installation(copy.context, "test")
        if engine_url is None:  # a file does not tell where it was created
            assert found.behind == []
            return
        assert found.behind == [copy.practice_id]
        with pytest.raises(PracticeBehind):
            await copy.pay("new", environment=LIVE)


async def test_a_neutralized_copy_has_only_the_sandbox(original: Original, tmp_path: Path) -> None:
    settings = await copied(original, tmp_path / "copy", installation="staging")
    live = original.calls(LIVE)
    async with running(original, settings) as copy:
        context = copy.context
        link = await staff.invite(context, copy.db, "ada@example.com", "Ada", "admin", "test")
        session = await staff.choose_password(context, copy.db, link.rpartition("/")[2], "correct horse battery")
        for _ in range(2):  # a killed run is started again
            done = await neutralize(context, "test")
            assert (done.practices, done.failed) == (1, {})
        assert context.installation.copied is None
        assert await staff.session_of(context, copy.db, session.token.reveal()) is None
        assert await api_keys.by_hash(context.owner, key_hash(original.api_key)) is None
        assert await event_destination.current(context) is None
        rows = await copy.db.fetch(
            "SELECT secret_key, environment FROM practice_payment_providers ORDER BY provider_code"
        )
        assert [(row["secret_key"] is None, row["environment"]) for row in rows] == [(False, TEST), (True, TEST)]
        assert (await copy.payment(original.paid.id)).status is PaymentStatus.succeeded
        await copy.later(7200)
        copy.wire.says("create", paid(transaction="tx-sandbox"))
        assert (await copy.pay("sandbox", environment=TEST)).payment.status is PaymentStatus.succeeded
        with pytest.raises(SandboxOnly):
            await copy.configure("scripted", given=keys("7", "live"), environment=LIVE)
    assert original.calls(LIVE) == live
    # The original is untouched.
    assert await api_keys.by_hash(original.scene.context.owner, key_hash(original.api_key)) is not None


async def test_the_installation_in_use_is_not_neutralized_by_mistake(original: Original) -> None:
    context = original.scene.context
    for named in (None, "", "prod"):
        with pytest.raises(Conflict) as refused:
            await neutralize(context, "test", named)
        assert refused.value.code == "installation_in_use"
    rows = await original.scene.db.fetch("SELECT 1 FROM practice_payment_providers WHERE secret_key IS NULL")
    assert rows == []
    assert await api_keys.by_hash(context.owner, key_hash(original.api_key)) is not None


MACHINE, OTHER = "a" * 32, "b" * 32


@pytest.mark.parametrize(
    ("now", "is_copy"),
    [
        pytest.param([MACHINE, "/srv/owner.db", 7], False, id="restarted"),
        pytest.param([OTHER, "/srv/owner.db", 7], False, id="disk moved to another machine"),
        pytest.param([MACHINE, "/mnt/owner.db", 7], False, id="disk mounted elsewhere"),
        pytest.param([MACHINE, "/srv/owner.db", 8], False, id="restored from a backup"),
        pytest.param(["", "/srv/owner.db", 8], False, id="container on a file system without lasting inodes"),
        pytest.param([MACHINE, "/staging/owner.db", 8], True, id="copied on the machine"),
        pytest.param([OTHER, "/srv/owner.db", 8], True, id="copied to another machine"),
    ],
)
def test_what_makes_a_file_a_copy(now: list[Any], is_copy: bool) -> None:
    recorded = json.dumps([MACHINE, "/srv/owner.db", 7])
    assert installations.is_elsewhere(recorded, json.dumps(now)) is is_copy


@pytest.mark.parametrize(
    ("now", "is_copy"),
    [
        pytest.param("7/100", False, id="restarted or failed over"),
        pytest.param("/100", False, id="system not readable"),
        pytest.param("8/100", True, id="another server"),
        pytest.param("7/101", True, id="another database"),
        pytest.param(json.dumps([MACHINE, "/srv/owner.db", 7]), True, id="another engine"),
        pytest.param(None, False, id="unknown"),
    ],
)
def test_what_makes_a_database_a_copy(now: str | None, is_copy: bool) -> None:
    assert installations.is_elsewhere("7/100", now) is is_copy
