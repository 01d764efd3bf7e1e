"""The pages use everything that is written for them: each text, CSS class, custom property, template and macro."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

from polytill.flows.jobs.kinds import KINDS
from polytill.web.i18n import Plural, Text, texts
from tests.house.reading import SOURCE, modules

WEB = SOURCE / "web"
TEMPLATES = {str(path.relative_to(WEB / "templates")): path.read_text() for path in (WEB / "templates").rglob("*.html")}
HTML = "\n".join(TEMPLATES.values())
PYTHON = "\n".join(path.read_text() for path in sorted(WEB.rglob("*.py")))
# Groups whose names are the values of closed lists in code, which the activity page looks up in turn.
LISTS = {
    "catalog_status",
    "key_kind",
    "practice_state",
    "link_status",
    "attempt",
    "field",
    "case",
    "environment",
    "role",
}


@cache
def literals() -> frozenset[str]:
    """Every string in the code that serves pages, without docstrings, and every quoted string in a template."""
    found = set(re.findall(r'"([^"<>{}]*)"', HTML)) | set(re.findall(r"'([^'<>{}]*)'", HTML))
    for module in modules():
        if module.floor not in ("simulator", "testing"):
            documented = {
                ast.get_docstring(node, clean=False) for node in ast.walk(module.tree) if _has_docstring(node)
            }
            strings = {node.value for node in ast.walk(module.tree) if isinstance(node, ast.Constant)}
            found |= {one for one in strings - documented if isinstance(one, str)}
    return frozenset(one.replace("'", "’") for one in found)


def _has_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)


def _in_code(name: str, known: Collection[str] | None = None) -> bool:
    """Whether code has a name as one string, or as two that it joins (``capture`` and ``_note``)."""
    known = known or literals()
    parts = [(name[:at], name[at:]) for at in range(1, len(name))]
    return name in known or any(a in known and (b in known or (b[:1] in "._" and b[1:] in known)) for a, b in parts)


def unused_texts(console: Mapping[str, Text]) -> Iterator[str]:
    """The keys of the console's texts that neither a page nor the code that serves it names."""
    groups = set(re.findall(r'(?:\.of|pill|\.named|\.has|known_sentence)\("(\w+)"', HTML + PYTHON)) | LISTS
    begins = set(re.findall(r"""["'](\w+\.\w*)["'] ~""", HTML)) | set(re.findall(r'f"(\w+\.\w*)\{', PYTHON))
    for key, text in console.items():
        group, _, name = key.partition(".")
        rests = [key.removeprefix(begin) for begin in begins if key.startswith(begin)]
        if group in ("declared", "noted"):  # found by the English sentence
            assert not isinstance(text, Plural)
            is_used = _in_code(text)
        elif group == "job_step":  # named after the function
            is_used = any(name in kind.names for kind in KINDS.values())
        elif group == "action":  # named by the audit log: ``payment.created``
            is_used = _in_code(name, {one.replace(".", "_") for one in literals()})
        else:
            is_used = key in literals() or any(
                rest.isdigit() or _in_code(rest) for rest in (*rests, *([name] if group in groups else []))
            )
        if not is_used:
            yield key


def unused_checkout_texts(checkout: Mapping[str, Text]) -> Iterator[str]:
    """The keys of the checkout's texts that no page names. A state of a payment is a section."""
    source = HTML + PYTHON
    said = {f"{a}.{b}" for a, b in re.findall(r"""say\(["'](\w+)["'], ["'](\w+)["']""", source)}
    said |= {
        f"{section}.{name}"
        for section, either in re.findall(r"""say\(["'](\w+)["'], (["']\w+["'] if [^)]*)""", source)
        for name in re.findall(r"""["'](\w+)["'](?= if| else|$|,)""", either)
        + re.findall(r"""else ["'](\w+)["']""", either)
    }
    lists = set(re.findall(r"""say\(["'](\w+)["'], [a-z]""", source)) | set(re.findall(r'State\("(\w+)"', PYTHON))
    lists |= set(re.findall(r'State\("\w+" if [^)]* else "(\w+)"', PYTHON))
    for key in checkout:
        section, _, name = key.partition(".")
        if key not in said and not (section in lists and _in_code(name)):
            yield key


