"""Paystack's envelopes (success, error, pages), and the readers of requests."""

from __future__ import annotations

import json
from typing import Any

from polytill.simulator.books import Json
from polytill.simulator.wire import Answer, Rejected, dated, json_answer, whole


class No(Rejected):
    """Paystack rejects the request."""

    def __init__(self, message: str, code: str = "invalid_params", hint: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        hint = hint or "Ensure that the value(s) you're passing are valid"
        self.answer = json_answer(
            {"status": False, "message": message, "meta": {"nextStep": hint}, "type": "validation_error", "code": code},
            status,
        )


def yes(message: str, data: Any, meta: Json | None = None) -> Answer:
    """Paystack's envelope of an answer."""
    body: Json = {"status": True, "message": message, "data": data}
    return json_answer(body if meta is None else {**body, "meta": meta})


def text_of(value: object) -> str | None:
    """A string, or None for anything else."""
    return value if isinstance(value, str) else None


def metadata_of(value: Any) -> Any:
    """What Paystack stores of the metadata: an object, also if it was sent as text. Missing metadata is ""."""
    if isinstance(value, str):
        try:
            parsed = json.loads(value)
        except (ValueError, RecursionError):
            return value
        return parsed if isinstance(parsed, dict) else value
    return "" if value is None else value


def _number(given: Json, names: tuple[str, ...], default: str, most: int) -> int:
    raw = next((str(given[name]) for name in names if given.get(name)), default)
    number = whole(raw, 1, most)
    if number is None:
        raise No(f"Invalid {names[0]}")
    return number


def between(rows: list[Json], given: Json) -> list[Json]:
    """The ``from`` and ``to`` filters."""
    return dated(rows, str(given.get("from") or ""), str(given.get("to") or ""))


def paged(message: str, rows: list[Json], given: Json) -> Answer:
    """One page of a list, numbered or by cursor."""
    size = _number(given, ("perPage", "per_page"), "50", 1000)
    if given.get("use_cursor") == "true":
        after = given.get("next")
        names = [str(row["id"]) for row in rows]
        start = names.index(after) + 1 if after in names else 0
        shown = rows[start : start + size]
        following = str(shown[-1]["id"]) if shown and start + size < len(rows) else None
        return yes(message, shown, {"next": following, "previous": None, "perPage": size})
    number = _number(given, ("page",), "1", 10**6)
    pages = max((len(rows) + size - 1) // size, 1)
    shown = rows[(number - 1) * size : number * size]
    meta = {"total": len(rows), "skipped": (number - 1) * size, "perPage": size, "page": number, "pageCount": pages}
    return yes(message, shown, meta)
