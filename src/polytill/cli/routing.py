"""Routing policies on the command line: read, draft, simulate, publish, roll back, and decide a hypothetical payment."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from polytill.cli.opened import PracticeId, console, fail, opened
from polytill.domain.errors import FieldError, Invalid
from polytill.domain.money import ppm_to_percent
from polytill.domain.states import CaptureMode, Environment
from polytill.flows.admin import routing_policies
from polytill.flows.admin.routing_policies import Draft, Published, Versions
from polytill.flows.context import Context
from polytill.flows.payments import decisions, previews, replay
from polytill.flows.payments.previews import Hypothetical, Preview, Under
from polytill.flows.payments.reading import details_of, find
from polytill.flows.payments.replay import MOST_PAYMENTS, Replay
from polytill.flows.routing.explain import explain
from polytill.flows.routing.policy_schema import SCHEMA
from polytill.flows.routing.reading import loaded
from polytill.providers.contract import Customer
from polytill.web.decision_sentences import AttemptLine, Line, attempt_lines, lines_of
from polytill.web.words import words_for

routing_app = typer.Typer(
    no_args_is_help=True, help="Routing policies: which provider takes a payment, and in which order the others follow."
)
Where = Annotated[Environment, typer.Option("--environment", help="The environment of the policy")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON")]
VersionNumber = Annotated[int, typer.Argument(help="The version's number")]
InsteadOf = Annotated[int | None, typer.Option(help="Fail if another version than this one is active by now")]
ACTOR = "cli"


def _policy_text(file: Path) -> str:
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        fail(f"{file} cannot be read.")


def _print(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _fail_with_errors(error: Invalid) -> None:
    """Fail with every error and its JSON Pointer."""
    fail("The policy is not valid:\n" + _listed(error.errors))


def _listed(errors: Iterable[FieldError]) -> str:
    return "\n".join(f"  {one.pointer or '/'}  {one.detail}" for one in errors)


@routing_app.command("show")
def show(
    practice: PracticeId,
    version: Annotated[int | None, typer.Argument(help="Only this version, with its text")] = None,
    environment: Where = Environment.production,
    as_json: AsJson = False,
) -> None:
    """Show the versions of a practice's policy, or the text of one."""

    async def read(context: Context) -> Versions:
        return await routing_policies.versions(context, practice, environment)

    found = opened(read)
    rows = [one for one in found.listed if version in (None, one.version)]
    if version is not None and not rows:
        fail(f"There is no version {version} of the routing policy for {environment}.")
    if as_json:
        listed = [
            {"version": one.version, "state": one.state(found.active), "note": one.note, "policy": loaded(one.content)}
            for one in rows
        ]
        _print({"environment": environment, "active": found.active, "versions": listed})
        return
    if version is not None:
        typer.echo(rows[0].content)
        return
    if not found.active:
        console.print("No policy is active: the order of the provider configurations decides.")
    table = Table("version", "state", "strategy", "changed", "by", "note")
    for one in rows:
        at = f"{one.published_at or one.changed_at:%Y-%m-%d %H:%M}"
        strategy = str(loaded(one.content).get("strategy"))
        table.add_row(str(one.version), one.state(found.active), strategy, at, one.changed_by, one.note)
    if rows:
        console.print(table)


@routing_app.command("schema")
def schema() -> None:
    """Print the JSON Schema of a policy, for editors."""
    _print(SCHEMA)


@routing_app.command("draft")
def draft(
    practice: PracticeId,
    file: Annotated[Path, typer.Argument(help="The policy as JSON; - reads standard input")],
    environment: Where = Environment.production,
    note: Annotated[str, typer.Option(help="Why the policy is changed")] = "",
    as_json: AsJson = False,
) -> None:
    """Create a draft. It routes no payments until it is published."""
    text = _policy_text(file)

    async def create(context: Context) -> tuple[int, tuple[FieldError, ...]]:
        made = await routing_policies.create_draft(context, practice, environment, Draft(text, note), ACTOR)
        return made.version, await routing_policies.failed_tests(context, made)

    try:
        number, failed = opened(create)
    except Invalid as error:
        _fail_with_errors(error)
    if as_json:
        told = [{"pointer": one.pointer, "detail": one.detail} for one in failed]
        _print({"environment": environment, "version": number, "failedTests": told})
        return
    console.print(f"Version {number} is a draft. Simulate it, then publish it.")
    if failed:
        console.print("It cannot be published while these tests fail:\n" + _listed(failed), markup=False)


