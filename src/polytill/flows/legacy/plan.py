"""What an import would do with each practice of a host application, and what holds it up. Nothing is written here."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from typing import Any

from polytill.domain.currencies import CURRENCIES
from polytill.domain.legacy_findings import LegacyFinding
from polytill.domain.localities import COUNTRIES, time_zones
from polytill.domain.names import read_name
from polytill.domain.states import PracticeState
from polytill.flows.context import Context
from polytill.flows.handlers import handler_or_reason
from polytill.flows.legacy.files import UNREADABLE
from polytill.flows.legacy.mapping_file import Setup
from polytill.flows.legacy.model import Cipher, Found, LegacyField
from polytill.flows.legacy.plan_providers import ProviderPlans
from polytill.flows.legacy.planned import PlannedPractice
from polytill.flows.legacy.shapes import read
from polytill.providers.contract import Handler
from polytill.storage import practices
from polytill.storage.host_columns import external_id_of
from polytill.storage.host_field import HostRow, HostSource

_FIELD = "/paymentProviders"
PLANNED_AT_ONCE = 16  # while keys are tested, because that is waiting for providers


async def handlers_of(context: Context) -> dict[str, type[Handler]]:
    """The handlers of the catalog's providers by code: what a field can mean."""
    found = {}
    for code, entry in (await context.catalog()).items():
        handler, _ = handler_or_reason(context, entry)
        if handler is not None:
            found[code] = handler
    return found


class Plan:
    """The plan of one import. ``total``: the number of rows, after ``begin``."""

    def __init__(
        self, context: Context, source: HostSource, setup: Setup, cipher: Cipher | None, checks_keys: bool = False
    ) -> None:
        self._context = context
        self._source = source
        self._setup = setup
        self._cipher = cipher
        self._at_once = PLANNED_AT_ONCE if checks_keys else 1
        self._providers = ProviderPlans(context, setup.mapping, checks_keys)
        self._ids: list[Any] = []
        self._counts: Counter[str] = Counter()
        self.total = 0

    async def begin(self) -> None:
        """Read all identifiers, so that duplicates are known. An unreadable source fails here, before anything else."""
        self._ids = await self._source.ids()
        self._counts = Counter(one for each in self._ids if (one := external_id_of(each)) is not None)
        self.total = len(self._ids)

    async def practices(self) -> AsyncIterator[PlannedPractice]:
        """The plan of each row, in the order of the source."""
        without = sum(one is None for one in self._ids)
        waiting: deque[asyncio.Task[PlannedPractice]] = deque()
        try:
            async for row in self._source.rows(list(dict.fromkeys(self._ids))):
                without -= row.values.get("externalId") is None
                waiting.append(asyncio.create_task(self.practice(row)))
                if len(waiting) >= self._at_once:
                    yield await waiting.popleft()
            while waiting:
                yield await waiting.popleft()
        finally:  # an error of one, or nobody wants the others any more
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        if without:
            rest = PlannedPractice(f"{without} rows")
            rest.say(LegacyFinding.external_id_missing, "/externalId", f"{without} rows have no external id.")
            yield rest

    async def practice(self, row: HostRow) -> PlannedPractice:
        """The plan of one row."""
        planned = PlannedPractice(row.place, row.external_id)
        if (why := row.values.get(UNREADABLE)) is not None:
            planned.say(LegacyFinding.row_not_readable, "", f"The row cannot be read: {why}.")
            return planned
        self._check_id(planned, row)
        if planned.external_id is not None:
            found = await practices.by_external_id(self._context.owner, planned.external_id)
            # One that is half-made was left by an import that died. It is made again.
            planned.existing = found if found is not None and found.state is not PracticeState.provisioning else None
        self._check_settings(planned, row)
        await self._providers.add(planned, await self._field(row.values.get("paymentProviders")))
        return planned

    async def _field(self, value: Any) -> LegacyField:
        mapping = self._setup.mapping
        if self._cipher is None:
            found = read(value, mapping)
        else:  # a hook may run a command
            found = await asyncio.to_thread(read, value, mapping, self._cipher)
        moved = [Found(one.type, _FIELD + one.pointer, one.detail) for one in found.findings]
        return LegacyField(found.sets, found.active, tuple(moved))

    def _check_id(self, planned: PlannedPractice, row: HostRow) -> None:
        given = row.values.get("externalId")
        if given is None or given == "":
            planned.say(LegacyFinding.external_id_missing, "/externalId", "The row has no external id.")
        elif planned.external_id is None:
            detail = "The external id must be a text or an integer of 1 to 200 visible characters."
            planned.say(LegacyFinding.external_id_not_valid, "/externalId", detail)
        elif self._counts[planned.external_id] > 1:
            detail = f"{self._counts[planned.external_id]} rows have this external id."
            planned.say(LegacyFinding.external_id_twice, "/externalId", detail)

    def _value(self, row: HostRow, name: str) -> str:
        value = row.values.get(name)
        return (value.strip() if isinstance(value, str) else "") or self._setup.row.get(name, "")

    def _check_settings(self, planned: PlannedPractice, row: HostRow) -> None:
        currency = self._value(row, "defaultCurrency").upper()
        country, zone = self._value(row, "country").upper(), self._value(row, "timeZone")
        here = planned.existing
        if here is not None:
            planned.name, planned.currency = here.name, here.default_currency
            given = str(row.values.get("defaultCurrency") or "").strip().upper()
            if given and given != here.default_currency:
                detail = f"Practice {here.id} has the default currency {here.default_currency} here."
                planned.say(LegacyFinding.practice_currency_differs, "/defaultCurrency", detail)
            return
        try:
            planned.name = read_name(str(row.values.get("name") or ""))
        except ValueError as error:
            planned.say(LegacyFinding.name_not_valid, "/name", f"The name {error}.")
        if currency not in CURRENCIES:
            detail = "A new practice needs a default currency of ISO 4217. Set defaults.defaultCurrency in the mapping."
            planned.say(LegacyFinding.practice_currency_not_valid, "/defaultCurrency", detail)
        if country and country not in COUNTRIES:
            detail = "This is not a country code of ISO 3166-1, such as KE."
            planned.say(LegacyFinding.country_not_valid, "/country", detail)
        if zone and zone not in time_zones():
            detail = "This is not an IANA time zone, such as Africa/Lagos."
            planned.say(LegacyFinding.time_zone_not_valid, "/timeZone", detail)
        planned.currency, planned.country, planned.time_zone = currency, country or None, zone or None
