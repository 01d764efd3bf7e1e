"""Which of a host's ids is the provider's id of a past payment, and which is the reference that the provider got."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from polytill.domain.identifiers import IdentifierKind, Identifiers
from polytill.domain.past_payments import Doubt
from polytill.flows.legacy.past_rows import MAX_ID, PastPayment
from polytill.providers.contract import Handler, Idempotency

# The ids by which handlers look payments up. Other providers take any.
FORMS = {"stripe": re.compile(r"pi_\w+"), "paystack": re.compile(r"\d{1,30}"), "flutterwave": re.compile(r"\d{1,30}")}
# What a provider's answer calls its id and the merchant's reference.
_IDS = {"stripe": ("payment_intent", "id"), "paystack": ("id",), "flutterwave": ("id",)}
_REFERENCES = {"paystack": ("reference",), "flutterwave": ("tx_ref", "txRef"), "flutterwave_v4": ("reference",)}


@dataclass(frozen=True, slots=True)
class PastIds:
    """The provider's id of a past payment, the reference that it certainly got, and further identifiers. ``doubt``: why
    there is no id. ``tried``: what it was for, if only that may be its reference: many hosts give the provider the number
    of the invoice, and take several payments of one."""

    transaction_id: str | None
    reference: str | None
    others: Identifiers
    doubt: Doubt | None
    tried: str | None = None


def ids_of(past: PastPayment, handler: type[Handler]) -> PastIds:
    """Read the ids of a past payment."""
    form, given = FORMS.get(past.provider_code), past.transaction_id
    others: Identifiers = {}
    told = _objects(past.response)
    reference = past.provider_reference or _named(told, _REFERENCES.get(past.provider_code, ()))
    transaction_id = given
    if form is not None and (given is None or not form.fullmatch(given)):
        transaction_id = next(
            (one for name in _IDS[past.provider_code] if (one := _named(told, (name,))) and form.fullmatch(one)), None
        )
        if given is not None:
            kind = IdentifierKind.charge if given.startswith("ch_") else IdentifierKind.reference
            others = {kind: (given,)}
            if kind is IdentifierKind.reference:  # many hosts keep their reference as the transaction's id
                reference = reference or given
    doubt = None
    if transaction_id is None:
        doubt = Doubt.no_transaction_id if given is None or reference == given else Doubt.transaction_id_form
    if handler.idempotency is Idempotency.key:
        reference = None  # such a provider finds a payment by its own id
        return PastIds(transaction_id, reference, others, doubt)
    is_named = transaction_id is not None or reference is not None
    name = past.reference
    tried = None if is_named or name is None or " " in name or len(name) > MAX_ID else name
    return PastIds(transaction_id, reference, others, doubt, tried)


def _objects(response: Any) -> list[dict[str, Any]]:
    """The answer and the object in it that providers call ``data``."""
    if not isinstance(response, dict):
        return []
    inner = response.get("data")
    return [inner, response] if isinstance(inner, dict) else [response]


def _named(objects: list[dict[str, Any]], names: tuple[str, ...]) -> str | None:
    """The first value under one of these names, as text."""
    for one in objects:
        for name in names:
            value = one.get(name)
            if isinstance(value, dict):  # an expanded object
                value = value.get("id")
            if isinstance(value, str | int) and not isinstance(value, bool) and 0 < len(str(value)) <= MAX_ID:
                return str(value)
    return None
