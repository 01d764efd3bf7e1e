"""How far a listing was compared, and the times before that for which it is not done: rows that a newer version wrote.

A time with such a row stays open until all of it can be read, however long that takes, and what came after it is compared
meanwhile. On disk stands only where the first open time begins; what lies behind it is known to this process, and is
compared once more by another one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

# Windows overlap: a transaction stands in the listing by the provider's clock and in our rows by ours.
OVERLAP = timedelta(seconds=1800)


@dataclass(slots=True)
class Stretch:
    """What is compared between two moments. ``after``: up to when was compared before, None the first time."""

    since: datetime
    until: datetime
    after: datetime | None
    asked_again: set[str] = field(default_factory=set)
    unread: bool = False


@dataclass(slots=True)
class Compared:
    """One environment of a configuration. ``kept`` is on disk; ``until`` is how far was compared but for the open ones."""

    kept: datetime | None
    until: datetime | None
    open: list[Stretch] = field(default_factory=list)

    def ended(self, stretch: Stretch) -> None:
        """A time was compared; it stays open where something could not be read."""
        self.open = [one for one in self.open if one is not stretch]
        if stretch.unread:
            self.open = sorted((*self.open, stretch), key=lambda one: one.since)
        if self.until is None or self.until < stretch.until:
            self.until = stretch.until

    def to_keep(self) -> datetime | None:
        """Up to when nothing is open."""
        return self.open[0].since + OVERLAP if self.open else self.until
