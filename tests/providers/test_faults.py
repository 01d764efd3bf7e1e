"""Whatever a provider answers or anybody delivers: one of six outcomes; for a delivery, ``ValueError``."""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
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
    Handler,
    LookupParams,
    Page,
    PaymentFact,
    ProviderConfig,
    RefundLookupParams,
    RefundParams,
    WebhookResult,
)
from polytill.providers.flutterwave.reading import read_charge
from polytill.providers.flutterwave.v3 import FlutterwaveProvider
from polytill.providers.http import Answer, AnswerLost, ConnectionNotMade, Http, parse_json
from polytill.providers.outcomes import Declined, NeedsAction, NotSent, Outcome, Pending, Reason, Succeeded, Unknown
from polytill.providers.paystack.handler import PaystackProvider

FIXTURES = Path(__file__).parents[1] / "fixtures" / "providers"
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


@dataclass(frozen=True)
class Subject:
    """A provider, and how it writes what all have in common."""

    provider: type[Handler]
    base_url: str
    key: str
    done: str  # the status of an accepted request, as JSON
    failed: str
    refusal: str  # the message for a wrong key
    event: str
    reference: str  # the name of our reference
    is_signed: bool
    read_charge: Callable[[Answer], Outcome]

    def handler(self, result: Any = None) -> Any:
        key = Secret(self.key)
        config = ProviderConfig(Environment.sandbox, self.base_url, None, key, (key,))
        return self.provider(config, Http(Always(result)), World())

    def written(self, body: str) -> bytes:
        """A body with the provider's own words in it."""
        for word in ("done", "failed", "refusal", "event"):
            body = body.replace(word.upper(), getattr(self, word))
        return body.encode()

    def fixtures(self, kind: str) -> list[Any]:
        folder = FIXTURES / self.provider.code / kind
        return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


SUBJECTS = (
    Subject(
        PaystackProvider,
        "https://api.paystack.co",
        "sk_test_0123456789abcdef0123456789",
        done="true",
        failed="false",
        refusal="Invalid key",
        event="charge.success",
        reference="reference",
        is_signed=True,
        read_charge=PaystackProvider.read_charge,
    ),
    Subject(
        FlutterwaveProvider,
        "https://api.flutterwave.com/v3",
        "FLWSECK_TEST-0123456789abcdef-X",
        done='"success"',
        failed='"error"',
        refusal="Invalid authorization key",
        event="charge.completed",
        reference="tx_ref",
        is_signed=False,
        read_charge=read_charge,
    ),
)
each_provider = pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.provider.code)


async def every_verb(subject: Subject, result: Any, reference: str = "ref-1") -> list[Outcome]:
    """Every verb meets this answer; what each makes of it."""
    provider = subject.handler(result)
    outcomes = [
        await provider.create_payment_intent(CREATE),
        await provider.confirm_payment(ConfirmPaymentParams(reference, None, NGN)),
        await provider.confirm_payment(ConfirmPaymentParams(reference, "288200108", NGN)),
        await provider.lookup_payment(LookupParams(reference, "5", NGN, CREATE)),
        await provider.refund_payment(RefundParams("re-1", reference, "5708", NGN, True)),
        await provider.refund_payment(RefundParams("re-1", reference, None, NGN, True)),
        await provider.lookup_refund(RefundLookupParams("re-1", reference, "5708", None, NGN, True)),
        await provider.lookup_refund(RefundLookupParams("re-1", reference, "5708", "7", NGN, True)),
        await provider.lookup_refund(RefundLookupParams("re-1", reference, None, "7", NGN, True)),
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


@each_provider
@pytest.mark.parametrize(
    ("result", "kind", "reason"),
    [
        (ConnectionNotMade("ClientConnectorError"), NotSent, Reason.unreachable),
        (AnswerLost("TimeoutError"), Unknown, Reason.timeout),
        ((500, {}, '{"status":FAILED,"message":"x"}'), Unknown, Reason.provider_unavailable),
        ((503, {}, '{"status":FAILED,"message":"x","data":null}'), Unknown, Reason.provider_unavailable),
        ((500, {}, "<html>"), Unknown, Reason.provider_unavailable),
        ((503, {}, ""), Unknown, Reason.provider_unavailable),
        ((200, {}, "<html>maintenance</html>"), Unknown, Reason.unreadable),
        ((200, {}, '{"status":DONE,"data":{"stat'), Unknown, Reason.unreadable),
        ((200, {}, '[{"status":DONE}]'), Unknown, Reason.unreadable),
        ((200, {}, "{}"), Unknown, Reason.unreadable),
        ((200, {}, '{"status":true,"data":5}'), Unknown, Reason.unreadable),
        ((200, {}, '{"status":"true","data":5}'), Unknown, Reason.unreadable),
        ((200, {}, '{"status":DONE,"data":null}'), Unknown, Reason.unreadable),
        ((200, {}, '{"status":DONE,"data":{}}'), Unknown, Reason.unreadable),
        ((429, {"retry-after": "7"}, '{"status":FAILED}'), NotSent, Reason.rate_limited),
        ((429, {}, "<html>"), NotSent, Reason.rate_limited),
        ((401, {}, '{"status":FAILED,"message":"REFUSAL"}'), NotSent, Reason.config),
    ],
)
async def test_faults(subject: Subject, result: Any, kind: type, reason: Reason) -> None:
    if isinstance(result, tuple):
        result = (*result[:2], subject.written(result[2]))
    for outcome in await every_verb(subject, result):
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


RESPONSES, WEBHOOKS = ({one: one.fixtures(kind) for one in SUBJECTS} for kind in ("responses", "webhooks"))


def values_of(subject: Subject) -> st.SearchStrategy[Any]:
    """Any JSON, mostly of the names and words that the provider uses."""
    documents = RESPONSES[subject] + WEBHOOKS[subject]
    words = sorted(word for word in words_in(documents) if len(word) < 30)
    scalars = (
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=20)
        | st.sampled_from(words)
    )
    names = st.sampled_from(sorted(names_in(documents))) | st.text(max_size=5)
    return st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=6), max_leaves=12
    )


