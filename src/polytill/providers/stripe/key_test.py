"""Checks whether the keys of a Stripe account can take payments. Nothing is created.

Sources: docs.stripe.com (API reference: the account object, "retrieve a PaymentIntent" with a publishable key and the
client secret, error codes; restricted API keys), stripe/openapi (``amount`` and ``currency`` are required). Facts: a
live account that is not activated has ``charges_enabled: false`` and answers ``testmode_charges_only``. A restricted
key without a permission gets 403 and the permission's name; permission to write includes permission to read. Each key
belongs to one account and one mode, so a publishable key finds intents of its own account only.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from urllib.parse import quote, urlencode

from polytill.domain.secret import Secret
from polytill.domain.states import Environment
from polytill.providers.contract import CredentialTest, KeyFinding, ProviderConfig
from polytill.providers.http import Answer, Answered
from polytill.providers.stripe.forms import Form
from polytill.providers.wire_json import object_in, objects_in, string_in, text_in

NO_INTENT = "pi_0"  # an id that no intent has
_PERMISSION = re.compile(r"'(rak_\w+)'")

# Method, path, form, idempotency key, and the API key if it is not the secret one.
Call = Callable[[str, str, Form | None, str | None, Secret | None], Awaitable[Answered]]
Found = tuple[KeyFinding, str]

# The first finding is reported, so those that make every payment fail come first.
FATAL = (
    KeyFinding.account_not_activated,
    KeyFinding.no_payments,
    KeyFinding.public_key_refused,
    KeyFinding.public_key_elsewhere,
)


async def test_keys(call: Call, config: ProviderConfig, mode: Environment | None, nonce: str) -> CredentialTest:
    """GET /v1/balance for the key and its mode, then check what would make payments fail. ``mode`` is the key's, by its
    pattern. ``nonce`` is part of the idempotency keys of the requests that are rejected."""
    key = config.secret_key.reveal() if config.secret_key else ""
    answer = await call("GET", "/v1/balance", None, None, None)
    if not isinstance(answer, Answer):
        return CredentialTest(False, answer.detail or "Stripe could not be reached.", reached=False)
    restricted = key.startswith("rk_")
    if answer.status == 401 or (answer.status == 403 and not restricted):
        return CredentialTest(False, "Stripe refuses the key.", finding=KeyFinding.keys_refused)
    if answer.status != 403 and (answer.status != 200 or answer.data.get("object") != "balance"):
        return CredentialTest(False, f"Stripe could not check the key (HTTP {answer.status}).", reached=False)
    live = answer.data.get("livemode")
    environment = mode if live is None else Environment.production if live else Environment.sandbox
    found: list[Found] = []
    if environment is Environment.production:
        found += await _account(call)
    if restricted:
        found += await _permissions(call, nonce)
    if config.public_key:
        found += await _public_key(call, Secret(config.public_key))
    for finding, detail in sorted(found, key=lambda one: one[0] not in FATAL):
        return CredentialTest(finding not in FATAL, detail, environment, finding=finding)
    return CredentialTest(True, "Stripe accepts the key.", environment)


async def _account(call: Call) -> list[Found]:
    """GET /v1/account: whether it may take live payments."""
    answer = await call("GET", "/v1/account", None, None, None)
    charges = answer.data.get("charges_enabled") if isinstance(answer, Answer) and answer.status == 200 else None
    if charges is True:
        return []
    if charges is False:
        detail = "Stripe accepts the key, but the account cannot take live payments yet: complete its activation."
        return [(KeyFinding.account_not_activated, detail)]
    detail = "Stripe accepts the key. Whether the account can take live payments could not be checked."
    return [(KeyFinding.not_all_checked, detail)]


async def _permissions(call: Call, nonce: str) -> list[Found]:
    """Requests without their required parameters: 403 without the permission, else 400. Nothing is created."""
    found: list[Found] = []
    for path, finding, what in (
        ("/v1/payment_intents", KeyFinding.no_payments, "create payments"),
        ("/v1/refunds", KeyFinding.no_refunds, "make refunds"),
    ):
        answer = await call("POST", path, [], f"test-{nonce}{path.replace('/', '-')}", None)
        if isinstance(answer, Answer) and answer.status == 403:
            named = _PERMISSION.search(text_in(object_in(answer.data, "error"), "message"))
            permission = f" ({named[1]})" if named else ""
            found.append((finding, f"The restricted key may not {what}: give it this permission{permission}."))
        elif not isinstance(answer, Answer) or answer.status != 400:
            detail = "Stripe accepts the key. Not all of its permissions could be checked."
            found.append((KeyFinding.not_all_checked, detail))
    return found


async def _public_key(call: Call, public_key: Secret) -> list[Found]:
    """The account's newest intent, read with the publishable key and the intent's client secret."""
    listed = await call("GET", "/v1/payment_intents?limit=1", None, None, None)
    items = objects_in(listed.data, "data") if isinstance(listed, Answer) and listed.status == 200 else None
    newest = items[0] if items else {}
    intent, client_secret = string_in(newest, "id"), string_in(newest, "client_secret")
    known = intent is not None and client_secret is not None
    query = urlencode({"client_secret": client_secret if known else f"{NO_INTENT}_secret_0"})
    path = f"/v1/payment_intents/{quote(intent or '', safe='') if known else NO_INTENT}?{query}"
    answer = await call("GET", path, None, None, public_key)
    if not isinstance(answer, Answer):
        return []
    if answer.status == 401 and object_in(answer.data, "error").get("code") != "secret_key_required":
        return [(KeyFinding.public_key_refused, "Stripe accepts the secret key, but refuses the publishable key.")]
    if answer.status == 404 and known:
        detail = "The publishable key is of another Stripe account than the secret key: copy both from one account."
        return [(KeyFinding.public_key_elsewhere, detail)]
    return []
