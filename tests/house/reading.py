"""The source as the rules see it: modules with their syntax trees, and their imports."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "polytill"


@dataclass(frozen=True)
class Module:
    """One file of the product. ``name`` is dotted and without the package's own name: ``flows.payments.create``."""

    name: str
    source: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)

    @property
    def floor(self) -> str:
        return self.name.split(".")[0]

    @property
    def is_migration(self) -> bool:
        return self.name.startswith("storage.migrations")

    def calls(self) -> Iterator[tuple[int, str]]:
        """Every call: its line, and the called name as written (``unit.add``, ``Unit``)."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                yield node.lineno, ast.unparse(node.func)

    def imports(self) -> Iterator[tuple[int, str]]:
        """Every import, at any place in the module: its line, and the dotted name that is imported."""
        package = self.name.split(".")[:-1]
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                if node.level:
                    kept = package[: len(package) - node.level + 1]
                    base = ".".join(["polytill", *kept, *([node.module] if node.module else [])])
                yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)

    def own_imports(self) -> Iterator[tuple[int, str]]:
        """Imports of the product's own modules, by names as in ``name``; a name inside a module is kept."""
        for line, dotted in self.imports():
            if dotted == "simulation" or dotted.startswith("simulation."):
                yield line, dotted
            if dotted == "polytill" or dotted.startswith("polytill."):
                yield line, dotted.removeprefix("polytill").removeprefix(".") or "__init__"

    def annotation_lines(self) -> set[int]:
        """The lines under ``if TYPE_CHECKING``: imports that only a type checker follows."""
        found: set[int] = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
                found |= {line for part in node.body for line in range(part.lineno, (part.end_lineno or 0) + 1)}
        return found


def modules() -> list[Module]:
    """Every module of the product and of the simulated world."""
    found = []
    for root, folder in ((SOURCE, SOURCE), (ROOT, ROOT / "simulation")):
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
            found.append(Module(name, path.read_text()))
    return found


def tracked_files() -> dict[str, str]:
    """Every text file that git tracks or would add, by its path from the root."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    found = {}
    for name in sorted(set(listed.decode().split("\0")) - {""}):
        path = ROOT / name
        try:
            found[name] = path.read_text()
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            continue  # a picture or other bytes; or deleted and not committed yet
    return found
