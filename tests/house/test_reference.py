"""The API reference and the OpenAPI document: complete, named for people, and up to date."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from polytill.web.api.document import GROUPS
from polytill.web.app import openapi_document

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def writer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_reference", ROOT / "docs" / "write_reference.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.fixture(scope="module")
def operations() -> list[dict[str, Any]]:
    return [one for methods in openapi_document()["paths"].values() for one in methods.values()]


def test_the_reference_is_up_to_date(writer: ModuleType) -> None:
    written = {file.name: file.read_text("utf-8") for file in (ROOT / "docs" / "api").iterdir()}
    wanted = writer.files()
    stale = sorted(name for name in written.keys() | wanted.keys() if written.get(name) != wanted.get(name))
    assert not stale, f"out of date: {stale}; call ./run reference"


def test_every_operation_has_names_for_people(operations: list[dict[str, Any]]) -> None:
    ids = [one["operationId"] for one in operations]
    assert len(ids) == len(set(ids))
    for one in operations:
        assert re.fullmatch(r"[a-z]+([A-Z][a-z]+)*", one["operationId"]), one["operationId"]
        assert re.fullmatch(r"[A-Z].*[^.]", one["summary"]), one["operationId"]
        assert " ".join(one["summary"].split()) == one["summary"]
        assert one["description"], one["operationId"]
        assert one["tags"][0] in GROUPS, one["operationId"]
    summaries = [one["summary"] for one in operations]
    assert len(summaries) == len(set(summaries))  # they are the headings of the reference


def test_every_error_has_the_one_schema(operations: list[dict[str, Any]]) -> None:
    errors = [
        response["content"]
        for one in operations
        for status, response in one["responses"].items()
        if status.startswith(("4", "5"))
    ]
    assert len(errors) > len(operations)
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    assert all(content == problem for content in errors)
