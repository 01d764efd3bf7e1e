"""Checks whether the keys of a Flutterwave account can take payments, in v3 and v4. Nothing is created.

Sources: developer.flutterwave.com (GET /balances; ``tx_ref``, ``amount`` and ``redirect_url`` of POST /payments are
required; v4: one host issues the tokens of both environments). The sentences for accounts that are not approved are
quoted from Flutterwave's own trackers: flutterwave-flutter#44, Node-v3#86, flutterwave-flutter#56, Python-v2#71,
AndroidSDK#15. Facts: no read shows whether an account is approved, so a payment is requested without its parameters. If
Flutterwave validates these first, the state of the account remains unknown.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from polytill.domain.states import Environment
from polytill.providers.contract import CredentialTest, KeyFinding
from polytill.providers.facts import keys_failed
from polytill.providers.http import Answer, Answered
from polytill.providers.outcomes import JsonObject
from polytill.providers.wire_json import object_in, text_in

NOT_APPROVED = (
    "without approval",  # "Merchant cannot perform transactions without approval."
    "merchant requires approval",  # "… to use resource, please contact support"
    "merchant is not enabled",  # "… for Rave v3"
    "account status is pending confirmation",
    "compliance required",
)

Call = Callable[[str, str, JsonObject | None], Awaitable[Answered]]


def is_not_approved(message: str) -> bool:
    """Whether Flutterwave reports that the account may not take payments yet."""
    lower = message.lower()
    return any(sentence in lower for sentence in NOT_APPROVED)


async def test_keys(call: Call, environment: Environment | None) -> CredentialTest:
    """v3: GET /balances for the key, then POST /payments without parameters for the account. ``environment`` is the
    key's."""
    answer = await call("GET", "/balances", None)
    if not isinstance(answer, Answer):
        return keys_failed(answer.detail or "Flutterwave could not be reached.", reached=False)
    said = text_in(answer.data, "message")
    if is_not_approved(said):
        return _not_approved(said, environment)
    if answer.status != 200 or answer.data.get("status") != "success":
        return keys_failed(f"Flutterwave refuses the key: {said}", reached=answer.status < 500)
    probe = await call("POST", "/payments", {})
    said = text_in(probe.data, "message") if isinstance(probe, Answer) else ""
    if is_not_approved(said):
        return _not_approved(said, environment)
    data = answer.data.get("data")
    balances = data if isinstance(data, list) else [data]
    found = ", ".join(text_in(item, "currency") for item in balances if isinstance(item, dict))
    detail = f"Flutterwave accepts the key (balances in {found})." if found else "Flutterwave accepts the key."
    return CredentialTest(True, detail, environment)


def _not_approved(said: str, environment: Environment | None) -> CredentialTest:
    detail = f"Flutterwave accepts the key, but the account is not approved: complete its verification. ({said})"
    return CredentialTest(False, detail, environment, finding=KeyFinding.account_not_activated)


def read_listing(answer: Answered, environment: Environment) -> CredentialTest:
    """v4: the result of a listing after a token was issued. The token host knows the clients of both environments, the
    API host only those of its own."""
    data = answer.data if isinstance(answer, Answer) else {}
    said = text_in(object_in(data, "error"), "message") or text_in(data, "message")
    if isinstance(answer, Answer) and is_not_approved(said):
        return _not_approved(said, environment)
    if isinstance(answer, Answer) and answer.status == 401:
        mode = "live" if environment is Environment.production else "sandbox"
        detail = f"Flutterwave knows the keys, but its {mode} address rejects them: enter the {mode} keys."
        return CredentialTest(False, detail, finding=KeyFinding.wrong_environment)
    if isinstance(answer, Answer) and answer.status == 403:
        detail = f"Flutterwave accepts the keys, but they may not be used for payments: {said}"
        return CredentialTest(False, detail, environment, finding=KeyFinding.no_payments)
    if not isinstance(answer, Answer) or answer.status != 200:
        detail = "Flutterwave accepts the keys. Whether they are of this environment could not be checked."
        return CredentialTest(True, detail, environment, finding=KeyFinding.not_all_checked)
    return CredentialTest(True, "Flutterwave accepts the keys.", environment)
