"""The JSON Schema of a routing policy, for editors and for programs that write policies.

It says what can be said without the catalog. ``policy_reading.py`` decides: it also knows the providers, finds rules that
never apply, and runs the tests.
"""

from __future__ import annotations

from typing import Any

from polytill.domain.metadata import MAX_METADATA_NAME, MAX_METADATA_VALUE
from polytill.domain.money import MAX_MINOR
from polytill.domain.routing import Strategy
from polytill.flows.routing.conditions import KNOWN, LISTED, NEW, WEEKDAYS
from polytill.flows.routing.policy import ENOUGH_PAYMENTS, EXPLORE_PERCENT, SMALLEST_POOL
from polytill.flows.routing.policy_reading import MAX_ENOUGH, MAX_EXPLORE_PERCENT, MAX_WEIGHT
from polytill.flows.routing.rules_reading import (
    MAX_DESCRIPTION,
    MAX_NAME,
    MAX_PROVIDERS,
    MAX_RULES,
    MAX_TESTS,
    MAX_VALUE,
    MAX_VALUES,
)

_Schema = dict[str, Any]


def _text(most: int = MAX_VALUE, **more: Any) -> _Schema:
    return {"type": "string", "minLength": 1, "maxLength": most, **more}


def _whole(least: int, most: int, **more: Any) -> _Schema:
    return {"type": "integer", "minimum": least, "maximum": most, **more}


def _list(items: _Schema, most: int, least: int = 1, **more: Any) -> _Schema:
    return {"type": "array", "items": items, "minItems": least, "maxItems": most, **more}


def _object(properties: _Schema, required: tuple[str, ...] = (), **more: Any) -> _Schema:
    given = {"type": "object", "properties": properties, "additionalProperties": False, **more}
    return {**given, "required": list(required)} if required else given


def _strategies(**more: Any) -> _Schema:
    return {"enum": [one.value for one in Strategy if not (more and one is Strategy.rules)], **more}


_VALUES: dict[str, _Schema] = {
    "currency": {"type": "string", "pattern": "^[A-Z]{3}$"},
    "country": {"type": "string", "pattern": "^[A-Z]{2}$", "description": "Of the practice, ISO 3166-1."},
    "phoneCountry": {"type": "string", "pattern": "^[A-Z]{2}$", "description": "Of the customer's phone number."},
    "weekday": {"enum": list(WEEKDAYS)},
    "customer": {"enum": [NEW, KNOWN], "description": "Whether the customer has paid this practice before."},
    "method": _text(),
    "emailDomain": _text(description="Of the customer, without @."),
}
_TIME = {"type": "string", "pattern": "^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$"}
_METADATA_NAMES = {"minLength": 1, "maxLength": MAX_METADATA_NAME}
_MINOR = _whole(0, MAX_MINOR, description="Minor units.")


def _one_or_more(value: _Schema) -> _Schema:
    return {"anyOf": [value, _list(value, MAX_VALUES)]}


_CONDITION = _object(
    {
        **{name: _one_or_more(_VALUES[name]) for name in LISTED},
        "amount": _object(
            {"currency": _VALUES["currency"], "atLeast": _MINOR, "below": _MINOR},
            ("currency",),
            anyOf=[{"required": ["atLeast"]}, {"required": ["below"]}],
        ),
        "time": _object({"from": _TIME, "until": _TIME}, ("from", "until"), description="On the practice's clock."),
        "metadata": {
            "type": "object",
            "minProperties": 1,
            "maxProperties": MAX_VALUES,
            "propertyNames": _METADATA_NAMES,
            "additionalProperties": _one_or_more(_text(MAX_METADATA_VALUE)),
        },
        "all": _list({"$ref": "#/$defs/part"}, MAX_VALUES),
        "any": _list({"$ref": "#/$defs/part"}, MAX_VALUES),
        "not": {"$ref": "#/$defs/part"},
    },
    description="All fields hold. Without fields: always.",
)
_RULE = _object(
    {
        "name": _text(MAX_NAME),
        "description": {"anyOf": [_text(MAX_DESCRIPTION), {"type": "null"}]},
        "when": {"$ref": "#/$defs/condition"},
        "providers": {"$ref": "#/$defs/providers"},
    },
    ("name", "providers"),
)
_TEST = _object(
    {
        "name": _text(MAX_NAME),
        "given": _object(
            {
                **{name: _VALUES[name] for name in LISTED},
                "amount": _MINOR,
                "time": _TIME,
                "metadata": {
                    "type": "object",
                    "maxProperties": MAX_VALUES,
                    "propertyNames": _METADATA_NAMES,
                    "additionalProperties": _text(MAX_METADATA_VALUE),
                },
                "available": {"$ref": "#/$defs/providers", "description": "Who can take it. Default: everybody."},
            },
            ("currency",),
        ),
        "expect": {"anyOf": [_text(), {"type": "null"}], "description": "The provider that must be first."},
    },
    ("given", "expect"),
)

SCHEMA: _Schema = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Routing policy",
    **_object(
        {
            "strategy": _strategies(),
            "fallback": _strategies(description="Orders the providers that the strategy leaves equal."),
            "weights": {
                "type": "object",
                "minProperties": 1,
                "maxProperties": MAX_PROVIDERS,
                "additionalProperties": _whole(0, MAX_WEIGHT),
                "description": "For weighted: relative shares by provider.",
            },
            "enoughPayments": _whole(SMALLEST_POOL, MAX_ENOUGH, default=ENOUGH_PAYMENTS),
            "explorePercent": _whole(0, MAX_EXPLORE_PERCENT, default=EXPLORE_PERCENT),
            "rules": _list(_RULE, MAX_RULES, 0),
            "default": {**_list(_text(), MAX_PROVIDERS, 0), "uniqueItems": True},
            "tests": _list(_TEST, MAX_TESTS, 0),
        },
        ("strategy",),
    ),
    "$defs": {
        "providers": {**_list(_text(), MAX_PROVIDERS), "uniqueItems": True},
        "condition": _CONDITION,
        "part": {"allOf": [{"$ref": "#/$defs/condition"}, {"minProperties": 1}]},
    },
}
