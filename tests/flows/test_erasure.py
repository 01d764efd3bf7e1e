"""Erasing one customer's personal data: from every row of both databases, and from nobody else's."""

from __future__ import annotations

from typing import Any

import pytest

from polytill.domain.errors import Conflict, Invalid
from polytill.domain.personal_data import WhyKept
from polytill.domain.search import signature
from polytill.flows import erasure
from polytill.flows.adoption.adopt import adopt
from polytill.flows.adoption.installation import adopt_installation
from polytill.flows.erasure import Customer, erase, erase_late, finish_erasures
from polytill.flows.payment_records import opened
from polytill.providers import contract
from polytill.providers.outcomes import Succeeded
from polytill.storage import erasures, payment_records, schema
from polytill.storage.erasing import OTHERWISE
from polytill.storage.personal_data import OWNER, PRACTICE
from tests import calls
from tests.flows.personal import NOT_PLANTED, OF_A_CUSTOMER, Dump, close_block, customer, dump, marker
from tests.flows.scenes import LINK, REFUSED, Scene, paid
from tests.restoring import Copy

ADA = Customer(email=" ADA@Example.com")
# What an erasure itself writes: that it was done, and that a saved method was removed.
WRITTEN = {"payments.version", "payments.erasure", "saved_methods.removed_at"}
NEW_LINES = {"audit_log", "erasures"}


async def both(scene: Scene) -> dict[str, Dump]:
    return {"practice": await dump(scene.db, schema.practice), "owner": await dump(scene.context.owner, schema.owner)}


def without_customer(found: dict[str, Dump]) -> dict[str, list[Any]]:
    """Every column that holds nothing of a customer."""
    rest: dict[str, list[Any]] = {}
    for tree, declared in (("practice", PRACTICE), ("owner", OWNER)):
        for table, rows in found[tree].items():
            kept = {name for name, holds in declared[table].holds().items() if holds not in OF_A_CUSTOMER}
            kept -= {name for name in kept if f"{table}.{name}" in WRITTEN}
            rest[f"{tree}.{table}"] = [{name: row[name] for name in row if name in kept} for row in rows]
    return rest


async def planted(scene: Scene) -> tuple[str, str]:
    await scene.configure()
    ada, bob = await customer(scene, "ada"), await customer(scene, "bobby")
    await close_block(scene)
    return ada, bob


async def test_every_marker_is_gone_and_nothing_else_has_changed(scene: Scene) -> None:
    ada, _ = await planted(scene)
    before = await both(scene)
    for tree, declared in (("practice", PRACTICE), ("owner", OWNER)):
        for table, columns in declared.items():
            for column, holds in columns.holds().items():
                place = f"{table}.{column}"
                if holds in OF_A_CUSTOMER and table != "payment_search_blocks" and place not in NOT_PLANTED:
                    copied = {"event_feed": "events.data", "rollout_decisions": "payments.reference"}
                    other = (copied | {"rollout_differences": "payments.reference"}).get(table, place)
                    is_email = place == "payments.customer_email"
                    mark = "ada@example.com" if is_email else marker("ada", *other.split("."))
                    assert mark in str(before[tree][table]), (
                        f"{place} has no marker: plant one in tests/flows/personal.py"
                    )
    found = await erase(scene.context, scene.practice_id, ADA, "test")
    after = await both(scene)
    assert (found.payments, found.kept, found.is_complete) == (1, [], True)
    assert "zqada" not in str(after)
    assert "ada@example.com" not in str(after)
    # The other customer's rows, byte for byte.
    for tree in before:
        for table, rows in before[tree].items():
            theirs = [row for row in rows if "bobby" in str(row)]
            assert [row for row in after[tree][table] if "bobby" in str(row)] == theirs, table
    # Amounts, times, states, ids of providers, ledger and books.
    was, now = without_customer(before), without_customer(after)
    for table in was:
        name = table.partition(".")[2]
        if name in NEW_LINES:
            assert now[table][: len(was[table])] == was[table], table
        elif name in ("payment_identifiers", "rollout_decisions"):  # the last digits of a card, and one comparison
            assert len(was[table]) - len(now[table]) == 1, table
            assert all(row in was[table] for row in now[table])
        else:
            assert now[table] == was[table], table
    assert found.changed["payments"] == found.changed["refunds"] == found.changed["webhook_events"] == 1
    # The signature of the block is that of what its rows are now.
    rows = await scene.db.fetch("SELECT body, major_units FROM payment_search WHERE block = 1")
    [block] = after["practice"]["payment_search_blocks"]
    assert tuple(block[f"part{at}"] for at in range(8)) == signature((r["body"], r["major_units"]) for r in rows)
    assert block != before["practice"]["payment_search_blocks"][0]
    # The record by which the payment comes back has no hash of its data.
    practice = await scene.context.practice(scene.practice_id)
    [record] = [r for r in await payment_records.listed(scene.context.owner, practice.id, "", 9) if r.payment_id == ada]
    assert opened(practice, record).payment.fingerprint == (await scene.payment(ada)).fingerprint

    again = await erase(scene.context, scene.practice_id, ADA, "test")
    twice = await both(scene)
    assert (again.changed, again.is_complete) == ({}, True)
    assert {**after["practice"]} == twice["practice"]
    assert "test" in str(twice["owner"]["erasures"])


