"""Cases of open disputes that had ended before a case ended with its dispute are ended by the migration.

Source: the closing note of the session before this one.
"""

from __future__ import annotations

from pathlib import Path

from polytill.storage import audit, cases, migrating
from polytill.storage.databases import PracticeDb
from tests.flows import scenes
from tests.flows.scenes import Scene

REVISION = "practice_0019"
SUBJECTS = {"won-1": "won", "lost-1": "lost", "closed-1": "closed", "open-1": "open", "inquiry-1": "open"}


async def _old_rows(scene: Scene) -> None:
    """A dispute of each end with its case still open, as earlier versions left them."""
    payment = await scene.succeeded()
    await scene.configure()
    for number, (name, state) in enumerate(SUBJECTS.items()):
        kind = "inquiry" if name.startswith("inquiry") else "chargeback"
        await _run(
            scene.db,
            "INSERT INTO disputes (id, payment_id, practice_id, environment, provider_dispute_id, state,"
            " provider_state, amount, currency, created_at, updated_at, kind)"
            f" VALUES ('d{number}', '{payment.id}', {scene.practice_id}, 'sandbox', '{name}', '{state}', '{state}', 100,"
            f" 'NGN', '2026-10-01 00:00:00+00', '2026-10-02 00:00:00+00', '{kind}')",
        )
        await _run(
            scene.db,
            "INSERT INTO operator_cases (id, practice_id, environment, kind, subject, payment_id, state, detail,"
            f" created_at) VALUES ('c{number}', {scene.practice_id}, 'sandbox', 'dispute_open', '{name}:open',"
            f" '{payment.id}', 'open', '{{\"dispute\": \"{name}\"}}', '2026-10-01 00:00:00+00')",
        )


async def _run(db: PracticeDb, sql: str) -> None:
    async with db.transaction() as tx:
        await tx.fetch(sql)


async def test_cases_of_ended_disputes_are_ended(tmp_path: Path, engine_url: str | None) -> None:
    async with scenes.scene(tmp_path, engine_url) as scene:
        await scene.configure()
        await _old_rows(scene)
        dialect = scene.db.engine.dialect
        step = next(step for step in migrating.steps("practice", dialect) if step.revision == REVISION)
        for statement in step.statements:
            if not statement.startswith("ALTER"):
                await _run(scene.db, statement)
        found = {case.id: case for case in await cases.listed(scene.db, None)}
        for number, (name, state) in enumerate(SUBJECTS.items()):
            case = found[f"c{number}"]
            if state != "open":
                assert (case.state, case.resolved_by) == ("resolved", "migration"), name
                assert case.detail == {"dispute": name, "resolution": {"action": f"dispute_{state}"}}
                [line] = await audit.listed(scene.db, case.id)
                assert line["detail"] == {"kind": "dispute_open", "action": f"dispute_{state}"}
            elif name == "open-1":
                assert (case.state, case.kind) == ("open", "dispute_open")
            else:
                assert (case.state, case.kind, case.subject) == ("open", "inquiry_open", "inquiry-1:inquiry")
