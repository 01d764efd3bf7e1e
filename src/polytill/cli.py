"""The command line. Every command does one thing through a flow, and fails with one sentence."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from polytill.domain.errors import Invalid, PolytillError

Result = TypeVar("Result")

app = typer.Typer(
    name="polytill", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="Payments for multi-tenant software: one catalog of providers, one database for every practice.\n\n"
    "Settings come from POLYTILL_* variables and a .env file; `polytill doctor` says what is missing.",
)  # fmt: skip
practices_app = typer.Typer(no_args_is_help=True, help="Practices: make them, list them.")
catalog_app = typer.Typer(no_args_is_help=True, help="The catalog of payment providers.")
keys_app = typer.Typer(no_args_is_help=True, help="API keys, and the ring of key-encryption keys.")
people_app = typer.Typer(no_args_is_help=True, help="People who sign in to the pages: owner staff and practice staff.")
app.add_typer(practices_app, name="practices")
app.add_typer(catalog_app, name="catalog")
app.add_typer(keys_app, name="keys")
app.add_typer(people_app, name="people")

# Tables need room also where nobody watches: a pipe has no width of its own.
console = Console() if sys.stdout.isatty() else Console(width=120)


def main() -> None:
    """The entry point: one sentence instead of a traceback for everything that is not our mistake."""
    try:
        app()
    except Invalid as error:
        _fail("; ".join(e.detail for e in error.errors) or error.detail)
    except PolytillError as error:
        _fail(error.detail)
    except ValidationError as error:
        found = "; ".join(f"POLYTILL_{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors())
        _fail(f"The settings are not valid: {found}")
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _fail(sentence: str) -> None:
    print(f"polytill: {sentence}", file=sys.stderr)
    raise SystemExit(1) from None


def _opened(work: Callable[[Any], Awaitable[Result]]) -> Result:
    """Open the installation, do one thing, close it."""
    from polytill.app import Polytill

    async def run() -> Result:
        async with Polytill.open() as till:
            return await work(till)

    return asyncio.run(run())


# ── Running ──


@app.command()
def serve(
    bind: Annotated[str, typer.Option(help="host:port; POLYTILL_BIND by default")] = "",
) -> None:
    """Serve the HTTP API and the pages.

    The databases must be migrated (`polytill migrate`). Overdue payments and refunds are looked up in the background.
    """
    import uvicorn

    from polytill.app import Polytill
    from polytill.settings import Settings
    from polytill.web import logs
    from polytill.web.app import make_app

    settings = Settings()
    host, _, port = (bind or settings.bind).rpartition(":")
    logs.setup()

    async def run() -> None:
        async with Polytill.open(settings) as till:
            service = make_app(till)
            if settings.metrics_bind:
                metrics_host, _, metrics_port = settings.metrics_bind.rpartition(":")
                service.state.metrics.serve(metrics_host, int(metrics_port))
            config = uvicorn.Config(
                service, host=host.strip("[]"), port=int(port), log_level="warning", access_log=False,
                server_header=False, timeout_graceful_shutdown=30,
            )  # fmt: skip
            console.print(f"Serving on http://{host}:{port}", highlight=False)
            await uvicorn.Server(config).serve()

    if not host or not port.isdecimal():
        _fail("--bind must be host:port.")
    _run_loop(run)


def _run_loop(main_coroutine: Callable[[], Awaitable[None]]) -> None:
    try:
        import uvloop
    except ImportError:  # no uvloop on this platform
        asyncio.run(main_coroutine())  # type: ignore[arg-type]
    else:
        uvloop.run(main_coroutine())  # type: ignore[arg-type]


@app.command()
def simulate(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1")] = 8429,
    seed: Annotated[int, typer.Option(help="The same seed gives the same ids and the same faults")] = 0,
) -> None:
    """Run the provider simulator: Stripe, Paystack and Flutterwave as they speak, on loopback.

    Any well-formed test key is an account. Control it under /_network (see docs/api.md).
    """
    from polytill.simulator.app import serve as serve_simulator

    console.print(f"Simulating on http://127.0.0.1:{port} until Ctrl-C.", highlight=False)
    try:
        asyncio.run(serve_simulator("127.0.0.1", port, seed))
    except OSError as error:
        _fail(f"Port {port} cannot be used ({error.strerror or error}); choose another with --port.")


@app.command()
def demo(
    once: Annotated[
        bool, typer.Option("--once", help="End after the table; exit 0 only if every step came out right")
    ] = False,
    port: Annotated[int, typer.Option(help="Port of the service; the simulator gets port + 9")] = 8420,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what var/demo holds, without seeding")] = False,
    simulator: Annotated[str | None, typer.Option(help="URL of a simulator that already runs")] = None,
    folder: Annotated[Path, typer.Option(help="Where the demo keeps its files")] = Path("var/demo"),
) -> None:
    """Show the main job on this machine: a service on SQLite, a provider simulator, three practices, real payments."""
    import logging

    from polytill.demo import run
    from polytill.web import logs

    logs.setup(level=logging.ERROR)
    if not asyncio.run(run(console, folder, port, once, resume, simulator)):
        _fail("Not every step came out as it should.")


# ── Databases ──


@app.command()
def migrate() -> None:
    """Bring the owner database and every practice's database to the present schema.

    Makes the owner database (and a key ring) where there is none. Safe to repeat, and to run on several nodes at once.
    """
    from polytill.app import Polytill, migrate_owner
    from polytill.domain.clock import World
    from polytill.domain.sealing import KeyRing
    from polytill.flows import catalog, onboarding
    from polytill.settings import Settings
    from polytill.storage import practices

    settings = Settings()
    if not settings.keyring.exists():
        KeyRing.create(settings.keyring, World())
        console.print(f"Made a key ring in {settings.keyring}. Keep a copy: without it no secret opens.")

    async def run() -> None:
        applied = await migrate_owner(settings)
        console.print(f"Owner database: {', '.join(applied) or 'nothing to do'}")
        async with Polytill.open(settings) as till:
            if not await till.desk.catalog():
                added = await catalog.seed(till.desk)
                console.print(f"Catalog: added {', '.join(added)}")
            if cleared := await onboarding.clear_half_made(till.desk):
                console.print(f"Took back {cleared} half-made practices.")
            entries = [e for e in await practices.listed(till.desk.owner, limit=1_000_000) if e.state != "provisioning"]
            changed = 0
            with Progress(console=console, transient=True) as progress:
                for entry in progress.track(entries, description="Practices"):
                    changed += bool(await onboarding.migrate_practice(till.desk, entry.id, "cli"))
            console.print(f"Practices: {len(entries)}, migrated now: {changed}")

    asyncio.run(run())


@app.command()
def reconcile() -> None:
    """Look up everything that is overdue, in every practice, once."""
    done = _opened(lambda till: till.sweep(everyone=True))
    console.print(f"Looked at {done} overdue things.")


@app.command()
def doctor() -> None:
    """Say what is missing or unsafe about this installation, in sentences. Exit 1 if something is."""
    from polytill.doctor import examine
    from polytill.settings import Settings

    findings = asyncio.run(examine(Settings()))
    for finding in findings:
        console.print(
            f"[{'red' if finding.bad else 'yellow'}]{'bad ' if finding.bad else 'note'}[/] {finding.sentence}"
        )
    if not findings:
        console.print("Everything is as it should be.")
    if any(finding.bad for finding in findings):
        raise SystemExit(1)


# ── Practices, catalog, keys ──


@practices_app.command("create")
def practices_create(
    name: Annotated[str, typer.Argument(help="The practice's name")],
    currency: Annotated[str, typer.Argument(help="Its default currency, such as NGN")],
    cluster: Annotated[str, typer.Option(help="Where its database is placed")] = "default",
) -> None:
    """Onboard a practice: its database made, migrated, sealed and registered. Prints its first key, once."""
    with console.status("Making the practice's database …"):
        entry, key = _opened(lambda till: till.create_practice(name, currency.upper(), cluster=cluster, actor="cli"))
    console.print(f"Practice {entry.id}: {entry.name} ({entry.default_currency})", highlight=False)
    console.print(f"Key (shown once): {key}", highlight=False, soft_wrap=True)


@practices_app.command("list")
def practices_list() -> None:
    """List the practices with the state and schema version of each."""
    from polytill.storage import practices

    table = Table("id", "name", "currency", "cluster", "state", "schema")
    for e in _opened(lambda till: practices.listed(till.desk.owner, limit=1_000_000)):
        table.add_row(str(e.id), e.name, e.default_currency, e.cluster, e.state, e.schema_version)
    console.print(table)


@catalog_app.command("list")
def catalog_list() -> None:
    """List the catalog: status, currencies, features, and whether a handler is installed."""

    async def read(till: Any) -> list[tuple[str, ...]]:
        installed = till.desk.registry.installed()
        return [
            (e.code, e.name, e.status, str(len(e.supported_currencies)), ", ".join(e.supported_features or []),
             "yes" if e.code in installed else "no")
            for e in (await till.desk.catalog()).values()
        ]  # fmt: skip

    table = Table("code", "name", "status", "currencies", "features", "handler")
    for row in _opened(read):
        table.add_row(*row)
    console.print(table)


@catalog_app.command("add")
def catalog_add(
    codes: Annotated[list[str], typer.Argument(help="Codes of installed handlers, such as stripe")],
) -> None:
    """Add providers to the catalog with everything that their handlers know."""
    from polytill.flows import catalog

    added = _opened(lambda till: catalog.seed(till.desk, codes))
    for code in codes:
        console.print(f"{code}: {'added' if code in added else 'is there already, or no handler is installed'}")
    if not added:
        raise SystemExit(1)


@keys_app.command("create")
def keys_create(
    owner: Annotated[bool, typer.Option("--owner", help="A key of the platform's owner")] = False,
    practice: Annotated[int | None, typer.Option(help="A key of this practice")] = None,
    publishable: Annotated[bool, typer.Option("--publishable", help="Read-only, safe in a browser")] = False,
    name: Annotated[str, typer.Option(help="What the key is for")] = "cli",
) -> None:
    """Make an API key. It is printed this once; only its hash is kept."""
    from polytill.flows import onboarding

    if owner == (practice is not None):
        _fail("Say either --owner or --practice ID.")
    kind = "owner" if owner else ("publishable" if publishable else "practice")
    key = _opened(lambda till: onboarding.create_key(till.desk, kind, practice, name, None, "cli"))
    console.print(key, highlight=False, soft_wrap=True)


@keys_app.command("ring")
def keys_ring() -> None:
    """Make the file of key-encryption keys (POLYTILL_KEYRING, mode 0600) where there is none."""
    from polytill.domain.clock import World
    from polytill.domain.sealing import KeyRing
    from polytill.settings import Settings

    path = Settings().keyring
    if path.exists():
        _fail(f"The key ring {path} exists already; it was left alone.")
    KeyRing.create(path, World())
    console.print(f"Made {path}. Keep a copy somewhere safe: without it no secret opens.")


# ── People ──

OfOwner = Annotated[bool, typer.Option("--owner", help="Staff of the platform's owner")]
OfPractice = Annotated[int | None, typer.Option("--practice", help="Staff of this practice")]
Email = Annotated[str, typer.Argument(help="Their e-mail address, with which they sign in")]


def _with_staff(owner: bool, practice: int | None, work: Callable[[Any, Any], Awaitable[Result]]) -> Result:
    """Do one thing with the people of the owner, or of a practice."""
    if owner == (practice is not None):
        _fail("Say either --owner or --practice ID.")

    async def run(till: Any) -> Result:
        db = till.desk.owner if practice is None else await till.desk.opening.practice(practice)
        return await work(till.desk, db)

    return _opened(run)


@people_app.command("create")
def people_create(
    email: Email,
    owner: OfOwner = False,
    practice: OfPractice = None,
    role: Annotated[str, typer.Option(help="admin, or viewer who changes nothing")] = "admin",
    name: Annotated[str, typer.Option(help="How they are called")] = "",
) -> None:
    """Invite somebody. Prints the address where they choose their password: good for three days, and once."""
    from polytill.flows import staff

    address = _with_staff(owner, practice, lambda desk, db: staff.invite(desk, db, email, name, role, "cli"))
    console.print(address, highlight=False, soft_wrap=True)


@people_app.command("reset")
def people_reset(email: Email, owner: OfOwner = False, practice: OfPractice = None) -> None:
    """Print an address where somebody chooses a new password. The old password works until it is used."""
    from polytill.flows import staff

    address = _with_staff(owner, practice, lambda desk, db: staff.link(desk, db, email, "cli"))
    console.print(address, highlight=False, soft_wrap=True)


@people_app.command("change")
def people_change(
    email: Email,
    owner: OfOwner = False,
    practice: OfPractice = None,
    role: Annotated[str | None, typer.Option(help="admin or viewer")] = None,
    active: Annotated[bool | None, typer.Option("--active/--inactive", help="Whether they may sign in")] = None,
) -> None:
    """Change somebody's role, or whether they may sign in. They are signed out everywhere."""
    from polytill.flows import staff

    person = _with_staff(owner, practice, lambda desk, db: staff.change(desk, db, email, role, active, "cli"))
    console.print(f"{person.email}: {person.role}, {'active' if person.is_active else 'inactive'}", highlight=False)


@people_app.command("list")
def people_list(owner: OfOwner = False, practice: OfPractice = None) -> None:
    """List the people of the owner or of a practice."""
    from polytill.storage import staff

    table = Table("e-mail", "name", "role", "active", "password")
    for p in _with_staff(owner, practice, lambda desk, db: staff.listed(db)):
        table.add_row(p.email, p.name, p.role, "yes" if p.is_active else "no", "yes" if p.has_password else "not yet")
    console.print(table)
