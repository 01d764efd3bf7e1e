"""Checks of webhooks: who may send them, what they prove, how they are identified and read."""

from __future__ import annotations

from polytill.domain.secret import Secret
from polytill.providers.contract import Handler, PaymentFact, WebhookResult
from polytill.providers.http import to_json
from polytill.providers.outcomes import Succeeded
from polytill.testing.conformance.fixture import REFERENCE, Signature
from polytill.testing.conformance.register import (
    check,
    proves_nothing_of_its_body,
    proves_something,
    signs,
    signs_the_time,
)
from polytill.testing.conformance.wire import Stand, expect

DELIVERIES = "deliveries"
delivers = check(DELIVERIES)
proves = check(DELIVERIES, only=proves_something)


def _signature(stand: Stand) -> Signature:
    assert stand.fixture.signature is not None, "the fixture does not describe the provider's signature"
    return stand.fixture.signature


def _secret(stand: Stand, account: int = 0) -> str:
    secrets = stand.fixture.accounts[account].webhook_secrets
    assert secrets, "the fixture's account has no webhook secret"
    return secrets[0].reveal()


def _signed(stand: Stand, body: bytes, account: int = 0, later_s: int = 0) -> dict[str, str]:
    return _signature(stand).sign(body, _secret(stand, account), stand.fixture.now_s + later_s)


async def _accepts(stand: Stand, headers: dict[str, str], body: bytes, account: int = 0) -> bool:
    return await _admits(stand.handler(stand.wire(), account), headers, body)


async def _admits(handler: Handler, headers: dict[str, str], body: bytes) -> bool:
    if handler.fetch_webhook_key is not None:
        await handler.fetch_webhook_key(headers)
    return handler.validate_webhook(headers, body) is True


@delivers
async def a_true_delivery_is_accepted(stand: Stand) -> None:
    """A webhook of the provider is accepted in any case of the header's name."""
    body = stand.fixture.delivery("paid")
    headers = _signed(stand, body) if stand.fixture.signature else {}
    for case in (str, str.upper, str.lower):
        cased = {case(name): value for name, value in headers.items()}
        assert await _accepts(stand, cased, body), f"a genuine webhook is rejected with {list(cased)}"


@check(DELIVERIES, only=signs)
async def an_altered_body_is_refused(stand: Stand) -> None:
    """A body with one altered, added or missing byte is rejected, and so is the same JSON in another serialization."""
    body = stand.fixture.delivery("paid")
    headers = _signed(stand, body)
    middle = len(body) // 2
    altered = body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]
    for other in (altered, body + b" ", body[:-1], b"", body.replace(b":", b": ")):
        assert not await _accepts(stand, headers, other), "an altered body is accepted"


@proves
async def without_its_proof_it_is_refused(stand: Stand) -> None:
    """A missing, empty, truncated or foreign header is rejected."""
    body = stand.fixture.delivery("paid")
    *others, (name, value) = _signed(stand, body).items()
    wrong: tuple[dict[str, str], ...] = (
        {},
        {name: ""},
        {name: " "},
        {name: value[:-1]},
        {name: value[::-1]},
        {"x-other": value},
    )
    for headers in ({**dict(others), **one} for one in wrong):
        assert not await _accepts(stand, headers, body), f"{headers} is accepted"


@proves
async def another_practices_secret_opens_nothing(stand: Stand) -> None:
    """A webhook that is signed with another practice's secret is rejected."""
    body = stand.fixture.delivery("paid")
    assert not await _accepts(stand, _signed(stand, body, account=1), body), "another practice's secret is accepted"
    assert await _accepts(stand, _signed(stand, body, account=1), body, account=1), (
        "a practice's own secret is rejected"
    )


@proves
async def without_a_secret_nothing_is_accepted(stand: Stand) -> None:
    """If no secret or an empty one is configured, every webhook is rejected."""
    body = stand.fixture.delivery("paid")
    given: tuple[dict[str, str], ...] = (
        _signed(stand, body),
        _signature(stand).sign(body, "", stand.fixture.now_s),
        {},
    )
    for secrets in ((), (Secret(""),)):
        handler = stand.handler(stand.wire(), webhook_secrets=secrets)
        for headers in given:
            assert not await _admits(handler, headers, body), "a webhook is accepted without a secret"


@proves
async def a_previous_secret_still_opens(stand: Stand) -> None:
    """During a change of secrets, both the current and the previous one are accepted."""
    body = stand.fixture.delivery("paid")
    secrets = (Secret("a-new-secret-of-enough-length"), *stand.fixture.accounts[0].webhook_secrets)
    handler = stand.handler(stand.wire(), webhook_secrets=secrets)
    assert await _admits(handler, _signed(stand, body), body), "the previous secret is rejected"
    fresh = _signature(stand).sign(body, secrets[0].reveal(), stand.fixture.now_s)
    assert await _admits(handler, fresh, body), "the current secret is rejected"


