"""PayPal's fixture: an access token before each call, decimal strings, webhooks signed with a certificate's key."""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from polytill.domain.money import Money
from polytill.domain.secret import Secret
from polytill.domain.states import Environment
from polytill.providers.contract import ProviderConfig
from polytill.providers.paypal.handler import PayPalProvider
from polytill.testing.conformance.fixture import Delivery, Example, Json, ProviderFixture, Sample, Signature


@cache
def _key() -> RSAPrivateKey:
    return generate_private_key(65537, 2048)


def _certificate() -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "messageverificationcerts.paypal.com")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(_key().public_key())
    dated = made.not_valid_before(datetime(2024, 1, 1, tzinfo=UTC)).not_valid_after(datetime(2036, 1, 1, tzinfo=UTC))
    return dated.serial_number(1).sign(_key(), SHA256()).public_bytes(Encoding.PEM)


@dataclass(frozen=True)
class ByCertificate(Signature):
    """RSA over transmission id, time, webhook id and the body's CRC."""

    def sign(self, body: bytes, secret: str, now_s: int) -> dict[str, str]:
        """The headers of a webhook that is signed now."""
        sent_at = datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        signed = f"69cd13f0-d67a|{sent_at}|{secret}|{zlib.crc32(body)}".encode()
        return {
            "PAYPAL-TRANSMISSION-ID": "69cd13f0-d67a",
            "PAYPAL-TRANSMISSION-TIME": sent_at,
            "PAYPAL-CERT-URL": "https://api.sandbox.paypal.com/v1/notifications/certs/CERT-1",
            "PAYPAL-AUTH-ALGO": "SHA256withRSA",
            self.header: base64.b64encode(_key().sign(signed, PKCS1v15(), SHA256())).decode(),
        }


def _account(letter: str) -> ProviderConfig:
    return ProviderConfig(
        Environment.sandbox,
        "https://api-m.sandbox.paypal.com",
        f"client{letter}" * 5,
        Secret(f"secret{letter}" * 5),
        webhook_secrets=(Secret(f"8PT597110X687430LKGE{letter.upper()}"),),
    )


MONEY = {"currency_code": "<Currency>", "value": "<amount>"}


def _order(status: str, **payments: Any) -> Json:
    return {
        "id": "<transaction>",
        "status": status,
        "intent": "CAPTURE",
        "purchase_units": [
            {"reference_id": "<reference>", "custom_id": "<reference>", "amount": MONEY, "payments": payments}
        ],
        "links": [
            {"href": "https://api-m.sandbox.paypal.com/v2/checkout/orders/<transaction>", "rel": "self"},
            {"href": "https://www.sandbox.paypal.com/checkoutnow?token=<transaction>", "rel": "payer-action"},
        ],
    }


def _capture(status: str, **more: Any) -> Json:
    return {"id": "3C679366HH908993F", "status": status, "amount": MONEY, "custom_id": "<reference>", **more}


def _ordered(status: str, **payments: Any) -> Sample:
    return Sample(_order(status, **payments), to="GET https://api-m.sandbox.paypal.com/v2/checkout/orders/")


def _delivery(kind: str, resource: Json, event: str) -> Delivery:
    return Delivery({"id": f"WH-<transaction>-{event}", "event_type": kind, "resource": resource})


PAID = _ordered("COMPLETED", captures=[_capture("COMPLETED")])
HELD = _ordered("COMPLETED", authorizations=[{"id": "7W5147081L658180V", "status": "CREATED", "amount": MONEY}])
TOKEN_PATH = "/v1/oauth2/token"  # noqa: S105
TOKEN = Sample({"access_token": "A21AAF-a-token", "token_type": "Bearer", "expires_in": 32400}, to=TOKEN_PATH)
ORDER = {"supplementary_data": {"related_ids": {"order_id": "<transaction>"}}}

