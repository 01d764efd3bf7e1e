"""PayPal's HTTP API: access tokens, request ids, addresses, the certificate and the signatures.

Payments are in money.py, the shapes in shapes.py. The account is the client's secret; the secret of a
registered hook is its webhook id.
"""

from __future__ import annotations

import base64
import re
import zlib
from datetime import UTC, datetime
from functools import cache
from urllib.parse import parse_qs, urlencode

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from polytill.simulator.books import Account, Json, Transaction
from polytill.simulator.paypal import shapes
from polytill.simulator.paypal.money import No, PayPalMoney
from polytill.simulator.wire import Answer, Call, Fields, Headers, Route, bearer, json_answer, route, whole

_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_LISTED_SECONDS = 180 * 86_400
# The scopes of a token, and what a key without the scope may not do.
_SCOPES = {
    "https://uri.paypal.com/services/payments/realtimepayment": "payments",
    "https://uri.paypal.com/services/payments/payment/authcapture": "payments",
    "https://uri.paypal.com/services/payments/refund": "refunds",
    "https://uri.paypal.com/services/disputes/read-seller": "",
    "openid": "",
}
_NAMES = {403: "NOT_AUTHORIZED", 400: "INVALID_REQUEST", 404: "RESOURCE_NOT_FOUND", 422: "UNPROCESSABLE_ENTITY"}


@cache
def _signing_key() -> RSAPrivateKey:
    return generate_private_key(65537, 2048)


@cache
def _certificate() -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "messageverificationcerts.paypal.com")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(_signing_key().public_key())
    dated = made.not_valid_before(datetime(2020, 1, 1, tzinfo=UTC)).not_valid_after(datetime(2099, 1, 1, tzinfo=UTC))
    return dated.serial_number(1).sign(_signing_key(), SHA256()).public_bytes(Encoding.PEM)


def _page_of(token: str) -> int | None:
    """The page that a token names. None if PayPal did not issue the token."""
    try:
        return whole(base64.b64decode(token, validate=True).decode(), 1, 10**6)
    except ValueError:
        return None


def _no_such_id() -> No:
    return No("INVALID_RESOURCE_ID", "Specified resource ID does not exist.", status=404)


