"""``python -m simulation``: run histories, replay one, or search for planted bugs."""

from __future__ import annotations

import argparse
import json
import secrets
import signal
import sys
from pathlib import Path

from simulation.campaign import Campaign, carry_on, replay, say, score
from simulation.planted import BUGS
from simulation.planting import find


def _arguments(given: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m simulation", description=__doc__)
    parser.add_argument("--histories", type=int, default=1000, help="number of histories (1: print it in full)")
    parser.add_argument("--seed", type=int, help="the first seed (default: random)")
    parser.add_argument("--seed-file", type=Path, help="replay the seeds in this file, one per line (# comments)")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--server", metavar="URL", help="run on this PostgreSQL server; the user must be a superuser")
    parser.add_argument(
        "--resume", type=Path, metavar="FILE", help="save the campaign in this file, and resume it from there"
    )
    parser.add_argument("--json", action="store_true", help="end with the score as one line of JSON")
    parser.add_argument("--planted", metavar="NAME", help="plant a bug (or `all`, one by one) and find it")
    parser.add_argument(
        "--bound", type=int, default=3000, help="number of histories in which a planted bug must be found"
    )
    return parser.parse_args(given)


def _one(seed: int, server: str | None = None) -> int:
    lines, problems = replay(seed, server)
    for line in lines:
        say(line)
    for text in problems:
        say(f"WRONG: {text}")
    say(f"--seed {seed}: {'nothing is wrong' if not problems else f'{len(problems)} problems'}")
    return 1 if problems else 0


def _file(path: Path) -> int:
    texts = [line.partition("#")[0].strip() for line in path.read_text().splitlines()]
    return max((_one(int(text)) for text in texts if text), default=0)


def _planted(name: str, seed: int, bound: int, as_json: bool) -> int:
    names = sorted(BUGS) if name == "all" else [name]
    if not set(names) <= set(BUGS):
        say(f"There is no planted bug {name!r}. Planted bugs: {', '.join(sorted(BUGS))}")
        return 2
    found = {}
    for bug in names:
        where = find(bug, seed, bound)
        found[bug] = where
        say(f"{bug:<36} {f'found by seed {where[0]}: {where[1]}' if where else 'NOT FOUND'}")
    caught = sum(where is not None for where in found.values())
    say(f"{caught} of {len(names)} planted bugs found")
    if as_json:
        say(json.dumps({"found": caught, "total": len(names), "missed": [b for b, w in found.items() if w is None]}))
    return 0 if caught == len(names) else 1


def main(given: list[str]) -> int:
    """Run the command. Returns 0 if nothing is wrong."""
    wish = _arguments(given)
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(
            stop, signal.default_int_handler
        )  # a shell that started it in the background can have set them to be ignored
    if wish.seed_file is not None:
        return _file(wish.seed_file)
    seed = wish.seed if wish.seed is not None else secrets.randbelow(10**9)
    if wish.planted is not None:
        return _planted(wish.planted, seed, wish.bound, wish.json)
    if wish.server is not None and wish.processes > 1:
        say("Use one process with --server: its databases belong to one history at a time.")
        return 2
    if wish.histories == 1 and wish.resume is None:
        return _one(seed, wish.server)
    campaign = Campaign(seed, wish.histories)
    if wish.resume is not None and wish.resume.exists():
        campaign = Campaign.load(wish.resume)
        campaign.wanted = max(campaign.wanted, wish.histories)
    say(f"seeds {campaign.first} to {campaign.first + campaign.wanted - 1}")
    whole = carry_on(campaign, wish.processes, wish.resume, say, wish.server)
    for line in score(campaign):
        say(line)
    if not whole:
        say("Stopped." + (f" Resume with --resume {wish.resume}." if wish.resume else ""))
    if wish.json:
        say(json.dumps(campaign.as_json()))
    return 0 if campaign.ok and whole else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
