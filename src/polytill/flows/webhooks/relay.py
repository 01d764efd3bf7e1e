"""Webhooks that are not about anything here: stored with their exact bytes, to be forwarded to the old address.

A provider such as Paystack has one webhook address for an account. While old code takes payments with the same account,
its webhooks arrive here. If the configuration has a relay address for the environment, such a webhook is not parked but
forwarded (``forward.py``).

A webhook is not ours if no fact in it names an attempt here, by our reference or by the provider's ids, and if its body
contains no id of an attempt or refund here. One that names only the provider's ids may be about a payment whose answer
has not arrived: it is kept for a moment and looked at again before it is forwarded. If its payment becomes known later,
it is applied all the same.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from polytill.domain.errors import Duplicate, NotNow, TooMany, UnreadableRow
from polytill.domain.ids import ID
from polytill.domain.sealing import Place
from polytill.domain.secret import Secret
from polytill.domain.states import Environment, EventState, RelayState
from polytill.flows.commits import until_committed
from polytill.flows.context import Practice
from polytill.flows.identifiers import named_by_fact
from polytill.flows.webhooks.apply import names_in
from polytill.flows.webhooks.unsigned import AN_HOUR, short_key
from polytill.flows.webhooks.verify import Verified
from polytill.providers.contract import Fact, PaymentFact, RefundFact, WebhookResult
from polytill.providers.http import parse_json, to_json
from polytill.storage import attempts, provider_configs, webhook_events, webhook_relays
from polytill.storage.databases import PracticeDb
from polytill.storage.reading import report_unreadable
from polytill.storage.units import Unit
from polytill.storage.webhook_events import UNKNOWN_REFERENCE, WebhookEvent
from polytill.storage.webhook_relays import Relay

# What waits for the old address of one configuration, at most. Beyond it the provider keeps its webhook and sends it
# again.
MOST_WAITING, MOST_BYTES = 10_000, 64 * 1024 * 1024
# Webhooks without a signature that are relayed in an hour, at most: anybody who knows the address can send them.
MOST_UNSIGNED = 5_000
# How long a webhook that may be about a payment whose answer is missing is kept before the first try.
HELD_S = 10.0
# Attempts that may still wait for the answer that names their transaction.
MAY_BE_UNNAMED = timedelta(minutes=10)
# The webhook's id here, for receivers that want to handle each webhook once. One that has it is never relayed again.
RELAY_ID = "polytill-relay-id"
# Headers of one connection (RFC 9110, 7.6.1), the length of the body, and those that name our host.
_OF_CONNECTION = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer"}
    | {"transfer-encoding", "upgrade", "expect", "content-length", "host", "forwarded", "x-forwarded-host"}
    | {"x-forwarded-port", "x-forwarded-proto", "x-forwarded-server", "x-forwarded-prefix", "x-original-host"}
)
# Anything in a body that could be one of our ids; more are not looked for.
_OUR_ID = re.compile(rb"(?<![0-9A-Za-z])" + ID.encode() + rb"(?![0-9A-Za-z])")
MOST_IDS = 50


@dataclass(frozen=True, slots=True)
class Incoming:
    """A webhook as it arrived: its headers and its exact bytes."""

    headers: Mapping[str, str]
    body: bytes

    @property
    def was_relayed(self) -> bool:
        """Whether an installation of polytill has forwarded it already."""
        return any(name.lower() == RELAY_ID for name in self.headers)

    def forwarded_headers(self, event_id: str) -> dict[str, str]:
        """The headers to forward: all but those of the connection and of our host, and the webhook's id here."""
        lower = {name.lower(): value for name, value in self.headers.items()}
        dropped = _OF_CONNECTION | {name.strip().lower() for name in lower.get("connection", "").split(",")}
        return {**{name: value for name, value in lower.items() if name not in dropped}, RELAY_ID: event_id}


def place_of(event_id: str, environment: Environment) -> Place:
    """Where the sealed request of a relay opens."""
    return Place("webhook_relays", event_id, "request", environment.value)


def sealed(practice: Practice, event: WebhookEvent, incoming: Incoming) -> str:
    """A webhook as it will be forwarded, sealed with the practice's data key."""
    request = {"headers": incoming.forwarded_headers(event.id), "body": base64.b64encode(incoming.body).decode()}
    place = place_of(event.id, event.environment)
    return practice.db.data_key.seal(Secret(to_json(request).decode()), place, practice.context.world)


def opened(practice: Practice, relay: Relay) -> tuple[dict[str, str], bytes]:
    """The headers and the exact bytes of a relay that waits."""
    assert relay.sealed_request is not None
    plain = practice.db.data_key.open(relay.sealed_request, place_of(relay.event_id, relay.environment))
    request = parse_json(plain.reveal().encode())
    return request["headers"], base64.b64decode(request["body"])


