"""An import: what is created, what is held up, what a second run does, and what a run that dies leaves."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from polytill.app import Polytill
from polytill.domain.errors import Invalid, NotNow, OperatorError
from polytill.domain.legacy_findings import ImportAction, LegacyFinding, Severity
from polytill.domain.secret import Secret
from polytill.domain.states import ApiKeyKind, CredentialState, Environment, PracticeState
from polytill.flows.admin import practices as admin
from polytill.flows.admin import provider_configs as configuring
from polytill.flows.admin.credentials import Keys
from polytill.flows.admin.practices import key_hash
from polytill.flows.legacy import bring as bringing
from polytill.flows.legacy.bring import Result
from polytill.flows.legacy.files import FileSource
from polytill.flows.legacy.mapping_file import Setup
from polytill.providers.facts import CredentialTest
from polytill.storage import api_keys, practices, provider_configs
from polytill.storage.host_field import Table
from polytill.storage.provider_configs import Configuration, open_credentials
from tests.flows.legacy.imports import imported, planned, setup_of
from tests.flows.legacy.test_reading import FIELDS
from tests.installation import TEST_KEYS, fresh_settings, opened

pytestmark = pytest.mark.asyncio(loop_scope="module")
LIVE = {"publicKey": "pk_live_0123456789abcdef", "secretKey": "sk_live_0123456789abcdef0123456789abcdef01234567"}
TEST = TEST_KEYS["paystack"]
NUMBERS = count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(file_engine_url: str | None, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Polytill]:
    """One installation for all tests of this module, on either engine."""
    hooks = {"tests.flows.legacy.test_import.backwards", "tests.flows.legacy.test_import.broken"}
    settings = fresh_settings(tmp_path_factory.mktemp("import"), file_engine_url, decrypt_hooks=hooks)
    async with opened(settings) as found:
        yield found


def row(fields: Any, external_id: str | None = None, **more: Any) -> dict[str, Any]:
    """A row with a new external id."""
    own = external_id or f"clinic-{next(NUMBERS)}"
    return {"externalId": own, "name": f"Clinic {own}", "defaultCurrency": "NGN", "paymentProviders": fields, **more}


def source_of(folder: Path, *rows: Any) -> FileSource:
    (folder / "rows.json").write_text(json.dumps(rows))
    return FileSource(folder / "rows.json", Table())


async def bring(till: Polytill, folder: Path, *rows: Any, setup: Setup | None = None) -> list[Result]:
    return await imported(till, source_of(folder, *rows), folder / "keys.jsonl", setup)


def severe(result: Result) -> list[LegacyFinding]:
    return [one.type for one in result.planned.findings if one.severity is not Severity.note]


def notes(result: Result) -> list[LegacyFinding]:
    return [one.type for one in result.planned.findings if one.severity is Severity.note]


def keys_in(folder: Path) -> dict[str, dict[str, Any]]:
    """The last line of each external id in the key file."""
    lines = [json.loads(line) for line in (folder / "keys.jsonl").read_text().splitlines()]
    return {line["externalId"]: line for line in lines}


async def held(till: Polytill, practice_id: int | None) -> dict[str, Configuration]:
    assert practice_id is not None
    return await provider_configs.all_of(await till.context.opening.practice(practice_id))


async def test_practices_arrive_with_their_keys_sealed_and_once(house: Polytill, tmp_path: Path) -> None:
    fields = {
        "paystack": {
            "live": LIVE,
            "test": TEST,
            "mode": "live",
            "enabled": True,
            "isDefault": True,
            "currencies": "NGN",
        },
        "stripe": {**TEST_KEYS["stripe"], "currencies": ["USD"], "priority": 7, "isEnabled": "no"},
    }
    rows = [row(fields, country="NG", timeZone="Africa/Lagos"), row({})]
    first, empty = await bring(house, tmp_path, *rows)
    assert (first.action, first.added, severe(first)) == (ImportAction.create, ["paystack", "stripe"], [])
    assert (empty.action, empty.added) == (ImportAction.create, [])
    found = await held(house, first.practice_id)
    paystack, stripe = found["paystack"], found["stripe"]
    assert (paystack.environment, paystack.is_enabled, paystack.is_default) == (Environment.production, True, True)
    assert (stripe.is_enabled, stripe.priority, stripe.supported_currencies) == (False, 7, ["USD"])
    [prepared] = paystack.others
    assert (prepared.environment, prepared.state) == (Environment.sandbox, CredentialState.prepared)
    db = await house.context.opening.practice(first.practice_id or 0)
    for kept, keys in ((paystack.active, LIVE), (prepared, TEST)):
        assert open_credentials(db.data_key, "paystack", kept).secret_key == Secret(keys["secretKey"])
    rows_here = [dict(one) for one in await db.fetch("SELECT * FROM practice_payment_providers")]
    assert LIVE["secretKey"] not in repr(rows_here)
    written = keys_in(tmp_path)
    assert [one["practiceId"] for one in written.values()] == [first.practice_id, empty.practice_id]
    assert (tmp_path / "keys.jsonl").stat().st_mode & 0o777 == 0o600
    again = await bring(house, tmp_path, *rows)
    assert [(one.action, one.practice_id) for one in again] == [
        (ImportAction.nothing, first.practice_id),
        (ImportAction.nothing, empty.practice_id),
    ]
    assert keys_in(tmp_path) == written
    assert LegacyFinding.configuration_differs not in notes(again[0])


async def test_every_key_in_the_file_works(house: Polytill, tmp_path: Path) -> None:
    [done] = await bring(house, tmp_path, row({}))
    [line] = keys_in(tmp_path).values()
    found = await api_keys.by_hash(house.context.owner, key_hash(line["key"]))
    assert found is not None
    assert (found.kind, found.practice_id) == (ApiKeyKind.practice, done.practice_id)


async def test_a_bad_row_holds_up_only_its_practice(house: Polytill, tmp_path: Path) -> None:
    rows = [row(case["field"]) for case in FIELDS]
    before = len(await practices.listed(house.context.owner, limit=1000))
    done = await planned(house, source_of(tmp_path, *rows))
    wrong = {case["name"]: severe(one) for case, one in zip(FIELDS, done, strict=True)}
    for name, kinds in wrong.items():
        assert bool(kinds) == (name.startswith(("wrong", "ambiguous")) or name == "only the secret key"), name
    assert wrong["only the secret key"] == [LegacyFinding.configuration_refused]  # Paystack needs its public key
    assert wrong["wrong: live key under test"] == [LegacyFinding.key_of_other_environment]
    assert not (tmp_path / "keys.jsonl").exists()
    assert len(await practices.listed(house.context.owner, limit=1000)) == before
    some = [rows[number] for number in (0, 33, 1)]
    assert [one.action for one in await bring(house, tmp_path, *some)] == ["create", "held_up", "create"]


@pytest.mark.parametrize(
    ("fields", "more", "kind"),
    [
        ({"paystack": {"secretKey": "sk_what", "publicKey": TEST["publicKey"]}}, {}, LegacyFinding.key_not_valid),
        ({"paystack": {**LIVE, "environment": "sandbox"}}, {}, LegacyFinding.key_of_other_environment),
        ({"nobody": LIVE}, {}, LegacyFinding.provider_unknown),
        ({"paystack": {**TEST, "currencies": ["CHF"]}}, {}, LegacyFinding.configuration_refused),
        ({"flutterwave": {**TEST_KEYS["flutterwave"], "webhookVersion": "v9"}}, {}, LegacyFinding.configuration_refused),
        ({"paystack": {**TEST, "isDefault": True, "currencies": ["NGN", "GHS"]},
          "flutterwave": {**TEST_KEYS["flutterwave"], "isDefault": 1, "currencies": "GHS"}}, {},
         LegacyFinding.two_defaults),
        ({}, {"defaultCurrency": "XXQ"}, LegacyFinding.practice_currency_not_valid),
        ({}, {"defaultCurrency": None}, LegacyFinding.practice_currency_not_valid),
        ({}, {"name": ""}, LegacyFinding.name_not_valid),
        ({}, {"name": "a\x07"}, LegacyFinding.name_not_valid),
        ({}, {"country": "XX"}, LegacyFinding.country_not_valid),
        ({}, {"timeZone": "Lagos"}, LegacyFinding.time_zone_not_valid),
        ({}, {"externalId": ""}, LegacyFinding.external_id_missing),
        ({}, {"externalId": "x" * 201}, LegacyFinding.external_id_not_valid),
        ({}, {"externalId": "\x00"}, LegacyFinding.external_id_not_valid),
        ({}, {"externalId": {"a": 1}}, LegacyFinding.external_id_missing),
    ],
)  # fmt: skip
async def test_what_is_wrong_with_a_row(
    house: Polytill, tmp_path: Path, fields: Any, more: dict[str, Any], kind: LegacyFinding
) -> None:
    [one] = await bring(house, tmp_path, row(fields) | more)
    assert (one.action, severe(one)) == (ImportAction.held_up, [kind])
    assert "sk_what" not in repr(one.planned.findings)


async def test_what_is_here_stays(house: Polytill, tmp_path: Path) -> None:
    given = row({"paystack": {**TEST, "isEnabled": True, "currencies": ["NGN"], "isDefault": True}})
    [first] = await bring(house, tmp_path, given)
    practice_id = first.practice_id or 0
    more = {
        "paystack": {**LIVE, "isEnabled": False, "currencies": ["GHS"]},
        "flutterwave": {**TEST_KEYS["flutterwave"], "isDefault": True, "isEnabled": True, "currencies": ["NGN"]},
        "stripe": {**TEST_KEYS["stripe"], "isDefault": True, "currencies": ["USD"]},
    }
    [second] = await bring(house, tmp_path, given | {"paymentProviders": more})
    assert (second.action, second.added, second.not_default) == (
        ImportAction.add,
        ["flutterwave", "stripe"],
        ["flutterwave"],
    )
    assert {LegacyFinding.configuration_differs, LegacyFinding.default_elsewhere} <= set(notes(second))
    found = await held(house, practice_id)
    assert {code: one.is_default for code, one in found.items()} == {
        "paystack": True,
        "flutterwave": False,
        "stripe": True,
    }
    assert (found["paystack"].is_enabled, found["paystack"].environment) == (True, Environment.sandbox)
    await configuring.remove(house.context, practice_id, "stripe", "staff")
    [third] = await bring(house, tmp_path, given | {"paymentProviders": more})
    assert third.action is ImportAction.nothing  # what staff removed is not brought back
    assert (await held(house, practice_id))["stripe"].removed_at is not None


async def test_all_configurations_of_a_practice_or_none(
    house: Polytill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = row({"paystack": TEST, "stripe": TEST_KEYS["stripe"]})
    real, calls = configuring._save, []

    async def dies(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 2:
            raise OperatorError("The second one failed.")
        return await real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(configuring, "_save", dies)
        [failed] = await bring(house, tmp_path, given)
    assert (failed.action, failed.error) == (ImportAction.failed, "The second one failed.")
    entry = await practices.by_external_id(house.context.owner, given["externalId"])
    assert entry is not None
    assert await held(house, entry.id) == {}
    [done] = await bring(house, tmp_path, given)
    assert (done.action, done.practice_id, done.added) == (ImportAction.add, entry.id, ["paystack", "stripe"])
    assert len((tmp_path / "keys.jsonl").read_text().splitlines()) == 1


class Killed(BaseException):
    """The process died."""


async def test_a_run_that_dies_while_it_makes_a_practice_is_finished_by_the_next(
    house: Polytill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = row({"paystack": TEST})

    undo, dead = admin._undone, []

    async def undone(*about: Any) -> bool:
        return False if dead else await undo(*about)

    def dies(*_: Any) -> None:
        dead.append(True)
        raise Killed

    monkeypatch.setattr(admin, "_undone", undone)
    with monkeypatch.context() as patch:
        patch.setattr(admin.api_keys, "insert", dies)  # before the key is written
        with pytest.raises(Killed):
            await bring(house, tmp_path, given)
    left = await practices.by_external_id(house.context.owner, given["externalId"])
    assert left is not None
    assert left.state is PracticeState.provisioning
    dead.clear()
    with monkeypatch.context() as patch:
        patch.setattr(type(house.context.owner), "commit", dies)  # after the key was written, before it works
        with pytest.raises(Killed):
            await bring(house, tmp_path, given)
    dead.clear()
    [done] = await bring(house, tmp_path, given)
    assert (done.action, done.added) == (ImportAction.create, ["paystack"])
    line = keys_in(tmp_path)[given["externalId"]]
    assert line["practiceId"] == done.practice_id
    first, _ = [json.loads(each)["key"] for each in (tmp_path / "keys.jsonl").read_text().splitlines()]
    assert await api_keys.by_hash(house.context.owner, key_hash(first)) is None  # its practice never became active
    assert await api_keys.by_hash(house.context.owner, key_hash(line["key"])) is not None
    entries = await practices.listed(house.context.owner, limit=1000)
    assert [one.id for one in entries if one.external_id == given["externalId"]] == [done.practice_id]


async def test_databases_that_are_away_end_the_import(
    house: Polytill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> Any:
        raise NotNow

    monkeypatch.setattr(bringing, "create_practice", away)
    with pytest.raises(NotNow, match="continues where it stopped"):
        await bring(house, tmp_path, *[row({}) for _ in range(7)])


def backwards(text: str) -> str:
    """A decrypt hook."""
    return text.removeprefix("enc:")[::-1]


def broken(text: str) -> str:
    """A decrypt hook that fails, with the value in its message."""
    raise RuntimeError(f"cannot decrypt {text}")


HERE = "tests.flows.legacy.test_import"


@pytest.mark.parametrize(
    ("hook", "kinds"),
    [
        ({"function": f"{HERE}.backwards"}, []),
        ({"command": ["rev"]}, []),
        ({"function": f"{HERE}.broken"}, [LegacyFinding.key_not_decrypted]),
        ({"command": ["false"]}, [LegacyFinding.key_not_decrypted]),
        ({"command": ["sh", "-c", "cat >&2; exit 3"]}, [LegacyFinding.key_not_decrypted]),
        ({"command": ["no-such-program"]}, [LegacyFinding.key_not_decrypted]),
        ({"command": ["sleep", "9"], "timeoutSeconds": 1}, [LegacyFinding.key_not_decrypted]),
        ({"command": ["printf", "\\377"]}, [LegacyFinding.key_not_decrypted]),
        ({"command": ["true"]}, [LegacyFinding.key_not_decrypted]),
    ],
    ids=str,
)
async def test_keys_that_the_host_has_encrypted(
    house: Polytill, tmp_path: Path, hook: dict[str, Any], kinds: list[LegacyFinding], capfd: pytest.CaptureFixture[str]
) -> None:
    sealed = TEST["secretKey"][::-1]
    given = row({"paystack": {**TEST, "secretKey": sealed}})
    setup = await setup_of(house, {"decrypt": {"hook": hook, "keys": ["secretKey"]}})
    [one] = await planned(house, source_of(tmp_path, given), setup)
    assert [kind for kind in severe(one) if kind is not LegacyFinding.configuration_refused] == kinds
    if not kinds:
        assert one.planned.new[0].wish.keys.secret_key == Secret(TEST["secretKey"])
    shown = repr(one) + "".join(capfd.readouterr())
    assert sealed not in shown
    assert TEST["secretKey"] not in shown


async def test_a_hook_that_is_not_allowed_is_not_called(house: Polytill, tmp_path: Path) -> None:
    for function in ("os.system", f"{HERE}.severe"):
        setup = await setup_of(house, {"decrypt": {"hook": {"function": function}}})
        with pytest.raises(OperatorError, match="POLYTILL_DECRYPT_HOOKS"):
            await planned(house, source_of(tmp_path, row({})), setup)


@pytest.mark.parametrize(
    ("mapping", "pointer"),
    [
        ({"tables": "x"}, ""),
        ({"source": {"table": "a", "query": "SELECT 1"}}, "/source"),
        ({"source": {"columns": {"id": "x"}}}, "/source/columns"),
        ({"members": {"a": "nothing"}}, "/members/a"),
        ({"providers": {"a": "nobody"}}, "/providers/a"),
        ({"environments": {"a": "real"}}, "/environments/a"),
        ({"defaults": {"currencies": ["XXQ"]}}, "/defaults"),
        ({"defaults": {"timeZone": "Lagos"}}, "/defaults/timeZone"),
        ({"decrypt": {"hook": {"command": "rm -rf"}}}, "/decrypt/hook"),
        ({"decrypt": {"hook": {"function": "system"}}}, "/decrypt/hook"),
        ([], ""),
    ],
)
async def test_a_wrong_mapping_says_where(house: Polytill, mapping: Any, pointer: str) -> None:
    with pytest.raises(Invalid) as found:
        await setup_of(house, mapping or [1])
    assert pointer in [error.pointer for error in found.value.errors]


async def test_defaults_of_the_mapping(house: Polytill, tmp_path: Path) -> None:
    defaults = {
        "isEnabled": True,
        "environment": "sandbox",
        "currencies": ["KES"],
        "defaultCurrency": "KES",
        "country": "KE",
    }
    setup = await setup_of(house, {"defaults": defaults})
    given = row({"mpesa": {**TEST_KEYS["mpesa"], "shortCode": 174379, "passkey": "a" * 32}}, defaultCurrency=None)
    [one] = await bring(house, tmp_path, given, setup=setup)
    assert (one.action, severe(one)) == (ImportAction.create, [])
    mpesa = (await held(house, one.practice_id))["mpesa"]
    assert (mpesa.is_enabled, mpesa.environment, mpesa.supported_currencies) == (True, Environment.sandbox, ["KES"])
    entry = await practices.by_id(house.context.owner, one.practice_id or 0)
    assert entry is not None
    assert (entry.default_currency, entry.country) == ("KES", "KE")


@pytest.mark.parametrize(
    ("result", "kinds"),
    [
        (CredentialTest(True, "fine"), []),
        (CredentialTest(False, "The key is revoked."), [LegacyFinding.key_refused] * 2),
        (CredentialTest(False, "No answer.", reached=False), []),
    ],
)
async def test_keys_are_checked_at_the_provider(
    house: Polytill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, result: CredentialTest, kinds: list[LegacyFinding]
) -> None:
    tested = []

    async def test(self: Any) -> CredentialTest:
        tested.append((self.config.environment, self.config.secret_key))
        return replace(result)

    handler = house.context.registry.get("paystack")
    monkeypatch.setattr(handler, "test_credentials", test)
    given = row({"paystack": {"live": LIVE, "test": TEST, "mode": "test"}})
    [one] = await planned(house, source_of(tmp_path, given), checks_keys=True)
    assert severe(one) == kinds
    assert set(tested) == {
        (Environment.production, Secret(LIVE["secretKey"])),
        (Environment.sandbox, Secret(TEST["secretKey"])),
    }
    if not result.reached:
        assert notes(one).count(LegacyFinding.key_not_checked) == 2


async def test_a_wish_from_elsewhere_wins_over_a_double(house: Polytill, tmp_path: Path) -> None:
    given = row({"paystack": TEST})
    [done] = await bring(house, tmp_path, given | {"paymentProviders": {}})
    keys = Keys(TEST["publicKey"], Secret(TEST["secretKey"]))
    new = configuring.NewConfiguration(configuring.Wish("paystack", Environment.sandbox, keys, True))
    await configuring.configure(house.context, done.practice_id or 0, replace(new.wish, priority=3), "staff")
    assert await configuring.add_missing(house.context, done.practice_id or 0, [new], "test") == ([], [])
    assert (await held(house, done.practice_id))["paystack"].priority == 3
