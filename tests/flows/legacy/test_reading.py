"""A practice's ``paymentProviders`` field in the shapes of the wild: what is read, and what is reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from polytill.domain.legacy_findings import LegacyFinding, Severity
from polytill.domain.secret import Secret
from polytill.domain.states import Environment
from polytill.flows.legacy.mapping import Mapping
from polytill.flows.legacy.shapes import LegacyField, read
from tests.installation import TEST_KEYS

FIELDS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "fixtures" / "legacy_fields.json").read_text("utf-8")
)
PAYSTACK = TEST_KEYS["paystack"]


def shown(field: LegacyField) -> dict[str, Any]:
    """A field in the form of the fixture file."""
    return {
        "sets": {
            f"{one.provider}/{one.environment or 'unknown'}": {
                "keys": sorted(one.keys),
                "config": sorted(one.config),
                "isEnabled": one.is_enabled,
                "isDefault": one.is_default,
                "currencies": None if one.currencies is None else list(one.currencies),
                "priority": one.priority,
            }
            for one in field.sets
        },
        "active": dict(field.active),
        "findings": [f"{one.type} {one.pointer}".strip() for one in field.findings],
    }


def kinds(value: Any, mapping: Mapping | None = None) -> list[LegacyFinding]:
    return [one.type for one in read(value, mapping or Mapping()).findings if one.severity is not Severity.note]


@pytest.mark.parametrize("case", FIELDS, ids=lambda case: case["name"])
def test_a_field_of_the_wild(case: dict[str, Any]) -> None:
    field = read(case["field"], Mapping())
    assert shown(field) == {name: case[name] for name in ("sets", "active", "findings")}
    assert field.held_up == case["name"].startswith(("wrong", "ambiguous"))
    assert shown(read(case["field"].encode("utf-8"), Mapping())) == shown(field)


def test_keys_are_read_and_never_shown() -> None:
    given = {"paystack": {**PAYSTACK, "secretKey": f" {PAYSTACK['secretKey']}\n", "environment": "test"}}
    field = read(given, Mapping())
    found = field.get("paystack", Environment.sandbox)
    assert found is not None
    assert found.keys["secretKey"] == Secret(PAYSTACK["secretKey"])
    assert PAYSTACK["secretKey"] not in repr(field)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("[" * 10_000, LegacyFinding.too_deep),
        ('{"a":' * 40 + "1" + "}" * 40, LegacyFinding.too_deep),
        ('{"a": "' + "x" * 20_000_000 + '"}', LegacyFinding.too_large),
        (b"\xff\xfe", LegacyFinding.not_text),
        (1.5, LegacyFinding.not_text),
        ("7", LegacyFinding.shape_unknown),
        ('"stripe"', LegacyFinding.shape_unknown),
        ("[1]", LegacyFinding.shape_unknown),
        ('{"a": NaN}', LegacyFinding.not_json),
        ('{"a": 1} 2', LegacyFinding.not_json),
        ('{"a": "\x00"}', LegacyFinding.not_json),
        ('{"a": 01}', LegacyFinding.not_json),
        ('{"paystack": {"sk_live_0123456789abcdef": 1}}', LegacyFinding.member_unknown),
        ('{"\\ud800": {"secretKey": "x"}}', LegacyFinding.provider_unknown),
    ],
)
def test_hostile_fields_are_findings(value: Any, kind: LegacyFinding) -> None:
    field = read(value, Mapping())
    assert [one.type for one in field.findings if one.severity is not Severity.note] == [kind]
    assert "sk_live" not in repr(field)
    assert field.findings[0].pointer.encode("ascii") is not None


def test_the_mapping_settles_what_is_unusual() -> None:
    given = {
        "Zahlung": {"paystack_ng": {"pub": PAYSTACK["publicKey"], "geheim": PAYSTACK["secretKey"], "ampel": 1, "x": 2}}
    }
    assert kinds(given) == [LegacyFinding.provider_unknown]
    mapping = Mapping(
        providers={"paystackng": "paystack"},
        members={"pub": "publicKey", "geheim": "secretKey", "ampel": "isEnabled", "x": ""},
    )
    field = read(given["Zahlung"], mapping)
    assert not field.held_up
    found = field.get("paystack", Environment.sandbox)
    assert found is not None
    assert (found.is_enabled, sorted(found.keys)) == (True, ["publicKey", "secretKey"])


def test_defaults_of_the_mapping_settle_what_is_ambiguous() -> None:
    mpesa = {"mpesa": {**TEST_KEYS["mpesa"], "shortCode": "174379", "passkey": "a" * 32, "currencies": []}}
    assert kinds(mpesa) == [LegacyFinding.currencies_empty, LegacyFinding.environment_unknown]
    assert kinds(mpesa, Mapping(environment=Environment.sandbox, currencies=("KES",))) == []
