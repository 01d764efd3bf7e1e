"""A provider's fixtures: what it answers and delivers, with an index that says how each must be read."""

from __future__ import annotations

import base64
import hashlib
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from polytill.domain.money import Money, to_major

ALL = Path(__file__).parents[1] / "fixtures" / "providers"


class FixtureFiles:
    """The fixtures of one provider."""

    def __init__(self, code: str) -> None:
        self.root = ALL / code
        self.entries: list[dict[str, Any]] = json.loads((self.root / "INDEX.json").read_text())["entries"]
        self.webhooks = [entry for entry in self.entries if entry["kind"] == "webhooks"]
        self.responses = [entry for entry in self.entries if entry["kind"] == "responses"]
        self.signed = sorted((self.root / "signed").glob("*.json"))

    def body(self, entry: dict[str, Any]) -> bytes:
        """The exact bytes of a delivery."""
        body = (self.root / entry["body_file"]).read_bytes()
        assert hashlib.sha256(body).hexdigest() == entry["body_sha256"]
        return body

    def delivery(self, path: Path) -> tuple[dict[str, Any], bytes]:
        """A signed delivery, and the exact bytes of its body."""
        delivery = json.loads(path.read_text())
        body = base64.b64decode(delivery["body_b64"])
        assert hashlib.sha256(body).hexdigest() == delivery["body_sha256"]
        return delivery, body

    def content(self, entry: dict[str, Any]) -> bytes:
        """An entry's file."""
        return (self.root / entry["file"]).read_bytes()


def named(entries: list[dict[str, Any]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("entry", [pytest.param(entry, id=entry["name"]) for entry in entries])


def each_delivery(files: FixtureFiles) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", files.signed, ids=lambda path: path.stem)


def same_amount(money: Money | None, expected: str | None) -> bool:
    if money is None or expected is None:
        return money is None and expected is None
    return to_major(money.minor, money.currency) == Decimal(expected)
