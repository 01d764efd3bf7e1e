"""Erasing one customer's personal data from a practice's database and from what the owner database has of it.

First the erasure is recorded in the owner database, then payment after payment is erased in a transaction of its own, then
the events that are in the feed. Killed at any step, it is done again and ends: by the command, or by the worker. What is
still needed, such as an open refund, is kept, and the worker erases it when it has ended.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from polytill.domain.audit_actions import AuditAction
from polytill.domain.contacts import InvalidContact, read_email, read_phone
from polytill.domain.errors import Conflict, FieldError, Invalid, NotFound, Stale, invalid
from polytill.domain.personal_data import Elsewhere, IdentifierOf, Named, WhyKept, digest_of, named_by
from polytill.domain.places import places
from polytill.domain.text import is_blank
from polytill.flows.context import Context, Practice, log
from polytill.flows.events import forward
from polytill.flows.handlers import handler_for
from polytill.flows.installation import must_be_adopted
from polytill.flows.payment_records import record_of
from polytill.flows.payments import saved_methods
from polytill.storage import audit, erasing, erasures, payments
from polytill.storage import saved_methods as stored_methods
from polytill.storage.erasing import Changed
from polytill.storage.erasures import Erasure
from polytill.storage.payments import Payment
from polytill.storage.units import Unit

TRIES = 8
AT_ONCE = 50
MOST_LATE = 200
ACTOR = "polytill"


@dataclass(frozen=True, slots=True)
class Customer:
    """Who is to be erased: one or more identifiers. Each names the customer alone.

    Args:
        reference: The host application's own reference, as in a payment's ``reference``.
        email: An e-mail address, as staff type it.
        phone: A phone number in any usual spelling.
    """

    reference: str | None = None
    email: str | None = None
    phone: str | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """A payment whose personal data are still needed, and why."""

    payment_id: str
    number: str
    why: WhyKept


@dataclass(slots=True)
class Erased:
    """What one run of an erasure did, or would do.

    Args:
        payments: How many payments are the customer's.
        changed: The number of changed rows, by table.
        kept: Payments that are not erased yet.
        webhooks: Webhooks that name the customer, belong to no payment, and are still parked or on their way.
        providers: Codes of the providers that have the customer's data.
        methods: Codes of those that have a saved method and cannot detach it by a call.
        is_detaching: Whether a provider is still asked to detach a saved method.
        is_complete: Whether nothing is left to erase here.
    """

    payments: int = 0
    changed: dict[str, int] = field(default_factory=dict)
    kept: list[Kept] = field(default_factory=list)
    webhooks: int = 0
    providers: list[str] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)
    is_detaching: bool = False
    is_complete: bool = False

    @property
    def rows(self) -> int:
        """How many rows changed."""
        return sum(self.changed.values())

    def elsewhere(self) -> list[Elsewhere]:
        """Who else has the data."""
        if not self.payments:
            return []
        asked = {Elsewhere.providers: self.providers, Elsewhere.saved_methods: self.methods}
        return [one for one in Elsewhere if asked.get(one, True)]


class _Undone(Exception):
    """Roll back: the payment is still needed, or nothing is to be changed (None)."""

    def __init__(self, why: WhyKept | None) -> None:
        self.why = why
        super().__init__()


async def erase(context: Context, practice_id: int, customer: Customer, actor: str, is_dry: bool = False) -> Erased:
    """Erase a customer's personal data. Amounts, currencies, times, states, ids of providers and the books stay.

    ``Invalid`` if an identifier cannot be read, or none is given; ``PracticeBehind`` if the practice's database is older
    than what the owner database knows of it; ``InstallationCopied`` in a copy that nobody has adopted. To erase twice
    changes nothing more.

    Args:
        context: The process's tools.
        practice_id: The practice.
        customer: Who is to be erased.
        actor: Who asks for it, for the audit log.
        is_dry: Only count, and change nothing.
    """
    must_be_adopted(context)
    practice = await context.practice(practice_id)
    named = await _named(practice, customer)
    await context.opening.must_be_current(practice_id)
    keyed_hash = practice.db.data_key.keyed_hash
    digests = sorted({digest_of(one, keyed_hash) for one in named})
    name = keyed_hash(f"erasure 1:{':'.join(digests)}".encode())[:32]
    erasure = Erasure(name, practice_id, digests, actor, practice.now())
    if not is_dry:
        unit = Unit()
        erasures.begin(unit, erasure)
        await context.owner.commit(unit)
    return await _run(practice, erasure, actor, is_dry)


async def _named(practice: Practice, customer: Customer) -> list[Named]:
    given = (customer.reference, customer.email, customer.phone)
    if all(one is None or is_blank(one) for one in given):
        raise invalid("", "Give an e-mail address, a phone number or a reference.", reason="customer_missing")
    snapshot = await practice.context.configured(practice.db)
    errors, found = [], list(named_by(None, None, customer.reference))
    for kind, text in ((IdentifierOf.email, customer.email), (IdentifierOf.phone, customer.phone)):
        try:
            if kind is IdentifierOf.email:
                found += named_by(read_email(text), None, None)
            else:
                number = read_phone(text, (snapshot.place.country,))
                found += named_by(None, number, None)
        except InvalidContact as error:
            errors.append(FieldError(f"/{kind}", str(error), error.reason, {"example": error.example or ""}))
    if errors:
        raise Invalid(errors, errors[0].detail if len(errors) == 1 else None)
    return found


async def _run(practice: Practice, erasure: Erasure, actor: str, is_dry: bool = False) -> Erased:
    """Do everything that is left of an erasure."""
    digests, keyed_hash = frozenset(erasure.digests), practice.db.data_key.keyed_hash

    def is_meant(named: Named) -> bool:
        return digest_of(named, keyed_hash) in digests

    found, changed = Erased(), defaultdict[str, set[object]](set)
    until = erasure.asked_at
    ids = [one async for one in erasing.payments_naming(practice.db, is_meant, until, erasure.id)]
    found.payments = len(ids)
    chosen = await erasing.methods_naming(practice.db, is_meant, until, set(ids))
    await _remove_methods(practice, chosen, actor, found, is_dry)
    if is_dry:
        changed["saved_methods"] |= set(chosen)
    else:
        await _forward_all(practice)
    providers = set()
    for payment_id in ids:
        providers |= await _erase_one(practice, payment_id, erasure, changed, found, is_dry)
    found.providers = sorted(providers)
    found.webhooks = await _beside(practice, is_meant, erasure, changed, is_dry)
    kept = {one.payment_id for one in found.kept}
    erased = [one for one in ids if one not in kept]
    if not is_dry:
        await _forward_all(practice)  # what was read from here before it was erased is in the feed now
    await _owners(practice, erased, changed, is_dry)
    found.changed = {table: len(rows) for table, rows in sorted(changed.items()) if rows}
    found.is_detaching = await erasing.anything_to_detach(practice.db, erasure.id)
    found.is_complete = not (found.kept or found.webhooks or found.is_detaching)
    if not is_dry:
        await _end(practice, erasure, actor, found)
    return found


async def _end(practice: Practice, erasure: Erasure, actor: str, found: Erased) -> None:
    now, subject = practice.now(), f"erasure:{erasure.id}"
    if found.changed:
        unit = Unit()
        detail = {"payments": found.payments, "rows": found.rows, "kept": len(found.kept)}
        audit.append(unit, now, actor, AuditAction.customer_erased, subject, detail)
        await practice.db.commit(unit)
        log.info("customer_erased", practice=practice.id, erasure=erasure.id, **detail)
    if found.is_complete:
        unit = Unit()
        erasures.end(unit, erasure, now)
        await practice.context.owner.commit(unit)


async def _forward_all(practice: Practice) -> None:
    while await forward(practice):
        pass


async def _remove_methods(
    practice: Practice, method_ids: Iterable[str], actor: str, found: Erased, is_dry: bool
) -> None:
    """Remove the customer's saved methods, and ask their providers to detach them."""
    providers = set()
    for method_id in method_ids:
        method = await stored_methods.by_id(practice.db, method_id)
        if method is None:
            continue
        handler = await handler_for(practice.context, method.provider_code)
        if handler is None or handler.detach_saved_method is None:
            providers.add(method.provider_code)
        if not is_dry:
            with suppress(NotFound, Conflict):  # removed already, as another copy of the same card
                await saved_methods.remove(practice.context, practice.id, method_id, actor)
    found.methods = sorted(providers)


