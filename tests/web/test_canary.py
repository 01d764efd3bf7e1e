"""Canaries: keys that cannot be mistaken are sent through everything that can go wrong, and then looked for everywhere.

The logs are read before the net that removes what looks like a key: the rule is that no key reaches a log call at all.
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from prometheus_client import generate_latest

from polytill.background import sweep
from polytill.domain.errors import NotNow, SealBroken
from polytill.providers.flutterwave.v3 import FlutterwaveProvider
from polytill.providers.paystack.handler import PaystackProvider
from polytill.providers.stripe.handler import StripeProvider
from polytill.storage.opening import Opening
from polytill.storage.provider_configs import all_of, open_credentials
from polytill.web.logs import redact
from tests.installation import Installation, running
from tests.web.support import CURRENCY, PROVIDERS, Json, Practice, contents, fresh

WORD = "CANARYdoNotShow"
SECRETS: dict[str, dict[str, str]] = {
    "stripe": {"secretKey": f"sk_test_{WORD}stripe0001", "webhookSecret": f"whsec_{WORD}hook0002"},
    "paystack": {"secretKey": f"sk_test_{WORD}paystack00030003"},
    "flutterwave": {"secretKey": f"FLWSECK_TEST-{WORD}flw0004-X", "webhookSecret": f"{WORD}-hash-0005"},
}
CONFIG_SECRET = f"FLWSECK_TEST{WORD}06"
PUBLIC = {
    "stripe": "pk_test_PUBLICstripe",
    "paystack": "pk_test_PUBLICpaystack",
    "flutterwave": "FLWPUBK_TEST-PUBLIC-X",
}
LIVE = f"sk_live_{WORD}live000000000007"
HANDLERS = {"stripe": StripeProvider, "paystack": PaystackProvider, "flutterwave": FlutterwaveProvider}


class Recorder:
    """Everything that was answered, printed and logged."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self.stream = io.StringIO()

    def keep(self, place: str, text: str) -> None:
        self.seen.append((place, text))

    def record(self, _: Any, __: str, event: Json) -> str:
        error = event.pop("exc_info", None)
        line = (
            f"{event!r} {error!r} {structlog.processors.format_exc_info(_, __, {'exc_info': error}) if error else ''}"
        )
        self.keep("log", line)
        return line


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Logs of every kind, in full, without the net that removes what looks like a key."""
    found = Recorder()
    old = structlog.get_config()
    structlog.configure(
        processors=[found.record],
        logger_factory=structlog.PrintLoggerFactory(found.stream),
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(found.stream)
    handler.setLevel(logging.DEBUG)
    names = (None, "uvicorn", "uvicorn.error", "uvicorn.access", "asyncio", "aiohttp")
    for name in names:
        logging.getLogger(name).addHandler(handler)
    yield found
    for name in names:
        logging.getLogger(name).removeHandler(handler)
    structlog.configure(**old)


@pytest.fixture
async def house(tmp_path: Path, engine_url: str | None, recorder: Recorder) -> AsyncIterator[Installation]:
    async with running(tmp_path, engine_url, provider_timeout_s=0.4) as found:
        call = found.call

        async def recorded(*args: Any, **more: Any) -> Any:
            answered = await call(*args, **more)
            body = answered.body if isinstance(answered.body, str) else json.dumps(answered.body)
            recorder.keep(f"answer to {args[0]} {args[1]}", f"{body} {dict(answered.headers)}")
            return answered

        found.call = recorded  # type: ignore[method-assign]
        yield found


async def test_no_secret_anywhere(
    house: Installation, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    practices = [await _configured(house, code) for code in PROVIDERS]
    for practice in practices:
        await _good_day(practice)
        await _bad_day(practice)
        await _handler_crash(practice, monkeypatch)
    await _keys_in_wrong_places(house, practices[0])
    await _service_crash(house, practices[0], monkeypatch)
    await sweep(house.till.context, everyone=True)

    for practice in practices:
        for path in ("/payment-providers", "/payment-providers/available", "/audit-log", "/webhook-events", "/keys"):
            assert (await practice.call("GET", path)).status == 200
    for path in ("/api/owner/audit-log?limit=500", "/api/owner/payment-providers", "/api/owner/health"):
        assert (await house.call("GET", path, house.owner_key)).status == 200
    await house.call("GET", "/openapi.json")
    await house.call("GET", "/docs")
    recorder.keep("metrics", generate_latest(house.app.state.metrics.registry).decode())
    recorder.keep("settings and objects", f"{house.till.context.settings!r} {house.till.context.ring!r}")
    for practice in practices:
        snapshot = await house.till.context.configured(await practice.db)
        recorder.keep("objects", repr(snapshot))
    recorder.keep("logs", recorder.stream.getvalue())
    out, err = capfd.readouterr()
    recorder.keep("standard output", out + err)

    secrets = [value for keys in SECRETS.values() for value in keys.values()] + [CONFIG_SECRET, LIVE, WORD]
    # API keys are shown once, when they are created, and are stored nowhere in clear.
    ours = [house.owner_key, *(practice.key for practice in practices)]
    client_tokens = await _provider_tokens(practices)
    assert client_tokens
    for place, text in recorder.seen:
        for secret in secrets:
            assert secret not in text, (place, text[max(0, text.index(secret) - 300) :][:700])
        for key in ours:
            assert key not in text or place == "answer to POST /api/owner/practices", (place, key)
        if not place.startswith("answer to"):
            for token in client_tokens:
                assert token not in text, (place, token)
    assert any(place == "log" and "unexpected_error" in text for place, text in recorder.seen)
    assert any(place == "log" and "handler_failed" in text for place, text in recorder.seen)
    await _tables_hold_no_secret(house, practices, secrets + ours + client_tokens)
    await _sealed_ones_open(practices)


@pytest.mark.parametrize("error", [RuntimeError("x"), NotNow()], ids=["ours", "busy"])
async def test_no_address_that_opens_something_is_logged(
    house: Installation, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    practice = await Practice.make(house, "stripe")
    token = (await practice.create()).body["clientToken"]
    wanted = {"amount": 1000, "currency": "USD", "description": "Fees"}
    link = (await practice.call("POST", "/payment-links", wanted)).body["url"].rpartition("/")[2]
    hook = practice.configuration["webhookUrl"].rpartition("/")[2]

    async def fails(*args: Any) -> Any:
        raise error

    monkeypatch.setattr(Opening, "practice", fails)
    for method, path in (
        ("POST", f"/hooks/{hook}"),
        ("GET", f"/pay/{token}"),
        ("GET", f"/pay/{token}/return"),
        ("GET", f"/pay/link/{link}"),
    ):
        assert (await house.call(method, path)).status >= 500
    logged = "".join(text for place, text in recorder.seen if place == "log") + recorder.stream.getvalue()
    assert not [token for token in (token, link, hook) if token in logged]
    assert "/hooks/{token}" in logged


async def _configured(house: Installation, code: str) -> Practice:
    practice = await Practice.make(house, currency=CURRENCY[code])
    practice.code, practice.keys = code, {**SECRETS[code], "publicKey": PUBLIC[code]}
    config = {"config": {"encryptionKey": CONFIG_SECRET}} if code == "flutterwave" else {}
    practice.configuration = await house.configure(
        practice.id, practice.key, code, [CURRENCY[code]], practice.keys, **config
    )
    assert practice.configuration["publicKey"] == PUBLIC[code]
    assert (await practice.call("POST", "/payment-providers/" + code + "/test")).body["ok"] is True
    return practice


async def _good_day(practice: Practice) -> None:
    payment = await practice.paid(20_000)
    assert (await practice.refund(payment["id"], 5_000)).status == 201
    declined = (await practice.create(20_000)).body
    await practice.act(declined["attempts"][0]["reference"], "decline")
    await practice.call("POST", f"/payments/{declined['id']}/confirm")
    for path in (f"/pay/{declined['clientToken']}", f"/pay/{declined['clientToken']}/return"):
        await practice.house.call("GET", path)
    await practice.call("POST", f"/payments/{declined['id']}/cancel", idempotency=fresh())
    rotated = {**SECRETS[practice.code], "publicKey": PUBLIC[practice.code]}
    assert (await practice.call("PATCH", f"/payment-providers/{practice.code}", rotated)).status == 200


async def _bad_day(practice: Practice) -> None:
    for kind in ("lose_answer", "timeout", "error_500", "rate_limit", "truncate", "not_json", "refuse"):
        await practice.fault("create", kind)
        made = (await practice.create(20_000)).body
        await practice.fault("lookup", kind)
        await practice.call("POST", f"/payments/{made['id']}/confirm")
    await practice.house.network("DELETE", "/faults")
    body, headers = practice.delivery()
    await practice.deliver(body + b" ", {**headers, "Authorization": f"Bearer {practice.keys['secretKey']}"})
    await practice.deliver(b"{" + practice.keys["secretKey"].encode(), headers)


async def _handler_crash(practice: Practice, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler whose bug is an exception that quotes its key."""

    async def crash(self: Any, *_: Any) -> Any:
        raise ValueError(f"failed with {self.config.secret_key.reveal()}")

    for verb in ("create_payment_intent", "lookup_payment", "test_credentials"):
        with monkeypatch.context() as patch:
            patch.setattr(HANDLERS[practice.code], verb, crash)
            made = await practice.create(20_000)
            assert made.status == 201, made.body
            await practice.call("POST", f"/payments/{made.body['id']}/confirm")
            await practice.call("POST", f"/payment-providers/{practice.code}/test")


