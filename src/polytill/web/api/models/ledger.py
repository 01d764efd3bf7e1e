"""The ledger of a practice."""

from __future__ import annotations

from polytill.domain.states import Environment
from polytill.web.api.responses import ResponseBody


class Ledger(ResponseBody):
    """Account balances by currency."""

    environment: Environment
    balances: dict[str, dict[str, int]]
