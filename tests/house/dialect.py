"""Phrases of the project's old private dialect, and where they are rejected. Both lists are made to be extended."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch

# The phrase, and the term of the glossary (docs/glossary.md) that takes its place. Words between which any space may be.
PHRASES: dict[str, str] = {
    "anew": "again",
    "as it was asked for": "name the request",
    "asked for a refund": "requested a refund",
    "before a person": "needs review",
    "behaviour": "behavior",
    "by itself": "automatically",
    "by themselves": "automatically",
    "call off": "cancel",
    "call it off": "cancel",
    "called off": "canceled",
    "calls off": "cancels",
    "colour": "color",
    "finding out": "checking",
    "for a person": "needs review",
    "gave back": "refunded",
    "give back": "refund",
    "give money back": "refund",
    "given back": "refunded",
    "gives back": "refunds",
    "is being worked on": "is processing",
    "is there, and": "write two sentences",
    "looks by itself": "updates automatically",
    "of ours": "our",
    "on its way back": "refund pending",
    "over there": "at the provider",
    "put away": "resolved",
    "stand below": "are shown below",
    "stands below": "is shown below",
    "stands here": "is shown here",
    "stands there": "is shown there",
    "taken up": "processed",
    "the money is there": "the payment was received",
    "went on": "continued",
    "what became of": "the outcome of",
}

# Files in which they are rejected, as patterns of paths from the root. ``*`` reaches into folders.
PLACES: tuple[str, ...] = (
    "src/polytill/flows/context.py",
    "src/polytill/flows/events.py",
    "src/polytill/flows/handler_guard.py",
    "src/polytill/flows/identifiers.py",
    "src/polytill/flows/key_ring.py",
    "src/polytill/flows/lease.py",
    "src/polytill/flows/listing.py",
    "src/polytill/flows/listing_progress.py",
    "src/polytill/flows/next_action.py",
    "src/polytill/flows/payment_events.py",
    "src/polytill/flows/presence.py",
    "src/polytill/flows/provider_calls.py",
    "src/polytill/flows/provider_messages.py",
    "src/polytill/flows/schedule.py",
    "src/polytill/flows/server_clock.py",
    "src/polytill/flows/slow_providers.py",
    "src/polytill/flows/unresolved.py",
    "src/polytill/flows/payments/[!c]*.py",
    "src/polytill/flows/payments/c[!a]*.py",
    "src/polytill/flows/payments/candidates.py",
    "src/polytill/flows/refunds/*.py",
    "src/polytill/flows/webhooks/*.py",
    "src/polytill/web/texts/*.toml",
    "src/polytill/web/templates/*.html",
    "src/polytill/web/*.py",
    "src/polytill/cli/*.py",
    "src/polytill/domain/*.py",
    "src/polytill/providers/*.py",
    "src/polytill/simulator/*.py",
    "src/polytill/flows/recovery/*.py",
    "src/polytill/flows/reconciliation/*.py",
    "src/polytill/flows/review/*.py",
    "src/polytill/testing/*.py",
    "src/polytill/testing/*.txt",
    "simulation/*.py",
    "benchmarks/*.py",
    "src/polytill/flows/admin/*.py",
    "src/polytill/flows/worker/*.py",
    "src/polytill/storage/*.py",
    "src/polytill/__init__.py",
    "src/polytill/__main__.py",
    "src/polytill/app.py",
    "src/polytill/demo.py",
    "src/polytill/doctor.py",
    "src/polytill/settings.py",
    "src/polytill/worker.py",
    "docs/glossary.md",
    "README.md",
    "CONTRIBUTING.md",
    "docs/api.md",
    "docs/running.md",
    "docs/events.md",
    "docs/checkout.md",
    "docs/pages.md",
    "docs/performance.md",
    "docs/world.md",
    "docs/seed.md",
    "docs/regressions.md",
    "CHANGELOG.md",
)
# The glossary names them in its column "not", which is its last one.
_NOT_COLUMN = re.compile(r"^\|.*\|([^|]*)\|\s*$", re.MULTILINE)

_PATTERNS = {phrase: re.compile(rf"\b{phrase}\b".replace(" ", r"\s+"), re.IGNORECASE) for phrase in PHRASES}


def no_dialect(
    files: Mapping[str, str], phrases: Mapping[str, str] = PHRASES, places: tuple[str, ...] = PLACES
) -> Iterator[str]:
    """No text says a phrase of the old dialect; each failure names the place and the standard term.

    Args:
        files: Texts by path.
        phrases: What is rejected, with what to write instead.
        places: Patterns of the paths that are read.
    """
    for name, text in files.items():
        if not any(fnmatch(name, pattern) for pattern in places):
            continue
        if name == "docs/glossary.md":
            text = _NOT_COLUMN.sub(lambda row: row[0].replace(row[1], " " * len(row[1])), text)
        for phrase, better in phrases.items():
            for match in _PATTERNS[phrase].finditer(text):
                line = text.count("\n", 0, match.start()) + 1
                yield f"{name}:{line} says “{match[0]}”; write: {better}."
