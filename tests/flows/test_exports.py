"""Exports of a practice on both engines: complete, of one moment, without secrets, and verified by their manifests."""

from __future__ import annotations

import asyncio
import csv
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from polytill.domain.clock import wire_time
from polytill.domain.errors import NotFound, OperatorError
from polytill.flows.lifecycle import export as exporting
from polytill.flows.lifecycle.export import Export, export
from polytill.flows.lifecycle.export_check import check_export
from polytill.flows.payments.payment_links import LinkWish, create_link
from polytill.providers.contract import Customer, PaymentFact
from polytill.storage import audit, export_rows
from polytill.storage.export_columns import camel
from polytill.storage.export_tables import PARTS
from tests.flows import scenes
from tests.flows.scenes import Scene, paid

pytestmark = pytest.mark.asyncio(loop_scope="module")
FORMULA = '=HYPERLINK("https://evil.example")'


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory, file_engine_url: str | None) -> AsyncIterator[Scene]:
    async with scenes.scene(tmp_path_factory.mktemp("exports"), file_engine_url) as made:
        configured = await made.configure()
        for number in range(5):
            customer = Customer(f"ada{number}@example.com", FORMULA, "+2348012345678")
            payment = await made.succeeded(
                1000 + number, customer=customer, description='Ten\r\n"lines", é', metadata={"a": "1"}
            )
            fact = PaymentFact(
                paid(1000 + number, transaction=payment.provider_transaction_id or ""),
                None,
                payment.provider_transaction_id,
            )
            await made.delivery(configured, fact)
        await create_link(made.context, made.practice_id, LinkWish(500, "NGN", "A chair"), "test")
        yield made


def read(made: Export, kind: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (made.folder / f"{kind}.jsonl").read_text().splitlines()]


