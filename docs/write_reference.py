"""Write the API reference, ``docs/api/``, from the OpenAPI document: ``./run reference``.

One file for each group of operations, one for the schemas that they share. A test fails while a file is out of date.
"""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path
from typing import Any

from polytill.flows.routing.policy_schema import SCHEMA
from polytill.web.api.document import GROUPS
from polytill.web.app import openapi_document

FOLDER = Path(__file__).resolve().parent / "api"
NOTE = "Written by `./run reference` from the OpenAPI document. Do not edit it; edit the docstrings and models in"
MAX_TYPE = 120  # a longer list of values gets a list of its own
Json = dict[str, Any]


def files() -> dict[str, str]:
    """The text of each file of the reference, by file name."""
    document = openapi_document()
    schemas: Json = document["components"]["schemas"]
    groups: dict[str, list[str]] = {name: [] for name in GROUPS}
    index: dict[str, list[str]] = {name: [] for name in GROUPS}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            [group] = operation["tags"]
            groups[group].append(_operation(method.upper(), path, operation))
            link = f"{_slug(group)}.md#{_slug(operation['summary'])}"
            index[group].append(f"* [{operation['summary']}]({link}): `{method.upper()} {path}`")
    found = {
        f"{_slug(name)}.md": _file(_title(name), f"{GROUPS[name]}", parts) for name, parts in groups.items() if parts
    }
    what = "The bodies of requests and responses. A field is always present unless it is marked as optional."
    found["schemas.md"] = _file("Schemas", what, [_schema(name, schema) for name, schema in schemas.items()])
    overview = [f"## {_title(name)}\n\n{GROUPS[name]}\n\n" + "\n".join(lines) for name, lines in index.items() if lines]
    rules = (
        "Rules that hold for all operations (keys, idempotency, errors, pagination, money) are in [api.md](../api.md)."
    )
    found["README.md"] = _file("API reference", rules, overview)
    found["routing-policy.schema.json"] = json.dumps(SCHEMA, indent=2) + "\n"
    return found


def main() -> None:
    """Write the files, and delete those of groups that do not exist any more."""
    FOLDER.mkdir(exist_ok=True)
    wanted = files()
    for old in FOLDER.glob("*.md"):
        if old.name not in wanted:
            old.unlink()
    for name, text in wanted.items():
        (FOLDER / name).write_text(text)


def _file(title: str, what: str, parts: list[str]) -> str:
    head = f"# {title}\n\n{_filled(what)}\n\n<!-- {NOTE} src/polytill/web/api/. -->\n"
    return head + "\n" + "\n\n".join(parts) + "\n"


def _title(name: str) -> str:
    return name[0].upper() + name[1:]


def _slug(text: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^a-z0-9 _-]", "", text.lower()).replace(" ", "-")


def _filled(text: str) -> str:
    parts = [part if part.startswith(("*", "-")) else " ".join(part.split()) for part in text.split("\n\n")]
    return "\n\n".join(textwrap.fill(part, 118, break_long_words=False, break_on_hyphens=False) for part in parts)


def _operation(method: str, path: str, operation: Json) -> str:
    lines = [f"## {operation['summary']}", f"`{method} {path}` (`{operation['operationId']}`)"]
    if operation["description"].rstrip(".") != operation["summary"]:
        lines.append(_filled(operation["description"]))
    rows = [
        (
            f"`{one['name']}`",
            one["in"] + ("" if one.get("required") else ", optional"),
            _type(one["schema"]).removesuffix(" or null"),
            _notes(one["schema"] | {"description": one.get("description", one["schema"].get("description", ""))}),
        )
        for one in operation.get("parameters", [])
    ]
    if rows:
        lines.append(_table(("parameter", "in", "type", "description"), rows))
    if "requestBody" in operation:
        [media] = operation["requestBody"]["content"].values()
        optional = "" if operation["requestBody"].get("required") else ", optional"
        lines.append(f"Request body{optional}: {_type(media['schema'])}")
    for status, response in operation["responses"].items():
        if status.startswith(("2", "3")):
            types = [_type(media["schema"]) for media in response.get("content", {}).values() if media.get("schema")]
            lines.append(f"Response {status}: {', '.join(types) or 'no JSON body'}")
    return "\n\n".join(lines)


def _schema(name: str, schema: Json) -> str:
    lines = [f"## {name}"]
    if schema.get("description"):
        lines.append(_filled(schema["description"].replace("``", "`")))
    if "enum" in schema:
        lines.append("One of:\n\n" + "\n".join(f"* `{value}`" for value in schema["enum"]))
    rows, long = [], []
    for field, one in schema.get("properties", {}).items():
        kind = _type(one)
        if len(kind) > MAX_TYPE:
            long.append(f"Values of `{field}`:\n\n" + "\n".join(f"* `{value}`" for value in _values(one)))
            kind = "one of the values below"
        optional = "" if field in schema.get("required", []) else ", optional"
        rows.append((f"`{field}`", kind + optional, _notes(one)))
    if rows:
        lines.append(_table(("field", "type", "description"), rows))
    return "\n\n".join([*lines, *long])


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, tuple("---" for _ in head), *rows))


def _type(schema: Json) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](schemas.md#{_slug(name)})"
    if "anyOf" in schema or "allOf" in schema:
        return " or ".join(dict.fromkeys(_type(one) for one in schema.get("anyOf") or schema["allOf"]))
    if "const" in schema or "enum" in schema:
        return ", ".join(f"`{value}`" for value in _values(schema))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if schema.get("type") == "object":
        values = schema.get("additionalProperties")
        return f"object of {_type(values)}" if isinstance(values, dict) and values else "object"
    return str(schema.get("type", "any"))


def _values(schema: Json) -> list[Any]:
    return list(schema["enum"]) if "enum" in schema else [schema["const"]] if "const" in schema else []


def _notes(schema: Json) -> str:
    """The description of a value, its default and its limits."""
    limits = [one for one in (schema, *schema.get("anyOf", [])) if one.get("type") != "null"]
    notes = [next((one["description"] for one in limits if one.get("description")), "")]
    if schema.get("default") is not None:
        notes.append(f"default `{json.dumps(schema['default'])}`")
    for one in limits:
        if "maxLength" in one:
            notes.append(f"at most {one['maxLength']} characters")
        if "exclusiveMinimum" in one or "minimum" in one:
            notes.append(f"at least {int(one.get('minimum', one.get('exclusiveMinimum', 0) + 1))}")
        if "maxItems" in one:
            notes.append(f"at most {one['maxItems']} entries")
    text = "; ".join(dict.fromkeys(note for note in notes if note))
    return " ".join(text.replace("``", "`").replace("|", "\\|").split())


if __name__ == "__main__":
    main()
