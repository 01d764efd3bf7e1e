"""The places that each closed type has to reach: where its members are written out again, for people or for a database.

``test_totality.py`` compares each place with its type. A place that forgets a member fails, and says what it is.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from itertools import dropwhile, takewhile

from simulation.judged import (
    JUDGED_CASES,
    JUDGED_DISPUTES,
    JUDGED_EVENTS,
    JUDGED_ORIGINS,
    NOT_JUDGED_CASES,
    NOT_JUDGED_EVENTS,
)

from polytill.cli.erasure import ELSEWHERE, WHY
from polytill.doctor import BEHIND
from polytill.domain.audit_actions import AuditAction
from polytill.domain.behind import BehindReason
from polytill.domain.event_types import EventType
from polytill.domain.jobs import JobKind, JobState, PartState, PauseReason
from polytill.domain.ledger import LedgerAccount, LedgerFact
from polytill.domain.legacy_findings import ImportAction, LegacyFinding
from polytill.domain.past_payments import BackfillAction, Certainty, Doubt, Rejection
from polytill.domain.personal_data import Elsewhere, WhyKept
from polytill.domain.review_cases import CaseAction, CaseKind, CaseResolution, CaseState
from polytill.domain.rollout import DifferenceReason, FieldState, RolloutPhase
from polytill.domain.routing import (
    FeeSource,
    HealthState,
    PolicyError,
    Strategy,
    Verdict,
    WhyExcluded,
    WhyFirst,
    WhyLater,
)
from polytill.domain.routing_policies import PolicyState
from polytill.domain.sources import Source
from polytill.domain.states import (
    ApiKeyKind,
    CaptureMode,
    ClusterState,
    CredentialState,
    DeliveryState,
    DetachmentState,
    DisputeState,
    EventState,
    IntegrationType,
    LinkState,
    OperationKind,
    PracticeState,
    ProviderStatus,
    RefundOrigin,
    RelayState,
    StaffRole,
)
from polytill.flows.admin.practices import KEY_PREFIXES
from polytill.flows.jobs.kinds import KINDS
from polytill.flows.payments.returned_amounts import REFUNDED_BY
from polytill.flows.refunds.disputes import ENDS
from polytill.web.console.flashes import REPLAYS
from polytill.web.console.review_cases import DONE
from tests.house.reading import ROOT, SOURCE

LANGUAGES = ("en", "fr", "sw")
FLOWS = "src/polytill/flows/"
TREES = ("owner", "practice")
OWNER, PRACTICE = (f"storage/migrations/{tree}" for tree in TREES)
_CODE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Place:
    """One place with the members of a type: what it has, and the members that need nothing there.

    ``is_exact``: nothing else is in this place, so that a name that is no member is a mistake, too.
    """

    type: type[StrEnum]
    name: str
    found: Callable[[], Collection[str]]
    without: frozenset[str] = frozenset()
    is_exact: bool = True

    def mistakes(self) -> Iterator[str]:
        """Each member that the place lacks, and each name in it that is no member."""
        members, found = {member.value for member in self.type}, set(self.found())
        for member in sorted(members - found - self.without):
            yield f"{self.name} has no {self.type.__name__} {member!r}."
        for other in sorted((found - members if self.is_exact else set()) | (self.without - members)):
            yield f"{self.name} has {other!r}, which is no {self.type.__name__}."


def texts(
    type_: type[StrEnum], group: str, is_exact: bool = True, prefix: str = "", without: frozenset[str] = frozenset()
) -> Iterator[Place]:
    """The texts of a group of the pages' language files, in each language."""
    for language in LANGUAGES:
        yield Place(
            type_,
            f"web/texts/{language}.toml [{group}]",
            lambda n=language: _group(n, group, prefix),
            without=without,
            is_exact=is_exact,
        )


def _group(language: str, group: str, prefix: str) -> set[str]:
    keys = tomllib.loads((SOURCE / f"web/texts/{language}.toml").read_text("utf-8"))[group]
    return {key.removeprefix(prefix) for key in keys if key.startswith(prefix)}


def by_name(type_: type[StrEnum], language: str, group: str) -> set[str]:
    """The members whose names are keys of a group of texts, by their values."""
    return {type_[key].value if key in type_.__members__ else key for key in _group(language, group, "")}


def _after(document: str, heading: str) -> str:
    return (ROOT / document).read_text("utf-8").partition(f"\n{heading}\n")[2]


