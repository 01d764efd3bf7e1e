"""Time and randomness as values that are handed in, so that a simulation can hand in its own."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta


@dataclass(frozen=True, slots=True)
class World:
    """Where time and randomness come from. ``time_s`` answers seconds since the epoch, ``random_bytes`` n bytes;
    ``elapsed_s`` answers seconds since some moment, and never jumps, as the time of the day does."""

    time_s: Callable[[], float] = time.time
    random_bytes: Callable[[int], bytes] = secrets.token_bytes
    elapsed_s: Callable[[], float] = time.monotonic
    # Whether a database server's clock tells the same time: not where the time is made up, unless it is said here.
    servers_tell: bool | None = None

    @property
    def asks_servers(self) -> bool:
        """Whether to ask a database server what time it is."""
        return self.time_s is time.time if self.servers_tell is None else self.servers_tell

    def now(self) -> datetime:
        """The present moment, aware, in UTC."""
        return datetime.fromtimestamp(self.time_s(), UTC)

    def after(self, seconds: float) -> datetime:
        """The moment that many seconds from now."""
        return self.now() + timedelta(seconds=seconds)


def wire_time(moment: datetime | None) -> str | None:
    """A moment as it stands on the wire: RFC 3339, UTC, milliseconds."""
    if moment is None:
        return None
    return moment.isoformat(timespec="milliseconds")[:23] + "Z"
