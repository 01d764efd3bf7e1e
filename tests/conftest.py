"""One PostgreSQL server for the whole test run, shared by all its worker processes."""

from __future__ import annotations

import contextlib
import gc
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from polytill.app import Polytill
from tests.installation import Installation, fresh_settings, opened, running
from tests.postgres.server import PostgresError, postgres_server
from tests.web.support import Clock

# How fast examples are made says something about the machine and nothing about polytill.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

URL_VARIABLE = "POLYTILL_TEST_POSTGRES_URL"
PROBLEM_VARIABLE = "POLYTILL_TEST_POSTGRES_PROBLEM"
# A run of only these starts no server: developers run them after every change.
WITHOUT_SERVER = ("tests/house", "tests/domain", "tests/browser")


def wants_server(config: pytest.Config) -> bool:
    """Whether the run may include a test that needs the server."""
    if config.option.collectonly or os.environ.get(URL_VARIABLE):
        return False
    folder = config.invocation_params.dir
    chosen = [(folder / argument.split("::")[0]).resolve() for argument in config.args]
    free = [config.rootpath / name for name in WITHOUT_SERVER]
    return not all(any(path.is_relative_to(name) for name in free) for path in chosen)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Start the server once, in the process that starts the workers; they inherit its address."""
    config = session.config
    if hasattr(config, "workerinput") or not wants_server(config):
        return
    until_the_end = contextlib.ExitStack()
    config.add_cleanup(until_the_end.close)
    try:
        os.environ[URL_VARIABLE] = until_the_end.enter_context(postgres_server()).url
    except PostgresError as error:
        # Only the tests that need the server fail, each with this sentence.
        os.environ[PROBLEM_VARIABLE] = str(error)


# Written differently by each process, so that the workers of one run would not agree on the tests.
_DIFFERS = re.compile(r"set\(\{[^}]*,| at 0x[0-9a-f]+")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Reject a test whose name differs between two runs."""
    for item in items:
        if _DIFFERS.search(item.name):
            raise pytest.UsageError(f"{item.nodeid[:150]}: give its parameters names of their own (ids=…).")


def pytest_collection_finish() -> None:
    """Spare the garbage collector the collected tests: it would go through half a million objects again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def postgres_url() -> str:
    """The address of this run's own PostgreSQL server, without a database."""
    url = os.environ.get(URL_VARIABLE)
    if url is None:
        problem = os.environ.get(PROBLEM_VARIABLE, "This selection of tests starts no PostgreSQL server.")
        pytest.fail(problem, pytrace=False)
    return url


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def file_engine_url(request: pytest.FixtureRequest) -> str | None:
    """As ``engine_url``, for what all tests of a file share."""
    return None if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))


@pytest.fixture(scope="module")
def clock() -> Clock:
    """The clock of what the tests of a file share: real time plus what a test adds."""
    return Clock()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def engine_url(request: pytest.FixtureRequest) -> str | None:
    """Each test that asks for this runs twice: on SQLite files (None) and on a PostgreSQL server (its URL)."""
    return None if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))


@pytest.fixture
async def installation(tmp_path: Path, engine_url: str | None) -> AsyncIterator[Installation]:
    """A running service with a simulator, on either engine."""
    async with running(tmp_path, engine_url) as found:
        yield found


@pytest.fixture
async def till(tmp_path: Path, engine_url: str | None) -> AsyncIterator[Polytill]:
    """A migrated and seeded installation without a service, on either engine."""
    async with opened(fresh_settings(tmp_path, engine_url)) as found:
        yield found


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """After a run with conformance tests in it: the matrix of checks by providers."""
    marks: dict[str, dict[str, str]] = {}
    for outcome, mark in (("passed", "pass"), ("failed", "FAIL"), ("error", "FAIL")):
        for report in terminalreporter.stats.get(outcome, []):
            path, _, rest = report.nodeid.partition("::")
            owner, _, check = rest.partition("::test_")
            if path.endswith("test_conformance.py") and owner.startswith("Test") and check:
                marks.setdefault(check, {})[owner.removeprefix("Test").lower()] = mark
    if not marks:
        return
    providers = sorted({provider for row in marks.values() for provider in row})
    terminalreporter.section("conformance: checks by providers (–: the handler has not what is checked)")
    terminalreporter.write_line(f"{'':46}" + "".join(f"{provider:>15}" for provider in providers))
    for check, row in sorted(marks.items()):
        terminalreporter.write_line(f"{check:46}" + "".join(f"{row.get(one, '–'):>15}" for one in providers))
    sums = [sum(row.get(one) == "pass" for row in marks.values()) for one in providers]
    terminalreporter.write_line(f"{'passed':46}" + "".join(f"{passed:>15}" for passed in sums))
