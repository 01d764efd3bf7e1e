"""The OpenAPI document does not lie: what is answered is what it says, whatever is asked.

A slice runs with all tests, on both engines. The whole campaign, for as long as one likes (the seed is printed, and
repeats a run exactly)::

    POLYTILL_CAMPAIGN_EXAMPLES=500 POLYTILL_CAMPAIGN_SEED=7 python -m pytest tests/web/test_openapi.py -q -s
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import hypothesis
import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from polytill.background import sweep
from polytill.domain.ids import new_id
from polytill.domain.states import Environment
from polytill.storage import cases, practice_backups
from polytill.storage.opening import is_postgres
from polytill.storage.practice_backups import PracticeBackup
from polytill.storage.units import Unit
from tests.installation import TEST_KEYS, Installation, running
from tests.jobs import node
from tests.web.support import Json, Practice, fresh

EXAMPLES = int(os.environ.get("POLYTILL_CAMPAIGN_EXAMPLES", "12"))
SEED = int(os.environ.get("POLYTILL_CAMPAIGN_SEED", "20261122"))
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture
async def house(tmp_path: Path, engine_url: str | None) -> AsyncIterator[Installation]:
    async with running(tmp_path, engine_url, backups=str(tmp_path / "kept")) as found:
        yield found


def closed(schema: Any) -> Any:
    """The same schema, which allows no field that it does not name."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: closed(item) for name, item in schema.items()}
    if "properties" in found and "additionalProperties" not in found:
        found["additionalProperties"] = False
    return found


class Document:
    """The document, as a judge of answers."""

    def __init__(self, document: Json) -> None:
        self.paths: dict[str, Json] = document["paths"]
        self.components = closed(document["components"])
        self.judged: set[tuple[str, str]] = set()

    def judge(self, method: str, template: str, status: int, body: Any) -> None:
        """Fail unless the document says exactly this answer."""
        answers = self.paths[template][method.lower()]["responses"]
        assert str(status) in answers, (method, template, status, sorted(answers))
        content = answers[str(status)].get("content")
        if content is None:
            assert body == "", (method, template, body)
        else:
            [(_, media)] = content.items()
            schema = {**closed(media["schema"]), "components": self.components}
            assert media["schema"] != {}, (method, template, status)
            found = [f"{e.instance_path}: {e.message}" for e in jsonschema_rs.validator_for(schema).iter_errors(body)]
            assert not found, (method, template, found, body)
        self.judged.add((method.lower(), template))


async def _document(house: Installation) -> Json:
    return dict((await house.call("GET", "/openapi.json")).body)


