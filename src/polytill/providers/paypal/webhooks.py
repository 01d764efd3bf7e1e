"""Verifies and reads PayPal's webhooks.

The signature covers the CRC of the body, so it must be checked over the raw bytes. The webhook names the address of the
certificate, so only certificate addresses of PayPal's API over https are accepted: other pages of PayPal may show what
a stranger wrote.
"""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import load_pem_x509_certificate

from polytill.providers.contract import Fact, PaymentFact, RefundFact, WebhookResult, redact
from polytill.providers.http import origin_of, parse_object
from polytill.providers.outcomes import Declined, JsonObject, NeedsAction, Pending, Succeeded, Unknown
from polytill.providers.paypal import reading
from polytill.providers.paypal.disputes import dispute_in
from polytill.providers.signing import header
from polytill.providers.wire_json import moment_in, object_in, objects_in, string_in, text_in

ALGORITHM = "SHA256withRSA"
API_HOSTS = frozenset({"api.paypal.com", "api-m.paypal.com", "api.sandbox.paypal.com", "api-m.sandbox.paypal.com"})
CERTIFICATES = re.compile(r"/v1/notifications/certs/[A-Za-z0-9_-]{1,200}")
PEM = b"-----BEGIN CERTIFICATE-----"
ABOUT_MONEY = ("PAYMENT.CAPTURE.", "PAYMENT.REFUND.", "PAYMENT.AUTHORIZATION.", "CUSTOMER.DISPUTE.")
REVERSED = "PAYMENT.CAPTURE.REVERSED"
NOT_READ = "What PayPal says of this could not be read."
TAKEN_BACK = (
    "PayPal took money of a payment back and does not say by which refund. What a dispute took is booked with the dispute; "
    "other money is not."
)

# ── Signatures ──


def certificate_url(headers: Mapping[str, str], base_url: str) -> str | None:
    """The certificate's address, if it is trusted: at PayPal's API over https, or at the API address of this
    configuration. None also if another part of the signature is missing, so that no request is made."""
    if _signed_parts(headers) is None:
        return None
    url = header(headers, "paypal-cert-url") or ""
    origin = origin_of(url)
    if origin is None:
        return None
    host, own = urlsplit(url).hostname or "", base_url.rstrip("/")
    if origin == f"https://{host}" and host in API_HOSTS:
        path = url.removeprefix(origin)
    elif url.startswith(f"{own}/"):
        path = url.removeprefix(own)
    else:
        return None
    return url if CERTIFICATES.fullmatch(path) else None


def _signed_parts(headers: Mapping[str, str]) -> tuple[str, str, str] | None:
    """Transmission id, time and signature of a webhook; None if one is missing."""
    sent_id, sent_at = header(headers, "paypal-transmission-id"), header(headers, "paypal-transmission-time")
    signature = header(headers, "paypal-transmission-sig")
    if not (sent_id and sent_at and signature) or header(headers, "paypal-auth-algo") != ALGORITHM:
        return None
    return sent_id, sent_at, signature


def is_signed(headers: Mapping[str, str], body: bytes, webhook_id: str, certificate: bytes, now: datetime) -> bool:
    """Whether the owner of this certificate signed this body for this webhook id. Never raises."""
    parts = _signed_parts(headers)
    if parts is None or not webhook_id or not certificate.startswith(PEM):
        return False
    sent_id, sent_at, signature = parts
    try:
        signed_by = load_pem_x509_certificate(certificate)
        key, raw = signed_by.public_key(), base64.b64decode(signature, validate=True)
        if (
            not isinstance(key, RSAPublicKey)
            or not signed_by.not_valid_before_utc <= now <= signed_by.not_valid_after_utc
        ):
            return False
        key.verify(raw, f"{sent_id}|{sent_at}|{webhook_id}|{zlib.crc32(body)}".encode(), PKCS1v15(), SHA256())
    except (InvalidSignature, ValueError):
        return False
    return True


# ── Webhooks ──


