"""Whatever Paystack answers or anybody delivers: one of six outcomes; for a delivery, ``ValueError``."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polytill.domain.clock import World
from polytill.domain.money import Money
from polytill.domain.secret import Secret
from polytill.domain.states import Environment
from polytill.providers.contract import (
    ConfirmPaymentParams,
    CreatePaymentParams,
    CredentialTest,
    Customer,
    LookupParams,
    Page,
    PaymentFact,
    ProviderConfig,
    RefundLookupParams,
    RefundParams,
    WebhookResult,
)
from polytill.providers.http import AnswerLost, ConnectionNotMade, Http
from polytill.providers.outcomes import Declined, NeedsAction, NotSent, Outcome, Pending, Reason, Succeeded, Unknown
from polytill.providers.paystack.handler import PaystackProvider

ROOT = Path(__file__).parents[1] / "fixtures" / "providers" / "paystack"
RESPONSES = [json.loads(path.read_text()) for path in sorted((ROOT / "responses").glob("*.json"))]
WEBHOOKS = [json.loads(path.read_text()) for path in sorted((ROOT / "webhooks").glob("*.json"))]
SIX = (Succeeded, NeedsAction, Pending, Declined, NotSent, Unknown)
NGN = Money(7550, "NGN")
CREATE = CreatePaymentParams("ref-1", "pay-1", NGN, Customer("a@example.com"), "https://x.example")


class Always:
    """A transport that always does the same."""

    def __init__(self, result: Any) -> None:
        self.result = result

    async def send(self, *_: Any) -> Any:
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def handler(result: Any = None) -> PaystackProvider:
    key = Secret("sk_test_0123456789abcdef0123456789")
    config = ProviderConfig(Environment.sandbox, "https://api.paystack.co", None, key, (key,))
    return PaystackProvider(config, Http(Always(result)), World())


async def every_verb(result: Any, reference: str = "ref-1") -> list[Outcome]:
    """Every verb meets this answer; what each makes of it."""
    provider = handler(result)
    outcomes = [
        await provider.create_payment_intent(CREATE),
        await provider.confirm_payment(ConfirmPaymentParams(reference, None, NGN)),
        await provider.lookup_payment(LookupParams(reference, "5", NGN, CREATE)),
        await provider.refund_payment(RefundParams("re-1", reference, "5", NGN, True)),
        await provider.lookup_refund(RefundLookupParams("re-1", reference, "5", None, NGN, True)),
        await provider.lookup_refund(RefundLookupParams("re-1", reference, "5", "7", NGN, True)),
    ]
    listed = await provider.list_transactions(0, 86_400)
    assert isinstance(listed, Page | NotSent | Unknown)
    for fact in listed.facts if isinstance(listed, Page) else ():
        check_fact(fact)
    tested = await provider.test_credentials()
    assert isinstance(tested, CredentialTest)
    for outcome in outcomes:
        check(outcome)
    return outcomes


def check(outcome: Outcome) -> None:
    assert isinstance(outcome, SIX)
    assert isinstance(getattr(outcome, "provider_transaction_id", None), str | None)
    for name in ("amount", "fee", "charged"):
        money = getattr(outcome, name, None)
        assert money is None or (isinstance(money, Money) and type(money.minor) is int)
    for name in ("code", "detail"):
        assert isinstance(getattr(outcome, name, None), str | None)
    if isinstance(outcome, Succeeded):
        assert outcome.amount is not None


def check_fact(fact: Any) -> None:
    for name in ("reference", "provider_transaction_id", "provider_refund_id", "payment_reference", "due_at"):
        assert isinstance(getattr(fact, name, None), str | None)
    if isinstance(fact, PaymentFact):
        assert isinstance(fact.metadata, dict | None)
        check(fact.outcome)


# ── Faults ──


@pytest.mark.parametrize(
    ("result", "kind", "reason"),
    [
        (ConnectionNotMade("ClientConnectorError"), NotSent, Reason.unreachable),
        (AnswerLost("TimeoutError"), Unknown, Reason.timeout),
        ((500, {}, b'{"status":false,"message":"x"}'), Unknown, Reason.provider_unavailable),
        ((503, {}, b'{"status":false,"message":"x"}'), Unknown, Reason.provider_unavailable),
        ((500, {}, b"<html>"), Unknown, Reason.provider_unavailable),
        ((503, {}, b""), Unknown, Reason.provider_unavailable),
        ((200, {}, b"<html>maintenance</html>"), Unknown, Reason.unreadable),
        ((200, {}, b'{"status":true,"data":{"stat'), Unknown, Reason.unreadable),
        ((200, {}, b'[{"status":true}]'), Unknown, Reason.unreadable),
        ((200, {}, b"{}"), Unknown, Reason.unreadable),
        ((200, {}, b'{"status":"true","data":5}'), Unknown, Reason.unreadable),
        ((200, {}, b'{"status":true,"data":null}'), Unknown, Reason.unreadable),
        ((429, {"retry-after": "7"}, b'{"status":false}'), NotSent, Reason.rate_limited),
        ((429, {}, b"<html>"), NotSent, Reason.rate_limited),
        ((401, {}, b'{"status":false,"message":"Invalid key"}'), NotSent, Reason.config),
    ],
)
async def test_faults(result: Any, kind: type, reason: Reason) -> None:
    for outcome in await every_verb(result):
        assert type(outcome) is kind
        assert outcome.reason is reason  # type: ignore[union-attr]
        assert getattr(outcome, "retry_after_s", None) == (7.0 if "retry-after" in str(result) else None)


# ── Anything at all ──


def names_in(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value) | {name for item in value.values() for name in names_in(item)}
    return {name for item in value for name in names_in(item)} if isinstance(value, list) else set()


def words_in(value: Any) -> set[str]:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return {value} if isinstance(value, str) else {word for item in items for word in words_in(item)}


NAMES = sorted(names_in(RESPONSES) | names_in(WEBHOOKS))
WORDS = sorted(word for word in words_in(RESPONSES) | words_in(WEBHOOKS) if len(word) < 30)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(WORDS)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), inner, max_size=6)
    ),
    max_leaves=12,
)


@st.composite
def bent(draw: st.DrawFn, documents: list[Any]) -> Any:
    """A fixture in which one to three things were replaced or are gone."""
    document = copy.deepcopy(draw(st.sampled_from(documents)))
    for _ in range(draw(st.integers(1, 3))):
        place = document
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], dict | list) and place[key] and draw(st.booleans()):
                place = place[key]
                continue
            if draw(st.integers(0, 3)) == 0:
                del place[key]
            else:
                place[key] = draw(values)
            break
    return document


patient = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@patient
@given(st.sampled_from([200, 201, 302, 400, 401, 404, 422, 429, 500]), values | bent(RESPONSES))
async def test_no_answer_is_an_exception(status: int, document: Any) -> None:
    data = document.get("data") if isinstance(document, dict) else None
    named = data.get("reference") if isinstance(data, dict) else None
    reference = named if isinstance(named, str) and named else "ref-1"
    for outcome in await every_verb((status, {}, json.dumps(document).encode()), reference):
        if status >= 500:
            assert isinstance(outcome, Unknown)
        if status >= 400:
            assert not isinstance(outcome, Succeeded | Pending | NeedsAction)


@patient
@given(bent(WEBHOOKS) | st.fixed_dictionaries({"event": st.sampled_from(WORDS), "data": values}) | values)
def test_a_delivery_is_read_or_refused(document: Any) -> None:
    provider = handler()
    try:
        result = provider.process_webhook(json.dumps(document).encode())
    except ValueError:
        return
    assert isinstance(result, WebhookResult)
    assert result.action in ("apply", "ignore", "notify")
    assert (result.action == "apply") is bool(result.facts)
    assert isinstance(result.event_type, str)
    assert isinstance(result.dedupe_key, str)
    assert isinstance(result.reason, str | None)
    for fact in result.facts:
        check_fact(fact)


@patient
@given(st.binary(max_size=200), st.dictionaries(st.text(max_size=30) | st.just("x-paystack-signature"), st.text()))
def test_no_header_is_an_exception(body: bytes, headers: dict[str, str]) -> None:
    assert handler().validate_webhook(headers, body) is False
    try:
        handler().process_webhook(body)
    except ValueError:
        return


def test_a_very_deep_delivery_is_refused() -> None:
    body = b'{"event":"charge.success","data":{"id":1,"x":' + b"[" * 850 + b"]" * 850 + b"}}"
    with pytest.raises(ValueError, match="nested too deep"):
        handler().process_webhook(body)


async def test_a_very_deep_answer_is_unknown() -> None:
    deep = b"[" * 60 + b"]" * 60
    body = b'{"status":true,"data":{"authorization_url":"https://x.example","x":' + deep + b"}}"
    assert isinstance(await handler((200, {}, body)).create_payment_intent(CREATE), Unknown)
