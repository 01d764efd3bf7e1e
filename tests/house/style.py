"""Laws about how code is written: names, sizes, docstrings, numbers and log lines. Each is a function from modules to
sentences about the violations, as in ``rules.py``."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator

from tests.house.reading import Module

BAD_NAMES = frozenset({"utils", "util", "common", "core", "helpers", "helper", "base", "misc", "shared", "lib"})


def names_say_something(found: list[Module]) -> Iterator[str]:
    """No ``utils``, ``common``, ``core``, ``helpers`` or ``base``."""
    for module in found:
        for part in module.name.split("."):
            if part.strip("_").lower() in BAD_NAMES:
                yield f"{module.name}: a module named {part} says nothing of what is in it."


MAX_FILE_LINES = 450

MAX_FUNCTION_LINES = 60

# Named exceptions, each with its reason.
LONG_FILES: dict[str, str] = {}


def sizes(found: list[Module]) -> Iterator[str]:
    """Files and functions are short enough to be read at once."""
    for module in found:
        if module.is_migration:
            continue
        lines = module.source.count("\n")
        if lines > MAX_FILE_LINES and module.name not in LONG_FILES:
            yield f"{module.name} has {lines} lines; {MAX_FILE_LINES} is the limit."
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > MAX_FUNCTION_LINES:
                    yield f"{module.name}.{node.name} has {length} lines; {MAX_FUNCTION_LINES} is the limit."


MAX_PARAMETERS = 6

# At most ten functions have more, each with its reason. Group parameters into values that mean something instead.
MANY_PARAMETERS: dict[str, str] = {
    "app.create_practice": "options of the public API, all named",
    "app.list": "filters of the public API, all named",
    "app.refund": "options of the public API, all named",
    "cli.backfill.legacy_backfill": "options of a command",
    "cli.cases.cases_resolve": "options of a command",
    "cli.legacy.legacy_import": "options of a command",
    "simulator.stripe.params.__init__": "the fields of Stripe's error",
    "web.api.payments.list_payments": "query parameters",
    "web.api.provider_configs.choose_provider": "query parameters",
    "web.console.payments.sought": "query parameters",
}


def parameters_are_few(found: list[Module]) -> Iterator[str]:
    """A function takes few enough parameters to be called without counting them."""
    for module in found:
        if module.floor == "simulation":
            continue
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                name, count = f"{module.name}.{node.name}", len(_parameters(node.args))
                if count > MAX_PARAMETERS and name not in MANY_PARAMETERS:
                    yield f"{name} has {count} parameters; {MAX_PARAMETERS} is the limit. Group some into a value."


def _parameters(args: ast.arguments) -> list[str]:
    named = (*args.posonlyargs, *args.args, args.vararg, *args.kwonlyargs, args.kwarg)
    return [one.arg for one in named if one is not None and one.arg not in ("self", "cls")]


Classes = dict[str, list[ast.ClassDef]]  # by name, so two modules may each have one with the same name


def docstrings(found: list[Module]) -> Iterator[str]:
    """Every module with content, and every public function and class, has a docstring."""
    classes: Classes = defaultdict(list)
    for module in found:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                classes[node.name].append(node)
    for module in found:
        if not module.source.strip() or module.is_migration:
            continue
        if ast.get_docstring(module.tree) is None:
            yield f"{module.name} has no docstring."
        yield from _undocumented(module.name, module.tree.body, classes, frozenset())


def _undocumented(path: str, body: list[ast.stmt], classes: Classes, inherited: frozenset[str]) -> Iterator[str]:
    for node in body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        if any(ast.unparse(decorator) == "overload" for decorator in node.decorator_list):
            continue  # a signature of the function below, which has the docstring
        if ast.get_docstring(node) is None and node.name not in inherited:
            yield f"{path}.{node.name} has no docstring."
        if isinstance(node, ast.ClassDef):
            yield from _undocumented(f"{path}.{node.name}", node.body, classes, _documented_above(node, classes))


def _documented_above(node: ast.ClassDef, classes: Classes) -> frozenset[str]:
    """Methods that a base class documents: an override means the same."""
    names: set[str] = set()
    for base in node.bases:
        for above in classes.get(ast.unparse(base).rpartition(".")[2], ()):
            if above is node:
                continue
            methods = [m for m in above.body if isinstance(m, ast.FunctionDef | ast.AsyncFunctionDef)]
            names |= {m.name for m in methods if ast.get_docstring(m) is not None} | _documented_above(above, classes)
    return frozenset(names)


# Named exceptions, each with its reason.
FLOATS: dict[str, str] = {
    "providers.http": "seconds that a provider asks us to wait",
    "simulator.control": "seconds and shares of faults",
    "simulator.flutterwave.v3_shapes": "Flutterwave's wire has JSON numbers of major units; the books are integers",
}


def money_is_never_a_float(found: list[Module]) -> Iterator[str]:
    """No ``float(…)`` in modules that handle money, and no floating or NUMERIC column."""
    for module in found:
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            infinite = (
                len(node.args) == 1 and isinstance(node.args[0], ast.Constant) and node.args[0].value in ("inf", "-inf")
            )
            on_path = module.floor in ("domain", "providers", "storage", "flows", "simulator")
            if called == "float" and on_path and not infinite and module.name not in FLOATS:
                yield f"{module.name}:{node.lineno} calls float(): money is an integer of minor units."
        if module.floor == "storage":
            for node in ast.walk(module.tree):
                if isinstance(node, ast.Attribute) and node.attr in ("Float", "Numeric", "REAL", "DOUBLE", "Double"):
                    yield f"{module.name}:{node.lineno} uses {ast.unparse(node)}: SQLite would make a float of it."


def log_lines_can_be_written(found: list[Module]) -> Iterator[str]:
    """structlog names the message ``event``: a value with that name raises instead of being logged."""
    for module in found:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call) and re.match(
                r"log\.(debug|info|warning|error|exception)$", ast.unparse(node.func)
            ):
                for keyword in node.keywords:
                    if keyword.arg in ("event", "level", "logger"):
                        yield f"{module.name}:{node.lineno} logs a value named {keyword.arg}, which structlog refuses."
