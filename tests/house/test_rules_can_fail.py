"""Every rule finds a planted violation: a rule that cannot fail proves nothing."""

from __future__ import annotations

import pytest

from tests.house import rules, style
from tests.house.dialect import PHRASES, PLACES, no_dialect
from tests.house.reading import Module
from tests.house.rules import RULES, Rule, no_places_of_one_machine

# The rule, the module that breaks it, its text, and a part of the sentence.
PLANTED: list[tuple[Rule, str, str, str]] = [
    (rules.floors_look_down, "domain.money", "from polytill.storage import units", "imports storage.units"),
    (rules.floors_look_down, "providers.new", "from polytill.storage.units import Unit", "imports storage.units"),
    (rules.floors_look_down, "storage.new", "import polytill.providers.http", "imports providers.http"),
    (rules.floors_look_down, "flows.new", "def f():\n    from polytill.web import app", "imports web.app"),
    (rules.floors_look_down, "flows.new", "from polytill import cli", "imports cli"),
    (rules.floors_look_down, "flows.new", "from polytill.simulator import app", "imports simulator.app"),
    (rules.floors_look_down, "flows.new", "from ..web import auth", "imports web.auth"),
    (rules.floors_look_down, "simulator.new", "from polytill.domain.money import Money", "imports domain.money"),
    (rules.floors_look_down, "simulator.new", "from polytill.providers import stripe", "imports providers.stripe"),
    (
        rules.floors_look_down,
        "storage.new",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from polytill.flows import pay",
        "imports flows.pay",
    ),
    (rules.rooms_are_in_order, "flows.payments.new", "from polytill.flows.worker import claims", "comes after"),
    (rules.rooms_are_in_order, "flows.lease", "from polytill.flows.refunds.create import create_refund", "comes after"),
    (rules.rooms_are_in_order, "flows.attic", "", "in no room"),
    (rules.rooms_are_in_order, "web.api.new", "from polytill.web.console import pages", "web.api may import"),
    (rules.floors_look_down, "flows.lease", "from simulation import plan", "imports simulation.plan"),
    (rules.floors_look_down, "attic.new", "", "stands on no floor"),
    (rules.powers_stay_home, "domain.new", "import msgspec", "standard library and pure libraries"),
    (rules.powers_stay_home, "flows.new", "import sqlite3", "SQL belongs to"),
    (rules.powers_stay_home, "web.new", "from sqlalchemy import text", "SQL belongs to"),
    (rules.powers_stay_home, "providers.new", "import aiohttp", "the network to providers"),
    (rules.powers_stay_home, "flows.new", "import urllib.request", "the network to providers"),
    (rules.powers_stay_home, "flows.new", "from fastapi import FastAPI", "HTTP and HTML"),
    (rules.writes_go_through_flows, "web.new", "u = Unit()", "calls Unit()"),
    (rules.writes_go_through_flows, "cli", "u = units.Unit()", "calls units.Unit()"),
    (rules.writes_go_through_flows, "web.new", "async def f(db):\n    await db.commit(1)", "calls db.commit()"),
    (
        rules.writes_go_through_flows,
        "storage.payments",
        "async def f(db):\n    async with db.transaction(): ...",
        "db.tr",
    ),
    (rules.sql_stays_in_storage, "flows.new", "q = 'UPDATE payments SET status = 1'", "holds SQL"),
    (rules.sql_stays_in_storage, "web.new", "q = f'SELECT id FROM payments WHERE {1}'", "holds SQL"),
    (
        rules.handlers_have_one_door,
        "flows.payments.create",
        "async def f(h):\n    await h.refund_payment(1)",
        "h.refund_payment",
    ),
    (rules.handlers_have_one_door, "web.new", "async def f(h):\n    await h.test_credentials()", "h.test_credentials"),
    (rules.handlers_have_one_door, "flows.new", "c = ProviderConfig(1, 2)", "makes a ProviderConfig"),
    (rules.beginnings_need_a_current_database, "flows.new", "from polytill.flows.lease import ensure", "lease.ensure"),
    (rules.beginnings_need_a_current_database, "flows.new", "refunds.insert(unit, 1)", "never calls may_begin"),
    (rules.beginnings_need_a_current_database, "flows.provider_calls", "def call(): ...", "calls any verb"),
    (
        rules.the_door_is_guarded,
        "flows.provider_calls",
        "async def call(handler, v):\n    await getattr(handler, v)()",
        "open",
    ),
    (
        rules.the_door_is_guarded,
        "flows.provider_calls",
        "async def t(handler):\n    return await handler.test_credentials()",
        "without asking whether",
    ),
    (
        rules.the_door_is_guarded,
        "flows.provider_calls",
        "def build():\n    return ProviderConfig(1)",
        "where they would go",
    ),
    (rules.money_changes_in_settle, "flows.payments.create", "payments.change(1, 2, 3, 4)", "payments.change()"),
    (rules.money_changes_in_settle, "web.new", "attempts.change(1)", "attempts.change()"),
    (
        rules.money_changes_in_settle,
        "flows.new",
        "from polytill.storage.payments import change as c",
        "imports storage",
    ),
    (rules.nothing_is_ambient, "storage.new", "from contextvars import ContextVar\ndb = ContextVar('db')", "ambient"),
    (rules.nothing_is_ambient, "flows.new", "def f():\n    global db\n    db = 1", "writes a global"),
    (rules.no_provider_sdk, "providers.new", "import stripe", "imports the SDK"),
    (rules.no_provider_sdk, "simulator.new", "from stripe.api import X", "imports the SDK"),
    (rules.the_world_is_handed_in, "flows.new", "import time\nt = time.time()", "time.time()"),
    (rules.the_world_is_handed_in, "storage.new", "n = datetime.now(UTC)", "datetime.now()"),
    (rules.the_world_is_handed_in, "providers.new", "r = secrets.token_hex(3)", "secrets.token_hex()"),
    (rules.rows_choose_no_code, "flows.new", "m = import_module(row)", "import_module()"),
    (rules.rows_choose_no_code, "storage.new", "m = __import__(row)", "__import__()"),
    (rules.private_names_stay_inside, "flows.new", "from polytill.storage.units import _one", "units._one, which is"),
    (style.names_say_something, "flows.utils", "", "says nothing"),
    (style.names_say_something, "storage.helpers.rows", "", "says nothing"),
    (style.sizes, "flows.new", "x = 1\n" * 451, "has 451 lines"),
    (style.sizes, "flows.new", "def f():\n" + "    x = 1\n" * 75, "f has 76 lines"),
    (style.parameters_are_few, "flows.new", "def f(a, b, /, c, d, *e, g, h): ...", "f has 7 parameters"),
    (style.parameters_are_few, "flows.new", "class C:\n    def m(self, a, b, c, d, e, f, **g): ...", "m has 7 para"),
    (style.docstrings, "flows.new", "x = 1", "flows.new has no docstring"),
    (style.docstrings, "flows.new", '"""M."""\ndef f(): ...', "flows.new.f has no docstring"),
    (style.docstrings, "flows.new", '"""M."""\nclass C:\n    """C."""\n    async def m(self): ...', "C.m has no doc"),
    (style.log_lines_can_be_written, "flows.new", "log.error('lost', event=event.id)", "named event"),
    (style.money_is_never_a_float, "flows.new", "x = float(amount)", "float()"),
    (style.money_is_never_a_float, "storage.new", "c = sa.Numeric(10, 2)", "sa.Numeric"),
    (style.money_is_never_a_float, "storage.migrations.new", "c = sa.Float()", "sa.Float"),
]


