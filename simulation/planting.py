"""Planting: the product with one deliberate bug, and the search for the first history that shows it.

A bug is a list of swaps: an object (or a dictionary), the name in it, and the replacement.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from simulation.ground import ground
from simulation.history import run_history
from simulation.plan import ALL_PROVIDERS_FROM, EDGES_FROM, STAFF_FROM

Swap = tuple[Any, Any, Any]
BUGS: dict[str, Callable[[], list[Swap]]] = {}
_OURS = frozenset({"polytill", "simulation"})
_FIRST_SEED: dict[str, int] = {}  # where the bug can show at all


def bug(make: Callable[[], list[Swap]]) -> Callable[[], list[Swap]]:
    """Register a bug under its name."""
    BUGS[make.__name__] = make
    return make


def bug_at_providers(make: Callable[[], list[Swap]]) -> Callable[[], list[Swap]]:
    """Register a bug that shows only in histories with all providers."""
    _FIRST_SEED[make.__name__] = ALL_PROVIDERS_FROM
    return bug(make)


def bug_at_edges(make: Callable[[], list[Swap]]) -> Callable[[], list[Swap]]:
    """Register a bug that shows only in the stories of ``edges.py``."""
    _FIRST_SEED[make.__name__] = EDGES_FROM
    return bug(make)


def bug_of_staff(make: Callable[[], list[Swap]]) -> Callable[[], list[Swap]]:
    """Register a bug that shows only if staff resolve unknown outcomes."""
    _FIRST_SEED[make.__name__] = STAFF_FROM
    return bug(make)


@contextmanager
def planted(name: str) -> Iterator[None]:
    """The product with one bug in it."""
    swaps = [
        (place, there, new, old)
        for owner, key, new in BUGS[name]()
        for old in (_get(owner, key),)
        for place, there in _places(owner, key, old)
    ]
    try:
        for owner, key, new, _ in swaps:
            _set(owner, key, new)
        yield
    finally:
        for owner, key, _, old in swaps:
            _set(owner, key, old)


def _places(owner: Any, key: Any, old: Any) -> list[tuple[Any, Any]]:
    """The places of an object to replace: in the module that defines it, and under every name by which another module
    has imported it, so that a bug does not depend on the import of its function."""
    places = [(owner, key)]
    if isinstance(owner, ModuleType) and getattr(old, "__module__", None) == owner.__name__:
        ours = [module for name, module in sorted(sys.modules.items()) if name.partition(".")[0] in _OURS]
        places += [
            (module, name)
            for module in ours
            for name, value in vars(module).items()
            if value is old and (module, name) != (owner, key)
        ]
    return places


def _get(owner: Any, key: Any) -> Any:
    return owner[key] if isinstance(owner, dict) else getattr(owner, key)


def _set(owner: Any, key: Any, value: Any) -> None:
    if isinstance(owner, dict):
        owner[key] = value
    else:
        setattr(owner, key, value)


def find(name: str, first: int, bound: int) -> tuple[int, str] | None:
    """The first seed whose history has a problem with the bug and none without it, and that problem."""
    first = max(first, _FIRST_SEED.get(name, 0))
    with ground() as laid:
        for seed in range(first, first + bound):
            with planted(name):
                found = run_history(laid, seed).problems
            if found and found[0].startswith("error: "):
                # Any history would find it, because the swap no longer fits the product.
                raise ValueError(f"The bug {name} no longer fits the product: {found[0]}")
            if found and not run_history(laid, seed).problems:
                return seed, found[0]
    return None
