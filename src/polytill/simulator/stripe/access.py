"""Access rules of Stripe: publishable keys, permissions of restricted keys, accounts that are not activated."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from polytill.simulator.books import Account, Json, Transaction
from polytill.simulator.stripe.params import Refused
from polytill.simulator.stripe.shapes import intent_json
from polytill.simulator.wire import Call

INTENTS = "/payment_intents"
# Addresses, what a key may not do, and the permission that Stripe's message names.
_PERMISSIONS = (
    (INTENTS, "payments", "rak_payment_intent"),
    ("/checkout/sessions", "payments", "rak_checkout_session"),
    ("/refunds", "refunds", "rak_refund"),
    ("/account", "account", "rak_accounts_kyc_basic"),
)


def check_permission(account: Account, call: Call) -> None:
    """403 for what a restricted key may not do, and for a live payment of an account that is not activated."""
    for path, what, permission in _PERMISSIONS:
        if call.path.startswith(path) and what in account.denied:
            named = f"{permission}_{'read' if call.method == 'GET' else 'write'}"
            message = (
                f"The provided key '{account.key[:8]}*********{account.key[-4:]}' does not have the required permissions "
                f"for this endpoint on account 'acct_{account.label}'. Having the '{named}' permission would allow this "
                "request to continue."
            )
            raise Refused(403, message, code="more_permissions_required", early=True)
    creates = call.method == "POST" and call.path in (INTENTS, "/checkout/sessions")
    if creates and account.standing == "inactive" and "_live_" in account.key:
        message = "Your account cannot currently make live charges. Activate your account in the Dashboard."
        raise Refused(403, message, code="testmode_charges_only", early=True)


def by_publishable_key(accounts: Iterable[Account], call: Call, key: str | None) -> Json | None:
    """GET of an intent by a publishable key and the intent's client secret. None for any other request."""
    intent_id = call.path.removeprefix(INTENTS + "/")
    client_secret = call.query.get("client_secret")
    if key is None or not key.startswith("pk_") or call.method != "GET" or client_secret is None:
        return None
    if not call.path.startswith(INTENTS + "/") or "/" in intent_id:
        return None
    if "invalid" in key:
        raise Refused(401, f"Invalid API Key provided: {key[:8]}{'*' * 16}{key[-4:]}", early=True)
    for account in accounts:
        found = account.things.get(intent_id)
        if account.provider != "stripe" or not isinstance(found, Transaction) or key[:8] != f"pk_{account.key[3:8]}":
            continue
        if account.public_key not in (None, key):
            break
        if found.wire.client_secret != client_secret:
            message = "The client_secret provided does not match the client_secret associated with the PaymentIntent."
            raise Refused(400, message, code="payment_intent_authentication_failure", early=True)
        return intent_json(found)
    raise Refused(404, f"No such payment_intent: '{intent_id}'", code="resource_missing", param="intent", early=True)


def account_json(account: Account) -> Json:
    """The account object, as far as software reads it. An account in test mode, too, shows whether live payments work."""
    active = account.standing == "active"
    number = int(hashlib.sha256(account.label.encode()).hexdigest()[:6], 16)
    return {
        "id": f"acct_{account.label}",
        "object": "account",
        "business_type": "company",
        "capabilities": {"card_payments": "active" if active else "inactive"},
        "charges_enabled": active,
        "country": "US",
        "created": 1_600_000_000 + number,
        "default_currency": "usd",
        "details_submitted": active,
        "payouts_enabled": active,
        "requirements": {"disabled_reason": None if active else "requirements.past_due"},
        "type": "standard",
    }
