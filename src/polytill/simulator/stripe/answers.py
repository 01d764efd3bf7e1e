"""Stripe's answers: objects by id, expansion along dotted paths, lists with cursors."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

from polytill.simulator.books import Dispute, Json, Refund, Transaction
from polytill.simulator.stripe import sessions, shapes
from polytill.simulator.stripe.params import Refused, check_known, integer, invalid, items, text
from polytill.simulator.stripe.payments import StripeRequest
from polytill.simulator.stripe.shapes import Card, Charge
from polytill.simulator.wire import Answer, json_answer


def missing(kind: str, name: str, param: str = "id") -> Refused:
    """No such object in this account: 404 if it is in the address, 400 if it is in a parameter."""
    status = 404 if param in ("id", "intent") else 400
    return Refused(status, f"No such {kind}: '{name}'", code="resource_missing", param=param, early=True)


def shape_of(request: StripeRequest, name: str) -> Json | None:
    """The JSON of any object of the account, by its id."""
    thing: Any = request.account.things.get(name)
    if isinstance(thing, Transaction):
        shape = sessions.session_json if name.startswith("cs_") else shapes.intent_json
        return shape(thing)
    if isinstance(thing, Card):
        return shapes.card_json(request.account, thing)
    if isinstance(thing, dict):
        return dict(thing)
    if isinstance(thing, tuple):
        tx, part = thing
        if isinstance(part, Refund):
            return shapes.refund_json(tx, part)
        if isinstance(part, Dispute):
            return shapes.dispute_json(tx, part)
        if isinstance(part, Charge):
            if name.startswith("txn_"):
                return shapes.balance_transaction_json(tx, part)
            return shapes.charge_json(tx, part)
    return None


def expand(request: StripeRequest, document: Json, paths: Iterable[str]) -> Json:
    """Replace ids by their objects, along dotted paths."""
    for path in paths:
        place, parts = document, path.split(".")
        for depth, part in enumerate(parts):
            value = place.get(part, 0)
            if isinstance(value, str):
                value = place[part] = shape_of(request, value) or value
            if value is None:
                break
            if isinstance(value, list) and depth + 1 < len(parts):
                for entry in value:
                    expand(request, entry, [".".join(parts[depth + 1 :])])
                break
            if not isinstance(value, dict):
                raise invalid(f"This property cannot be expanded ({path}).")
            place = value
    return document


def reply(request: StripeRequest, params: Json, document: Json) -> Answer:
    """An object, expanded as requested."""
    return json_answer(expand(request, document, [str(path) for path in items(params, "expand")]))


def page(request: StripeRequest, params: Json, url: str, everything: list[Json]) -> Answer:
    """A list, newest first, with Stripe's cursors and ``created`` filter."""
    check_known(params, "list")
    rows = list(reversed(everything))
    created = params.get("created", {})
    bounds = created if isinstance(created, dict) else {"gte": created, "lte": created}
    tests = {"gte": operator.ge, "gt": operator.gt, "lte": operator.le, "lt": operator.lt}
    for word in bounds:
        edge = integer(bounds, word)
        if word not in tests or edge is None:
            raise invalid(f"Invalid created: {word}", "created")
        rows = [row for row in rows if tests[word](row["created"], edge)]
    for word in ("starting_after", "ending_before"):
        cursor = text(params, word)
        if cursor is not None:
            ids = [row["id"] for row in rows]
            if cursor not in ids:
                raise missing("object", cursor, word)
            at = ids.index(cursor)
            rows = rows[at + 1 :] if word == "starting_after" else rows[:at]
    asked = integer(params, "limit")
    limit = 10 if asked is None else asked
    if not 1 <= limit <= 100:
        raise invalid("Invalid limit: must be between 1 and 100", "limit", "parameter_invalid_integer")
    shown = rows[:limit]
    return reply(request, params, {"object": "list", "data": shown, "has_more": len(rows) > limit, "url": url})
