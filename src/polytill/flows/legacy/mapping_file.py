"""The mapping file of an import: its JSON Schema, and what it says as values."""

from __future__ import annotations

from collections.abc import Mapping as MappingOf
from dataclasses import dataclass, field
from typing import Any

import jsonschema_rs

from polytill.domain.currencies import CURRENCIES
from polytill.domain.errors import FieldError, Invalid
from polytill.domain.localities import COUNTRIES, time_zones
from polytill.domain.states import Environment
from polytill.flows.legacy import names
from polytill.flows.legacy.mapping import Mapping
from polytill.flows.legacy.model import KEY_NAMES
from polytill.providers.contract import Handler
from polytill.providers.http import parse_json
from polytill.storage.host_columns import COLUMNS
from polytill.storage.host_field import Table

LONGEST_MAPPING = 1_000_000
_TEXT = {"type": "string", "minLength": 1, "maxLength": 200}
_ENVIRONMENT = {"enum": [one.value for one in Environment]}
_MEANINGS = [name for name in names.NAMES] + [part.value for part in names.Part if part is not names.Part.not_needed]
_HOOK = {
    "oneOf": [
        {
            "type": "object",
            "additionalProperties": False,
            "required": ["function"],
            "properties": {
                "function": {
                    "type": "string",
                    "pattern": r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$",
                    "description": "Dotted path of a function that takes a text and returns one. It must be in"
                    " POLYTILL_DECRYPT_HOOKS.",
                }
            },
        },
        {
            "type": "object",
            "additionalProperties": False,
            "required": ["command"],
            "properties": {
                "command": {
                    "type": "array",
                    "items": {"type": "string"},
                    "minItems": 1,
                    "description": "A program and its arguments. It gets the value on standard input and writes the"
                    " result to standard output. No shell is involved.",
                },
                "timeoutSeconds": {"type": "integer", "minimum": 1, "maximum": 300, "default": 10},
            },
        },
    ]
}
SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Mapping of a polytill import",
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "source": {
            "description": "Where the practices are. A table or a query of a database; the columns also of a file.",
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "table": {**_TEXT, "default": "practices", "description": "The table or view, exactly as it is named."},
                "schema": {**_TEXT, "description": "The schema of the table (PostgreSQL)."},
                "query": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 100_000,
                    "description": "A SELECT in place of a table. It can only read.",
                },
                "columns": {
                    "description": "The columns (CSV, database) or members (JSON) with unusual names.",
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {name: _TEXT for name in COLUMNS},
                },
            },
            "not": {"required": ["table", "query"]},
        },
        "members": {
            "description": "Names of members of the field that are not known, and what they mean: a name of the API, a"
            " setting of a provider such as shortCode, or null if they are not needed.",
            "type": "object",
            "additionalProperties": {"type": ["string", "null"]},
        },
        "providers": {
            "description": "The host's names of providers, and their codes in the catalog.",
            "type": "object",
            "additionalProperties": _TEXT,
        },
        "environments": {
            "description": "The host's words for the two environments.",
            "type": "object",
            "additionalProperties": _ENVIRONMENT,
        },
        "defaults": {
            "description": "What holds where a field or a row does not say it.",
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "isEnabled": {"type": "boolean"},
                "environment": _ENVIRONMENT,
                "currencies": {
                    "description": "The currencies of a provider, or `all` that it supports.",
                    "oneOf": [{"const": "all"}, {"type": "array", "items": _TEXT, "minItems": 1}],
                },
                "defaultCurrency": {**_TEXT, "description": "The currency of a practice (ISO 4217)."},
                "country": {**_TEXT, "description": "ISO 3166-1, such as KE."},
                "timeZone": {**_TEXT, "description": "IANA, such as Africa/Lagos."},
            },
        },
        "decrypt": {
            "description": "The host has encrypted some keys, and this opens them.",
            "type": "object",
            "additionalProperties": False,
            "required": ["hook"],
            "properties": {
                "hook": _HOOK,
                "keys": {
                    "description": "The encrypted keys and settings, or paymentProviders for the whole field; default:"
                    " secretKey and webhookSecret.",
                    "type": "array",
                    "items": _TEXT,
                },
                "prefix": {"type": "string", "description": "Only values that begin with this are encrypted."},
                "encrypt": {**_HOOK, "description": "The inverse, to write a changed key into the field."},
            },
        },
    },
}


@dataclass(frozen=True, slots=True)
class Hook:
    """How to reach the host's encryption: a function by its dotted path, or a command."""

    function: str | None = None
    command: tuple[str, ...] = ()
    timeout_s: int = 10


