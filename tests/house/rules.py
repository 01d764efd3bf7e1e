"""The laws about structure, each a function from modules to sentences about the violations. ``style.py`` has the others."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterable, Iterator

from tests.house.reading import Module
from tests.house.style import (
    docstrings,
    log_lines_can_be_written,
    money_is_never_a_float,
    names_say_something,
    parameters_are_few,
    sizes,
)

Rule = Callable[[list[Module]], Iterator[str]]

# The simulated world reads the databases itself and breaks them on purpose: a judge that read them through the product
# would repeat its mistakes. It is a test tool, so the laws about writes do not apply to it.
LOOKS_FOR_ITSELF = frozenset({"testing", "simulation"})

# Who may import whom. ``settings`` is a value that every flow gets; ``simulator`` and ``testing`` are separate.
BELOW = ("domain", "providers", "storage", "flows", "settings")
TOP = (
    *BELOW,
    "app",
    "background",
    "job_engine",
    "job_run",
    "migration",
    "owner_setup",
    "web",
    "simulator",
    "testing",
    "__init__",
    "cli",
    "demo",
    "doctor",
    "worker",
)
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "domain": ("domain",),
    "providers": ("domain", "providers"),
    "storage": ("domain", "storage"),
    "settings": ("domain", "providers.http"),
    "flows": BELOW,
    "background": BELOW,
    "owner_setup": BELOW,
    "results": BELOW,
    "requests": BELOW,
    "to_results": (*BELOW, "results"),
    "app": (*BELOW, "background", "requests", "results", "to_results"),
    "job_engine": BELOW,
    "job_run": (*BELOW, "background", "job_engine"),
    "migration": (*BELOW, "app", "job_run", "owner_setup"),
    "web": (*BELOW, "app", "background", "version", "web"),
    "version": (),
    "simulator": ("domain.currencies", "simulator"),
    "testing": (*BELOW, "app", "background", "simulator", "testing"),
    "simulation": (*BELOW, "app", "background", "simulator", "testing", "simulation"),
    "__init__": (*BELOW, "app", "migration", "requests", "results", "version", "web", "worker"),
    "cli": TOP,
    "demo": TOP,
    "doctor": TOP,
    "worker": TOP,
    "__main__": ("cli",),
}


def _within(name: str, allowed: Iterable[str]) -> bool:
    return any(name == one or name.startswith(one + ".") for one in allowed)


def floors_look_down(found: list[Module]) -> Iterator[str]:
    """Imports go to lower floors only; ``providers`` and ``storage`` never import each other."""
    for module in found:
        allowed = MAY_IMPORT.get(module.floor)
        if allowed is None:
            yield f"{module.name} stands on no floor of the house; say in the architecture which one it is."
            continue
        for line, name in module.own_imports():
            if not _within(name, allowed):
                yield f"{module.name}:{line} imports {name}; {module.floor} may import only {', '.join(allowed)}."


def private_names_stay_inside(found: list[Module]) -> Iterator[str]:
    """A name with a leading underscore is used in its own module only."""
    for module in found:
        for line, name in module.own_imports():
            if re.search(r"\._[a-z]", name, re.IGNORECASE) and not name.endswith("__"):
                yield f"{module.name}:{line} imports {name}, which is private. Drop the underscore, or move the code."


# The rooms of a floor in order: a module or package imports only what comes before it, besides its own package.
ROOMS: dict[str, tuple[str, ...]] = {
    "flows": (
        "command", "commits", "schedule", "server_clock", "slow_providers", "routing", "provider_pool",
        "provider_health", "active_policies", "provider_messages", "listing_progress", "context", "practice_state", "installation",
        "pool_exchange", "handler_guard", "handlers", "next_action", "provider_waits", "provider_calls", "identifiers",
        "payment_records", "events",
        "payment_events", "key_ring", "warm_up", "connection_shares", "presence", "owner_snapshot",
        "lease", "rollout_phase", "unresolved", "finding", "listing", "payments", "refunds", "webhooks", "recovery",
        "reconciliation", "erasure", "retention", "adoption", "backups", "review", "admin", "lifecycle", "jobs", "legacy",
        "rollout", "worker",
    ),
}  # fmt: skip
# Packages of ``web``, and the other packages of it that each may import. All may import the modules beside them.
WEB = {"api": (), "checkout": (), "console": ("api", "checkout")}


def rooms_are_in_order(found: list[Module]) -> Iterator[str]:
    """A flow imports only flows before it in ``ROOMS``; API and checkout import neither each other nor the console."""
    for module in found:
        floor, _, rest = module.name.partition(".")
        room, order = rest.split(".")[0], ROOMS.get(floor, ())
        if floor in ROOMS and rest and room not in order:
            yield f"{module.name} is in no room of ROOMS (tests/house/rules.py); add it where its imports allow it."
            continue
        for line, name in module.own_imports():
            other_floor, _, other = name.partition(".")
            other = other.split(".")[0]
            if not rest or other_floor != floor or other == room:
                continue
            if floor == "web" and room in WEB and other in WEB and other not in WEB[room]:
                yield f"{module.name}:{line} imports {name}; web.{room} may import of them only {WEB[room] or 'itself'}."
            if other in order and order.index(other) > order.index(room):
                yield f"{module.name}:{line} imports {name}, which comes after {floor}.{room} in the order of ROOMS."


# The home of each power: its third-party and standard modules, and who may import them.
POWERS: tuple[tuple[str, frozenset[str], tuple[str, ...]], ...] = (
    ("SQL", frozenset({"sqlite3", "asyncpg", "sqlalchemy", "alembic"}), ("storage", "testing", "simulation")),
    (
        "the network to providers",
        frozenset({"aiohttp", "httpx", "requests", "urllib.request", "http.client", "socket"}),
        ("providers.http", "simulator", "testing", "simulation", "cli", "demo"),
    ),
    ("HTTP and HTML", frozenset({"fastapi", "starlette", "uvicorn", "jinja2"}), ("web", "simulator", "cli", "demo")),
)


def powers_stay_home(found: list[Module]) -> Iterator[str]:
    """The domain does no I/O; SQL, the network and HTTP are each imported on one floor only."""
    pure = sys.stdlib_module_names | {"cryptography", "email_validator", "phonenumbers", "polytill"}
    for module in found:
        for line, name in module.imports():
            if module.floor == "domain" and name.split(".")[0] not in pure:
                yield f"{module.name}:{line} imports {name}; domain uses the standard library and pure libraries only."
            for power, packages, homes in POWERS:
                if _within(name, packages) and not _within(module.name, homes):
                    yield f"{module.name}:{line} imports {name}; {power} belongs to {', '.join(homes)}."


# A database is created, migrated and copied before any flow can open it.
MAKES_DATABASES = frozenset(
    {
        "storage.opening",
        "storage.clusters",
        "storage.migrating",
        "storage.copies",
        "storage.dumps",
        "storage.moving_postgres",
        "storage.moving_sqlite",
        "storage.export_rows",
    }
)
# The host application's own database, on a connection of its own: no installation's rows are in it.
HOSTS_OWN = frozenset({"storage.host_field", "storage.host_rows"})
ENGINE_ROOM = (
    frozenset({"storage.databases", "storage.sqlite", "storage.postgres", "storage.units"})
    | MAKES_DATABASES
    | HOSTS_OWN
)


def writes_go_through_flows(found: list[Module]) -> Iterator[str]:
    """A unit is created and committed, and a transaction opened, only in ``flows``."""
    for module in found:
        if module.floor == "flows" or module.name in ENGINE_ROOM:
            continue
        if module.name.startswith("storage.migrations."):
            continue  # Alembic renders op.execute() to SQL and runs nothing
        if module.floor == "simulator" or module.floor in LOOKS_FOR_ITSELF:
            continue  # the simulator has no database
        for line, called in module.calls():
            last = called.rpartition(".")[2]
            if last == "Unit" or ("." in called and last in ("transaction", "commit", "execute", "executemany")):
                yield f"{module.name}:{line} calls {called}(): a transaction is opened only in flows."


def sql_stays_in_storage(found: list[Module]) -> Iterator[str]:
    """SQL is written only in ``storage``."""
    statement = re.compile(r"^\s*(SELECT\s.+\sFROM\s|INSERT INTO\s|UPDATE\s+\S+\s+SET\s|DELETE FROM\s)", re.DOTALL)
    for module in found:
        if module.floor == "storage" or module.floor in LOOKS_FOR_ITSELF:
            continue
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and statement.match(node.value):
                yield f"{module.name}:{node.lineno} holds SQL ({node.value[:40]!r}); SQL belongs to storage."


VERBS = frozenset(
    {"create_payment_intent", "confirm_payment", "lookup_payment", "refund_payment", "lookup_refund"}
    | {"capture_payment", "cancel_payment", "list_transactions", "test_credentials"}
)


def handlers_have_one_door(found: list[Module]) -> Iterator[str]:
    """A handler's verb is called only in ``flows/provider_calls.py``, and only there a handler gets a practice's keys."""
    for module in found:
        if module.name == "flows.provider_calls" or module.floor in ("testing", "simulation", "simulator", "providers"):
            continue
        for line, called in module.calls():
            owner, _, last = called.rpartition(".")
            if last in VERBS and owner not in ("till", "self"):
                yield f"{module.name}:{line} calls {called}(): a handler is called only through flows/provider_calls.py."
            if last == "ProviderConfig":
                yield f"{module.name}:{line} makes a ProviderConfig: keys are handed out only in flows/provider_calls.py."


def the_door_is_guarded(found: list[Module]) -> Iterator[str]:
    """A function that awaits a handler in ``flows/provider_calls.py`` first refuses while a transaction is open, and
    checks the host."""
    for module in found:
        if module.name != "flows.provider_calls":
            continue
        for node in module.tree.body:
            if not isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef):
                continue
            text = ast.unparse(node)
            calls_handler = "await getattr(handler" in text or any(f"await handler.{verb}(" in text for verb in VERBS)
            if calls_handler and "if work_is_open():\n        raise TransactionOpen" not in text:
                yield f"{module.name}.{node.name} calls a handler without asking whether a transaction is open."
            if "ProviderConfig(" in text and "may_receive_keys(" not in text:
                yield f"{module.name}.{node.name} hands out keys without checking where they would go."


SETTLE = frozenset(
    {"flows.payments.settle"} | {f"flows.refunds.{name}" for name in ("settle", "write", "disputes", "past")}
)


def money_changes_in_settle(found: list[Module]) -> Iterator[str]:
    """The state of a payment, attempt or refund is written only by the modules in ``SETTLE``."""
    for module in found:
        if module.name in SETTLE or module.floor == "storage":
            continue
        for line, called in module.calls():
            if called in ("payments.change", "attempts.change", "refunds.change"):
                yield f"{module.name}:{line} calls {called}(): money changes state only in flows/payments/settle.py."
        for line, name in module.own_imports():
            if name in ("storage.payments.change", "storage.attempts.change", "storage.refunds.change"):
                yield f"{module.name}:{line} imports {name}: money changes state only in flows/payments/settle.py."


# What begins with a row: money that is taken or returned, and what staff decide about money.
BEGINS = re.compile(r"\b(?:(?:payments|refunds|operations|staff_decisions)\.insert\(|Source\.staff\b)")


def beginnings_need_a_current_database(found: list[Module]) -> Iterator[str]:
    """What moves money, or decides about it, asks first whether the practice's database is current (``may_begin``)."""
    for module in found:
        if not module.name.startswith("flows.") or module.name in SETTLE:
            continue
        if module.name.startswith("flows.adoption."):
            continue  # it ends the state in which nothing may begin
        text = ast.unparse(module.tree)
        takes = any(name == "flows.lease.ensure" for _, name in module.own_imports())
        if takes and module.name != "flows.webhooks.receive":
            yield f"{module.name} imports lease.ensure; only a webhook needs a lease without a current database."
        begins = BEGINS.search(text)
        if begins and "may_begin(" not in text:
            yield f"{module.name} has {begins[0].rstrip('(')} and never calls may_begin()."
        if module.name == "flows.provider_calls" and "if verb not in LOOKUPS:\n" not in text:
            yield f"{module.name} calls any verb, whether the database is current or not."


