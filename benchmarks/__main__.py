"""`python -m benchmarks [names] [--quick] [--json]`, which is what `./run bench` calls."""

from __future__ import annotations

import logging
import signal
import sys
import time
from dataclasses import replace

from rich.console import Console
from tests.postgres.server import PostgresError

from benchmarks.capacity import capacity
from benchmarks.events import deliveries
from benchmarks.fleet import fleet
from benchmarks.load import WrongAnswer
from benchmarks.measuring import FULL, PAYMENTS, QUICK, Size
from benchmarks.move import moving
from benchmarks.pages import pages
from benchmarks.processes import ProgramFailed
from benchmarks.results import machine, versions
from benchmarks.routing import routing
from benchmarks.scale import scale
from benchmarks.search import search
from benchmarks.statements import statements
from benchmarks.sums import sums
from polytill.web import logs

BENCHMARKS = {
    **PAYMENTS,
    "statements": statements,
    "pages": pages,
    "search": search,
    "sums": sums,
    "events": deliveries,
    "fleet": fleet,
    "move": moving,
    "routing": routing,
    "capacity": capacity,
    "scale": scale,
}

MOST_PAYMENTS = 10_000_000
USAGE = f"""\
usage: ./run bench [--quick] [--json] [--payments N] [{" | ".join(BENCHMARKS)} ...]

Without names, all benchmarks run. --quick is a smoke test with rough figures. --json prints one line for each benchmark.
--payments is the number of payments of the practice that "move" moves (10,000).
"""


def main(arguments: list[str]) -> int:
    """Run the requested benchmarks. Returns 0 if every one finished, whatever its figures."""
    size = QUICK if "--quick" in arguments else FULL
    if "--payments" in arguments:
        at = arguments.index("--payments")
        given = arguments[at + 1] if len(arguments) > at + 1 else ""
        if not given.isdecimal() or not 1 <= int(given) <= MOST_PAYMENTS:
            print(f"polytill: --payments is a number from 1 to {MOST_PAYMENTS:,}.", file=sys.stderr)
            return 2
        size, arguments = replace(size, moved_payments=int(given)), arguments[:at] + arguments[at + 2 :]
    options = {word for word in arguments if word.startswith("-")}
    names = [word for word in arguments if not word.startswith("-")]
    if options & {"-h", "--help"}:
        print(USAGE, end="")
        return 0
    unknown = [*sorted(options - {"--quick", "--json"}), *(name for name in names if name not in BENCHMARKS)]
    if unknown:
        known = ", ".join(BENCHMARKS)
        print(f"polytill: there is no benchmark {unknown[0]!r}. Benchmarks: {known}.", file=sys.stderr)
        return 2
    if sys.platform != "linux":
        print("polytill: the benchmarks need Linux to read CPU times and memory.", file=sys.stderr)
        return 2
    return _run(names or list(BENCHMARKS), size, quick="--quick" in options, as_json="--json" in options)


def _run(names: list[str], size: Size, quick: bool, as_json: bool) -> int:
    logs.setup(level=logging.ERROR)
    console = Console() if sys.stdout.isatty() else Console(width=120)
    if not as_json:
        console.print(f"{machine()}; " + ", ".join(f"{name} {text}" for name, text in versions().items()) + "\n")
    for name in names:
        began = time.monotonic()
        try:
            result = BENCHMARKS[name](size)
        except (WrongAnswer, ProgramFailed, PostgresError, ConnectionError) as error:
            print(f"polytill: {name} was not measured: {error}", file=sys.stderr)
            return 1
        seconds = time.monotonic() - began
        if as_json:
            print(result.as_json(seconds, quick), flush=True)
        else:
            result.show(console, seconds)
    return 0


def _ended(*_: object) -> None:
    # As an exception, so that every started process is ended on the way out.
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _ended)
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        print("polytill: interrupted", file=sys.stderr)
        sys.exit(130)
