"""A transport with prepared answers, which keeps what it was asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


class Script:
    """Plays back answers: a status, JSON or bytes, and perhaps headers; or an exception."""

    base = ""  # what is left out of the addresses that are kept
    repeats = False  # whether the last answer is given again and again

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[str, str, Mapping[str, str], bytes | None]] = []

    async def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Any:
        self.requests.append((method, url.removeprefix(self.base), headers, body))
        answer = self.answers[0] if self.repeats and len(self.answers) == 1 else self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        status, data, *more = answer
        return status, more[0] if more else {}, data if isinstance(data, bytes) else json.dumps(data).encode()

    @property
    def calls(self) -> list[str]:
        """Each request's method and address."""
        return [f"{method} {url}" for method, url, _, _ in self.requests]

    def sent(self) -> Any:
        """The JSON of the last request."""
        return json.loads(self.requests[-1][3] or b"null")


class Fixed(Script):
    """Gives the same answer to everything."""

    repeats = True
