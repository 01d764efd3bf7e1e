"""Decisions by staff, for the judge: what the rows must contain because of them, in addition to the provider's facts."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from polytill.simulator.books import Refund, Transaction
from simulation.ground import PUSHED, marks_of

if TYPE_CHECKING:
    from simulation.history import History, Merchant
    from simulation.oracle import Rows

Row = dict[str, Any]
UNPROVEN_RECEIPTS = ("mpesa",)  # only an unsigned webhook contains them


class Decisions:
    """The decisions of one practice. Empty if there are none."""

    def __init__(self, rows: Rows, merchants: list[Merchant], history: History) -> None:
        self.rows, self.heard, self.forged = rows, history.heard, history.forged_receipts
        self.all: list[Row] = rows.tables["staff_decisions"]
        self.by_subject = {row["subject"]: row for row in self.all}
        self.books: dict[str, list[Transaction]] = defaultdict(list)
        for merchant in merchants:
            for tx in merchant.account.transactions:
                self.books[str(tx.reference)].append(tx)

    def paid(self, attempt: Row) -> Row | None:
        """The decision by which an attempt counts as paid or captured."""
        for row in self.all:
            if row["attempt_id"] == attempt["id"] and row["is_done"] and row["decided_on"] in ("payment", "capture"):
                return row
        return None

    def concern(self, attempt: Row) -> bool:
        """Whether any decision is about an attempt."""
        return any(row["attempt_id"] == attempt["id"] for row in self.all)

    def taken(self, attempt: Row, held: list[Transaction]) -> list[int]:
        """The captured amounts of a successful attempt: the provider's if it has any, else those of the staff decision."""
        said = self.paid(attempt)
        if said is not None and (said["decided_on"] == "payment" or not any(tx.captured for tx in held)):
            return [said["amount"] or attempt["amount"]]
        return [tx.captured for tx in held if tx.captured]

    def is_anothers_money(self, attempt: Row) -> bool:
        """Whether an attempt is the provider's actual payment after staff named another transaction."""
        names = {
            tx.id
            for row in self.all
            if row["decided_on"] == "payment" and row["payment_id"] == attempt["payment_id"]
            for tx in self.books[row["attempt_id"]]
            if tx.captured
        }
        return attempt["provider_transaction_id"] in names

    def beyond_books(self, payment_id: str) -> int:
        """The amount that the ledger holds at providers because of decisions, beyond the providers' books."""
        total = 0
        for row in self.all:
            if row["payment_id"] != payment_id or not row["is_done"]:
                continue
            held, amount = self.books[row["attempt_id"]], row["amount"] or 0
            if row["decided_on"] == "payment" and not self._is_named(row, held) and not self._is_counted_once(held):
                total += amount
            elif row["decided_on"] == "capture" and not any(tx.captured for tx in held):
                total += amount or self._amount(row["attempt_id"])
        attempts = {row["attempt_id"] for row in self.all if row["payment_id"] == payment_id}
        return total - sum(self._returned(reference) for reference in attempts)

    def _returned(self, reference: str) -> int:
        """The amount of the refunds of an attempt that only staff know. A provider that pays a lost dispute by a refund
        returns no more than it took: what would be beyond that is the money of the dispute."""
        said, same = sum(self.refunds_said(reference)), 0
        for tx in self.books[reference]:
            if any(dispute.capped and dispute.status == "lost" for dispute in tx.disputes):
                same = min(tx.lost, max(0, tx.refunded + said + tx.lost - tx.captured))
        return said - same

    def refunds_said(self, reference: str) -> list[int]:
        """Refunds that staff marked as made and the provider does not have."""
        return [
            row["amount"]
            for row in self.all
            if row["attempt_id"] == reference
            and row["decided_on"] == "refund"
            and row["is_done"]
            and not self._made(row)
        ]

    def _made(self, row: Row) -> bool:
        """Whether a provider has a refund with this id, or one of that amount with none of our ids, which then counts as
        the one that staff marked as made. Not if it had been recorded as another refund before they decided."""
        ours = [one["id"] for one in self.rows.of("refunds", row["payment_id"])]
        made = [one for tx in self.books[row["attempt_id"]] for one in tx.refunds]
        nameless = [one for one in made if not any(name in f"{one.reference} {one.wire}" for name in ours)]
        named = any(row["subject"] in f"{one.reference} {one.wire}" for one in made)
        return named or any(one.amount == row["amount"] and not self._is_anothers(row, one) for one in nameless)

    def _is_anothers(self, row: Row, made: Refund) -> bool:
        """Whether a refund without our id was recorded as another one: as one that was requested here, or was adopted
        before a decision. The audit log has the order, because clocks jump."""
        marks = marks_of(made)
        for one in self.rows.of("refunds", row["payment_id"]):
            if one["id"] != row["subject"] and one["provider_refund_id"] in marks:
                decided_at = self._line(row["subject"], "refund.marked_done")
                return one["origin"] == "api" or self._line(one["id"], "refund.succeeded") < decided_at
        return False

    def _line(self, refund_id: str, action: str) -> float:
        lines = [one for one in self.rows.tables["audit_log"] if one["action"] == action]
        return min((one["id"] for one in lines if json.loads(one["detail"])["refund"] == refund_id), default=math.inf)

    def _amount(self, attempt_id: str) -> int:
        return next(int(a["amount"]) for a in self.rows.tables["payment_attempts"] if a["id"] == attempt_id)

    def _is_counted_once(self, held: list[Transaction]) -> bool:
        """Whether money was taken, and its provider can no longer report it (the answer and the webhook were lost), or
        cannot prove by which receipt: then it is what staff decided."""
        paid = [tx for tx in held if tx.captured]
        silent = all(tx.provider in PUSHED and str(tx.reference) not in self.heard for tx in paid)
        return bool(paid) and (silent or all(tx.provider in UNPROVEN_RECEIPTS for tx in paid))

    def _is_named(self, row: Row, held: list[Transaction]) -> bool:
        """Whether staff named the provider's actual payment."""
        paid = [tx for tx in held if tx.captured]
        names = {tx.id for tx in paid} | {str(getattr(tx.wire, "receipt", "")) for tx in paid}
        return row["transaction_id"] in names

    # ── The verdict ──

    def judge(self, history: History) -> Iterator[str]:
        """The problems of the decisions themselves, and of the review cases about contradictions."""
        for row in self.all:
            said = (row["decided_on"], bool(row["is_done"]), row["transaction_id"])
            if said not in history.said.get(row["subject"], []):
                yield f"made up: nobody decided {said} about {row['subject']}"
        practice = {
            row["id"]
            for name in ("payment_attempts", "refunds", "payment_operations")
            for row in self.rows.tables[name]
        }
        for subject in history.decided.keys() & practice:
            if subject not in self.by_subject:
                yield f"lost: the decision {history.decided[subject]} about {subject}"
        yield from self._states()
        yield from self._contradictions()

    def _states(self) -> Iterator[str]:
        """A decision that something was done is never reversed."""
        states = {
            row["id"]: row["state"]
            for name in ("payment_attempts", "payment_operations")
            for row in self.rows.tables[name]
        }
        for row in self.all:
            if row["is_done"] and row["decided_on"] == "payment" and states[row["subject"]] != "succeeded":
                yield f"reversed: {row['subject']} was marked as paid and is {states[row['subject']]}"
            if row["is_done"] and row["decided_on"] == "capture" and states[row["attempt_id"]] != "succeeded":
                yield f"reversed: {row['attempt_id']} was captured, as staff said, and is {states[row['attempt_id']]}"

    def _contradictions(self) -> Iterator[str]:
        known = {
            case["subject"]: json.loads(case["detail"])
            for case in self.rows.tables["operator_cases"]
            if case["kind"] == "staff_contradicted"
        }
        told = [event for event in self.rows.tables["events"] if event["type"] == "payment.staff_contradicted"]
        if len(told) != len(known):
            yield f"contradictions: {len(known)} cases, and the host application was told {len(told)} times"
        for row in self.all:
            mine = {name for name in known if name.startswith(f"{row['subject']}:")}
            is_right = self._is_right(row)
            is_forged = row["decided_on"] == "payment" and row["attempt_id"] in self.forged
            if is_right and mine and not is_forged and not self._looks_like_it(row):
                yield f"contradiction {sorted(mine)} of {row['decided_on']} {row['subject']}, which is as staff said"
            wanted = None if is_right else self._must_be_told(row)
            if wanted is not None and not any(name.startswith(f"{row['subject']}:{wanted}") for name in mine):
                yield f"contradiction {wanted} of {row['decided_on']} {row['subject']} is no case"

    def _is_right(self, row: Row) -> bool:
        held = self.books[row["attempt_id"]]
        if row["decided_on"] == "payment":
            return self._is_named(row, held) and all(tx.captured == row["amount"] for tx in held if tx.captured)
        made = was_made(row["decided_on"], row["subject"], held)
        return made is bool(row["is_done"])

    def _looks_like_it(self, row: Row) -> bool:
        """Whether the provider has a refund of the same amount, possibly the one that staff marked as not made."""
        refunds = [one for tx in self.books[row["attempt_id"]] for one in tx.refunds]
        return row["decided_on"] == "refund" and any(one.amount == row["amount"] for one in refunds)

    def _must_be_told(self, row: Row) -> str | None:
        """The contradiction that certainly arrived, because the rows contain a fact that only the provider can have
        sent."""
        held = self.books[row["attempt_id"]]
        if row["decided_on"] == "payment" and any(tx.captured for tx in held):
            if all(tx.provider in UNPROVEN_RECEIPTS and row["attempt_id"] in self.heard for tx in held):
                return "other_transaction"
            again = [a for a in self.rows.of("payment_attempts", row["payment_id"]) if self.is_anothers_money(a)]
            return "other_transaction" if any(a["id"] != row["attempt_id"] for a in again) else None
        if row["decided_on"] == "refund" and not row["is_done"]:
            [refund] = [one for one in self.rows.of("refunds", row["payment_id"]) if one["id"] == row["subject"]]
            return "refunded" if refund["state"] in ("succeeded", "failed") else None
        return None


def was_made(what: str, name: str, held: list[Transaction]) -> bool:
    """Whether a provider's books contain the requested operation."""
    if what == "refund":
        made = [one for tx in held for one in tx.refunds if name in f"{one.reference} {one.wire}"]
        return any(one.status != "failed" for one in made)
    if what == "capture":
        return any(tx.captured for tx in held)
    # A hold that Stripe ended after a week was not canceled by request.
    canceled = [
        tx for tx in held if tx.status == "canceled" and getattr(tx.wire, "cancellation_reason", "") != "automatic"
    ]
    return bool(canceled) and not any(tx.captured for tx in held)
