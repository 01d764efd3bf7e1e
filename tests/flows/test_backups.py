"""Backups of a practice on both engines: made while it is used, sealed, checked by restoring, and restored."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from moto.server import ThreadedMotoServer

from polytill.domain.errors import NotFound, OperatorError, PracticeBehind
from polytill.flows import backups
from polytill.flows.adoption.adopt import adopt
from polytill.providers.outcomes import Succeeded
from polytill.storage import copies, payments, practices
from polytill.storage.backup_stores import BackupStore, DirectoryStore, S3Store, backup_store
from polytill.storage.clusters import Cluster
from tests import calls
from tests.flows import scenes
from tests.flows.scenes import Scene, paid

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory, file_engine_url: str | None) -> AsyncIterator[Scene]:
    async with scenes.scene(tmp_path_factory.mktemp("backups"), file_engine_url) as made:
        await made.configure()
        yield made


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "backups")


def kept(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "backups").iterdir())


async def test_a_backup_is_whole_sealed_and_of_one_moment(scene: Scene, store: DirectoryStore, tmp_path: Path) -> None:
    await scene.succeeded(key="before")
    going = asyncio.create_task(_pay_on(scene))
    made = await backups.back_up(scene.context, scene.practice_id, store)
    going.cancel()
    [file] = kept(tmp_path)
    content = file.read_bytes()
    assert (file.name, len(content), file.stat().st_mode & 0o077) == (made.name, made.size, 0)
    for secret in (b"sk_test", b"SQLite format", b"PGDMP", b"idempotency", b"before"):
        assert secret not in content
    assert await backups.names(store, scene.practice_id) == [made.name]
    assert await backups.names(store, scene.practice_id + 1) == []
    assert await backups.check(scene.context, scene.practice_id, store, made.name) == []


async def _pay_on(scene: Scene) -> None:
    while True:
        await scene.succeeded()


async def test_a_changed_backup_is_noticed_and_changes_nothing(
    scene: Scene, store: DirectoryStore, tmp_path: Path
) -> None:
    made = await backups.back_up(scene.context, scene.practice_id, store)
    file, before = kept(tmp_path)[0], await practices.by_id(scene.context.owner, scene.practice_id)
    whole = file.read_bytes()
    for broken in (whole[:-1], whole[: len(whole) // 2], whole[:-20] + bytes([whole[-20] ^ 1]) + whole[-19:], b"other"):
        file.write_bytes(broken)
        for work in (backups.check, backups.restore):
            with pytest.raises(OperatorError) as refused:
                await work(
                    scene.context, scene.practice_id, store, made.name, *(["test"] if work is backups.restore else [])
                )
            assert refused.value.detail.endswith(".")
    with pytest.raises(NotFound):
        await backups.check(scene.context, scene.practice_id, store, "practice-1-other")
    assert await practices.by_id(scene.context.owner, scene.practice_id) == before
    await scene.succeeded()


async def test_rows_that_differ_are_told_by_table(
    scene: Scene, store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = copies.dumped

    @asynccontextmanager
    async def other(cluster: Cluster, database: str) -> AsyncIterator[Any]:
        async with real(cluster, database) as (found, pieces):
            rows, total = found["payments"]
            yield {**found, "payments": (rows + 1, total), "audit_log": (found["audit_log"][0], "1")}, pieces

    monkeypatch.setattr(copies, "dumped", other)
    made = await backups.back_up(scene.context, scene.practice_id, store)
    found = await backups.check(scene.context, scene.practice_id, store, made.name)
    assert [sentence.split()[0] for sentence in found] == ["audit_log", "payments"]
    with pytest.raises(OperatorError, match="payments has"):
        await backups.restore(scene.context, scene.practice_id, store, made.name, "test")


async def test_a_restored_practice_takes_no_payment_until_it_is_adopted(
    scene: Scene, store: DirectoryStore, tmp_path: Path
) -> None:
    scene.wire.says("create", paid(transaction="tx-kept"))
    there = (await scene.pay("kept")).payment
    made = await backups.back_up(scene.context, scene.practice_id, store)
    scene.wire.says("create", paid(transaction="tx-since"))
    since = (await scene.pay("since")).payment
    await scene.later(0)
    await backups.restore(scene.context, scene.practice_id, store, made.name, "test")
    db = (await scene.context.practice(scene.practice_id)).db
    assert await payments.by_id(db, there.id) is not None
    assert await payments.by_id(db, since.id) is None
    asked = len(scene.wire.of("create"))
    with pytest.raises(PracticeBehind):
        await scene.pay("since")
    scene.wire.says("lookup", paid(transaction="tx-since"))
    found = await adopt(scene.context, scene.practice_id, "test")
    assert (found.payments, found.undecided, found.is_done) == (1, [], True)
    assert (await scene.pay("since")).payment.id == since.id
    assert len(scene.wire.of("create")) == asked
    await scene.succeeded(key="afterwards")


async def test_a_restore_records_what_only_the_replaced_database_knows(
    scene: Scene, store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await scene.succeeded(key="refunded since")
    made = await backups.back_up(scene.context, scene.practice_id, store)
    scene.wire.says("create", paid(transaction="tx-at-once"))
    since = (await scene.pay("at once")).payment  # and no worker has recorded it
    scene.wire.says("refund", Succeeded(paid(400).amount, "rf-at-once"))
    given_back = await calls.refund(scene.till, scene.practice_id, first.id, key="at once, too", amount=400)
    scene.wire.always("lookup_refund", Succeeded(paid(400).amount, "rf-at-once"))
    real = copies.put_in_place

    async def late(*of: Any) -> None:
        """Somebody pays while the database is being replaced, in a process that does not know of it."""
        with pytest.raises(PracticeBehind):
            await scene.pay("too late")
        await real(*of)

    monkeypatch.setattr(copies, "put_in_place", late)
    asked = len(scene.wire.of("create"))
    await backups.restore(scene.context, scene.practice_id, store, made.name, "test")
    assert len(scene.wire.of("create")) == asked
    scene.wire.says("lookup", paid(transaction="tx-at-once"))
    found = await adopt(scene.context, scene.practice_id, "test")
    assert (found.payments, found.refunds, found.undecided, found.is_done) == (1, 1, [], True)
    assert (await scene.pay("at once")).payment.id == since.id
    repeated = await calls.refund(scene.till, scene.practice_id, first.id, key="at once, too", amount=400)
    assert (repeated.id, len(scene.wire.of("refund"))) == (given_back.id, 1)


async def test_a_restore_that_was_killed_before_the_last_step_is_repeated(
    scene: Scene, store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await backups.back_up(scene.context, scene.practice_id, store)
    real = copies.put_in_place

    async def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(copies, "put_in_place", killed)
    with pytest.raises(KeyboardInterrupt):
        await backups.restore(scene.context, scene.practice_id, store, made.name, "test")
    scene.clock.at_s += 5  # a process knows the directory as it was a second ago
    with pytest.raises(PracticeBehind):
        await scene.pay("in between")
    monkeypatch.setattr(copies, "put_in_place", real)
    await backups.restore(scene.context, scene.practice_id, store, made.name, "test")
    assert (await adopt(scene.context, scene.practice_id, "test")).is_done
    await scene.succeeded(key="in between")


# ── Stores ──


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    given = {
        "AWS_ENDPOINT_URL_S3": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        import boto3

        boto3.client("s3").create_bucket(Bucket="backups")
        yield "s3://backups/clinic"
    finally:
        server.stop()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


async def test_a_bucket_keeps_backups_as_a_directory_does(scene: Scene, bucket: str) -> None:
    store = backup_store(f"{bucket}-{scene.db.engine.dialect}")
    assert isinstance(store, S3Store)
    made = await backups.back_up(scene.context, scene.practice_id, store)
    assert await backups.names(store, scene.practice_id) == [made.name]
    assert await backups.check(scene.context, scene.practice_id, store, made.name) == []
    with pytest.raises(NotFound):
        await backups.check(scene.context, scene.practice_id, store, made.name[:-1])


async def test_a_place_that_keeps_nothing_is_told_in_one_sentence(scene: Scene, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    places: list[tuple[str, str]] = [
        (str(tmp_path / "file"), "cannot be read or written"),
        ("s3://missing", "The bucket missing"),
    ]
    for place, said in places:
        store: BackupStore = backup_store(place)
        with pytest.raises(OperatorError, match=said):
            await backups.back_up(scene.context, scene.practice_id, store)
    for place in ("ftp://host/x", "s3://", "s3://key@bucket", "s3://bucket?x=1"):
        with pytest.raises(OperatorError, match="s3://bucket/prefix"):
            backup_store(place)
