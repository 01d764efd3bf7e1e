"""The host's own identifier of a practice, on which alone an import matches.

Source: the review of operations, D5: two clinics named "Smile Dental" were merged, and one's customers paid the other.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from polytill.app import Polytill
from polytill.domain.errors import Conflict, Invalid
from polytill.flows.admin import import_legacy
from polytill.flows.admin.practices import PracticeChanges, change_practice
from polytill.storage import practices, provider_configs
from tests import calls
from tests.cli.process import one_sentence, polytill
from tests.installation import TEST_KEYS, Installation

PAYSTACK = {"paystack": {**TEST_KEYS["paystack"], "isEnabled": True, "supportedCurrencies": ["NGN"]}}
FLUTTERWAVE = {"flutterwave": {**TEST_KEYS["flutterwave"], "isEnabled": True, "supportedCurrencies": ["KES"]}}


def row(external_id: Any, name: str, currency: str, providers: dict[str, Any]) -> dict[str, Any]:
    return {"externalId": external_id, "name": name, "defaultCurrency": currency, "paymentProviders": providers}


def file_of(*rows: dict[str, Any]) -> bytes:
    return json.dumps(rows).encode()


async def bring(till: Polytill, *rows: dict[str, Any]) -> list[import_legacy.Arrived]:
    arrivals = await import_legacy.plan(till.context, file_of(*rows))
    return [await import_legacy.bring(till.context, arrival, "test") for arrival in arrivals]


async def refused(till: Polytill, *rows: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(Invalid) as found:
        await import_legacy.plan(till.context, file_of(*rows))
    return {error.pointer: error.detail for error in found.value.errors}


async def held(till: Polytill, practice_id: int) -> list[str]:
    return sorted(await provider_configs.all_of(await till.context.opening.practice(practice_id)))


async def test_two_clinics_of_one_name_stay_two(till: Polytill) -> None:
    [lagos] = await bring(till, row("101", "Smile Dental", "NGN", PAYSTACK))
    [nairobi] = await bring(till, row("202", "Smile Dental", "KES", FLUTTERWAVE))
    assert nairobi.practice_id != lagos.practice_id
    assert (await held(till, lagos.practice_id), await held(till, nairobi.practice_id)) == (
        ["paystack"],
        ["flutterwave"],
    )
    entries = [(e.external_id, e.name, e.default_currency) for e in await practices.listed(till.context.owner)]
    assert entries == [("101", "Smile Dental", "NGN"), ("202", "Smile Dental", "KES")]


async def test_both_in_one_file_and_again(till: Polytill) -> None:
    rows = [row("101", "Smile Dental", "NGN", PAYSTACK), row(202, "Smile Dental", "KES", FLUTTERWAVE)]
    first = await bring(till, *rows)
    again = await bring(till, *rows)
    assert [one.practice_id for one in again] == [one.practice_id for one in first]
    assert [(one.added, one.kept) for one in again] == [([], ["paystack"]), ([], ["flutterwave"])]
    assert len(await practices.listed(till.context.owner)) == 2


async def test_two_rows_of_one_practice_are_refused(till: Polytill) -> None:
    wrong = await refused(till, row("101", "A", "NGN", PAYSTACK), row(101, "B", "NGN", {}))
    assert list(wrong) == ["/1"]
    assert "'101'" in wrong["/1"]
    [there] = await bring(till, row("7", "C", "NGN", {}))
    wrong = await refused(till, row("7", "C", "NGN", {}), {"id": there.practice_id, "paymentProviders": PAYSTACK})
    assert list(wrong) == ["/1"]
    assert await held(till, there.practice_id) == []


async def test_a_row_that_names_no_practice_is_refused(till: Polytill) -> None:
    wrong = await refused(till, {"name": "Smile Dental", "defaultCurrency": "NGN", "paymentProviders": PAYSTACK})
    assert list(wrong) == ["/0/externalId"]
    assert await practices.listed(till.context.owner) == []


async def test_another_currency_is_another_practice(till: Polytill) -> None:
    [lagos] = await bring(till, row("101", "Smile Dental", "NGN", PAYSTACK))
    wrong = await refused(till, row("101", "Smile Dental", "KES", FLUTTERWAVE))
    assert list(wrong) == ["/0/defaultCurrency"]
    assert await held(till, lagos.practice_id) == ["paystack"]


async def test_a_practice_without_one_is_given_it_by_its_id(till: Polytill) -> None:
    there, _ = await calls.create_practice(till, "Old Clinic", "NGN")
    [done] = await bring(till, {"id": there.id, "externalId": "x-1", "paymentProviders": PAYSTACK})
    found = await practices.by_external_id(till.context.owner, "x-1")
    assert found is not None
    assert (found.id, done.practice_id) == (there.id, there.id)
    wrong = await refused(till, {"id": there.id, "externalId": "x-2", "paymentProviders": {}})
    assert list(wrong) == ["/0/externalId"]


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
        said = one_sentence(polytill(tmp_path, "import-legacy", given))
        assert "secret" not in said
        assert "JSON file" in said
