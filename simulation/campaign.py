"""Many histories: spread over processes, counted, stopped, resumed, and added up to a score."""

from __future__ import annotations

import json
import multiprocessing
import queue
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simulation.history import run_history
from simulation.on_postgres import ground_on
from simulation.plan import ALL_PROVIDERS_FROM, EDGES_FROM, STAFF_FROM, STAFF_UNTIL
from simulation.telling import ALL_PROVIDERS, EDGES, KINDS, STAFF, Tally

BATCH = 50
ALL_KINDS_FROM = 2000  # this many histories must have seen every kind
KINDS_OF_WRONG = {
    "double charges": ("double charge", "a second link"),
    "over-refunds": ("double refund", "the key refund"),
    "lost facts": ("lost", "refunds of", "dispute", "captured", "another amount"),
    "made-up facts": ("made up",),
    "wrong practice or environment": ("wrong practice", "wrong environment"),
    "stuck": ("stuck", "everybody waits", "waits for a payer"),
    "ledger and arithmetic": ("ledger", "arithmetic", "fee of"),
    "failed without proof": ("failed",),
    "idempotency": ("the key",),
    "decisions by staff": ("contradiction", "reversed", "decided twice", "marked as paid by"),
}


@dataclass(slots=True)
class Campaign:
    """The progress of a campaign. ``first`` is the seed of the first history; each further one adds one."""

    first: int
    wanted: int
    done: int = 0
    seconds: float = 0.0
    tally: Tally = field(default_factory=Tally)
    failed: dict[int, list[str]] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Save the campaign, so that it can be resumed."""
        held = {
            "first": self.first,
            "wanted": self.wanted,
            "done": self.done,
            "seconds": self.seconds,
            "tally": self.tally.as_json(),
            "failed": {str(seed): found for seed, found in self.failed.items()},
        }
        partial = path.with_name(path.name + ".partial")
        partial.write_text(json.dumps(held) + "\n")
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> Campaign:
        """Load a saved campaign."""
        held = json.loads(path.read_text())
        failed = {int(seed): found for seed, found in held["failed"].items()}
        return cls(held["first"], held["wanted"], held["done"], held["seconds"], Tally.from_json(held["tally"]), failed)

    def wrong(self) -> dict[str, int]:
        """The number of histories with each kind of problem."""
        score = dict.fromkeys(KINDS_OF_WRONG, 0) | {"other": 0}
        for found in self.failed.values():
            for kind in {_kind_of(text) for text in found}:
                score[kind] += 1
        return score

    @property
    def kinds(self) -> tuple[str, ...]:
        """Every kind of event that the histories of these seeds must have seen together."""
        kinds = KINDS + ALL_PROVIDERS if self.first >= ALL_PROVIDERS_FROM else KINDS
        kinds = kinds + EDGES if self.first >= EDGES_FROM else kinds
        return kinds + STAFF if STAFF_FROM <= self.first < STAFF_UNTIL else kinds

    @property
    def missing(self) -> list[str]:
        """The kinds that never happened, once there were enough histories for each of them."""
        return [kind for kind in self.kinds if not self.tally.counts[kind]] if self.done >= ALL_KINDS_FROM else []

    @property
    def ok(self) -> bool:
        """Whether no history had a problem and no kind is missing."""
        return not self.failed and not self.missing

    def as_json(self) -> dict[str, Any]:
        """The score for one line of JSON."""
        points = len(self.tally.passed)
        return {
            "ok": self.ok,
            "histories": self.done,
            "first_seed": self.first,
            "wrong": self.wrong(),
            "failing_seeds": sorted(self.failed),
            "kinds_at_zero": self.missing,
            "crash_points": {"met": points, "crashed": len(self.tally.crashed)},
            "counts": dict(sorted(self.tally.counts.items())),
            "seconds": round(self.seconds, 1),
        }


def _kind_of(text: str) -> str:
    for kind, marks in KINDS_OF_WRONG.items():
        if any(mark in text for mark in marks):
            return kind
    return "other"


Batch = tuple[int, int, dict[str, object], dict[int, list[str]]]


def _work(seeds: Any, results: Any) -> None:
    """A process: runs batches of seeds until none are left or the parent has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop

    def stop(*_: object) -> None:
        """Stop in good order, because its databases use hundreds of megabytes. Results that nobody reads are not waited
        for."""
        results.cancel_join_thread()
        sys.exit(1)

    signal.signal(signal.SIGTERM, stop)
    parent = multiprocessing.parent_process()
    with ground_on(None) as laid:
        while (batch := seeds.get()) is not None and parent is not None and parent.is_alive():
            results.put(_batch(laid, *batch))


