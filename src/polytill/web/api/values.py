"""The types of single values in requests: words, codes, amounts, addresses. The error of each states what is allowed."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import AfterValidator, BeforeValidator, Field, StrictInt, StrictStr, TypeAdapter
from pydantic_core import PydanticCustomError

from polytill.domain.currencies import CURRENCIES
from polytill.domain.external_ids import read_external_id
from polytill.domain.localities import COUNTRIES, time_zones
from polytill.domain.money import MAX_MINOR
from polytill.domain.text import is_blank
from polytill.providers.http import origin_of

_control = re.compile("[\\x00-\\x1f\\x7f\\ud800-\\udfff]").search
_space = re.compile(r"[\s\\]").search


def no_control(value: str) -> str:
    """A string without control characters and lone surrogates."""
    if _control(value):
        raise PydanticCustomError("polytill_control", "must not contain control characters")
    return value


def _not_blank(value: str) -> str:
    if is_blank(value):
        raise PydanticCustomError("polytill_blank", "must not be blank")
    return value


def _is_currency(value: str) -> str:
    if value not in CURRENCIES:
        hint = " Codes are upper case." if value.upper() in CURRENCIES else ""
        raise PydanticCustomError("polytill_currency", "not an ISO 4217 currency code.{hint}", {"hint": hint})
    return value


def _is_country(value: str) -> str:
    if value not in COUNTRIES:
        hint = " Codes are upper case." if value.upper() in COUNTRIES else ""
        raise ValueError(f"not a country code of ISO 3166-1, such as KE.{hint}")
    return value


def _is_time_zone(value: str) -> str:
    if value not in time_zones():
        raise ValueError("not an IANA time zone, such as Africa/Lagos")
    return value


_a_day = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}").fullmatch
_moment = TypeAdapter(datetime)


def _day_or_moment(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return date.fromisoformat(value) if _a_day(value) else _moment.validate_python(value)


def _is_web_address(value: str) -> str:
    if origin_of(value) is None or _space(value):
        raise PydanticCustomError("polytill_url", "must be an http or https address")
    return value


def _plain_json(value: dict[str, Any]) -> dict[str, Any]:
    # NUL is valid JSON, but no database stores it.
    waiting: list[Any] = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            waiting += [*item, *item.values()]
        elif isinstance(item, list):
            waiting += item
        elif isinstance(item, str) and "\x00" in item:
            raise ValueError("must not contain control characters")
    return value


Text = Annotated[StrictStr, Field(min_length=1, max_length=500), AfterValidator(no_control), AfterValidator(_not_blank)]
Word = Annotated[StrictStr, Field(min_length=1, max_length=200), AfterValidator(no_control), AfterValidator(_not_blank)]
ExternalId = Annotated[StrictStr, Field(min_length=1, max_length=200), AfterValidator(read_external_id)]
Typed = Annotated[StrictStr, Field(min_length=1, max_length=100), AfterValidator(no_control)]
Code = Annotated[StrictStr, Field(pattern=r"^[a-z][a-z0-9_]{1,39}$")]
Currency = Annotated[StrictStr, Field(min_length=3, max_length=3), AfterValidator(_is_currency)]
Country = Annotated[StrictStr, Field(min_length=2, max_length=2), AfterValidator(_is_country)]
TimeZone = Annotated[StrictStr, Field(min_length=1, max_length=64), AfterValidator(_is_time_zone)]
DayOrMoment = Annotated[
    datetime | date,
    BeforeValidator(_day_or_moment),
    Field(description="A time (RFC 3339), or a day of the practice's calendar (YYYY-MM-DD)"),
]
Amount = Annotated[StrictInt, Field(gt=0, le=MAX_MINOR, description="Integer minor units of the currency")]
Bound = Annotated[StrictInt, Field(ge=0, le=MAX_MINOR, description="Integer minor units of the currency")]
Url = Annotated[StrictStr, Field(max_length=2000), AfterValidator(no_control), AfterValidator(_is_web_address)]
KeyText = Annotated[StrictStr, Field(min_length=1, max_length=500), AfterValidator(no_control)]
JsonObject = Annotated[dict[str, Any], AfterValidator(_plain_json)]
Priority = Annotated[StrictInt, Field(ge=-1_000_000, le=1_000_000)]

# Values of addresses and queries.
ProviderCode = Annotated[str, Path(alias="code", max_length=40)]
CurrencyCode = Annotated[Currency, Path(alias="currency")]
After = Annotated[int, Query(ge=0, le=2**31 - 1)]
Before = Annotated[int | None, Query(ge=1, le=2**53)]
BeforeId = Annotated[str | None, Query(pattern=r"^[0-9a-z]{26}$")]
Limit = Annotated[int, Query(ge=1, le=500)]
PageLimit = Annotated[int, Query(ge=1, le=200)]
