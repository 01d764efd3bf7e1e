"""The judge: compares the providers' books with every row. It reads the files itself and trusts no code of the product."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from polytill.simulator.books import Transaction
from simulation.decisions import Decisions
from simulation.ground import EPOCH_S, PUSHED

if TYPE_CHECKING:
    from simulation.history import History, Merchant

TABLES = (
    "payments",
    "payment_attempts",
    "refunds",
    "payment_operations",
    "disputes",
    "ledger_lines",
    "webhook_events",
    "operator_cases",
    "audit_log",
    "payment_identifiers",
    "events",
    "staff_decisions",
)
UNDECIDED = ("sent", "unknown", "pending")
UNDER_WAY_S = 120.0  # no call lasts longer
KEYS_END_S = 3000.0  # a clock with this error can take a valid key for an expired one
CLOSED = ("declined", "not_sent", "expired", "canceled")


@dataclass(slots=True)
class Rows:
    """All rows of one practice's database, by table."""

    practice: int
    tables: dict[str, list[dict[str, Any]]]
    by_payment: dict[str, dict[str, list[dict[str, Any]]]] = field(default_factory=dict)

    def of(self, table: str, payment_id: str) -> list[dict[str, Any]]:
        """The rows of one payment."""
        if table not in self.by_payment:
            found: dict[str, list[dict[str, Any]]] = defaultdict(list)
            for row in self.tables[table]:
                found[row["payment_id"]].append(row)
            self.by_payment[table] = found
        return self.by_payment[table].get(payment_id, [])

    def cases(self, kind: str) -> set[str]:
        """The review cases, by subject."""
        return {row["subject"] for row in self.tables["operator_cases"] if row["kind"] == kind}


def read(history: History, practice: int, names: tuple[str, ...] = TABLES) -> Rows:
    """Read a practice's database from disk, or some of its tables."""
    kept = history.kept[history.ground.names[practice]]
    tables = {name: [dict(row) for row in kept.rows("SELECT * FROM " + name)] for name in names}  # noqa: S608
    return Rows(practice, tables)


def judge(history: History) -> list[str]:
    """Every problem, once nothing is pending."""
    found: list[str] = []
    for practice in sorted(history.plan.profiles):
        rows = read(history, practice)
        mine = [m for m in history.merchants if m.practice == practice]
        said = Decisions(rows, mine, history)
        found += _stuck(history, rows)
        found += _foreign(rows)
        found += _books(history, rows, mine, said)
        found += _payments(history, rows, mine, said)
        found += _refunds(rows, mine, said)
        found += _called_not_sent(rows, said)
        found += _disputes(rows, mine)
        found += _over_returned(rows, mine)
        found += _dispute_events(rows)
        found += _findable(history, rows, mine, said)
        found += _ledger(history, rows, mine, said)
        found += said.judge(history)
        found += _keys(history, rows)
    return found


def unpayable(history: History) -> list[str]:
    """Soon after the last fault: payments that wait for a customer who has no way to pay, and are not over by then."""
    found = []
    for practice in sorted(history.plan.profiles):
        rows = read(history, practice)
        for payment in rows.tables["payments"]:
            attempts = rows.of("payment_attempts", payment["id"])
            waiting = [a for a in attempts if a["state"] == "needs_action"]
            if payment["expires_at"] is not None and _world_s(payment["expires_at"]) < history.loop.now:
                continue
            if payment["status"] == "requires_action" and not any(a["next_action"] for a in waiting):
                found.append(f"payment {payment['id']} waits for a payer, but nobody can pay it")
    return found


# ── Open and foreign ──


def _mismatched(rows: Rows) -> set[str]:
    """The attempts with a transaction of another amount."""
    return {subject.partition(":")[0] for subject in rows.cases("amount_mismatch")}


def for_a_person(history: History, rows: Rows) -> set[str]:
    """The charges that no lookup can find: the answer with their id was lost, and the provider's webhook never arrived
    in any form. A charge that stays unknown needs a review case. A repeat under v4's key returns the answer again,
    while the key is valid and belongs to valid credentials."""
    jumped = any(abs(size) > KEYS_END_S for _, size, _ in history.plan.clock_jumps) or history.plan.outage is not None
    lost = {"mpesa"}
    if jumped or (rows.practice, "flutterwave_v4") in history.rekeyed:
        lost.add("flutterwave_v4")
    cases = rows.tables["operator_cases"]
    asked = {case["subject"] for case in cases if case["kind"] == "unresolved" and case["state"] == "open"}
    return {
        a["id"]
        for a in rows.tables["payment_attempts"]
        if a["id"] in asked - history.heard
        and a["provider_code"] in lost
        and a["state"] == "unknown"
        and not a["provider_transaction_id"]
    }


