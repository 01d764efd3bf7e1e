"""Checks whether the keys of a PayPal app can take payments. Nothing is created.

Sources: developer.paypal.com (authentication: the token's answer names its scopes; API responses: 403 NOT_AUTHORIZED),
paypal/paypal-rest-api-specifications (payments_payment_v2.json: a refund needs the scope ``…/payments/refund``; that
answer does not name the scopes of an order, so a read of an order that does not exist shows the permission). Facts:
sandbox and live are two hosts, and an app of one is an unknown client to the other. Only an order shows whether the
account itself may receive money (PAYEE_ACCOUNT_RESTRICTED).
"""

from __future__ import annotations

from polytill.domain.states import Environment
from polytill.providers.contract import CredentialTest, KeyFinding, keys_failed
from polytill.providers.http import Answer, Http
from polytill.providers.oauth import TokenRequest, read_token
from polytill.providers.outcomes import NotSent, Reason
from polytill.providers.wire_json import string_in, text_in

NO_ORDER = "0" * 17  # an id that no order has
REFUND_SCOPE = "https://uri.paypal.com/services/payments/refund"


async def test_keys(http: Http, request: TokenRequest, base_url: str, environment: Environment) -> CredentialTest:
    """Fetch a new token with its scopes, then GET an order that does not exist: 404 if the app may read orders, else
    403.
    """
    answer = await http.send(request.method, request.url, request.headers, request.body)
    if not isinstance(answer, Answer):
        return keys_failed(answer.detail or "PayPal could not be reached.", reached=False)
    token = read_token("PayPal", answer)
    if isinstance(token, NotSent):
        if token.reason is not Reason.config:
            return keys_failed(token.detail or "", reached=False)
        mode = "live" if environment is Environment.production else "sandbox"
        detail = f"PayPal refuses the client ID or secret in {mode}; sandbox and live apps have different ones."
        return keys_failed(detail, reached=True)
    order = await http.send_json("GET", f"{base_url}/v2/checkout/orders/{NO_ORDER}", token.secret)
    if isinstance(order, Answer) and order.status in (401, 403):
        said = text_in(order.data, "name") or str(order.status)
        detail = f"PayPal accepts the keys, but the app may not use orders ({said}): turn on payments for the app."
        return CredentialTest(False, detail, environment, finding=KeyFinding.no_payments)
    scopes = string_in(answer.data, "scope")
    if scopes is not None and REFUND_SCOPE not in scopes.split():
        detail = "PayPal accepts the keys, but the app may not make refunds: turn on refunds for the app."
        return CredentialTest(True, detail, environment, finding=KeyFinding.no_refunds)
    if not isinstance(order, Answer) or order.status != 404:
        detail = "PayPal accepts the keys. Whether the app may create orders could not be checked."
        return CredentialTest(True, detail, environment, finding=KeyFinding.not_all_checked)
    return CredentialTest(True, "PayPal accepts the keys.", environment)
