"""Flutterwave's chargebacks: booked and listed only, because the shape of their webhooks is not documented."""

from __future__ import annotations

from polytill.simulator.books import USUAL, Account, Dispute, DisputeStory, Transaction
from polytill.simulator.wire import Provider


class Chargebacks(Provider):
    """A provider whose chargebacks are numbered in ``chargeback_series``, a name and the number before the first."""

    chargeback_series: tuple[str, int]

    def dispute(self, account: Account, transaction: Transaction, outcome: str, story: DisputeStory = USUAL) -> Dispute:
        made, now = transaction.dispute_for(story), self.now
        if made is None:
            number = self.network.number(*self.chargeback_series)
            amount = story.amount or transaction.refundable or transaction.captured
            made = Dispute(str(number), amount, "open", now, reason=story.reason)
            transaction.disputes.append(made)
        if outcome != "open":
            made.status, made.closed_at = "won" if outcome == "closed" else outcome, now
        return made