def read_csv(made: Export, kind: str) -> list[dict[str, str]]:
    with (made.folder / f"{kind}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


async def test_everything_is_there_in_both_formats(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_rows, "AT_ONCE", 2)
    made = await export(scene.context, scene.practice_id, tmp_path, "test")
    for part in PARTS:
        counted = await scene.db.value(f"SELECT count(*) FROM {part.table} AS t")
        rows, cells = read(made, part.name), read_csv(made, part.name)
        assert (part.name, len(rows), len(cells), made.records[part.name]) == (part.name, *[counted] * 3)
        names = [camel(column.name) for column in part.columns]
        assert all(list(one) == names for one in [*rows, *cells])
    assert {"payments", "attempts", "ledger", "webhook_events", "events", "audit_log", "api_keys"} <= {
        kind for kind, count in made.records.items() if count
    }
    [payment] = [one for one in read(made, "payments") if one["amount"] == 1004]
    stored = await scene.payment(payment["id"])
    assert (payment["amount"], payment["currency"], payment["metadata"]) == (1004, "NGN", {"a": "1"})
    assert (payment["createdAt"], payment["pinnedProvider"]) == (wire_time(stored.created_at), False)
    assert payment["customerName"] == FORMULA
    [shown] = [one for one in read_csv(made, "payments") if one["id"] == payment["id"]]
    assert (shown["customerName"], shown["customerPhone"]) == (f"'{FORMULA}", "+2348012345678")
    assert (shown["amount"], shown["pinnedProvider"], shown["failureReason"]) == ("1004", "false", "")
    assert read(made, "customers")[0]["payments"] == 1
    assert (made.folder.stat().st_mode & 0o077, (made.folder / "payments.csv").stat().st_mode & 0o077) == (0, 0)
    found = check_export(made.folder)
    assert (found.problems, found.records, found.manifest_hash) == ([], made.records, made.manifest_hash)


async def test_no_secret_is_in_it(scene: Scene, tmp_path: Path) -> None:
    made = await export(scene.context, scene.practice_id, tmp_path, "test")
    text = "".join(path.read_text() for path in made.folder.iterdir())
    entry = await scene.context.opening.entry(scene.practice_id)
    tokens = await scene.db.column("SELECT hook_token FROM practice_payment_providers")
    sealed = await scene.db.column("SELECT secret_key FROM practice_payment_providers WHERE secret_key IS NOT NULL")
    hashes = await scene.context.owner.column("SELECT key_hash FROM api_keys")
    for secret in (entry.wrapped_data_key, "sk_test", "wh_test", *tokens, *sealed, *hashes):
        assert secret not in text


async def test_it_is_of_one_moment(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = exporting._rows

    async def with_a_payment_after(found: Any, part: Any, practice_id: int) -> Any:
        async for rows in real(found, part, practice_id):
            yield rows
        if part.name == "payments":
            await scene.succeeded(1077)

    monkeypatch.setattr(exporting, "_rows", with_a_payment_after)
    made = await export(scene.context, scene.practice_id, tmp_path, "test")
    ids = {one["id"] for one in read(made, "payments")}
    assert 1077 in await scene.db.column("SELECT amount FROM payments")
    for kind in ("attempts", "ledger", "events"):
        assert {one["paymentId"] for one in read(made, kind)} - {None} <= ids  # the event of a link has no payment
    [newest] = await audit.listed(scene.context.owner, f"practice:{scene.practice_id}", None, 1)
    assert (newest["action"], newest["detail"]["manifest"]) == ("practice.exported", made.manifest_hash)


async def test_a_failed_export_leaves_nothing(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: Any) -> Any:
        raise asyncio.CancelledError
        yield

    with pytest.raises(NotFound):
        await export(scene.context, 99, tmp_path / "out", "test")
    (tmp_path / "file").write_text("")
    with pytest.raises(OperatorError, match="cannot be written"):
        await export(scene.context, scene.practice_id, tmp_path / "file" / "below", "test")
    monkeypatch.setattr(exporting, "_platform_audit", fails)
    with pytest.raises(asyncio.CancelledError):
        await export(scene.context, scene.practice_id, tmp_path / "out", "test")
    assert list((tmp_path / "out").iterdir()) == []


def _manifest(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        found = json.loads((folder / "manifest.json").read_text())
        change(found)
        (folder / "manifest.json").write_text(json.dumps(found))

    return edit


def _appended(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text((folder / name).read_text() + text) and None


CHANGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "deleted": (lambda folder: (folder / "payments.csv").unlink(), "payments.csv is missing"),
    "added": (lambda folder: (folder / "more.csv").write_text(""), "more.csv is not in the manifest"),
    "longer": (_appended("payments.jsonl", "{}\n"), "payments.jsonl has"),
    "edited": (
        lambda folder: (folder / "payments.csv").write_bytes(
            (folder / "payments.csv").read_bytes().replace(b"1004", b"1005")
        ),
        "payments.csv was changed",
    ),
    "fewer": (
        _manifest(lambda found: found["files"][0].update(records=9)),
        "practice.jsonl has 1 records instead of 9",
    ),
}
BROKEN: dict[str, Callable[[Path], Any]] = {
    "no_manifest": lambda folder: (folder / "manifest.json").unlink(),
    "no_json": lambda folder: (folder / "manifest.json").write_text("{"),
    "deep": lambda folder: (folder / "manifest.json").write_text("[" * 100_000),
    "too_large": lambda folder: (folder / "manifest.json").write_text(" " * 1_000_001),
    "other": lambda folder: (folder / "manifest.json").write_text('{"format": "zip"}'),
    "elsewhere": _manifest(lambda found: found["files"][0].update(name="../practice.jsonl")),
    "twice": _manifest(lambda found: found["files"].append(found["files"][0])),
    "negative": _manifest(lambda found: found["files"][0].update(bytes=True)),
    "newer": _manifest(lambda found: found.update(formatVersion=2)),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_what_was_changed_is_named(scene: Scene, tmp_path: Path, change: str) -> None:
    made = await export(scene.context, scene.practice_id, tmp_path, "test")
    edit, said = CHANGES[change]
    edit(made.folder)
    [problem] = check_export(made.folder).problems
    assert problem.startswith(said)


@pytest.mark.parametrize("change", BROKEN)
async def test_what_is_no_export_is_one_sentence(scene: Scene, tmp_path: Path, change: str) -> None:
    made = await export(scene.context, scene.practice_id, tmp_path, "test")
    BROKEN[change](made.folder)
    with pytest.raises(OperatorError) as refused:
        check_export(made.folder)
    assert refused.value.detail.endswith(".")
