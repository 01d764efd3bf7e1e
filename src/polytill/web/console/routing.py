"""A practice's routing: versions of its policy, an editor, a payment to try, and a replay of past payments."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Annotated, Any

from fastapi import Path, Query, Response

from polytill.domain.currencies import CURRENCIES
from polytill.domain.errors import Conflict, FieldError, Invalid, invalid
from polytill.domain.routing import PolicyError, Strategy
from polytill.domain.states import CaptureMode, Environment
from polytill.flows.admin import routing_policies
from polytill.flows.admin.routing_policies import Draft
from polytill.flows.context import Snapshot
from polytill.flows.payments import previews, replay
from polytill.flows.payments.previews import Hypothetical, Preview, Under
from polytill.flows.routing.explain import explain
from polytill.providers.contract import Customer
from polytill.storage.routing_policies import PolicyVersion
from polytill.web.console.flashes import Done
from polytill.web.console.pages import amount_of, first_of, page_router
from polytill.web.console.payments import environment_of
from polytill.web.console.providers import example_of
from polytill.web.console.sessions import PracticeAdmin, PracticeViewer, PracticeVisitor
from polytill.web.decision_sentences import lines_of, sentence_of

router = page_router("/practice/{practice_id}/routing")

Number = Annotated[int, Path(ge=1, le=2**31 - 1)]
Text = Annotated[str, Query(max_length=200)]
PERIODS = (7, 30, 90)  # days that can be replayed
SHOWN = 50


# ── Versions ──


@router.get("")
async def show(visitor: PracticeViewer, environment: Text = "") -> Response:
    """Show the versions of the policy of an environment, and which one routes payments."""
    return await _versions(visitor, await environment_of(visitor, environment))


async def _versions(visitor: PracticeVisitor, environment: Environment, **more: Any) -> Response:
    found = await routing_policies.versions(visitor.context, visitor.practice_id, environment)
    people = await visitor.colleagues()
    rows = [(one, one.state(found.active), _strategy(one), _by(one.changed_by, people)) for one in found.listed]
    return visitor.page(
        "practice/routing.html",
        environment=environment,
        active=next((row for row in rows if row[0].version == found.active), None),
        rows=rows[:SHOWN],
        strategies=list(Strategy),
        **more,
    )


def _strategy(one: PolicyVersion) -> str:
    return str(json.loads(one.content).get("strategy"))


def _by(actor: str, people: dict[str, str]) -> str:
    return people.get(actor, actor)


def starting_text(strategy: Strategy, snapshot: Snapshot, environment: Environment) -> str:
    """The text of a new draft: a valid policy of a strategy, with the practice's own providers."""
    live = [one for one in snapshot.live.values() if one.environment is environment] or list(snapshot.live.values())
    codes = [one.provider_code for one in sorted(live, key=lambda one: (-one.priority, one.provider_code))]
    more: dict[Strategy, dict[str, Any]] = {
        Strategy.weighted: {"weights": dict.fromkeys(codes, 1)},
        Strategy.rules: {
            "rules": [
                {
                    "name": "Large amounts",
                    "when": {"amount": {"currency": snapshot.currency, "atLeast": 2 * example_of(snapshot.currency)}},
                    "providers": codes[:1],
                }
            ],
            "default": codes,
            "tests": [
                {
                    "name": "A small amount",
                    "given": {"currency": snapshot.currency, "amount": example_of(snapshot.currency)},
                    "expect": codes[0] if codes else None,
                }
            ],
        },
    }
    return json.dumps({"strategy": strategy, **more.get(strategy, {})}, indent=2)


@router.post("/{environment}")
async def draft(visitor: PracticeAdmin, environment: Environment) -> Response:
    """Create a draft: of a strategy, or a copy of a version."""
    context, form = visitor.context, visitor.form
    try:
        if form.text("version").isdecimal():
            copied, _ = await routing_policies.version(
                context, visitor.practice_id, environment, int(form.text("version")[:9])
            )
            text = copied.content
        else:
            strategy = first_of(Strategy, form.text("strategy")) or Strategy.priority
            text = starting_text(Strategy(strategy), await context.configured(visitor.db), environment)
        made = await routing_policies.create_draft(
            context, visitor.practice_id, environment, Draft(text), visitor.actor
        )
    except (Invalid, Conflict) as error:
        return await _versions(visitor, environment, error=error, errors={"": error})
    return visitor.see(f"/routing/{environment}/{made.version}")