def table(document: str, heading: str, column: int = 0) -> Callable[[], set[str]]:
    """The code spans in one column of the first table after a heading of a document."""

    def found() -> set[str]:
        section = _after(document, heading)
        lines = dropwhile(lambda line: not line.startswith("|"), re.split(r"\n#", section)[0].splitlines())
        rows = [line.strip("|").split("|") for line in takewhile(lambda line: line.startswith("|"), lines)]
        return {name for row in rows for name in _CODE.findall(row[column])}

    return found


def values(document: str, heading: str, member: str) -> Callable[[], set[str]]:
    """The code spans beside a member in the table after a heading: its possible values."""

    def found() -> set[str]:
        section = _after(document, heading)
        row = next(line for line in section.splitlines() if line.startswith(f"| `{member}`"))
        return set(_CODE.findall(row.split("|")[2]))

    return found


@cache
def _sources(folder: str) -> str:
    return "\n".join(path.read_text("utf-8") for path in sorted((ROOT / folder).rglob("*.py")))


def written_in(folder: str, type_: type[StrEnum]) -> Callable[[], set[str]]:
    """The members that code in a folder names, as ``CaseKind.notice``."""

    def found() -> set[str]:
        names = set(re.findall(rf"\b{type_.__name__}\.(\w+)", _sources(folder))) - {"value", "items"}
        return {type_[name].value if name in type_.__members__ else name for name in names}

    return found


def quoted_in(folder: str, type_: type[StrEnum]) -> Callable[[], set[str]]:
    """The members that code in a folder names, also as a string of its own."""

    def found() -> set[str]:
        return {m.value for m in type_ if re.search(rf"[\"']{re.escape(m.value)}[\"']", _sources(folder))} | written_in(
            folder, type_
        )()

    return found


def checked(column: str, tree: str = "practice") -> Callable[[], set[str]]:
    """The values that the migrations' CHECK of a column, such as ``refunds.origin``, allows."""

    def found() -> set[str]:
        folder = SOURCE / f"storage/migrations/{tree}/versions"
        sql = "\n".join(path.read_text("utf-8") for path in sorted(folder.iterdir()) if path.is_file())
        checks = re.findall(rf"ck_{column.replace('.', '_')} CHECK \(\w+ IN \(([^)]*)\)", sql)
        return set(re.findall(r"'(\w+)'", checks[-1])) if checks else set()

    return found


def reference(type_: type[StrEnum]) -> Place:
    """The API reference, which ``./run reference`` writes from the OpenAPI document."""

    def found() -> set[str]:
        section = _after("docs/api/schemas.md", f"## {type_.__name__}").partition("\n## ")[0]
        return set(re.findall(r"^\* `([^`]+)`", section, re.MULTILINE))

    return Place(type_, "docs/api/schemas.md (call ./run reference)", found)