def _stuck(history: History, rows: Rows) -> Iterator[str]:
    mismatched, unfindable = _mismatched(rows), for_a_person(history, rows)
    attempts = rows.tables["payment_attempts"]
    parked = {a["payment_id"] for a in attempts if a["id"] in mismatched}
    waiting = parked | {a["payment_id"] for a in attempts if a["id"] in unfindable}
    for payment in rows.tables["payments"]:
        if payment["status"] in ("requires_action", "processing") and payment["id"] not in waiting:
            yield f"stuck: payment {payment['id']} is {payment['status']}"
    for attempt in attempts:
        is_open = attempt["state"] in (*UNDECIDED, "needs_action") and attempt["id"] not in unfindable
        if is_open and attempt["payment_id"] not in parked:
            yield f"stuck: attempt {attempt['id']} is {attempt['state']}"
    for name in ("refunds", "payment_operations"):
        for row in rows.tables[name]:
            if row["state"] in UNDECIDED:
                yield f"stuck: {name} {row['id']} is {row['state']}"
    for event in rows.tables["webhook_events"]:
        if event["state"] == "received":
            yield f"stuck: delivery {event['event_type']} of {event['payment_id']} is not applied"


def _foreign(rows: Rows) -> Iterator[str]:
    for name, table in rows.tables.items():
        for row in table:
            if row.get("practice_id", rows.practice) != rows.practice:
                yield f"wrong practice: a row of {name} belongs to {row['practice_id']}"


def _keys(history: History, rows: Rows) -> Iterator[str]:
    count = Counter(row["idempotency_key"] for row in rows.tables["payments"])
    ids = {row["id"] for row in rows.tables["payments"]}
    for key, number in count.items():
        if number > 1:
            yield f"the key {key} has {number} payments"
    for (practice, key), payment_id in history.keys.items():
        if practice == rows.practice and payment_id not in ids:
            yield f"lost: payment {payment_id} of key {key} was answered and has no row"


# ── The books against the rows ──


def _real(history: History, merchants: list[Merchant]) -> Iterator[tuple[Merchant, Transaction]]:
    for merchant in merchants:
        for tx in merchant.account.transactions:
            if tx.reference not in history.strange:
                yield merchant, tx


def _books(history: History, rows: Rows, merchants: list[Merchant], said: Decisions) -> Iterator[str]:
    attempts = {a["id"]: a for a in rows.tables["payment_attempts"]}
    mismatched, unfindable = _mismatched(rows), for_a_person(history, rows)
    paid: dict[str, int] = Counter()
    for merchant, tx in _real(history, merchants):
        attempt = attempts.get(str(tx.reference))
        if attempt is None:
            yield f"lost: {merchant.provider} holds {tx.reference} ({tx.status}), which has no row"
            continue
        if attempt["environment"] != merchant.environment.value or attempt["provider_code"] != merchant.provider:
            yield f"wrong environment: {tx.reference}"
        if tx.captured and (tx.reference in history.other_amount or tx.captured > attempt["amount"]):
            if attempt["state"] == "succeeded" or attempt["id"] not in mismatched | unfindable:
                yield f"another amount was paid for {tx.reference}, and it is {attempt['state']}"
        elif tx.captured and attempt["id"] not in unfindable:
            paid[str(tx.reference)] += 1
            if attempt["state"] != "succeeded":
                yield f"lost: {tx.reference} was paid at {merchant.provider}, here it is {attempt['state']}"
            if tx.reference in history.agreed_too_late:
                yield f"{tx.reference} had been given up, and was captured when its payer agreed long after"
        elif attempt["state"] == "expired" and _long_after(history.agreed.get(str(tx.reference)), attempt):
            yield f"{tx.reference} expired, though its payer agreed in time"
        elif tx.status == "authorized" and attempt["state"] != "authorized" and not said.concern(attempt):
            yield f"lost: {tx.reference} is held at {merchant.provider}, here it is {attempt['state']}"
    for attempt in attempts.values():
        by_staff = said.paid(attempt) is not None or said.is_anothers_money(attempt)
        if attempt["state"] == "succeeded" and not paid[attempt["id"]] and not by_staff:
            yield f"made up: attempt {attempt['id']} succeeded here, and no provider took money"


