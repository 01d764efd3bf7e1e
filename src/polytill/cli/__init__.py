"""The command line. Every command does one thing through a flow, and fails with one sentence."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.progress import Progress, track
from rich.text import Text

from polytill.cli.cases import cases_app
from polytill.cli.catalog import catalog_app
from polytill.cli.clusters import clusters_app
from polytill.cli.keys import keys_app, rotate_ring
from polytill.cli.listening import sockets_at
from polytill.cli.opened import console, fail, opened, sentence_of
from polytill.cli.people import people_app
from polytill.cli.practices import practices_app
from polytill.domain.errors import Invalid, PolytillError
from polytill.web import logs

app = typer.Typer(
    name="polytill",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(practices_app, name="practices")
app.add_typer(cases_app, name="cases")
app.add_typer(catalog_app, name="catalog")
app.add_typer(keys_app, name="keys")
app.add_typer(people_app, name="people")
app.add_typer(clusters_app, name="clusters")

# Also malformed, such as postgresql:/user:password@host.
_ADDRESS = re.compile(r"(--?[\w-]+=)?\s*(postgres(ql)?|sqlite):", re.IGNORECASE)


def _print_version(asked: bool) -> None:
    if asked:
        import polytill

        typer.echo(f"polytill {polytill.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Payments for multi-tenant software: one catalog of providers, one database for every practice.

    Settings come from POLYTILL_* variables and a .env file; `polytill doctor` says what is missing.
    """


def _unreadable(argument: str) -> bool:
    try:
        argument.encode()
    except UnicodeEncodeError:
        return True
    return False


