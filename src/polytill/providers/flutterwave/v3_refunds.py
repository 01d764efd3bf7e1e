"""Finds a Flutterwave v3 refund whose answer was lost. Only the list of refunds shows it."""

from __future__ import annotations

from urllib.parse import urlencode

from polytill.providers.contract import RefundLookupParams
from polytill.providers.flutterwave.reading import (
    items_of,
    money_in,
    read_refund_object,
    refunded_in,
    says_none,
    transaction_of,
)
from polytill.providers.http import Answer
from polytill.providers.key_probe import Call
from polytill.providers.outcomes import JsonObject, NotSent, Outcome, Reason, Unknown, unless_missing
from polytill.providers.wire_json import id_in, moment_text, noted_reference, object_in, string_in

MAX_PAGES = 200  # of ten refunds
PAGE_TRIES = 3


def days(since_s: int, until_s: int) -> dict[str, str]:
    """The query for whole days (UTC)."""
    return {"from": moment_text(since_s)[:10], "to": moment_text(until_s)[:10]}


async def refunds_of(call: Call, number: str, params: RefundLookupParams, now_s: int) -> list[JsonObject] | Outcome:
    """All refunds of a transaction. Every page is read, because "not found" must mean that there is none. A refund with
    our note ends the search."""
    since_s = params.created_at_s
    window = days(since_s - 86_400, now_s + 86_400) if since_s else {}
    found: dict[str, JsonObject] = {}
    for page in range(1, MAX_PAGES + 1):
        items, total = await _page(call, urlencode({**window, "page": page}), 1 if page == 1 else PAGE_TRIES)
        if not isinstance(items, list):
            return unless_missing(items)  # only a list that was read to its end proves anything
        fresh = {id_in(item) or f"{page}/{place}": item for place, item in enumerate(items)}
        last = page >= total if isinstance(total, int) else fresh.keys() <= found.keys()
        found |= fresh
        if last or any(transaction_of(item) == number and _is_noted(item, params) for item in items):
            return [item for item in found.values() if transaction_of(item) in (number, None)]
    return Unknown(Reason.unreadable, detail="There are too many refunds to look through.")


async def _page(call: Call, query: str, tries: int) -> tuple[list[JsonObject] | NotSent | Unknown, object]:
    """The refunds of a page, and the number of pages. A failed page after the first is requested again: in a long list,
    one of them would always be missing."""
    items: list[JsonObject] | NotSent | Unknown = Unknown(Reason.unreadable)
    for _ in range(tries):
        answer = await call("GET", f"/refunds?{query}", None)
        items = items_of(answer) if isinstance(answer, Answer) else answer
        if says_none(items):
            return [], 0
        if isinstance(answer, Answer) and not isinstance(items, Unknown):
            return items, object_in(object_in(answer.data, "meta"), "page_info").get("total_pages")
        if isinstance(items, NotSent):
            break
    return items, None


def the_refund(items: list[JsonObject], params: RefundLookupParams) -> Outcome:
    """The refund with our note, else the only one of that amount."""
    currency = params.amount.currency
    alike = [
        item
        for item in items
        if noted_reference(item.get("comments")) is None
        and id_in(item) not in params.known
        and money_in(refunded_in(item), string_in(item, "currency") or currency) == params.amount
    ]
    candidates = [item for item in items if _is_noted(item, params)] or alike
    if not candidates:
        return NotSent(Reason.not_found, detail="The transaction has no such refund.")
    if len(candidates) > 1 or transaction_of(candidates[0]) is None:
        return Unknown(Reason.conflict, detail="Several refunds could be this one.")
    return read_refund_object(candidates[0], currency)


def _is_noted(item: JsonObject, params: RefundLookupParams) -> bool:
    return noted_reference(item.get("comments")) == params.reference