def _long_after(agreed_at_s: float | None, attempt: dict[str, Any]) -> bool:
    """Whether an attempt was last changed after every call from before an approval had ended."""
    return agreed_at_s is not None and changed_at_s(attempt) > agreed_at_s + UNDER_WAY_S


def changed_at_s(attempt: dict[str, Any]) -> float:
    """When its row was last written, in the world's seconds, by the clock of the writer."""
    return _world_s(attempt["updated_at"])


def _world_s(stored: object) -> float:
    written = datetime.fromisoformat(str(stored)).replace(tzinfo=UTC)  # PostgreSQL returns UTC, SQLite no time zone
    return written.timestamp() - EPOCH_S


def _payments(history: History, rows: Rows, merchants: list[Merchant], said: Decisions) -> Iterator[str]:
    books: dict[str, list[Transaction]] = defaultdict(list)
    for _, tx in _real(history, merchants):
        books[str(tx.reference)].append(tx)
    duplicates = rows.cases("duplicate_payment")
    for payment in rows.tables["payments"]:
        attempts = rows.of("payment_attempts", payment["id"])
        won = [a for a in attempts if a["state"] == "succeeded"]
        for a in won[1:] if not any(a["id"] in duplicates for a in won) else ():
            yield f"double charge: {a['id']} of payment {payment['id']} is no case"
        if len(won) - sum(a["id"] in duplicates for a in won) > 1:
            yield f"double charge: payment {payment['id']} was paid {len(won)} times"
        if won and payment["status"] != "succeeded":
            yield f"payment {payment['id']} is {payment['status']}, but was paid"
        if not won and payment["status"] == "succeeded":
            yield f"payment {payment['id']} succeeded without an attempt"
        regular = [taken for a in won if a["id"] not in duplicates for taken in said.taken(a, books[a["id"]])]
        if payment["amount_captured"] != sum(regular[:1]):
            yield f"payment {payment['id']}: captured {payment['amount_captured']} is not what the books say"
        if payment["status"] == "failed":
            yield from _unproven(payment, attempts, books)


def _unproven(
    payment: dict[str, Any], attempts: list[dict[str, Any]], books: dict[str, list[Transaction]]
) -> Iterator[str]:
    for a in attempts:
        if a["state"] not in CLOSED:
            yield f"payment {payment['id']} failed, but attempt {a['id']} is {a['state']}"
        if a["state"] == "declined" and a["raw_code"] != "link_lost" and any(tx.payable for tx in books[a["id"]]):
            yield f"payment {payment['id']} failed without proof: {a['id']} can still be paid"


def _refunds(rows: Rows, merchants: list[Merchant], said: Decisions) -> Iterator[str]:
    held = {tx.reference: tx for m in merchants for tx in m.account.transactions}
    by_attempt: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows.tables["refunds"]:
        by_attempt[row["attempt_id"]].append(row)
    for reference, tx in held.items():
        mine = by_attempt.get(str(reference), [])
        for status, state in (("succeeded", ("succeeded",)), ("pending", ("pending",))):
            there = sorted(r.amount for r in tx.refunds if r.status == status)
            if status == "succeeded":
                there = sorted(there + said.refunds_said(str(reference)))
            here = sorted(row["amount"] for row in mine if row["state"] in state)
            if there != here:
                yield f"refunds of {reference}: {status} at the provider {there}, here {here}"
        asked = [row for row in mine if row["origin"] == "api"]
        for row in asked:
            made = [r for r in tx.refunds if row["id"] in f"{r.reference} {r.wire}"]
            if len(made) > 1:
                yield f"double refund: {row['id']} was made {len(made)} times"
    for reference, mine in by_attempt.items():
        if mine and reference not in held:
            yield f"refunds of {reference}, which no provider knows"


