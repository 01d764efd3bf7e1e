"""Exchanges what this process knows of providers with all other processes, through the owner database.

It runs beside requests. If the owner database is unavailable, results stay in memory and the copy read last is used.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from functools import lru_cache

import msgspec

from polytill.domain.errors import Duplicate, Stale
from polytill.flows.context import Context, log
from polytill.flows.provider_health import HEALTHY, Key, after, has_failures
from polytill.flows.provider_pool import fees_period, outcomes_period
from polytill.flows.routing.health import PROBE_TIMEOUT, ProviderHealth, Witness, begin_probe
from polytill.storage import routing_health, routing_pool
from polytill.storage.routing_health import Stored
from polytill.storage.units import Unit

# A crash loses the results of at most this time.
EXCHANGED_EVERY_S = 5.0
# A process whose last exchange was so long ago acts as if it were alone.
ALONE_AFTER_S = 3 * EXCHANGED_EVERY_S
# Keys whose counts are stored in one commit.
STORED_AT_ONCE = 100

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ProviderHealth).decode


def witness_of(context: Context, practice_id: int) -> Witness:
    """Who makes the calls of a practice in this process. The tags are random and keyed: the owner database does not say
    which practice had failures."""
    known = context.provider_health
    known.process = known.process or _token(context)
    return Witness(known.process, _tag(context.ring.derived("provider_health")[0], practice_id))


@lru_cache(maxsize=4096)
def _tag(key: bytes, practice_id: int) -> str:
    return hmac.digest(key, str(practice_id).encode(), "sha256")[:8].hex()


async def exchange(context: Context) -> None:
    """Add the results of this process, and read those of all. ``NotNow`` if the owner database is unavailable: nothing is
    lost."""
    await _merge_health(context)
    while await _store_counts(context):
        pass
    context.pool.learn(await routing_pool.outcomes(context.owner), await routing_pool.fees(context.owner))
    context.pool.exchanged_at_s = context.world.elapsed_s()


def permit_unasked(context: Context, practice_id: int, keys: Iterable[Key]) -> None:
    """Let this process probe failing providers without asking the others: if it cannot ask them, or if nobody has probed
    those of a payment, ``keys``, for long."""
    health, at = context.provider_health, context.shared_after(0)
    if health.wanted and context.world.elapsed_s() - context.pool.exchanged_at_s > ALONE_AFTER_S:
        health.permit_alone(_token(context), at)
    if health.any_failures:
        health.permit_unprobed(keys, witness_of(context, practice_id), _token(context), at)


async def _store_counts(context: Context) -> bool:
    """Store some of what was counted. Return whether there was anything."""
    now_s = context.shared_after(0).timestamp()
    counted, charged = context.pool.take(STORED_AT_ONCE)
    unit = Unit()
    # In one order, so that two processes never wait for each other in a circle.
    for outcome, (paid, declined) in sorted(counted.items()):
        routing_pool.add_outcomes(unit, outcome, outcomes_period(now_s), paid, declined)
    for fee, (payments, share_ppm) in sorted(charged.items()):
        routing_pool.add_fees(unit, fee, fees_period(now_s), payments, share_ppm)
    try:
        await context.owner.commit(unit)
    except BaseException:
        context.pool.put_back(counted, charged)
        raise
    return bool(counted or charged)


async def _merge_health(context: Context) -> None:
    """Add our results to the shared state of each provider, and take the permits that are wanted."""
    known, stored = context.provider_health, await routing_health.all_of(context.owner)
    shared = {key: _read(key, one) for key, one in stored.items()}
    for key in sorted({*known.results, *known.wanted}):
        before, results, now = shared.get(key, HEALTHY), list(known.results.get(key, ())), context.shared_after(0)
        changed, held = after(before, results), known.held(key, now)
        token = held or _token(context)
        begun = begin_probe(changed, token, now) if key in known.wanted else None
        if begun is not None or _is_news(before, changed):
            new = Stored(stored[key].version + 1 if key in stored else 1, _encode(begun or changed).decode())
            try:
                await _put(context, key, new)
            except (Stale, Duplicate):  # another process was first: again at the next exchange, on what it stored
                continue
            shared[key] = begun or changed
        known.stored(key, len(results))
        known.wanted.discard(key)
        if begun is not None and held is None:
            known.permit(key, token, context.shared_after(PROBE_TIMEOUT.total_seconds()))
            log.info("provider_probed", provider=key[0], environment=key[1])
    known.learn(shared)


async def _put(context: Context, key: Key, new: Stored) -> None:
    unit = Unit()
    routing_health.put(unit, *key, new, context.shared_after(0))
    await context.owner.commit(unit)


def _is_news(before: ProviderHealth, changed: ProviderHealth) -> bool:
    """Whether a change is worth a write: calls that work at a healthy provider are not."""
    return before != changed and (has_failures(before) or has_failures(changed))


def _read(key: Key, stored: Stored) -> ProviderHealth:
    try:
        return _decode(stored.state)
    except msgspec.ValidationError:  # of another version of polytill
        log.warning("provider_health_not_read", provider=key[0], environment=key[1])
        return HEALTHY


def _token(context: Context) -> str:
    return context.world.random_bytes(8).hex()