async def test_every_answer_is_as_documented(house: Installation, postgres_url: str) -> None:
    document = Document(await _document(house))
    practice = await Practice.make(house, "stripe")
    await practice.configure("flutterwave", ["NGN"])
    practice.code, practice.keys = "stripe", {}
    [stripe] = [c for c in (await practice.call("GET", "/payment-providers")).body if c["providerCode"] == "stripe"]
    practice.configuration = stripe
    live = {name: value.replace("_test_", "_live_") for name, value in TEST_KEYS["stripe"].items()}
    state: dict[str, str] = {"practiceId": str(practice.id)}
    p, own = "/api/practices/{practiceId}", "/api/owner"

    async def ask(method: str, template: str, body: Any = None, key: str | None = None, **places: str) -> Any:
        path = template
        for name, value in {**state, **places}.items():
            path = path.replace(f"{{{name}}}", value)
        who = key or (house.owner_key if template.startswith(own) else practice.key)
        found = await house.call(method, path, who, body, idempotency=fresh())
        assert found.status < 400, (method, path, found.body)
        document.judge(method, template.split("?")[0], found.status, found.body)
        return found.body

    acme = {"code": "acme", "name": "Acme", "status": "inactive"}
    await ask("POST", f"{own}/payment-providers", acme)
    for template in (f"{own}/payment-providers", f"{own}/practices", f"{own}/keys", f"{own}/clusters", f"{own}/health"):
        await ask("GET", template)
    await ask("GET", f"{own}/audit-log")
    await ask("GET", f"{own}/payment-providers/{{code}}", code="stripe")
    await ask(
        "PATCH", f"{own}/payment-providers/{{code}}", {"priority": 3, "configSchema": {"type": "object"}}, code="acme"
    )
    terms = {"minAmount": 5, "transactionFeePercent": "1.5"}
    await ask("PUT", f"{own}/payment-providers/{{code}}/currencies/{{currency}}", terms, code="acme", currency="EUR")
    await ask("GET", f"{own}/payment-providers/{{code}}/currencies", code="acme")
    await ask("DELETE", f"{own}/payment-providers/{{code}}/currencies/{{currency}}", code="acme", currency="EUR")
    other = str((await ask("POST", f"{own}/practices", {"name": "Two", "defaultCurrency": "KES"}))["practice"]["id"])
    life = f"{own}/practices/{{practiceId}}"
    await ask("POST", f"{life}/close", {"runOutDays": 3}, practiceId=other)
    await ask("POST", f"{life}/reopen", practiceId=other)
    await ask("POST", f"{life}/close", {}, practiceId=other)
    why = {"now": True, "reason": "A trial"}
    await ask("POST", f"{own}/jobs/delete", {"practiceId": int(other), "confirm": "Two", **why})
    await ask("GET", f"{own}/practices/{{practiceId}}")
    await ask("PATCH", f"{own}/practices/{{practiceId}}", {"name": "One"})
    await ask("POST", f"{own}/keys", {"name": "second"})
    await ask("POST", f"{own}/clusters", {"name": "moon", "url": f"{postgres_url}/postgres"})
    await ask("GET", f"{own}/clusters")
    await ask("PATCH", f"{own}/clusters/{{name}}", {"state": "closed"}, name="moon")
    await ask("DELETE", f"{own}/clusters/{{name}}", name="moon")

    await ask("GET", f"{p}/payment-providers/available")
    await ask("GET", f"{p}/payment-providers")
    code = {"code": "stripe"}
    body = {"providerCode": "stripe", "environment": "sandbox", "isEnabled": True, **TEST_KEYS["stripe"]}
    await ask("POST", f"{p}/payment-providers", body)
    await ask("GET", f"{p}/payment-providers/{{code}}", **code)
    await ask("PATCH", f"{p}/payment-providers/{{code}}", {"priority": 9}, **code)
    await ask("POST", f"{p}/payment-providers/{{code}}/test", **code)
    await ask(
        "PUT", f"{p}/payment-providers/{{code}}/credentials/{{environment}}", live, environment="production", **code
    )
    await ask("GET", f"{p}/payment-providers/for-currency/{{currency}}", currency="USD")
    made = await ask("POST", f"{p}/payments", {"amount": 1000, "currency": "USD", "capture": "manual"})
    one = {"paymentId": made["id"]}
    await house.network("POST", f"/pay/{made['attempts'][0]['reference']}", {"outcome": "success"})
    await ask("POST", f"{p}/payments/{{paymentId}}/confirm", **one)
    await ask("POST", f"{p}/payments/{{paymentId}}/capture", {"amount": 900}, **one)
    await ask("GET", f"{p}/payments/{{paymentId}}", **one)
    public = (await practice.call("POST", "/keys", {"kind": "publishable"})).body["key"]
    await ask("GET", f"{p}/payments/{{paymentId}}?clientToken={made['clientToken']}", key=public, **one)
    refund = await ask("POST", f"{p}/payments/{{paymentId}}/refunds", {"amount": 100}, **one)
    await ask("GET", f"{p}/payments/{{paymentId}}/refunds", **one)
    await ask("GET", f"{p}/payments/{{paymentId}}/refunds/{{refundId}}", refundId=refund["id"], **one)
    context = {"providerCode": "manual", "environment": "sandbox", "isEnabled": True, "supportedCurrencies": ["JPY"]}
    await ask("POST", f"{p}/payment-providers", context)
    cash = await ask("POST", f"{p}/payments", {"amount": 500, "currency": "JPY", "providerCode": "manual"})
    seen = {"amount": 500, "note": "Counted"}
    await ask("POST", f"{p}/payments/{{paymentId}}/confirm-manually", seen, paymentId=cash["id"])
    hosted = await ask(
        "POST", f"{p}/payments", {"amount": 100_000, "currency": "NGN", "customer": {"email": "a@b.example"}}
    )
    assert hosted["nextAction"]["type"] == "redirect"
    await ask("POST", f"{p}/payments/{{paymentId}}/cancel", paymentId=hosted["id"])
    keeping = {"amount": 9_000, "currency": "USD", "saveMethod": True, "customer": {"email": "a@b.example"}}
    kept = await ask("POST", f"{p}/payments", {**keeping, "providerCode": "stripe"})
    await house.network("POST", f"/pay/{kept['attempts'][0]['reference']}", {"outcome": "success"})
    kept = await ask("POST", f"{p}/payments/{{paymentId}}/confirm", paymentId=kept["id"])
    method = kept["savedMethod"]["id"]
    await ask("POST", f"{p}/payments", {"amount": 800, "currency": "USD", "savedMethod": method})
    await ask("GET", f"{p}/saved-methods")
    await ask("DELETE", f"{p}/saved-methods/{{savedMethodId}}", savedMethodId=method)
    await ask("GET", f"{p}/payments")
    await ask("GET", f"{p}/payments?limit=1")
    await ask("GET", f"{p}/payments/{{paymentId}}/decision", **one)
    rules = {"name": "Dollars", "when": {"currency": "USD"}, "providers": ["flutterwave"]}
    policy = {"strategy": "rules", "rules": [rules], "default": ["stripe"]}
    wish = {"currency": "USD", "amount": 900, "policy": policy, "metadata": {"plan": "gold"}}
    await ask("POST", f"{p}/payment-providers/decide?language=sw", wish)
    await ask("POST", f"{p}/payment-providers/simulate-routing", {"environment": "sandbox", "policy": policy})
    policies, at = f"{p}/routing-policies/{{environment}}", {"environment": "sandbox", "version": "1"}
    await ask("POST", policies, {"policy": policy, "note": "Try"}, **at)
    await ask("PUT", f"{policies}/{{version}}", {"policy": policy, "edits": 0}, **at)
    await ask("GET", f"{policies}/{{version}}", **at)
    await ask("POST", f"{policies}/{{version}}/publish", {"insteadOf": 0}, **at)
    await ask("GET", policies, **at)
    await ask("POST", f"{policies}/rollback", {"version": 0}, **at)
    link = await ask("POST", f"{p}/payment-links", {"amount": 500, "currency": "USD", "description": "Visit"})
    await ask("GET", f"{p}/payment-links")
    await ask("GET", f"{p}/payment-links/{{linkId}}", linkId=link["id"])
    await ask("POST", f"{p}/payment-links/{{linkId}}/close", linkId=link["id"])
    await ask("PUT", f"{p}/checkout", {"color": "#0b5f5a"})
    await ask("GET", f"{p}/checkout")
    body_, headers = b"{}", {"verif-hash": TEST_KEYS["flutterwave"]["webhookSecret"]}
    [flutterwave] = [
        c for c in (await practice.call("GET", "/payment-providers")).body if c["providerCode"] == "flutterwave"
    ]
    taken = await house.call("POST", flutterwave["webhookUrl"].removeprefix(house.url), raw=body_, headers=headers)
    document.judge("POST", "/hooks/{token}", taken.status, taken.body)
    relay = f"{p}/payment-providers/{{code}}/webhook-relay/{{environment}}"
    await ask("PUT", relay, {"url": "https://old.example/hooks"}, code="flutterwave", environment="sandbox")
    await ask("DELETE", relay, code="flutterwave", environment="sandbox")
    await ask("POST", f"{p}/webhook-events/dismiss", {"note": "x", "all": True, "dryRun": True})
    events = await ask("GET", f"{p}/webhook-events")
    await ask("POST", f"{p}/webhook-events/{{eventId}}/replay", eventId=events[0]["id"])
    for name in ("audit-log", "ledger?environment=sandbox", "people", "keys"):
        await ask("GET", f"{p}/{name}")
    await ask("POST", f"{p}/keys", {"name": "x"})
    keys = (await practice.call("GET", "/keys")).body
    await ask("POST", f"{p}/payment-providers/{{code}}/activate", {"environment": "production"}, **code)
    await ask("DELETE", f"{p}/payment-providers/{{code}}", **code)
    await ask("DELETE", f"{p}/keys/{{keyId}}", keyId=str(keys[0]["id"]))
    owner_keys = (await house.call("GET", f"{own}/keys", house.owner_key)).body
    await ask("DELETE", f"{own}/keys/{{keyId}}", keyId=str(owner_keys[0]["id"]))
    await ask("PUT", f"{own}/event-destination", {"url": f"{house.url}/healthz"})
    await sweep(house.till.context, everyone=True)
    told = await ask("GET", f"{own}/events")
    await ask("POST", f"{own}/events/{{cursor}}/replay", cursor=str(told["data"][0]["cursor"]))
    await ask("GET", f"{own}/event-destination")
    await _abandoned(house)
    listed = await ask("GET", f"{own}/event-deliveries")
    cursor = str(listed["data"][0]["cursor"])
    await ask("POST", f"{own}/event-deliveries/{{cursor}}/resolve", cursor=cursor)
    await ask("POST", f"{own}/event-deliveries/replay")
    await ask("DELETE", f"{own}/event-destination")
    await _rollout(house, ask)
    case = await _case(house, practice.id)
    await ask("GET", f"{own}/cases")
    await ask("GET", f"{p}/cases")
    await ask("GET", f"{p}/cases/{{caseId}}", caseId=case)
    await ask("POST", f"{p}/cases/{{caseId}}/resolve", {"action": "resolve", "note": "Seen"}, caseId=case)
    await _jobs(house, ask, practice.id)
    erased = {"email": "nobody@example.com", "dryRun": True}
    await ask("POST", f"{p}/customer-erasures", erased)
    await ask("POST", f"{own}/practices/{{practiceId}}/customer-erasures", erased)
    await ask("GET", "/healthz")
    await ask("GET", "/readyz")
    left_out = {
        (method, path)
        for path, methods in document.paths.items()
        for method in methods
        if (method, path) not in document.judged and not path.startswith("/pay/")
    }
    # A continued charge is judged where one is begun: in test_saved_methods.
    # The two that need a host application's database: in tests/rollout.
    elsewhere = {("delete", f"{own}/payment-providers/{{code}}"), ("post", f"{p}/payments/{{paymentId}}/continue")}
    elsewhere |= {("post", f"{own}/rollout/practices/{{practiceId}}/{name}") for name in ("sync", "resolve")}
    assert left_out <= elsewhere, left_out


