"""A command: a request to change something once, whichever way it comes in."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import msgspec

from polytill.domain.errors import Conflict
from polytill.domain.personal_data import Digest, keyed

# Members in one order, and no spaces: the same content is always the same bytes.
_canonical = msgspec.json.Encoder(order="sorted").encode


@dataclass(frozen=True, slots=True)
class Command:
    """Who requests a change, and under which idempotency key.

    ``fingerprint`` tells a repeat from another request under the same key. The flow that carries the command out sets
    it with ``about``, so that HTTP API, library and pages agree on what the same request is.
    """

    key: str
    actor: str
    fingerprint: str = ""

    def about(self, operation: str, *content: Any) -> Command:
        """The command with the fingerprint of what is requested: the operation, and content that is JSON. A fingerprint
        that is set already stays."""
        return self if self.fingerprint else Command(self.key, self.actor, fingerprint(operation, *content))

    def check_repeat(self, known: str, keyed_hash: Digest | None = None) -> None:
        """``Conflict`` unless ``known``, the fingerprint stored under this key, is of the same request. ``keyed_hash``: of
        the practice's data key, where the customer's data may have been erased from the row."""
        if known != self.fingerprint and (keyed_hash is None or known != keyed(self.fingerprint, keyed_hash)):
            raise Conflict("This Idempotency-Key was used with another request.", code="idempotency_key_reused")


def fingerprint(*content: Any) -> str:
    """The hash of the canonical JSON of a request's content."""
    return hashlib.sha256(_canonical(content)).hexdigest()