async def _keys_in_wrong_places(house: Installation, practice: Practice) -> None:
    """Staff paste keys into every field but the right one."""
    key = SECRETS["stripe"]["secretKey"]
    base: Json = {"providerCode": "stripe", "environment": "sandbox"}
    bodies: list[Json] = [
        {**base, "publicKey": key, "secretKey": "pk_test_12345678"},
        {**base, "providerCode": key},
        {**base, "secretKey": [key]},
        {**base, "secretKey": {"a": key}},
        {**base, key: key},
        {**base, "environment": key},
        {**base, "config": {"key": key}},
        {**base, "config": {key: 1}},
        {**base, "isEnabled": key},
        {**base, "secretKey": LIVE, "publicKey": PUBLIC["stripe"]},
        {**base, "supportedCurrencies": [key]},
        {**base, "webhookSecret": key + "\x00"},
        {**base, "secretKey": key + "\x00"},
        {**base, "priority": key},
        {**base, "publicKey": PUBLIC["stripe"], "secretKey": key + " " + key},
        {"providerCode": "flutterwave", "config": {"encryptionKey": f"{WORD}!"}, "secretKey": WORD, "publicKey": WORD},
    ]
    for body in bodies:
        answered = await practice.call("POST", "/payment-providers", body)
        assert answered.status in (400, 422), (body, answered.body)
    for raw in (f'{{"secretKey": "{key}', f'{{"secretKey": "{key}", "secretKey": "{key}"}}', key):
        assert (await practice.call("POST", "/payment-providers", raw=raw.encode())).status in (400, 422)
    for body in ({"amount": key}, {"currency": key}, {"metadata": key}, {key: 1}, {"customer": {"email": key}}):
        assert (await practice.call("POST", "/payments", body, idempotency=fresh())).status == 422
    assert (await practice.call("POST", "/payments", {}, idempotency=f"{key} {key}")).status == 422
    assert (await house.call("GET", practice.base + "/payments", key)).status == 401
    wrong = {"code": "x" + key, "name": "x", "apiBaseUrl": key, "configSchema": key}
    assert (await house.call("POST", "/api/owner/payment-providers", house.owner_key, wrong)).status == 422
    cluster = {"name": "c", "url": f"mysql://u:{key}@h/d"}
    assert (await house.call("POST", "/api/owner/clusters", house.owner_key, cluster)).status == 422


