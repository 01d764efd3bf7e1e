"""The routing policies that a practice has published, read for the practice's snapshot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import structlog

from polytill.domain.errors import FieldError
from polytill.domain.states import Environment
from polytill.flows.routing.policy import Policy
from polytill.flows.routing.policy_reading import parse_draft
from polytill.flows.routing.reading import loaded
from polytill.storage import routing_policies
from polytill.storage.databases import PracticeDb

log = structlog.get_logger("polytill")


@dataclass(frozen=True, slots=True)
class ActivePolicy:
    """The policy that orders the providers of an environment, and its version."""

    version: int
    policy: Policy
    asks_customer: bool = False  # a rule may ask whether the customer has paid before


async def active_policies(db: PracticeDb) -> dict[Environment, ActivePolicy]:
    """The active policy of each environment that has one.

    A policy stays valid when a provider that it names is removed from the catalog. One that cannot be read, because
    another version of polytill wrote it, is logged, and the default order applies.
    """
    found = {}
    for environment, active in (await routing_policies.active(db)).items():
        policy, errors = read_again(active.content)
        if policy is None:
            about = [f"{error.pointer} {error.reason}" for error in errors[:5]]
            log.error("routing_policy_not_read", practice=db.practice_id, environment=environment, errors=about)
        else:
            found[environment] = ActivePolicy(active.version, policy, "customer" in words_in(active.content))
    return found


def read_again(content: str) -> tuple[Policy | None, tuple[FieldError, ...]]:
    """A policy that was valid when it was saved, whatever the catalog has now, and whether its tests pass or not."""
    try:
        document = loaded(content)
    except ValueError:
        return None, ()
    return parse_draft(document, frozenset(_words(document)))[:2]


def words_in(content: str) -> frozenset[str]:
    """Every text in a policy. Those that are codes of providers are the providers that it names."""
    return frozenset(_words(loaded(content)))


def _words(value: Any) -> Iterator[str]:
    """Every text in a document: each may be the code of a provider."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            yield from one
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