async def _erase_one(
    practice: Practice, payment_id: str, erasure: Erasure, changed: Changed, found: Erased, is_dry: bool
) -> set[str]:
    """Erase one payment. Returns the codes of the providers that were called for it."""
    payment = await payments.by_id(practice.db, payment_id)
    assert payment is not None
    why = await erasing.why_kept(practice.db, payment_id, practice.now())
    if why is None:
        if payment.reference is not None:
            await _references(practice, payment.reference, erasure, changed, is_dry)
        why = await _committed(practice, payment, erasure, changed, is_dry)
    if why is not None:
        found.kept.append(Kept(payment_id, payment.number, why))
    return await erasing.providers_of(practice.db, payment_id)


async def _committed(
    practice: Practice, payment: Payment, erasure: Erasure, changed: Changed, is_dry: bool
) -> WhyKept | None:
    for _ in range(TRIES):
        mine = defaultdict[str, set[object]](set)
        try:
            async with practice.db.transaction() as tx:
                await erasing.lock(tx, practice.db.engine.dialect)
                await practice.db.must_be_current(tx)
                keyed_hash = practice.db.data_key.keyed_hash
                await erasing.erase_payment(tx, payment.id, erasure.id, keyed_hash, mine)
                # After the payment's row is locked: a refund may have begun meanwhile.
                why = await erasing.why_kept(tx, payment.id, practice.now())
                if why is not None or is_dry:
                    raise _Undone(why)
        except Stale:
            continue
        except _Undone as undone:
            if undone.why is not None:
                return undone.why
        _add(changed, mine)
        return None
    return WhyKept.payment


