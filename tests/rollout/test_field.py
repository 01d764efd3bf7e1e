"""What a field means, without a database: when it and our configurations are equal, and what a change leaves in it."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from polytill.domain.states import Environment
from polytill.flows.legacy import shapes
from polytill.flows.legacy.mapping import Mapping
from polytill.flows.legacy.model import LegacyField
from polytill.flows.legacy.wishes import wish_of
from polytill.flows.rollout.field import Reading, changes, differences, wanted
from tests.rollout.scene import PAYSTACK, a_field

MAPPING = Mapping()
READING = Reading(MAPPING, {})
OURS = shapes.read(json.dumps(a_field()), MAPPING)
LIVE_PAYSTACK = {name: key.replace("test", "live") for name, key in PAYSTACK.items()}
# Entries that mean nothing for payments: the old code cannot use them either.
SAME: list[Any] = [
    pytest.param({"paystack": {"webhookSecret": "whsec_paystack0000"}}, id="a-credential-that-paystack-does-not-have"),
    pytest.param({"paystack": {"testWebhookSecret": "whsec_paystack0000"}}, id="such-a-credential-by-environment"),
    pytest.param({"flutterwave": {"isEnabled": False, "environment": "sandbox", "secretKey": ""}}, id="no-keys"),
    pytest.param({"flutterwave": {"isEnabled": True, "commission": None}}, id="no-keys-and-no-environment"),
    pytest.param({"paystack": {"live": {"secretKey": "", "publicKey": None}}}, id="no-keys-of-the-other-environment"),
]


def field_with(more: dict[str, dict[str, Any]]) -> dict[str, Any]:
    field = a_field()
    return field | {code: {**field.get(code, {}), **members} for code, members in more.items()}


@pytest.mark.parametrize("more", SAME)
def test_entries_that_no_payment_can_use_change_nothing_and_stay(more: dict[str, Any]) -> None:
    """A provider without keys, and a credential that a provider does not have, are no difference, and are not lost."""
    text = json.dumps(field_with(more))
    field = shapes.read(text, MAPPING)
    assert not field.held_up
    assert differences(field, OURS, READING) == []
    assert changes(field, OURS, READING) == []
    disabled = replace(OURS, sets=tuple(replace(one, is_enabled=False) for one in OURS.sets))
    written = json.loads(shapes.write(text, wanted(field, disabled, READING), MAPPING))
    expected = field_with(more)
    for code in ("stripe", "paystack"):
        expected[code]["isEnabled"] = False
    assert written == expected


def test_an_unknown_credential_is_a_note_and_no_key() -> None:
    field = shapes.read(json.dumps(field_with(SAME[0].values[0])), MAPPING)
    assert [(one.type, one.pointer) for one in field.findings] == [("member_not_needed", "/paystack/webhookSecret")]
    assert "webhookSecret" not in field.get("paystack", Environment.sandbox).keys


def test_an_active_environment_without_keys_is_no_reason_to_use_the_other_one() -> None:
    field = shapes.read(
        json.dumps({"paystack": {"environment": "test", "test": {"secretKey": ""}, "live": LIVE_PAYSTACK}}), MAPPING
    )
    assert field.active == {"paystack": Environment.sandbox}
    assert differences(field, LegacyField(), READING) == ["paystack is only in the field"]
    assert changes(field, LegacyField(), READING)[0].wish.keys.secret_key is None  # is refused: a key is needed


@pytest.mark.parametrize(
    ("said", "default", "expected"),
    [
        (["NGN", "XAF"], None, ["NGN", "XAF"]),  # is refused by import and rollout, and never left out silently
        (None, ("NGN", "XAF"), ["NGN"]),  # the mapping speaks of all providers
        (None, ("XAF",), ["XAF"]),
        (None, None, ["GHS", "NGN"]),
    ],
)
def test_currencies(said: list[str] | None, default: tuple[str, ...] | None, expected: list[str]) -> None:
    mapping = replace(MAPPING, currencies=default)
    more = {} if said is None else {"supportedCurrencies": said}
    field = shapes.read(json.dumps({"paystack": {**PAYSTACK, **more}}), mapping)
    catalog: Any = {"paystack": SimpleNamespace(supported_currencies=["NGN", "GHS"])}
    assert wish_of(field.sets[0], mapping, catalog).supported_currencies == expected
    assert changes(field, LegacyField(), Reading(mapping, catalog))[0].wish.supported_currencies == expected
