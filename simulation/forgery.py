"""Forged webhooks: from strangers, from another practice, or from the same practice's sandbox."""

from __future__ import annotations

import copy
import random
from typing import TYPE_CHECKING

from polytill.domain.states import Environment
from polytill.simulator.books import Account, Json, Transaction
from polytill.simulator.flutterwave import v3_shapes
from polytill.simulator.flutterwave.v4 import FlutterwaveV4
from polytill.simulator.mpesa.server import Mpesa
from polytill.simulator.paypal import shapes
from polytill.simulator.paypal.server import PayPal
from polytill.simulator.paystack import shapes as paystack_shapes
from polytill.simulator.stripe import shapes as stripe_shapes
from polytill.simulator.wire import Provider, compact
from simulation.ground import webhook_secret
from simulation.wires import deliver

if TYPE_CHECKING:
    from simulation.history import History, Merchant


def success(simulated: Provider, account: Account, tx: Transaction) -> bytes:
    """The provider's webhook for this payment as if it had been paid."""
    provider = simulated.name
    claimed = copy.deepcopy(tx)
    claimed.account = account.key
    claimed.status, claimed.captured, claimed.paid_at = "succeeded", claimed.amount, claimed.created_at
    event: Json
    if provider == "paystack":
        claimed.wire.status, claimed.wire.message = "success", "Successful"
        event = {"event": "charge.success", "data": paystack_shapes.charge_event(claimed)}
    elif provider == "stripe":
        claimed.wire.status = "succeeded"
        shape = stripe_shapes.intent_json(claimed) | {"amount_received": claimed.amount}
        event = {
            "id": f"evt_made_up_{claimed.reference}",
            "object": "event",
            "type": "payment_intent.succeeded",
            "livemode": stripe_shapes.live(account.key),
            "created": int(claimed.created_at),
            "data": {"object": shape},
        }
    elif isinstance(simulated, FlutterwaveV4):
        claimed.wire.response = "approved"
        event = simulated.charge_event(claimed)
    elif isinstance(simulated, PayPal):
        claimed.wire.status, claimed.wire.capture = "COMPLETED", f"MADEUP{claimed.id}"
        event = simulated.event("PAYMENT.CAPTURE.COMPLETED", shapes.capture_json(claimed))
    elif isinstance(simulated, Mpesa):
        claimed.wire.result, claimed.wire.receipt = (0, "The service request is processed successfully."), "MADEUP0000"
        event = simulated.callback(claimed)
    else:
        claimed.wire.number = claimed.wire.number or 12345
        event = v3_shapes.charge_event(claimed)
    return compact(event)


async def attack(history: History, chance: random.Random, merchant: Merchant, tx: Transaction) -> None:
    """One forged webhook about an unpaid payment."""
    kinds = ["forged_success", "foreign_signature"]
    profile = history.plan.profiles[merchant.practice]
    if profile.sandbox_beside and merchant.environment is Environment.production:
        kinds += ["sandbox_echo"] * 2
    if merchant.provider in ("flutterwave", "mpesa"):
        kinds += [
            "known_word"
        ] * 2  # no body is signed: anyone who knows the secret or the address can send any content
    kind = chance.choice(kinds)
    history.count(f"fault.{kind}")
    account, practice, environment = merchant.account, merchant.practice, merchant.environment
    if kind == "sandbox_echo":
        # The practice's own developer uses the same reference with the sandbox keys and pays it with a test card.
        environment = Environment.sandbox
        account = next(
            m.account
            for m in history.merchants
            if (m.practice, m.provider, m.environment) == (practice, merchant.provider, environment)
        )
    simulated = history.network.providers[merchant.provider]
    body = success(simulated, account, tx)
    secret = webhook_secret(
        practice % 3 + 1 if kind == "foreign_signature" else practice, merchant.provider, environment, merchant.version
    )
    if kind == "sandbox_echo":
        secret = webhook_secret(practice, merchant.provider, environment)
    if kind == "forged_success":
        secret = "made-up-by-a-stranger"  # noqa: S105
    headers = simulated.sign(secret, secret, body)
    token = history.ground.tokens[merchant.practice, profile][merchant.provider]
    named = tx.reference if merchant.provider == "mpesa" else None
    if named is not None:
        history.forged_receipts.add(named)
    status = await deliver(history, token, headers, body, named)
    history.tell(f"{kind.replace('_', ' ')} about {tx.reference}: {status}")