@routing_app.command("publish")
def publish(
    practice: PracticeId,
    version: VersionNumber,
    environment: Where = Environment.production,
    instead_of: InsteadOf = None,
    as_json: AsJson = False,
) -> None:
    """Publish a draft. It is checked again, and applies to new payments at once."""

    async def work(context: Context) -> Published:
        return await routing_policies.publish(context, practice, environment, version, instead_of, ACTOR)

    try:
        found = opened(work)
    except Invalid as error:
        _fail_with_errors(error)
    _activated(found, environment, as_json)


@routing_app.command("rollback")
def rollback(
    practice: PracticeId,
    version: Annotated[int, typer.Argument(help="An earlier version; 0 is the default order, without a policy")],
    environment: Where = Environment.production,
    instead_of: InsteadOf = None,
    as_json: AsJson = False,
) -> None:
    """Make a version active again that was published before."""

    async def work(context: Context) -> Published:
        return await routing_policies.roll_back(context, practice, environment, version, instead_of, ACTOR)

    _activated(opened(work), environment, as_json)


def _activated(found: Published, environment: Environment, as_json: bool) -> None:
    number = found.version.version
    if as_json:
        warnings = [{"pointer": one.pointer, "detail": one.detail} for one in found.warnings]
        _print({"environment": environment, "active": number, "before": found.before, "warnings": warnings})
        return
    for one in found.warnings:
        console.print(f"Warning: {one.detail}")
    now = f"Version {number}" if number else "The default order"
    console.print(f"{now} routes payments in {environment} now, instead of version {found.before}.")


@routing_app.command("simulate")
def simulate(
    practice: PracticeId,
    policy: Annotated[str, typer.Argument(help="A version's number, or a file with a policy as JSON")],
    environment: Where = Environment.production,
    days: Annotated[int, typer.Option(min=1, max=3650, help="Replay the payments of this many days")] = 30,
    limit: Annotated[
        int, typer.Option(min=1, max=MOST_PAYMENTS, help="Replay at most this many, the newest first")
    ] = 1000,
    as_json: AsJson = False,
) -> None:
    """Replay past payments under a policy. Nothing is changed."""
    under = _under(policy)

    async def work(context: Context) -> Replay:
        since = context.world.now() - timedelta(days=days)
        return await replay.simulate(context, practice, replay.Period(environment, since, limit=limit), under)

    try:
        found = opened(work)
    except Invalid as error:
        _fail_with_errors(error)
    codes = sorted({*found.took, *found.before, *found.after})
    if as_json:
        _print(
            {
                "payments": found.payments, "changed": found.changed, "withoutProvider": found.nobody,
                "isComplete": found.is_complete,
                "providers": [
                    {"code": one, "took": found.took[one], "before": found.before[one], "after": found.after[one]}
                    for one in codes
                ],
            }
        )  # fmt: skip
        return
    more = "" if found.is_complete else " There are more payments in this period."
    console.print(f"{found.payments} payments; {found.changed} would go to another provider.{more}")
    table = Table("provider", "actual", "active policy", "this policy")
    for one in codes:
        table.add_row(one, *(str(counts[one]) for counts in (found.took, found.before, found.after)))
    if codes:
        console.print(table)
    for currency, (before, after) in sorted(found.sums.items()):
        console.print(
            f"{currency}: estimated fees {before.fees} before, {after.fees} after (minor units, {after.with_fees} payments);"
            f" expected success {_percent(before.mean_success_ppm)} before, {_percent(after.mean_success_ppm)} after"
        )


