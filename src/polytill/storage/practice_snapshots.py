"""What a process keeps of a practice in memory, read in one statement: the practice's settings, its provider
configurations and their defaults. The first visit of a process to a practice waits for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from polytill.domain.localities import Locality
from polytill.domain.rollout import RolloutPhase
from polytill.domain.states import Environment
from polytill.storage import provider_configs
from polytill.storage.databases import PracticeDb
from polytill.storage.practice_profile import phase_of
from polytill.storage.provider_configs import Configuration

# A practice without a configuration is one row, too. A configuration has as many rows as it has kept sets and defaults.
_READ = (
    "SELECT s.default_currency_id, s.country, s.time_zone, s.rollout_phase,"  # noqa: S608
    " (SELECT COUNT(*) FROM routing_active WHERE version > 0) AS policies,"
    f" d.environment AS default_environment, d.currency_code AS default_currency, {provider_configs.COLUMNS}"
    f" FROM practices s LEFT JOIN practice_payment_providers p ON p.practice_id = s.id {provider_configs.KEPT}"
    f" LEFT JOIN currency_defaults d ON d.config_id = p.id WHERE s.id = $1 {provider_configs.IN_ORDER}"
)


@dataclass(frozen=True, slots=True)
class PracticeRows:
    """A practice's settings and configurations as they were at one moment. ``defaults``: which configuration is the
    default, by environment and currency. ``policies``: how many environments have a routing policy."""

    configurations: dict[str, Configuration]
    defaults: Mapping[tuple[Environment, str], int]
    currency_id: int
    place: Locality
    phase: RolloutPhase | None
    policies: int

    @property
    def revision(self) -> int:
        """What ``provider_configs.unchanged`` compares."""
        return provider_configs.revision(self.configurations)


async def read(db: PracticeDb) -> PracticeRows:
    """Read them in one statement."""
    rows = await db.fetch(_READ, db.practice_id)
    first: Any = rows[0]
    return PracticeRows(
        provider_configs.from_rows(row for row in rows if row["id"] is not None),
        {
            (Environment(row["default_environment"]), row["default_currency"]): row["id"]
            for row in rows
            if row["default_currency"] is not None
        },
        int(first["default_currency_id"]),
        Locality(first["country"], first["time_zone"]),
        phase_of(first["rollout_phase"]),
        int(first["policies"]),
    )
