"""``polytill demo`` as a newcomer tries it: it serves what it announces, and an invalid key is handled as anywhere
else."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.postgres.server import free_port

PATIENCE_S = 90.0


class Running:
    """A running demo, and its output."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.errors = folder, folder / "errors.log"
        code = "from polytill.cli import main; main()"
        environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(folder),
            "PYTHONPATH": ":".join(sys.path),
            "PYTHONUNBUFFERED": "1",
        }
        arguments = ["demo", "--port", str(free_port()), "--folder", str(folder / "demo")]
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code, *arguments],
                cwd=folder,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        assert self.process.stdout is not None
        assert any("Serving until Ctrl-C." in line for line in self.process.stdout), self.errors.read_text()
        self.told: dict[str, Any] = json.loads((folder / "demo" / "demo.json").read_text())

    def call(self, method: str, path: str, key: str, body: Any = None) -> tuple[int, Any]:
        """One request to the service."""
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.told["url"] + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def end(self) -> int:
        """Send Ctrl-C. Returns the exit status."""
        self.process.send_signal(signal.SIGINT)
        with self.process:  # closes its output, too
            return self.process.wait(PATIENCE_S)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("demo"))
    yield running
    assert running.end() in (0, 130)
    assert "Traceback" not in running.errors.read_text()


def test_a_bad_key_is_saved_as_anywhere_else(demo: Running) -> None:
    """The simulator has no such account, so no webhook can be registered there. The caller's request still succeeds."""
    practice = demo.told["practices"][1]
    path = f"/api/practices/{practice['id']}/payment-providers"
    keys = {"publicKey": "pk_test_invalid0000", "secretKey": "sk_test_invalid0000", "webhookSecret": "whsec_clinic0000"}
    body = {
        "providerCode": "stripe",
        "environment": "sandbox",
        "isEnabled": True,
        "supportedCurrencies": ["USD"],
        **keys,
    }
    status, saved = demo.call("POST", path, practice["key"], body)
    assert status == 200, saved
    assert saved["secretKey"]["last4"] == "0000"
    status, tested = demo.call("POST", f"{path}/stripe/test", practice["key"])
    assert (status, tested["ok"]) == (200, False)
    assert "webhook_address_not_registered" in demo.errors.read_text()
    assert "sk_test_invalid" not in demo.errors.read_text()


def test_the_jobs_by_the_clock_run(demo: Running) -> None:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        with closing(sqlite3.connect(demo.folder / "demo" / "owner.db")) as owner:
            tables = {name for (name,) in owner.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            due = set()
            if "workflow_schedules" in tables:
                due = {name for (name,) in owner.execute("SELECT schedule_name FROM workflow_schedules")}
        if due >= {"reconcile_busy", "reconcile_all", "sweep_everyone", "clean_up"}:
            return
        time.sleep(0.2)
    pytest.fail("nothing is due by the clock")