# The mark of an open transaction, the request id in the log, and how long a request has waited for providers. None leads to
# a database.
AMBIENT = frozenset({"storage.units", "web.logs", "flows.provider_waits"})


def nothing_is_ambient(found: list[Module]) -> Iterator[str]:
    """A practice's database is passed as an argument: no context variable, no global."""
    for module in found:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Global):
                yield f"{module.name}:{node.lineno} writes a global; state is handed over."
        for line, called in module.calls():
            allowed = module.name in AMBIENT or module.floor in LOOKS_FOR_ITSELF
            if called.rpartition(".")[2] in ("ContextVar", "local") and not allowed:
                yield f"{module.name}:{line} makes ambient state ({called}); a database is a value that is handed over."


SDKS = frozenset(
    [
        "stripe",
        "paystackapi",
        "paystack",
        "rave_python",
        "flutterwave",
        "razorpay",
        "mollie",
        "adyen",
        "paypalrestsdk",
        "braintree",
    ]
)


def no_provider_sdk(found: list[Module]) -> Iterator[str]:
    """No SDK with module-level keys."""
    for module in found:
        for line, name in module.imports():
            if name.split(".")[0] in SDKS:
                yield f"{module.name}:{line} imports the SDK {name}; handlers speak the wire protocol themselves."


