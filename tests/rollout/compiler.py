"""Node and the TypeScript compiler, with which the example for old code is checked and run."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "legacy-typescript"
MISSING = "Node 18 or newer and npm are missing, so the TypeScript example cannot be tested; install nodejs and npm."


def find_node() -> str | None:
    """The Node that runs the example; None if there is none, or it is too old."""
    node = shutil.which("node") or shutil.which("nodejs")
    if node is None:
        return None
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    number = version.strip().lstrip("v").partition(".")[0]
    return node if number.isdecimal() and int(number) >= 18 else None


def find_compiler() -> Path | None:
    """The installed compiler; None if it was not installed yet."""
    compiler = EXAMPLE / "node_modules" / "typescript" / "lib" / "tsc.js"
    return compiler if compiler.exists() else None


def install_compiler() -> str | None:
    """Install the locked compiler beside the example. Return why that was not possible; None if it is there."""
    if find_compiler() is not None:
        return None
    npm = shutil.which("npm")
    if npm is None or find_node() is None:
        return MISSING
    cache = {"npm_config_cache": str(ROOT / "var" / "cache" / "npm")}
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    try:
        done = subprocess.run(
            command, cwd=EXAMPLE, env={**os.environ, **cache}, capture_output=True, text=True, timeout=120, check=False
        )
    except subprocess.TimeoutExpired:
        return "npm could not install the TypeScript compiler in two minutes."
    return None if done.returncode == 0 else "npm could not install the locked TypeScript compiler."


def compile_example(folder: Path) -> None:
    """Type-check the example and write its JavaScript to a folder. Fails with the compiler's messages."""
    node, compiler = find_node(), find_compiler()
    assert node is not None
    assert compiler is not None
    (folder / "package.json").write_text('{"type": "module"}')
    done = subprocess.run(
        [node, str(compiler), "--project", str(EXAMPLE), "--outDir", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
