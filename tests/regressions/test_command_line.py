"""Every command that opens a database says one sentence for every fault of one: exit 1, no traceback, no password.

Source: operations evidence, D8 (a registered cluster cannot be corrected, closed or removed) and D9 (tracebacks in place of
sentences), and its table "Day one" (hardened roles).
"""

from __future__ import annotations

import asyncio
import io
import json
import secrets
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog
from typer.main import get_command

from polytill.cli import app, main
from polytill.domain.clock import World
from polytill.domain.sealing import KeyRing
from polytill.domain.secret import without_secrets
from polytill.storage.postgres_connect import connect, with_database
from tests.cli.process import polytill
from tests.cli.test_commands import commands
from tests.postgres.server import PostgresServer, postgres_server

PASSWORD = "hunter2"
NO_DATABASE = {
    ("simulate",),
    ("demo",),
    ("new-provider",),
    ("keys", "ring"),
    ("legacy", "mapping-schema"),
    ("routing", "schema"),
    ("practices", "check-export"),
}
RUN_FOR_EVER = {("serve",): ["--bind", "127.0.0.1:0"], ("worker",): []}
ARGUMENTS: dict[tuple[str, ...], list[str]] = {
    ("migrate",): [], ("sweep",): [], ("doctor",): [], ("rotate",): [],
    ("legacy", "import"): ["legacy.json"], ("practices", "create"): ["A", "NGN"], ("practices", "list"): [],
    ("practices", "change"): ["1", "--name", "B"], ("practices", "test-keys"): ["1", "paystack"],
    ("practices", "adopt"): ["1"], ("installation", "adopt"): [], ("neutralize",): [],
    ("practices", "backup"): ["1", "--in", "kept"], ("practices", "backups"): ["1", "--in", "kept"],
    ("practices", "check-backup"): ["1", "--in", "kept"], ("practices", "restore"): ["1", "latest", "--in", "kept"],
    ("practices", "move"): ["1", "--to", "second"],
    ("practices", "close"): ["1"], ("practices", "reopen"): ["1"], ("practices", "delete"): ["1", "--confirm", "A"],
    ("practices", "retention"): ["1"],
    ("practices", "erase-customer"): ["1", "--email", "ada@example.com"],
    ("cases", "list"): [], ("cases", "resolve"): ["1", "c", "look_up"],
    ("catalog", "list"): [], ("catalog", "add"): ["paystack"], ("keys", "create"): ["--owner"],
    ("people", "create"): ["ada@example.com", "--owner"], ("people", "reset"): ["ada@example.com", "--owner"],
    ("people", "change"): ["ada@example.com", "--owner", "--inactive"], ("people", "list"): ["--owner"],
    ("clusters", "list"): [], ("clusters", "add"): ["second"], ("clusters", "change"): ["second"],
    ("clusters", "close"): ["second"], ("clusters", "open"): ["second"], ("clusters", "remove"): ["second"],
    ("practices", "discard"): ["1"], ("practices", "export"): ["1", "--to", "out"],
    ("legacy", "backfill"): ["rows.csv", "--practice", "1", "--amounts", "minor"],
    ("webhooks", "list"): ["1"], ("webhooks", "dismiss"): ["1", "--note", "old", "--all"],
    ("webhooks", "relay"): ["1", "paystack", "--environment", "sandbox", "--off"],
    ("rollout", "status"): [], ("rollout", "sync"): [], ("rollout", "resolve"): ["1", "--keep", "polytill"],
    ("rollout", "move"): ["shadow", "--practice", "1"], ("rollout", "back"): ["--practice", "1"],
    ("rollout", "differences"): [], ("rollout", "readers"): [], ("rollout", "drop-column"): ["--yes"],
    ("routing", "show"): ["1"], ("routing", "draft"): ["1", "policy.json"], ("routing", "publish"): ["1", "1"],
    ("routing", "rollback"): ["1", "1"], ("routing", "simulate"): ["1", "policy.json"],
    ("jobs", "list"): [], ("jobs", "show"): ["1"], ("jobs", "pause"): ["1"], ("jobs", "resume"): ["1"],
    ("jobs", "retry"): ["1"], ("jobs", "cancel"): ["1"],
    ("routing", "decide"): ["1", "NGN"], ("routing", "explain"): ["1", "01k"],
}  # fmt: skip


