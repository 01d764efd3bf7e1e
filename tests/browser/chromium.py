"""The browser of the tests: the system's own Chromium, driven by Playwright. Nothing is downloaded."""

from __future__ import annotations

import os
import shutil

VARIABLE = "POLYTILL_TEST_CHROMIUM"
NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
MISSING = f"There is no Chromium for the browser tests: install the package chromium (Debian), or say in {VARIABLE} where one is."


def find_chromium() -> str | None:
    """The path of the browser's program; None if there is none."""
    named = os.environ.get(VARIABLE)
    if named:
        return named if os.access(named, os.X_OK) else None
    return next((path for name in NAMES if (path := shutil.which(name))), None)
