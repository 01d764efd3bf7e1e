"""The operator's queue over HTTP: the practice sees everything, the platform sees where, and nobody else anything."""

from __future__ import annotations

from polytill.domain.ids import new_id
from polytill.domain.states import Environment
from polytill.storage import cases
from tests.installation import Installation


async def test_a_case_is_seen_and_put_away(installation: Installation) -> None:
    practice_id, key = await installation.practice("Clinic", "NGN")
    _, other_key = await installation.practice("Other", "KES")
    context = installation.till.context
    practice = await context.practice(practice_id)
    async with practice.db.transaction() as tx:
        cases.open_case(
            tx,
            new_id(context.world),
            practice_id,
            Environment.sandbox,
            cases.NewCase("notice", "event-1", None, {"type": "transfer.failed", "amount": 12345}),
            context.world.now(),
        )
    base = f"/api/practices/{practice_id}/cases"
    [case] = (await installation.call("GET", f"{base}?status=open", key)).body
    assert (case["kind"], case["detail"]["amount"]) == ("notice", 12345)
    assert (await installation.call("GET", f"{base}/{case['id']}", other_key)).status == 404
    everywhere = await installation.call("GET", "/api/owner/cases", installation.owner_key)
    assert [(c["practiceId"], c["id"]) for c in everywhere.body["data"]] == [(practice_id, case["id"])]
    assert "detail" not in everywhere.body["data"][0], "a practice's money is its own"
    assert (await installation.call("GET", "/api/owner/cases", key)).status == 403
    resolve = f"{base}/{case['id']}/resolve"
    assert (await installation.call("POST", resolve, key, {"action": "resolve"})).status == 422
    assert (await installation.call("POST", resolve, key, {"action": "refund_duplicate"})).status == 409
    assert (await installation.call("POST", resolve, key, {"action": "look_up"})).status == 409
    done = await installation.call("POST", resolve, key, {"action": "resolve", "note": "Seen"})
    assert (done.status, done.body["case"]["status"], done.body["payment"]) == (200, "resolved", None)
    assert (await installation.call("POST", resolve, key, {"action": "resolve", "note": "Seen"})).status == 409
    assert (await installation.call("GET", f"{base}?status=open", key)).body == []
    assert (await installation.call("GET", f"{base}/nothing", key)).status == 404
