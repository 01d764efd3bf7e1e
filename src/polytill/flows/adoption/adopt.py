"""``polytill practices adopt``: bring a restored database up to date, compare it with its providers, and let its practice
take payments again.

Every step may be repeated, so that a run that was killed is simply started again: until the new epoch is in both
databases, the practice stays behind.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from polytill.domain.audit_actions import AuditAction
from polytill.domain.behind import BehindReason
from polytill.domain.errors import Conflict
from polytill.domain.ids import new_id
from polytill.domain.review_cases import CaseKind, CaseState
from polytill.domain.states import Environment
from polytill.flows.adoption.bring_back import Lost, bring_back, lost
from polytill.flows.context import Context, Practice
from polytill.flows.erasure import erase_again
from polytill.flows.handlers import handler_for
from polytill.flows.reconciliation.payments import reconcile
from polytill.storage import anchors, audit, cases, erasures, events, listings, practices, staff
from polytill.storage.provider_configs import Account
from polytill.storage.units import Unit

# Providers list a transaction some minutes after it was made, and clocks differ.
LISTED_WITHIN = timedelta(hours=1)
MOST_WINDOWS = 60  # of eight days each


@dataclass(slots=True)
class Adoption:
    """What one run found and did.

    Args:
        reason: Why the database is behind; None if it is not.
        newest: When its newest event was recorded: what happened later may be missing.
        payments: How many payments came back, or would.
        attempts: Further attempts of payments that it has.
        refunds: Refunds that came back.
        looked_up: Payments that it has in an earlier state.
        undecided: Sentences about what must be decided first; the practice stays behind.
        notes: Sentences about what nothing here can know, for an admin to check.
        is_done: Whether the practice takes payments again.
        erased_again: How many rows had personal data of customers that were erased after the copy was made.
    """

    reason: BehindReason | None
    newest: datetime | None
    payments: int = 0
    attempts: int = 0
    refunds: int = 0
    looked_up: int = 0
    undecided: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    is_done: bool = False
    erased_again: int = 0

    def count(self, found: Lost) -> None:
        """Count what is lost of one payment."""
        self.payments += found.is_payment
        self.attempts += 0 if found.is_payment else len(found.attempts)
        self.refunds += len(found.refunds)
        self.looked_up += bool(found.changed)


async def adopt(context: Context, practice_id: int, actor: str, is_dry: bool = False) -> Adoption:
    """Adopt a practice's database that is behind. ``Conflict`` if it is not behind.

    Payments, attempts and refunds that the owner database has recorded come back, each provider that lists transactions is
    compared, and every password and session of the practice's staff ends. While anything is undecided, the practice stays behind.

    Args:
        context: The process's tools.
        practice_id: The practice.
        actor: Who adopts it, for the audit log.
        is_dry: Only count what is missing, and change nothing.
    """
    practice = await context.practice(practice_id)
    await context.opening.read_mark(practice_id)
    if practice.db.anchor.behind is None:
        raise Conflict("This practice's database is current. There is nothing to adopt.", code="not_behind")
    begun = practice.now()
    found = Adoption(practice.db.anchor.behind, (await events.newest(practice.db))[1])
    async for one in lost(practice):
        found.count(one)
        if not is_dry:
            found.undecided += await bring_back(practice, one, actor)
    if not is_dry:
        await _compare(practice)
    found.undecided += await _undecided(practice, begun, found.notes, is_dry)
    found.notes += await _to_check(practice, found.newest)
    if not is_dry and not found.undecided:
        await _finish(practice, actor, found)
        found.erased_again = await erase_again(context, practice_id)
    return found


async def _compare(practice: Practice) -> None:
    """Reconcile every account from where the restored database stopped, until nothing is left to compare."""
    before = None
    for _ in range(MOST_WINDOWS):
        await reconcile(practice.context, practice.id)
        reached = [await listings.kept(practice.db, a.config_id, a.environment) for a in await _accounts(practice)]
        if reached == before:
            return
        before = reached


async def _accounts(practice: Practice) -> list[Account]:
    configurations = (await practice.context.configured(practice.db)).configurations.values()
    found = (one.account(environment) for one in configurations for environment in Environment)
    return [account for account in found if account is not None]


async def _undecided(practice: Practice, begun: datetime, notes: list[str], is_dry: bool) -> list[str]:
    found = []
    for account in await _accounts(practice):
        name = f"{account.provider_code} ({account.environment})"
        handler = await handler_for(practice.context, account.provider_code)
        if handler is not None and handler.confirmed_by_staff:
            continue
        if handler is not None and handler.list_transactions is None:
            notes.append(f"{name} lists no transactions. Compare its dashboard with the payments of the missing time.")
            continue
        reached = await listings.kept(practice.db, account.config_id, account.environment)
        if not is_dry and (reached is None or reached < begun - LISTED_WITHIN):
            found.append(f"{name} could not be compared up to now. Check its keys, and adopt again later.")
    unknown = [one for one in await cases.listed(practice.db, CaseState.open, limit=1000) if one.kind in MISSING]
    if unknown:
        kinds = "1 transaction is" if len(unknown) == 1 else f"{len(unknown)} transactions are"
        found.append(
            f"{kinds} known to a provider and not here. Resolve the review cases of the kind"
            f" {CaseKind.listing_missing_here}, then adopt again."
        )
    return found


MISSING = frozenset({CaseKind.listing_missing_here})


async def _to_check(practice: Practice, newest: datetime | None) -> list[str]:
    """What only the practice's own database knew, and has forgotten."""
    since = "the copy was made" if newest is None else f"{newest:%Y-%m-%d %H:%M} UTC"
    people = [one.email for one in await staff.listed(practice.db) if one.is_active]
    named = (
        f" Active there: {', '.join(people)}. Make a new link for an admin (`polytill people reset EMAIL --practice"
        f" {practice.id}`), who checks the roles and makes one for each of the others who still works there."
        if people
        else ""
    )
    return [
        f"Staff who were deactivated or got another role after {since} are as they were before, so all passwords,"
        f" sessions and links of the practice's staff end with the adoption.{named}",
        f"Provider keys, settings, payment links and routing policies that were changed after {since} are as before.",
        "Names, e-mail addresses, references and metadata of payments that came back are empty.",
    ]


async def _finish(practice: Practice, actor: str, found: Adoption) -> None:
    """End all access of staff, and write a new epoch into both databases. Killed in between, the practice stays behind."""
    context, now, epoch = practice.context, practice.now(), new_id(practice.context.world)
    detail = {
        "reason": found.reason,
        "payments": found.payments,
        "attempts": found.attempts,
        "refunds": found.refunds,
        "epoch": epoch,
    }
    place = await practice.db.engine.place()
    unit = Unit()
    anchors.renew(unit, epoch, place)
    staff.end_all_access(unit, now)
    audit.append(unit, now, actor, AuditAction.practice_adopted, str(practice.id), detail)
    await practice.db.commit(unit)
    owners = Unit()
    erasures.open_again(owners, practice.id)  # the worker goes on with them if this process dies
    practices.adopt(owners, practice.id, epoch, (await events.newest(practice.db))[0], now)
    audit.append(owners, now, actor, AuditAction.practice_adopted, f"practice:{practice.id}", detail)
    await context.owner.commit(owners)
    context.forget(practice.id)
    practice = await context.practice(practice.id)
    found.is_done = practice.db.anchor.behind is None
