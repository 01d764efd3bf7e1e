"""kill -9 inside every step of a backup and of a move: no payment is lost, and one place is in use."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from polytill.domain.errors import NotNow
from polytill.flows import backups
from polytill.flows.jobs import move
from polytill.storage import payments, practice_backups, practice_moves, practices
from polytill.storage.backup_stores import DirectoryStore
from polytill.storage.opening import is_postgres
from tests.flows import scenes
from tests.flows.life_drill import BACKUPS, MOVES
from tests.flows.scenes import Scene
from tests.flows.test_moves import another, exists

CLUSTERS = ("default", "second")


@pytest.fixture
async def scene(tmp_path: Path, engine_url: str | None) -> AsyncIterator[Scene]:
    async with scenes.scene(tmp_path, engine_url) as made:
        await made.configure()
        yield made


class Drill:
    """The program that forks."""

    def __init__(self, process: Process, practice_id: int) -> None:
        self._process, self._practice_id = process, practice_id

    @staticmethod
    async def start(scene: Scene, folder: Path) -> Drill:
        settings = scene.context.settings
        told = {
            "POLYTILL_OWNER_DATABASE_URL": settings.owner_database_url.get_secret_value(),
            "POLYTILL_PRACTICE_DATABASES": settings.practice_databases.get_secret_value(),
            "POLYTILL_KEYRING": str(settings.keyring),
            "POLYTILL_BACKUPS": str(folder / "kept"),
            "POLYTILL_BACKUPS_KEPT": "2",
        }
        command = (sys.executable, "-m", "tests.flows.life_drill")
        process = await asyncio.create_subprocess_exec(*command, env={**os.environ, **told}, stdin=PIPE, stdout=PIPE)
        return Drill(process, scene.practice_id)

    async def run(self, **order: Any) -> dict[str, Any]:
        """One process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        about = {"practice": self._practice_id, "boundary": None, "resumes": False, "to": None, **order}
        self._process.stdin.write(json.dumps(about).encode() + b"\n")
        await self._process.stdin.drain()
        while True:
            line = await asyncio.wait_for(self._process.stdout.readline(), 60)
            assert line, "the drill has ended"
            if line.startswith(b'{"signal"'):
                return dict(json.loads(line))

    async def end(self) -> None:
        """Wait for its end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()


def files_of(scene: Scene, folder: Path, pattern: str) -> list[str]:
    """The names of files in the directories of both clusters; none on a server."""
    place = scene.context.settings.practice_databases.get_secret_value()
    if is_postgres(place):
        return []
    return [one.name for cluster in (Path(place), folder / "second") for one in cluster.glob(pattern)]


async def test_a_move_that_is_killed_loses_nothing(scene: Scene, tmp_path: Path) -> None:
    await another(scene, tmp_path)
    drill, paid = await Drill.start(scene, tmp_path), [(await scene.succeeded()).id]
    try:
        for number, boundary in enumerate(MOVES):
            before = await practices.by_id(scene.context.owner, scene.practice_id)
            assert before is not None
            to = CLUSTERS[(CLUSTERS.index(before.cluster) + 1) % 2]
            ended = await drill.run(kind="move", to=to, boundary=boundary)
            assert ended["signal"] == 9, (boundary, ended)
            at = await practices.by_id(scene.context.owner, scene.practice_id)
            assert at is not None
            has_old = await exists(scene, before.cluster, before.database_name)
            assert not (has_old and at.database_name != before.database_name), f"two places are in use: {boundary}"
            scene.clock.at_s += 5  # a process knows the directory as it was a second ago
            try:
                paid.append((await scene.succeeded(key=f"killed-{number}")).id)
                assert has_old or at.database_name != before.database_name, boundary
            except NotNow:
                assert not has_old, boundary
            ended = await drill.run(kind="move", resumes=True)
            assert (ended["signal"], ended["state"]) == (0, "succeeded"), boundary
            scene.clock.at_s += 5
            paid.append((await scene.succeeded(key=f"moved-{number}")).id)
            scene.db = await scene.context.opening.practice(scene.practice_id)
            assert [one for one in paid if await payments.by_id(scene.db, one) is None] == [], boundary
            now = await scene.context.opening.entry(scene.practice_id)
            assert (now.cluster, scene.db.anchor.behind) == (to, None), boundary
            await move.confirm(scene.context, scene.practice_id, "test")
            assert await practice_moves.of_practice(scene.context.owner, scene.practice_id) == [], boundary
            assert not await exists(scene, before.cluster, f"{before.database_name}_moved")
    finally:
        await drill.end()
    left = [one.partition(".")[0] for one in await asyncio.to_thread(files_of, scene, tmp_path, "practice_*")]
    assert {*left} <= {now.database_name}, "every copy is dropped"


async def test_a_backup_that_is_killed_is_made_again(scene: Scene, tmp_path: Path) -> None:
    drill, store = await Drill.start(scene, tmp_path), DirectoryStore(tmp_path / "kept")
    await scene.succeeded()
    last = None
    try:
        for boundary in BACKUPS:
            ended = await drill.run(kind="backup", boundary=boundary)
            assert ended["signal"] == 9, (boundary, ended)
            good = await practice_backups.find(scene.context.owner, scene.practice_id)
            if last is not None:
                assert good is not None
                assert good.name in await backups.names(store, scene.practice_id), "the last good one is never deleted"
            ended = await drill.run(kind="backup", resumes=True)
            assert (ended["signal"], ended["state"]) == (0, "succeeded"), boundary
            last = await practice_backups.find(scene.context.owner, scene.practice_id)
            assert last is not None
            assert await backups.check(scene.context, scene.practice_id, store, last.name) == []
            # One that was written and whose process was killed then is kept with the others until it is old.
            assert len(await backups.names(store, scene.practice_id)) <= 3, boundary
        assert (await drill.run(kind="backup"))["state"] == "succeeded"
    finally:
        await drill.end()
    assert await asyncio.to_thread(files_of, scene, tmp_path, ".polytill-*") == []
    assert [one for one in await asyncio.to_thread(os.listdir, tmp_path / "kept") if not one.endswith(".backup")] == []
