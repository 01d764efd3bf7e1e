"""Import of existing practices: a platform's JSON field of each practice becomes sealed configurations.

The whole file is checked before anything is written. Existing data stays as it is: an interrupted import is completed
by running it again, and keys that staff have pasted since are not overwritten. Nor does an imported configuration
become the default of a currency that has one.

A practice is identified by its external id, or by its id here. A name identifies no practice, since two clinics may
share one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import jsonschema_rs

from polytill.domain.currencies import CURRENCIES
from polytill.domain.errors import FieldError, Invalid
from polytill.domain.external_ids import MAX_LENGTH, read_external_id
from polytill.domain.localities import COUNTRIES, time_zones
from polytill.domain.secret import Secret
from polytill.domain.states import Environment, PracticeState
from polytill.flows.admin import credentials
from polytill.flows.admin import provider_configs as configuring
from polytill.flows.admin.practices import NewPractice, PracticeChanges, change_practice, create_practice
from polytill.flows.context import Context, Practice
from polytill.providers.http import parse_json
from polytill.storage import practices, provider_configs
from polytill.storage.practices import PracticeEntry

_TEXT = {"type": "string", "minLength": 1}
_PROVIDER = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "publicKey": _TEXT,
        "secretKey": _TEXT,
        "webhookSecret": _TEXT,
        "config": {"type": "object"},
        "environment": {"enum": ["sandbox", "production"]},
        "isEnabled": {"type": "boolean"},
        "isDefault": {"type": "boolean"},
        "supportedCurrencies": {"type": "array", "items": _TEXT},
        "priority": {"type": "integer", "minimum": 0, "maximum": 1_000_000},
    },
}
_FILE = {
    "type": "array",
    "items": {
        "type": "object",
        "additionalProperties": False,
        "required": ["paymentProviders"],
        "properties": {
            "id": {"type": "integer", "minimum": 1},
            "externalId": {"anyOf": [{"type": "string", "minLength": 1, "maxLength": MAX_LENGTH}, {"type": "integer"}]},
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
    """One practice of the file: the existing practice (None: it must be created), and the data to import."""

    name: str
    currency: str
    external_id: str | None
    there: PracticeEntry | None
    wishes: list[configuring.Wish]
    country: str | None = None
    time_zone: str | None = None


@dataclass(frozen=True, slots=True)
class Arrived:
    """The result of one import. ``key`` is the first key of a created practice: it is shown only once.

    ``not_default``: configurations that were added, but not as the default, since one of their currencies has another.
    """

    practice_id: int
    name: str
    added: list[str]
    kept: list[str]
    not_default: list[str]
    key: Secret | None = None


async def plan(context: Context, file: bytes) -> list[Arrival]:
    """Read and check a whole file; ``Invalid`` with a pointer for everything that is wrong in it."""
    try:
        entries: Any = parse_json(file)
    except ValueError:
        raise Invalid([FieldError("", "The file is not JSON.")]) from None
    errors = [
        # The library's message quotes the value, which may be a secret.
        FieldError(
            "".join(f"/{part}" for part in problem.instance_path),
            f"This value is not valid ({problem.schema_path[-1]}).",
        )
        for problem in jsonschema_rs.validator_for(_FILE).iter_errors(entries)
    ]
    if errors:
        raise Invalid(errors)
    known = [
        one
        for one in await practices.listed(context.owner, limit=1_000_000)
        if one.state is not PracticeState.provisioning
    ]
    named = [_external_id(f"/{number}", entry, errors) for number, entry in enumerate(entries)]
    arrivals = [
        await _planned(context, f"/{number}", entry, external_id, known, errors)
        for number, (entry, external_id) in enumerate(zip(entries, named, strict=True))
    ]
    _named_once(entries, arrivals, errors)
    if errors:
        raise Invalid(errors)
    return arrivals


def _external_id(at: str, entry: dict[str, Any], errors: list[FieldError]) -> str | None:
    """Return a row's external id in its stored form; a number, as in most databases, becomes text."""
    if "externalId" not in entry:
        return None
    try:
        return read_external_id(str(entry["externalId"]))
    except ValueError as wrong:
        errors.append(FieldError(f"{at}/externalId", f"The external id {wrong}."))
        return None


def _named_once(entries: list[dict[str, Any]], arrivals: list[Arrival], errors: list[FieldError]) -> None:
    """Reject two rows of one practice, because nothing here shows which of them is right."""
    first: dict[str | int, int] = {}
    for number, (entry, arrival) in enumerate(zip(entries, arrivals, strict=True)):
        own = arrival.there.id if arrival.there else None
        names = [one for one in (own, arrival.external_id) if one is not None]
        before = next((first[one] for one in names if one in first), None)
        if before is not None:
            by = f"externalId {arrival.external_id!r}" if arrival.external_id else f"id {entry['id']}"
            errors.append(
                FieldError(f"/{number}", f"The row /{before} is about the same practice ({by}). Keep one of them.")
            )
        for one in names:
            first.setdefault(one, number)


