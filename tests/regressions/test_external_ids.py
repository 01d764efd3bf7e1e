"""The host's own identifier of a practice, on which alone an import matches.

Source: the review of operations, D5: two clinics named "Smile Dental" were merged, and one's customers paid the other.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from polytill.app import Polytill
from polytill.domain.errors import Conflict
from polytill.domain.legacy_findings import ImportAction, LegacyFinding, Severity
from polytill.flows.admin.practices import PracticeChanges, change_practice
from polytill.flows.legacy.bring import Result
from polytill.flows.legacy.files import FileSource
from polytill.storage import practices, provider_configs
from polytill.storage.host_field import Table
from tests import calls
from tests.cli.process import one_sentence, polytill
from tests.flows.legacy.imports import imported
from tests.installation import TEST_KEYS, Installation

PAYSTACK = {"paystack": {**TEST_KEYS["paystack"], "isEnabled": True, "supportedCurrencies": ["NGN"]}}
FLUTTERWAVE = {"flutterwave": {**TEST_KEYS["flutterwave"], "isEnabled": True, "supportedCurrencies": ["KES"]}}


def row(external_id: Any, name: str, currency: str, providers: dict[str, Any]) -> dict[str, Any]:
    return {"externalId": external_id, "name": name, "defaultCurrency": currency, "paymentProviders": providers}


async def bring(till: Polytill, folder: Path, *rows: dict[str, Any]) -> list[Result]:
    """Import rows, and return what happened to each."""
    (folder / "rows.json").write_text(json.dumps(rows))
    return await imported(till, FileSource(folder / "rows.json", Table()), folder / "keys.jsonl")


async def held_up(till: Polytill, folder: Path, *rows: dict[str, Any]) -> list[LegacyFinding]:
    """Why each row is held up, as one finding."""
    done = await bring(till, folder, *rows)
    assert [one.action for one in done] == [ImportAction.held_up] * len(rows)
    return [next(f.type for f in one.planned.findings if f.severity is not Severity.note) for one in done]


async def held(till: Polytill, practice_id: int | None) -> list[str]:
    assert practice_id is not None
    return sorted(await provider_configs.all_of(await till.context.opening.practice(practice_id)))


async def test_two_clinics_of_one_name_stay_two(till: Polytill, tmp_path: Path) -> None:
    [lagos] = await bring(till, tmp_path, row("101", "Smile Dental", "NGN", PAYSTACK))
    [nairobi] = await bring(till, tmp_path, row("202", "Smile Dental", "KES", FLUTTERWAVE))
    assert nairobi.practice_id != lagos.practice_id
    assert (await held(till, lagos.practice_id), await held(till, nairobi.practice_id)) == (
        ["paystack"],
        ["flutterwave"],
    )
    entries = [(e.external_id, e.name, e.default_currency) for e in await practices.listed(till.context.owner)]
    assert entries == [("101", "Smile Dental", "NGN"), ("202", "Smile Dental", "KES")]
    both = [row("101", "Smile Dental", "NGN", PAYSTACK), row(202, "Smile Dental", "KES", FLUTTERWAVE)]
    again = await bring(till, tmp_path, *both)
    assert [one.practice_id for one in again] == [lagos.practice_id, nairobi.practice_id]
    assert [(one.added, one.planned.unchanged) for one in again] == [([], ["paystack"]), ([], ["flutterwave"])]


async def test_rows_that_name_no_practice_or_one_twice_are_held_up(till: Polytill, tmp_path: Path) -> None:
    nameless = row(None, "Smile Dental", "NGN", PAYSTACK)
    assert await held_up(till, tmp_path, nameless) == [LegacyFinding.external_id_missing]
    twice = [row("101", "A", "NGN", PAYSTACK), row(101, "B", "NGN", {})]
    assert await held_up(till, tmp_path, *twice) == [LegacyFinding.external_id_twice] * 2
    assert await practices.listed(till.context.owner) == []
    [lagos] = await bring(till, tmp_path, row("101", "Smile Dental", "NGN", PAYSTACK))
    other = row("101", "Smile Dental", "KES", FLUTTERWAVE)
    assert await held_up(till, tmp_path, other) == [LegacyFinding.practice_currency_differs]
    assert await held(till, lagos.practice_id) == ["paystack"]


async def test_it_is_unique_and_one_spelling(till: Polytill) -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    first, _ = await calls.create_practice(till, "A", "NGN", external_id=decomposed)
    assert first.external_id == composed
    with pytest.raises(Conflict) as found:
        await calls.create_practice(till, "B", "NGN", external_id=composed)
    assert found.value.code == "duplicate_external_id"
    other, _ = await calls.create_practice(till, "B", "NGN")
    with pytest.raises(Conflict):
        await change_practice(till.context, other.id, PracticeChanges(name="Renamed", external_id=composed), "test")
    assert [e.name for e in await practices.listed(till.context.owner)] == ["A", "B"]


async def test_over_the_api(installation: Installation) -> None:
    key, path = installation.owner_key, "/api/owner/practices"
    body = {"name": "Clinic", "defaultCurrency": "NGN", "externalId": "clinic-1"}
    made = await installation.call("POST", path, key, body)
    assert (made.status, made.body["practice"]["externalId"]) == (201, "clinic-1")
    again = await installation.call("POST", path, key, body)
    assert (again.status, again.body["code"]) == (409, "duplicate_external_id")
    await installation.practice("Other", "NGN")
    found = await installation.call("GET", path + "?externalId=clinic-1", key)
    assert [one["name"] for one in found.body] == ["Clinic"]
    assert (await installation.call("GET", path + "?externalId=nobody", key)).body == []
    one = f"{path}/{made.body['practice']['id']}"
    changed = await installation.call("PATCH", one, key, {"externalId": "clinic-2"})
    assert (changed.body["externalId"], changed.body["name"]) == ("clinic-2", "Clinic")
    assert (await installation.call("PATCH", one, key, {"name": "New"})).body["externalId"] == "clinic-2"
    assert (await installation.call("PATCH", one, key, {"externalId": None})).body["externalId"] is None
    for wrong in ("", " x", "x\u200b", "a" * 201, "x\n", 7):
        refusal = await installation.call("PATCH", one, key, {"externalId": wrong})
        assert (refusal.status, refusal.body["errors"][0]["pointer"]) == (422, "/externalId"), wrong


def test_an_address_with_a_password_is_not_printed(tmp_path: Path) -> None:
    for given in ("postgresql://postgres:secret@127.0.0.1/x", "postgresql:/postgres:secret@127.0.0.1/x"):
        said = one_sentence(polytill(tmp_path, "legacy", "import", given))
        assert "secret" not in said
        assert "env:NAME" in said
