"""CSV cells that a spreadsheet shows as they are, and never runs."""

from __future__ import annotations

import re
from typing import Any

# The last four are full-width, as typed in East Asian spreadsheets.
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
# A plain number is no formula, whatever its sign, and stays unchanged.
_number = re.compile(r"[+-]?[0-9][0-9 .,]*").fullmatch


def cell(value: Any) -> str:
    """The text of a CSV cell. One that a spreadsheet would run as a formula gets an apostrophe in front."""
    text = "" if value is None else str(value)
    is_formula = text.lstrip()[:1] in _FORMULA or text[:1] in ("\t", "\r", "\n")
    return f"'{text}" if is_formula and not _number(text) else text
