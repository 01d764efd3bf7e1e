"""The tables of the gradual rollout, in the owner's database: phases, differences, and who reads the old field."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from polytill.domain.rollout import DifferenceReason, FieldState, RolloutPhase
from polytill.domain.states import Environment
from polytill.storage.schema_columns import (
    Moment,
    given_id,
    index,
    maybe,
    moment,
    of,
    one_of,
    only_row,
    serial_id,
    small,
    text,
    unique,
    whole,
)


def add_rollout_tables(metadata: sa.MetaData) -> None:
    """Add the tables to the owner's."""

    def table(name: str, *parts: Any) -> None:
        sa.Table(name, metadata, *parts)

    # A practice without a row is not in a rollout. ``moving_to``: a step that has begun; whoever finds it old ends it.
    # ``field_hash``: a keyed hash of the field when it was last equal to our configurations, never the field itself;
    # ``writing_hash``: of what we are about to write into it, so that our own write is not taken for somebody else's;
    # ``writing_until``: that write has ended by then, also if its process is gone.
    # ``field_due`` counts our changes, so that one that comes during a write is not taken for written. It counts them
    # before they are made; ``compared_with`` is what the last comparison was made with (``flows/rollout/basis.py``).
    table(
        "practice_rollouts",
        given_id("practice_id", sa.Integer, "practices"),
        *text("phase"),
        *maybe("moving_to", "field_hash", "writing_hash", "field_detail", "compared_with"),
        *maybe("moving_since", "next_try_at", "checked_at", "writing_until", kind=Moment),
        *text("field_state", default=FieldState.unknown),
        *small("field_due", "tries", default=0),
        *whole("agreements", default=0),
        *moment("moved_at"),
        index("phase"),
        index("next_try_at"),
        one_of("phase", RolloutPhase),
        one_of("moving_to", RolloutPhase),
        one_of("field_state", FieldState),
    )
    # The payments whose decision of the old code was compared, so that one that is reported again does not count again.
    # ``reference`` is the old code's own.
    table(
        "rollout_decisions",
        given_id("practice_id", sa.Integer, "practices"),
        given_id("reference"),
        *moment("at"),
        index("at"),
    )
    # A payment for which the old code and polytill chose differently.
    table(
        "rollout_differences",
        serial_id(),
        of("practice_id", "practices"),
        *text("reference", "reason", "environment", "currency", "detail"),
        *maybe("amount", kind=sa.BigInteger),  # minor units
        *maybe("payment_method", "legacy_provider", "our_provider"),
        *moment("at"),
        unique("practice_id", "reference"),
        index("reason"),
        index("at"),
        one_of("reason", DifferenceReason),
        one_of("environment", Environment),
    )
    # Who still reads the field, as the host application counts it, and since when it does.
    table("field_readers", given_id("caller"), *whole("reads"), *moment("first_at", "last_at"))
    table("field_read_reports", *only_row(), *moment("first_at", "last_at"))
