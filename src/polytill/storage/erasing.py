"""Erasing one customer's personal data, row by row: what each column becomes.

Amounts, currencies, times, states, ids of providers, the ledger and the books are never written here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from polytill.domain.identifiers import IdentifierKind
from polytill.domain.personal_data import (
    ERASED,
    Digest,
    Gone,
    Named,
    WhyKept,
    keyed,
    named_by,
    named_in,
    placeholder,
    redacted,
)
from polytill.domain.search import SIGNATURE_PARTS, signature
from polytill.domain.states import ATTEMPT_CLOSED, ATTEMPT_WON, OPERATION_OPEN, REFUND_RESERVES, AttemptState
from polytill.storage import payment_search
from polytill.storage.databases import PracticeDb, Reads, Tx
from polytill.storage.payments import PAYMENTS, Payment
from polytill.storage.units import json_text, json_value

PAGE = 1000
_GONE = json_text(placeholder(Gone.erased))
IS_THERE = "{0} IS NOT NULL AND CAST({0} AS TEXT) NOT LIKE '{{\"removed\":%'"
_LAST4 = IdentifierKind.card_last4.value


@dataclass(frozen=True, slots=True)
class Plain:
    """What one table's columns become, the same in every row. ``of``: SQL, the rows of payment ``$1``.

    Args:
        table: Its name.
        of: The rows.
        nulls: Columns that become empty.
        gone: Documents that are replaced by a placeholder.
        texts: SQL by column, for those that must not be empty, or keep a part.
    """

    table: str
    of: str
    nulls: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    texts: tuple[tuple[str, str], ...] = ()

    def sql(self) -> str:
        """The statement. It affects only rows that have anything to erase."""
        sets = [f"{one} = NULL" for one in self.nulls]
        sets += [f"{one} = CASE WHEN {one} IS NULL THEN {one} ELSE '{_GONE}' END" for one in self.gone]
        sets += [f"{one} = {value}" for one, value in self.texts]
        left = [f"{one} IS NOT NULL" for one in self.nulls]
        left += [f"({IS_THERE.format(one)})" for one in self.gone]
        left += [f"{one} <> {value}" for one, value in self.texts]
        return f"UPDATE {self.table} SET {', '.join(sets)} WHERE {self.of} AND ({' OR '.join(left)}) RETURNING id"  # noqa: S608

    def columns(self) -> tuple[str, ...]:
        """The columns that it erases."""
        return (*self.nulls, *self.gone, *(one for one, _ in self.texts))


_PAYMENT = "payment_id = $1"
_METHODS = "id IN (SELECT id FROM saved_methods WHERE payment_id = $1)"
_UNREADABLE = "CASE WHEN reason LIKE 'unreadable:%' THEN 'unreadable' ELSE reason END"
_WEBHOOK_OPEN = ("received", "parked", "relaying")
WEBHOOK_ENDED = f"state NOT IN {_WEBHOOK_OPEN}"
Changed = dict[str, set[Any]]  # by table, the keys of the rows that changed
IsMeant = Callable[[Named], bool]
_PLAIN = (
    Plain("payment_attempts", _PAYMENT, nulls=("detail", "next_action")),
    Plain("payment_operations", _PAYMENT, nulls=("detail",)),
    Plain("refunds", _PAYMENT, nulls=("reason", "detail"), gone=("provider_response",)),
    Plain("disputes", _PAYMENT, nulls=("provider_reason",)),
    Plain(
        "saved_methods",
        f"{_PAYMENT} AND removed_at IS NOT NULL",
        nulls=("customer_email", "customer_key", "brand", "last4", "expires", "fingerprint", "provider_customer_id"),
        texts=(("same_card", "id"),),
    ),
    Plain("saved_method_detachments", f"{_METHODS} AND state <> 'due'", nulls=("provider_customer_id", "sealed_token")),
    Plain(
        "webhook_events",
        f"{_PAYMENT} AND {WEBHOOK_ENDED}",
        nulls=("dismissed_note",),
        gone=("body",),
        texts=(("reason", _UNREADABLE),),
    ),
    Plain("staff_decisions", _PAYMENT, texts=(("note", f"'{ERASED}'"),)),
    Plain(
        "payment_links",
        "single_use AND id IN (SELECT link_id FROM payment_link_payments WHERE payment_id = $1)",
        nulls=("reference",),
        texts=(("description", f"'{ERASED}'"),),
    ),
)


@dataclass(frozen=True, slots=True)
class Documents:
    """Documents of our own, which keep everything but texts that may quote a customer."""

    table: str
    column: str
    of: str


_ABOUT = (
    "subject = $1 OR subject IN (SELECT id FROM operator_cases WHERE payment_id = $1)"
    " OR subject IN (SELECT id FROM saved_methods WHERE payment_id = $1)"
    " OR subject IN (SELECT link_id FROM payment_link_payments WHERE payment_id = $1)"
)
_DOCUMENTS = (
    Documents("operator_cases", "detail", _PAYMENT),
    Documents("events", "data", _PAYMENT),
    Documents("audit_log", "detail", _ABOUT),
)
_OF_PAYMENT = (
    "customer_email", "customer_name", "customer_phone", "description", "reference", "return_url", "provider_response",
    "metadata", "method_details", "fingerprint",
)  # fmt: skip
_SEARCH = ("email", "reference", "body")
_PARTS = tuple(f"part{number}" for number in range(SIGNATURE_PARTS))
_OWNERS = ("event_feed.data", "payment_records.sealed", "rollout_decisions.reference", "rollout_differences.reference")
# What this module and ``erasing_owner.py`` erase, as ``database.table.column``.
ERASES = frozenset(
    [
        *(f"practice.{plain.table}.{column}" for plain in _PLAIN for column in plain.columns()),
        *(f"practice.{one.table}.{one.column}" for one in _DOCUMENTS),
        *(f"practice.payments.{column}" for column in _OF_PAYMENT),
        *(f"practice.payment_search.{column}" for column in _SEARCH),
        *(f"practice.payment_search_blocks.{column}" for column in _PARTS),
        *(
            "practice.payment_identifiers.value",
            "practice.payment_identifiers.search_key",
            "practice.refunds.fingerprint",
        ),
        *(f"owner.{one}" for one in _OWNERS),
    ]
)
# What is erased by something else.
OTHERWISE = {
    "practice.saved_methods.sealed_token": "removing the method deletes it, before its customer is erased",
    "practice.webhook_relays.sealed_request": "the end of the relay deletes it",
}


# ── Which rows ──


async def payments_naming(
    db: PracticeDb, is_meant: IsMeant, recorded_until: datetime, erasure: str
) -> AsyncIterator[str]:
    """The ids of payments whose customer is meant, or was by this erasure, oldest first. Reads all payments."""
    after = ""
    while rows := await db.fetch(
        "SELECT id, currency, customer_email, customer_phone, reference, method_details, erasure FROM payments"
        " WHERE id > $1 AND created_at <= $2 ORDER BY id LIMIT $3",
        after,
        recorded_until,
        PAGE,
    ):
        for row in rows:
            details: dict[str, str] = json_value(row["method_details"]) or {}
            named = [
                *named_by(row["customer_email"], row["customer_phone"], row["reference"], row["currency"]),
                *named_by(details.get("email"), details.get("phone"), None, row["currency"]),
            ]
            if row["erasure"] == erasure or any(map(is_meant, named)):
                yield row["id"]
        after = rows[-1]["id"]


async def methods_naming(db: PracticeDb, is_meant: IsMeant, until: datetime, payment_ids: set[str]) -> list[str]:
    """The ids of a customer's saved methods that can still be charged, saved up to a time."""
    rows = await db.fetch(
        "SELECT id, payment_id, customer_email, customer_key FROM saved_methods"
        " WHERE removed_at IS NULL AND created_at <= $1 ORDER BY id",
        until,
    )
    found = []
    for row in rows:
        key = row["customer_key"] or ""
        named = named_by(row["customer_email"], None if "@" in key else key, None)
        if row["payment_id"] in payment_ids or any(map(is_meant, named)):
            found.append(row["id"])
    return found