async def _jobs(house: Installation, ask: Callable[..., Awaitable[Any]], practice_id: int) -> None:
    """A job is watched, paused, resumed, retried and canceled."""
    jobs = "/api/owner/jobs"
    job = await ask("POST", f"{jobs}/backup", {"practiceIds": [practice_id]})
    one = {"jobId": str(job["id"])}
    await ask("POST", f"{jobs}/{{jobId}}/pause", **one)
    await ask("POST", f"{jobs}/{{jobId}}/resume", **one)
    await house.till.context.owner.fetch("UPDATE job_practices SET state = 'failed', code = 'x', detail = 'No.'")
    await ask("POST", f"{jobs}/{{jobId}}/retry", {"practiceId": practice_id}, **one)
    await ask("POST", f"{jobs}/{{jobId}}/cancel", **one)
    for template in (jobs, f"{jobs}/{{jobId}}", f"{jobs}/{{jobId}}/practices?state=canceled"):
        assert await ask("GET", template, **one)
    made = PracticeBackup(practice_id, "practice-1", "s3://bucket", 1, 1, house.till.context.world.now(), False)
    unit = Unit()
    practice_backups.record(unit, made)
    await house.till.context.owner.commit(unit)
    assert len(await ask("GET", f"{jobs}/backup/latest")) == 1
    place = house.till.context.settings.practice_databases.get_secret_value()
    other = place if is_postgres(place) else f"{place}-2"
    if other != place:
        Path(other).mkdir()  # noqa: ASYNC240
    await ask("POST", "/api/owner/clusters", {"name": "second", "url": other})
    job = await ask("POST", f"{jobs}/move", {"practiceIds": [practice_id], "cluster": "second"})
    async with node(house.till.context) as engine:
        await engine.drive(job["id"])
    assert [one["toCluster"] for one in await ask("GET", f"{jobs}/move/unconfirmed")] == ["second"]
    await ask("POST", f"{jobs}/move/confirm", {"practiceIds": [practice_id]})