def test_the_matrix_names_every_command_that_opens_a_database() -> None:
    assert set(commands(get_command(app))) == ARGUMENTS.keys() | RUN_FOR_EVER.keys() | NO_DATABASE


@dataclass
class Shell:
    """The command line in this process, in an empty folder: 150 calls, where a process each would take minutes."""

    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def run(self, *arguments: str, given: str = "", **settings: str) -> tuple[int, str, str]:
        """Exit status, output and errors of one command."""
        for name, value in settings.items():
            self.monkeypatch.setenv(name, value)
        self.monkeypatch.setattr("sys.argv", ["polytill", *arguments])
        self.monkeypatch.setattr("sys.stdin", io.StringIO(given))
        self.capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1 if end.code else 0
        said = self.capsys.readouterr()
        return code, said.out, said.err

    def fails(self, *arguments: str, given: str = "", **settings: str) -> str:
        """The one sentence of a command that fails."""
        code, out, err = self.run(*arguments, given=given, **settings)
        assert code == 1, (arguments, out, err)
        assert "Traceback" not in out + err, arguments
        assert PASSWORD not in out + err, (arguments, out, err)
        if arguments == ("doctor",) and not err:  # its findings
            assert "bad" in out
            return out
        lines = [line for line in err.splitlines() if line.strip()]
        assert len(lines) == 1, (arguments, err)
        assert "Unexpected error" not in lines[0], (arguments, err)
        return lines[0]


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    (tmp_path / "var").mkdir()
    KeyRing.create(tmp_path / "var" / "keyring", World())
    (tmp_path / "legacy.json").write_text("[]")
    (tmp_path / "policy.json").write_text('{"strategy": "priority"}')
    (tmp_path / "rows.csv").write_text("id,amount,currency,status\n")
    monkeypatch.chdir(tmp_path)
    # A command binds the log to standard error, which here ends with the test: no logger may keep it.
    before, configure = structlog.get_config(), structlog.configure
    monkeypatch.setattr(structlog, "configure", lambda **how: configure(**how | {"cache_logger_on_first_use": False}))
    for name in ("POLYTILL_OWNER_DATABASE_URL", "POLYTILL_PRACTICE_DATABASES", "POLYTILL_CLUSTER_URL"):
        monkeypatch.delenv(name, raising=False)
    yield Shell(monkeypatch, capsys)
    configure(**before)


@pytest.fixture(scope="module")
def hardened() -> Iterator[PostgresServer]:
    """A server that asks for passwords, with roles that lack what is needed."""
    with postgres_server() as server:
        run_sql(
            server,
            f"CREATE ROLE locked LOGIN SUPERUSER PASSWORD '{PASSWORD}'",
            f"CREATE ROLE poor LOGIN PASSWORD '{PASSWORD}'",
            "CREATE DATABASE closed",
            "REVOKE CONNECT ON DATABASE closed FROM PUBLIC",
            "CREATE DATABASE narrow OWNER poor",
            "REVOKE CONNECT ON DATABASE postgres FROM PUBLIC",
        )
        rules = server.data_folder / "pg_hba.conf"
        asked = "".join(f"host all {role} 127.0.0.1/32 scram-sha-256\n" for role in ("locked", "poor"))
        rules.write_text(asked + rules.read_text())
        server.stop()
        server.start()
        yield server


def run_sql(server: PostgresServer, *statements: str, database: str = "postgres") -> list[Any]:
    """The rows of the last statement."""

    async def run() -> list[Any]:
        connection = await connect(with_database(server.url, database))
        rows = [await connection.fetch(statement) for statement in statements]
        await connection.close()
        return list(rows[-1])

    return asyncio.run(run())


