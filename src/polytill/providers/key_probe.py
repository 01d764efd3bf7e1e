"""The test of a key at a provider that shows the state of an account only in a rejection (Flutterwave v3, Paystack).

A read of the balance shows whether the key is accepted. No read shows whether the account may take payments, so a
payment is requested without its parameters, which creates nothing. If the provider validates these first, the state of
the account remains unknown.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from polytill.domain.states import Environment
from polytill.providers.facts import CredentialTest, KeyFinding, keys_failed
from polytill.providers.http import Answer, Answered
from polytill.providers.outcomes import JsonObject
from polytill.providers.wire_json import text_in

Call = Callable[[str, str, JsonObject | None], Awaitable[Answered]]


@dataclass(frozen=True, slots=True)
class KeyProbe:
    """The requests of the test, and the provider's words.

    ``success`` is the status in the body of an accepted request. A message that contains one of ``inactive`` reports
    that the account may not take payments yet; ``advice`` says so, and what to do.
    """

    provider: str
    balance_path: str
    payment_path: str
    success: object
    inactive: tuple[str, ...]
    advice: str

    def reports_inactive(self, message: str) -> bool:
        """Whether a message reports that the account may not take payments yet."""
        return any(words in message.lower() for words in self.inactive)

    def not_activated(self, said: str, environment: Environment | None) -> CredentialTest:
        """The result for an account that may not take payments yet."""
        detail = f"{self.provider} accepts the key, but the account is {self.advice}. ({said})"
        return CredentialTest(False, detail, environment, finding=KeyFinding.account_not_activated)

    async def test(self, call: Call, environment: Environment | None) -> CredentialTest:
        """GET the balance for the key, then POST a payment without parameters for the account. ``environment`` is the
        key's."""
        answer = await call("GET", self.balance_path, None)
        if not isinstance(answer, Answer):
            return keys_failed(answer.detail or f"{self.provider} could not be reached.", reached=False)
        said = text_in(answer.data, "message")
        if self.reports_inactive(said):
            return self.not_activated(said, environment)
        if answer.status != 200 or answer.data.get("status") != self.success:
            return keys_failed(f"{self.provider} refuses the key: {said}", reached=answer.status < 500)
        probe = await call("POST", self.payment_path, {})
        said = text_in(probe.data, "message") if isinstance(probe, Answer) else ""
        if self.reports_inactive(said):
            return self.not_activated(said, environment)
        data = answer.data.get("data")
        balances = data if isinstance(data, list) else [data]
        found = ", ".join(text_in(item, "currency") for item in balances if isinstance(item, dict))
        balance = f" (balances in {found})" if found else ""
        return CredentialTest(True, f"{self.provider} accepts the key{balance}.", environment)
