"""Programs as separate processes: started, measured from outside, and always ended."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
START_TIMEOUT_S = 120.0


class ProgramFailed(Exception):
    """A program did not start, or ended early; the text gives the reason."""


@dataclass
class Program:
    """A running program."""

    name: str
    port: int
    process: subprocess.Popen[str]

    def cpu_s(self) -> float:
        """User and system time of all its threads so far, to the microsecond (see clock_getcpuclockid(3))."""
        if self.process.poll() is not None:
            raise ProgramFailed(f"{self.name} ended before its time.")
        return time.clock_gettime((~self.process.pid << 3) | 2)

    def memory_mb(self, what: str = "VmRSS") -> float:
        """Resident memory, or another line of its status (``VmHWM``: the maximum so far)."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(what + ":"):
                return int(line.split()[1]) / 1024
        raise ProgramFailed(f"The system does not say how much memory {self.name} has.")


@contextlib.contextmanager
def running(name: str, folder: Path, *arguments: str) -> Iterator[Program]:
    """Start ``benchmarks.programs.<name>``. It ends with the block, and with this process however that ends."""
    paths = [str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    log = folder / f"{name}.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", f"benchmarks.programs.{name}", *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
            stdin=subprocess.PIPE,  # the program ends when this pipe closes
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.strip().isdecimal():
            process.kill()  # it may hang on exit
            end = " ".join(log.read_text().strip().splitlines()[-3:])
            raise ProgramFailed(f"{name} did not start: {end or line.strip()}")
        yield Program(name, int(line), process)
    finally:
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdout is not None
        process.stdout.close()