class PayPal(PayPalMoney):
    """Orders v2 and Payments v2."""

    prefix = "/paypal"
    key_pattern = re.compile(r"[0-9A-Za-z_-]{16,128}")
    token_seconds = 32_400
    request_header = "PayPal-Request-Id"

    def table(self) -> list[Route]:
        return [
            route("POST /v1/oauth2/token", self._token),
            route("GET /v1/notifications/certs/{id}", self._cert, "other"),
            route("POST /v2/checkout/orders", self._create, "create"),
            route("GET /v2/checkout/orders/{id}", self._get_order),
            route("POST /v2/checkout/orders/{id}/capture", self._capture_order, "confirm"),
            route("POST /v2/checkout/orders/{id}/authorize", self._authorize_order, "confirm"),
            route("GET /v2/payments/authorizations/{id}", self._get_hold),
            route("POST /v2/payments/authorizations/{id}/capture", self._capture_hold, "capture"),
            route("POST /v2/payments/authorizations/{id}/void", self._void_hold, "cancel"),
            route("GET /v2/payments/captures/{id}", self._get_capture),
            route("POST /v2/payments/captures/{id}/refund", self._refund, "refund"),
            route("GET /v2/payments/refunds/{id}", self._get_refund),
            route("GET /v1/customer/disputes", self._list_disputes),
            route("GET /v1/customer/disputes/{id}", self._get_dispute),
        ]

    # Keys, tokens, request ids

    def key_of(self, headers: Fields) -> str | None:
        return super().key_of(headers) or self.basic_secret(headers)

    def handle(self, call: Call) -> Answer:
        overtaken_by = self.enter(call)  # a call that arrived late, after its own repeat
        if overtaken_by is not None:
            return overtaken_by
        try:
            found = self.find(call.method, call.path)
            if found is None:
                raise No("INVALID_RESOURCE_ID", status=404)
            line, parts = found
            if line.operation == "other":
                return line.run(call, **parts)
            key, given = self.valid_key_of(call.headers), call.given
            if key is None:
                body = {"error": "invalid_token", "error_description": "Token signature verification failed"}
                return json_answer(body, 401)
            account = self.account(key)
            if ("refunds" if "refund" in call.path else "payments") in account.denied:
                raise No("PERMISSION_DENIED", "You do not have permission to access or perform operations.", status=403)
            if account.standing == "inactive" and line.operation == "create":
                raise No("PAYEE_ACCOUNT_RESTRICTED", "The merchant account is restricted.")
            if given is None:
                raise No("MALFORMED_REQUEST_JSON", status=400)
            answer = line.run(account, given, **parts)
        except No as refusal:
            return self._refused(refusal)
        self.remember(call, answer)
        return answer

    def _refused(self, refusal: No) -> Answer:
        return json_answer(
            {
                "name": _NAMES[refusal.status],
                "details": [{"issue": refusal.issue, "description": str(refusal)}],
                "message": "The requested action could not be performed.",
                "debug_id": self.network.hex(13),
            },
            refusal.status,
        )

    def broken(self, status: int) -> Answer:
        name = "RATE_LIMIT_REACHED" if status == 429 else "INTERNAL_SERVER_ERROR"
        body = {"name": name, "message": "An error occurred.", "debug_id": self.network.hex(13)}
        return json_answer(body, status, {"Retry-After": "1"} if status == 429 else None)

    def sign(self, account: str, secret: str, body: bytes) -> Headers:
        """RSA over transmission id, time, webhook id and the body's CRC."""
        sent_id, sent_at = self.network.hex(36), shapes.moment(self.now)
        signed = f"{sent_id}|{sent_at}|{secret}|{zlib.crc32(body)}".encode()
        return {
            "PAYPAL-TRANSMISSION-ID": sent_id,
            "PAYPAL-TRANSMISSION-TIME": sent_at,
            "PAYPAL-CERT-URL": f"{self.base}/v1/notifications/certs/CERT-1",
            "PAYPAL-AUTH-ALGO": "SHA256withRSA",
            "PAYPAL-TRANSMISSION-SIG": base64.b64encode(_signing_key().sign(signed, PKCS1v15(), SHA256())).decode(),
        }

    def _token(self, call: Call) -> Answer:
        key = self.key_of(call.headers)
        grant = parse_qs(call.body.decode("latin-1")).get("grant_type")
        if key is None or not self.accepts(key) or bearer(call.headers):
            body = {"error": "invalid_client", "error_description": "Client Authentication failed"}
            return json_answer(body, 401)
        if grant != ["client_credentials"]:
            return json_answer({"error": "unsupported_grant_type"}, 400)
        denied = self.account(key).denied
        token = f"A21AA{self.network.token(60)}"
        self.issue(key, token)
        scopes = " ".join(scope for scope, what in _SCOPES.items() if what not in denied)
        return json_answer(
            {"scope": scopes, "access_token": token, "token_type": "Bearer", "expires_in": self.token_seconds}
        )

    def _cert(self, call: Call, id: str) -> Answer:
        return Answer(200, _certificate(), {}, "application/x-pem-file")

    # Orders

    def _shown(self, tx: Transaction, status: int = 200) -> Answer:
        return json_answer(shapes.order_json(tx, self.base, f"{self.base}/pay/{tx.id}"), status)

    def _known(self, account: Account, order_id: str) -> Transaction:
        tx = account.things.get(order_id)
        if not isinstance(tx, Transaction):
            raise _no_such_id()
        return tx

    def _create(self, account: Account, given: Json) -> Answer:
        return self._shown(self.new_order(account, given))

    def _get_order(self, account: Account, given: Json, id: str) -> Answer:
        return self._shown(self._known(account, id))

    def _capture_order(self, account: Account, given: Json, id: str) -> Answer:
        tx = self._known(account, id)
        self.take(account, tx, "CAPTURE")
        return self._shown(tx, 201)

    def _authorize_order(self, account: Account, given: Json, id: str) -> Answer:
        tx = self._known(account, id)
        self.take(account, tx, "AUTHORIZE")
        return self._shown(tx, 201)

    # Holds, captures, refunds

    def _by(self, account: Account, part: str, part_id: str) -> Transaction:
        for tx in account.transactions:
            if getattr(tx.wire, part) == part_id:
                return tx
        raise _no_such_id()

    def _get_hold(self, account: Account, given: Json, id: str) -> Answer:
        return json_answer(shapes.authorization_json(self._by(account, "hold", id)))

    def _capture_hold(self, account: Account, given: Json, id: str) -> Answer:
        tx = self._by(account, "hold", id)
        self.capture_hold(account, tx, self._amount(tx, given, tx.amount))
        return json_answer(shapes.capture_json(tx), 201)

    def _void_hold(self, account: Account, given: Json, id: str) -> Answer:
        tx = self._by(account, "hold", id)
        self.void_hold(account, tx)
        return json_answer(shapes.authorization_json(tx))

    def _get_capture(self, account: Account, given: Json, id: str) -> Answer:
        return json_answer(shapes.capture_json(self._by(account, "capture", id)))

    def _amount(self, tx: Transaction, given: Json, rest: int) -> int:
        if given.get("amount") is None:
            return rest
        minor, code = self.money(given["amount"])
        if code != tx.currency:
            raise No("CURRENCY_MISMATCH")
        return minor

    def _refund(self, account: Account, given: Json, id: str) -> Answer:
        tx = self._by(account, "capture", id)
        wire = {name: given[name] for name in ("custom_id", "invoice_id") if isinstance(given.get(name), str)}
        made = self.make_refund(account, tx, self._amount(tx, given, tx.refundable), wire)
        return json_answer(shapes.refund_json(tx, made, self.base), 201)

    def _get_refund(self, account: Account, given: Json, id: str) -> Answer:
        found = account.things.get(id)
        if not isinstance(found, tuple):
            raise _no_such_id()
        tx, refund = found
        return json_answer(shapes.refund_json(tx, refund, self.base))

    # Disputes

    def _list_disputes(self, account: Account, given: Json) -> Answer:
        count, at = whole(given.get("?page_size", "10"), 1, 50), _page_of(given.get("?next_page_token", "MQ=="))
        if count is None or at is None:
            raise No("INVALID_PARAMETER_VALUE", "page_size or next_page_token", status=400)
        after, before = given.get("?update_time_after"), given.get("?update_time_before")
        first = shapes.moment(self.now - _LISTED_SECONDS)
        if any(moment and (not _MOMENT.fullmatch(moment) or moment < first) for moment in (after, before)):
            raise No("INVALID_PARAMETER_VALUE", "an update time must be within the last 180 days", status=400)
        rows = [shapes.listed_dispute_json(tx, one, self.base) for tx, one in account.disputes]
        rows = [r for r in rows if (after or "") <= r["update_time"] and (not before or r["update_time"] <= before)]
        rows.sort(key=lambda row: row["create_time"], reverse=True)
        links = [{"href": f"{self.base}/v1/customer/disputes", "rel": "self", "method": "GET"}]
        if len(rows) > at * count:
            query = {name[1:]: value for name, value in given.items()}
            query["next_page_token"] = base64.b64encode(str(at + 1).encode()).decode()
            links.append({**links[0], "href": f"{links[0]['href']}?{urlencode(query)}", "rel": "next"})
        return json_answer({"items": rows[(at - 1) * count : at * count], "links": links})

    def _get_dispute(self, account: Account, given: Json, id: str) -> Answer:
        for tx, dispute in account.disputes:
            if dispute.id == id:
                returned = dispute.amount if dispute.status == "lost" else None
                return json_answer(shapes.dispute_json(tx, dispute, returned))
        raise _no_such_id()
