"""Checks of failed calls: each fault has one outcome, which depends on what the provider can have received."""

from __future__ import annotations

import itertools
import json
from typing import Any

from polytill.providers.http import AnswerLost, ConnectionNotMade
from polytill.providers.outcomes import REFUSED_AGAIN, Declined, NotSent, Outcome, Reason, Succeeded, Unknown
from polytill.testing.conformance.register import check, has_keys_of_its_own
from polytill.testing.conformance.wire import Fault, Stand, expect, fields_of

FAULTS = "faults"
survives = check(FAULTS)
WRONG: tuple[Any, ...] = (None, "x", -1, True, [], {}, [{"a": 1}], 10**30)
JSON_HEADERS = {"content-type": "application/json"}


async def _each_is(stand: Stand, fault: Fault, kind: type, *reasons: Reason) -> None:
    for verb, outcome in (await stand.outcomes(fault)).items():
        assert isinstance(outcome, kind), f"{verb} returns {outcome!r}"
        assert outcome.reason in reasons or not reasons, f"{verb} gives the reason {outcome.reason}"  # type: ignore[attr-defined]
        assert outcome.code, f"{verb} returns no code"  # type: ignore[attr-defined]


@survives
async def a_lost_answer_is_unknown(stand: Stand) -> None:
    """A call whose answer did not arrive is ``Unknown`` for every verb, because money may have moved."""
    await _each_is(stand, AnswerLost("TimeoutError"), Unknown, Reason.timeout)


@survives
async def a_refused_connection_starts_nothing(stand: Stand) -> None:
    """A payment, refund or capture whose connection was refused is ``NotSent``."""
    outcomes = await stand.outcomes(ConnectionNotMade("ClientConnectorError"))
    for verb in ("create_payment_intent", "charge_saved_method", "refund_payment", "capture_payment", "cancel_payment"):
        if verb in outcomes:
            reason = expect(NotSent, outcomes[verb], f"the outcome of {verb}").reason
            assert reason is Reason.unreachable, f"{verb} gives the reason {reason}"


@survives
async def a_question_that_fails_proves_nothing(stand: Stand) -> None:
    """A failed lookup never returns "not found", and never "failed"."""
    faults: tuple[Fault, ...] = (
        ConnectionNotMade("x"),
        AnswerLost("x"),
        (500, JSON_HEADERS, b"{}"),
        (429, JSON_HEADERS, b"{}"),
        (200, JSON_HEADERS, b"{}"),
        (200, JSON_HEADERS, b"[]"),
        (404, {}, b"<html>not here</html>"),
    )
    for fault in faults:
        outcomes = await stand.outcomes(fault)
        for verb in ("confirm_payment", "lookup_payment", "lookup_refund"):
            outcome = outcomes.get(verb)
            proof = isinstance(outcome, NotSent) and outcome.reason is Reason.not_found
            assert not proof, f"{verb} reads {fault!r} as proof that nothing exists"
            assert isinstance(outcome, NotSent | Unknown | None), f"{verb} returns {outcome!r} for {fault!r}"


@check(FAULTS, only=has_keys_of_its_own)
async def a_strangers_refusal_is_no_proof(stand: Stand) -> None:
    """If a lookup repeats the call under its key, only a rejection in the provider's own format counts as one."""
    minute = 60.0
    for status in (400, 402, 422):
        for body in (b'{"message":"Bad Request"}', b'{"status":400,"error":"Bad Request","path":"/"}', b"{}"):
            handler = stand.handler(stand.wire(fault=(status, JSON_HEADERS, body)))
            found = {"lookup_payment": await handler.lookup_payment(stand.lost(minute))}
            if handler.lookup_refund is not None:
                found["lookup_refund"] = await handler.lookup_refund(stand.lost_refund(minute))
            for verb, outcome in found.items():
                proof = isinstance(outcome, Declined) or (
                    isinstance(outcome, NotSent) and outcome.reason in REFUSED_AGAIN
                )
                assert not proof, f"{verb} reads {status} {body!r} as the provider's rejection: {outcome!r}"


