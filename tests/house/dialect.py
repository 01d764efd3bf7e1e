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
    "src/polytill/*",
    "simulation/*.py",
    "benchmarks/*.py",
    "examples/*",
    "tests/[!h]*.py",  # not tests/house, which plants them
    "docs/*.md",
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
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