def _add(changed: Changed, more: Changed) -> None:
    for table, rows in more.items():
        changed[table] |= rows


async def _references(practice: Practice, reference: str, erasure: Erasure, changed: Changed, is_dry: bool) -> None:
    """Before the payment forgets its reference: what the rollout compared has nothing else to be found by."""
    with suppress(_Undone):
        async with practice.context.owner.transaction() as tx:
            rows = await erasures.erase_references(tx, practice.id, reference, erasure.id)
            changed["rollout_differences"] |= rows
            if is_dry:
                raise _Undone(None)


async def _beside(
    practice: Practice, is_meant: erasing.IsMeant, erasure: Erasure, changed: Changed, is_dry: bool
) -> int:
    needed = 0
    with suppress(_Undone):
        async with practice.db.transaction() as tx:
            needed = await erasing.erase_beside_payments(tx, is_meant, erasure.asked_at, changed)
            if is_dry:
                raise _Undone(None)
    return needed


async def _owners(practice: Practice, payment_ids: Sequence[str], changed: Changed, is_dry: bool) -> None:
    """Erase the customer from the events in the feed, and from the records by which payments are brought back."""
    owner = practice.context.owner
    for at in range(0, len(payment_ids), AT_ONCE):
        part = payment_ids[at : at + AT_ONCE]
        with suppress(_Undone):
            async with owner.transaction() as tx:
                changed["event_feed"] |= await erasures.erase_events(tx, part)
                if is_dry:
                    raise _Undone(None)
        if is_dry:
            continue
        unit = Unit()
        for payment_id in await erasures.recorded(owner, part):
            if (record := await record_of(practice, payment_id)) is not None:
                erasures.record_again(unit, record)
        await owner.commit(unit)


# ── What a worker does ──


async def finish_erasures(context: Context) -> int:
    """Go on with every erasure that has not ended. Returns how many have."""
    done = 0
    for erasure in await erasures.unfinished(context.owner):
        try:
            practice = await context.practice(erasure.practice_id)
            await context.opening.must_be_current(erasure.practice_id)
            done += (await _run(practice, erasure, ACTOR)).is_complete
        except Exception as error:  # one practice must not stop the others
            log.error("erasure_failed", practice=erasure.practice_id, error=type(error).__name__, places=places(error))
    return done


async def erase_again(context: Context, practice_id: int) -> int:
    """Go on with a practice's erasures, after its database was restored and adopted. Returns how many rows changed."""
    practice, rows = await context.practice(practice_id), 0
    for erasure in await erasures.unfinished(context.owner, practice_id):
        rows += (await _run(practice, erasure, ACTOR)).rows
    return rows


async def erase_in_feed(practice: Practice) -> None:
    """Erase every erased customer of a practice from the feed, after an older owner database was restored."""
    after, changed = "", defaultdict[str, set[object]](set)
    while ids := await erasing.erased_payments(practice.db, after, AT_ONCE):
        await _owners(practice, ids, changed, is_dry=False)
        after = ids[-1]


async def erase_late(practice: Practice) -> int:
    """Erase what providers have sent about erased customers since. Returns the number of payments."""
    late = await erasing.arrived_late(practice.db, MOST_LATE)
    done, changed = [], defaultdict[str, set[object]](set)
    for payment_id, name in late:
        payment = await payments.by_id(practice.db, payment_id)
        if payment is None or await erasing.why_kept(practice.db, payment_id, practice.now()) is not None:
            continue
        erasure = Erasure(name, practice.id, [], ACTOR, practice.now())
        if await _committed(practice, payment, erasure, changed, is_dry=False) is None:
            done.append(payment_id)
    if done:
        await _forward_all(practice)
        await _owners(practice, done, changed, is_dry=False)
    return len(done)