@survives
async def a_server_error_is_unknown(stand: Stand) -> None:
    """500, 502, 503 and 504 are ``Unknown``, with JSON or without."""
    for status in (500, 502, 503, 504):
        for body in (b'{"status":"error","message":"x"}', b'{"status":false}', b"{}", b"<html>oops</html>", b""):
            await _each_is(stand, (status, JSON_HEADERS, body), Unknown, Reason.provider_unavailable, Reason.unreadable)


@survives
async def html_is_unknown(stand: Stand) -> None:
    """A page where JSON was expected is ``Unknown``, also with status 200 or 403."""
    for status in (200, 201, 403, 404):
        await _each_is(stand, (status, {}, b"<!doctype html><title>Hello</title>"), Unknown, Reason.unreadable)


@survives
async def a_cut_answer_is_unknown(stand: Stand) -> None:
    """An answer that is cut off at any byte is ``Unknown``."""
    _, whole = stand.wire("created").answers[-1]
    for length in {0, 1, len(whole) // 3, len(whole) // 2, len(whole) - 1}:
        outcomes = await stand.outcomes((200, JSON_HEADERS, whole[:length]))
        expect(Unknown, outcomes["create_payment_intent"], f"the outcome of {length} of {len(whole)} bytes")


@survives
async def slow_down_is_not_sent(stand: Stand) -> None:
    """429 is ``NotSent(rate_limited)`` with the provider's retry time, also if the body is a page."""
    for body in (b'{"message":"slow down"}', b"<html>slow down</html>"):
        outcomes = await stand.outcomes((429, {"retry-after": "7"}, body))
        outcome = expect(NotSent, outcomes["create_payment_intent"], "429")
        assert outcome.reason is Reason.rate_limited, f"429 gives the reason {outcome.reason}"
        assert outcome.retry_after_s == 7, "the time of Retry-After is lost"


@survives
async def a_conflict_decides_nothing(stand: Stand) -> None:
    """409 neither moves money nor declines it, because another request is in progress."""
    for verb, outcome in (await stand.outcomes((409, JSON_HEADERS, b'{"status":"error","message":"x"}'))).items():
        assert isinstance(outcome, Unknown | NotSent), f"{verb} returns {outcome!r} for 409"


@survives
async def a_redirect_is_no_answer(stand: Stand) -> None:
    """A redirect is ``Unknown``, and is not followed."""
    wire = stand.wire(fault=(302, {"location": "https://elsewhere.example/"}, b"{}"))
    expect(Unknown, await stand.call("create_payment_intent", wire), "a redirect")
    assert all("elsewhere" not in one.url for one in wire.asked), "keys were sent to another host"


@survives
async def refused_keys_are_our_fault(stand: Stand) -> None:
    """A payment that is rejected because of its keys is ``NotSent(config)``: not declined, not the customer's fault."""
    outcome = expect(NotSent, await stand.call("create_payment_intent", "keys_bad"), "a payment with rejected keys")
    assert outcome.reason is Reason.config, f"rejected keys give the reason {outcome.reason}"


@survives
async def wrong_types_never_raise(stand: Stand) -> None:
    """For every JSON type in every field of an answer, the result is one of the six outcomes, without an invented
    amount."""
    for name in ("created", "paid"):
        whole = json.loads(stand.wire(name).answers[-1][1])
        for (path, _), wrong in itertools.product(fields_of(whole), WRONG):
            outcome: Outcome = await stand.read(name, stand.altered(name, -1, path, wrong))
            assert isinstance(outcome, Outcome), f"{outcome!r} is not an outcome"
            if isinstance(outcome, Succeeded):
                assert type(outcome.amount.minor) is int, "the amount is not an integer"
            _assert_told_rightly(outcome)


def _assert_told_rightly(outcome: Outcome) -> None:
    for name in ("code", "detail", "provider_transaction_id"):
        value = getattr(outcome, name, None)
        assert isinstance(value, str | None), f"{name} is {value!r}"
    reason = getattr(outcome, "reason", None)
    assert reason is None or isinstance(reason, Reason), f"{reason!r} is not a Reason"