# ── One version ──


@router.get("/{environment}/{number}")
async def show_version(visitor: PracticeViewer, environment: Environment, number: Number) -> Response:
    """Show one version, with the form to change, publish or return to it."""
    return await _version(visitor, environment, number)


async def _version(visitor: PracticeVisitor, environment: Environment, number: int, **more: Any) -> Response:
    found, active = await routing_policies.version(visitor.context, visitor.practice_id, environment, number)
    people = await visitor.colleagues()
    is_draft = found.published_at is None
    failed = await routing_policies.failed_tests(visitor.context, found) if is_draft else ()
    return visitor.page(
        "practice/routing_version.html",
        environment=environment,
        one=found,
        state=found.state(active),
        active=active,
        by=_by(found.published_by or found.changed_by, people),
        periods=PERIODS,
        failed=[(one.pointer, visitor.words.told(one)) for one in failed],
        **{"wrong": (), "given": {"policy": found.content, "note": found.note, "edits": str(found.edits)}, **more},
    )


@router.post("/{environment}/{number}")
async def save(visitor: PracticeAdmin, environment: Environment, number: Number) -> Response:
    """Save a draft. What is wrong with it is shown beside its text, and nothing is saved."""
    form = visitor.form
    given = {
        "policy": form.exact("policy").replace("\r\n", "\n"),
        "note": form.text("note"),
        "edits": form.text("edits"),
    }
    edits = int(given["edits"][:9]) if given["edits"].isdecimal() else None
    try:
        await routing_policies.change_draft(
            visitor.context, visitor.practice_id, environment, number,
            Draft(given["policy"], given["note"], edits), visitor.actor,
        )  # fmt: skip
    except (Invalid, Conflict) as error:
        return await _wrong(visitor, environment, number, error, given)
    return visitor.see(f"/routing/{environment}/{number}", Done.saved)


async def _wrong(
    visitor: PracticeVisitor, environment: Environment, number: int, error: Invalid | Conflict, given: dict[str, str]
) -> Response:
    wrong = error.errors if isinstance(error, Invalid) else []
    places = [(one.pointer.removeprefix("/policy") or "/", visitor.words.told(one)) for one in wrong]
    errors: dict[str, Any] = {"": error}
    if wrong and wrong[0].pointer.startswith("/policy"):
        only_tests = all(one.reason == PolicyError.test_failed for one in wrong)
        said = "routing.tests_failed" if only_tests else "routing.wrong"
        errors = {"policy": visitor.words(said, n=len(wrong))}
    elif wrong:
        errors = {"note": wrong[0]}
    return await _version(visitor, environment, number, error=error, errors=errors, given=given, wrong=places)


@router.post("/{environment}/{number}/publish")
async def publish(visitor: PracticeAdmin, environment: Environment, number: Number) -> Response:
    """Publish the draft as it is stored."""
    return await _activated(visitor, environment, number, routing_policies.publish)


@router.post("/{environment}/{number}/rollback")
async def roll_back(
    visitor: PracticeAdmin, environment: Environment, number: Annotated[int, Path(ge=0, le=2**31 - 1)]
) -> Response:
    """Return to an earlier version; 0: to the order of the providers page."""
    return await _activated(visitor, environment, number, routing_policies.roll_back)


async def _activated(visitor: PracticeVisitor, environment: Environment, number: int, command: Any) -> Response:
    text = visitor.form.text("instead_of")
    instead_of = int(text[:9]) if text.isdecimal() else None
    try:
        found = await command(visitor.context, visitor.practice_id, environment, number, instead_of, visitor.actor)
    except (Invalid, Conflict) as error:
        if number == 0:
            return await _versions(visitor, environment, error=error, errors={"": error})
        known, _ = await routing_policies.version(visitor.context, visitor.practice_id, environment, number)
        given = {"policy": known.content, "note": known.note, "edits": str(known.edits)}
        return await _wrong(visitor, environment, number, error, given)
    done = Done.policy_published_warned if found.warnings else Done.policy_published
    return visitor.see(f"/routing?environment={environment}", done)


