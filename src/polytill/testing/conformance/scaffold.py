"""The files of ``polytill new-provider``: a package with a handler, its entry point and its test, which runs at once."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

from polytill.domain.errors import OperatorError
from polytill.providers.registry import BUILT_IN

CODE = re.compile(r"[a-z][a-z0-9]+(_[a-z0-9]+)*")


def rendered(code: str) -> dict[str, str]:
    """The package's files by name. ``OperatorError`` if the code is not a valid provider code."""
    if not CODE.fullmatch(code) or len(code) > 40:
        raise OperatorError(
            f"{code!r} is not a valid provider code: use lower-case letters, digits and single underscores."
        )
    if code in BUILT_IN:
        raise OperatorError(f"{code!r} is a built-in provider: choose another code.")
    words = {
        "<code>": code,
        "<package>": f"polytill-{code.replace('_', '-')}",
        "<Class>": code.title().replace("_", ""),
        "<Name>": code.title().replace("_", " "),
    }
    made = {}
    for template in files("polytill.testing.conformance").joinpath("template").iterdir():
        text = template.read_text(encoding="utf-8")
        for mark, word in words.items():
            text = text.replace(mark, word)
        made[template.name.removesuffix(".txt").replace("MODULE", code)] = text
    return made


def write_provider(code: str, folder: Path) -> list[Path]:
    """Write the package into a new or empty folder. Returns the paths of the files."""
    made = rendered(code)
    if folder.exists() and any(folder.iterdir()):
        raise OperatorError(f"The folder {folder} is not empty: choose a new or empty folder.")
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, text in sorted(made.items()):
        path = folder / name
        path.write_text(text, encoding="utf-8")
        paths.append(path)
    return paths
