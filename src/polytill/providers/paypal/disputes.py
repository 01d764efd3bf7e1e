"""Reads PayPal's disputes from webhooks, listings and the details of a dispute.

An inquiry is a question between customer and merchant. At the later stages PayPal or a bank decides, and PayPal holds
the funds. A dispute that the customer wins is paid by a refund of the capture.

Source: customer_disputes_v1.json of paypal/paypal-rest-api-specifications (Feb 2024), and
https://developer.paypal.com/docs/api/customer-disputes/v1/.
"""

from __future__ import annotations

from urllib.parse import parse_qs, urlencode, urlsplit

from polytill.domain.money import Money
from polytill.domain.states import DisputeReason
from polytill.providers.facts import DisputeFact
from polytill.providers.outcomes import JsonObject
from polytill.providers.paypal import reading
from polytill.providers.wire_json import moment_text, object_in, objects_in, string_in, text_in

PATH = "/v1/customer/disputes"
PAGE_SIZE = 50
# PayPal lists changes of the last 180 days, and rejects an earlier ``update_time_after``.
LONGEST_AGO_S = 180 * 86_400 - 3600
# Possible names of the token of the following page.
_PAGE_NAMES = ("next_page_token", "page")
OUTCOMES = {"RESOLVED_BUYER_FAVOUR": "lost", "RESOLVED_SELLER_FAVOUR": "won", "CANCELED_BY_BUYER": "won"}
# PayPal has other outcomes, which do not say who received the money. If the movements of money show it, they decide;
# otherwise a person decides.
RESOLVED = "RESOLVED"
OPEN = frozenset({"OPEN", "WAITING_FOR_BUYER_RESPONSE", "WAITING_FOR_SELLER_RESPONSE", "UNDER_REVIEW", "OTHER", ""})
# The closed lists of a movement of money. Fees are not part of the disputed amount.
SELLER, OTHER_PARTIES = "SELLER", frozenset({"BUYER", "PAYMENT_PROCESSOR"})
SETTLEMENT, FEES = "DISPUTE_SETTLEMENT", frozenset({"DISPUTE_SETTLEMENT_FEE", "DISPUTE_FEE", "CHARGEBACK_FEE"})
SIGNS = {"DEBIT": 1, "CREDIT": -1}
INQUIRY = "INQUIRY"
R = DisputeReason
# https://developer.paypal.com/docs/api/customer-disputes/v1/
REASONS = {
    "MERCHANDISE_OR_SERVICE_NOT_RECEIVED": R.product_not_received,
    "MERCHANDISE_OR_SERVICE_NOT_AS_DESCRIBED": R.product_unacceptable,
    "UNAUTHORISED": R.fraudulent,
    "CREDIT_NOT_PROCESSED": R.credit_not_processed,
    "DUPLICATE_TRANSACTION": R.duplicate,
    "INCORRECT_AMOUNT": R.incorrect_amount,
    "PAYMENT_BY_OTHER_MEANS": R.paid_by_other_means,
    "CANCELED_RECURRING_BILLING": R.subscription_canceled,
    "PROBLEM_WITH_REMITTANCE": R.bank_cannot_process,
    "OTHER": R.other,
}


def dispute_in(resource: JsonObject) -> DisputeFact | None:
    """A dispute; None if its state is not known."""
    return read_dispute(resource) if _state(resource) is not None else None