@routing_app.command("decide")
def decide(
    practice: PracticeId,
    currency: Annotated[str, typer.Argument(help="ISO 4217, for example NGN")],
    amount: Annotated[int | None, typer.Option(min=1, help="In minor units")] = None,
    policy: Annotated[
        str | None, typer.Option(help="A version's number, or a file; default: the active policy")
    ] = None,
    more: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            help="NAME=VALUE: method, environment, capture, email, phone, provider, or metadata.NAME; repeatable",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Decide which provider would take a payment, and why. Nothing is created."""
    given = dict(part.partition("=")[::2] for part in more or ())
    metadata = {name.removeprefix("metadata."): given.pop(name) for name in [*given] if name.startswith("metadata.")}
    if wrong := given.keys() - {"method", "environment", "capture", "email", "phone", "provider"}:
        fail(f"--with has no {min(wrong)!r}.")
    try:
        wish = Hypothetical(
            currency.upper(), amount, given.get("method"), CaptureMode(given.get("capture", CaptureMode.automatic)),
            Customer(given.get("email"), None, given.get("phone")) if given.keys() & {"email", "phone"} else None,
            metadata or None, Environment(given["environment"]) if "environment" in given else None,
            given.get("provider"),
        )  # fmt: skip
    except ValueError as error:
        fail(f"{str(error).partition(' is ')[0]} is not known. Use sandbox or production, automatic or manual.")
    under = _under(policy) if policy else previews.ACTIVE

    async def work(context: Context) -> tuple[Preview, list[Line]]:
        found = await previews.preview(context, practice, wish, under)
        names = {code: entry.name for code, entry in (await context.catalog()).items()}
        return found, lines_of(words_for("en", ""), explain(found.decision), names, found.estimates)

    found, lines = opened(work)
    if as_json:
        _print(
            {
                "environment": found.environment, "strategy": found.decision.strategy,
                "policyVersion": found.decision.version,
                "providers": _lines(lines),
            }
        )  # fmt: skip
        return
    table = Table("", "provider", "why", "estimated fee")
    for one in lines:
        fee = one.estimate.fee if one.estimate else None
        table.add_row(str(one.place or "–"), one.name, one.sentence, str(fee.money) if fee else "")
    console.print(table)


@routing_app.command("explain")
def explain_payment(
    practice: PracticeId, payment: Annotated[str, typer.Argument(help="The payment's id")], as_json: AsJson = False
) -> None:
    """Say why each attempt of a payment was made at its provider, and why not at the others."""

    async def work(context: Context) -> tuple[list[Line], list[AttemptLine]] | None:
        names = {code: entry.name for code, entry in (await context.catalog()).items()}
        here, known = await find(context, practice, payment)
        made = (await details_of(here.db, known)).attempts
        found = await decisions.of_payment(here.db, known, made, names)
        if found is None:
            return None
        words = words_for("en", "")
        return lines_of(words, found.decision.explained, names), attempt_lines(words, found, names)

    told = opened(work)
    if told is None:
        fail("No decision about this payment is stored.")
    first, attempts = told
    if as_json:
        shown = [
            {
                "number": one.reason.attempt.number, "providerCode": one.reason.attempt.provider_code,
                "detail": one.sentence, "providers": _lines(one.lines or (first if number == 0 else [])),
            }
            for number, one in enumerate(attempts)
        ]  # fmt: skip
        _print({"attempts": shown})
        return
    table = Table("", "provider", "why")
    for number, one in enumerate(attempts):
        table.add_row(str(one.reason.attempt.number), one.reason.attempt.provider_code, one.sentence)
        for line in (one.lines or (first if number == 0 else []))[1:]:
            table.add_row("", f"not {line.name}", line.sentence)
    console.print(table)


def _lines(lines: list[Line]) -> list[dict[str, Any]]:
    return [{"code": one.code, "place": one.place, "reason": one.reason, "detail": one.sentence} for one in lines]


def _under(policy: str) -> Under:
    """A version's number, or the policy in a file."""
    if policy.isdecimal():
        return Under(int(policy[:9]))
    try:
        return Under(document=loaded(_policy_text(Path(policy))))
    except ValueError:
        fail(f"{policy} is not valid JSON.")


def _percent(ppm: int) -> str:
    return f"{ppm_to_percent(round(ppm, -3))} %"
