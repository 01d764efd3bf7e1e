"""The columns of the host's table: which one holds what."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from polytill.domain.errors import OperatorError
from polytill.domain.external_ids import read_external_id

# What a row has, and the names that its column may have, compared in lower case without separators.
COLUMNS: dict[str, tuple[str, ...]] = {
    "externalId": ("externalid", "practiceid", "tenantid", "id", "uuid"),
    "paymentProviders": ("paymentproviders", "providers", "paymentconfig"),
    "name": ("name", "practicename", "title"),
    "defaultCurrency": ("defaultcurrency", "currency", "currencycode", "defaultcurrencycode"),
    "country": ("country", "countrycode"),
    "timeZone": ("timezone", "tz"),
}


NEEDED = ("externalId", "paymentProviders")


class HostError(OperatorError):
    """The host application's data cannot be read."""

    code = "host_data"


def external_id_of(value: Any) -> str | None:
    """A host's identifier as an external id; None if it cannot be one. A number becomes text."""
    if value is None or isinstance(value, bool | bytes | float | dict | list):
        return None
    try:
        return read_external_id(str(value))
    except ValueError:
        return None


def quoted(name: str) -> str:
    """An identifier in quotation marks, with every character allowed in it except NUL."""
    if not name or "\x00" in name:
        raise HostError("The name of a table or column is empty, or contains NUL.")
    return '"' + name.replace('"', '""') + '"'


def chosen(there: Sequence[str], given: Mapping[str, str], what: str) -> dict[str, str]:
    """Which column of ``there`` holds which value. ``HostError`` names a column that is missing."""
    found: dict[str, str] = {}
    for value, names in COLUMNS.items():
        if value in given:
            matches = [one for one in there if one == given[value]]
            matches = matches or [one for one in there if one.casefold() == given[value].casefold()]
            if not matches:
                raise HostError(f"{what} has no column {given[value]!r}. It has: {', '.join(there)}.")
            found[value] = matches[0]
            continue
        by_form = {re.sub(r"[^a-z0-9]", "", one.casefold()): one for one in reversed(there)}
        if (first := next((name for name in names if name in by_form), None)) is not None:
            found[value] = by_form[first]
    for value in NEEDED:
        if value not in found:
            detail = f"{what} has no column for {value}. Name it in the mapping (source.columns)."
            raise HostError(f"{detail} It has: {', '.join(there) or 'no columns'}.")
    return found