DISPUTE = {
    "dispute_id": "PP-D-27803",
    "status": "WAITING_FOR_SELLER_RESPONSE",
    "reason": "UNAUTHORISED",
    "dispute_life_cycle_stage": "CHARGEBACK",
    "dispute_amount": MONEY,
    "disputed_transactions": [{"seller_transaction_id": "3C679366HH908993F", "custom": "<reference>"}],
}

PAYPAL = ProviderFixture(
    handler=PayPalProvider,
    accounts=(_account("a"), _account("b")),
    examples=(
        Example(Money(10_000, "USD"), "100.00", "100.00"),
        Example(Money(1_999, "USD"), "19.99", "19.99"),
        Example(Money(500, "JPY"), "500", "500"),
        Example(Money(50_000, "HUF"), "500", "500"),
    ),
    too_fine=Money(50_050, "HUF"),
    amount_field="value",
    token_at=TOKEN_PATH,
    answers={
        "token": (TOKEN, Sample(_certificate(), to="/v1/notifications/certs/")),
        "created": Sample(_order("PAYER_ACTION_REQUIRED"), to="/v2/checkout/orders"),
        "paid": PAID,
        "declined": _ordered("COMPLETED", captures=[_capture("DECLINED")]),
        "declined_newly": (
            _ordered("APPROVED"),
            Sample(
                {"name": "UNPROCESSABLE_ENTITY", "message": "No.",
                 "details": [{"issue": "LEVITATION_REFUSED", "description": "Levitation is not allowed."}]},
                422,
                to="/capture",
            ),
        ),
        "pending": _ordered("COMPLETED", captures=[_capture("PENDING", status_details={"reason": "ECHECK"})]),
        "strange": _ordered("LEVITATING"),
        "missing": Sample({"name": "RESOURCE_NOT_FOUND", "message": "no"}, 404, to="/v2/"),
        "keys_good": (
            TOKEN,
            Sample({"name": "RESOURCE_NOT_FOUND", "message": "no"}, 404, to="/v2/checkout/orders/"),
        ),
        "keys_bad": Sample({"error": "invalid_client", "error_description": "Client Authentication failed"}, 401,
                   to=TOKEN_PATH),
        "authorized": HELD,
        "captured": (HELD, Sample(_capture("COMPLETED"), 201, to="/capture")),
        "canceled": (HELD, Sample({"id": "7W5147081L658180V", "status": "VOIDED", "amount": MONEY}, to="/void")),
        "refunded": (
            PAID,
            Sample({"id": "<refund id>", "status": "COMPLETED", "amount": MONEY, "invoice_id": "<refund>"}, 201,
                   to="/refund"),
        ),
        "refund_missing": _ordered(
                "COMPLETED",
                captures=[_capture("COMPLETED")],
                refunds=[{"id": "1", "status": "COMPLETED", "amount": MONEY, "invoice_id": "<refund>9"}],
            ),
        "disputes": (
            Sample({"items": [{"dispute_id": "PP-D-27803", "status": "WAITING_FOR_SELLER_RESPONSE"}],
                    "links": [{"href": "https://api-m.sandbox.paypal.com/v1/customer/disputes", "rel": "self"}]},
                   to="/v1/customer/disputes?"),
            Sample(DISPUTE, to="/v1/customer/disputes/PP-D-27803"),
        ),
    },
    deliveries={
        "paid": _delivery("PAYMENT.CAPTURE.COMPLETED", {**_capture("COMPLETED"), **ORDER}, "1"),
        "later": _delivery("PAYMENT.CAPTURE.DENIED", {**_capture("DECLINED"), **ORDER}, "2"),
        "unrelated": _delivery("BILLING.PLAN.CREATED", {"id": "P-1", "status": "ACTIVE"}, "3"),
    },
    signature=ByCertificate("PAYPAL-TRANSMISSION-SIG"),
    transaction_id="5O190127TN364715T",
    refund_id="1JU08902781691411",
)  # fmt: skip