VALUES = {subject: values_of(subject) for subject in SUBJECTS}


@st.composite
def bent(draw: st.DrawFn, documents: list[Any], values: st.SearchStrategy[Any]) -> Any:
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


@each_provider
@patient
@given(status=st.sampled_from([200, 201, 302, 400, 401, 404, 422, 429, 500]), data=st.data())
async def test_no_answer_is_an_exception(subject: Subject, status: int, data: st.DataObject) -> None:
    values = VALUES[subject]
    document = data.draw(values | bent(RESPONSES[subject], values))
    inner = document.get("data") if isinstance(document, dict) else None
    named = inner.get(subject.reference) if isinstance(inner, dict) else None
    reference = named if isinstance(named, str) and named else "ref-1"
    content = json.dumps(document).encode()
    if isinstance(document, dict):
        check(subject.read_charge(Answer(status, parse_json(content))))
    for outcome in await every_verb(subject, (status, {}, content), reference):
        if status >= 500:
            assert isinstance(outcome, Unknown)
        if status >= 300:
            assert not isinstance(outcome, Succeeded | Pending | NeedsAction)


@each_provider
@patient
@given(data=st.data())
def test_a_delivery_is_read_or_refused(subject: Subject, data: st.DataObject) -> None:
    values = VALUES[subject]
    kinds = st.sampled_from(sorted(words_in(WEBHOOKS[subject])))
    events = st.fixed_dictionaries({"event": kinds, "data": values})
    document = data.draw(bent(WEBHOOKS[subject], values) | events | values)
    try:
        result = subject.handler().process_webhook(json.dumps(document).encode())
    except ValueError:
        return
    assert isinstance(result, WebhookResult)
    assert result.action in ("apply", "ignore", "notify")
    assert (result.action == "apply") is bool(result.facts)
    assert result.must_fetch is not subject.is_signed
    assert isinstance(result.event_type, str)
    assert isinstance(result.dedupe_key, str)
    assert isinstance(result.reason, str | None)
    for fact in result.facts:
        check_fact(fact)


HEADERS = st.sampled_from(["x-paystack-signature", "flutterwave-signature"]) | st.text(max_size=30)


@each_provider
@patient
@given(body=st.binary(max_size=200), headers=st.dictionaries(HEADERS, st.text()))
def test_no_header_is_an_exception(subject: Subject, body: bytes, headers: dict[str, str]) -> None:
    assert subject.handler().validate_webhook(headers, body) is False
    assert subject.handler().validate_webhook({"verif-hash": "x", **headers}, body) is False
    try:
        subject.handler().process_webhook(body)
    except ValueError:
        return


@each_provider
def test_a_very_deep_delivery_is_refused(subject: Subject) -> None:
    body = subject.written('{"event":"EVENT","data":{"id":1,"x":' + "[" * 850 + "]" * 850 + "}}")
    with pytest.raises(ValueError, match="nested too deep"):
        subject.handler().process_webhook(body)


@each_provider
async def test_a_very_deep_answer_is_unknown(subject: Subject) -> None:
    page = '"link":"https://x.example","authorization_url":"https://x.example"'
    body = subject.written('{"status":DONE,"data":{' + page + ',"x":' + "[" * 60 + "]" * 60 + "}}")
    assert isinstance(await subject.handler((200, {}, body)).create_payment_intent(CREATE), Unknown)
