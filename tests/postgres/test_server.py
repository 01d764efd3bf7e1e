"""The test run's PostgreSQL server is found, started, killed, recovered and removed with its run."""

import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.postgres import server as server_module
from tests.postgres.server import PostgresError, PostgresServer, find_binaries, postgres_server

ROOT = Path(__file__).resolve().parents[2]


async def ask(url: str, query: str) -> object:
    connection = await asyncpg.connect(f"{url}/postgres")
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


def fake_programs(folder: Path, version: str) -> Path:
    folder.mkdir()
    for name in server_module.PROGRAMS:
        (folder / name).write_text(f"#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n")
        (folder / name).chmod(0o755)
    return folder


@pytest.mark.postgres
async def test_the_run_has_a_server_on_loopback_outside_home(postgres_url: str) -> None:
    assert urlsplit(postgres_url).hostname == "127.0.0.1"
    assert int(str(await ask(postgres_url, "show server_version_num"))) >= 150000
    folder = Path(str(await ask(postgres_url, "show data_directory")))
    assert not folder.is_relative_to(Path.home())
    assert await ask(postgres_url, "show max_connections") == "300"


@pytest.mark.postgres
async def test_committed_rows_survive_a_crash() -> None:
    with postgres_server(durable=True) as server:
        assert await ask(server.url, "show fsync") == "on"
        await ask(server.url, "create table kept as select 7 as number")
        server.kill()
        with pytest.raises(OSError, match=r"."):
            await ask(server.url, "select 1")
        server.start()
        assert await ask(server.url, "select number from kept") == 7
        server.stop()
        server.start()
        assert await ask(server.url, "select number from kept") == 7
    assert not server.folder.exists()


@pytest.mark.postgres
def test_the_server_dies_with_a_killed_run() -> None:
    code = (
        "from tests.postgres.server import postgres_server\n"
        "with postgres_server() as server:\n"
        "    print(server.folder, server.port, flush=True)\n"
        "    input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as run:
        assert run.stdout is not None
        folder, port = run.stdout.readline().split()
        socket.create_connection(("127.0.0.1", int(port))).close()
        run.send_signal(signal.SIGKILL)
    wait_until(lambda: not Path(folder).exists())
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(port)))


def wait_until(true: Callable[[], bool], timeout_s: float = 20) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline_s, "nothing happened in time"
        time.sleep(0.05)


def test_the_newest_programs_that_are_new_enough_win(tmp_path: Path) -> None:
    old = fake_programs(tmp_path / "14", "14.9")
    new = fake_programs(tmp_path / "18", "18.1 (Debian 18.1-1)")
    middle = fake_programs(tmp_path / "16", "16.3")
    assert find_binaries([old, new, middle]) == new
    assert find_binaries([old]) is None
    assert find_binaries([tmp_path / "absent"]) is None
    assert find_binaries([]) is None


def test_a_folder_without_initdb_is_not_a_server(tmp_path: Path) -> None:
    folder = fake_programs(tmp_path / "16", "16.3")
    (folder / "initdb").unlink()
    assert find_binaries([folder]) is None


def test_a_missing_server_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "candidate_folders", lambda: iter(()))
    with pytest.raises(PostgresError, match="apt-get install postgresql"), postgres_server():
        pass


def test_a_server_that_cannot_start_says_why_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = fake_programs(tmp_path / "16", "16.3")
    for name in server_module.PROGRAMS:
        (broken / name).write_text("#!/bin/sh\necho out of luck\nexit 1\n")
    folders: list[Path] = []
    make_folder = tempfile.mkdtemp

    def remember(prefix: str, dir: str | None) -> str:
        folders.append(Path(make_folder(prefix=prefix, dir=dir)))
        return str(folders[-1])

    monkeypatch.setattr(tempfile, "mkdtemp", remember)
    # Root gets another reason than other users, because the server's account may not enter the test's folder.
    with pytest.raises(PostgresError, match=r"initdb failed: .*(out of luck|Permission denied)"):
        PostgresServer(broken)
    assert [folder.exists() for folder in folders] == [False]
