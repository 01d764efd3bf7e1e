"""The command line. Every command calls one flow, and reports an error in one sentence."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.text import Text

from polytill import background
from polytill.app import Polytill
from polytill.cli.cases import cases_app
from polytill.cli.catalog import catalog_app
from polytill.cli.clusters import clusters_app
from polytill.cli.installation import installation_app, neutralize
from polytill.cli.jobs import jobs_app
from polytill.cli.keys import keys_app, rotate_ring
from polytill.cli.legacy import legacy_app
from polytill.cli.listening import KEEP_ALIVE_S, sockets_at
from polytill.cli.migrate import migrate
from polytill.cli.opened import console, fail, opened, sentence_of
from polytill.cli.people import people_app
from polytill.cli.practices import practices_app
from polytill.cli.rollout import rollout_app
from polytill.cli.routing import routing_app
from polytill.cli.webhooks import webhooks_app
from polytill.doctor import examine
from polytill.domain.errors import Invalid, PolytillError
from polytill.flows.context import Context
from polytill.settings import Settings
from polytill.storage import files
from polytill.storage.opening import is_postgres
from polytill.web import logs
from polytill.worker import jobs, working

app = typer.Typer(
    name="polytill", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
)
for name, group in (
    ("practices", practices_app),
    ("cases", cases_app),
    ("catalog", catalog_app),
    ("keys", keys_app),
    ("people", people_app),
    ("routing", routing_app),
    ("clusters", clusters_app),
    ("legacy", legacy_app),
    ("webhooks", webhooks_app),
    ("rollout", rollout_app),
    ("jobs", jobs_app),
    ("installation", installation_app),
):
    app.add_typer(group, name=name)

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

    Settings come from POLYTILL_* variables and a .env file. `polytill doctor` reports problems with them.
    """


def _unreadable(argument: str) -> bool:
    try:
        argument.encode()
    except UnicodeEncodeError:
        return True
    return False


def main() -> None:
    """The entry point. Reports every expected error in one sentence, without a traceback."""
    if any(_unreadable(argument) for argument in sys.argv[1:]):
        fail("The arguments are not valid UTF-8.")
    if any(_ADDRESS.match(argument) for argument in sys.argv[1:]):  # before a usage error quotes it
        fail(
            "A database address cannot be an argument. Set POLYTILL_OWNER_DATABASE_URL. `legacy import` takes the name of"
            " a variable (env:NAME), and `clusters` reads addresses from standard input."
        )
    logs.setup()  # to standard error, because scripts may read what a command prints
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
def serve(bind: Annotated[str, typer.Option(help="host:port; POLYTILL_BIND by default")] = "") -> None:
    """Serve the HTTP API and the pages.

    Run `polytill migrate` first. On SQLite the worker runs inside this process. On PostgreSQL run `polytill worker`
    beside it, in any number of processes.
    """
    import uvicorn

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
                service,
                log_level="warning",
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=30,
                timeout_keep_alive=KEEP_ALIVE_S,
                limit_concurrency=files.connections(),  # beyond it 503, because accepting would fail
            )
            background.settle_memory()
            console.print(f"Serving on http://{place}")
            async with jobs(till) if embeds else nullcontext():
                await uvicorn.Server(config).serve(sockets)

    with sockets_at(place, "--bind" if bind else "POLYTILL_BIND") as sockets:
        _run_loop(lambda: run(sockets))


@app.command()
def worker() -> None:
    """Run the background jobs: lookups, event deliveries and reconciliation. PostgreSQL only.

    Any number of workers may run. Ctrl-C and SIGTERM end one in an orderly way. If one dies, nothing is lost: the
    others continue its work within seconds.
    """
    settings = Settings()
    if not is_postgres(settings.owner_database_url.get_secret_value()):
        fail("On SQLite the worker runs inside `polytill serve`.")

    async def run() -> None:
        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
        async with Polytill.open(settings) as till, working(till):
            background.settle_memory()
            console.print("Working until Ctrl-C.")
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
    seed: Annotated[int, typer.Option(help="The same seed produces the same ids and the same faults")] = 0,
) -> None:
    """Run the provider simulator on 127.0.0.1, with the APIs of all built-in providers.

    Any well-formed test key is an account. Control it under /_network (see docs/simulator.md).
    """
    from polytill.simulator.app import serve as serve_simulator

    console.print(f"Simulating on http://127.0.0.1:{port} until Ctrl-C.")
    try:
        asyncio.run(serve_simulator("127.0.0.1", port, seed))
    except OSError as error:
        fail(f"Port {port} cannot be used ({error.strerror or error}); choose another with --port.")


@app.command()
def demo(
    once: Annotated[
        bool, typer.Option("--once", help="End after the table; exit with 0 only if every step succeeded")
    ] = False,
    port: Annotated[int, typer.Option(help="Port of the service; the simulator uses port + 9")] = 8420,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue with the data in var/demo, without seeding")
    ] = False,
    simulator: Annotated[str | None, typer.Option(help="URL of a running simulator")] = None,
    folder: Annotated[Path, typer.Option(help="Folder for the demo's files")] = Path("var/demo"),
) -> None:
    """Run a demo on this machine: a service on SQLite, a provider simulator, three practices and payments."""
    import logging

    from polytill.demo import run

    logs.setup(level=logging.ERROR)
    if not asyncio.run(run(console, folder, port, once, resume, simulator)):
        fail("At least one step failed.")


# ── Databases ──


app.command("migrate")(migrate)


@app.command()
def sweep() -> None:
    """Look up everything that is overdue, once, in every practice."""

    async def work(context: Context) -> int:
        await background.watch_clock(context)
        return int(await background.sweep(context, everyone=True))

    done = opened(work)
    console.print(f"Overdue items looked up: {done}.")


@app.command()
def doctor() -> None:
    """Report what is missing or unsafe in this installation. Exits with 1 if anything is."""
    findings = asyncio.run(examine(Settings()))
    for finding in findings:
        mark = Text("bad ", "red") if finding.bad else Text("note", "yellow")
        console.print(mark, finding.sentence)
    if not findings:
        console.print("No problems found.")
    if any(finding.bad for finding in findings):
        raise SystemExit(1)


app.command("rotate")(rotate_ring)
app.command("neutralize")(neutralize)


# ── The catalog ──


@app.command("new-provider")
def new_provider(
    code: Annotated[str, typer.Argument(help="The provider's code, such as acme")],
    folder: Annotated[
        Path | None, typer.Option(help="Target folder; default: polytill-CODE in the current folder")
    ] = None,
) -> None:
    """Create a package for a new provider: handler, entry point and test. It passes all checks unchanged."""
    from polytill.testing.conformance.scaffold import write_provider

    for path in write_provider(code, folder or Path(f"polytill-{code}")):
        console.print(f"Created {path}", soft_wrap=True)
    console.print("Next: run `pip install -e` and `pytest` in it, then add it with `polytill catalog add`.")
