"""What ``import polytill`` offers, and what it does not load."""

from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys
import typing

import polytill
from polytill import Credentials, Polytill, Secret, Worker, results

# A name that is missing here breaks somebody's import: remove one only with a changelog entry.
NAMES = """
    Attempt AttemptState AvailableProvider CallerError CaptureMode ConfigurationRequest Conflict Credentials Customer Environment
    Event EventPage EventState FieldError Forbidden Invalid Migrated Money NewPractice NextAction NextKind NotFound NotNow
    OperatorError PayOffline Payment PaymentPage PaymentRequest PaymentStatus Polytill PolytillError Practice
    ProviderConfiguration ProviderRefused Refund RefundState Secret Settings TooLarge TooMany Unauthorized Wants
    WebhookReceipt Worker __version__ make_app migrate
""".split()  # noqa: SIM905 — read as a list of words
CALLS = {
    "available", "cancel", "capture", "configure", "confirm", "create_practice", "events", "get", "list", "migrate_fleet",
    "open", "pay", "receive_webhook", "refund",
}  # fmt: skip
# Calls that change something say who asked for it.
WITH_ACTOR = {"cancel", "capture", "configure", "create_practice", "migrate_fleet", "pay", "refund"}
WITH_KEY = {"cancel", "capture", "pay", "refund"}
HEAVY = ("fastapi", "starlette", "uvicorn", "jinja2", "typer", "dbos", "sqlalchemy", "alembic")


def test_the_public_names() -> None:
    assert polytill.__all__ == sorted(NAMES)
    for name in NAMES:
        assert getattr(polytill, name) is not None


def test_the_calls_of_polytill_and_worker() -> None:
    def public(kind: type) -> set[str]:
        return {name for name, _ in inspect.getmembers(kind, callable) if not name.startswith("_")}

    assert public(Polytill) == CALLS
    assert public(Worker) == {"run", "turn"}
    for name in sorted(CALLS):
        parameters = inspect.signature(getattr(Polytill, name)).parameters
        assert ("actor" in parameters) is (name in WITH_ACTOR), name
        assert ("key" in parameters) is (name in WITH_KEY), name
        for one in ("actor", "key"):
            assert one not in parameters or parameters[one].default is inspect.Parameter.empty, name


def test_every_public_name_has_a_docstring() -> None:
    for name in set(NAMES) - {"__version__"}:
        assert (inspect.getdoc(getattr(polytill, name)) or "").strip(), name
    for name in CALLS:
        assert (inspect.getdoc(getattr(Polytill, name)) or "").strip(), name


def test_results_are_frozen_values_of_their_own() -> None:
    kinds = [kind for _, kind in inspect.getmembers(results, inspect.isclass) if kind.__module__ == results.__name__]
    assert len(kinds) > 10
    for kind in kinds:
        assert dataclasses.is_dataclass(kind)
        assert kind.__dataclass_params__.frozen, kind  # type: ignore[attr-defined]
        for field, hint in typing.get_type_hints(kind).items():
            assert "polytill.storage" not in str(hint), (kind, field)


def test_no_secret_is_in_a_repr() -> None:
    told = repr(Credentials("pk_test_public", Secret("sk_test_hidden"), Secret("whsec_hidden"), {"passkey": "hidden"}))
    assert "hidden" not in told
    assert "pk_test_public" in told


def test_an_import_loads_no_web_framework_and_no_command_line() -> None:
    code = f"import sys, polytill; sys.exit(' '.join(name for name in {HEAVY!r} if name in sys.modules) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    code = f"import sys; from polytill import make_app; sys.exit({HEAVY[0]!r} not in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0, "but make_app does"