def _any_of(states: Iterable[str]) -> str:
    return ", ".join(f"'{state}'" for state in sorted(states))


_OPEN_ATTEMPTS = _any_of(set(AttemptState) - ATTEMPT_CLOSED - ATTEMPT_WON)
_WHY = (
    (WhyKept.payment, "p.status NOT IN ('succeeded', 'failed', 'canceled')"),
    (WhyKept.retry, "p.status = 'failed' AND p.expires_at > $2"),
    (WhyKept.lookup, f"payment_attempts AS o WHERE o.next_lookup_at IS NOT NULL OR o.state IN ({_OPEN_ATTEMPTS})"),
    (WhyKept.refund, f"refunds AS o WHERE o.state IN ({_any_of(REFUND_RESERVES)})"),
    (WhyKept.operation, f"payment_operations AS o WHERE o.state IN ({_any_of(OPERATION_OPEN)})"),
    (WhyKept.dispute, "disputes AS o WHERE o.state = 'open'"),
    (WhyKept.case, "operator_cases AS o WHERE o.state = 'open'"),
    (WhyKept.webhook, f"webhook_events AS o WHERE o.state IN {_WEBHOOK_OPEN}"),
)


def _when(condition: str) -> str:
    table, where, of_rows = condition.partition(" WHERE ")
    return f"EXISTS (SELECT 1 FROM {table}{where}o.payment_id = p.id AND ({of_rows}))" if where else condition  # noqa: S608


