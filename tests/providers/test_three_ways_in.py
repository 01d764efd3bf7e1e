"""A provider comes in as built in, as a plug-in package, or as a custom module that settings allow."""

from __future__ import annotations

import json
import os
import shutil
import site
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from tests.installation import fresh_settings, opened

from polytill.app import Polytill
from polytill.domain.errors import Invalid, OperatorError
from polytill.domain.states import IntegrationType
from polytill.flows.admin import catalog
from polytill.providers.registry import BUILT_IN, HandlerMissing, Registry
from polytill.testing.conformance.scaffold import rendered, write_provider

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "polytill-acme"


def run(python: Path | str, *words: str, folder: Path, path: str | None = None) -> str:
    """A command in an environment of its own; what it printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST"))}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    if path is not None:
        environment["PYTHONPATH"] = path
    done = subprocess.run(
        [str(python), *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# ── Plug-in ──


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A fresh environment that sees polytill and its dependencies, with the example installed; and the example."""
    folder = tmp_path_factory.mktemp("plug-in")
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    python = folder / "venv" / "bin" / "python"
    packages = next((folder / "venv" / "lib").glob("python3.*/site-packages"))
    (packages / "dependencies.pth").write_text("\n".join([str(ROOT / "src"), *site.getsitepackages()]) + "\n")
    package = folder / "polytill-acme"
    shutil.copytree(EXAMPLE, package)
    offline = ["--no-deps", "--no-index", "--no-build-isolation", "--quiet", "--disable-pip-version-check"]
    run(sys.executable, "-m", "pip", "--python", str(python), "install", *offline, str(package), folder=folder)
    (package / "polytill_acme.py").unlink()  # what is tested is what was installed
    return python, package


def test_an_installed_plug_in_is_found(clean: tuple[Path, Path]) -> None:
    python, package = clean
    code = (
        "from polytill.providers.registry import Registry; found = Registry().get('acme', 'plugin'); "
        "print(found.__module__, found.code, len(Registry().installed()))"
    )
    told = run(python, "-c", code, folder=package)
    assert told == f"polytill_acme acme {len(BUILT_IN) + 1}\n"


def test_it_passes_the_suite(clean: tuple[Path, Path]) -> None:
    python, package = clean
    told = run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", folder=package)
    assert "65 passed" in told, told
    assert "failed" not in told


def test_it_takes_a_payment(clean: tuple[Path, Path], tmp_path: Path) -> None:
    python, _ = clean
    told = run(python, str(Path(__file__).with_name("acme_takes_a_payment.py")), str(tmp_path), folder=tmp_path)
    assert json.loads(told.splitlines()[-1]) == {
        "handler": "polytill_acme.AcmeProvider",
        "type": "plugin",
        "first": "requires_action",
        "then": "succeeded",
        "captured": 12_345,
        "wire": 1,
    }


class Broken:
    """An entry point that breaks in its own way."""

    def __init__(self, name: str, error: BaseException) -> None:
        self.name, self.value, self.error = name, f"{name}_package:Provider", error

    def load(self) -> object:
        raise self.error


def test_a_broken_plug_in_breaks_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = [Broken("a", ImportError("x")), Broken("b", SystemExit(3)), Broken("c", RecursionError())]
    monkeypatch.setattr("polytill.providers.registry.entry_points", lambda group: broken)
    registry = Registry()
    assert registry.installed() == BUILT_IN
    with pytest.raises(HandlerMissing, match="The plug-in 'b_package:Provider' cannot be loaded: SystemExit"):
        registry.get("b", IntegrationType.plugin)
    with pytest.raises(HandlerMissing, match="No handler for 'd' is installed"):
        registry.get("d", IntegrationType.plugin)


# ── Custom ──

MODULES = {
    "good_acme": None,  # the example itself
    "broken_acme": "raise RuntimeError('sk_live_secret')",
    "leaving_acme": "import sys; sys.exit(1)",
    "typo_acme": "def AcmeProvider(:",
    "odd_acme": "AcmeProvider = 7",
    "nameless_acme": "from polytill.providers.contract import Handler\nclass AcmeProvider(Handler): pass",
}
REFUSALS = {
    "elsewhere.AcmeProvider": "is not on the allow-list in settings",
    "missing_acme.AcmeProvider": "cannot be loaded: ModuleNotFoundError",
    "good_acme.Provider": "cannot be loaded: AttributeError",
    "broken_acme.AcmeProvider": "cannot be loaded: RuntimeError",
    "leaving_acme.AcmeProvider": "cannot be loaded: SystemExit",
    "typo_acme.AcmeProvider": "cannot be loaded: SyntaxError",
    "odd_acme.AcmeProvider": "is not a payment provider handler",
    "nameless_acme.AcmeProvider": "is the handler of None",
}


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> frozenset[str]:
    """Modules of every kind on the path, all but one on the allow-list."""
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(text or (EXAMPLE / "polytill_acme.py").read_text())
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    return frozenset(REFUSALS) - {"elsewhere.AcmeProvider"} | {"good_acme.AcmeProvider"}


async def _add(till: Polytill, path: str | None) -> None:
    given = {"code": "acme", "name": "Acme", "integration_type": IntegrationType.custom, "handler_module": path}
    await catalog.add(till.context, given, None, "test")


async def test_a_custom_module_is_refused_with_a_sentence(tmp_path: Path, modules: frozenset[str]) -> None:
    async with opened(fresh_settings(tmp_path, handler_modules=modules), ["paystack"]) as till:
        for path, sentence in {**REFUSALS, None: "is not on the allow-list"}.items():
            with pytest.raises(Invalid) as caught:
                await _add(till, path)
            assert sentence in caught.value.errors[0].detail
            assert "sk_live" not in caught.value.errors[0].detail
        assert "elsewhere" not in sys.modules
        assert set(await till.context.catalog()) == {"paystack"}
        assert till.context.registry.get("paystack") is BUILT_IN["paystack"]
        await _add(till, "good_acme.AcmeProvider")
        added = (await till.context.catalog())["acme"]
        assert (added.integration_type, added.handler_module) == ("custom", "good_acme.AcmeProvider")


# ── A new one ──


def test_the_example_is_what_the_command_writes() -> None:
    written = {name: (EXAMPLE / name).read_text() for name in rendered("acme")}
    assert written == rendered("acme"), "render examples/polytill-acme again with `polytill new-provider acme`"


def test_what_the_command_writes_runs(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    command = ["-m", "polytill", "new-provider", "swift_pay", "--folder", str(folder)]
    told = run(sys.executable, *command, folder=tmp_path, path=str(ROOT / "src"))
    made = sorted(folder.iterdir())
    assert [path.name for path in made if str(path) in told] == [path.name for path in made]
    assert len(made) == 4
    assert "swift_pay" in (folder / "pyproject.toml").read_text()
    tests = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-c", os.devnull, "--rootdir", "."]
    assert "65 passed" in run(sys.executable, *tests, "test_swift_pay.py", folder=folder, path=str(ROOT / "src"))


@pytest.mark.parametrize("code", ["", "Acme", "a/b", "..", "_a", "a_", "a__b", "a-b", "stripe", "a" * 41, "a b", "é"])
def test_a_bad_code_writes_nothing(code: str, tmp_path: Path) -> None:
    with pytest.raises(OperatorError):
        write_provider(code, tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_what_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OperatorError, match="is not empty"):
        write_provider("acme", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
