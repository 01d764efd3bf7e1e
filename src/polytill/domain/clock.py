"""Sources of time and randomness, passed in as values so that a simulation can supply its own."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import overload


@dataclass(frozen=True, slots=True)
class World:
    """A source of time and randomness. ``time_s`` returns seconds since the epoch, ``random_bytes`` returns n bytes.
    ``elapsed_s`` returns seconds from a monotonic clock: it never jumps, unlike the time of day."""

    time_s: Callable[[], float] = time.time
    random_bytes: Callable[[int], bytes] = secrets.token_bytes
    elapsed_s: Callable[[], float] = time.monotonic
    # Whether the clock of a database server can be compared with this one. False in a simulation, unless it says
    # otherwise.
    servers_tell: bool | None = None

    @property
    def asks_servers(self) -> bool:
        """Whether to ask a database server for its time."""
        return self.time_s is time.time if self.servers_tell is None else self.servers_tell

    def now(self) -> datetime:
        """The current time, timezone-aware, in UTC."""
        return datetime.fromtimestamp(self.time_s(), UTC)

    def after(self, seconds: float) -> datetime:
        """The time this many seconds from now."""
        return self.now() + timedelta(seconds=seconds)


@overload
def wire_time(moment: datetime) -> str: ...
@overload
def wire_time(moment: None) -> None: ...
@overload
def wire_time(moment: datetime | None) -> str | None: ...
def wire_time(moment: datetime | None) -> str | None:
    """A time in the format of the API: RFC 3339, UTC, milliseconds."""
    if moment is None:
        return None
    return moment.isoformat("T", "milliseconds")[:23] + "Z"  # by position, which is faster; a response has many
