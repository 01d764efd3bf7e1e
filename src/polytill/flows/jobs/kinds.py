"""The steps of each kind of job. A new kind is a module of this package and one line here."""

from __future__ import annotations

from polytill.domain.jobs import JobKind
from polytill.flows.jobs import backup, delete, migrate, move
from polytill.flows.jobs.step import Kind

KINDS: dict[JobKind, Kind] = {
    JobKind.migrate: migrate.KIND,
    JobKind.backup: backup.KIND,
    JobKind.move: move.KIND,
    JobKind.delete: delete.KIND,
}
