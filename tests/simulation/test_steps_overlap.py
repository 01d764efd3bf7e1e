"""In the unit of every flow of the world, a second write of a row is planted. The guard rejects each of them."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest
import sqlalchemy as sa
from simulation.ground import Ground
from simulation.history import run_history

from polytill.storage.row_writes import StepsOverlapError
from polytill.storage.schema import owner, practice
from polytill.storage.units import Step, Unit

TABLES = {**owner.tables, **practice.tables}
WRITES = re.compile(r"(INSERT INTO|UPDATE|DELETE FROM) (\w+)(?: \(([\w, ]+)\))?")
HISTORIES = 25
WRITTEN = {
    "payments",
    "payment_attempts",
    "payment_identifiers",
    "payment_search",
    "payment_operations",
    "refunds",
    "disputes",
    "ledger_lines",
    "webhook_events",
    "operator_cases",
    "events",
    "audit_log",
    "listing_cursors",
    "practice_leases",
}


def _keys(table: sa.Table) -> list[list[str]]:
    """The primary key and all other unique keys, by their columns."""
    found = [one for one in table.constraints if isinstance(one, sa.PrimaryKeyConstraint | sa.UniqueConstraint)]
    keys = [[column.name for column in one.columns] for one in found]
    return keys + [[column.name for column in one.columns] for one in table.indexes if one.unique]


def _second_writes(step: Step) -> list[tuple[str, str, tuple[Any, ...]]]:
    """Other writes of the rows of a step: the key, the statement, its arguments."""
    match = WRITES.match(step.sql)
    if match is None:
        return []
    verb, name, names = match.groups()
    found: list[tuple[str, str, tuple[Any, ...]]] = [("all", f"DELETE FROM {name}", ())]
    if verb != "INSERT INTO":
        return [*found, ("again", step.sql, step.args)]
    table = TABLES[name]
    # A row of a multi-row INSERT has other parameter numbers; its first row has these.
    values = dict(zip(names.split(", "), re.findall(r"\$\d+|'\w*'|\d+", step.sql[match.end() :]), strict=False))
    plain = re.match(r" (VALUES \(|SELECT )[\w$, ']*(\)|$| WHERE NOT EXISTS| ON CONFLICT)", step.sql[match.end() :])
    for key in _keys(table):
        if not plain or not all(values.get(column, "").startswith("$") for column in key):
            continue
        where = " AND ".join(f"{column} = ${number}" for number, column in enumerate(key, 1))
        args = tuple(step.args[int(values[column][1:]) - 1] for column in key)
        other = next(column.name for column in table.columns if column.name not in key)
        how = "primary key" if key == [column.name for column in table.primary_key.columns] else "unique key"
        found.append((how, f"DELETE FROM {name} WHERE {where}", args))
        found.append((how, f"UPDATE {name} SET {other} = NULL WHERE {where}", args))
    return found


def test_a_second_write_is_rejected_in_every_flow(laid: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    planted: Counter[str] = Counter()
    missed: list[str] = []
    take = Unit.take

    def planting(unit: Unit) -> list[Step]:
        for step in list(unit.steps):
            for how, sql, args in _second_writes(step):
                planted[how] += 1
                planted[WRITES.match(sql).group(2)] += 1  # type: ignore[union-attr]
                try:
                    unit.add(sql, *args)
                    missed.append(f"{step.sql}\n  then {sql}")
                    unit.steps.pop()
                except StepsOverlapError:
                    pass
        return take(unit)

    monkeypatch.setattr(Unit, "take", planting)
    for seed in range(81_000_000, 81_000_000 + HISTORIES):
        assert not run_history(laid, seed).problems
    assert not missed, "\n".join(sorted(set(missed)))
    assert planted.keys() >= {"all", "again", "primary key", "unique key", *WRITTEN}