async def _rollout(house: Installation, ask: Callable[..., Awaitable[Any]]) -> None:
    """A practice goes from its old field to live, and back."""
    p, own = "/api/practices/{practiceId}/rollout", "/api/owner/rollout"
    practice_id, key = await house.practice("In rollout", "NGN")
    one = {"practiceId": str(practice_id)}
    theirs = {"key": key, **one}
    await ask("POST", f"{own}/moves", {"to": "legacy", "practiceIds": [practice_id]})
    old = {"paystack": {**TEST_KEYS["paystack"], "isEnabled": True, "supportedCurrencies": ["NGN"]}}
    await ask("PUT", f"{p}/field", {"paymentProviders": old}, **theirs)
    await ask("POST", f"{own}/moves", {"to": "shadow", "practiceIds": [practice_id]})
    asked = {"currency": "NGN", "amount": 5_000}
    for reference, provider in (("r-1", "paystack"), ("r-2", None)):
        reported = {**asked, "providerCode": provider, "reference": reference}
        await ask("POST", f"{p}/decisions", reported, **theirs)
    await ask("POST", f"{own}/moves", {"to": "live", "percent": 100})
    await ask("POST", f"{p}/choice", asked, **theirs)
    await ask("GET", f"{own}/practices/{{practiceId}}/field", **one)
    await ask("POST", f"{own}/practices/{{practiceId}}/field", {"paymentProviders": old}, **one)
    await ask("POST", f"{own}/practices/{{practiceId}}/back", **one)
    await ask("POST", f"{p}/field-reads", {"reads": [{"caller": "invoices", "count": 2}]}, **theirs)
    for name in ("", "/practices", "/differences"):
        await ask("GET", f"{own}{name}")


