"""Whether a practice's database is behind: older than what the owner database knows of it, or a copy.

A database that was restored from a backup does not know what happened since: a paid payment would be payable again. So
the directory keeps two things of each practice: the epoch, which the database has as well, and the mark, which is the
last event that was forwarded from it and the newest payment that was recorded. Each new connection compares them, and
the place of the database with the one in which it was created. Of the event, a mark has the position and the id: a
restored database that has taken new events meanwhile has another event at that position. Whatever begins to move money
compares epoch and mark again in its own transaction (``hold``): rows may be restored into the same database, under open
connections.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from polytill.domain.behind import BehindReason
from polytill.domain.errors import PracticeBehind, WrongPractice
from polytill.storage.units import Steps, Unit


class Mark(NamedTuple):
    """The last event that was forwarded from a practice's database, by its position there and its id, and the newest of
    its payments that was recorded. None: there was none yet."""

    position: int = 0
    event_id: str | None = None
    payment_id: str | None = None


class Identity(NamedTuple):
    """What a practice's database says of itself.

    Args:
        practice_id: The practice that it belongs to.
        epoch: Its epoch.
        birthplace: Where it was created, if its engine can tell: ``system/database`` of PostgreSQL.
        place: Where it is now, in the same form.
        visit: Changes whenever another database may be at the same address: a server's start, or a file.
        has_mark: Whether it has the event and the payment of the mark.
    """

    practice_id: int
    epoch: str
    birthplace: str | None
    place: str | None
    visit: str
    has_mark: bool


_EVENT = "EXISTS (SELECT 1 FROM events WHERE id = CAST($1 AS BIGINT) AND event_id = $2)"
_PAYMENT = "EXISTS (SELECT 1 FROM payments WHERE id = $3)"
_READ = (
    f"SELECT practice_id, epoch, birthplace, (CAST($2 AS TEXT) IS NULL OR {_EVENT})"
    f" AND (CAST($3 AS TEXT) IS NULL OR {_PAYMENT}) AS has_mark"
)
READ_SQLITE = f"{_READ} FROM identity"
_DATABASE = "(SELECT CAST(oid AS TEXT) FROM pg_database WHERE datname = current_database())"
_SYSTEM = "(SELECT CAST(system_identifier AS TEXT) FROM pg_control_system())"
# A failover to a standby keeps system and database; a restored dump and a copied database are another database. The
# second text is for a user who may not call ``pg_control_system``: then only databases of one server are told apart.
PLACE = f"{_SYSTEM} || '/' || {_DATABASE}"
PLACE_WITHOUT_SYSTEM = f"'/' || {_DATABASE}"


def read_postgres(place: str) -> str:
    """The query for what a PostgreSQL database says of itself; ``place``: ``PLACE`` or ``PLACE_WITHOUT_SYSTEM``."""
    return f"{_READ}, {place} AS place, CAST(pg_postmaster_start_time() AS TEXT) AS started FROM identity"


def place_postgres(place: str) -> str:
    """The query for where a PostgreSQL database is."""
    return f"SELECT {place} AS place"


def of_postgres(row: Any) -> Identity:
    """The identity in a row of ``read_postgres``."""
    visit = f"{row['place']} {row['started']}"
    return Identity(row["practice_id"], row["epoch"], row["birthplace"], row["place"], visit, row["has_mark"])


def of_sqlite(row: Any, file: tuple[int, int] | None) -> Identity:
    """The identity in a row of ``READ_SQLITE``. A file has no birthplace: moving an installation to another disk changes
    everything that could tell a copy from the original."""
    return Identity(row["practice_id"], row["epoch"], None, None, str(file), bool(row["has_mark"]))


class Anchor:
    """What this process knows of one practice's database. Each new connection to it is checked (``check``)."""

    __slots__ = (
        "_visit",
        "at_birthplace",
        "behind",
        "checks",
        "epoch",
        "is_copied",
        "is_missing",
        "mark",
        "must_read",
        "owners_position",
        "practice_id",
    )

    def __init__(self, practice_id: int, epoch: str, mark: Mark) -> None:
        self.practice_id = practice_id
        self.epoch = epoch
        self.mark = mark
        # The position of the mark as the owner database had it when it was last read. It may be an older copy itself.
        self.owners_position = mark.position
        self.behind: BehindReason | None = None
        # Whether the installation is a copy, whose databases are all in another place; and, if the engine can tell, whether
        # this one is where it was created.
        self.is_copied = False
        self.at_birthplace: bool | None = None
        # Whether the database may have been replaced since the mark was read: then a newer mark may be in the directory.
        self.must_read = False
        # Whether the database was not found at its place: it may have been moved since the directory was read.
        self.is_missing = False
        self.checks = 0
        self._visit: str | None = None

    def learn(self, epoch: str, mark: Mark) -> None:
        """Take what the directory says, unless this process knows a later mark of the same epoch."""
        if epoch != self.epoch:
            self.epoch, self.mark = epoch, mark
            return
        known = self.mark
        event = mark[:2] if mark.position > known.position else known[:2]
        self.mark = Mark(*event, max(mark.payment_id or "", known.payment_id or "") or None)

    def read(self, epoch: str, mark: Mark) -> None:
        """Take what was just read from the directory."""
        self.owners_position = mark.position
        self.learn(epoch, mark)

    def check(self, found: Identity, asked: Mark) -> None:
        """Compare what a database says of itself. ``WrongPractice`` if it belongs to another practice.

        ``asked``: the mark that was looked for. If a later one has become known meanwhile, the database is compared again
        before money is moved.
        """
        if found.practice_id != self.practice_id:
            raise WrongPractice
        self.checks += 1
        if (self._visit is not None and self._visit != found.visit) or asked != self.mark:
            self.must_read = True
        self._visit = found.visit
        self.behind = self._compared(found)

    def _compared(self, found: Identity) -> BehindReason | None:
        if found.epoch != self.epoch:
            return BehindReason.epoch
        is_away = is_elsewhere(found.birthplace, found.place)
        self.at_birthplace = None if found.birthplace is None or found.place is None else not is_away
        if is_away and not self.is_copied:
            return BehindReason.birthplace
        return None if found.has_mark else BehindReason.mark

    def must_be_current(self) -> None:
        """``PracticeBehind`` if the database is behind, as far as this process knows."""
        if self.behind is not None:
            raise PracticeBehind