def _pages_with(stylesheet: str) -> str:
    """All templates that make up the pages with a stylesheet."""

    def parts(name: str) -> set[str]:
        found = re.findall(r'{%-?\s*(?:extends|include|import|from)\s+"([^"]+)"', TEMPLATES[name])
        return {name}.union(*(parts(one) for one in found))

    return "\n".join(
        TEMPLATES[part]
        for name in TEMPLATES
        if any(stylesheet in TEMPLATES[one] for one in parts(name))
        for part in parts(name)
    )


def unused_classes(css: str, html: str, script: str) -> Iterator[str]:
    """The classes of a stylesheet that no page with it, and no script, gives to an element."""
    given = re.findall(r'class="((?:[^"{]|\{\{.*?\}\}|\{%.*?%\})*)"', html) + re.findall(
        r"{% block shape %}(.*?){%", html
    )
    names = set(re.findall(r"[A-Za-z][\w-]*", " ".join(given) + script))
    numbered = {name for one in given for name in re.findall(r"([\w-]+-)\{\{", one)}
    names |= {"good", "bad", "warn", "info", "wait", "over"} if ".tone" in " ".join(given) else set()
    selectors = "\n".join(re.findall(r"([^{}]+)\{", re.sub(r"/\*.*?\*/", "", css, flags=re.S)))
    for name in sorted(set(re.findall(r"\.([a-zA-Z][\w-]*)", selectors)) - names):
        if name.rstrip("0123456789") not in numbered:
            yield name


def test_every_text_is_used() -> None:
    assert list(unused_texts(texts("en"))) == []
    assert list(unused_checkout_texts(texts("checkout.en"))) == []


def test_a_text_that_nothing_uses_is_found() -> None:
    # A name that code has elsewhere, one that it has nowhere, and two that are used.
    console = {one: "Spare" for one in ("login.amount", "reason.spare", "reason.declined", "nav.links")}
    assert list(unused_texts(console)) == ["login.amount", "reason.spare"]
    checkout = {one: "Spare" for one in ("action.amount", "paid.spare", "paid.title", "link.text_phone")}
    assert list(unused_checkout_texts(checkout)) == ["action.amount", "paid.spare"]


@pytest.mark.parametrize("path", sorted(WEB.glob("static/*.css")), ids=lambda path: path.name)
def test_every_class_is_used(path: Path) -> None:
    script = path.with_suffix(".js")
    assert (
        list(unused_classes(path.read_text(), _pages_with(path.name), script.read_text() if script.exists() else ""))
        == []
    )


def test_a_class_that_no_page_has_is_found() -> None:
    css = ".used, .in-script:hover { color: red } .bar-1 > .spare { top: .5rem }"
    assert list(unused_classes(css, '<p class="used bar-{{ n }}">', 'classList.add("in-script")')) == ["spare"]


def test_every_custom_property_is_used() -> None:
    for page in ("layout.html", "checkout_layout.html", "docs.html"):
        sheets = [(WEB / "static" / name).read_text() for name in re.findall(r"static/(\w+\.css)", TEMPLATES[page])]
        shared = "\n".join(sheets)
        own = re.findall(r"^\s*(--[\w-]+):|[;{]\s*(--[\w-]+):", sheets[-1], re.M)
        for name in {a or b for a, b in own}:
            assert f"var({name})" in shared, (page, name)
    every = "\n".join(path.read_text() for path in WEB.glob("static/*.*s"))
    for name in re.findall(r"^\s*(--[\w-]+):", (WEB / "static/tokens.css").read_text(), re.M):
        assert f"var({name})" in every, name


def test_every_template_and_macro_is_used() -> None:
    assert [name for name in TEMPLATES if f'"{name}"' not in HTML + PYTHON] == []
    macros = re.findall(r"{%-? macro (\w+)\(", HTML)
    assert [name for name in macros if len(re.findall(rf"\b{name}\(", HTML)) < 2] == []