_WHENS = " ".join(f"WHEN {_when(condition)} THEN '{why}'" for why, condition in _WHY)
# SQL: something still needs the personal data of payment ``p``; ``$2`` is the time.
NEEDED = f"CASE {_WHENS} END IS NOT NULL"
_WHY_KEPT = f"SELECT CASE {_WHENS} END AS why FROM payments AS p WHERE p.id = $1"  # noqa: S608


async def why_kept(db: Reads, payment_id: str, now: datetime) -> WhyKept | None:
    """Why the personal data of a payment are still needed. None: they can be erased."""
    why = await db.value(_WHY_KEPT, payment_id, now)
    return None if why is None else WhyKept(why)


async def providers_of(db: PracticeDb, payment_id: str) -> set[str]:
    """The codes of the providers at which a payment was tried."""
    return set(await db.column("SELECT provider_code FROM payment_attempts WHERE payment_id = $1", payment_id))


async def anything_to_detach(db: PracticeDb, erasure: str) -> bool:
    """Whether a saved method of an erased payment still has to be detached at its provider."""
    found = await db.one(
        "SELECT 1 FROM saved_method_detachments d JOIN saved_methods m ON m.id = d.id JOIN payments p"
        " ON p.id = m.payment_id WHERE d.state = 'due' AND p.erasure = $1 LIMIT 1",
        erasure,
    )
    return found is not None


async def erased_payments(db: PracticeDb, after: str, limit: int) -> list[str]:
    """The ids of payments whose customers were erased, after one."""
    sql = "SELECT id FROM payments WHERE erasure IS NOT NULL AND id > $1 ORDER BY id LIMIT $2"
    return await db.column(sql, after, limit)


async def arrived_late(db: PracticeDb, limit: int) -> list[tuple[str, str]]:
    """Payments, with their erasures, about which a provider has sent data after they were erased."""
    rows = await db.fetch(
        "SELECT p.id, p.erasure FROM payments AS p WHERE p.erasure IS NOT NULL AND ("  # noqa: S608
        f"({IS_THERE.format('p.provider_response')})"
        f" OR EXISTS (SELECT 1 FROM webhook_events AS w WHERE w.payment_id = p.id AND ({IS_THERE.format('w.body')}))"
        " OR EXISTS (SELECT 1 FROM refunds AS r WHERE r.payment_id = p.id"
        f" AND (r.reason IS NOT NULL OR ({IS_THERE.format('r.provider_response')})))) ORDER BY p.id LIMIT $1",
        limit,
    )
    return [(row["id"], row["erasure"]) for row in rows]


# ── Erasing ──


async def lock(tx: Tx, dialect: str) -> None:
    """Let one transaction at a time erase in this database: two could compute the signature of one search block from
    what the other is erasing."""
    if dialect == "postgresql":
        await tx.fetch("SELECT pg_advisory_xact_lock(7041779)")  # any number works that nobody else uses


async def erase_payment(tx: Tx, payment_id: str, erasure: str, keyed_hash: Digest, changed: Changed) -> None:
    """Erase the customer of one payment from its row and from everything that belongs to it. ``Stale`` if another writer
    changes the payment at this moment. ``changed``: gets the rows that changed."""
    if await _payment(tx, payment_id, erasure, keyed_hash):
        changed["payments"].add(payment_id)
    await _search_row(tx, payment_id, changed)
    await _fingerprints(tx, payment_id, keyed_hash, changed)
    removed = "DELETE FROM payment_identifiers WHERE payment_id = $1 AND kind = $2 RETURNING attempt_id, value"
    changed["payment_identifiers"] |= {tuple(row) for row in await tx.fetch(removed, payment_id, _LAST4)}
    for one in _DOCUMENTS:
        rows = await tx.fetch(f"SELECT id, {one.column} AS document FROM {one.table} WHERE {one.of}", payment_id)  # noqa: S608
        _write_redacted(tx, one, rows, changed)
    for plain in _PLAIN:
        changed[plain.table] |= set(await tx.column(plain.sql(), payment_id))


async def _payment(tx: Tx, payment_id: str, erasure: str, keyed_hash: Digest) -> bool:
    [row] = await tx.fetch(f"SELECT {PAYMENTS.columns} FROM payments WHERE id = $1", payment_id)  # noqa: S608
    payment = PAYMENTS.read(row)
    erased = without_customer(payment, keyed_hash)
    if erased == payment and payment.erasure is not None:
        return False
    erased.erasure = erasure
    columns, read = f"{', '.join(_OF_PAYMENT)}, erasure", payment.version
    # Another writer that has read the payment before finds it changed, and decides again.
    PAYMENTS.update(tx, erased, columns, "id = $1 AND version = $2", payment_id, read, version=read + 1)
    return True


