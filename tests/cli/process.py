"""The command line as a process of its own, for tests.

One parent process imports the command line once, and forks a process for each command. Each has its own folder,
environment and output, as if a shell had started it, but without a second of imports. The garbage collector leaves out
what was imported: to look through it would copy all of it into each process, which takes half a second.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

_TIMEOUT_S = 120
_PARENT = """
import gc, json, os, sys
import polytill.background, polytill.migration, polytill.web.app
from polytill.cli import main

gc.freeze()
for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if child == 0:
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    os._exit(0)
for number, path in enumerate((os.devnull, asked["stdout"], asked["stderr"])):
    os.dup2(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), number)
os.chdir(asked["folder"])
os.environ.clear()
os.environ.update(asked["environment"])
sys.argv = ["polytill", *asked["arguments"]]
main()
"""


@cache
def _parent() -> subprocess.Popen[str]:
    """The process that forks, started with the first command."""
    process = subprocess.Popen(
        [sys.executable, "-c", _PARENT],
        env=_environment(Path("/"), {}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    atexit.register(process.kill)
    return process


def _environment(folder: Path, more: dict[str, str]) -> dict[str, str]:
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
        "PYTHONPATH": ":".join(sys.path),
        "NO_COLOR": "1",
        "COLUMNS": "200",
        **more,
    }


def polytill(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a folder, with no settings but these."""
    parent = _parent()
    assert parent.stdin is not None
    assert parent.stdout is not None
    with TemporaryDirectory() as place:
        files = {name: f"{place}/{name}" for name in ("stdout", "stderr")}
        asked = {"folder": str(folder), "arguments": arguments, "environment": _environment(folder, more), **files}
        parent.stdin.write(json.dumps(asked) + "\n")
        parent.stdin.flush()
        if not select.select([parent.stdout], [], [], _TIMEOUT_S)[0]:
            os.killpg(parent.pid, signal.SIGKILL)
            _parent.cache_clear()
            raise TimeoutError(f"polytill {' '.join(arguments)} did not end in {_TIMEOUT_S} s")
        code = int(parent.stdout.readline())
        out, err = (Path(path).read_text("utf-8") for path in files.values())
    return subprocess.CompletedProcess(["polytill", *arguments], code, out, err)


def one_sentence(found: subprocess.CompletedProcess[str]) -> str:
    """What a failed command says: one sentence on standard error, no traceback."""
    assert found.returncode != 0, found.stdout
    assert "Traceback" not in found.stderr + found.stdout
    [line] = [line for line in found.stderr.splitlines() if line.strip()]
    return line