@check(DELIVERIES, only=signs_the_time)
async def a_stale_signature_is_refused(stand: Stand) -> None:
    """If a time is signed, a webhook that is too old or from the future is rejected."""
    tolerance_s = _signature(stand).tolerance_s
    assert tolerance_s is not None
    body = stand.fixture.delivery("paid")
    for later_s in (-tolerance_s - 2, tolerance_s + 2):
        assert not await _accepts(stand, _signed(stand, body, later_s=later_s), body), (
            f"a time {later_s} s away is accepted"
        )
    assert await _accepts(stand, _signed(stand, body, later_s=2 - tolerance_s), body), "a fresh signature is rejected"


@proves
async def strange_headers_never_raise(stand: Stand) -> None:
    """No header raises an error in the check of a webhook: bytes beyond ASCII, broken surrogates, great length."""
    *others, (name, _) = _signed(stand, b"{}").items()
    for value in ("ÿþ", "\udcff", "=" * 10_000, "t=,v1=", "t=1e9,v1=x", "٣", "\x00", "t=" + "9" * 400 + ",v1=a"):
        assert not await _accepts(stand, {**dict(others), name: value}, b"{}"), f"{value[:20]!r} is accepted"


# ── Content ──


def _told(stand: Stand, name: str, **words: str) -> WebhookResult:
    return stand.handler(stand.wire()).process_webhook(stand.fixture.delivery(name, **words))


@delivers
async def a_delivery_names_our_payment(stand: Stand) -> None:
    """A webhook about a payment names the payment and its outcome."""
    told = _told(stand, "paid")
    facts = [fact for fact in told.facts if isinstance(fact, PaymentFact)]
    assert told.action == "apply", f"the action is {told.action}"
    assert facts, "the webhook has no payment fact"
    named = facts[0].reference == REFERENCE or facts[0].provider_transaction_id == stand.fixture.transaction_id
    assert named, "the webhook names another payment"
    if signs(stand.fixture):
        outcome = expect(Succeeded, facts[0].outcome, "a paid payment")
        assert outcome.amount == stand.first.money, f"the amount is read as {outcome.amount}"


@delivers
async def repeats_have_one_key(stand: Stand) -> None:
    """The same webhook sent twice has the same key in any instance; another payment's webhook has another key."""
    first, second = _told(stand, "paid"), _told(stand, "paid")
    assert first.dedupe_key, "the key is empty"
    assert first.dedupe_key == second.dedupe_key, "a duplicate would be processed twice"
    other = _told(stand, "paid", reference="another-reference-00000001", transaction="999000111", event="evt_other")
    assert other.dedupe_key != first.dedupe_key, "another payment's webhook would be dropped as a duplicate"


@delivers
async def a_later_state_is_no_repeat(stand: Stand) -> None:
    """A later state of the same object has another key, so that it is not dropped as a duplicate."""
    assert _told(stand, "paid").dedupe_key != _told(stand, "later").dedupe_key, "a later state would be dropped"


@check(DELIVERIES, only=proves_nothing_of_its_body)
async def a_hint_is_fetched(stand: Stand) -> None:
    """If the body is not signed, the webhook only triggers a lookup at the provider."""
    assert _told(stand, "paid").must_fetch, "a body that anyone can write would be trusted"


@delivers
async def what_is_unrelated_changes_nothing(stand: Stand) -> None:
    """A webhook that is not about payments contains no fact."""
    told = _told(stand, "unrelated")
    assert told.action in ("ignore", "notify"), f"the action is {told.action}"
    assert not told.facts, "the webhook would change a payment"


@delivers
async def an_environment_is_the_right_one(stand: Stand) -> None:
    """If a webhook names its environment, it is the fixture's."""
    told = _told(stand, "paid").environment
    assert told in (None, stand.fixture.accounts[0].environment), f"the environment is {told}"


@delivers
async def kept_deliveries_can_be_read_again(stand: Stand) -> None:
    """The stored copy of a webhook reads like the original and contains no field that is declared secret."""
    for name in ("paid", "later", "unrelated"):
        told = _told(stand, name)
        again = stand.handler(stand.wire()).process_webhook(to_json(told.body))
        assert again.dedupe_key == told.dedupe_key, "the stored webhook has another key"
        assert len(again.facts) == len(told.facts), "the stored webhook has other facts"


@delivers
async def nonsense_is_a_value_error(stand: Stand) -> None:
    """A body that cannot be read raises ``ValueError`` and no other error."""
    handler = stand.handler(stand.wire())
    deep = b"[" * 5_000 + b"]" * 5_000
    for body in (b"", b"{", b"null", b"[]", b"7", b'"x"', b"\xff\xfe", b"<html>", deep, b'{"a":' + deep + b"}"):
        try:
            told = handler.process_webhook(body)
        except ValueError:
            continue
        raise AssertionError(f"{body[:20]!r} is read as {told!r}")
