"""Verifies an export by its manifest: every file is there, unchanged, readable, and has as many records as it says."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polytill.domain.errors import OperatorError
from polytill.flows.lifecycle.export import MANIFEST
from polytill.storage.export_tables import FORMAT, FORMAT_VERSION

LARGEST_MANIFEST = 1_000_000
PIECE = 1024 * 1024
_NAME = re.compile(r"[a-z_]{1,60}\.(jsonl|csv)")
_FIELDS = {"name": str, "kind": str, "records": int, "bytes": int, "sha256": str}


@dataclass(frozen=True, slots=True)
class Checked:
    """The result of a check.

    Args:
        records: How many records the manifest has, by kind.
        size: Bytes of all files.
        manifest_hash: SHA-256 of the manifest.
        problems: A sentence for each thing that is not as the manifest says.
    """

    records: dict[str, int]
    size: int
    manifest_hash: str
    problems: list[str]


def check_export(folder: Path) -> Checked:
    """Verify the export in a directory. ``OperatorError`` if it has no manifest that can be read."""
    try:
        manifest, digest = _manifest(folder)
        problems: list[str] = []
        for one in manifest["files"]:
            problems += _problems(folder / one["name"], one)
        expected = {MANIFEST, *(one["name"] for one in manifest["files"])}
        problems += [
            f"{path.name} is not in the manifest." for path in sorted(folder.iterdir()) if path.name not in expected
        ]
    except OSError as error:
        raise OperatorError(f"The export in {folder} cannot be read: {error.strerror}.") from error
    records = {one["kind"]: one["records"] for one in manifest["files"]}
    return Checked(records, sum(one["bytes"] for one in manifest["files"]), digest, problems)


def _manifest(folder: Path) -> tuple[dict[str, Any], str]:
    path = folder / MANIFEST
    if not path.is_file():
        raise OperatorError(f"There is no export in {folder}: it has no {MANIFEST}.")
    with path.open("rb") as file:
        data = file.read(LARGEST_MANIFEST + 1)
    try:
        found = json.loads(data) if len(data) <= LARGEST_MANIFEST else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or found.get("format") != FORMAT or not _has_files(found.get("files")):
        raise OperatorError(f"{MANIFEST} in {folder} is not the manifest of an export.")
    if found.get("formatVersion") != FORMAT_VERSION:
        raise OperatorError(f"{MANIFEST} in {folder} has another version of the format than {FORMAT_VERSION}.")
    return found, hashlib.sha256(data).hexdigest()


def _has_files(files: Any) -> bool:
    """Whether this is a list of files, each named once and in the same directory."""
    if not isinstance(files, list):
        return False
    for one in files:
        if not isinstance(one, dict) or any(type(one.get(name)) is not kind for name, kind in _FIELDS.items()):
            return False
        if not _NAME.fullmatch(one["name"]):
            return False
    return len({one["name"] for one in files}) == len(files)


def _problems(path: Path, expected: dict[str, Any]) -> list[str]:
    if path.is_symlink() or not path.is_file():
        return [f"{path.name} is missing."]
    size = path.stat().st_size
    if size != expected["bytes"]:
        return [f"{path.name} has {size} bytes instead of {expected['bytes']}."]
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
    if digest.hexdigest() != expected["sha256"]:
        return [f"{path.name} was changed: its SHA-256 is another one."]
    count = _records(path)
    if count is None:
        return [f"{path.name} cannot be read."]
    return (
        [] if count == expected["records"] else [f"{path.name} has {count} records instead of {expected['records']}."]
    )


def _records(path: Path) -> int | None:
    """How many records a file has. None if it cannot be read."""
    csv.field_size_limit(2**31 - 1)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            if path.suffix == ".csv":
                return sum(1 for _ in csv.reader(file)) - 1
            return sum(isinstance(json.loads(line), dict) for line in file)
    except (ValueError, RecursionError, csv.Error):
        return None
