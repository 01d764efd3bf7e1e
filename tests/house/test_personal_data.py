"""Every column of both databases is declared in ``storage/personal_data.py``, and every one of a customer's is erased."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from polytill.domain.personal_data import Holds
from polytill.storage import schema
from polytill.storage.erasing import ERASES, OTHERWISE
from polytill.storage.personal_data import OWNER, PRACTICE, Columns

DATABASES = {"owner": (schema.owner, OWNER), "practice": (schema.practice, PRACTICE)}
OF_A_CUSTOMER = (Holds.customer, Holds.document)


def mistakes(metadata: sa.MetaData, declared: dict[str, Columns]) -> list[str]:
    """A sentence for each column without a declaration, each declaration without a column, and each that is declared
    twice."""
    found = []
    for name, table in metadata.tables.items():
        columns = declared.get(name, Columns())
        written = [one for kind in Holds for one in getattr(columns, kind).split()]
        own = {column.name for column in table.columns}
        found += [f"{name}.{one}: say in storage/personal_data.py what it holds." for one in sorted(own - set(written))]
        found += [f"{name}.{one} is declared, and does not exist." for one in sorted(set(written) - own)]
        found += [f"{name}.{one} is declared twice." for one in sorted(set(written)) if written.count(one) > 1]
    return [*found, *(f"{name} is declared, and does not exist." for name in sorted(declared.keys() - metadata.tables))]


@pytest.mark.parametrize("name", DATABASES)
def test_every_column_is_declared(name: str) -> None:
    assert mistakes(*DATABASES[name]) == []


@pytest.mark.parametrize("name", DATABASES)
def test_every_column_of_a_customer_is_erased(name: str) -> None:
    declared = {
        f"{name}.{table}.{column}"
        for table, columns in DATABASES[name][1].items()
        for column, holds in columns.holds().items()
        if holds in OF_A_CUSTOMER
    }
    known = {one for one in (*ERASES, *OTHERWISE) if one.startswith(f"{name}.")}
    assert sorted(declared - known) == [], "storage/erasing.py does not erase them"
    assert sorted(known - declared) == [], "storage/personal_data.py says that no customer's data are there"


def test_an_undeclared_column_is_found() -> None:
    planted = sa.MetaData()
    sa.Table("payments", planted, sa.Column("id", sa.Text), sa.Column("birthday", sa.Text))
    assert mistakes(planted, {"payments": Columns("id"), "gone": Columns()}) == [
        "payments.birthday: say in storage/personal_data.py what it holds.",
        "gone is declared, and does not exist.",
    ]
    assert mistakes(planted, {"payments": Columns("id birthday", customer="birthday name")}) == [
        "payments.name is declared, and does not exist.",
        "payments.birthday is declared twice.",
    ]