def test_what_others_erase_is_known() -> None:
    """A column that this test does not plant has a reason why it needs no marker."""
    assert {f"practice.{one}" for one in NOT_PLANTED if one.startswith("webhook")} <= OTHERWISE.keys()


async def test_a_dry_run_changes_nothing(scene: Scene) -> None:
    await planted(scene)
    before = await both(scene)
    found = await erase(scene.context, scene.practice_id, ADA, "test", is_dry=True)
    assert await both(scene) == before
    done = await erase(scene.context, scene.practice_id, ADA, "test")
    assert found.changed == done.changed
    assert found.methods == done.methods == ["scripted"]  # it has no call to detach one


@pytest.mark.parametrize("step", ["_forward_all", "_committed", "_owners", "_end"])
async def test_killed_at_any_step_it_ends_the_next_time(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    await planted(scene)
    original = getattr(erasure, step)

    async def dies(*args: Any, **more: Any) -> Any:
        if step != "_forward_all":
            await original(*args, **more)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(erasure, step, dies)
        with pytest.raises(KeyboardInterrupt):
            await erase(scene.context, scene.practice_id, ADA, "test")
    await finish_erasures(scene.context)
    assert "zqada" not in str(await both(scene))
    assert [one.ended_at is None for one in await erasures.of_practice(scene.context.owner, scene.practice_id)] == [
        False
    ]


async def test_what_is_still_needed_is_kept_until_it_has_ended(scene: Scene) -> None:
    await scene.configure()
    scene.wire.says("create", LINK)
    link = (await scene.pay("open", reference="one")).payment
    scene.wire.says("create", REFUSED)
    failed = (await scene.pay("failed")).payment
    paid_one = await scene.succeeded()
    found = await erase(scene.context, scene.practice_id, ADA, "test")
    why = {one.payment_id: one.why for one in found.kept}
    assert why == {link.id: WhyKept.payment, failed.id: WhyKept.retry}
    assert not found.is_complete
    assert (await scene.payment(link.id)).customer_email == "ada@example.com"
    assert (await scene.payment(paid_one.id)).customer_email is None
    for verb in ("lookup", "confirm"):
        scene.wire.always(verb, paid(transaction="tx-9"))
    await scene.later(4 * 24 * 3600)
    assert await finish_erasures(scene.context) == 1
    assert "ada@example.com" not in str(await both(scene))
    assert (await scene.payment(link.id)).status == "succeeded"


async def test_a_later_payment_of_the_same_customer_stays(scene: Scene) -> None:
    await scene.configure()
    await scene.succeeded()
    await erase(scene.context, scene.practice_id, ADA, "test")
    scene.clock.at_s += 60
    later = await scene.succeeded()
    await finish_erasures(scene.context)
    await erasure.erase_again(scene.context, scene.practice_id)
    assert (await scene.payment(later.id)).customer_email == "ada@example.com"


async def test_a_repeated_request_finds_its_payment(scene: Scene) -> None:
    """Without its customer, the payment is still the answer to the request that made it, and to no other."""
    await scene.configure()
    first = await scene.succeeded(key="same")
    await erase(scene.context, scene.practice_id, ADA, "test")
    repeated = await scene.pay("same")
    assert (repeated.payment.id, repeated.replayed) == (first.id, True)
    with pytest.raises(Conflict):
        await scene.pay("same", customer=contract.Customer("eve@example.com"))


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        (Customer(), ""),
        (Customer(reference=" "), ""),
        (Customer(email="ada"), "/email"),
        (Customer(phone="12"), "/phone"),
    ],
    ids=["nothing", "blank", "email", "phone"],
)
async def test_a_wrong_identifier_changes_nothing(scene: Scene, given: Customer, wrong: str) -> None:
    with pytest.raises(Invalid) as caught:
        await erase(scene.context, scene.practice_id, given, "test")
    assert [one.pointer for one in caught.value.errors] == [wrong]
    assert await erasures.of_practice(scene.context.owner, scene.practice_id) == []


