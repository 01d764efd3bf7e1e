"""Reporting: counts for the score, and one line per event for the readers of a history."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

CALL_FAULTS = (
    "refuse",
    "lose_answer",
    "act_late",
    "timeout",
    "error_500",
    "error_500_after",
    "rate_limit",
    "slow",
    "truncate",
    "not_json",
)
WEBHOOK_FAULTS = ("duplicate", "late", "reorder", "drop", "forge")
CRASHES = ("before_write", "after_write", "before_call", "after_call")
# Everything that a campaign must have seen, by the prefix of its count.
KINDS: tuple[str, ...] = (
    *(f"call.{kind}" for kind in CALL_FAULTS),
    *(f"webhook.{kind}" for kind in WEBHOOK_FAULTS),
    *(f"crash.{kind}" for kind in CRASHES),
    "fault.restart", "fault.clock_forward", "fault.clock_back", "fault.rotation", "fault.move",
    "fault.client_gone", "fault.forged_success", "fault.foreign_signature", "fault.sandbox_echo", "fault.known_word",
    "fault.other_amount",
    "payer.pay", "payer.decline", "payer.abandon", "payer.again", "payer.late", "payer.lost_link",
    "host.create", "host.confirm", "host.cancel", "host.refund", "host.capture", "host.same_key", "host.other_body",
    "host.compare",
    "provider.dashboard_refund", "provider.refund_fails", "provider.refund_back_late", "provider.dispute_open",
    "provider.dispute_won", "provider.dispute_lost",
    "shape.two_nodes", "shape.several_practices", "shape.stripe", "shape.paystack", "shape.flutterwave",
)  # fmt: skip
# If all providers are drawn, also these.
ALL_PROVIDERS = (
    "shape.paypal",
    "shape.flutterwave_v4",
    "shape.mpesa",
    "payer.prompt",
    "person.asked",
    "person.calls_off",
    "person.knows_the_account",
)
# In the edge-case stories, also these.
EDGES = tuple(
    f"edge.{kind}"
    for kind in (
        "new_words",
        "tries_again",
        "corrects_data",
        "inquiry",
        "chargeback",
        "escalated",
        "refund_beside_dispute",
        "refused_while_disputed",
        "paid_by_refund",
        "refund_duplicate",
        "inquiry_closed",
        "chargeback_won",
        "chargeback_lost",
    )
)

# If staff resolve unknown outcomes, also these.
STAFF = tuple(
    f"staff.{kind}"
    for kind in (
        "paid",
        "paid_wrongly",
        "other_receipt",
        "refused",
        "done",
        "done_wrongly",
        "not_done",
        "not_done_wrongly",
        "refunds_again",
    )
)


@dataclass(slots=True)
class Tally:
    """How often each event happened, which crash points nodes met, and at which they crashed."""

    histories: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    passed: Counter[str] = field(default_factory=Counter)
    crashed: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        """Add another tally to this one."""
        self.histories += other.histories
        self.counts.update(other.counts)
        self.passed.update(other.passed)
        self.crashed.update(other.crashed)

    def as_json(self) -> dict[str, object]:
        """For a file, and for one line of JSON."""
        return {
            "histories": self.histories,
            "counts": dict(sorted(self.counts.items())),
            "passed": dict(sorted(self.passed.items())),
            "crashed": dict(sorted(self.crashed.items())),
        }

    @classmethod
    def from_json(cls, held: dict[str, dict[str, int]]) -> Tally:
        """The tally from the result of ``as_json``."""
        histories = held["histories"]
        assert isinstance(histories, int)
        return cls(histories, Counter(held["counts"]), Counter(held["passed"]), Counter(held["crashed"]))