def main() -> None:
    """The entry point: one sentence instead of a traceback for everything that is not our mistake."""
    if any(_unreadable(argument) for argument in sys.argv[1:]):
        fail("The arguments are not valid UTF-8.")
    if any(_ADDRESS.match(argument) for argument in sys.argv[1:]):  # before a usage error quotes it
        fail(
            "The address of a database is no argument: set POLYTILL_OWNER_DATABASE_URL. `import-legacy` takes a JSON file,"
            " and `clusters` reads addresses from standard input."
        )
    logs.setup()  # to standard error: what a command prints may be read by a script
    try:
        app()
    except Invalid as error:
        fail("; ".join(e.detail for e in error.errors) or error.detail)
    except PolytillError as error:
        fail(error.detail)
    except ValidationError as error:
        found = "; ".join(f"POLYTILL_{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors())
        fail(f"The settings are not valid: {found}")
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except Exception as error:
        if os.environ.get("POLYTILL_TRACEBACK"):
            raise
        fail(sentence_of(error))


# ── Running ──


@app.command()
def serve(
    bind: Annotated[str, typer.Option(help="host:port; POLYTILL_BIND by default")] = "",
) -> None:
    """Serve the HTTP API and the pages.

    The databases must be migrated (`polytill migrate`). On SQLite the worker is embedded; on PostgreSQL run
    `polytill worker` beside it, as often as you like.
    """
    import uvicorn

    from polytill.app import Polytill
    from polytill.settings import Settings
    from polytill.storage import files
    from polytill.storage.opening import is_postgres
    from polytill.web.app import make_app

    settings = Settings()
    embeds = not is_postgres(settings.owner_database_url.get_secret_value())
    place = bind or settings.bind
    files.raise_limit()

    async def run(sockets: list[socket.socket]) -> None:
        async with Polytill.open(settings) as till:
            service = make_app(till, sweeping=embeds)
            if settings.metrics_bind:
                metrics_host, _, metrics_port = settings.metrics_bind.rpartition(":")
                try:
                    service.state.metrics.serve(metrics_host, int(metrics_port))
                except (OSError, OverflowError) as error:
                    reason = getattr(error, "strerror", None) or "not a port"
                    fail(
                        f"POLYTILL_METRICS_BIND: {settings.metrics_bind} cannot be used ({reason}). Choose another address."
                    )
            config = uvicorn.Config(
                service, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=30,
                limit_concurrency=files.connections(),  # beyond it 503, where accepting would fail
            )  # fmt: skip
            console.print(f"Serving on http://{place}", highlight=False)
            async with _jobs(till) if embeds else nullcontext():
                await uvicorn.Server(config).serve(sockets)

    with sockets_at(place, "--bind" if bind else "POLYTILL_BIND") as sockets:
        _run_loop(lambda: run(sockets))


def _jobs(till: Any) -> AbstractAsyncContextManager[None]:
    from polytill.worker import jobs

    return jobs(till)


@app.command()
def worker() -> None:
    """Look up what is overdue, tell the platform, compare with the providers. Any number may run, on PostgreSQL.

    It ends in good order on Ctrl-C or SIGTERM. One that dies loses nothing: the others take over within seconds.
    """
    from polytill.app import Polytill
    from polytill.settings import Settings
    from polytill.storage.opening import is_postgres
    from polytill.worker import working

    settings = Settings()
    if not is_postgres(settings.owner_database_url.get_secret_value()):
        fail("On SQLite the worker runs inside `polytill serve`.")

    async def run() -> None:
        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
        async with Polytill.open(settings) as till, working(till):
            console.print("Working until Ctrl-C.", highlight=False)
            await stopping.wait()

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
        fail(f"Port {port} cannot be used ({error.strerror or error}); choose another with --port.")


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

    logs.setup(level=logging.ERROR)
    if not asyncio.run(run(console, folder, port, once, resume, simulator)):
        fail("Not every step came out as it should.")


# ── Databases ──


@app.command()
def migrate() -> None:
    """Bring the owner database and every practice's database to the present schema.

    Makes the owner database where there is none, and a key ring together with it. An owner database that is there already
    needs its own key ring: copy the file from another node. Safe to repeat, and to run on several nodes at once.
    """
    from polytill.app import Polytill, migrate_owner
    from polytill.flows.admin import catalog, fleet, indexing
    from polytill.flows.admin.practices import clear_half_made
    from polytill.settings import Settings
    from polytill.storage import practices

    settings = Settings()
    there = settings.keyring.exists()

    async def run() -> None:
        applied = await migrate_owner(settings)
        if not there and settings.keyring.exists():
            said = f"Made a key ring in {settings.keyring}. Keep a copy: without it no secret opens."
            console.print(said, highlight=False, soft_wrap=True)
        console.print(f"Owner database: {', '.join(applied) or 'nothing to do'}")
        async with Polytill.open(settings) as till:
            seeded = await catalog.seed(till.desk)
            if seeded.added:
                console.print(f"Catalog: added {', '.join(seeded.added)}")
            for one in till.desk.registry.plug_ins():
                if one.refused:
                    console.print(f"Plug-in {one.code}: {one.refused}", style="yellow", highlight=False)
            await indexing.fold_emails(till.desk, till.desk.owner)
            if cleared := await clear_half_made(till.desk):
                console.print(f"Took back {cleared} half-made practices.")
            entries = [e for e in await practices.listed(till.desk.owner, limit=1_000_000) if e.state != "provisioning"]
            failures: dict[int, str] = {}
            with Progress(console=console, transient=True) as progress:
                task = progress.add_task("Practices", total=len(entries))
                async for done in fleet.migrate_each(till.desk, [entry.id for entry in entries], "cli"):
                    progress.advance(task, len(done))
                    failures |= {practice_id: why for practice_id, why in done if why is not None}
            console.print(f"Practices: {len(entries)}, at the present version: {len(entries) - len(failures)}")
            for practice_id, why in sorted(failures.items()):
                console.print(f"Practice {practice_id}: {why}", style="red", highlight=False)
            if failures:
                fail("Not every practice could be migrated. The others are done; mend these, then migrate again.")

    asyncio.run(run())


@app.command()
def reconcile() -> None:
    """Look up everything that is overdue, in every practice, once."""

    async def work(till: Any) -> int:
        await till.watch_clock()
        return int(await till.sweep(everyone=True))

    done = opened(work)
    console.print(f"Looked at {done} overdue things.")


@app.command()
def doctor() -> None:
    """Say what is missing or unsafe about this installation, in sentences. Exit 1 if something is."""
    from polytill.doctor import examine
    from polytill.settings import Settings

    findings = asyncio.run(examine(Settings()))
    for finding in findings:
        mark = Text("bad ", "red") if finding.bad else Text("note", "yellow")
        console.print(mark, finding.sentence)
    if not findings:
        console.print("Everything is as it should be.")
    if any(finding.bad for finding in findings):
        raise SystemExit(1)


app.command("rotate")(rotate_ring)


@app.command("import-legacy")
def import_legacy(
    file: Annotated[
        Path, typer.Argument(help="JSON: [{externalId, name, defaultCurrency, paymentProviders: {code: {...}}}]")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the whole file and write nothing")] = False,
) -> None:
    """Bring practices over with the provider keys that they had. Checks all of the file first; may be run again.

    Each entry names its practice by `externalId`, your own identifier of it; where no practice has it yet, one is made
    with its `name` and `defaultCurrency`. An `id` names a practice by its number here. The members of
    `paymentProviders` are those of POST .../payment-providers; where no environment is said, the secret key tells it.
    Prints the first key of each new practice, once.
    """
    from polytill.flows.admin import import_legacy as legacy

    try:
        given = file.read_bytes()
    except OSError as error:
        # What was given may be a database address with a password in it: only the name of a file that is one is said.
        what = str(file) if file.exists() else "The file"
        fail(f"{what} cannot be read: {error.strerror}. Give the path of a JSON file.")

    async def work(till: Any) -> None:
        try:
            arrivals = await legacy.plan(till.desk, given)
        except Invalid as wrong:
            fail(
                "nothing was written; "
                + "; ".join(f"{e.pointer or 'the file'}: {e.detail.rstrip('.')}" for e in wrong.errors)
            )
        if dry_run:
            made = sum(arrival.there is None for arrival in arrivals)
            console.print(f"{len(arrivals)} practices are as they should be, {made} of them new; nothing was written.")
            return
        for arrival in track(arrivals, "Bringing practices over …", console=console, transient=True):
            done = await legacy.bring(till.desk, arrival, "cli")
            added, kept = ", ".join(done.added) or "nothing", ", ".join(done.kept) or "nothing"
            key = f"; key (shown once): {done.key.reveal()}" if done.key else ""
            yields = f"; not the default, since there is one: {', '.join(done.not_default)}" if done.not_default else ""
            said = f"Practice {done.practice_id}: {done.name}: added {added}; there already: {kept}{yields}{key}"
            console.print(said, highlight=False, soft_wrap=True)

    opened(work)


# ── The catalog ──


@app.command("new-provider")
def new_provider(
    code: Annotated[str, typer.Argument(help="The provider's code, such as acme")],
    folder: Annotated[Path | None, typer.Option(help="Where to; default: polytill-CODE here")] = None,
) -> None:
    """Write a package for a new provider: handler, entry point and test. It passes all checks as it is."""
    from polytill.testing.conformance.scaffold import write_provider

    for path in write_provider(code, folder or Path(f"polytill-{code}")):
        console.print(f"Wrote {path}", highlight=False, soft_wrap=True)
    console.print("Next: pip install -e it, pytest in it, then `polytill catalog add` it.", highlight=False)
