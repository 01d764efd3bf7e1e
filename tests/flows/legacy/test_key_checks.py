"""Keys of an import at providers that accept them, refuse them, cannot be asked, or never answer."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from polytill.app import Polytill
from polytill.flows.admin import key_tests
from polytill.flows.legacy import key_checks
from polytill.flows.legacy.bring import Result
from polytill.flows.legacy.files import FileSource
from polytill.providers.facts import CredentialTest, KeyFinding
from polytill.providers.outcomes import NotSent, Reason
from polytill.storage.host_field import Table
from tests.flows.legacy.imports import planned
from tests.installation import TEST_KEYS, fresh_settings, opened

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Polytill]:
    """One installation for all tests of this module. Nothing is written, so that one engine is enough."""
    async with opened(fresh_settings(tmp_path_factory.mktemp("checks"))) as found:
        yield found


async def checked(house: Polytill, folder: Path, number: int, *codes: str) -> list[Result]:
    """The plan of practices that have keys of these providers."""
    field = {code: TEST_KEYS[code] for code in codes}
    rows = [
        {"externalId": f"c-{n}", "name": "Clinic", "defaultCurrency": "NGN", "paymentProviders": field}
        for n in range(number)
    ]
    (folder / "rows.json").write_text(json.dumps(rows))
    return await planned(house, FileSource(folder / "rows.json", Table()), checks_keys=True)


def kinds(results: list[Result]) -> Counter[str]:
    return Counter(one.type for each in results for one in each.planned.findings if one.type.startswith("key_"))


async def test_a_provider_that_never_answers_is_not_asked_for_every_practice(
    house: Polytill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: Counter[str] = Counter()

    async def tested(_: Any, entry: Any, __: Any) -> CredentialTest:
        asked[entry.code] += 1
        await asyncio.sleep(0.001)
        return CredentialTest(entry.code == "stripe", "No answer.", reached=entry.code == "stripe")

    monkeypatch.setattr(key_tests, "tested", tested)
    found = await checked(house, tmp_path, 40, "paystack", "stripe")
    assert asked["stripe"] == 40
    assert key_checks.MOST_SILENT <= asked["paystack"] < key_checks.MOST_SILENT + key_checks.AT_ONCE
    assert kinds(found) == {"key_not_checked": 40}
    assert {one.action for one in found} == {"create"}


async def test_keys_of_several_practices_are_tested_at_once_and_in_order(
    house: Polytill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, most = Counter[str](), Counter[str]()
    all_in = asyncio.Event()

    async def tested(_: Any, entry: Any, __: Any) -> CredentialTest:
        """The first answer is given when as many are asked at once as may be; later ones are asked in its place."""
        now[entry.code] += 1
        most[entry.code] = max(most[entry.code], now[entry.code])
        if all(most[code] >= key_checks.AT_ONCE for code in ("paystack", "stripe")):
            all_in.set()
        await all_in.wait()
        await asyncio.sleep(0)
        now[entry.code] -= 1
        return CredentialTest(True, "fine")

    monkeypatch.setattr(key_tests, "tested", tested)
    found = await checked(house, tmp_path, 30, "paystack", "stripe")
    assert [one.planned.external_id for one in found] == [f"c-{n}" for n in range(30)]
    assert most == {"paystack": key_checks.AT_ONCE, "stripe": key_checks.AT_ONCE}


async def test_a_provider_that_cannot_be_asked_has_refused_no_key(
    house: Polytill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one whose address in the catalog may not be sent keys."""
    monkeypatch.setattr(key_tests, "build", lambda *_: NotSent(Reason.config, "host_not_allowed", "Not this address."))
    assert kinds(await checked(house, tmp_path, 1, "paystack")) == {"key_not_checked": 1}


@pytest.mark.parametrize(
    ("result", "kind"),
    [
        (CredentialTest(False, "Not activated.", finding=KeyFinding.account_not_activated), "key_refused"),
        (CredentialTest(True, "No refunds.", finding=KeyFinding.no_refunds), "key_limited"),
        (CredentialTest(True, "Fine."), None),
    ],
    ids=["refused", "limited", "fine"],
)
async def test_what_a_test_found_is_reported(
    house: Polytill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, result: CredentialTest, kind: str | None
) -> None:
    async def tested(*_: Any) -> CredentialTest:
        return result

    monkeypatch.setattr(key_tests, "tested", tested)
    assert kinds(await checked(house, tmp_path, 1, "paystack")) == ({kind: 1} if kind else {})