# ── A replay ──


@router.get("/{environment}/{number}/simulation")
async def simulate(
    visitor: PracticeViewer, environment: Environment, number: Number, days: Annotated[int, Query()] = 30
) -> Response:
    """Replay the payments of the last days under this version."""
    one, active = await routing_policies.version(visitor.context, visitor.practice_id, environment, number)
    days = days if days in PERIODS else 30
    period = replay.Period(environment, visitor.context.world.now() - timedelta(days=days), limit=2000)
    found = await replay.simulate(visitor.context, visitor.practice_id, period, Under(number))
    words = visitor.words
    return visitor.page(
        "practice/routing_simulation.html",
        environment=environment,
        one=one,
        state=one.state(active),
        active=active,
        days=days,
        periods=PERIODS,
        found=found,
        names=await visitor.provider_names(),
        codes=sorted({*found.took, *found.before, *found.after}),
        changes=[
            (change, change.decision.ranked[0].code, sentence_of(words, explain(change.decision)[0]))
            for change in found.changes
        ],
    )


# ── A payment to try ──


TRIED = ("method", "capture", "email", "phone", "metadata", "version")
LONGEST = 200


@router.get("/try")
async def try_payment(visitor: PracticeViewer) -> Response:
    """Ask who would take a payment, and why, under the active policy or another version."""
    context, words = visitor.context, visitor.words
    snapshot, catalog = await context.configured(visitor.db), await context.catalog()
    typed = {name: text.strip()[:LONGEST] for name, text in visitor.request.query_params.items()}
    chosen = await environment_of(visitor, typed.get("environment", ""))
    given = {
        **{name: typed.get(name, "") for name in TRIED},
        "currency": (typed.get("currency", "").upper() or snapshot.currency)[:3],
        "amount": typed.get("amount") or words.major(example_of(snapshot.currency), snapshot.currency),
    }
    entries = [catalog[code] for code in snapshot.live if code in catalog]
    values: dict[str, Any] = {
        "environment": chosen,
        "given": given,
        "methods": sorted({one for entry in entries for one in entry.supported_payment_methods or ()}),
        "versions": (await routing_policies.versions(context, visitor.practice_id, chosen)).listed[:SHOWN],
        "found": None,
    }
    try:
        found = await _tried(visitor, chosen, given)
    except Invalid as error:
        return visitor.page("practice/routing_try.html", error=error, **values)
    lines = lines_of(words, explain(found.decision), await visitor.provider_names(), found.estimates)
    return visitor.page("practice/routing_try.html", **{**values, "found": found, "lines": lines})


async def _tried(visitor: PracticeVisitor, environment: Environment, given: dict[str, str]) -> Preview:
    currency = given["currency"]
    if currency not in CURRENCIES:
        raise Invalid([FieldError("/currency", "This is not a currency.", "no_currency")])
    customer = Customer(given["email"] or None, None, given["phone"] or None)
    wish = Hypothetical(
        currency,
        amount_of(visitor.words, given["amount"], currency),
        given["method"] or None,
        CaptureMode.manual if given["capture"] == CaptureMode.manual else CaptureMode.automatic,
        customer if customer.fields() else None,
        _metadata(given["metadata"]),
        environment,
    )
    number = given["version"]
    under = Under(int(number[:9])) if number.isdecimal() else previews.ACTIVE
    return await previews.preview(visitor.context, visitor.practice_id, wish, under)


def _metadata(text: str) -> dict[str, str] | None:
    """Read ``name=value, name=value``."""
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if any(not sign for _, sign, _ in pairs):
        raise invalid("/metadata", "Write name=value, separated by commas.", reason="metadata_pairs")
    return {name.strip(): value.strip() for name, _, value in pairs} or None