async def _planned(
    context: Context,
    at: str,
    entry: dict[str, Any],
    external_id: str | None,
    known: list[PracticeEntry],
    errors: list[FieldError],
) -> Arrival:
    name, currency = entry.get("name", ""), entry.get("defaultCurrency", "")
    there = _there(at, entry, external_id, known, errors)
    if there is not None and currency and currency != there.default_currency:
        detail = f"Practice {there.id} has the default currency {there.default_currency}. Check externalId."
        errors.append(FieldError(f"{at}/defaultCurrency", detail))
    if there is None and "externalId" in entry and "id" not in entry:
        if not name:
            errors.append(FieldError(f"{at}/name", "No practice has this external id, and a new one needs a name."))
        if currency not in CURRENCIES:
            detail = (
                f"{currency} is not an ISO 4217 currency." if currency else "A new practice needs a default currency."
            )
            errors.append(FieldError(f"{at}/defaultCurrency", detail))
    country, time_zone = entry.get("country"), entry.get("timeZone")
    if country is not None and country not in COUNTRIES:
        errors.append(FieldError(f"{at}/country", f"{country} is not a country code of ISO 3166-1, such as KE."))
    if time_zone is not None and time_zone not in time_zones():
        errors.append(FieldError(f"{at}/timeZone", f"{time_zone} is not an IANA time zone, such as Africa/Lagos."))
    wishes = []
    for code, given in entry["paymentProviders"].items():
        try:
            wishes.append(await configuring.check_new(context, _wish(code, given)))
        except Invalid as wrong:
            errors += [FieldError(f"{at}/paymentProviders/{code}{e.pointer}", e.detail) for e in wrong.errors]
    return Arrival(name, currency, external_id, there, wishes, country, time_zone)


def _there(
    at: str, entry: dict[str, Any], external_id: str | None, known: list[PracticeEntry], errors: list[FieldError]
) -> PracticeEntry | None:
    """Return the practice of a row, by its external id or its id here; None if it must be created."""
    if "id" not in entry and "externalId" not in entry:
        detail = "Set externalId, your own identifier of the practice. A name is not enough."
        errors.append(FieldError(f"{at}/externalId", detail))
        return None
    by_external = next((one for one in known if external_id and one.external_id == external_id), None)
    if "id" not in entry:
        return by_external
    found = next((one for one in known if one.id == entry["id"]), None)
    if found is None:
        errors.append(FieldError(f"{at}/id", f"There is no practice {entry['id']}."))
    elif by_external is not None and by_external.id != found.id:
        detail = f"This external id belongs to practice {by_external.id}, not to {found.id}."
        errors.append(FieldError(f"{at}/externalId", detail))
    elif external_id and found.external_id not in (None, external_id):
        errors.append(FieldError(f"{at}/externalId", f"Practice {found.id} has another external id."))
    return found


def _wish(code: str, given: dict[str, Any]) -> configuring.Wish:
    secret, webhook, environment = given.get("secretKey"), given.get("webhookSecret"), given.get("environment")
    keys = credentials.Keys(
        given.get("publicKey"),
        Secret(secret) if secret else None,
        Secret(webhook) if webhook else None,
        given.get("config"),
    )
    return configuring.Wish(
        code,
        Environment(environment) if environment else None,
        keys,
        given.get("isEnabled"),
        given.get("isDefault"),
        given.get("supportedCurrencies"),
        given.get("priority"),
    )


async def bring(context: Context, arrival: Arrival, actor: str) -> Arrived:
    """Create the practice if it does not exist, and add the configurations that it lacks."""
    entry, key = arrival.there, None
    if entry is None:
        new = NewPractice(
            arrival.name,
            arrival.currency,
            country=arrival.country,
            time_zone=arrival.time_zone,
            external_id=arrival.external_id,
        )
        entry, first = await create_practice(context, new, actor)
        key = Secret(first)
    elif arrival.external_id and entry.external_id is None:
        await change_practice(context, entry.id, PracticeChanges(external_id=arrival.external_id), actor)
    practice = await context.practice(entry.id)
    held = {code for code, one in (await provider_configs.all_of(practice.db)).items() if one.removed_at is None}
    added = [wish for wish in arrival.wishes if wish.provider_code not in held]
    not_default = []
    for wish in added:
        if wish.is_default and await _has_default(practice, wish):
            wish = replace(wish, is_default=False)
            not_default.append(wish.provider_code)
        await configuring.configure(context, entry.id, wish, actor)
    kept = [wish.provider_code for wish in arrival.wishes if wish.provider_code in held]
    return Arrived(entry.id, entry.name, [wish.provider_code for wish in added], kept, not_default, key)


async def _has_default(practice: Practice, wish: configuring.Wish) -> bool:
    """Return whether any currency of the imported configuration has a default already, in that environment."""
    entry = (await practice.context.catalog()).get(wish.provider_code)
    supported = entry.supported_currencies if entry else []
    currencies = supported if wish.supported_currencies is None else wish.supported_currencies
    defaults = await provider_configs.defaults(practice.db)
    return any((wish.environment, currency) in defaults for currency in currencies)
