"""Takes over past payments: each row becomes a payment with an attempt, or is told why not. In batches, repeatable.

A row is the same payment as one that is known here by the provider's transaction id, by the reference at the provider, or
by the host's own id. Then nothing is stored twice: a run that was killed is continued by running it again, and a row that
says more than before (a transaction id, keys that were entered since) ends a doubt.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from polytill.domain.audit_actions import AuditAction
from polytill.domain.errors import Duplicate, NotFound, Stale
from polytill.domain.past_payments import TAKEN_OVER_BY, BackfillAction, Certainty, Doubt, Rejection
from polytill.domain.states import Environment
from polytill.flows.commits import until_committed
from polytill.flows.context import Context, Practice, Snapshot
from polytill.flows.handlers import handler_or_reason
from polytill.flows.lease import may_begin
from polytill.flows.legacy.past_check import Checker, learned_from
from polytill.flows.legacy.past_ids import PastIds, ids_of
from polytill.flows.legacy.past_rows import PastPayment, Row, RowReader, RowRejected
from polytill.flows.legacy.past_webhooks import apply_earlier
from polytill.flows.legacy.past_writing import New, placeholder, rows_of, write, write_learned
from polytill.providers.contract import Handler
from polytill.storage import audit, past_payments, payments, practices
from polytill.storage.catalog import ProviderEntry
from polytill.storage.databases import Tx
from polytill.storage.past_payments import Known, Learned
from polytill.storage.payments import Payment
from polytill.storage.provider_configs import Account

BATCH = 200
# The start of the keys of past payments. A caller's key never contains a space.
PAST = "past "
Reason = Doubt | Rejection


@dataclass(slots=True)
class Verdict:
    """What the report says of one row. ``number``: its place in the source, from 1. ``is_unanswered``: it was to be
    checked, and its provider did not answer."""

    number: int
    certainty: Certainty
    action: BackfillAction
    practice: str | None = None
    reasons: tuple[Reason, ...] = ()
    field: str | None = None
    payment_id: str | None = None
    is_unanswered: bool = False


@dataclass(frozen=True, slots=True)
class NumberedRow:
    """A row of the source. ``values`` None: it cannot be read. ``as_of``: when a database said so."""

    number: int
    values: Row | None
    as_of: datetime | None = None


@dataclass(slots=True)
class _Planned:
    """What is to be done with a row."""

    verdict: Verdict
    new: New | None = None
    known: Known | None = None
    learned: Learned | None = None
    tried: str | None = None  # what may be its reference


@dataclass(slots=True)
class Backfill:
    """One run. ``practice_id``: all rows are of this practice; None: each row names its practice by its external id.
    ``checker``: looks each payment up at its provider, at a limited rate. ``as_of``: when the rows were exported; None:
    they are as of now."""

    context: Context
    reader: RowReader
    actor: str
    practice_id: int | None = None
    is_dry: bool = False
    checker: Checker | None = None
    as_of: datetime | None = None
    _practices: dict[str, int | None] = field(default_factory=dict)

    async def rows(self, rows: Sequence[NumberedRow]) -> list[Verdict]:
        """Take over some rows, each practice's in one transaction. Returns a verdict for each, in their order."""
        verdicts: list[Verdict] = []
        by_practice: dict[int, list[NumberedRow]] = {}
        for row in rows:
            if row.values is None:
                verdicts.append(_rejected(row.number, None, Rejection.row_unreadable, None))
                continue
            named = self.reader.practice(row.values) if self.practice_id is None else None
            practice_id = self.practice_id if self.practice_id is not None else await self._practice_of(named)
            if practice_id is None:
                verdicts.append(_rejected(row.number, named, Rejection.practice_unknown, "practice"))
            else:
                by_practice.setdefault(practice_id, []).append(row)
        for practice_id, its in by_practice.items():
            practice = await self.context.practice(practice_id)
            verdicts += await self._rows_of(practice, its)
        return sorted(verdicts, key=lambda verdict: verdict.number)

    async def _practice_of(self, external_id: str | None) -> int | None:
        if external_id is None:
            return None
        if external_id not in self._practices:
            try:
                found = await practices.by_external_id(self.context.owner, external_id)
            except NotFound:
                found = None
            self._practices[external_id] = found.id if found else None
        return self._practices[external_id]

    async def _rows_of(self, practice: Practice, rows: Sequence[NumberedRow]) -> list[Verdict]:
        """Take over rows of one practice, and then ask its providers, each about one payment after the other."""
        batch, planned = await until_committed(lambda: self._taken_over(practice, rows), (Duplicate, Stale))
        if self.checker is not None and not self.is_dry:
            for one in planned:
                await self._check(practice, self.checker, batch, one)
        if not self.is_dry:
            # Also of payments that are known: a run that was killed has stored them, and not applied these.
            are_past = [one.known for one in planned if one.known is not None and one.known.certainty is not None]
            await apply_earlier(practice, [known for known in are_past if known.payment_id])
        for one, row in zip(planned, rows, strict=True):
            one.verdict.practice = self.reader.practice(row.values or {})
            if one.known is not None and one.verdict.certainty is not Certainty.rejected:
                one.verdict.payment_id = one.known.payment_id or None
        return [one.verdict for one in planned]

    async def _taken_over(self, practice: Practice, rows: Sequence[NumberedRow]) -> tuple[_Batch, list[_Planned]]:
        """Decide what to do with each row, and write it in one transaction."""
        snapshot = await self.context.configured(practice.db)
        batch = _Batch(practice, snapshot)
        read: list[tuple[NumberedRow, PastPayment] | Verdict] = []
        for row in rows:
            assert row.values is not None
            try:
                past = self.reader.read(row.values)
            except RowRejected as rejected:
                read.append(_rejected(row.number, None, rejected.reason, rejected.field))
            else:
                read.append((row, past))
        await batch.load([one[1] for one in read if not isinstance(one, Verdict)])
        planned = [_Planned(one) if isinstance(one, Verdict) else batch.plan(*one, self._as_of(one[0])) for one in read]
        if not self.is_dry:
            await self._write(practice, batch, planned)
        return batch, planned

    def _as_of(self, row: NumberedRow) -> datetime:
        return self.as_of or row.as_of or self.context.world.now()

    async def _write(self, practice: Practice, batch: _Batch, planned: list[_Planned]) -> None:
        new = [(one.new, one.known) for one in planned if one.new is not None and one.known is not None]
        learned = [
            (one.known, one.learned, await _payment_of(practice, one.known))
            for one in planned
            if one.learned is not None and one.known is not None
        ]
        if not new and not learned:
            return
        await may_begin(self.context, practice.id, Environment.production)  # its worker groups the search rows
        async with practice.db.transaction() as tx:
            for each, known in new:
                config_id = await batch.config_of(tx, each)
                made = rows_of(practice, each, config_id)
                write(practice, tx, each, made)
                known.payment_id, known.attempt_id, known.config_id = made[0].id, made[1].id, config_id
            for known, what, payment in learned:
                _learn(practice, tx, batch, payment, (known, what))
            detail = {"created": len(new), "changed": len(learned)}
            audit.append(tx, practice.now(), self.actor, AuditAction.payments_backfilled, TAKEN_OVER_BY, detail)
        if batch.made_configuration:
            self.context.forget(practice.id)

    async def _check(self, practice: Practice, checker: Checker, batch: _Batch, one: _Planned) -> None:
        """Ask the provider about a past payment that is not verified yet."""
        known, verdict = one.known, one.verdict
        if known is None or known.certainty is None or verdict.certainty is Certainty.rejected:
            return
        if known.certainty is Certainty.verified:  # perhaps by an earlier row of the same payment
            verdict.certainty, verdict.reasons = Certainty.verified, ()
            return
        if batch.account_of(known.provider_code, known.environment) is None:
            return
        outcome = await checker.ask(practice, known, one.tried)

        async def write() -> tuple[Learned, bool] | None:
            payment = await _payment_of(practice, known)
            learned = await learned_from(practice, known, payment, outcome)
            if learned is None:
                return None
            is_news = (learned.certainty, list(learned.doubts)) != (payment.certainty, payment.doubts or [])
            if is_news:
                async with practice.db.transaction() as tx:
                    _learn(practice, tx, batch, payment, (known, learned))
            return learned, is_news

        written = await until_committed(write, (Duplicate, Stale))
        if written is None:
            verdict.is_unanswered = True
            return
        learned, is_news = written
        if is_news and verdict.action is BackfillAction.unchanged:
            verdict.action = BackfillAction.changed
        verdict.certainty, verdict.reasons = learned.certainty, learned.doubts
        batch.learn(known, learned)