def without_customer(payment: Payment, keyed_hash: Digest) -> Payment:
    """The payment without its customer. That it was charged directly stays known by its empty details."""
    empty: dict[str, Any] = dict.fromkeys(
        ("customer_email", "customer_name", "customer_phone", "description", "reference", "return_url", "metadata")
    )
    response = payment.provider_response
    return replace(
        payment,
        **empty,
        method_details=None if payment.method_details is None else {},
        provider_response=None if response is None else placeholder(Gone.erased),
        fingerprint=keyed(payment.fingerprint, keyed_hash),
    )


async def _fingerprints(tx: Tx, payment_id: str, keyed_hash: Digest, changed: Changed) -> None:
    for row in await tx.fetch("SELECT id, fingerprint FROM refunds WHERE payment_id = $1", payment_id):
        if (hashed := keyed(row["fingerprint"], keyed_hash)) != row["fingerprint"]:
            tx.add("UPDATE refunds SET fingerprint = $2 WHERE id = $1", row["id"], hashed)
            changed["refunds"].add(row["id"])


async def _search_row(tx: Tx, payment_id: str, changed: Changed) -> None:
    [row] = await tx.fetch(f"SELECT {PAYMENTS.columns} FROM payments WHERE id = $1", payment_id)  # noqa: S608
    fresh = payment_search.row_of(PAYMENTS.read(row))
    place = fresh.environment, fresh.created_at, payment_id
    of_row = "environment = $1 AND created_at = $2 AND payment_id = $3"
    known = await tx.one(f"SELECT block, body, email, reference FROM payment_search WHERE {of_row}", *place)  # noqa: S608
    if known is None or (known["body"], known["email"], known["reference"]) == (fresh.body, None, None):
        return
    sql = f"UPDATE payment_search SET body = $4, email = NULL, reference = NULL WHERE {of_row}"  # noqa: S608
    tx.add(sql, *place, fresh.body)
    changed["payment_search"].add(payment_id)
    if known["block"]:
        await _sign_again(tx, fresh.environment, known["block"])
        changed["payment_search_blocks"].add((fresh.environment, known["block"]))


async def _sign_again(tx: Tx, environment: str, block: int) -> None:
    """Write the signature of a block from what its rows are now."""
    rows = await tx.fetch(
        "SELECT body, major_units FROM payment_search WHERE block = $1 AND environment = $2", block, environment
    )
    parts = signature((row["body"], row["major_units"]) for row in rows)
    sets = ", ".join(f"part{number} = ${number + 3}" for number in range(SIGNATURE_PARTS))
    sql = f"UPDATE payment_search_blocks SET {sets} WHERE block = $1 AND environment = $2"  # noqa: S608
    tx.add(sql, block, environment, *parts)


def _write_redacted(tx: Tx, one: Documents, rows: Sequence[Any], changed: Changed) -> None:
    for row in rows:
        document = json_value(row["document"])
        if (less := redacted(document)) != document:
            tx.add(f"UPDATE {one.table} SET {one.column} = $2 WHERE id = $1", row["id"], json_text(less))  # noqa: S608
            changed[one.table].add(row["id"])


# ── What names a customer without belonging to a payment ──


async def erase_beside_payments(tx: Tx, is_meant: IsMeant, until: datetime, changed: Changed) -> int:
    """Erase a customer from webhooks, review cases and payment links that belong to no payment, recorded up to a time.
    Returns how many webhooks are still needed."""
    needed = 0
    for row in await tx.fetch(
        "SELECT id, state, body FROM webhook_events WHERE payment_id IS NULL AND body IS NOT NULL AND received_at <= $1",
        until,
    ):
        if not any(map(is_meant, named_in(json_value(row["body"])))):
            continue
        if row["state"] in _WEBHOOK_OPEN:
            needed += 1
            continue
        tx.add("UPDATE webhook_events SET body = $2, dismissed_note = NULL WHERE id = $1", row["id"], _GONE)
        changed["webhook_events"].add(row["id"])
    resolved = (
        "SELECT id, detail AS document FROM operator_cases WHERE payment_id IS NULL AND state = 'resolved'"
        " AND created_at <= $1"
    )
    rows = await tx.fetch(resolved, until)
    meant = [row for row in rows if any(map(is_meant, named_in(json_value(row["document"]))))]
    _write_redacted(tx, Documents("operator_cases", "detail", ""), meant, changed)
    links = "SELECT id, reference FROM payment_links WHERE reference IS NOT NULL AND created_at <= $1"
    for row in await tx.fetch(links, until):
        if any(map(is_meant, named_by(None, None, row["reference"]))):
            sql = "UPDATE payment_links SET reference = NULL, description = $2 WHERE id = $1"
            tx.add(sql, row["id"], ERASED)
            changed["payment_links"].add(row["id"])
    await tx.flush()
    return needed