def is_elsewhere(birthplace: str | None, place: str | None) -> bool:
    """Whether a database is in another place than where it was created. What one of both does not tell is not
    compared."""
    if birthplace is None or place is None:
        return False
    (system, database), (now_system, now_database) = birthplace.split("/"), place.split("/")
    return database != now_database or (bool(system and now_system) and system != now_system)


def hold(unit: Unit, anchor: Anchor) -> None:
    """Commit the unit only in the database whose epoch and mark this process knows. ``Stale`` otherwise, and the database
    is compared again before the next try."""
    sql, args = held(anchor)
    unit.needs_current = True
    unit.add(sql, *args, expect=1)


def hold_decision(unit: Unit, anchor: Anchor) -> None:
    """As ``hold``, for what staff decided. While a database is adopted, earlier decisions come back into it."""
    if anchor.behind is None:
        hold(unit, anchor)


def held(anchor: Anchor) -> tuple[str, list[Any]]:
    """A query, with its arguments, that finds a row only in the database whose epoch and mark this process knows."""
    sql = "SELECT 1 FROM identity WHERE epoch = $1"
    args: list[Any] = [anchor.epoch]
    position, event_id, payment_id = anchor.mark
    if event_id is not None:
        args += [position, event_id]
        sql += " AND EXISTS (SELECT 1 FROM events WHERE id = $2 AND event_id = $3)"
    if payment_id is not None:
        args.append(payment_id)
        sql += f" AND EXISTS (SELECT 1 FROM payments WHERE id = ${len(args)})"  # noqa: S608
    return sql, args


def stamp(unit: Steps, practice_id: int, epoch: str, birthplace: str | None, now: Any, installation: str = "") -> None:
    """Write into a new database to whom it belongs, its epoch, where it was created, and the installation's uid."""
    unit.add(
        "INSERT INTO identity (id, practice_id, epoch, birthplace, created_at, installation) VALUES (1, $1, $2, $3, $4, $5)",
        practice_id,
        epoch,
        birthplace,
        now,
        installation,
        expect=1,
    )


def renew(unit: Steps, epoch: str, birthplace: str | None) -> None:
    """Give an adopted database a new epoch, and its place as its birthplace."""
    unit.add("UPDATE identity SET epoch = $1, birthplace = $2 WHERE id = 1", epoch, birthplace, expect=1)


def closed(epoch: str) -> str:
    """The epoch of a database that was current under ``epoch`` until it was closed, because another one takes its place."""
    return f"{epoch}-closed"


def close(unit: Steps, epoch: str) -> None:
    """Close a database under its epoch: from then on it is behind. ``Stale`` if it has another epoch."""
    unit.add("UPDATE identity SET epoch = $2 WHERE epoch = $1", epoch, closed(epoch), expect=1)