@dataclass(frozen=True, slots=True)
class Setup:
    """A whole mapping file. ``row``: what holds for a practice whose row does not say it, by the names of ``COLUMNS``."""

    mapping: Mapping = field(default_factory=Mapping)
    table: Table = field(default_factory=Table)
    row: MappingOf[str, str] = field(default_factory=dict)
    decrypt: Hook | None = None
    encrypt: Hook | None = None


def read_mapping(content: bytes, handlers: MappingOf[str, type[Handler]]) -> Setup:
    """Read a mapping file. ``Invalid`` with a pointer for everything that is wrong in it.

    ``handlers``: the handlers of the catalog's providers by code.
    """
    if len(content) > LONGEST_MAPPING:
        raise Invalid([FieldError("", f"The mapping has more than {LONGEST_MAPPING} bytes.")])
    try:
        value = parse_json(content.removeprefix(b"\xef\xbb\xbf"))
    except ValueError:
        raise Invalid([FieldError("", "The mapping is not JSON.")]) from None
    errors = [
        FieldError("".join(f"/{part}" for part in problem.instance_path), _sentence(problem))
        for problem in jsonschema_rs.validator_for(SCHEMA).iter_errors(value)
    ]
    if not errors:
        errors = _wrong_values(value, handlers)
    if errors:
        raise Invalid(errors)
    return _setup(value, handlers)


def _sentence(problem: Any) -> str:
    kind = str(list(problem.schema_path)[-1])
    if kind == "additionalProperties":
        return "The mapping has a member that is not known here. `polytill legacy mapping-schema` shows all."
    return f"This value of the mapping is not valid ({kind})."


def _wrong_values(value: dict[str, Any], handlers: MappingOf[str, type[Handler]]) -> list[FieldError]:
    errors = []
    settings = {name for one in handlers.values() for name in one.config_schema.get("properties", {})}
    for name, what in value.get("members", {}).items():
        if what is not None and what not in _MEANINGS and what not in settings:
            errors.append(FieldError(f"/members/{name}", f"{what!r} is neither a name of the API nor a setting."))
    for name, code in value.get("providers", {}).items():
        if code not in handlers:
            errors.append(FieldError(f"/providers/{name}", f"The catalog has no provider {code!r}."))
    defaults = value.get("defaults", {})
    codes = defaults.get("currencies", [])
    given = [*(codes if isinstance(codes, list) else []), *[c for c in (defaults.get("defaultCurrency"),) if c]]
    for code in given:
        if code not in CURRENCIES:
            errors.append(FieldError("/defaults", f"{code!r} is not an ISO 4217 currency."))
    if defaults.get("country") not in (None, *COUNTRIES):
        errors.append(FieldError("/defaults/country", "This is not a country code of ISO 3166-1, such as KE."))
    if defaults.get("timeZone") is not None and defaults["timeZone"] not in time_zones():
        errors.append(FieldError("/defaults/timeZone", "This is not an IANA time zone, such as Africa/Lagos."))
    return errors


def _setup(value: dict[str, Any], handlers: MappingOf[str, type[Handler]]) -> Setup:
    source, defaults, decrypt = value.get("source", {}), value.get("defaults", {}), value.get("decrypt")
    environment, currencies = defaults.get("environment"), defaults.get("currencies")
    mapping = Mapping(
        handlers=handlers,
        providers={names.normal(name): code for name, code in value.get("providers", {}).items()},
        members={names.normal(name): what or "" for name, what in value.get("members", {}).items()},
        environments={names.normal(word): Environment(one) for word, one in value.get("environments", {}).items()},
        is_enabled=defaults.get("isEnabled"),
        environment=Environment(environment) if environment else None,
        currencies=() if currencies == "all" else tuple(currencies) if currencies else None,
        encrypted=frozenset(decrypt.get("keys", KEY_NAMES[1:])) if decrypt else frozenset(),
        prefix=decrypt.get("prefix", "") if decrypt else "",
    )
    table = Table(
        source.get("table", "practices"), source.get("schema"), source.get("query"), source.get("columns", {})
    )
    row = {name: defaults[name] for name in ("defaultCurrency", "country", "timeZone") if name in defaults}
    return Setup(
        mapping,
        table,
        row,
        _hook(decrypt["hook"]) if decrypt else None,
        _hook(decrypt["encrypt"]) if decrypt and "encrypt" in decrypt else None,
    )


def _hook(value: dict[str, Any]) -> Hook:
    return Hook(value.get("function"), tuple(value.get("command", ())), value.get("timeoutSeconds", 10))
