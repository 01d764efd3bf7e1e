"""One practice in the plan of an import."""

from __future__ import annotations

from dataclasses import dataclass, field

from polytill.domain.legacy_findings import ImportAction, LegacyFinding, Severity
from polytill.flows.admin.provider_configs import NewConfiguration
from polytill.flows.legacy.model import Found
from polytill.storage.practices import PracticeEntry


@dataclass(slots=True)
class PlannedPractice:
    """One row of the host: what would be done, and what was found. ``existing`` is the practice here, if there is one."""

    place: str
    external_id: str | None = None
    name: str = ""
    currency: str = ""
    country: str | None = None
    time_zone: str | None = None
    existing: PracticeEntry | None = None
    new: list[NewConfiguration] = field(default_factory=list, repr=False)  # their settings may be secret
    unchanged: list[str] = field(default_factory=list)
    findings: list[Found] = field(default_factory=list)

    @property
    def action(self) -> ImportAction:
        """What the import does with this practice."""
        if any(one.severity is not Severity.note for one in self.findings):
            return ImportAction.held_up
        if self.existing is None:
            return ImportAction.create
        return ImportAction.add if self.new else ImportAction.nothing

    def say(self, kind: LegacyFinding, pointer: str, detail: str) -> None:
        """Add a finding."""
        self.findings.append(Found(kind, pointer, detail))