@pytest.mark.parametrize(
    "given",
    [Customer(phone="0803 123 4567"), Customer(phone="+234 803 123 4567"), Customer(reference="patient  7")],
    ids=["national", "international", "reference"],
)
async def test_a_phone_number_and_a_reference_name_a_customer(scene: Scene, given: Customer) -> None:
    await scene.configure()
    made = await scene.succeeded(customer=contract.Customer(None, "Ada", "+2348031234567"), reference="Patient 7")
    other = await scene.succeeded(customer=contract.Customer(None, "Bob", "+2348031234568"), reference="Patient 77")
    assert (await erase(scene.context, scene.practice_id, given, "test")).payments == 1
    assert (await scene.payment(made.id)).customer_name is None
    assert (await scene.payment(other.id)).customer_name == "Bob"


async def test_what_a_provider_sends_later_is_erased_as_well(scene: Scene) -> None:
    await scene.configure()
    made = await scene.succeeded()
    await erase(scene.context, scene.practice_id, ADA, "test")
    scene.wire.says("refund", Succeeded(paid(400).amount, "rf-1", response={"name": "zqada"}))
    await calls.refund(scene.till, scene.practice_id, made.id, key="refund", amount=400, reason="zqada asked")
    practice = await scene.context.practice(scene.practice_id)
    assert await erase_late(practice) == 1
    assert "zqada" not in str(await both(scene))
    assert await erase_late(practice) == 0


async def test_a_restored_database_is_erased_again(scene: Scene) -> None:
    await scene.configure()
    made = await scene.succeeded()
    await scene.later(1)
    copy = await Copy.of(scene.context, scene.practice_id)
    await erase(scene.context, scene.practice_id, ADA, "test")
    await scene.succeeded(customer=contract.Customer("bob@example.com"))
    await scene.later(1)
    await copy.restore()
    scene.wire.always("lookup", paid(transaction="tx-back"))
    scene.wire.always("confirm", paid(transaction="tx-back"))
    assert (await scene.payment(made.id)).customer_email == "ada@example.com"
    found = await adopt(scene.context, scene.practice_id, "test")
    assert (found.is_done, found.undecided) == (True, [])
    assert (await scene.payment(made.id)).customer_email is None
    assert "ada@example.com" not in str(await both(scene))
    assert found.erased_again > 0


async def test_a_restored_owner_database_is_erased_again(scene: Scene) -> None:
    """It has the events as they were, and the practice's database knows which payments were erased."""
    ada, _ = await planted(scene)
    feed = await scene.context.owner.fetch("SELECT id, data FROM event_feed WHERE payment_id = $1", ada)
    await erase(scene.context, scene.practice_id, ADA, "test")
    async with scene.context.owner.transaction() as tx:
        for row in feed:
            tx.add("UPDATE event_feed SET data = $2 WHERE id = $1", row["id"], row["data"])
    assert "zqada" in str(await both(scene))
    await adopt_installation(scene.context, "test", is_restored=True)
    assert "zqada" not in str(await both(scene))


async def test_what_names_a_customer_beside_payments(scene: Scene) -> None:
    """A webhook about a payment that is not known here, dismissed by staff."""
    configuration = await scene.configure()
    event = await scene.delivery(
        configuration, contract.PaymentFact(paid(transaction="tx-x"), "01hzy3k9w8q2v5n7m4x6c0b1da", "tx-x")
    )
    assert event is not None
    async with scene.db.transaction() as tx:
        body = '{"payer":{"contact":"Ada <ada@example.com>"}}'
        tx.add("UPDATE webhook_events SET body = $2 WHERE id = $1", event.id, body)
    found = await erase(scene.context, scene.practice_id, ADA, "test")
    assert (found.webhooks, found.is_complete) == (1, False)
    async with scene.db.transaction() as tx:
        tx.add("UPDATE webhook_events SET state = 'dismissed' WHERE id = $1", event.id)
    assert (await erase(scene.context, scene.practice_id, ADA, "test")).changed == {"webhook_events": 1}
    assert "ada@example.com" not in str(await both(scene))
