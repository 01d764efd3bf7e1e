"""Imports as tests make them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from polytill.app import Polytill
from polytill.flows.legacy.bring import Result, bring_all, planned_only
from polytill.flows.legacy.hooks import cipher_of
from polytill.flows.legacy.key_file import KeyFile
from polytill.flows.legacy.mapping_file import Setup, read_mapping
from polytill.flows.legacy.plan import Plan, handlers_of
from polytill.providers.http import to_json
from polytill.storage.host_field import HostSource


async def setup_of(till: Polytill, mapping: dict[str, Any] | None = None) -> Setup:
    """What a mapping file says."""
    return read_mapping(to_json(mapping or {}), await handlers_of(till.context))


async def plan_of(till: Polytill, source: HostSource, setup: Setup | None = None, *, checks_keys: bool = False) -> Plan:
    """The plan of an import, begun."""
    setup = setup or await setup_of(till)
    cipher = cipher_of(setup, till.context.settings.decrypt_hooks)
    plan = Plan(till.context, source, setup, cipher, checks_keys)
    await plan.begin()
    return plan


async def imported(till: Polytill, source: HostSource, keys_file: Path, setup: Setup | None = None) -> list[Result]:
    """Import a source."""
    plan = await plan_of(till, source, setup)
    with KeyFile(keys_file) as keys:
        return [one async for one in bring_all(till.context, plan, keys, "test", "default")]


async def planned(till: Polytill, source: HostSource, setup: Setup | None = None, **how: Any) -> list[Result]:
    """What an import would do."""
    return [one async for one in planned_only(await plan_of(till, source, setup, **how))]