PLACES: list[Place] = [
    *(
        reference(type_)
        for type_ in (
            *(CaseKind, CaseState, CaseAction, EventType, RefundOrigin, DisputeState, ApiKeyKind),
            *(PracticeState, StaffRole, ProviderStatus, IntegrationType, CaptureMode, OperationKind, DeliveryState),
        )
    ),
    # ── Review cases ──
    *texts(CaseKind, "case"),
    *texts(CaseKind, "case_help"),
    Place(CaseKind, "docs/running.md, the table of review cases", table("docs/running.md", "## Review cases")),
    Place(CaseKind, "src/polytill/flows (nothing opens such a case)", written_in(FLOWS, CaseKind)),
    Place(CaseKind, "storage/migrations/practice, CHECK of operator_cases.kind", checked("operator_cases.kind")),
    Place(CaseKind, "simulation/judged.py", lambda: {*JUDGED_CASES, *NOT_JUDGED_CASES}),
    Place(CaseKind, "tests (no test has such a case)", quoted_in("tests/", CaseKind), is_exact=False),
    *texts(CaseResolution, "resolution"),
    Place(CaseResolution, "src/polytill/flows (nothing ends a case in this way)", written_in(FLOWS, CaseResolution)),
    # ── Sources ──
    *texts(Source, "source", is_exact=False),
    Place(Source, "docs/api.md, the table of actors", table("docs/api.md", "**`actor`** of a line:"), is_exact=False),
    Place(Source, "src/polytill/flows (no outcome has this source)", written_in(FLOWS, Source)),
    Place(Source, "tests (no test has this source)", quoted_in("tests/", Source), is_exact=False),
    # ── Personal data ──
    reference(WhyKept),
    reference(Elsewhere),
    *texts(WhyKept, "why_kept"),
    *texts(Elsewhere, "elsewhere"),
    Place(WhyKept, "docs/personal-data.md", table("docs/personal-data.md", "### What is kept for now")),
    Place(WhyKept, "cli/erasure.py", lambda: WHY),
    Place(Elsewhere, "cli/erasure.py", lambda: ELSEWHERE),
    # ── Refunds and disputes ──
    Place(RefundOrigin, "storage/migrations/practice, CHECK of refunds.origin", checked("refunds.origin")),
    Place(RefundOrigin, "docs/events.md, the table of origins", table("docs/events.md", "**`origin`** of a refund:")),
    Place(RefundOrigin, "src/polytill/flows (nothing makes such a refund)", written_in(FLOWS, RefundOrigin)),
    Place(RefundOrigin, "flows/payments/returned_amounts.py (ends no case)", lambda: REFUNDED_BY),
    Place(RefundOrigin, "simulation/judged.py", lambda: JUDGED_ORIGINS),
    *texts(DisputeState, "dispute", is_exact=False),
    *texts(DisputeState, "dispute", is_exact=False, prefix="inquiry_"),
    *texts(DisputeState, "action", is_exact=False, prefix="dispute_"),
    Place(DisputeState, "storage/migrations/practice, CHECK of disputes.state", checked("disputes.state")),
    Place(DisputeState, "docs/events.md, `state` of a dispute", values("docs/events.md", "## Disputes", "state")),
    Place(DisputeState, "flows/refunds/disputes.py (leads to nothing)", lambda: ENDS, without=frozenset({"open"})),
    Place(DisputeState, "simulation/judged.py", lambda: JUDGED_DISPUTES),
    # ── Webhooks from providers ──
    reference(EventState),
    *texts(EventState, "delivery"),
    Place(EventState, f"{PRACTICE}, CHECK of webhook_events.state", checked("webhook_events.state")),
    Place(EventState, "web/console/flashes.py (no message after a replay)", lambda: REPLAYS),
    Place(EventState, "docs/webhook-relay.md", table("docs/webhook-relay.md", "## States")),
    reference(RelayState),
    *texts(RelayState, "relay", is_exact=False),
    Place(RelayState, f"{PRACTICE}, CHECK of webhook_relays.state", checked("webhook_relays.state")),
    Place(RelayState, "src/polytill/flows (no relay ends so)", written_in(FLOWS, RelayState), is_exact=False),
    Place(RelayState, "docs/webhook-relay.md", table("docs/webhook-relay.md", "## Relays")),
    Place(RelayState, "tests (no test has such a relay)", quoted_in("tests/", RelayState), is_exact=False),
    # ── API keys ──
    Place(ApiKeyKind, "storage/migrations/owner, CHECK of api_keys.kind", checked("api_keys.kind", "owner")),
    Place(ApiKeyKind, "flows/admin/practices.py (has no prefix)", lambda: KEY_PREFIXES),
    # ── The audit log ──
    *(
        Place(AuditAction, f"web/texts/{language}.toml [action]", lambda n=language: by_name(AuditAction, n, "action"))
        for language in LANGUAGES
    ),
    # ── Routing ──
    *texts(WhyFirst, "why"),
    Place(WhyFirst, "src/polytill/flows (no provider is first for it)", written_in(FLOWS, WhyFirst)),
    *texts(WhyLater, "why_later"),
    Place(WhyLater, "src/polytill/flows (no provider is later for it)", written_in(FLOWS, WhyLater)),
    *texts(Verdict, "verdict"),
    Place(Verdict, "src/polytill/flows (no health leads to it)", written_in(FLOWS, Verdict)),
    Place(HealthState, "src/polytill/flows (no provider is in this state)", written_in(FLOWS, HealthState)),
    *texts(Strategy, "strategy"),
    Place(Strategy, "src/polytill/flows (orders no providers)", written_in(FLOWS, Strategy)),
    Place(FeeSource, "src/polytill/flows (estimates no fee)", written_in(FLOWS, FeeSource)),
    *texts(PolicyError, "fault", is_exact=False),
    Place(PolicyError, "src/polytill/flows (no policy has this error)", written_in(FLOWS, PolicyError)),
    *texts(Strategy, "strategy_help", is_exact=False),
    *texts(PolicyState, "policy_state"),
    Place(PolicyState, "docs/api/schemas.md (call ./run reference)", reference(PolicyState).found),
    *texts(WhyExcluded, "excluded"),
    Place(WhyExcluded, "src/polytill/flows (excludes no provider)", written_in(FLOWS, WhyExcluded)),
    # ── The rollout ──
    *texts(RolloutPhase, "rollout_phase"),
    *texts(RolloutPhase, "rollout_phase_help"),
    *texts(FieldState, "field_state"),
    *texts(DifferenceReason, "difference"),
    reference(RolloutPhase),
    reference(FieldState),
    reference(DifferenceReason),
    Place(DifferenceReason, "docs/rollout.md, the table of reasons", table("docs/rollout.md", "## 3. shadow: compare")),
    Place(RolloutPhase, "docs/rollout.md, the table of phases", table("docs/rollout.md", "## Phases")),
    Place(
        DifferenceReason,
        "tests/rollout (no test has it)",
        quoted_in("tests/rollout/", DifferenceReason),
        is_exact=False,
    ),
    Place(RolloutPhase, f"{OWNER}, CHECK of practice_rollouts.phase", checked("practice_rollouts.phase", "owner")),
    Place(
        RolloutPhase, f"{OWNER}, CHECK of practice_rollouts.moving_to", checked("practice_rollouts.moving_to", "owner")
    ),
    Place(RolloutPhase, f"{PRACTICE}, CHECK of practices.rollout_phase", checked("practices.rollout_phase")),
    Place(
        FieldState,
        f"{OWNER}, CHECK of practice_rollouts.field_state",
        checked("practice_rollouts.field_state", "owner"),
    ),
    Place(
        DifferenceReason,
        f"{OWNER}, CHECK of rollout_differences.reason",
        checked("rollout_differences.reason", "owner"),
    ),
    Place(
        DifferenceReason,
        "flows/rollout/differences.py (no difference has it)",
        written_in(f"{FLOWS}rollout/", DifferenceReason),
    ),
    # ── Jobs ──
    Place(JobKind, "flows/jobs/kinds.py (has no steps)", lambda: KINDS),
    Place(JobKind, "docs/running.md, the table of kinds", table("docs/running.md", "## Jobs")),
    *(reference(type_) for type_ in (JobKind, JobState, PartState, PauseReason)),
    *texts(JobKind, "job_kind"),
    *texts(JobState, "job_state"),
    *texts(PartState, "part_state"),
    *texts(PauseReason, "pause_reason"),
    *(
        Place(kind, f"{OWNER}, CHECK of {column}", checked(column, "owner"))
        for kind, column in (
            *((JobKind, "jobs.kind"), (JobState, "jobs.state"), (PauseReason, "jobs.pause_reason")),
            (PartState, "job_practices.state"),
        )
    ),
    # ── Practices and their people ──
    Place(PracticeState, "storage/migrations/owner, CHECK of practices.state", checked("practices.state", "owner")),
    *texts(PracticeState, "practice_state"),
    Place(BehindReason, "storage/migrations/owner, CHECK of practices.behind", checked("practices.behind", "owner")),
    Place(BehindReason, "doctor.py, BEHIND", lambda: {reason.value for reason in BEHIND}),
    Place(ClusterState, f"{OWNER}, CHECK of clusters.state", checked("clusters.state", "owner")),
    *texts(ClusterState, "cluster_state"),
    reference(ClusterState),
    *(
        Place(StaffRole, f"storage/migrations/{tree}, CHECK of users.role", checked("users.role", tree))
        for tree in TREES
    ),
    *texts(StaffRole, "role"),
    # ── Providers ──
    Place(ProviderStatus, f"{OWNER}, CHECK of payment_providers.status", checked("payment_providers.status", "owner")),
    *texts(ProviderStatus, "catalog_status"),
    Place(
        IntegrationType,
        f"{OWNER}, CHECK of payment_providers.integration_type",
        checked("payment_providers.integration_type", "owner"),
    ),
    Place(
        CredentialState,
        f"{PRACTICE}, CHECK of provider_credentials.state",
        checked("provider_credentials.state"),
        without=frozenset({"active"}),  # they are columns of the configuration
    ),
    # ── Payments and their ledger ──
    Place(CaptureMode, f"{PRACTICE}, CHECK of payments.capture_mode", checked("payments.capture_mode")),
    Place(OperationKind, f"{PRACTICE}, CHECK of payment_operations.kind", checked("payment_operations.kind")),
    Place(LinkState, f"{PRACTICE}, CHECK of payment_links.state", checked("payment_links.state")),
    *texts(LinkState, "link_status", is_exact=False),
    Place(
        DetachmentState,
        f"{PRACTICE}, CHECK of saved_method_detachments.state",
        checked("saved_method_detachments.state"),
    ),
    Place(LedgerFact, f"{PRACTICE}, CHECK of ledger_lines.fact", checked("ledger_lines.fact")),
    Place(LedgerFact, "src/polytill/flows (nothing books it)", written_in(FLOWS, LedgerFact)),
    Place(LedgerAccount, "src/polytill/flows (nothing is booked on it)", written_in(FLOWS, LedgerAccount)),
    Place(LedgerAccount, "storage/overview.py (no sum has it)", written_in("src/polytill/storage/", LedgerAccount)),
    # ── Import ──
    Place(LegacyFinding, "docs/legacy-import.md, the table of findings", table("docs/legacy-import.md", "## Findings")),
    Place(LegacyFinding, "src/polytill/flows (nothing reports it)", written_in(FLOWS, LegacyFinding)),
    Place(ImportAction, "docs/legacy-import.md, the table of actions", table("docs/legacy-import.md", "## The plan")),
    Place(ImportAction, "src/polytill/flows (nothing ends in it)", written_in(FLOWS, ImportAction)),
    # ── Payments that were taken before polytill ──
    reference(Certainty),
    *texts(Certainty, "certainty", is_exact=False, without=frozenset({"rejected"})),
    Place(
        Certainty, f"{PRACTICE}, CHECK of payments.certainty", checked("payments.certainty"), frozenset({"rejected"})
    ),
    Place(Certainty, "docs/backfill.md", table("docs/backfill.md", "## How sure each is")),
    reference(Doubt),
    *texts(Doubt, "doubt"),
    Place(Doubt, "docs/backfill.md", table("docs/backfill.md", "### Uncertain")),
    Place(Doubt, "src/polytill/flows (nothing is doubted so)", written_in(FLOWS, Doubt)),
    Place(Doubt, "tests (no test has this doubt)", quoted_in("tests/", Doubt), is_exact=False),
    Place(Rejection, "docs/backfill.md", table("docs/backfill.md", "### Rejected")),
    Place(Rejection, "src/polytill/flows (nothing is rejected so)", written_in(FLOWS, Rejection)),
    Place(Rejection, "tests (no test has such a row)", quoted_in("tests/", Rejection), is_exact=False),
    Place(BackfillAction, "docs/backfill.md", table("docs/backfill.md", "## The report")),
    Place(BackfillAction, "src/polytill/flows (no row ends so)", written_in(FLOWS, BackfillAction)),
    # ── Events ──
    Place(DeliveryState, f"{OWNER}, CHECK of event_deliveries.state", checked("event_deliveries.state", "owner")),
    Place(EventType, "docs/events.md, the table of types", table("docs/events.md", "## Types")),
    Place(EventType, "src/polytill/flows (nothing records such an event)", written_in(FLOWS, EventType)),
    Place(EventType, "simulation/judged.py", lambda: {*JUDGED_EVENTS, *NOT_JUDGED_EVENTS}),
    Place(EventType, "tests (no test has such an event)", quoted_in("tests/", EventType), is_exact=False),
    Place(CaseAction, "docs/api.md, the table of actions", table("docs/api.md", "### Resolve")),
    Place(CaseAction, "web/console/review_cases.py (no message after it)", lambda: DONE),
    Place(CaseAction, "web/api/cases.py", written_in("src/polytill/web/api/", CaseAction)),
    Place(CaseAction, "cli/cases.py", written_in("src/polytill/cli/", CaseAction)),
    Place(CaseAction, "web/templates/practice (no button)", lambda: _buttons()),
]


def _buttons() -> set[str]:
    pages = "".join(path.read_text("utf-8") for path in (SOURCE / "web/templates/practice").glob("case*.html"))
    return set(re.findall(r'name="action" value="(\w+)"', pages))
