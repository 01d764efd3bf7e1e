"""The sample hosts take a payment: polytill mounted under a prefix, with a worker, against the simulator, on both engines."""

from __future__ import annotations

import ast
import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

SAMPLES = Path(__file__).parents[2] / "examples" / "embedding"
# What a host writes. ``simulated.py`` is the world around it.
OF_HOSTS = ("clinic.py", "fastapi_host.py", "django_host.py")


@pytest.mark.parametrize("sample", ["fastapi_host.py", "django_host.py"])
def test_a_host_takes_a_payment(sample: str, tmp_path: Path, engine_url: str | None) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("POLYTILL_")}
    if engine_url is not None:
        env["POLYTILL_OWNER_DATABASE_URL"] = f"{engine_url}/owner_{secrets.token_hex(6)}"
        env["POLYTILL_PRACTICE_DATABASES"] = engine_url
    done = subprocess.run(
        [sys.executable, SAMPLES / sample],
        capture_output=True,
        text=True,
        check=False,
        env=env,
        cwd=tmp_path,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = [line.split()[0] for line in done.stdout.splitlines() if not line.startswith("20")]
    assert told == ["billed", "checkout", "style", "paid", "API", "webhooks"], done.stdout


@pytest.mark.parametrize("file", OF_HOSTS)
def test_hosts_use_public_names_only(file: str) -> None:
    for node in ast.walk(ast.parse((SAMPLES / file).read_text())):
        if isinstance(node, ast.ImportFrom):
            assert not (node.module or "").startswith("polytill."), f"{file}:{node.lineno} imports {node.module}"
        if isinstance(node, ast.Import):
            assert not any(name.name.startswith("polytill.") for name in node.names), f"{file}:{node.lineno}"
        if isinstance(node, ast.Attribute):
            assert node.attr != "context", f"{file}:{node.lineno} uses what is no part of the library"