CHANCE = re.compile(
    r"^(time\.(time|time_ns|monotonic|sleep)|datetime\.(now|utcnow|today)|date\.today|random\.\w+|secrets\.\w+"
    r"|os\.urandom|uuid\.uuid\d|asyncio\.sleep)$"
)


def the_world_is_handed_in(found: list[Module]) -> Iterator[str]:
    """Time and randomness come from ``World``, so that a simulation can supply its own."""
    for module in found:
        if module.floor not in ("domain", "providers", "storage", "flows") or module.name == "domain.clock":
            continue
        for line, called in module.calls():
            if CHANCE.match(called):
                yield f"{module.name}:{line} calls {called}(); time and randomness come from the World handed in."


def rows_choose_no_code(found: list[Module]) -> Iterator[str]:
    """Code is imported by name in the registry and for the hooks of an import, each behind an allow-list."""
    for module in found:
        for line, called in module.calls():
            if called.rpartition(".")[2] in ("import_module", "__import__", "eval", "exec") and (
                module.name not in ("providers.registry", "flows.legacy.hooks")
            ):
                yield f"{module.name}:{line} calls {called}(): only providers/registry.py imports code by name."


# Only annotations, behind ``TYPE_CHECKING``: the simulated providers and their network, and the parts of a simulated
# world and its history. They change no money of the product.
MAY_NAME_EACH_OTHER = frozenset({"simulator", "testing", "simulation"})


