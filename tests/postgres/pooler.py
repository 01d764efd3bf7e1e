"""PgBouncer in transaction mode before the tests' server, as many installations have it."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from tests.postgres.server import USER, free_port, server_account

PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
MISSING = "PgBouncer is not installed (on Debian: apt-get install pgbouncer)."
START_S = 10.0
# Fewer than the clients, so that two statements of one client run on different connections of the server.
POOL_SIZE = 3


@contextmanager
def pooler(folder: Path, server_url: str) -> Iterator[str]:
    """A running PgBouncer. Yields its address, without a database and with the option that says what it is."""
    server, port = urlsplit(server_url), free_port()
    (folder / "users.txt").write_text(f'"{USER}" ""\n')
    (folder / "pgbouncer.ini").write_text(
        "[databases]\n"
        f"* = host={server.hostname} port={server.port}\n"
        "[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = trust\nauth_file = {folder}/users.txt\n"
        f"pool_mode = transaction\ndefault_pool_size = {POOL_SIZE}\nmax_client_conn = 200\n"
        # It tells nobody for 15 seconds that a database that was missing is there, unless this is lower.
        "server_login_retry = 0.2\nserver_idle_timeout = 1\nlogfile =\n"
    )
    account = server_account()  # it refuses to run as root
    if account is not None:
        shutil.chown(folder, *account)
    process = subprocess.Popen(
        [str(PROGRAM), "-q", str(folder / "pgbouncer.ini")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        user=account[0] if account else None,
        group=account[1] if account else None,
        extra_groups=[] if account else None,
    )
    try:
        yield f"postgresql://{USER}@127.0.0.1:{port}?pgbouncer=true"
    finally:
        process.terminate()
        process.wait(timeout=START_S)


async def answers(url: str) -> None:
    """Wait until the pooler accepts connections."""
    until_s = time.monotonic() + START_S
    while True:
        try:
            connection = await asyncpg.connect(url.replace("?pgbouncer=true", "/postgres"), statement_cache_size=0)
        except OSError:
            if time.monotonic() > until_s:
                raise
            await asyncio.sleep(0.05)
        else:
            await connection.close()
            return