async def _service_crash(house: Installation, practice: Practice, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception of our own that quotes a key: answered as a problem, logged without its text."""

    async def crash(*_: Any, **__: Any) -> Any:
        try:
            raise KeyError(SECRETS["stripe"]["secretKey"])
        except KeyError as error:
            raise RuntimeError(f"while sending {SECRETS['stripe']['webhookSecret']}") from error

    with monkeypatch.context() as patch:
        patch.setattr("polytill.web.api.records.ledger.balances", crash)
        answered = await practice.call("GET", "/ledger")
    assert (answered.status, answered.body["code"]) == (500, "internal")
    assert answered.headers["Content-Type"] == "application/problem+json"
    assert answered.headers["X-Request-Id"] == answered.body["requestId"]
    await asyncio.sleep(0)  # what the server has to say of it, it says now


async def _provider_tokens(practices: list[Practice]) -> list[str]:
    """Tokens with which a payer's browser could pay: theirs alone."""
    found = []
    for practice in practices:
        made = (await practice.create(20_000)).body
        if made["nextAction"]["type"] == "client_token":
            found.append(made["nextAction"]["providerToken"])
    return found


async def _tables_hold_no_secret(house: Installation, practices: list[Practice], secrets: list[str]) -> None:
    databases: list[Any] = [house.till.context.owner, *[await practice.db for practice in practices]]
    rows = 0
    for db in databases:
        for table, found in (await contents(db)).items():
            for row in found:
                rows += 1
                for secret in secrets:
                    assert secret not in repr(row), (table, row)
    assert rows > 100


async def _sealed_ones_open(practices: list[Practice]) -> None:
    """They are there all the same, sealed: with the practice's own key, and with no other's, they open."""
    for practice, other in zip(practices, [*practices[1:], practices[0]], strict=True):
        db, others = await practice.db, await other.db
        configuration = (await all_of(db))[practice.code]
        opened = open_credentials(db.data_key, practice.code, configuration.active)
        assert opened.secret_key is not None
        assert opened.secret_key.reveal() == SECRETS[practice.code]["secretKey"]
        with pytest.raises(SealBroken) as caught:
            open_credentials(others.data_key, practice.code, configuration.active)
        assert WORD not in str(caught.value)


def test_the_net_below_the_rule() -> None:
    """Should a key reach a log call one day, it is removed from the line."""
    for secret in (
        *SECRETS["stripe"].values(),
        SECRETS["flutterwave"]["secretKey"],
        "postgresql://u:p@h/d",
        "pt_pub_abc",
    ):
        line = redact(None, "info", {"a": f"x {secret} y", "b": [secret], "c": 5, "d": None})
        assert secret not in repr(line)
        assert (line["c"], line["d"]) == (5, None)