@pytest.mark.parametrize(("rule", "name", "text", "says"), PLANTED, ids=lambda value: getattr(value, "__name__", None))
def test_planted_text_is_caught(rule: Rule, name: str, text: str, says: str) -> None:
    sentences = list(rule([Module(name, text)]))
    assert any(says in sentence for sentence in sentences), sentences


def test_cycles_are_caught() -> None:
    one = Module("flows.one", "from polytill.flows.two import f")
    two = Module(
        "flows.two", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from polytill.flows import three"
    )
    three = Module("flows.three", "def f():\n    import polytill.flows.one")
    assert list(rules.no_cycles([one, two, three])) == ["import cycle: flows.one → flows.two → flows.three → flows.one"]
    assert list(rules.no_cycles([one, two])) == []


def test_every_rule_was_planted() -> None:
    assert {rule for rule, *_ in PLANTED} | {rules.no_cycles} == set(RULES)


def test_what_is_allowed_is_not_caught() -> None:
    fine = Module(
        "flows.payments.fine",
        '"""Fine."""\nfrom polytill.domain.money import Money\nfrom polytill.storage.units import Unit\n'
        'unit = Unit()\nnever = float("inf")\n',
    )
    assert [sentence for rule in RULES for sentence in rule([fine])] == []


@pytest.mark.parametrize(
    "text",
    [
        "see /" + "work/main/x",
        "cd /" + "root/x",
        "at '/" + "home/ada/till'",
        "--index" + "-url x",
        "https://x/" + "simple",
    ],
)
def test_places_are_caught(text: str) -> None:
    assert len(list(no_places_of_one_machine({"docs/a.md": f"first\n{text}"}))) == 1
    assert next(no_places_of_one_machine({"docs/a.md": f"first\n{text}"})).startswith("docs/a.md:2 ")


@pytest.mark.parametrize("phrase", PHRASES)
def test_every_phrase_of_the_dialect_is_caught(phrase: str) -> None:
    planted = f'title = "A"\nnote = "It {phrase.title()} now"\n'
    for place in (pattern.replace("*", "deep/x") for pattern in PLACES):
        found = list(no_dialect({place: planted}))
        assert any(one.startswith(f"{place}:2 ") and PHRASES[phrase] in one for one in found), found


def test_the_dialect_is_looked_for_in_its_places_only() -> None:
    said = "It was given\nback."
    assert list(no_dialect({"tests/house/x.py": said, "notes.md": said})) == []
    assert list(no_dialect({"docs/glossary.md": "| refund | money returned | given back |\n"})) == []
    assert len(list(no_dialect({"docs/glossary.md": "| refund | money given back | |\n"}))) == 1
    assert len(list(no_dialect({"src/polytill/web/texts/en.toml": said}))) == 1
    keys = 'given_back = "Refunded"\ncalled_off = "Canceled"\n'
    assert list(no_dialect({"src/polytill/web/texts/en.toml": keys})) == []
