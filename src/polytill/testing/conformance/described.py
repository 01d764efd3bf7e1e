"""The inputs and outputs of a handler as tables of ``docs/providers.md``, written from the classes.

The meaning of a field is the comment on its line or directly above it.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from collections.abc import Iterator
from enum import StrEnum
from functools import cache
from types import ModuleType
from typing import Any

from polytill.providers import facts, outcomes, params

TITLES: tuple[tuple[ModuleType, str, str], ...] = (
    (params, "Parameters", "The parameters of a handler's methods."),
    (outcomes, "Outcomes", "A call returns exactly one of six outcomes; the other classes are parts of them."),
    (facts, "Facts and findings", "Facts from webhooks and listings, credential tests, balances."),
)
OUTCOMES = ("Succeeded", "NeedsAction", "Pending", "Declined", "NotSent", "Unknown")


def contract_tables() -> str:
    """The three sections, each class with its fields, then the closed lists."""
    return "\n".join(_section(*one) for one in TITLES)


def classes_of(module: ModuleType) -> list[type[Any]]:
    """The dataclasses and closed lists that a module defines, in its order; of outcomes the six first."""
    here = [c for c in vars(module).values() if inspect.isclass(c) and c.__module__ == module.__name__]
    told = [c for c in here if dataclasses.is_dataclass(c) or issubclass(c, StrEnum)]
    return sorted(told, key=lambda c: (issubclass(c, StrEnum), c.__name__ not in OUTCOMES and module is outcomes))


def meanings(cls: type) -> dict[str, str]:
    """The meaning of each field of a class, or of each member of a closed list; "" if no comment describes it."""
    lines, found = _lines(inspect.getmodule(cls)), dict[str, str]()
    for node in _body(cls):
        target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
        if isinstance(target, ast.Name):
            found[target.id] = _comment(lines, node.lineno - 1)
    return found


def _body(cls: type) -> Iterator[ast.AnnAssign | ast.Assign]:
    module = ast.parse("\n".join(_lines(inspect.getmodule(cls))))
    node = next(one for one in module.body if isinstance(one, ast.ClassDef) and one.name == cls.__name__)
    return (one for one in node.body if isinstance(one, ast.AnnAssign | ast.Assign))


@cache
def _lines(module: ModuleType | None) -> list[str]:
    assert module is not None
    return inspect.getsource(module).split("\n")


def _comment(lines: list[str], at: int) -> str:
    beside = re.search(r"  # (?!noqa)(.*)", lines[at])
    if beside:
        return beside[1].strip()
    above: list[str] = []
    for line in reversed(lines[:at]):
        if not line.strip().startswith("# "):
            break
        above.insert(0, line.strip().removeprefix("# "))
    return " ".join(above)


def _section(module: ModuleType, title: str, text: str) -> str:
    return f"## {title}\n\n{text}\n\n" + "\n".join(_class(cls) for cls in classes_of(module))


def _class(cls: type[Any]) -> str:
    purpose = " ".join((inspect.getdoc(cls) or "").split("\n\n")[0].split())
    head = f"### `{cls.__name__}`\n\n{_plain(purpose)}\n\n"
    said = meanings(cls)
    if issubclass(cls, StrEnum):
        rows = [f"| `{member.value}` | {_plain(said[member.name])} |" for member in cls]
        return head + "| value | meaning |\n| --- | --- |\n" + "\n".join(rows) + "\n"
    rows = [
        f"| `{field.name}` | `{_cell(str(field.type))}` | {_default(field)} | {_plain(said[field.name])} |"
        for field in dataclasses.fields(cls)
    ]
    return head + "| field | type | default | meaning |\n| --- | --- | --- | --- |\n" + "\n".join(rows) + "\n"


def _default(field: dataclasses.Field[object]) -> str:
    if isinstance(field.default, StrEnum):
        return f"`{type(field.default).__name__}.{field.default.name}`"
    if field.default is not dataclasses.MISSING:
        return f"`{field.default!r}`"
    if field.default_factory is not dataclasses.MISSING:
        return f"`{field.default_factory()!r}`"
    return "required"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _plain(text: str) -> str:
    return _cell(text.replace("``", "`"))
