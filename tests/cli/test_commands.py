"""The command line: every command explains itself, does what it says, and fails with one sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from polytill.cli import app
from polytill.providers.contract import CredentialTest, KeyFinding
from tests.cli.process import one_sentence, polytill
from tests.house.reading import ROOT


def commands(group: object = None, *path: str) -> Iterator[tuple[str, ...]]:
    """The path of every command."""
    found = getattr(group or get_command(app), "commands", None)
    if found is None:
        yield path
        return
    for name, command in found.items():
        yield from commands(command, *path, name)


def test_the_documents_list_every_command() -> None:
    text = (ROOT / "docs/simulator.md").read_text("utf-8")
    listed = re.search(r"\*\*`polytill`\*\* has the commands (.*?)\. `--help`", text, re.DOTALL)
    assert listed is not None
    found = set()
    for name in re.findall(r"`([^`]+)`", listed[1]):
        group, _, rest = name.partition(" ")
        found |= {(group, one) for one in rest.split("|")} if rest else {(group,)}
    assert found == set(commands())


@pytest.mark.parametrize("path", list(commands()), ids=" ".join)
def test_every_command_explains_itself(path: tuple[str, ...]) -> None:
    command = get_command(app)
    for name in path:
        command = command.commands[name]  # type: ignore[attr-defined]
    assert len(command.help or "") > 20, path
    for parameter in command.params:
        if parameter.name not in ("help", "install_completion", "show_completion"):
            assert getattr(parameter, "help", None), (path, parameter.name)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("keys", "create", "--owner"), "key ring"),
        (("rotate",), "key ring"),
        (("keys", "ring", "--add"), "key ring"),
        (("keys", "create"), "--owner"),
        (("practices", "list"), "key ring"),
    ],
)
def test_before_there_is_anything(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    assert words in one_sentence(polytill(tmp_path, *arguments))
    assert list(tmp_path.iterdir()) == []


def test_from_nothing_to_a_rotated_key(tmp_path: Path) -> None:
    def good(*arguments: str) -> str:
        found = polytill(tmp_path, *arguments)
        assert found.returncode == 0, found.stderr
        return found.stdout

    assert "stripe" in good("migrate")
    good("practices", "create", "Clinic", "ngn")
    assert "Clinic" in good("practices", "list")
    assert good("keys", "create", "--owner").startswith("pt_owner_")
    assert "keyring" in one_sentence(polytill(tmp_path, "keys", "ring"))
    assert "k2" in good("keys", "ring", "--add")
    assert "1 of 1" in good("rotate")
    assert "0 of 1" in good("rotate")
    assert "Clinic" in good("practices", "list")
    assert "ZZZ" in one_sentence(polytill(tmp_path, "practices", "create", "X", "zzz"))


@pytest.mark.parametrize(
    ("test", "code", "words"),
    [
        (CredentialTest(True, "Fine."), 0, "yes"),
        (CredentialTest(True, "No refunds.", finding=KeyFinding.no_refunds), 0, "yes, with a warning (no_refunds)"),
        (CredentialTest(False, "Bad.", finding=KeyFinding.keys_refused), 1, "no (keys_refused)"),
        (CredentialTest(False, "Nobody answered.", reached=False), 1, "unknown"),
    ],
)
def test_keys_are_tested_from_the_command_line(
    monkeypatch: pytest.MonkeyPatch, test: CredentialTest, code: int, words: str
) -> None:
    monkeypatch.setattr("polytill.cli.key_test.opened", lambda work: (test, None))
    found = CliRunner().invoke(app, ["practices", "test-keys", "1", "stripe"])
    assert (found.exit_code, found.output.splitlines()[0].partition(": ")[2]) == (code, words)
    assert test.detail in found.output
