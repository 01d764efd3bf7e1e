"""Compares the structure of an answer with a provider's real sample."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

FIXTURES = Path(__file__).parent.parent / "fixtures" / "providers"


def sample(name: str) -> Any:
    """A real sample, such as ``paystack/responses/balance``."""
    return json.loads((FIXTURES / f"{name}.json").read_text())


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return type(value).__name__


def differences(real: Any, ours: Any, free: Iterable[str] = (), more: bool = False, at: str = "") -> list[str]:
    """The paths that are missing, unexpected, or of another type.

    Null and an empty object fit every type, because the providers send either. ``free`` are paths whose content depends
    on the merchant or the case; ``more`` allows members that the sample lacks.
    """
    if at in free or real in (None, {}) or ours in (None, {}):
        return []
    if _kind(real) != _kind(ours):
        return [f"{at}: {_kind(real)} became {_kind(ours)}"]
    if isinstance(real, dict):
        paths = {name: f"{at}.{name}".lstrip(".") for name in sorted(real.keys() | ours.keys())}
        found = [f"{paths[name]}: missing" for name in sorted(real) if name not in ours and paths[name] not in free]
        if not more:
            found += [
                f"{paths[name]}: too much" for name in sorted(ours) if name not in real and paths[name] not in free
            ]
        for name in sorted(real.keys() & ours.keys()):
            found += differences(real[name], ours[name], free, more, paths[name])
        return found
    if isinstance(real, list) and real and ours:
        return differences(real[0], ours[0], free, more, f"{at}[]")
    return []