FAULTS: dict[str, tuple[Callable[[str], str], str]] = {
    "unreachable": (lambda host: f"postgresql://locked:{PASSWORD}@127.0.0.1:1/owner", "cannot be reached"),
    "malformed": (lambda host: f"postgresql:/locked:{PASSWORD}@{host}/owner", "starts with"),
    "no port": (lambda host: f"postgresql://locked:{PASSWORD}@127.0.0.1:x/owner", "port"),
    "slash in password": (lambda host: f"postgresql://locked:hun/{PASSWORD}@{host}/owner", "address"),
    "wrong password": (
        lambda host: f"postgresql://locked:{PASSWORD}x@{host}/owner",
        "rejects the user or the password",
    ),
    "unknown user": (lambda host: f"postgresql://nobody_x:{PASSWORD}@{host}/owner", "rejects the"),
    "no CONNECT": (lambda host: f"postgresql://poor:{PASSWORD}@{host}/closed", "lacks the right CONNECT"),
    "no database": (lambda host: f"postgresql://poor:{PASSWORD}@{host}/nowhere", ""),
    "unknown SSL mode": (lambda host: f"postgresql://locked:{PASSWORD}@{host}/owner?sslmode=nonsense", "options"),
    "no SSL": (lambda host: f"postgresql://locked:{PASSWORD}@{host}/owner?sslmode=require", ""),
}


@pytest.mark.postgres
@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_the_owner_database(shell: Shell, hardened: PostgresServer, fault: str) -> None:
    address, words = FAULTS[fault]
    url = address(f"127.0.0.1:{hardened.port}")
    for command, arguments in (ARGUMENTS | RUN_FOR_EVER).items():
        said = shell.fails(*command, *arguments, given="postgresql://a@127.0.0.1:1\n", POLYTILL_OWNER_DATABASE_URL=url)
        assert words in said, command
    if fault == "no database":
        assert "no database" in shell.fails("keys", "create", "--owner")
        assert "CONNECT on the database" in shell.fails("migrate")  # which makes it from `postgres`


@pytest.mark.postgres
def test_faults_of_the_practices_server(shell: Shell, hardened: PostgresServer) -> None:
    host = f"127.0.0.1:{hardened.port}"
    name = f"owner_{secrets.token_hex(4)}"
    good = {
        "POLYTILL_OWNER_DATABASE_URL": f"postgresql://locked:{PASSWORD}@{host}/{name}",
        "POLYTILL_PRACTICE_DATABASES": f"postgresql://locked:{PASSWORD}@{host}",
    }
    assert shell.run("migrate", **good)[0] == 0
    assert shell.run("practices", "create", "Clinic", "NGN", **good)[0] == 0
    of_practice = [
        ("people", "list", "--practice", "1"),
        ("people", "create", "ada@example.com", "--practice", "1"),
        ("cases", "list", "--practice", "1"),
        ("cases", "resolve", "1", "c", "look_up"),
        ("practices", "change", "1", "--name", "B"),
        ("migrate", "--all"),
        ("doctor",),
    ]
    faults = {
        "cannot be reached": f"postgresql://locked:{PASSWORD}@127.0.0.1:1",
        "password": f"postgresql://locked:{PASSWORD}x@{host}",
        "lacks": f"postgresql://poor:{PASSWORD}@{host}",
        "options": f"postgresql://locked:{PASSWORD}@{host}?sslmode=nonsense",
    }
    for words, place in faults.items():
        for command in [*of_practice, ("practices", "create", "Other", "NGN")]:
            code, out, err = shell.run(*command, **good | {"POLYTILL_PRACTICE_DATABASES": place})
            assert code == 1, (command, words, out, err)
            assert "Traceback" not in out + err
            assert PASSWORD not in out + err
            assert "Unexpected" not in out + err, (command, err)
            assert words in out + err, (command, out, err)
    run_sql(hardened, "GRANT CONNECT ON DATABASE postgres TO poor")
    try:
        poor = good | {"POLYTILL_PRACTICE_DATABASES": f"postgresql://poor:{PASSWORD}@{host}"}
        assert "CREATEDB" in shell.fails("practices", "create", "Third", "NGN", **poor)
        assert "CREATEDB" in shell.run("doctor", **poor)[1]
    finally:
        run_sql(hardened, "REVOKE CONNECT ON DATABASE postgres FROM poor")
    # The database of one practice is gone: a sentence for whoever needs it, and the others go on.
    [row] = run_sql(hardened, "SELECT database_name FROM practices WHERE name = 'Clinic'", database=name)
    run_sql(hardened, f'DROP DATABASE "{row[0]}" WITH (FORCE)')
    for command in of_practice:
        code, out, err = shell.run(*command, **good)
        assert code == 1, (command, out, err)
        assert "Traceback" not in out + err
        assert "Unexpected" not in out + err, (command, err)
    assert shell.run("practices", "create", "Fourth", "NGN", **good)[0] == 0