async def keep(
    practice: Practice, proof: Verified, event: WebhookEvent, result: WebhookResult, incoming: Incoming
) -> WebhookEvent | None:
    """Store a verified webhook that is not about anything here, if its account has a relay. Returns it as it is stored;
    None if it is ours, or if there is no relay.

    ``Stale`` if the configurations are not those of ``proof``. ``NotNow`` or ``TooMany`` if too much waits already: the
    provider sends it again.
    """
    if proof.environment.value not in proof.configuration.relay_urls or incoming.was_relayed:
        return None
    elsewhere = result.environment is not None and result.environment is not proof.environment
    if elsewhere or not await is_unknown(practice.db, event, result, incoming.body):
        return None
    if result.action == "notify":  # about the account itself: staff read it here
        return None
    otherwise = EventState.ignored
    if result.action == "park" or (result.facts and event.state is EventState.received):
        otherwise = EventState.parked
        event.reason = UNKNOWN_REFERENCE if result.facts else event.reason
    event.state = EventState.relaying
    return await until_committed(lambda: _stored(practice, proof, event, otherwise, result, incoming), (Duplicate,))


async def _stored(
    practice: Practice,
    proof: Verified,
    event: WebhookEvent,
    otherwise: EventState,
    result: WebhookResult,
    incoming: Incoming,
) -> WebhookEvent:
    body_hash = hashlib.sha256(incoming.body).hexdigest()
    for key in (event.dedupe_key, short_key(f"{event.dedupe_key}:{body_hash}")):
        # Our keys name the fact. The old code may read more, so another body with the same fact is forwarded, too.
        event = replace(event, dedupe_key=key)
        known = await webhook_events.by_dedupe_key(practice.db, event.config_id, event.environment, key)
        if known is None:
            break
        its = await webhook_relays.of_event(practice.db, known.id)
        if its is None or its.body_hash == body_hash:
            return known
    else:
        assert known is not None
        return known
    await _admit(practice.db, event)
    now = practice.context.shared_after(0)
    is_held = await _may_be_created_now(practice, event, result)
    relay = Relay(
        event_id=event.id,
        practice_id=practice.id,
        environment=event.environment,
        config_id=event.config_id,
        state=RelayState.waiting,
        otherwise=otherwise,
        body_hash=body_hash,
        sealed_request=sealed(practice, event, incoming),
        size_bytes=len(incoming.body),
        next_try_at=practice.context.shared_after(HELD_S) if is_held else now,
        created_at=now,
    )
    unit = Unit()
    provider_configs.unchanged(unit, proof.revision)
    webhook_events.insert(unit, event)
    if event.reason == UNKNOWN_REFERENCE:
        webhook_events.name(unit, event, names_in(result.facts))
    webhook_relays.insert(unit, relay)
    await practice.db.commit(unit)
    return event


async def _admit(db: PracticeDb, event: WebhookEvent) -> None:
    waiting = await webhook_relays.backlog(db, event.config_id)
    if waiting.number >= MOST_WAITING or waiting.size_bytes >= MOST_BYTES:
        raise NotNow("Too many webhooks wait for the relay address. Send this one again later.", code="relay_full")
    if event.must_fetch:
        since = event.received_at - AN_HOUR
        sent = await webhook_events.unsigned_since(db, event.config_id, event.environment, None, since)
        if sent >= MOST_UNSIGNED:
            raise TooMany("Too many unsigned webhooks. Send this one again later.")


async def is_unknown(db: PracticeDb, event: WebhookEvent, result: WebhookResult, body: bytes) -> bool:
    """Whether a webhook names nothing that is known here."""
    try:
        for fact in result.facts:
            if await named_by_fact(db, event.config_id, event.environment, fact) is not None:
                return False
    except UnreadableRow as error:  # it is ours, and a newer version can read it
        report_unreadable(error)
        return False
    return not await attempts.any_of_ids(db, list(dict.fromkeys(_ids_in(body))))


def _ids_in(body: bytes) -> Iterator[str]:
    for number, match in enumerate(_OUR_ID.finditer(body)):
        if number >= MOST_IDS:
            return
        yield match[0].decode()


async def _may_be_created_now(practice: Practice, event: WebhookEvent, result: WebhookResult) -> bool:
    """Whether a webhook may be about a payment here whose transaction is not known yet. Not if it has a reference: ours
    are stored before the provider gets them."""
    if all(_reference_of(fact) for fact in result.facts):
        return False
    since = practice.now() - MAY_BE_UNNAMED
    return await attempts.any_unnamed(practice.db, event.config_id, event.environment, since)


def _reference_of(fact: Fact) -> str | None:
    if isinstance(fact, PaymentFact):
        return fact.reference
    return fact.payment_reference or (fact.reference if isinstance(fact, RefundFact) else None)
