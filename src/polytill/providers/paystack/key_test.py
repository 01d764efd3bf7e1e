"""Checks whether the keys of a Paystack account can take payments. Nothing is created.

Sources: paystack.com/docs (GET /balance; ``email`` and ``amount`` of POST /transaction/initialize are required; its
list of errors names the key of a disabled business). That sentence, "Merchant may be inactive", is quoted from
initialize by several public projects, of test accounts too. Facts: no read shows whether an account is active, so an
initialize is sent without its parameters. If Paystack validates these first, the state of the account remains unknown.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from polytill.domain.states import Environment
from polytill.providers.contract import CredentialTest, KeyFinding
from polytill.providers.facts import keys_failed
from polytill.providers.http import Answer, Answered
from polytill.providers.outcomes import JsonObject
from polytill.providers.wire_json import objects_in, text_in

INACTIVE = ("merchant may be inactive", "merchant is inactive", "merchant account is inactive")

Call = Callable[[str, str, JsonObject | None], Awaitable[Answered]]


def is_inactive(message: str) -> bool:
    """Whether Paystack reports that the account is not active."""
    lower = message.lower()
    return any(sentence in lower for sentence in INACTIVE)


async def test_keys(call: Call, environment: Environment) -> CredentialTest:
    """GET /balance for the key, then POST /transaction/initialize without parameters for the account."""
    answer = await call("GET", "/balance", None)
    if not isinstance(answer, Answer):
        return keys_failed(answer.detail or "Paystack could not be reached.", reached=False)
    said = text_in(answer.data, "message")
    if is_inactive(said):
        return _inactive(said, environment)
    if answer.status != 200 or answer.data.get("status") is not True:
        return keys_failed(f"Paystack refuses the key: {said}", reached=answer.status < 500)
    probe = await call("POST", "/transaction/initialize", {})
    said = text_in(probe.data, "message") if isinstance(probe, Answer) else ""
    if is_inactive(said):
        return _inactive(said, environment)
    found = ", ".join(text_in(item, "currency") for item in objects_in(answer.data, "data") or [])
    detail = f"Paystack accepts the key (balances in {found})." if found else "Paystack accepts the key."
    return CredentialTest(True, detail, environment)


def _inactive(said: str, environment: Environment) -> CredentialTest:
    detail = f"Paystack accepts the key, but the account is not active: complete its activation. ({said})"
    return CredentialTest(False, detail, environment, finding=KeyFinding.account_not_activated)