def read_event(body: bytes) -> WebhookResult:
    """Read a webhook. Raises ``ValueError`` if the body is not an event."""
    event = parse_object(body, "a PayPal event")
    event_id, kind, resource = string_in(event, "id"), string_in(event, "event_type"), event.get("resource")
    if event_id is None or kind is None or not isinstance(resource, dict):
        raise ValueError("not a PayPal event")
    fact = _fact_in(kind, resource)
    # An approval is not a payment. The lookup that follows captures it.
    ask = isinstance(fact, PaymentFact) and (isinstance(fact.outcome, NeedsAction) or _is_part(kind, resource))
    kept = redact(event, reading.REDACTED - {"links"})  # a refund names its capture only in a link
    # An event about money that cannot be read needs review. Any other changes nothing here.
    action = "apply" if fact else "notify" if kind.startswith(ABOUT_MONEY) else "ignore"
    reason = (TAKEN_BACK if kind == REVERSED else NOT_READ) if action == "notify" else None
    return WebhookResult(kind, event_id, action, None, event_id, (fact,) if fact else (), ask, reason, kept)


def _fact_in(kind: str, resource: JsonObject) -> Fact | None:
    if kind.startswith("CHECKOUT.ORDER."):
        return PaymentFact(reading.read_order(resource), reading.reference_of(resource), string_in(resource, "id"))
    if kind == REVERSED:
        # This is read as a refund by PayPal. If a dispute took the same money, it is booked once
        # (``flows/payments/returned_amounts.py``). An event with the capture itself does not identify the return of
        # money.
        reversal = replace(_refund_in(resource), is_reversal=True)
        return reversal if _is_refund(resource) and reversal.provider_refund_id else None
    if kind == "PAYMENT.CAPTURE.REFUNDED" or kind.startswith("PAYMENT.REFUND."):
        return _refund_in(resource)
    if kind.startswith("PAYMENT.CAPTURE."):
        return _payment_in(resource, reading.read_capture(resource, _order_of(resource)))
    if kind.startswith("PAYMENT.AUTHORIZATION."):
        return _payment_in(resource, reading.read_authorization(resource, _order_of(resource)))
    return dispute_in(resource) if kind.startswith("CUSTOMER.DISPUTE.") else None


def _is_part(kind: str, resource: JsonObject) -> bool:
    """Whether it is about one capture of an authorization, which may have several: the order shows their total."""
    related = object_in(object_in(resource, "supplementary_data"), "related_ids")
    return kind == "PAYMENT.CAPTURE.COMPLETED" and "authorization_id" in related


def _payment_in(resource: JsonObject, outcome: Succeeded | Pending | Declined | Unknown) -> PaymentFact | None:
    reference, order_id = string_in(resource, "custom_id"), _order_of(resource)
    if reference and not order_id:
        # The order's id is the payment's id. If the webhook does not name it, the known one must not be lost.
        known = outcome if isinstance(outcome, Unknown) else replace(outcome, provider_transaction_id=None)
        return PaymentFact(known, reference)
    name = order_id or string_in(resource, "id")
    return PaymentFact(outcome, reference, name) if reference or name else None


def _order_of(resource: JsonObject) -> str | None:
    return string_in(object_in(object_in(resource, "supplementary_data"), "related_ids"), "order_id")


def _up(resource: JsonObject) -> str | None:
    return next((string_in(one, "href") for one in objects_in(resource, "links") or [] if one.get("rel") == "up"), None)


def _is_refund(resource: JsonObject) -> bool:
    """Whether it is an object under a capture, as a refund is."""
    return "/captures/" in (_up(resource) or "")


def _refund_in(resource: JsonObject) -> RefundFact:
    state, up = reading.REFUND_WORDS.get(text_in(resource, "status"), "unknown"), _up(resource)
    return RefundFact(
        state,
        reading.refund_reference(resource),
        string_in(resource, "id"),
        string_in(resource, "custom_id"),
        _order_of(resource),
        reading.money_in(resource.get("amount")),
        response=redact(resource, reading.REDACTED),
        provider_charge_id=up.rpartition("/")[2] if up else None,
        made_at=moment_in(resource, "create_time"),
    )
