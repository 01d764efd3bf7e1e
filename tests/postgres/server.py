"""A private PostgreSQL server for one test run.

It listens on a loopback port and stores its data in a folder outside HOME. At the end of the run it is stopped and its
data is deleted by a small watcher process. The watcher holds the reading end of a pipe from the test run, so it notices
every end of the run, a SIGKILL included.

Only the standard library is used: `./run` looks for the server before anything is installed.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

OLDEST_VERSION = 15
MISSING = (
    f"The tests need the programs of a PostgreSQL server, version {OLDEST_VERSION} or newer (initdb, pg_ctl, "
    "postgres): install your system's PostgreSQL server package, on Debian `apt-get install postgresql`, "
    "and see that the programs are in PATH or in /usr/lib/postgresql."
)
USER = "polytill"
PROGRAMS = ("initdb", "pg_ctl", "postgres")
MEMORY = "/dev/shm"
MEMORY_NEEDED = 4 * 1024**3  # databases of 8 MB that are created and dropped, and the write-ahead log
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 30


class PostgresError(Exception):
    """The server could not be started; the message says why."""


def candidate_folders() -> Iterator[Path]:
    """The folders of a distribution's server programs: most are not in PATH."""
    yield from Path("/usr/lib/postgresql").glob("*/bin")
    yield from Path("/usr").glob("pgsql-*/bin")
    if found := shutil.which("postgres"):
        yield Path(found).resolve().parent
    if pg_config := shutil.which("pg_config"):
        answer = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=False)
        yield Path(answer.stdout.strip() or "/nonexistent")


def version_of(folder: Path) -> int:
    """Return the major version of a folder of server programs, 0 if programs are missing."""
    if not all(os.access(folder / program, os.X_OK) for program in PROGRAMS):
        return 0
    answer = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"\(PostgreSQL\) (\d+)", answer.stdout)
    return int(found[1]) if found else 0


def find_binaries(folders: Iterable[Path] | None = None) -> Path | None:
    """Return the folder of the newest server programs that are new enough, or None."""
    known = {folder: version_of(folder) for folder in (candidate_folders() if folders is None else folders)}
    best = max(known, key=lambda folder: known[folder], default=None)
    return best if best is not None and known[best] >= OLDEST_VERSION else None


