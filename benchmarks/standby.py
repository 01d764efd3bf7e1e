"""A synchronous standby of a private PostgreSQL server: copied, followed, promoted."""

from __future__ import annotations

from pathlib import Path

import asyncpg
from tests.postgres.server import PostgresServer


class Standby(PostgresServer):
    """A copy that follows its primary until it is promoted."""

    def __init__(self, binaries: Path, primary: PostgresServer) -> None:
        self._primary = primary
        super().__init__(binaries)

    def _create(self, durable: bool) -> None:
        address = ("-h", "127.0.0.1", "-p", str(self._primary.port), "-U", "polytill")
        self._call("pg_basebackup", *address, "-X", "stream", "-R", "-c", "fast")
        with (self.data_folder / "postgresql.conf").open("a") as file:
            file.write(f"port = {self.port}\nunix_socket_directories = '{self.folder}'\n")

    def promote(self) -> None:
        """Become the primary; returns when it accepts writes."""
        self._call("pg_ctl", "promote", "-w", "-t", "30")


async def make_synchronous(primary: PostgresServer) -> None:
    """From now on, the primary acknowledges only what the standby has as well."""
    connection = await asyncpg.connect(f"{primary.url}/postgres")
    try:
        await connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        await connection.execute("SELECT pg_reload_conf()")
    finally:
        await connection.close()
