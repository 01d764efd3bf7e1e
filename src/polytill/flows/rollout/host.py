"""The host application's field, as the rollout reads and writes it."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from polytill.domain.errors import Conflict, OperatorError
from polytill.domain.secret import Secret
from polytill.flows.context import Context
from polytill.flows.legacy import shapes
from polytill.flows.legacy.hooks import cipher_of
from polytill.flows.legacy.mapping_file import read_mapping
from polytill.flows.legacy.model import LegacyField
from polytill.flows.legacy.plan import handlers_of
from polytill.flows.rollout.field import Reading
from polytill.settings import Settings
from polytill.storage.catalog import ProviderEntry
from polytill.storage.host_columns import external_id_of
from polytill.storage.host_field import HostSource, SqliteSource, Table, database_source

IDS_KEPT_S = 10.0
PAGE = 200


@dataclass(frozen=True, slots=True)
class FieldRow:
    """A row of the host's table. ``value`` is the field as the database returns it. ``external_id`` None: the row's
    identifier cannot be one, so the row is no practice's."""

    external_id: str | None
    value: Any = field(repr=False)  # it holds keys


class Host(Protocol):
    """The host's table with the field. Each call may raise ``NotNow`` while its database is unavailable."""

    @property
    def place(self) -> str:
        """The table and the column, for people."""
        ...

    async def read(self, external_id: str) -> FieldRow | None:
        """One practice's row; None if the table has none."""
        ...

    async def write(self, row: FieldRow, value: Any) -> bool:
        """Replace the field, only if it is still the one of ``row``. False if somebody else has changed it."""
        ...

    def pages(self) -> AsyncIterator[list[FieldRow]]:
        """All rows, a page at a time."""
        ...

    async def filled(self) -> int:
        """How many rows of the table hold something in the field, also rows that are no practice's."""
        ...

    async def drop_column(self) -> int:
        """Drop the column with the field, and return 0. If rows hold something in it, return their number, and drop
        nothing."""
        ...


def _two_rows(external_id: str) -> Conflict:
    return Conflict(f"Two rows of the host's table have the external id {external_id!r}.", code="two_host_rows")


class HostTable:
    """The host's table in its own database."""

    def __init__(self, context: Context, source: HostSource, table: Table) -> None:
        self._context = context
        self._source = source
        self._table = table
        self._ids: dict[str, Any] = {}
        self._twice: frozenset[str] = frozenset()
        self._read_at_s = float("-inf")

    @property
    def place(self) -> str:
        """See ``Host``."""
        schema = f"{self._table.schema}." if self._table.schema else ""
        return f"{schema}{self._table.name}.{self._table.columns.get('paymentProviders', 'paymentProviders')}"

    async def read(self, external_id: str) -> FieldRow | None:
        """See ``Host``. ``Conflict`` if two rows have the external id.

        Only a row with exactly this external id counts: the host's column may take others for the same (``NOCASE``).
        """
        is_usable = external_id in self._ids and external_id not in self._twice
        if not is_usable and self._context.world.elapsed_s() - self._read_at_s > IDS_KEPT_S:
            await self._learn()
        if external_id in self._twice:
            raise _two_rows(external_id)
        if external_id not in self._ids:
            return None
        found = [row async for row in self._source.rows([self._ids[external_id]]) if row.external_id == external_id]
        if len(found) > 1:  # the second one was added since the identifiers were read
            raise _two_rows(external_id)
        return FieldRow(external_id, found[0].values["paymentProviders"]) if found else None

    async def _learn(self) -> list[Any]:
        ids = await self._source.ids()
        named = [(external_id_of(one), one) for one in ids]
        counts = Counter(name for name, _ in named)
        self._ids = {name: one for name, one in named if name is not None}
        self._twice = frozenset(name for name, count in counts.items() if count > 1 and name is not None)
        self._read_at_s = self._context.world.elapsed_s()
        return ids

    async def write(self, row: FieldRow, value: Any) -> bool:
        """See ``Host``."""
        if row.external_id is None:
            return False
        return await self._source.write_field(row.external_id, row.value, value)

    async def pages(self) -> AsyncIterator[list[FieldRow]]:
        """See ``Host``."""
        page = []
        async for row in self._source.rows(await self._learn()):
            page.append(FieldRow(row.external_id, row.values["paymentProviders"]))
            if len(page) == PAGE:
                yield page
                page = []
        if page:
            yield page

    async def filled(self) -> int:
        """See ``Host``."""
        return await self._source.filled()

    async def drop_column(self) -> int:
        """See ``Host``."""
        return await self._source.drop_column()


@dataclass(slots=True)
class HostField:
    """The host's table (None: its database cannot be reached from here), and how to read its fields."""

    host: Host | None = None
    blank: str | None = None  # what an emptied field holds: NULL, or {}
    content: bytes = b"{}"  # the mapping file
    _reading: Reading | None = None

    async def reading(self, context: Context) -> Reading:
        """How to read a field, with the catalog as it is now."""
        catalog = await context.catalog()
        if self._reading is None or self._reading.catalog is not catalog:
            setup = read_mapping(self.content, await handlers_of(context))
            cipher = cipher_of(setup, context.settings.decrypt_hooks)
            self._reading = Reading(setup.mapping, catalog, cipher, self._digest(catalog))
        return self._reading

    def _digest(self, catalog: Mapping[str, ProviderEntry]) -> str:
        digest = hashlib.sha256(self.content)
        for code, entry in sorted(catalog.items()):
            needed = (entry.requires_public_key, entry.requires_secret_key, entry.requires_webhook_secret)
            digest.update(repr((code, sorted(entry.supported_currencies), needed, entry.config_schema)).encode())
        return digest.hexdigest()[:16]


async def connect(context: Context) -> None:
    """Use the host's table that the settings name, if they name one. ``OperatorError`` if the mapping cannot be read."""
    settings: Settings = context.settings
    path, url = settings.host_mapping, settings.host_database_url.get_secret_value()
    content = b"{}"
    if path is not None:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise OperatorError(f"POLYTILL_HOST_MAPPING: {path} cannot be read ({error.strerror}).") from None
    blank = None if settings.host_blank == "null" else settings.host_blank
    found = HostField(None, blank, content)
    if url:
        table = read_mapping(content, await handlers_of(context)).table
        source = database_source(Secret(url), table)
        if isinstance(source, SqliteSource):
            source.recovers = True  # a rollout writes into this file anyway
        found.host = HostTable(context, source, table)
    context.host_field = found


def of(context: Context) -> HostField:
    """The host's field of this installation."""
    found: HostField | None = context.host_field
    if found is None:
        context.host_field = found = HostField()
    return found


async def reading_of(context: Context) -> Reading:
    """How to read a field in this installation."""
    return await of(context).reading(context)


async def read_field(value: Any, reading: Reading) -> LegacyField:
    """Read a field. In a thread if keys are encrypted: the host's hook may run a command."""
    if reading.cipher is None:
        return shapes.read(value, reading.mapping)
    return await asyncio.to_thread(shapes.read, value, reading.mapping, reading.cipher)


async def written_field(value: Any, wanted: LegacyField, reading: Reading) -> Any:
    """A field with polytill's configurations in it. ``Unwritable`` if it has no place for them."""
    if reading.cipher is None:
        return shapes.write(value, wanted, reading.mapping)
    return await asyncio.to_thread(shapes.write, value, wanted, reading.mapping, reading.cipher)