def _called_not_sent(rows: Rows, said: Decisions) -> Iterator[str]:
    """A refund that was reported as not made and then existed: someone may have repeated it."""
    state = {row["id"]: row["state"] for row in rows.tables["refunds"]}
    for line in rows.tables["audit_log"]:
        if line["action"] in ("refund.not_sent", "refund.declined"):
            name = json.loads(line["detail"])["refund"]
            if state.get(name) in ("succeeded", "pending", "failed") and name not in said.by_subject:
                yield f"double refund invited: {name} was called {line['action'][7:]}, and was made"


def _disputes(rows: Rows, merchants: list[Merchant]) -> Iterator[str]:
    known = {row["provider_dispute_id"]: row for row in rows.tables["disputes"]}
    for merchant in merchants:
        for tx in merchant.account.transactions:
            for dispute in tx.disputes:
                row = known.pop(dispute.id, None)
                if row is None:
                    yield f"lost: the dispute {dispute.id} of {tx.reference}"
                    continue
                told = (dispute.kind, dispute.status, dispute.amount)
                # An inquiry that ends without money may be won or closed.
                ended = dispute.kind == "inquiry" and {row["state"], dispute.status} <= {"won", "closed"}
                here = (row["kind"], dispute.status if ended else row["state"], row["amount"])
                if here != told:
                    yield f"dispute {dispute.id}: {told}, here {row['kind']} {row['state']} {row['amount']}"
                yield from _dispute_cases(rows, dispute.id, dispute.status, dispute.kind)
    for made_up in known:
        yield f"made up: dispute {made_up}"


def _dispute_cases(rows: Rows, name: str, status: str, kind: str) -> Iterator[str]:
    """The review case of an open dispute is open and has the dispute's kind; it ends with the dispute."""
    is_open = {
        case["kind"]
        for case in rows.tables["operator_cases"]
        if case["subject"].startswith(f"{name}:") and case["state"] == "open"
    }
    wanted = {"inquiry": "inquiry_open", "chargeback": "dispute_open"}[kind] if status == "open" else None
    for one in ("inquiry_open", "dispute_open"):
        if (one in is_open) is not (one == wanted):
            yield f"case {one} of the {status} {kind} {name} is {'open' if one in is_open else 'not there'}"


def _dispute_events(rows: Rows) -> Iterator[str]:
    """The events about each dispute: each stage once, an inquiry as an inquiry."""
    told: dict[str, list[str]] = defaultdict(list)
    for event in rows.tables["events"]:
        if event["type"].startswith(("dispute.", "inquiry.")):
            told[json.loads(event["data"])["dispute"]].append(event["type"])
    for row in rows.tables["disputes"]:
        name, types = row["provider_dispute_id"], told[row["provider_dispute_id"]]
        for kind, number in Counter(types).items():
            if number > 1 and not kind.endswith(".updated"):
                yield f"dispute {name}: {kind} was told {number} times"
        if row["kind"] == "inquiry" and row["state"] != "lost":
            wrong = [kind for kind in types if not kind.startswith("inquiry.")]
            if wrong or not types:
                yield f"the inquiry {name} was told as {wrong or 'nothing'}"
        elif row["state"] != "open" and f"dispute.{row['state']}" not in types:
            yield f"dispute {name} is {row['state']}, and the host application was told {types}"


def _findable(history: History, rows: Rows, merchants: list[Merchant], said: Decisions) -> Iterator[str]:
    """A payment is found by its provider's id and by its own number."""
    known: dict[str, set[str]] = defaultdict(set)
    for row in rows.tables["payment_identifiers"]:
        known[row["attempt_id"]].add(row["value"])
    won = {a["id"] for a in rows.tables["payment_attempts"] if a["state"] == "succeeded"}
    for merchant in merchants:
        for tx in merchant.account.transactions:
            # If staff named it: under that name, and also under its provider's id once the provider has reported it,
            # possibly on another attempt.
            unheard = tx.provider in PUSHED and tx.reference not in history.heard
            told = unheard or any(tx.id in names for names in known.values())
            is_apart = tx.reference in said.by_subject and told
            if tx.captured and tx.reference in won and tx.id not in known[str(tx.reference)] and not is_apart:
                yield f"{tx.reference} is not found by {tx.id}, as {merchant.provider} calls it"
    numbers = Counter(row["number"] for row in rows.tables["payments"])
    for number, payments in numbers.items():
        if number is None or payments > 1:
            yield f"{payments} payments have the number {number}"