@pytest.mark.postgres
def test_clusters_on_the_command_line(shell: Shell, hardened: PostgresServer) -> None:
    host = f"127.0.0.1:{hardened.port}"
    good = f"postgresql://locked:{PASSWORD}@{host}"
    settings = {
        "POLYTILL_OWNER_DATABASE_URL": f"{good}/owner_{secrets.token_hex(4)}",
        "POLYTILL_PRACTICE_DATABASES": good,
    }
    assert shell.run("migrate", **settings)[0] == 0
    refused = {
        f"postgresql://locked:{PASSWORD}x@{host}": "password",
        f"postgresql://poor:{PASSWORD}@{host}": "CONNECT",
        f"postgresql://u:{PASSWORD}@127.0.0.1:1": "cannot be reached",
        f"postgresql:/u:{PASSWORD}@{host}": "starts with",
        "": "POLYTILL_CLUSTER_URL",
    }
    for url, words in refused.items():
        assert words in shell.fails("clusters", "add", "second", given=f"{url}\n"), url
    assert [row[0] for row in listed(shell)] == ["default"]
    assert shell.run("clusters", "add", "second", given=f"{good}\n")[0] == 0
    assert listed(shell) == [("default", "open", "0"), ("second", "open", "0")]
    assert "already" in shell.fails("clusters", "add", "second", given=f"{good}\n")
    assert shell.run("practices", "create", "A", "NGN", "--cluster", "second")[0] == 0
    # The password changes, the new one is checked, and what is saved works without a restart.
    run_sql(hardened, "ALTER ROLE locked PASSWORD 'changed'")
    try:
        with_changed = settings["POLYTILL_OWNER_DATABASE_URL"].replace(PASSWORD, "changed")
        shell.monkeypatch.setenv("POLYTILL_OWNER_DATABASE_URL", with_changed)
        assert "password" in shell.fails("people", "list", "--practice", "1")
        assert "password" in shell.fails("clusters", "change", "second", given=f"{good}\n")
        assert shell.run("clusters", "change", "second", given=f"{good.replace(PASSWORD, 'changed')}\n")[0] == 0
        assert shell.run("people", "list", "--practice", "1")[0] == 0
    finally:
        run_sql(hardened, f"ALTER ROLE locked PASSWORD '{PASSWORD}'")
    shell.monkeypatch.setenv("POLYTILL_OWNER_DATABASE_URL", settings["POLYTILL_OWNER_DATABASE_URL"])
    assert shell.run("clusters", "close", "second")[0] == 0
    assert listed(shell)[1] == ("second", "closed", "1")
    assert "closed" in shell.fails("practices", "create", "B", "NGN", "--cluster", "second")
    assert shell.run("clusters", "open", "second")[0] == 0
    assert "1 practice is on the cluster" in shell.fails("clusters", "remove", "second")
    assert shell.run("clusters", "add", "third", POLYTILL_CLUSTER_URL=good)[0] == 0
    assert shell.run("clusters", "remove", "third")[0] == 0
    assert [row[0] for row in listed(shell)] == ["default", "second"]
    for command in ("change", "close", "open", "remove"):
        assert "no cluster" in shell.fails("clusters", command, "third", given=f"{good}\n")
        if command in ("change", "remove"):
            assert "setting" in shell.fails("clusters", command, "default", given=f"{good}\n")
        assert "letter" in shell.fails("clusters", command, "Third!")