async def _abandoned(house: Installation) -> None:
    async with house.till.context.owner.transaction() as tx:
        tx.add("UPDATE event_deliveries SET state = 'abandoned', abandoned_at = next_try_at")


async def _case(house: Installation, practice_id: int) -> str:
    """An open review case."""
    context = house.till.context
    db, case_id = await context.opening.practice(practice_id), new_id(context.world)
    async with db.transaction() as tx:
        cases.open_case(
            tx,
            case_id,
            practice_id,
            Environment.sandbox,
            cases.NewCase("notice", "event-1", None, {}),
            context.world.now(),
        )
    return case_id


def _places(document: Json, practice: Practice, payment: Json) -> dict[str, list[str]]:
    return {
        "practiceId": [str(practice.id)],
        "paymentId": [payment["id"]],
        "code": ["stripe", "paystack", "flutterwave"],
        "currency": ["NGN", "USD"],
        "clientToken": [payment["clientToken"]],
        "token": [practice.configuration["webhookUrl"].rpartition("/")[2]],
    }


async def test_campaign(house: Installation) -> None:
    """Whatever fits the document, and much that does not: no 500, no status, type or shape that it does not name."""
    print(f"seed {SEED}, {EXAMPLES} examples of each operation")
    document = await _document(house)
    practice = await Practice.make(house, "paystack")
    payment = (await practice.create()).body
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=house.url)
    places = _places(document, practice, payment)
    # What would take away the ground that the other operations stand on is asked with made-up places only.
    spared = {
        ("delete", "/api/owner/keys/{keyId}"),
        ("delete", "/api/practices/{practiceId}/keys/{keyId}"),
        ("post", "/api/owner/practices/{practiceId}/close"),
    }
    heard = Heard()
    await asyncio.to_thread(_campaign, schema, house, practice, places, spared, heard)
    print(heard)
    # It was no monologue: good requests went through, bad ones were refused in many ways.
    assert heard.statuses.keys() >= {200, 201, 204, 400, 401, 404, 409, 422}, heard
    assert len(heard.went_through) > 25, heard
    assert (await house.call("GET", "/readyz")).status == 200


class Heard:
    """What the service said in a campaign."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.went_through: set[str] = set()

    def __repr__(self) -> str:
        return f"{dict(sorted(self.statuses.items()))}, {len(self.went_through)} operations went through"


def _campaign(
    schema: Any,
    house: Installation,
    practice: Practice,
    places: dict[str, list[str]],
    spared: set[tuple[str, str]],
    heard: Heard,
) -> None:
    for result in schema.get_all_operations():
        operation = result.ok()
        if (operation.method, operation.path) in spared:
            continue
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
            try:
                strategy = operation.as_strategy(generation_mode=mode)
                _ask_much(operation, strategy, house, practice, places, heard)
            except hypothesis.errors.Unsatisfiable:
                continue  # nothing can be wrong about this one


def _ask_much(
    operation: Any, strategy: Any, house: Installation, practice: Practice, places: dict[str, list[str]], heard: Heard
) -> None:
    dice = random.Random(f"{SEED} {operation.method} {operation.path}")

    @hypothesis.seed(SEED)
    @hypothesis.settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(case=strategy)
    def ask(case: Any) -> None:
        for name in case.path_parameters or {}:
            if name in places and dice.random() < 0.8:
                case.path_parameters[name] = dice.choice(places[name])
        case.headers = case.headers or {}
        key = house.owner_key if operation.path.startswith("/api/owner") else practice.key
        if dice.random() < 0.95:
            case.headers["Authorization"] = f"Bearer {key}"
        if isinstance(case.body, dict) and case.body.get("state") == "suspended":
            case.body["state"] = "active"
        response = case.call(allow_redirects=False, timeout=60)
        heard.statuses[response.status_code] += 1
        if response.status_code < 300:
            heard.went_through.add(f"{operation.method} {operation.path}")
        case.validate_response(response, checks=CHECKS)

    ask()
