"""The job that backs up practices: verified, recorded, scheduled once a day, and old backups deleted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from polytill.app import Polytill
from polytill.doctor import examine
from polytill.domain.errors import Conflict, NotFound, OperatorError
from polytill.domain.jobs import JobKind, JobState, PartState
from polytill.flows import backups
from polytill.flows.backups import Retention
from polytill.flows.jobs import backup, control
from polytill.flows.jobs.backup import Wanted, last_due, start_scheduled
from polytill.settings import Settings
from polytill.storage import files, jobs, practice_backups
from polytill.storage.backup_stores import DirectoryStore
from polytill.storage.jobs import Job
from tests import calls
from tests.installation import fresh_settings, opened
from tests.jobs import node
from tests.web.support import Clock

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def till(tmp_path: Path, engine_url: str | None, clock: Clock) -> AsyncIterator[Polytill]:
    more = {"backups": str(tmp_path / "kept"), "backup_schedule": "02:30", "backups_kept": 2}
    async with opened(fresh_settings(tmp_path, engine_url, **more), ["paystack"], world=clock.world()) as found:
        yield found


async def run(till: Polytill, wanted: Wanted) -> Job:
    job = await backup.begin(till.context, wanted, "test")
    assert job is not None
    async with node(till.context) as engine:
        return await engine.drive(job.id)


async def sentence(till: Polytill, job: Job) -> str:
    [part] = await jobs.parts(till.context.owner, job.id, PartState.failed)
    return part.detail or ""


async def test_each_practice_has_its_last_good_backup(till: Polytill, tmp_path: Path) -> None:
    first, second = [(await calls.create_practice(till, name, "NGN"))[0].id for name in ("Clinic", "Other")]
    assert any("2 practices have no good backup" in one.sentence for one in await examine(till.context.settings))
    job = await run(till, Wanted())
    assert (job.state, (await control.counts(till.context, job.id)).succeeded) == (JobState.succeeded, 2)
    before = await practice_backups.find(till.context.owner, first)
    assert before is not None
    assert (before.place, before.is_restored) == (str(tmp_path / "kept"), False)
    assert before.size == (tmp_path / "kept" / before.name).stat().st_size
    assert before.row_count > 0
    job = await run(till, Wanted((first,), is_restored=True))
    assert job.state is JobState.succeeded
    after = await practice_backups.find(till.context.owner, first)
    assert after is not None
    assert after.is_restored
    assert after.name != before.name
    found = await practice_backups.overview(till.context.owner)
    assert (found.practices, found.with_backup) == (2, 2)
    assert found.oldest_at == (await practice_backups.listed(till.context.owner, first))[0].made_at
    assert [one.practice_id for one in await practice_backups.listed(till.context.owner)] == [first, second]


async def test_a_backup_that_does_not_open_is_not_recorded(
    till: Polytill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    practice_id = (await calls.create_practice(till, "Clinic", "NGN"))[0].id
    good = await run(till, Wanted())
    assert good.state is JobState.succeeded
    recorded = await practice_backups.find(till.context.owner, practice_id)
    put = DirectoryStore.put

    def damaged(self: DirectoryStore, name: str, file: Path) -> None:
        content = bytearray(file.read_bytes())
        content[-40] ^= 1
        file.write_bytes(content)
        put(self, name, file)

    monkeypatch.setattr(DirectoryStore, "put", damaged)
    for wanted in (Wanted(), Wanted(is_restored=True)):
        job = await run(till, wanted)
        assert job.state is JobState.failed
        assert "does not open" in await sentence(till, job)
        assert await practice_backups.find(till.context.owner, practice_id) == recorded


async def test_old_backups_are_deleted_after_a_newer_one_is_good(
    till: Polytill, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    practice_id = (await calls.create_practice(till, "Clinic", "NGN"))[0].id
    store, names = DirectoryStore(tmp_path / "kept"), []
    for _ in range(3):
        assert (await run(till, Wanted())).state is JobState.succeeded
        names += [(await practice_backups.find(till.context.owner, practice_id) or pytest.fail("none")).name]
        clock.advance(3600)
    assert await backups.names(store, practice_id) == names[1:]
    # Elsewhere nothing is deleted.
    for _ in range(3):
        assert (await run(till, Wanted(place=str(tmp_path / "usb")))).state is JobState.succeeded
        clock.advance(3600)
    assert len(await backups.names(DirectoryStore(tmp_path / "usb"), practice_id)) == 3
    # Nothing is deleted for one that is not good.

    def lost(*_: object) -> None:
        raise OperatorError("Gone.")

    monkeypatch.setattr(DirectoryStore, "get", lost)
    assert (await run(till, Wanted())).state is JobState.failed
    assert {*names[1:]} < {*await backups.names(store, practice_id)}


def named(*days_ago: int) -> list[str]:
    return [f"practice-1-{NOW - timedelta(days=day):%Y%m%dT%H%M%SZ}-0123abcd.backup" for day in days_ago]


@pytest.mark.parametrize(
    ("kept", "last_good", "deleted"),
    [
        (Retention(), 0, []),
        (Retention(number=2), 0, [9, 5, 3]),
        (Retention(number=2), 3, [9, 5]),
        (Retention(number=1), 9, []),
        (Retention(days=4), 0, [9, 5]),
        (Retention(days=1), 5, [9]),
        (Retention(number=4, days=4), 0, [9]),
        (Retention(number=1, days=4), 0, [9, 5]),
        (Retention(number=1), 7, []),
    ],
    ids=str,
)
def test_what_is_superseded(kept: Retention, last_good: int, deleted: list[int]) -> None:
    found = named(9, 5, 3, 1, 0)
    assert kept.superseded(found, named(last_good)[0], NOW) == named(*deleted)


async def test_the_schedule_starts_one_job_a_day(till: Polytill, clock: Clock) -> None:
    await calls.create_practice(till, "Clinic", "NGN")
    first = await start_scheduled(till.context)
    assert first is not None
    assert (first.kind, first.actor, first.arguments["keptNumber"]) == (JobKind.backup, "schedule", 2)
    assert await start_scheduled(till.context) is None
    # Another worker that looked at the same time and saw none.
    assert await backup.begin(till.context, Wanted(), "schedule", since=first.created_at) is None
    clock.advance(24 * 3600)
    assert await start_scheduled(till.context) is None, "the one before still runs"
    async with node(till.context) as engine:
        assert (await engine.drive(first.id)).state is JobState.succeeded
    second = await start_scheduled(till.context)
    assert second is not None
    assert second.id != first.id
    await control.pause(till.context, second.id, "test")
    clock.advance(24 * 3600)
    assert await start_scheduled(till.context) is not None, "a paused one holds nothing up"


def test_when_a_schedule_was_due_last() -> None:
    assert last_due("12:00", NOW) == NOW
    assert last_due("12:01", NOW) == NOW - timedelta(hours=24) + timedelta(minutes=1)
    assert last_due("00:30", NOW) == NOW.replace(hour=0, minute=30)


@pytest.mark.parametrize(
    "given",
    [
        {"backup_schedule": "25:00"},
        {"backup_schedule": "2:30"},
        {"backup_schedule": "daily"},
        {"backups_kept": -1},
        {"backups_kept_days": -1},
        {"backups": "", "backup_schedule": "02:30"},
        {"backups": "", "backups_kept": 3},
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Settings(_env_file=None, **{"backups": "kept", **given})  # type: ignore[arg-type]


async def test_bad_orders_start_nothing(tmp_path: Path, till: Polytill) -> None:
    await calls.create_practice(till, "Clinic", "NGN")
    for wanted, error in ((Wanted((99,)), NotFound), (Wanted(place="ftp://host/x"), OperatorError)):
        with pytest.raises(error):
            await backup.begin(till.context, wanted, "test")
    assert await jobs.listed(till.context.owner) == []


async def test_without_a_place_nothing_is_started(tmp_path: Path) -> None:
    async with opened(fresh_settings(tmp_path), ["paystack"]) as till:
        await calls.create_practice(till, "Clinic", "NGN")
        with pytest.raises(Conflict) as refused:
            await backup.begin(till.context, Wanted(), "test")
        assert refused.value.code == "no_backup_place"
        assert await start_scheduled(till.context) is None


def test_what_a_killed_process_left_is_deleted(tmp_path: Path) -> None:
    left = tmp_path / ".polytill-x-left"
    left.mkdir()
    (left / "file").write_text("")
    with (
        files.working_folder(tmp_path, ".polytill-x-") as held,
        files.working_folder(tmp_path, ".polytill-x-") as other,
    ):
        assert sorted(tmp_path.iterdir()) == sorted([held, other])
    assert list(tmp_path.iterdir()) == []