def server_account() -> tuple[int, int] | None:
    """The account that runs the server: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            account = pwd.getpwnam(name)
            return account.pw_uid, account.pw_gid
    raise PostgresError("PostgreSQL cannot run as root, and there is no account `postgres` or `nobody`.")


def run_program(
    path: Path, *arguments: str, data_folder: Path, account: tuple[int, int] | None, output: IO[bytes] | int
) -> bool:
    """Run one of the server's programs on a data folder, under the server's account."""
    user, group = account or (None, None)
    done = subprocess.run(
        [path, *arguments, "-D", data_folder],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        cwd=data_folder.parent,
        check=False,
        user=user,
        group=group,
        extra_groups=[] if account else None,
    )
    return done.returncode == 0


def free_port() -> int:
    """Choose a port below the range from which the system takes ports for outgoing connections.

    Another process could take a port of that range while the server restarts.
    """
    for _ in range(100):
        port = random.randrange(20000, 32000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    raise PostgresError("No free port was found on 127.0.0.1 between 20000 and 32000.")


def folder_for_data(durable: bool) -> str | None:
    """Choose the folder of a server's data; None for the environment's folder for temporary files.

    The environment's folder is the last choice: it may be in HOME, closed to the server's account, or too long for a
    socket's path. The data need not be durable, so it is in memory if there is enough: creating a database there took
    0.02 s instead of 0.3, and a test run creates two thousand.
    """
    if not durable and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= MEMORY_NEEDED:
        return MEMORY
    return "/tmp" if os.access("/tmp", os.W_OK) else None


class PostgresServer:
    """One running server. `kill` and `start` simulate a crash and the recovery from it."""

    def __init__(self, binaries: Path, *, durable: bool = False, primary: PostgresServer | None = None) -> None:
        self.binaries = binaries
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="polytill-pg-", dir=folder_for_data(durable)))
        self.data_folder = self.folder / "data"
        self._account = server_account()
        if self._account is not None:
            os.chown(self.folder, *self._account)
        self._watcher = self._watch()
        try:
            self._create(durable) if primary is None else self._copy(primary)
            self.start()
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        """The server's address, without a database."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the server and return when it takes connections."""
        log = self.folder / "server.log"
        self._call("pg_ctl", "start", "-w", "-t", str(START_TIMEOUT_S), "-l", str(log))

    def stop(self) -> None:
        """Stop cleanly: open transactions are rolled back, everything is on disk."""
        self._call("pg_ctl", "stop", "-w", "-t", str(STOP_TIMEOUT_S), "-m", "fast")

    def kill(self) -> None:
        """Stop as in a crash: no rollback, no checkpoint. The next start recovers."""
        self._call("pg_ctl", "stop", "-w", "-t", str(STOP_TIMEOUT_S), "-m", "immediate")

    def close(self) -> None:
        """Stop the server and delete its data. The watcher does it, as after a killed run."""
        if self._watcher.stdin is not None and not self._watcher.stdin.closed:
            # The byte is needed because a child of the run that still holds the pipe would delay its end.
            with contextlib.suppress(BrokenPipeError):
                self._watcher.stdin.write(b".")
                self._watcher.stdin.flush()
            self._watcher.stdin.close()
            # Deleting the files of many databases takes a while on a busy disk. The watcher ends without being waited
            # for.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._watcher.wait(timeout=2 * STOP_TIMEOUT_S)

    def _watch(self) -> subprocess.Popen[bytes]:
        account = [str(number) for number in self._account or ()]
        return subprocess.Popen(
            [sys.executable, "-I", __file__, str(self.binaries), str(self.data_folder), *account],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            # Ctrl-C reaches every process of the terminal's group, and the watcher must survive it.
            start_new_session=True,
        )

    def _create(self, durable: bool) -> None:
        # Everyone on this machine may connect as any user: the data is invented and lives for minutes.
        self._call("initdb", "-U", USER, "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")
        settings = {
            "port": self.port,
            "listen_addresses": "'127.0.0.1'",
            "unix_socket_directories": f"'{self.folder}'",
            "max_connections": 300,
            "timezone": "'UTC'",
        }
        if not durable:
            # Nothing must survive a power cut, and waiting for the disk is most of a commit's time.
            settings |= {"fsync": "off", "full_page_writes": "off", "max_wal_size": "'512MB'"}
        with (self.data_folder / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in settings.items())

    def _copy(self, primary: PostgresServer) -> None:
        self._call("pg_basebackup", "-R", "-c", "fast", "-h", "127.0.0.1", "-p", str(primary.port), "-U", USER)
        with (self.data_folder / "postgresql.conf").open("a") as file:  # the last value of a setting counts
            file.write(f"port = {self.port}\nunix_socket_directories = '{self.folder}'\n")

    def promote(self) -> None:
        """Make a standby the primary, and return when it can be written."""
        self._call("pg_ctl", "promote", "-w", "-t", str(START_TIMEOUT_S))

    def _call(self, program: str, *arguments: str) -> None:
        # The output goes to a file: the server inherits a pipe, and reading it would wait for the server.
        with (self.folder / "commands.log").open("ab") as output:
            try:
                done = run_program(
                    self.binaries / program,
                    *arguments,
                    data_folder=self.data_folder,
                    account=self._account,
                    output=output,
                )
            except OSError as error:
                raise PostgresError(f"{program} failed: {error}") from error
        if not done:
            raise PostgresError(f"{program} failed: {self._last_words()}")

    def _last_words(self) -> str:
        files = (self.folder / "commands.log", self.folder / "server.log")
        lines = [line for file in files if file.exists() for line in file.read_text().splitlines()]
        return " | ".join(lines[-8:])


@contextlib.contextmanager
def postgres_server(*, durable: bool = False, primary: PostgresServer | None = None) -> Iterator[PostgresServer]:
    """Start a server and stop it at the end of the block. `durable` leaves fsync on, as in production. With a `primary`
    it is a standby of that server."""
    binaries = find_binaries()
    if binaries is None:
        raise PostgresError(MISSING)
    server = PostgresServer(binaries, durable=durable, primary=primary)
    try:
        yield server
    finally:
        server.close()


def watch(binaries: Path, data_folder: Path, *account: str) -> None:
    """Wait for the end of the test run, then stop its server and delete the data."""
    sys.stdin.buffer.read(1)
    try:
        run_program(
            binaries / "pg_ctl",
            *("stop", "-w", "-t", str(STOP_TIMEOUT_S), "-m", "immediate"),
            data_folder=data_folder,
            account=(int(account[0]), int(account[1])) if account else None,
            output=subprocess.DEVNULL,
        )
    finally:
        shutil.rmtree(data_folder.parent, ignore_errors=True)


if __name__ == "__main__":
    watch(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
