"""Bringing practices over: what a platform kept in one JSON field per practice becomes sealed configurations.

The whole file is checked before anything is written. What is there already stays as it is, so that an import that was
interrupted is finished by running it again, and keys that staff have pasted since are not overwritten. Nor does what
arrives take over: where a currency has its default, that stays.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import jsonschema_rs

from polytill.domain.currencies import CURRENCIES
from polytill.domain.errors import FieldError, Invalid
from polytill.domain.localities import COUNTRIES, time_zones
from polytill.domain.secret import Secret
from polytill.domain.states import Environment
from polytill.flows import configure, onboarding
from polytill.flows.desk import Desk
from polytill.providers.http import parse_json
from polytill.storage import practices, provider_configs
from polytill.storage.databases import PracticeDb
from polytill.storage.practices import PracticeEntry

_TEXT = {"type": "string", "minLength": 1}
_PROVIDER = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "publicKey": _TEXT, "secretKey": _TEXT, "webhookSecret": _TEXT, "config": {"type": "object"},
        "environment": {"enum": ["sandbox", "production"]}, "isEnabled": {"type": "boolean"},
        "isDefault": {"type": "boolean"}, "supportedCurrencies": {"type": "array", "items": _TEXT},
        "priority": {"type": "integer", "minimum": 0, "maximum": 1_000_000},
    },
}  # fmt: skip
_FILE = {
    "type": "array",
    "items": {
        "type": "object",
        "additionalProperties": False,
        "required": ["paymentProviders"],
        "oneOf": [{"required": ["id"]}, {"required": ["name", "defaultCurrency"]}],
        "properties": {
            "id": {"type": "integer", "minimum": 1},
            "name": {"type": "string", "minLength": 1, "maxLength": 200},
            "defaultCurrency": _TEXT,
            "country": _TEXT,
            "timeZone": _TEXT,
            "paymentProviders": {"type": "object", "additionalProperties": _PROVIDER},
        },
    },
}


@dataclass(frozen=True, slots=True)
class Arrival:
    """One practice of the file: which one it is (None: it has to be made), and what is wished for it."""

    name: str
    currency: str
    there: PracticeEntry | None
    wishes: list[configure.Wish]
    country: str | None = None
    time_zone: str | None = None


@dataclass(frozen=True, slots=True)
class Arrived:
    """What became of it. ``key`` is the first key of a practice that was made: shown once.

    ``not_default``: what was added, and not as the default that it was, since one of its currencies has another.
    """

    practice_id: int
    name: str
    added: list[str]
    kept: list[str]
    not_default: list[str]
    key: Secret | None = None


async def plan(desk: Desk, file: bytes) -> list[Arrival]:
    """Read and check a whole file; ``Invalid`` with a pointer for everything that is wrong in it."""
    try:
        entries: Any = parse_json(file)
    except ValueError:
        raise Invalid([FieldError("", "The file is not JSON.")]) from None
    errors = [
        # The library's message quotes the value, which may be a secret.
        FieldError(
            "".join(f"/{part}" for part in problem.instance_path), f"This does not fit ({problem.schema_path[-1]})."
        )
        for problem in jsonschema_rs.validator_for(_FILE).iter_errors(entries)
    ]
    if errors:
        raise Invalid(errors)
    known = [one for one in await practices.listed(desk.owner, limit=1_000_000) if one.state != "provisioning"]
    arrivals = [await _planned(desk, f"/{number}", entry, known, errors) for number, entry in enumerate(entries)]
    if errors:
        raise Invalid(errors)
    return arrivals


async def _planned(
    desk: Desk, at: str, entry: dict[str, Any], known: list[PracticeEntry], errors: list[FieldError]
) -> Arrival:
    name, currency = entry.get("name", ""), entry.get("defaultCurrency", "")
    there = [one for one in known if (one.id == entry["id"] if "id" in entry else one.name == name)]
    if "id" in entry and not there:
        errors.append(FieldError(f"{at}/id", f"There is no practice {entry['id']}."))
    if len(there) > 1:
        errors.append(FieldError(f"{at}/name", "Several practices have this name; say which one by its id."))
    if not there and "id" not in entry and currency not in CURRENCIES:
        errors.append(FieldError(f"{at}/defaultCurrency", f"{currency} is not an ISO 4217 currency."))
    country, time_zone = entry.get("country"), entry.get("timeZone")
    if country is not None and country not in COUNTRIES:
        errors.append(FieldError(f"{at}/country", f"{country} is not a country code of ISO 3166-1, such as KE."))
    if time_zone is not None and time_zone not in time_zones():
        errors.append(FieldError(f"{at}/timeZone", f"{time_zone} is not an IANA time zone, such as Africa/Lagos."))
    wishes = []
    for code, given in entry["paymentProviders"].items():
        try:
            wishes.append(await configure.check_new(desk, _wish(code, given)))
        except Invalid as wrong:
            errors += [FieldError(f"{at}/paymentProviders/{code}{e.pointer}", e.detail) for e in wrong.errors]
    return Arrival(name, currency, there[0] if there else None, wishes, country, time_zone)


def _wish(code: str, given: dict[str, Any]) -> configure.Wish:
    secret, webhook, environment = given.get("secretKey"), given.get("webhookSecret"), given.get("environment")
    keys = configure.Keys(
        given.get("publicKey"), Secret(secret) if secret else None, Secret(webhook) if webhook else None,
        given.get("config"),
    )  # fmt: skip
    return configure.Wish(
        code, Environment(environment) if environment else None, keys, given.get("isEnabled"), given.get("isDefault"),
        given.get("supportedCurrencies"), given.get("priority"),
    )  # fmt: skip


async def bring(desk: Desk, arrival: Arrival, actor: str) -> Arrived:
    """Make the practice where it is not there yet, and add the configurations that it lacks."""
    entry, key = arrival.there, None
    if entry is None:
        entry, first = await onboarding.create_practice(
            desk, arrival.name, arrival.currency, "default", actor, country=arrival.country,
            time_zone=arrival.time_zone,
        )  # fmt: skip
        key = Secret(first)
    db = await desk.opening.practice(entry.id)
    held = {code for code, one in (await provider_configs.all_of(db)).items() if one.removed_at is None}
    added = [wish for wish in arrival.wishes if wish.provider_code not in held]
    not_default = []
    for wish in added:
        if wish.is_default and await _has_default(desk, db, wish):
            wish = replace(wish, is_default=False)
            not_default.append(wish.provider_code)
        await configure.configure(desk, entry.id, wish, actor)
    kept = [wish.provider_code for wish in arrival.wishes if wish.provider_code in held]
    return Arrived(entry.id, entry.name, [wish.provider_code for wish in added], kept, not_default, key)


async def _has_default(desk: Desk, db: PracticeDb, wish: configure.Wish) -> bool:
    """Whether any currency of what arrives has its default already, in that environment."""
    entry = (await desk.catalog()).get(wish.provider_code)
    supported = entry.supported_currencies if entry else []
    currencies = supported if wish.supported_currencies is None else wish.supported_currencies
    defaults = await provider_configs.defaults(db)
    return any((wish.environment, currency) in defaults for currency in currencies)
