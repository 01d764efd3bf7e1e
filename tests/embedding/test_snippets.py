"""The snippets of README and docs work as they are: Python runs, and commands in shell snippets exist with their options."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import inspect
import re
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
import typer

from polytill.cli import app
from polytill.flows.admin import catalog
from polytill.simulator.app import start
from tests.installation import TEST_KEYS, fresh_settings, opened

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md"))
    if path.name != "CHANGELOG.md"  # it names commands of earlier versions
)


@dataclass
class Snippet:
    """One fenced block of a page, or the commands of its inline code."""

    language: str
    text: str
    line: int


def fenced(page: str) -> Iterator[Snippet]:
    """The fenced blocks of a page."""
    language, kept, began = "", [], 0
    inside = False
    for number, line in enumerate((ROOT / page).read_text().splitlines(), 1):
        fence = re.match(r"\s*```(\w*)", line)
        if fence and not inside:
            inside, language, kept, began = True, fence[1], [], number
        elif fence:
            inside = False
            yield Snippet(language, "\n".join(kept), began)
        elif inside:
            kept.append(line)


def commands(page: str) -> Iterator[tuple[int, list[str]]]:
    """The commands of a page: of shell snippets, of indented blocks, and of inline code that begins like one."""
    for snippet in fenced(page):
        if snippet.language in ("sh", ""):
            for number, line in enumerate(snippet.text.splitlines(), snippet.line + 1):
                yield from ((number, words) for words in _words(line))
    for number, line in enumerate((ROOT / page).read_text().splitlines(), 1):
        if line.startswith("    "):
            yield from ((number, words) for words in _words(line))
        for inline in re.findall(r"`([^`]+)`", line):
            yield from ((number, words) for words in _words(inline))


def _words(line: str) -> Iterator[list[str]]:
    line = re.split(r"\s#", line)[0].replace("…", "")
    for part in re.split(r"&&|\|", line):
        with contextlib.suppress(ValueError):  # not a shell line, but a sentence with an apostrophe
            words = shlex.split(part)
            if words[:1] in (["polytill"], ["./run"]) and len(words) > 1 and re.fullmatch(r"[a-z-]+", words[1]):
                yield words


COMMANDS = [
    pytest.param(page, words, id=f"{page}:{number} {' '.join(words[:3])}")
    for page in PAGES
    for number, words in dict((repr(w), (n, w)) for n, w in commands(page)).values()
]


@pytest.mark.parametrize(("page", "words"), COMMANDS)
def test_a_command_exists_with_its_options(page: str, words: list[str]) -> None:
    if words[0] == "polytill":
        _check_polytill(words[1:])
        return
    known = subprocess.run([sys.executable, ROOT / "run", "help"], capture_output=True, text=True, check=True).stdout
    assert f"./run {words[1]} " in known.replace("\n", " \n"), words
    if words[1:3] == ["python", "-m"] and words[3:]:
        assert importlib.util.find_spec(words[3]) is not None, words
    if words[1] == "python" and words[2:3] and words[2].endswith(".py"):
        assert (ROOT / words[2]).is_file(), words


def _check_polytill(words: list[str]) -> None:
    found: Any = typer.main.get_command(app)
    while isinstance(found, click.Group) or hasattr(found, "commands"):
        assert words, found.name
        if not words or words[0].startswith("-"):
            break
        assert words[0] in found.commands, f"there is no command {words[0]}; {found.name} has {sorted(found.commands)}"
        found, words = found.commands[words[0]], words[1:]
    options = {option for one in found.params for option in (*one.opts, *one.secondary_opts)}
    for word in words:
        if word.strip("[]").startswith("--"):
            assert word.strip("[]").partition("=")[0] in options | {"--help"}, f"{found.name} has no option {word}"


WITH_PYTHON = [page for page in PAGES if any(snippet.language == "python" for snippet in fenced(page))]


def test_there_are_snippets() -> None:
    assert {"README.md", "docs/embedding.md"} <= set(WITH_PYTHON)
    assert len(COMMANDS) > 20


@contextlib.asynccontextmanager
async def shop(folder: Path, engine_url: str | None, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """What a reader has: an installation, settings in the environment, and a provider (here its simulator)."""
    simulator = await start("127.0.0.1", 0)
    try:
        settings = fresh_settings(folder, engine_url, allowed_provider_origins=frozenset({simulator.url}))
        async with opened(settings, ["paystack"]) as till:
            base = {"api_base_url": f"{simulator.url}/paystack", "sandbox_api_base_url": f"{simulator.url}/paystack"}
            await catalog.change(till.context, "paystack", base, None, "test")
            given = {
                "POLYTILL_OWNER_DATABASE_URL": settings.owner_database_url.get_secret_value(),
                "POLYTILL_PRACTICE_DATABASES": settings.practice_databases.get_secret_value(),
                "POLYTILL_KEYRING": str(settings.keyring),
                "POLYTILL_ALLOWED_PROVIDER_ORIGINS": simulator.url,
                "PAYSTACK_PUBLIC_KEY": TEST_KEYS["paystack"]["publicKey"],
                "PAYSTACK_SECRET_KEY": TEST_KEYS["paystack"]["secretKey"],
            }
            for name, value in given.items():
                monkeypatch.setenv(name, value)
            monkeypatch.chdir(folder)  # no .env of the developer
            yield
    finally:
        await simulator.stop()


@pytest.mark.parametrize("page", WITH_PYTHON)
async def test_python_snippets_run(
    page: str, tmp_path: Path, engine_url: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shop(tmp_path, engine_url, monkeypatch), contextlib.AsyncExitStack() as stack:
        names: dict[str, Any] = {"stack": stack, "__name__": page}
        for snippet in fenced(page):
            if snippet.language == "python":
                source = "\n" * snippet.line + snippet.text  # a traceback names the line of the page
                code = compile(source, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
                try:
                    result = eval(code, names)
                    if inspect.isawaitable(result):
                        await result
                except Exception as error:
                    raise AssertionError(f"the snippet at {page}:{snippet.line} failed: {error!r}") from error
