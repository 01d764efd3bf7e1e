"""The result of a benchmark, and its display."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

PACKAGES = ("uvloop", "uvicorn", "httptools", "fastapi", "pydantic", "asyncpg", "aiohttp", "sqlalchemy", "httpx")


@dataclass
class Aim:
    """A goal for a figure of the product."""

    what: str
    value: float
    most: float

    @property
    def kept(self) -> bool:
        """Whether the figure meets the goal."""
        return self.value <= self.most


@dataclass
class Result:
    """One benchmark's figures."""

    name: str
    title: str
    columns: list[str]
    rows: list[list[str]]
    figures: dict[str, Any]
    aims: list[Aim] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def as_json(self, seconds: float, quick: bool) -> str:
        """The figures as one line."""
        aims = [{"what": a.what, "value": round(a.value, 3), "most": a.most, "kept": a.kept} for a in self.aims]
        return json.dumps(
            {
                "benchmark": self.name,
                "quick": quick,
                "seconds": round(seconds, 1),
                **self.figures,
                "aims": aims,
                "notes": self.notes,
                "machine": machine(),
                "versions": versions(),
            }
        )

    def show(self, console: Console, seconds: float) -> None:
        """A table, the goals, the notes."""
        table = Table(*self.columns, title=f"{self.name}: {self.title}", title_justify="left", title_style="bold")
        for column in table.columns[1:]:
            column.justify = "right"
        for row in self.rows:
            table.add_row(*row)
        console.print(table)
        for aim in self.aims:
            word = "kept" if aim.kept else "[red]not kept[/]"
            console.print(f"  {aim.what}: {aim.value:.2f}, aim at most {aim.most:g}: {word}", highlight=False)
        for note in self.notes:
            console.print(f"  {note}", highlight=False)
        console.print(f"  took {seconds:.0f} s\n", highlight=False)


def machine() -> str:
    """The machine of the run."""
    model = ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].partition(":")[2].strip() if lines else ""
    load = os.getloadavg()[0]
    return f"{model or platform.machine()}, {os.cpu_count()} CPUs, {platform.system()}, load before {load:.1f}"


def versions() -> dict[str, str]:
    """The versions of the run."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found
