"""Each review case can be ended truthfully: by API, page, command line, and where a refund and a dispute are in question.

Source: issue 18, items 4 and 5 ("a review case opens ... with an audited way to resolve it").
"""

from __future__ import annotations

from typing import Any

import pytest

from polytill.cli.cases import ACTIONS
from polytill.domain.errors import Conflict, Invalid
from polytill.domain.ids import new_id
from polytill.domain.review_cases import CaseAction, CaseKind
from polytill.domain.states import CountedAs, Environment
from polytill.flows.review import resolve, same_money
from polytill.storage import cases
from polytill.storage.units import Unit
from polytill.web.api.models.cases import ResolveCase
from polytill.web.console.review_cases import DONE
from tests.flows.scenes import Scene
from tests.flows.scripted import Scripted
from tests.installation import Installation
from tests.regressions.test_refunds_and_disputes import booked, dispute, ours
from tests.regressions.test_staff_decisions import decide, mark, stuck_payment, stuck_refund
from tests.storage.making import plain
from tests.web.browsing import Browser, person
from tests.web.test_attention_page import lost_prompt
from tests.wording import said

NOTE = "On the provider's statement"

# What decides a case of a kind by more than a note. The other kinds report what a person has to check or correct at the
# provider; a note of what was found ends them, and changes no money.
DECIDED_BY = {
    "duplicate_payment": {"refund_duplicate"},
    "other_account": {"same_account"},
    "unresolved": {"look_up", "mark_not_paid", "mark_paid", "done", "not_done"},
    "refund_or_dispute": {"count_separately", "count_once"},
}


def test_every_action_is_in_api_page_and_command_line() -> None:
    wire = set(CaseAction)
    assert ResolveCase.model_fields["action"].annotation is CaseAction
    assert wire == set(DONE)
    assert {action for action in wire if action not in ACTIONS} == set()
    assert set().union(*DECIDED_BY.values()) | {"resolve"} == wire
    assert set(DECIDED_BY) <= set(CaseKind)


@pytest.mark.parametrize("kind", CaseKind)
async def test_a_note_ends_a_case_of_every_kind(scene: Scene, kind: CaseKind) -> None:
    async with scene.db.transaction() as tx:
        cases.open_case(
            tx,
            new_id(scene.context.world),
            scene.practice_id,
            Environment.sandbox,
            cases.NewCase(kind, "about", None, {}),
            scene.context.world.now(),
        )
    [case] = await cases.listed(scene.db)
    found = await resolve.resolve(scene.context, scene.practice_id, case.id, NOTE, "user:1")
    assert (found.case.state, found.case.resolved_by) == ("resolved", "user:1")
    assert found.case.detail["resolution"] == {"action": "resolved", "note": NOTE}


