"""``polytill practices adopt``: a restored practice gets back what the owner database and the providers know.

Source: the review of operations, D2.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio

from polytill.domain.audit_actions import AuditAction
from polytill.domain.errors import Conflict, PracticeBehind, Unauthorized
from polytill.domain.review_cases import CaseKind
from polytill.domain.states import AttemptState, PaymentStatus, RefundState
from polytill.flows.admin import staff
from polytill.flows.adoption import adopt as adopting
from polytill.flows.adoption.adopt import adopt
from polytill.flows.payment_records import opened, record_new
from polytill.flows.recovery import checkout
from polytill.flows.review.resolve import resolve
from polytill.providers.contract import Page, PaymentFact
from polytill.providers.outcomes import Reason, Succeeded, Unknown
from polytill.storage import audit, cases, payment_records, practices, refunds
from polytill.storage.payments import Payment
from polytill.storage.refunds import Refund
from tests import calls
from tests.flows import scenes
from tests.flows.scenes import LINK, REFUSED, Scene, paid
from tests.flows.scripted import HANDLERS
from tests.restoring import Copy

pytestmark = pytest.mark.asyncio(loop_scope="module")
PASSWORD = "correct horse battery"
NOBODYS = "01hzy3k9w8q2v5n7m4x6c0b1da"  # an attempt that no record has


@dataclass
class Lost:
    """A practice whose database was restored, and what was made after the copy."""

    scene: Scene
    listed: list[PaymentFact] = field(default_factory=list)
    made: dict[str, Payment] = field(default_factory=dict)
    refund: Refund | None = None

    async def answers(self, params: Any) -> Any:
        """What the provider says about each attempt that it is asked about."""
        return {
            self.attempts["paid"]: paid(transaction="tx-paid"),
            self.attempts["open"]: LINK,
            self.attempts["again"]: paid(transaction="tx-again"),
        }.get(params.reference, Unknown(Reason.timeout))

    attempts: dict[str, str] = field(default_factory=dict)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lost(tmp_path_factory: pytest.TempPathFactory, file_engine_url: str | None) -> AsyncIterator[Lost]:
    """Copied, then: a payment paid, one not paid yet, a failed one tried again, a refund. Then restored."""
    with pytest.MonkeyPatch.context() as patch:
        async with scenes.scene(tmp_path_factory.mktemp("adopted"), file_engine_url) as scene:
            one = Lost(scene)

            async def list_transactions(self: Any, since_s: int, until_s: int, cursor: str | None) -> Page[PaymentFact]:
                return Page(tuple(one.listed))

            patch.setattr(HANDLERS["scripted"], "list_transactions", list_transactions)
            await scene.configure()
            link = await staff.invite(scene.context, scene.db, "ada@example.com", "Ada", "admin", "test")
            await staff.choose_password(scene.context, scene.db, link.rpartition("/")[2], PASSWORD)
            old = await scene.succeeded(key="old")
            scene.wire.says("create", REFUSED)
            one.made["again"] = (await scene.pay("again")).payment
            await scene.later(1)
            copy = await Copy.of(scene.context, scene.practice_id)
            scene.clock.at_s += 1
            await staff.change(scene.context, scene.db, "ada@example.com", None, False, "test")
            scene.wire.says("create", paid(transaction="tx-paid"), LINK, paid(transaction="tx-again"))
            for key in ("paid", "open"):
                one.made[key] = (await scene.pay(key)).payment
            await checkout.try_again(scene.context, scene.practice_id, one.made["again"].id)
            scene.wire.says("refund", Succeeded(paid(400).amount, "rf-1"))
            one.refund = await calls.refund(scene.till, scene.practice_id, old.id, key="refund", amount=400)
            await scene.later(1)
            one.attempts = {key: (await scene.attempts(made.id))[-1].id for key, made in one.made.items()}
            await copy.restore()
            scene.wire.always("lookup", one.answers)
            scene.wire.always("confirm", one.answers)
            scene.wire.always("lookup_refund", Succeeded(paid(400).amount, "rf-1"))
            yield one


async def test_the_records_hold_nothing_about_a_person(lost: Lost) -> None:
    """A host application may put anything into an idempotency key, so that a record is sealed as well."""
    practice = await lost.scene.context.practice(lost.scene.practice_id)
    kept = await payment_records.listed(practice.context.owner, practice.id, "", 100)
    assert {lost.made[key].id for key in lost.made} <= {one.payment_id for one in kept}
    for one in kept:
        assert "idempotency" not in one.sealed
        assert "ada@example.com" not in str(opened(practice, one))


async def test_a_dry_run_counts_and_changes_nothing(lost: Lost) -> None:
    scene = lost.scene
    found = await adopt(scene.context, scene.practice_id, "test", is_dry=True)
    assert (found.payments, found.attempts, found.refunds, found.is_done) == (2, 1, 1, False)
    with pytest.raises(PracticeBehind):
        await scene.pay("paid")


async def test_what_nobody_has_decided_keeps_the_practice_behind(lost: Lost) -> None:
    """A transaction that only the provider knows is a review case; a person decides it."""
    scene = lost.scene
    lost.listed.append(PaymentFact(paid(transaction="tx-9"), NOBODYS, "tx-9"))
    found = await adopt(scene.context, scene.practice_id, "test")
    assert (len(found.undecided), found.is_done) == (1, False)
    with pytest.raises(PracticeBehind):
        await scene.pay("new")
    [case] = [one for one in await cases.listed(scene.db) if one.kind is CaseKind.listing_missing_here]
    await resolve(scene.context, scene.practice_id, case.id, "Refunded in the dashboard", "test")


async def test_a_run_that_dies_before_its_end_is_repeated(lost: Lost, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the two databases: the practice stays behind, and the next run ends it."""
    scene = lost.scene

    def dies(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(adopting.practices, "adopt", dies)
        with pytest.raises(KeyboardInterrupt):
            await adopt(scene.context, scene.practice_id, "test")
    await scene.context.opening.read_mark(scene.practice_id)
    with pytest.raises(PracticeBehind):
        await scene.pay("new")


async def test_afterwards_each_repeat_gets_what_was_made(lost: Lost) -> None:
    scene = lost.scene
    found = await adopt(scene.context, scene.practice_id, "test")
    assert (found.undecided, found.is_done) == ([], True)
    asked = len(scene.wire.of("create"))
    for key, status in (("paid", "succeeded"), ("open", "requires_action"), ("again", "succeeded")):
        again = await scene.pay(key)
        assert (again.payment.id, again.payment.number) == (lost.made[key].id, lost.made[key].number)
        assert (again.replayed, again.payment.status) == (True, PaymentStatus(status))
    assert [one.state for one in (await scene.pay("again")).attempts] == [AttemptState.declined, AttemptState.succeeded]
    assert lost.refund is not None
    repeated = await calls.refund(scene.till, scene.practice_id, lost.refund.payment_id, key="refund", amount=400)
    assert (repeated.id, repeated.state) == (lost.refund.id, RefundState.succeeded)
    assert (await scene.payment(lost.refund.payment_id)).amount_refunded == 400
    assert (len(scene.wire.of("create")), len(scene.wire.of("refund"))) == (asked, 1)
    assert len(await refunds.of_payment(scene.db, lost.refund.payment_id)) == 1


async def test_whoever_was_deactivated_after_the_backup_does_not_come_in(lost: Lost) -> None:
    """The restored database does not know it, so that nobody signs in before an admin has made a link for them."""
    scene = lost.scene
    with pytest.raises(Unauthorized):
        await staff.sign_in(scene.context, scene.db, "ada@example.com", PASSWORD, "192.0.2.1")
    link = await staff.link(scene.context, scene.db, "ada@example.com", "test")
    await staff.choose_password(scene.context, scene.db, link.rpartition("/")[2], PASSWORD)


async def test_the_practice_takes_payments_again(lost: Lost) -> None:
    scene = lost.scene
    lines = await audit.listed(scene.context.owner, f"practice:{scene.practice_id}", None, 10)
    assert AuditAction.practice_adopted in {line["action"] for line in lines}
    entry = await practices.by_id(scene.context.owner, scene.practice_id)
    assert entry is not None
    assert entry.behind is None
    await scene.succeeded(key="next")
    await scene.later(1)
    assert scene.context.opening.behind() == {}
    with pytest.raises(Conflict):
        await adopt(scene.context, scene.practice_id, "test")


async def test_a_payment_with_a_lower_id_than_a_recorded_one_is_recorded(lost: Lost) -> None:
    """Two processes, or two payments in one millisecond: the later one may have the lower id."""
    scene = lost.scene
    practice = await scene.context.practice(scene.practice_id)
    scene.clock.at_s += 100
    made = [(await scene.succeeded(key=f"late {number}")).id for number in range(2)]
    assert await record_new(practice) == 2
    scene.clock.at_s -= 50  # another process, whose clock is behind
    made.append((await scene.succeeded(key="early")).id)
    assert made[-1] < min(made[:-1])
    assert (await record_new(practice), await record_new(practice)) == (1, 0)
    kept = await payment_records.listed(practice.context.owner, practice.id, "", 100)
    assert set(made) <= {one.payment_id for one in kept}
