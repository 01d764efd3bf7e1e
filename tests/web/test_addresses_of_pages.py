"""Every link, form and refresh in a template leads to an address of the service.

A renamed page left the button "Check status" without one, and only a payment in one state showed that button.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.routing import Route

from polytill.web import app as web

TEMPLATES = Path(web.__file__).parent / "templates"
_ADDRESS = re.compile(r'\b(?:href|action|formaction|hx-get|hx-post)="([^"]*)')
_VALUE = re.compile(r"\{\{[^}]*\}\}")
# What a value at the end of an address may be: an id or code, a kind of operation, an environment.
EXAMPLES = ("1", "capture", "production")
DOORS = ("/practice/1", "/owner")


def addresses(template: str) -> Iterator[str]:
    """The paths in a template that begin at the root or at the door of the signed-in person. Values stay in."""
    for found in _ADDRESS.findall(template):
        path = re.split(r"[?#]|\{%", found)[0].replace("{{ root }}", "")
        if path.startswith(("/", "{{ visitor.door }}")) and path != "/openapi.json":  # FastAPI's own
            yield path


def leads_somewhere(path: str, routes: list[Route]) -> bool:
    """Whether a route matches a path, with some example for each of its values, or it is a file that is served."""
    if path.startswith("/static/"):
        return (TEMPLATES.parent / path.lstrip("/")).exists()
    filled = [path.replace("{{ visitor.door }}", door) for door in DOORS] if "visitor.door" in path else [path]
    tried = [_VALUE.sub("1", one) for one in filled]
    tried += [
        _VALUE.sub("1", one[: one.rfind("{{")]) + last for one in filled if one.endswith("}}") for last in EXAMPLES
    ]
    return any(route.path_regex.match(one) for one in tried for route in routes)


@pytest.fixture(scope="module")
def routes() -> list[Route]:
    # Without those that answer "nothing here" at any address.
    return [one for one in web._with_routes().state.pages if ":path}" not in one.path]


@pytest.mark.parametrize("path", sorted(TEMPLATES.rglob("*.html")), ids=lambda path: str(path.relative_to(TEMPLATES)))
def test_addresses_exist(path: Path, routes: list[Route]) -> None:
    lost = [one for one in addresses(path.read_text("utf-8")) if not leads_somewhere(one, routes)]
    assert lost == []


def test_an_address_that_no_route_has_is_found(routes: list[Route]) -> None:
    template = '<form action="{{ visitor.door }}/payments/{{ payment.id }}/ask"><a href="/owner/practices">'
    assert [one for one in addresses(template) if not leads_somewhere(one, routes)] == [
        "{{ visitor.door }}/payments/{{ payment.id }}/ask"
    ]
