"""What the databases themselves reject, even if the application were wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from polytill.app import Polytill
from polytill.domain.errors import CheckRefused, Duplicate
from polytill.domain.ids import new_id
from polytill.domain.states import AttemptState, Environment, PaymentStatus
from polytill.storage import attempts, payments, provider_configs
from polytill.storage import catalog as catalog_rows
from polytill.storage.attempts import Attempt
from polytill.storage.catalog import CurrencySupport
from polytill.storage.databases import Database, PracticeDb
from polytill.storage.payments import Payment
from polytill.storage.provider_configs import Configuration, CredentialSet
from polytill.storage.units import Unit
from tests import calls
from tests.storage.making import plain, run


async def one_payment(till: Polytill) -> tuple[PracticeDb, Payment, Attempt]:
    """A practice with a configuration, and one payment of 1000 that captured 800 of 900 authorized."""
    entry, _ = await calls.create_practice(till, "Clinic", "NGN")
    practice = await till.context.practice(entry.id)
    now = till.context.world.now()
    configuration = Configuration(
        0,
        entry.id,
        "paystack",
        "Paystack",
        True,
        False,
        ["NGN"],
        0,
        "token-1",
        CredentialSet(Environment.sandbox, 1, "active"),
    )
    async with practice.db.transaction() as tx:
        config_id = await provider_configs.insert(tx, configuration, now)
    payment = Payment(
        new_id(till.context.world), entry.id, Environment.sandbox, PaymentStatus.processing, 1000, "NGN", None, "automatic",
        None, None, None, None, None, {"a": "b"}, None, False, "key-1", "hash", "test", None, now, now, "123456",
    )  # fmt: skip
    attempt = Attempt(
        new_id(till.context.world),
        payment.id,
        entry.id,
        Environment.sandbox,
        1,
        "paystack",
        config_id,
        1,
        AttemptState.sent,
        1000,
        "NGN",
        now,
        now,
    )
    unit = Unit()
    payments.insert(unit, payment)
    attempts.insert(unit, attempt)
    await practice.db.commit(unit)
    await run(practice.db, "UPDATE payments SET amount_authorized = 900, amount_captured = 800")
    found = await payments.by_id(practice.db, payment.id)
    assert found == replace(payment, amount_authorized=900, amount_captured=800)
    return practice.db, payment, attempt


async def refused(db: Database, sql: str) -> None:
    unit = Unit()
    unit.add(sql)
    with pytest.raises(CheckRefused):
        await db.commit(unit)


BROKEN = [
    "UPDATE payments SET amount_refunded = 801",
    "UPDATE payments SET refund_reserved = 801",
    "UPDATE payments SET amount_refunded = 500, refund_reserved = 301",
    "UPDATE payments SET amount_captured = 901",
    "UPDATE payments SET amount_authorized = 799",
    "UPDATE payments SET amount_refunded = -1",
    "UPDATE payments SET refund_reserved = -1",
    "UPDATE payments SET amount_lost = -1",
    "UPDATE payments SET duplicate_refunded = -1",
    "UPDATE payments SET amount = 0",
    "UPDATE payments SET amount = -5",
    "UPDATE payments SET status = 'refunded'",
    "UPDATE payments SET environment = 'live'",
    "UPDATE payments SET capture_mode = 'later'",
    "UPDATE payment_attempts SET state = 'paid'",
    "UPDATE payment_attempts SET environment = ''",
    "UPDATE practice_payment_providers SET environment = 'test'",
    "UPDATE identity SET id = 2",
]
ALLOWED = [
    "UPDATE payments SET amount_refunded = 800",
    "UPDATE payments SET amount_refunded = 400, refund_reserved = 400",
    "UPDATE payments SET amount_captured = 900",
    "UPDATE payments SET amount_lost = 5000, duplicate_refunded = 5000",  # a provider's facts are never rejected
]


async def test_checks(till: Polytill) -> None:
    db, payment, _ = await one_payment(till)
    before = await payments.by_id(db, payment.id)
    for sql in BROKEN:
        await refused(db, sql)
    assert await payments.by_id(db, payment.id) == before
    for sql in ALLOWED:
        await run(db, "UPDATE payments SET amount_refunded = 0, refund_reserved = 0")
        await run(db, sql)


async def test_checks_of_the_owner(till: Polytill) -> None:
    owner = till.context.owner
    for sql in (
        "UPDATE payment_providers SET status = 'gone'",
        "UPDATE payment_providers SET integration_type = 'magic'",
        "UPDATE provider_currency_support SET transaction_fee_percent = 1000001",
        "UPDATE provider_currency_support SET min_amount = -1",
        "INSERT INTO api_keys (kind, key_hash, last4) VALUES ('practice', 'h', 'l')",
        "INSERT INTO users (email, role) VALUES ('a@example.com', 'god')",
    ):
        await refused(owner, sql)


async def test_uniques(till: Polytill) -> None:
    db, payment, attempt = await one_payment(till)
    now = till.context.world.now()
    unit = Unit()
    payments.insert(unit, replace(payment, id=new_id(till.context.world), number="1"))
    with pytest.raises(Duplicate) as caught:
        await db.commit(unit)
    assert "idempotency_key" in caught.value.constraint
    for table, columns in (
        ("payment_attempts", "id = 'x'"),
        ("practice_payment_providers", "id = 999, hook_token = 'other'"),
        ("practice_payment_providers", "id = 999, provider_code = 'other'"),
    ):
        names = [row[0] for row in await _columns(db, table)]
        changed = dict(part.split(" = ") for part in columns.split(", "))
        chosen = ", ".join(changed.get(name, name) for name in names)
        unit = Unit()
        unit.add(f"INSERT INTO {table} ({', '.join(names)}) SELECT {chosen} FROM {table}")
        with pytest.raises(Duplicate):
            await db.commit(unit)
    unit = Unit()
    catalog_rows.put_currency(unit, 1, CurrencySupport("NGN"), now)
    await till.context.owner.commit(unit)
    assert await plain(
        till.context.owner,
        "SELECT COUNT(*) FROM provider_currency_support WHERE provider_id = 1 AND currency_code = 'NGN'",
    ) == [(1,)]
    assert attempt.number == 1


async def _columns(db: PracticeDb, table: str) -> list[tuple[str]]:
    if db.engine.dialect == "sqlite":
        return [(row[0],) for row in await plain(db, f"SELECT name FROM pragma_table_info('{table}')")]
    return [
        (row[0],)
        for row in await plain(
            db, "SELECT column_name::text FROM information_schema.columns WHERE table_name = $1", table
        )
    ]


async def test_a_currency_has_one_default(till: Polytill) -> None:
    db, _, attempt = await one_payment(till)
    for _ in range(2):
        unit = Unit()
        provider_configs.set_default(unit, db.practice_id, Environment.sandbox, "NGN", attempt.config_id)
        await db.commit(unit)
    assert await provider_configs.defaults(db) == {(Environment.sandbox, "NGN"): attempt.config_id}
    unit = Unit()
    unit.add(
        "INSERT INTO currency_defaults (practice_id, environment, currency_code, config_id)"
        " SELECT practice_id, environment, currency_code, config_id FROM currency_defaults"
    )
    with pytest.raises(Duplicate):
        await db.commit(unit)


async def test_rows_of_another_practice_are_refused(till: Polytill) -> None:
    db, payment, _ = await one_payment(till)
    unit = Unit()
    payments.insert(unit, replace(payment, id=new_id(till.context.world), practice_id=999, idempotency_key="key-2"))
    with pytest.raises(Exception, match=r"(?i)foreign key"):
        await db.commit(unit)