def _over_returned(rows: Rows, merchants: list[Merchant]) -> Iterator[str]:
    """If more was returned than was taken, there must be a review case."""
    told = rows.cases("over_returned")
    attempts = {a["id"] for a in rows.tables["payment_attempts"] if a["state"] == "succeeded"}
    for merchant in merchants:
        for tx in merchant.account.transactions:
            beyond = tx.refunded + tx.lost - tx.captured
            if tx.reference in attempts and beyond > 0 and not any(name.startswith(str(tx.reference)) for name in told):
                yield f"{tx.reference}: {beyond} more than was taken was returned, and nobody is told"


# ── Arithmetic ──


def _ledger(history: History, rows: Rows, merchants: list[Merchant], said: Decisions) -> Iterator[str]:
    entries: dict[str, int] = Counter()
    for line in rows.tables["ledger_lines"]:
        entries[line["entry_id"]] += line["amount"]
    for entry, total in entries.items():
        if total:
            yield f"ledger: entry {entry} is out of balance by {total}"
    books = {tx.reference: tx for m in merchants for tx in m.account.transactions}
    for payment in rows.tables["payments"]:
        yield from _accounts(history, rows, payment, books, said)


def _accounts(
    history: History, rows: Rows, payment: dict[str, Any], books: dict[str | None, Transaction], said: Decisions
) -> Iterator[str]:
    name, lines = payment["id"], rows.of("ledger_lines", payment["id"])
    sums: dict[str, int] = Counter()
    for line in lines:
        sums[line["account"]] += line["amount"]
        if line["environment"] != payment["environment"]:
            yield f"ledger: a line of {name} is {line['environment']}"
    refunds = rows.of("refunds", name)
    booked = sum(r["booked"] for r in refunds)
    reserved = sum(r["amount"] for r in refunds if r["state"] in UNDECIDED and r["origin"] == "api")
    lost = sum(d["booked"] for d in rows.of("disputes", name))
    returned = sum(r["booked_duplicate"] for r in refunds if r["idempotency_key"].startswith("duplicate "))
    second = [a for a in rows.of("payment_attempts", name) if a["id"] in rows.cases("duplicate_payment")]
    twice = sum(a["amount"] for a in second)
    named = {tx.id for tx in books.values()} & {a["provider_transaction_id"] for a in second}
    lost_twice = sum(tx.lost for tx in books.values() if tx.id in named)
    for what, is_, should in (
        ("payments", -sums["payments"], payment["amount_captured"]),
        ("refunds", sums["refunds"] + returned, payment["amount_refunded"] + payment["duplicate_refunded"]),
        ("duplicate_payments", -sums["duplicate_payments"], twice - returned - lost_twice),
        ("disputes", sums["disputes"], payment["amount_lost"]),
        ("booked refunds", booked, payment["amount_refunded"]),
        ("reserved", reserved, payment["refund_reserved"]),
        ("lost", lost - lost_twice, payment["amount_lost"]),
    ):
        if is_ != should:
            yield f"arithmetic: {what} of {name} are {is_}, the payment says {should}"
    apart = history.other_amount | for_a_person(history, rows)
    attempts = [a for a in rows.of("payment_attempts", name) if a["id"] not in apart]
    there = [books[a["id"]] for a in attempts if a["id"] in books]
    net = sum(tx.captured - tx.refunded - tx.lost for tx in there) + said.beyond_books(name)
    fees = {tx.id: tx.fee for tx in there if tx.captured}
    # A duplicate payment costs its own fee, which some providers report only for the payment of the lookup.
    of_others = sum(fees.values()) - (payment["provider_fee"] or 0)
    if not 0 <= sums["fees"] - (payment["provider_fee"] or 0) <= max(0, of_others):
        yield f"arithmetic: fees of {name} are {sums['fees']}, the payment says {payment['provider_fee']}"
    if payment["provider_fee"] is not None and payment["provider_fee"] not in fees.values():
        yield f"fee of {name}: {payment['provider_fee']}, the books say {sorted(fees.values())}"
    providers = sum(amount for account, amount in sums.items() if account.startswith("provider:"))
    if providers != net - sums["fees"]:
        yield f"ledger: providers hold {net - sums['fees']} for {name}, the ledger says {providers}"
