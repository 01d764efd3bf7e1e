"""How far a listing was reconciled, and which earlier periods are incomplete: a newer version wrote rows in them.

Such a period stays open until all of it can be read, however long that takes; later periods are reconciled meanwhile.
Only the start of the first open period is stored. This process remembers what it did after that start; another process
reconciles it again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

# Periods overlap: a transaction has the provider's time in the listing and our time in our rows.
OVERLAP = timedelta(seconds=1800)


@dataclass(slots=True)
class Period:
    """A period to reconcile. ``after``: where the previous period ended, None the first time."""

    since: datetime
    until: datetime
    after: datetime | None
    looked_up: set[str] = field(default_factory=set)
    unread: bool = False


@dataclass(slots=True)
class Progress:
    """The progress in one environment of a configuration. ``kept`` is stored; ``until`` ignores the open periods."""

    kept: datetime | None
    until: datetime | None
    open: list[Period] = field(default_factory=list)

    def ended(self, period: Period) -> None:
        """Record that a period was reconciled. It stays open if an entry could not be read."""
        self.open = [one for one in self.open if one is not period]
        if period.unread:
            self.open = sorted((*self.open, period), key=lambda one: one.since)
        if self.until is None or self.until < period.until:
            self.until = period.until

    def to_keep(self) -> datetime | None:
        """The time to store: up to it no period is open."""
        return self.open[0].since + OVERLAP if self.open else self.until
