"""Personal data: what a column may hold, and what stays of a document when a customer's data are erased.

A customer is named by identifiers: an e-mail address, a phone number, or the host application's own reference. Only keyed
digests of them are stored, so that nobody without the practice's data key can test a guess.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from polytill.domain.contacts import InvalidContact, email_key, read_email, stored_phone
from polytill.domain.text import normal

# Takes the place of a text that must not be empty.
ERASED = "[erased]"


class Holds(StrEnum):
    """Which personal data a column may hold."""

    nothing = "nothing"  # ids, codes, amounts, times, states, and what the practice or the platform configures
    customer = "customer"  # a customer's data in a field of its own, or free text that may quote them
    document = "document"  # a document or sealed value in which a customer's data may be
    staff = "staff"  # of the people who work for the practice or the platform


class Gone(StrEnum):
    """Why a stored document was removed."""

    erased = "erased"  # the customer's personal data were erased
    expired = "expired"  # its retention period has ended


def placeholder(why: Gone) -> dict[str, str]:
    """What is stored in place of a document that was removed."""
    return {"removed": why.value}


def is_removed(document: object) -> bool:
    """Whether this is the placeholder of a removed document."""
    return isinstance(document, dict) and list(document) == ["removed"] and document["removed"] in list(Gone)


# What our own documents (details of review cases and audit lines, data of events) keep under these names, whole: ids,
# codes, states, and the reasons of a routing decision, which are from closed lists.
KEPT = frozenset(
    [
        "action", "attempt", "attempts", "case", "changed", "config", "counted_as", "created", "currency", "decided_by",
        "decided_on", "decision", "dispute", "disputeId", "dueAt", "due_at", "environment", "event", "eventId", "eventType",
        "excluded", "expected", "fields", "from", "health", "id", "kind", "last_asked", "later", "made_with", "number",
        "operation", "operationId", "order", "origin", "part_of", "payment", "paymentId", "provider_code", "providerCode",
        "reason", "refund", "refundId", "refunds", "removed", "same_as", "says", "since", "source", "state", "status",
        "strategy", "subject", "to", "type", "values", "version", "why", "providerDisputeId", "confirmedBy", "providerState", "was",
    ]
)  # fmt: skip
# Under these names are ids and codes, or a document of its own.
KEPT_TEXTS = frozenset(["provider", "transaction", "transaction_id", "code", "of", "again", "requested", "recorded"])
MOST_OF_A_CODE = 200


def redacted(document: Any) -> Any:
    """One of our own documents without texts that may quote a customer. Numbers, ids, codes, states and its structure
    stay, so that what reads it still can."""
    if isinstance(document, dict):
        return {name: value if name in KEPT else _redacted(name, value) for name, value in document.items()}
    if isinstance(document, list):
        return [redacted(one) for one in document]
    return ERASED if isinstance(document, str) else document


def _redacted(name: str, value: Any) -> Any:
    return value if name in KEPT_TEXTS and isinstance(value, str) and len(value) <= MOST_OF_A_CODE else redacted(value)


Digest = Callable[[bytes], str]
KEYED = "keyed:"


def keyed(fingerprint: str, keyed_hash: Digest) -> str:
    """The fingerprint of a request after its customer was erased: a keyed hash of the one before, so that a repeat of the
    request is still known, and nobody without the practice's data key can compare it with a guessed request."""
    if not fingerprint or fingerprint.startswith(KEYED):
        return fingerprint
    return f"{KEYED}{keyed_hash(b'fingerprint 1:' + fingerprint.encode())}"


class WhyKept(StrEnum):
    """Why the personal data of a payment cannot be erased yet: something is still open that needs them."""

    payment = "payment"  # it is not paid, failed or canceled yet
    retry = "retry"  # it failed, and the customer can still try again
    lookup = "lookup"  # the provider is still asked about it
    refund = "refund"
    operation = "operation"  # a capture or cancel
    dispute = "dispute"
    case = "case"  # a review case
    webhook = "webhook"  # received or parked, and not applied


class Elsewhere(StrEnum):
    """Who else has a customer's data, and has to be asked."""

    providers = "providers"
    saved_methods = "saved_methods"  # of a provider that cannot detach them by a call
    host = "host"
    backups = "backups"


# ── Who is meant ──


class IdentifierOf(StrEnum):
    """What names a customer."""

    customer = "customer"  # the host application's own reference
    email = "email"
    phone = "phone"


@dataclass(frozen=True, slots=True)
class Named:
    """One identifier in the form in which identifiers are compared. It is never logged or stored."""

    kind: IdentifierOf
    value: str

    def __repr__(self) -> str:
        return f"Named({self.kind})"


_EMAIL = re.compile(r"[^\s<>\"'(),;:=&?/]+@[^\s<>\"'(),;:=&?/]+\.[^\s<>\"'(),;:=&?/]+")
_MOST_LEAVES = 20_000


def digest_of(named: Named, keyed_hash: Digest) -> str:
    """The keyed digest of an identifier."""
    return keyed_hash(f"customer identifier 1:{named.kind}:{named.value}".encode())


def named_by(
    email: str | None, phone: str | None, reference: str | None, currency: str | None = None
) -> Iterator[Named]:
    """The identifiers that fields of a row name. ``currency``: of its payment, for a number without a country code."""
    if email:
        with suppress(InvalidContact):  # an earlier version accepted more
            email = read_email(email)
        if email:
            yield Named(IdentifierOf.email, email_key(email))
    if phone:
        number = stored_phone(phone, currency) if currency else stored_phone(phone)
        yield Named(IdentifierOf.phone, number.digits if number else "".join(one for one in phone if one.isdigit()))
    if reference:
        yield Named(IdentifierOf.customer, normal(reference))


def named_in(document: Any) -> Iterator[Named]:
    """The identifiers that a foreign document may name: each of its texts alone, and each e-mail address in one."""
    waiting, seen = [document], 0
    while waiting and seen < _MOST_LEAVES:
        one, seen = waiting.pop(), seen + 1
        if isinstance(one, Mapping):
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
        elif isinstance(one, str | int) and not isinstance(one, bool):
            text = str(one)
            yield from (name for email in _EMAIL.findall(text) for name in named_by(email, None, None))
            if len(text) <= 40 and sum(each.isdigit() for each in text) >= 7:
                yield Named(IdentifierOf.phone, "".join(each for each in text if each.isdigit()))
            if 0 < len(text) <= 200:
                yield Named(IdentifierOf.customer, normal(text))
