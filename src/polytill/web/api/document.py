"""The OpenAPI document: what FastAPI writes, with names and sentences for people.

Each operation's docstring gives its summary (the first sentence) and its description, its function's name gives the
operation id, and every error response has the one schema ``Problem``.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import TypeAdapter
from pydantic.alias_generators import to_camel

from polytill.web.api.models.problems import Problem
from polytill.web.problems import TITLES

GROUPS = {
    "payments": "Create, confirm, capture, cancel and refund payments.",
    "payment links": "Links that staff send to customers, and the branding of the checkout.",
    "saved methods": "Cards and accounts that may be charged again.",
    "personal data": "Erasing one customer.",
    "review cases": "What only a person can decide.",
    "provider configurations": "A practice's providers, their keys and environments, and the choice of a provider.",
    "routing": "Who takes a payment and why, routing policies, and replays of past payments.",
    "practice records": "Webhooks from providers, audit log, ledger and staff of a practice.",
    "API keys": "Keys of the owner and of practices.",
    "practices": "Practices, as the owner creates and changes them.",
    "provider catalog": "The owner's catalog of providers, with their terms for each currency.",
    "rollout": "The gradual rollout from a host application's old code, practice by practice.",
    "jobs": "Operations on practices, such as a migration: progress, pause, resume, retry, cancel.",
    "events": "Events for the host application: the feed, the destination and the deliveries.",
    "platform": "Clusters, audit log and health of the platform.",
    "webhooks": "Where providers send their webhooks.",
    "checkout": "The pages of customers. They answer with HTML.",
    "service": "The state of one process.",
}
_NOT_DOCUMENTED = 500  # an internal error has the same body, but no caller can act on it
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": title,
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for status, title in TITLES.items()
    if status != _NOT_DOCUMENTED
}


def operation_id(route: APIRoute) -> str:
    """The id of an operation: the name of its function in camel case."""
    return to_camel(route.name)


def install(app: FastAPI) -> None:
    """Let the application serve this document."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _document(app: FastAPI) -> dict[str, Any]:
    found = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
        tags=[{"name": name, "description": what} for name, what in GROUPS.items()],
    )
    problem = TypeAdapter(Problem).json_schema(mode="serialization", ref_template="#/components/schemas/{model}")
    schemas = found["components"]["schemas"]
    schemas.update(problem.pop("$defs"), Problem=problem)
    found["components"]["schemas"] = dict(sorted(schemas.items()))
    for operations in found["paths"].values():
        for operation in operations.values():
            text = operation["description"].replace("``", "`")
            summary, _, rest = text.partition("\n\n")
            operation["summary"] = " ".join(summary.split()).rstrip(".")
            operation["description"] = rest or text
    _drop_titles(found)
    return found


def _drop_titles(node: Any) -> None:
    """Drop the titles that pydantic makes of names ("Practiceid"), not the schemas' own."""
    if isinstance(node, list):
        for item in node:
            _drop_titles(item)
    elif isinstance(node, dict):
        for schema in node.get("properties", {}).values():
            schema.pop("title", None)
        for parameter in node.get("parameters", []):
            parameter["schema"].pop("title", None)
        for item in node.values():
            _drop_titles(item)