@pytest.mark.parametrize("what", ["payment", "refund done", "refund not done"])
async def test_a_decision_writes_its_case_once(scene: Scene, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """The unit that settles what was decided resolves the case, too. Of two writes of a row PostgreSQL would lose one."""
    writes: list[str] = []
    add = Unit.add

    def noted(self: Unit, sql: str, *args: Any, expect: int | None = None) -> None:
        if sql.startswith("UPDATE operator_cases"):
            writes.append(args[0])
        add(self, sql, *args, expect=expect)

    case = await stuck_payment(scene) if what == "payment" else (await stuck_refund(scene))[0]
    monkeypatch.setattr(Unit, "add", noted)
    if what == "payment":
        await mark(scene, case)
    else:
        await decide(scene, case, what == "refund done")
    assert writes == [case.id]


# ── A refund and a dispute ──


@pytest.mark.parametrize(
    ("counted", "lost", "ends"), [(CountedAs.separate, 1000, ["over_returned"]), (CountedAs.same, 200, [])]
)
async def test_staff_decide_whether_a_refund_and_a_dispute_are_the_same_money(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, counted: CountedAs, lost: int, ends: list[str]
) -> None:
    monkeypatch.setattr(Scripted, "disputes_are_refunded", True)
    configuration = await scene.configure()
    payment = await scene.succeeded()
    await ours(scene, payment, 800)
    await scene.delivery(configuration, dispute(payment, "lost", 1000))
    assert await booked(scene, payment) == (800, 200, -15)
    [case] = await cases.listed(scene.db, kind="refund_or_dispute")
    with pytest.raises(Invalid) as caught:
        await same_money.count(scene.context, scene.practice_id, case.id, counted, " ", "user:1")
    assert caught.value.errors[0].pointer == "/note"
    found = await same_money.count(scene.context, scene.practice_id, case.id, counted, NOTE, "user:1")
    assert await booked(scene, payment) == (800, lost, 1000 - 800 - lost - 15)
    assert found.case.detail["resolution"] == {"action": f"counted_{counted.value}", "note": NOTE}
    await scene.delivery(configuration, dispute(payment, "lost", 1000))
    assert await booked(scene, payment) == (800, lost, 1000 - 800 - lost - 15), "told again, and decided still"
    assert sorted(await scene.cases()) == ["dispute_lost", *ends]
    with pytest.raises(Conflict):
        await same_money.count(scene.context, scene.practice_id, case.id, counted, NOTE, "user:1")
    audited = await plain(scene.db, "SELECT actor FROM audit_log WHERE action LIKE 'dispute.counted%'")
    assert audited == [("user:1",)]
    await scene.books_agree()


# ── API and page ──


@pytest.mark.asyncio(loop_scope="module")
async def test_an_unknown_attempt_is_marked_as_paid_by_api(shared: Installation) -> None:
    practice, payment_id, _, case_id = await lost_prompt(shared)
    path = f"/cases/{case_id}/resolve"
    body: dict[str, Any] = {"action": "mark_paid", "note": NOTE, "transactionId": "SGX4WT9ZKL", "amount": 150_000}
    for wrong, pointer in (
        ({"amount": 149_999}, "/amount"),
        ({"amount": None}, "/amount"),
        ({"amount": True}, "/amount"),
        ({"amount": "150000"}, "/amount"),
        ({"transactionId": None}, "/transactionId"),
        ({"note": None}, "/note"),
    ):
        refused = await practice.call("POST", path, {**body, **wrong})
        assert (refused.status, refused.body["errors"][0]["pointer"]) == (422, pointer)
    undecidable = await practice.call("POST", path, {"action": "done", "note": NOTE})
    assert (undecidable.status, undecidable.body["code"]) == (409, "outcome_known")
    done = await practice.call("POST", path, body)
    assert (done.status, done.body["case"]["status"]) == (200, "resolved")
    paid = await practice.payment(payment_id)
    assert (paid["status"], paid["amountCaptured"]) == ("succeeded", 150_000)
    again = await practice.call("POST", path, body)
    assert (again.status, again.body["code"]) == (409, "case_resolved")


@pytest.mark.asyncio(loop_scope="module")
async def test_an_unknown_attempt_is_marked_as_paid_on_the_page(shared: Installation) -> None:
    practice, payment_id, _, case_id = await lost_prompt(shared)
    address = f"/practice/{practice.id}/attention/{case_id}"
    await person(shared, await practice.db, "pat@example.com")
    async with Browser(shared) as browser:
        await browser.sign_in(f"/practice/{practice.id}", "pat@example.com")
        assert said("attention.mark_paid") in (await browser.get(address)).text
        typed = {"transactionId": "SGX4WT9ZKM", "amount": "1,499.00", "note": NOTE}
        refused = await browser.send(address, address, action="mark_paid", **typed)
        assert refused.status == 422
        assert said("fault.another_amount", amount="KES 1,500.00") in refused.text.replace("\u00a0", " ")
        assert 'value="SGX4WT9ZKM"' in refused.html
        blank = await browser.send(address, address, action="mark_paid", **(typed | {"amount": ""}))
        assert said("fault.amount_missing") in blank.text
        done = await browser.send(address, address, action="mark_paid", **(typed | {"amount": "1,500.00"}))
        assert (done.headers["Location"], done.done) == (address, "marked_paid")
        seen = await browser.get(done.headers["Location"])
        assert said("resolution.marked_paid") in seen.text
        assert 'value="mark_paid"' not in seen.html
    assert (await practice.payment(payment_id))["amountCaptured"] == 150_000
