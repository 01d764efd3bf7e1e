"""The pretended providers in the same process: a transport that reaches them without a socket, and loses answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from polytill.providers.http import AnswerLost
from polytill.simulator.network import Network
from polytill.simulator.wire import Call

SIMULATOR = "http://simulator.example"


class InProcess:
    """Calls as they went out, and a switch that loses the next answer after the call was acted on."""

    def __init__(self) -> None:
        self.network = Network(7, SIMULATOR)
        self.calls: list[str] = []
        self.loses_next: bool | str = False  # or only where the path has this in it

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> tuple[int, Mapping[str, str], bytes]:
        parts = urlsplit(url)
        provider = self.network.providers[parts.path.split("/")[1]]
        path = parts.path.removeprefix(provider.prefix)
        self.calls.append(f"{method} {path}")
        answer = provider.answer(Call(method, path, parts.query, headers, body or b"", SIMULATOR))
        if self.loses_next is True or (self.loses_next and str(self.loses_next) in path):
            self.loses_next = False
            raise AnswerLost("lost")
        return answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.body

    def pay(self, provider: str, key: str, reference: str, outcome: str = "success") -> Any:
        """The payer acts."""
        account = self.network.account(provider, key)
        tx = next(tx for tx in reversed(account.transactions) if tx.reference == reference)
        return self.network.providers[provider].pay(account, tx, outcome)