async def _payment_of(practice: Practice, known: Known) -> Payment:
    payment = await payments.by_id(practice.db, known.payment_id)
    assert payment is not None
    return payment


def _learn(practice: Practice, tx: Tx, batch: _Batch, payment: Payment, what: tuple[Known, Learned]) -> None:
    known, learned = what
    write_learned(practice, tx, known, payment, learned)
    account = batch.account_of(known.provider_code, known.environment)
    if account is not None:
        past_payments.use_keys(tx, known.attempt_id, account.config_id, account.credentials.version)


def _rejected(number: int, practice: str | None, reason: Rejection, named: str | None) -> Verdict:
    return Verdict(number, Certainty.rejected, BackfillAction.none, practice, (reason,), named)


class _Batch:
    """What is known of the payments of one batch, those of earlier rows of it included."""

    def __init__(self, practice: Practice, snapshot: Snapshot) -> None:
        self._practice, self._snapshot = practice, snapshot
        self._configs: dict[str, int] = {one.provider_code: one.id for one in snapshot.configurations.values()}
        self._by_attempt: dict[str, Known] = {}
        self._by_transaction: dict[tuple[str, Environment, str], Known] = {}
        self._by_key: dict[str, Known] = {}
        self._ids: dict[int, PastIds] = {}
        self._catalog: dict[str, ProviderEntry] = {}
        self._pending: dict[str, _Planned] = {}  # payments that this batch makes, by their key
        self.made_configuration = False

    async def load(self, pasts: Iterable[PastPayment]) -> None:
        """Read what the database knows of them."""
        self._catalog = await self._practice.context.catalog()
        references: set[str] = set()
        keys: set[str] = set()
        transactions: dict[int, set[str]] = {}
        for past in pasts:
            handler = self._handler(past.provider_code)
            if handler is None:
                continue
            ids = self._ids[id(past)] = ids_of(past, handler)
            keys |= set(_keys(past, ids))
            if ids.reference:
                references.add(ids.reference)
            config_id = self._configs.get(past.provider_code)
            if ids.transaction_id and config_id is not None:
                transactions.setdefault(config_id, set()).add(ids.transaction_id)
        for known in await past_payments.known(
            self._practice.db, sorted(references), sorted(keys), {key: sorted(ids) for key, ids in transactions.items()}
        ):
            self._remember(known)

    def _handler(self, code: str) -> type[Handler] | None:
        entry = self._catalog.get(code)
        return handler_or_reason(self._practice.context, entry)[0] if entry else None

    def _remember(self, known: Known) -> None:
        self._by_attempt[known.attempt_id] = known
        self._by_key[known.idempotency_key] = known
        if known.provider_transaction_id:
            named = (known.provider_code, known.environment, known.provider_transaction_id)
            self._by_transaction.setdefault(named, known)

    def account_of(self, code: str, environment: Environment) -> Account | None:
        """The account of a provider and environment, if the practice has its keys."""
        configuration = self._snapshot.configurations.get(code)
        return configuration.account(environment) if configuration else None

    async def config_of(self, tx: Tx, new: New) -> int:
        """The configuration of a new past payment; a placeholder if the provider was never set up."""
        code = new.past.provider_code
        if code not in self._configs:
            self._configs[code] = await placeholder(self._practice, tx, self._catalog[code], new.past.environment)
            self.made_configuration = True
        return self._configs[code]

    def plan(self, row: NumberedRow, past: PastPayment, as_of: datetime) -> _Planned:
        """Decide what to do with a row. ``as_of``: when the host's record was made."""
        number = row.number
        handler = self._handler(past.provider_code)
        if handler is None:
            return _Planned(_rejected(number, None, Rejection.provider_unknown, "provider"))
        ids = self._ids[id(past)]
        known, rejection = self._find(past, ids)
        if rejection is not None:
            return _Planned(_rejected(number, None, rejection, "transactionId"))
        account = self.account_of(past.provider_code, past.environment)
        doubts = tuple(_doubts(past, ids, account is not None))
        if known is not None:
            planned = _of_known(number, past, ids, known, doubts)
            planned.tried = ids.tried
            if planned.learned is not None:
                self.learn(known, planned.learned)
                self._merge(planned)
            return planned
        key, *others = _keys(past, ids)
        if key in self._by_key:  # of another transaction with the same reference
            key = others[0]
        if ids.reference in self._by_attempt:
            ids = replace(ids, reference=None)
        new = New(past, ids, handler, account, key, doubts, as_of)
        made = Known(
            "", ids.reference or "", 0, past.provider_code, past.environment, ids.transaction_id, past.amount,
            past.currency, past.reference, key, new.certainty, [doubt.value for doubt in doubts] or None,
        )  # fmt: skip
        self._remember(made)
        verdict = Verdict(number, new.certainty, BackfillAction.created, reasons=doubts)
        planned = self._pending[key] = _Planned(verdict, new, made, tried=ids.tried)
        return planned

    def learn(self, known: Known, learned: Learned) -> None:
        """Remember what was learned of a payment for the rest of the batch."""
        known.certainty, known.doubts = learned.certainty, [doubt.value for doubt in learned.doubts] or None
        known.provider_transaction_id = known.provider_transaction_id or learned.transaction_id
        self._remember(known)

    def _merge(self, planned: _Planned) -> None:
        """Add what a row says more to a payment that an earlier row of the batch makes: it is not stored yet."""
        learned, made = planned.learned, self._pending.get(planned.known.idempotency_key) if planned.known else None
        if made is None or made.new is None or learned is None:
            return
        ids = made.new.ids
        ids = replace(ids, transaction_id=ids.transaction_id or learned.transaction_id)
        made.new = replace(made.new, ids=ids, doubts=learned.doubts)
        planned.learned = None

    def _find(self, past: PastPayment, ids: PastIds) -> tuple[Known | None, Rejection | None]:
        """The known payment that a row is about; or why it cannot be taken over beside what is known."""
        account = past.provider_code, past.environment
        if ids.transaction_id and (known := self._by_transaction.get((*account, ids.transaction_id))):
            return known, None
        for name, index, is_its_own in (
            (ids.reference, self._by_attempt, True),
            (_keys(past, ids)[0], self._by_key, past.host_id is not None),
            (_keys(past, ids)[-1], self._by_key, True),
        ):
            known = index.get(name) if name else None
            if known is None:
                continue
            is_other = bool(ids.transaction_id and known.provider_transaction_id)  # and they differ
            is_here = (known.provider_code, known.environment) == account
            if is_here and not is_other:
                return known, None
            # The same reference at another provider is of another payment, if a transaction id tells them apart.
            if is_its_own and (is_here or not ids.transaction_id):
                return None, Rejection.reference_taken
        return None, None