def read_dispute(resource: JsonObject) -> DisputeFact | None:
    """A dispute. If its status or outcome is not known, it counts as open. None if it has no id."""
    dispute_id = string_in(resource, "dispute_id")
    if dispute_id is None:
        return None
    about = next(iter(objects_in(resource, "disputed_transactions") or []), {})
    end, status = object_in(resource, "dispute_outcome"), text_in(resource, "status")
    outcome, reason = text_in(end, "outcome_code"), text_in(resource, "reason")
    state, taken = _state(resource), _taken(resource)
    disputed = reading.money_in(resource.get("dispute_amount"))
    # A lost dispute may have cost only a part of the disputed amount.
    given = reading.money_in(end.get("amount_refunded")) or (taken if taken and taken.minor else None)
    is_inquiry = text_in(resource, "dispute_life_cycle_stage") == INQUIRY
    return DisputeFact(
        state or "open",
        outcome or status,
        dispute_id,
        string_in(about, "custom"),
        None,
        string_in(about, "seller_transaction_id"),
        (given if state == "lost" else None) or disputed,
        funds_withdrawn=state == "lost" or (state in ("open", None) and taken is not None and taken.minor > 0),
        due_at=string_in(resource, "seller_response_due_date"),
        kind="inquiry" if is_inquiry else "chargeback",
        reason=REASONS.get(reason, R.other).value if reason else None,
        provider_reason=reason or None,
        understood=state is not None and (state != "open" or status in OPEN),
        funds_returned=taken is not None and not taken.minor and _was_debited(resource),
    )


def _was_debited(resource: JsonObject) -> bool:
    """Whether a movement took money from the merchant, other than a fee."""
    moves = objects_in(resource, "money_movements") or []
    taking = (m for m in moves if text_in(m, "affected_party") == SELLER and text_in(m, "type") == "DEBIT")
    return any(text_in(move, "reason") not in FEES for move in taking)


def _state(resource: JsonObject) -> str | None:
    """Open, won, lost or closed; None if PayPal's codes do not show it."""
    outcome = text_in(object_in(resource, "dispute_outcome"), "outcome_code")
    if outcome in OUTCOMES:
        return OUTCOMES[outcome]
    if text_in(resource, "status") != RESOLVED:
        return "open" if outcome in ("", "NONE") else None
    if outcome == "NONE":  # "the previous dispute was closed without any decision"
        return "closed"
    taken = _taken(resource)
    return None if taken is None else "lost" if taken.minor > 0 else "won"


def _taken(resource: JsonObject) -> Money | None:
    """The cost of a dispute for the merchant so far, without fees. None if PayPal lists no movement of money or one
    that cannot be read: without that part, a lost dispute could look won."""
    total = reading.money_in(resource.get("dispute_amount"))
    if total is None or not (moves := objects_in(resource, "money_movements")):
        return None
    minor = 0
    for move in moves:
        party, reason, kind = (text_in(move, name) for name in ("affected_party", "reason", "type"))
        amount = reading.money_in(move.get("amount"))
        if party in OTHER_PARTIES or reason in FEES:
            continue
        readable = party == SELLER and reason in (SETTLEMENT, "") and kind in SIGNS
        if not readable or amount is None or amount.currency != total.currency:
            return None
        minor += SIGNS[kind] * amount.minor
    return Money(max(minor, 0), total.currency)


# ── The listing ──


def query(since_s: int, until_s: int, now_s: int, cursor: str | None) -> str:
    """The query for a page of the disputes that changed in a period."""
    if cursor is not None:
        return cursor
    after = moment_text(max(since_s, now_s - LONGEST_AGO_S))
    before = moment_text(max(until_s, now_s - LONGEST_AGO_S + 1))
    return urlencode({"update_time_after": after, "update_time_before": before, "page_size": PAGE_SIZE})


def items_in(page: JsonObject) -> list[JsonObject] | None:
    """The entries of a page; None if it is not a page. An empty page may have only links."""
    items = objects_in(page, "items")
    is_empty = page.get("items") is None and objects_in(page, "links") is not None
    return [] if items is None and is_empty else items


def next_query(page: JsonObject) -> str | None:
    """The query of the following page, from its link; None at the end. Only the link's query is used, never its host."""
    for link in objects_in(page, "links") or []:
        if link.get("rel") != "next":
            continue
        address = urlsplit(string_in(link, "href") or "")
        given = {name: values[-1] for name, values in parse_qs(address.query).items()}
        if address.path.endswith(PATH) and any(name in given for name in _PAGE_NAMES):
            return urlencode(given)
    return None
