"""The tables of a practice's database for webhooks from providers, and for their relay to an old address."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from polytill.domain import states
from polytill.storage.schema_columns import (
    Json,
    Moment,
    check,
    environment,
    flag,
    given_id,
    index,
    maybe,
    moment,
    of,
    one_of,
    part_of,
    small,
    text,
    unique,
)


def _of_account() -> Iterator[Any]:
    yield of("practice_id", "practices")
    yield from environment()
    yield of("config_id", "practice_payment_providers")


def add_webhook_tables(metadata: sa.MetaData) -> None:
    """Add the tables to those of a practice."""
    sa.Table(
        "webhook_events",
        metadata,
        given_id(),
        *_of_account(),
        *text("provider_code", "dedupe_key", "event_type", "state"),
        *maybe("reason", "payment_id"),
        *maybe("body", kind=Json),
        flag("must_fetch"),
        *small("tries", default=0),
        *moment("received_at"),
        *maybe("applied_at", kind=Moment),
        *maybe("dismissed_note"),
        unique("config_id", "environment", "dedupe_key"),
        one_of("state", states.EventState),
        index("state", "received_at"),
        index("payment_id"),
    )
    # The provider's ids that webhooks without a known payment name, so that they are found when one becomes known.
    sa.Table(
        "webhook_names",
        metadata,
        part_of("event_id", "webhook_events", is_key=False),
        of("config_id", "practice_payment_providers"),
        *text("name"),
        sa.PrimaryKeyConstraint("event_id", "name"),
        index("config_id", "name"),
    )
    # Webhooks on their way to the old address of their account. The request is sealed, with its exact bytes and its
    # headers, and deleted when the relay ends.
    sa.Table(
        "webhook_relays",
        metadata,
        part_of("event_id", "webhook_events"),
        *_of_account(),
        *text("state", "otherwise", "body_hash"),
        *maybe("sealed_request", "last_error"),
        *small("size_bytes"),
        *small("tries", default=0),
        *maybe("last_status", kind=sa.Integer),
        *maybe("next_try_at", kind=Moment),
        *moment("created_at"),
        *maybe("ended_at", kind=Moment),
        one_of("state", states.RelayState),
        one_of("otherwise", (states.EventState.parked, states.EventState.ignored)),
        check("sealed", "(state = 'waiting') = (sealed_request IS NOT NULL)"),
        index("state", "next_try_at"),
        index("config_id", "state"),
    )
