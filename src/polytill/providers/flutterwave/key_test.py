"""Checks whether the keys of a Flutterwave account can take payments, in v3 and v4. Nothing is created.

Sources: developer.flutterwave.com (GET /balances; ``tx_ref``, ``amount`` and ``redirect_url`` of POST /payments are
required; v4: one host issues the tokens of both environments). The sentences for accounts that are not approved are
quoted from Flutterwave's own trackers: flutterwave-flutter#44, Node-v3#86, flutterwave-flutter#56, Python-v2#71,
AndroidSDK#15.
"""

from __future__ import annotations

from polytill.domain.states import Environment
from polytill.providers.contract import CredentialTest, KeyFinding
from polytill.providers.http import Answer, Answered
from polytill.providers.key_probe import KeyProbe
from polytill.providers.wire_json import object_in, text_in

PROBE = KeyProbe(
    "Flutterwave",
    "/balances",
    "/payments",
    success="success",
    inactive=(
        "without approval",  # "Merchant cannot perform transactions without approval."
        "merchant requires approval",  # "… to use resource, please contact support"
        "merchant is not enabled",  # "… for Rave v3"
        "account status is pending confirmation",
        "compliance required",
    ),
    advice="not approved: complete its verification",
)


def read_listing(answer: Answered, environment: Environment) -> CredentialTest:
    """v4: the result of a listing after a token was issued. The token host knows the clients of both environments, the
    API host only those of its own."""
    data = answer.data if isinstance(answer, Answer) else {}
    said = text_in(object_in(data, "error"), "message") or text_in(data, "message")
    status = answer.status if isinstance(answer, Answer) else None
    if PROBE.reports_inactive(said):
        return PROBE.not_activated(said, environment)
    if status == 401:
        mode = "live" if environment is Environment.production else "sandbox"
        detail = f"Flutterwave knows the keys, but its {mode} address rejects them: enter the {mode} keys."
        return CredentialTest(False, detail, finding=KeyFinding.wrong_environment)
    if status == 403:
        detail = f"Flutterwave accepts the keys, but they may not be used for payments: {said}"
        return CredentialTest(False, detail, environment, finding=KeyFinding.no_payments)
    if status != 200:
        detail = "Flutterwave accepts the keys. Whether they are of this environment could not be checked."
        return CredentialTest(True, detail, environment, finding=KeyFinding.not_all_checked)
    return CredentialTest(True, "Flutterwave accepts the keys.", environment)
