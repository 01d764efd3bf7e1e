"""The sources of an outcome: a closed list.

``tests/house/test_totality.py`` holds it against page texts, documentation and flows.
"""

from __future__ import annotations

from enum import StrEnum


class Source(StrEnum):
    """Where an outcome comes from. It is the actor of the audit lines that the outcome leads to."""

    answer = "answer"  # the response to the call itself
    webhook = "webhook"
    lookup = "lookup"  # we asked the provider, or it listed the entry
    provider = "provider"  # follows from another fact of the provider
    staff = "staff"
    expiry = "expiry"  # the payment's time to be paid is over
    customer = "customer"