def listed(shell: Shell) -> list[tuple[str, str, str]]:
    code, out, err = shell.run("clusters", "list")
    assert code == 0, err
    assert PASSWORD not in out
    rows = [[cell.strip() for cell in line.strip("│ ").split("│")] for line in out.splitlines() if line.startswith("│")]
    return [(row[0], row[1], row[2]) for row in rows]


ADDRESSES = [f"postgresql://u:{PASSWORD}@127.0.0.1/x", f"postgresql:/u:{PASSWORD}@h/x", f"POSTGRES://u:{PASSWORD}@h"]


@pytest.mark.parametrize("url", ADDRESSES)
def test_an_address_in_the_wrong_place_is_not_repeated(shell: Shell, url: str) -> None:
    for command in (*ARGUMENTS, *RUN_FOR_EVER, *NO_DATABASE):
        for arguments in ([url], [*ARGUMENTS.get(command, []), url], ["--name", url], [f"--url={url}"]):
            shell.fails(*command, *arguments)
    assert PASSWORD not in without_secrets(f"The server {url} is gone.")


NUMBER, TEXT = ["99999999999999999999999", "2147483648", "0"], ["\udcff", "", " ", "\x1b[31mred", "a" * 201]
WRONG: list[tuple[tuple[str, ...], list[str]]] = [
    (("practices", "change", "?", "--name", "B"), NUMBER),
    (("practices", "test-keys", "?", "paystack"), NUMBER),
    (("cases", "list", "--practice", "?"), NUMBER),
    (("cases", "resolve", "?", "c", "look_up"), NUMBER),
    (("people", "list", "--practice", "?"), NUMBER),
    (("people", "create", "a@example.com", "--practice", "?"), NUMBER),
    (("keys", "create", "--practice", "?"), NUMBER),
    (("keys", "create", "--owner", "--name", "?"), TEXT),
    (("practices", "create", "?", "NGN"), TEXT),
    (("practices", "change", "1", "--name", "?"), TEXT),
    (("practices", "change", "1", "--currency", "?"), TEXT),
    (("practices", "create", "A", "?"), TEXT),
    (("practices", "create", "A", "NGN", "--cluster", "?"), TEXT),
    (("practices", "test-keys", "1", "?"), TEXT),
    (("people", "create", "?", "--owner"), TEXT),
    (("cases", "resolve", "1", "?", "look_up"), TEXT),
    (("people", "create", "a@example.com", "--owner", "--name", "?"), ["\udcff", "\x1b[31mred", "a" * 201]),
    (("catalog", "add", "?"), TEXT),
    (("clusters", "close", "?"), TEXT),
    (("legacy", "import", "?"), ["\udcff", "nowhere", ".", "env:NOBODY", "a\0b"]),
]


def test_a_wrong_argument_is_one_sentence_and_changes_nothing(shell: Shell) -> None:
    """Found on the way: numbers too large for the database and text that is not UTF-8 were unexpected errors; names could
    be blank, endless, or hold escape sequences of the terminal; one such as ``[/red]`` was stored, but not printed."""
    assert shell.run("migrate")[0] == 0
    assert shell.run("practices", "create", "[/red]", "NGN")[1].startswith("Practice 1: [/red] (NGN")
    for arguments, values in WRONG:
        for value in values:
            shell.fails(*(value if each == "?" else each for each in arguments))
    assert "[/red]" in shell.run("practices", "list")[1]
    assert "a@example.com" not in shell.run("people", "list", "--owner")[1]
    with sqlite3.connect("var/owner.db") as owner:
        assert owner.execute("SELECT id, name FROM practices").fetchall() == [(1, "[/red]")]
        assert owner.execute("SELECT COUNT(*) FROM api_keys").fetchone() == (1,)  # of the practice