def _batch(laid: Any, first: int, count: int) -> Batch:
    tally, failed = Tally(), {}
    for seed in range(first, first + count):
        judged = run_history(laid, seed)
        tally.add(judged.tally)
        if judged.problems:
            failed[seed] = judged.problems
    return first, count, tally.as_json(), failed


def _batches(first: int, count: int) -> list[tuple[int, int]]:
    return [(at, min(BATCH, first + count - at)) for at in range(first, first + count, BATCH)]


def _results(campaign: Campaign, processes: int, server: str | None) -> Iterator[Batch]:
    """Batches in the order of their seeds, so that the finished seeds are always one unbroken range."""
    todo = _batches(campaign.first + campaign.done, campaign.wanted - campaign.done)
    if processes <= 1:
        with ground_on(server) as laid:
            for batch in todo:
                yield _batch(laid, *batch)
        return
    context = multiprocessing.get_context("spawn")
    seeds, results = context.Queue(), context.Queue()
    for batch in todo:
        seeds.put(batch)
    workers = [context.Process(target=_work, args=(seeds, results), daemon=True) for _ in range(processes)]
    for worker in workers:
        seeds.put(None)
        worker.start()
    early: dict[int, Batch] = {}
    try:
        for first, _ in todo:
            while first not in early:
                try:
                    made = results.get(timeout=5)
                except queue.Empty:
                    if any(worker.exitcode for worker in workers):
                        raise RuntimeError("a process of the campaign has died; what it said stands above") from None
                else:
                    early[made[0]] = made
            yield early.pop(first)
    except BaseException:
        for worker in workers:
            worker.terminate()
        raise
    finally:
        for worker in workers:
            worker.join()


def carry_on(campaign: Campaign, processes: int, keep: Path | None, say: Any, server: str | None = None) -> bool:
    """Run the rest of a campaign, on files or on a PostgreSQL ``server``. Returns False if it was stopped early."""
    started, before = time.monotonic(), campaign.seconds
    shown = 0.0
    try:
        for _, count, tally, failed in _results(campaign, processes, server):
            campaign.done += count
            campaign.tally.add(Tally.from_json(tally))  # type: ignore[arg-type]
            campaign.failed |= failed
            campaign.seconds = before + time.monotonic() - started
            if keep is not None:
                campaign.save(keep)
            for seed, found in failed.items():
                say(f"seed {seed}: {found[0]}")
            if time.monotonic() - shown > 5:
                shown = time.monotonic()
                say(f"{campaign.done} of {campaign.wanted} histories, {len(campaign.failed)} with problems")
    except KeyboardInterrupt:
        return False
    return True


def score(campaign: Campaign) -> list[str]:
    """The score as text."""
    tally = campaign.tally
    lines = [f"{campaign.done} histories from seed {campaign.first} in {campaign.seconds:.0f} s", ""]
    lines += [f"  {number:>8}  {what}" for what, number in campaign.wrong().items()]
    lines += ["", "Events:"]
    lines += [f"  {tally.counts[kind]:>8}  {kind}" for kind in campaign.kinds]
    never = sorted(set(tally.passed) - set(tally.crashed))
    lines += ["", f"Crash points: {len(tally.passed)}; with a crash: {len(tally.crashed)}"]
    lines += [f"  never: {point} (passed {tally.passed[point]} times)" for point in never[:20]]
    if campaign.missing:
        lines += ["", f"FAILED: kinds that never happened: {', '.join(campaign.missing)}"]
    for seed in sorted(campaign.failed)[:20]:
        lines += [f"FAILED: python -m simulation --seed {seed} --histories 1"]
    return lines


def replay(seed: int, server: str | None = None) -> tuple[list[str], list[str]]:
    """One history in full: its lines and its problems."""
    with ground_on(server) as laid:
        judged = run_history(laid, seed, telling=True)
    return judged.lines, judged.problems


def say(line: str) -> None:
    """Print one line."""
    with suppress(BrokenPipeError):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
