"""Tests of the keys that an import would add, at their providers."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict

from polytill.domain.legacy_findings import LegacyFinding
from polytill.domain.sealing import DataKey
from polytill.domain.states import CredentialState, Environment
from polytill.flows.admin import key_tests
from polytill.flows.admin.credentials import Keys, check_keys
from polytill.flows.context import Context, Practice
from polytill.flows.handlers import handler_or_reason
from polytill.flows.legacy.model import Found
from polytill.storage.databases import PracticeDb
from polytill.storage.provider_configs import Account, Configuration, seal_credentials

AT_ONCE = 4  # keys at each provider, which limits requests
# A provider that does not answer is not waited for again and again: 30 seconds for each key of a thousand practices.
MOST_SILENT = 5


class KeyChecks:
    """Tests keys, those of several practices at once. One for each import."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._at_once: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(AT_ONCE))
        self._silent: Counter[tuple[str, Environment]] = Counter()  # tests in a row without an answer

    async def finding(self, at: str, code: str, environment: Environment, keys: Keys) -> Found | None:
        """What a test of keys found, for the place ``at``. None if payments can be made with them."""
        entry = (await self._context.catalog())[code]
        handler, _ = handler_or_reason(self._context, entry)
        if handler is None or not handler.keys:
            return None
        # Nothing of the practice exists yet: the keys are sealed with a data key that is forgotten after the test.
        world, where = self._context.world, (code, environment)
        db = PracticeDb(self._context.owner.engine, 0, DataKey(0, world.random_bytes(32)))
        opened = check_keys(handler, entry, environment, keys, None)
        sealed = seal_credentials(db.data_key, code, opened, CredentialState.active, world)
        configuration = Configuration(0, 0, code, entry.name, False, False, [], 0, "", sealed)
        async with self._at_once[code]:
            if self._silent[where] >= MOST_SILENT:
                detail = f"{entry.name} was not asked, because it did not answer {MOST_SILENT} times in a row."
                return Found(LegacyFinding.key_not_checked, at, detail)
            result = await key_tests.tested(Practice(self._context, db), entry, Account(configuration, sealed))
        self._silent[where] = 0 if result.reached else self._silent[where] + 1
        if not result.reached:
            return Found(LegacyFinding.key_not_checked, at, f"{entry.name} could not be asked: {result.detail}")
        if not result.ok:
            return Found(LegacyFinding.key_refused, at, f"No payment can be made with these keys: {result.detail}")
        if result.finding is not None:
            return Found(LegacyFinding.key_limited, at, f"Payments can be made with these keys. {result.detail}")
        return None