def no_cycles(found: list[Module]) -> Iterator[str]:
    """No module imports itself through others, ``TYPE_CHECKING`` imports and imports in functions included."""
    names = {module.name for module in found}

    def target(name: str) -> str | None:
        while name and name not in names:
            name = name.rpartition(".")[0]
        return name or None

    graph: dict[str, list[str]] = {}
    for module in found:
        skipped = module.annotation_lines() if module.floor in MAY_NAME_EACH_OTHER else set()
        targets = {target(name) for line, name in module.own_imports() if line not in skipped}
        graph[module.name] = sorted(targets - {None, module.name})  # type: ignore[type-var]
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> Iterator[str]:
        if name in path:
            yield "import cycle: " + " → ".join((*path[path.index(name) :], name))
        elif name not in done:
            for following in graph[name]:
                yield from visit(following, (*path, name))
            done.add(name)

    for name in sorted(graph):
        yield from visit(name, ())


# Written so that this file does not contain what it searches for.
PLACES = re.compile(
    r"(?<![\w.])(?:/" r"work/|/" r"farm/|/" r"root/|/" r"home/\w|/" r"Users/\w|/tmp/" r"bash_jobs|[A-Z]:\\\\?Users)"
)
REGISTRIES = re.compile(
    r"https?://\S+/"
    r"simple\b|--(?:extra-)?"
    r"index-url|\"resolved\""
    r"\s*:|files\."
    r"pythonhosted\.org"
    r"|pypi\."
    r"org/"
)


def no_places_of_one_machine(files: dict[str, str]) -> Iterator[str]:
    """No tracked file names a package registry or a path of the machine on which it was written."""
    for name, text in files.items():
        if name.startswith("tests/fixtures/"):
            continue  # the providers' own texts
        for pattern, what in ((PLACES, "a path of one machine"), (REGISTRIES, "a package registry")):
            for match in pattern.finditer(text):
                line = text.count("\n", 0, match.start()) + 1
                yield f"{name}:{line} names {what} ({match[0]})."


RULES: tuple[Rule, ...] = (
    floors_look_down,
    private_names_stay_inside,
    rooms_are_in_order,
    powers_stay_home,
    writes_go_through_flows,
    sql_stays_in_storage,
    handlers_have_one_door,
    the_door_is_guarded,
    money_changes_in_settle,
    beginnings_need_a_current_database,
    nothing_is_ambient,
    no_provider_sdk,
    the_world_is_handed_in,
    rows_choose_no_code,
    names_say_something,
    no_cycles,
    sizes,
    parameters_are_few,
    docstrings,
    money_is_never_a_float,
    log_lines_can_be_written,
)
