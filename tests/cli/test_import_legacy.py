"""``polytill import-legacy``: the JSON field of a platform becomes sealed configurations."""

from __future__ import annotations

import json
from typing import Any

import pytest

from polytill.app import Polytill
from polytill.domain.errors import Invalid
from polytill.domain.secret import Secret
from polytill.domain.states import Environment
from polytill.flows.admin import credentials, import_legacy
from polytill.flows.admin import provider_configs as configuring
from polytill.storage import practices, provider_configs
from tests import calls
from tests.installation import TEST_KEYS

LIVE = {"publicKey": "pk_live_0123456789abcdef", "secretKey": "sk_live_0123456789abcdef0123456789abcdef01234567"}

A = {"externalId": "a", "name": "A", "defaultCurrency": "NGN"}


def file_of(*entries: dict[str, Any]) -> bytes:
    return json.dumps(entries).encode()


async def test_practices_arrive_with_their_keys_sealed_and_once(till: Polytill) -> None:
    there, _ = await calls.create_practice(till, "Old Clinic", "USD")
    given = file_of(
        {
            "externalId": "lagos",
            "name": "Lagos",
            "defaultCurrency": "NGN",
            "paymentProviders": {
                "paystack": {**LIVE, "isEnabled": True, "isDefault": True, "supportedCurrencies": ["NGN"]},
                "flutterwave": TEST_KEYS["flutterwave"],
            },
        },
        {"id": there.id, "paymentProviders": {"stripe": TEST_KEYS["stripe"]}},
    )
    arrivals = await import_legacy.plan(till.context, given)
    first, second = [await import_legacy.bring(till.context, arrival, "test") for arrival in arrivals]
    assert (first.added, first.kept, first.key is not None) == (["paystack", "flutterwave"], [], True)
    assert (second.practice_id, second.added, second.key) == (there.id, ["stripe"], None)
    practice = await till.context.practice(first.practice_id)
    held = await provider_configs.all_of(practice.db)
    assert (held["paystack"].environment, held["flutterwave"].environment) == (
        Environment.production,
        Environment.sandbox,
    )
    assert (held["paystack"].is_enabled, held["paystack"].is_default) == (True, True)
    rows = [dict(row) for row in await practice.db.fetch("SELECT * FROM practice_payment_providers")]
    assert LIVE["secretKey"] not in repr(rows)
    again = [
        await import_legacy.bring(till.context, arrival, "test")
        for arrival in await import_legacy.plan(till.context, given)
    ]
    assert [(one.added, one.key) for one in again] == [([], None), ([], None)]
    assert len(await practices.listed(till.context.owner)) == 2


async def test_a_default_that_is_there_stays(till: Polytill) -> None:
    there, _ = await calls.create_practice(till, "Old Clinic", "NGN")
    key = TEST_KEYS["flutterwave"]
    keys = credentials.Keys(key["publicKey"], Secret(key["secretKey"]), Secret(key["webhookSecret"]))
    wish = configuring.Wish("flutterwave", Environment.sandbox, keys, True, True, ["NGN"])
    await configuring.configure(till.context, there.id, wish, "staff")
    given = file_of(
        {
            "id": there.id,
            "paymentProviders": {
                "paystack": {**TEST_KEYS["paystack"], "isEnabled": True, "isDefault": True},
                "stripe": {**TEST_KEYS["stripe"], "isEnabled": True, "isDefault": True, "supportedCurrencies": ["USD"]},
            },
        }
    )
    [arrival] = await import_legacy.plan(till.context, given)
    done = await import_legacy.bring(till.context, arrival, "test")
    practice = await till.context.practice(there.id)
    held = await provider_configs.all_of(practice.db)
    assert {code: one.is_default for code, one in held.items()} == {
        "flutterwave": True,
        "paystack": False,
        "stripe": True,
    }
    defaults = await provider_configs.defaults(practice.db)
    assert defaults[Environment.sandbox, "NGN"] == held["flutterwave"].id
    assert (done.added, done.not_default) == (["paystack", "stripe"], ["paystack"])


@pytest.mark.parametrize(
    ("entry", "pointer"),
    [
        ({"externalId": "a", "name": "A", "defaultCurrency": "NGN", "paymentProviders": {"paystack": {"secretKey": "sk_what"}}},
         "/1/paymentProviders/paystack/environment"),
        ({**A, "paymentProviders": {"paystack": {**LIVE, "environment": "sandbox"}}},
         "/1/paymentProviders/paystack/publicKey"),
        ({"externalId": "a", "name": "A", "defaultCurrency": "NGN", "paymentProviders": {"nobody": LIVE}},
         "/1/paymentProviders/nobody/providerCode"),
        ({"externalId": "a", "name": "A", "defaultCurrency": "NGN", "paymentProviders": {"paystack": {"secret": "sk_what"}}},
         "/1/paymentProviders/paystack"),
        ({"externalId": "a", "name": "A", "defaultCurrency": "XXQ", "paymentProviders": {}}, "/1/defaultCurrency"),
        ({"id": 4711, "paymentProviders": {}}, "/1/id"),
        ({"name": "A", "defaultCurrency": "NGN", "paymentProviders": {}}, "/1/externalId"),
        ({"externalId": "a", "defaultCurrency": "NGN", "paymentProviders": {}}, "/1/name"),
        ({"name": "A"}, "/1"),
    ],
)  # fmt: skip
async def test_one_wrong_entry_and_nothing_is_written(till: Polytill, entry: dict[str, Any], pointer: str) -> None:
    good = {"externalId": "good", "name": "Good", "defaultCurrency": "NGN", "paymentProviders": {"paystack": LIVE}}
    with pytest.raises(Invalid) as found:
        await import_legacy.plan(till.context, file_of(good, entry))
    assert pointer in [error.pointer for error in found.value.errors]
    assert "sk_what" not in repr([error.detail for error in found.value.errors])
    assert await practices.listed(till.context.owner) == []


@pytest.mark.parametrize("file", [b"", b"{", b"{}", b"[1]", b"\xff\xfe", b'[{"id": 1e400}]'])
async def test_a_file_that_is_none(till: Polytill, file: bytes) -> None:
    with pytest.raises(Invalid):
        await import_legacy.plan(till.context, file)