def _keys(past: PastPayment, ids: PastIds) -> tuple[str, str]:
    """The keys that a past payment may be stored under: by its surest name at the host, and with its transaction."""
    of = f"{PAST}{past.provider_code} {past.environment.value} "
    name = past.host_id or past.reference or ids.reference or ids.transaction_id or ""
    return of + name, f"{of}{name} {ids.transaction_id or ids.reference or ''}"


def _doubts(past: PastPayment, ids: PastIds, is_configured: bool) -> Iterable[Doubt]:
    if not is_configured:
        yield Doubt.not_configured
    if ids.doubt is not None:
        yield ids.doubt
    if past.is_disputed:
        yield Doubt.disputed


# Doubts that a later row or later keys can end. The others end only by the provider's word.
_OF_THE_ROW = frozenset({Doubt.not_configured, Doubt.no_transaction_id, Doubt.transaction_id_form})


def _of_known(number: int, past: PastPayment, ids: PastIds, known: Known, doubts: tuple[Doubt, ...]) -> _Planned:
    """A row about a payment that is here: nothing changes, except that what the row says now can end a doubt."""
    if (past.amount, past.currency) != (known.amount, known.currency):
        return _Planned(_rejected(number, None, Rejection.contradicts_known, "amount"))
    before = tuple(Doubt(doubt) for doubt in known.doubts or ())
    if known.certainty is None:  # made here: the provider itself has told it
        verdict = Verdict(number, Certainty.verified, BackfillAction.unchanged, payment_id=known.payment_id)
        return _Planned(verdict, known=known)
    left = tuple(doubt for doubt in before if doubt not in _OF_THE_ROW or doubt in doubts)
    certainty = known.certainty if left or not before else Certainty.recorded
    verdict = Verdict(number, certainty, BackfillAction.unchanged, reasons=left, payment_id=known.payment_id)
    if left == before:
        return _Planned(verdict, known=known)
    verdict.action = BackfillAction.changed
    learned = Learned(certainty, left, ids.transaction_id if known.provider_transaction_id is None else None)
    return _Planned(verdict, known=known, learned=learned)


Told = Callable[[list[Verdict]], Awaitable[None]]


async def run(backfill: Backfill, rows: AsyncIterable[NumberedRow], told: Told) -> None:
    """Take over all rows of a source, and pass on the verdicts of each batch as soon as they are written."""
    batch: list[NumberedRow] = []
    async for row in rows:
        batch.append(row)
        if len(batch) >= BATCH:
            await told(await backfill.rows(batch))
            batch = []
    if batch:
        await told(await backfill.rows(batch))