def test_faults_of_schema_and_key_ring(shell: Shell, tmp_path: Path) -> None:
    assert shell.run("migrate")[0] == 0
    assert shell.run("practices", "create", "Clinic", "NGN")[0] == 0
    all_commands = ARGUMENTS | {("serve",): ["--bind", "127.0.0.1:0"]}
    given = "postgresql://a@127.0.0.1:1\n"
    ring, kept = tmp_path / "var" / "keyring", tmp_path / "kept"

    def every(words: str, *, but: tuple[str, ...] = ()) -> None:
        for command, arguments in all_commands.items():
            if command != but:
                said = shell.fails(*command, *arguments, given=given)
                assert words in said, (command, said)

    def version(owner: str) -> str:
        with sqlite3.connect("var/owner.db") as connection:
            [before] = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            connection.execute("UPDATE alembic_version SET version_num = ?", [owner])
        return str(before)

    present = version("9999")
    every("9999")
    version("0001")
    every("polytill migrate", but=("migrate",))
    version(present)
    ring.rename(kept)
    every("key ring")
    assert not ring.exists()
    KeyRing.create(ring, World())
    every("key ring")
    ring.write_text("k1:no key at all\n")
    every("key ring")
    ring.unlink()
    kept.rename(ring)
    assert shell.run("people", "list", "--practice", "1")[0] == 0


def test_an_address_that_cannot_be_listened_on(shell: Shell) -> None:
    """The worker began, "Serving on" was printed, and the reason was a log line of the server; a port beyond 65535 served
    nothing and did not end."""
    assert shell.run("migrate")[0] == 0
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for place in (
            f"127.0.0.1:{port}",
            "127.0.0.1:99999",
            "127.0.0.1:x",
            "nohost.invalid:80",
            "a..b:80",
            "[::1",
            "8420",
        ):
            assert "--bind" in shell.fails("serve", "--bind", place), place
        metrics = {"POLYTILL_METRICS_BIND": f"127.0.0.1:{port}"}
        assert "POLYTILL_METRICS_BIND" in shell.fails("serve", "--bind", "127.0.0.1:0", **metrics)


@pytest.mark.postgres
def test_a_role_without_rights_on_the_tables(shell: Shell, hardened: PostgresServer) -> None:
    """Each command, and `serve` and `worker` in processes of their own, which end within seconds."""
    host, name = f"127.0.0.1:{hardened.port}", f"owner_{secrets.token_hex(4)}"
    good = f"postgresql://locked:{PASSWORD}@{host}"
    settings = {"POLYTILL_OWNER_DATABASE_URL": f"{good}/{name}", "POLYTILL_PRACTICE_DATABASES": good}
    assert shell.run("migrate", **settings)[0] == 0
    narrow = settings | {"POLYTILL_OWNER_DATABASE_URL": f"postgresql://poor:{PASSWORD}@{host}/{name}"}
    for command, arguments in ARGUMENTS.items():
        assert "right" in shell.fails(*command, *arguments, given=f"{good}\n", **narrow), command
    for command, arguments in RUN_FOR_EVER.items():
        started = time.monotonic()
        found = polytill(Path.cwd(), *command, *arguments, **narrow)
        assert time.monotonic() - started < 60
        assert (found.returncode, len(found.stderr.splitlines())) == (1, 1), found.stderr
        assert "right" in found.stderr
        assert PASSWORD not in found.stdout + found.stderr


def test_migrate_names_the_practice_that_it_could_not_migrate(tmp_path: Path) -> None:
    """In a process of its own: its log line goes to standard error, and what it prints stays readable by a script."""
    assert polytill(tmp_path, "migrate").returncode == 0
    assert polytill(tmp_path, "practices", "create", "Clinic", "NGN").returncode == 0
    [database] = (tmp_path / "var" / "practices").glob("practice_*.db")
    database.rename(tmp_path / "elsewhere.db")
    found = polytill(tmp_path, "migrate", "--all")
    assert found.returncode == 1
    assert "Practice 1: " in found.stdout
    assert f"var/practices/{database.name}" in found.stdout
    assert "job_part_failed" not in found.stdout
    *logged, said = found.stderr.splitlines()
    assert "job_part_failed" in [json.loads(line)["event"] for line in logged]
    assert said.startswith("polytill: ")
