"""M-Pesa (Daraja): a prompt on the customer's phone, confirmed with their PIN. Kenya, whole shillings, nothing signed.

Sources: Safaricom's portal texts and the official callback sample, as public repositories quote them. Facts: "accepted"
only means that a prompt was sent. The query by CheckoutRequestID is the only reliable source, and answers HTTP 500
while the customer has not yet responded. If the CheckoutRequestID was lost, neither the query nor anything else finds
the prompt, only its callback, so the callback's address contains our reference. A callback proves nothing. Reversals
need an initiator and a special permission of Safaricom: refunds are not offered.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import ClassVar
from urllib.parse import quote

from polytill.domain.errors import InvalidAmount
from polytill.domain.identifiers import IdentifierKind
from polytill.domain.money import Money
from polytill.domain.secret import Secret
from polytill.providers.contract import (
    CatalogEntry,
    ConfirmPaymentParams,
    CreatePaymentParams,
    CredentialTest,
    CurrencyTerms,
    CustomerFields,
    Handler,
    IdentifierPaths,
    KeyField,
    KeyFinding,
    LookupParams,
    WebhookProof,
    WebhookResult,
    keys_failed,
)
from polytill.providers.http import Answered
from polytill.providers.merchant_reference import plain_code
from polytill.providers.mpesa import reading
from polytill.providers.oauth import TokenRequest, basic, fetch_token, send_with_token
from polytill.providers.outcomes import JsonObject, NotSent, Outcome, Reason, Unknown
from polytill.providers.wire_amounts import to_wire

# ── Facts ──

WHOLE_SHILLINGS = 0  # the wire's exponent
EAST_AFRICA = timedelta(hours=3)  # Safaricom's time zone, without daylight saving
MAX_ACCOUNT_REFERENCE, MAX_DESCRIPTION = 12, 13
PHONE = CustomerFields(("phone",), phone_countries=("KE",), phone_pattern="254[17][0-9]{8}")
PAY_BILL, BUY_GOODS = "CustomerPayBillOnline", "CustomerBuyGoodsOnline"
NO_PROMPT = "ws_CO_010120200000000000"  # a CheckoutRequestID that no prompt has

WHERE_KEYS_ARE = "Daraja portal → My Apps"
WORD = r"[0-9A-Za-z]{16,128}"  # sandbox and live keys look alike


class MpesaProvider(Handler):
    """The M-Pesa short code of one practice."""

    code = "mpesa"
    name = "M-Pesa"
    hosts = frozenset({"api.safaricom.co.ke", "sandbox.safaricom.co.ke"})
    keys: ClassVar[Mapping[str, KeyField]] = {
        "publicKey": KeyField("Consumer key", WORD, WORD, help=WHERE_KEYS_ARE),
        "secretKey": KeyField("Consumer secret", WORD, WORD, help=WHERE_KEYS_ARE),
    }
    config_schema: ClassVar[JsonObject] = {
        "type": "object",
        "properties": {
            "shortCode": {"type": "string", "title": "Short code", "pattern": "^[0-9]{5,7}$"},
            "passkey": {
                "type": "string",
                "title": "Passkey",
                "description": "The Lipa na M-Pesa Online passkey for this short code.",
                "pattern": "^[0-9A-Za-z]{16,128}$",
                "secret": True,
            },
            "transactionType": {
                "type": "string",
                "title": "Short code type",
                "description": "A paybill number, or a till number for buying goods.",
                "enum": [PAY_BILL, BUY_GOODS],
                "default": PAY_BILL,
            },
            "tillNumber": {
                "type": "string",
                "title": "Till number",
                "description": "Only for buying goods: the till that receives the money.",
                "pattern": "^[0-9]{5,9}$",
            },
        },
        "required": ["shortCode", "passkey"],
        "additionalProperties": False,
    }
    catalog = CatalogEntry(
        description="M-Pesa in Kenya: the payer confirms on their phone",
        website_url="https://www.safaricom.co.ke/main-mpesa",
        documentation_url="https://developer.safaricom.co.ke/APIs/MpesaExpressSimulate",
        api_base_url="https://api.safaricom.co.ke",
        sandbox_api_base_url="https://sandbox.safaricom.co.ke",
        methods=("mpesa",),
        currencies={"KES": CurrencyTerms(min_minor=1_00, max_minor=250_000_00, recommended=True, step_minor=1_00)},
        priority=5,
    )
    required_customer_fields = ("phone",)
    webhook_proof = WebhookProof.address
    webhook_with_each_call = True
    webhook_answer: ClassVar[JsonObject] = {"ResultCode": 0, "ResultDesc": "Accepted"}
    create_moves_money = True
    answers_name_amount = False
    further_currencies = frozenset()  # Kenyan shillings only
    settle_horizon_s = 120.0
    identifiers: ClassVar[IdentifierPaths] = {
        IdentifierKind.reference: ("MerchantRequestID",),
        # The receipt number in the customer's SMS. Only the callback contains it.
        IdentifierKind.receipt: ("CallbackMetadata.Item[Name=MpesaReceiptNumber].Value",),
    }
    redacted = reading.REDACTED

    # ── Public methods ──

    async def create_payment_intent(self, params: CreatePaymentParams) -> Outcome:
        """POST processrequest: a prompt on the customer's phone. ``Pending``: the customer must respond."""
        phone = params.phone
        if phone is None or not PHONE.takes_phone(phone):
            return NotSent(Reason.validation, "phone", "M-Pesa needs a Kenyan mobile number, like 254712345678.")
        if not self.config.webhook_url:
            return NotSent(Reason.config, "webhook_url", "M-Pesa needs an address to call back.")
        try:
            body = self._push_body(params, phone.digits, self.config.webhook_url)
        except InvalidAmount:
            return NotSent(Reason.validation, detail=f"M-Pesa takes whole shillings, not {params.amount}.")
        return reading.read_push(await self._call("/mpesa/stkpush/v1/processrequest", body), params.amount)

    async def confirm_payment(self, params: ConfirmPaymentParams) -> Outcome:
        """POST stkpushquery. The answer has no amount: the prompt fixed it."""
        return await self._query(params.provider_transaction_id, params.amount)

    async def lookup_payment(self, params: LookupParams) -> Outcome:
        """As ``confirm_payment``. Without a CheckoutRequestID no lookup is possible; only its callback shows the
        result."""
        return await self._query(params.provider_transaction_id, params.amount)

    async def test_credentials(self) -> CredentialTest:
        """Fetch an access token, which only valid keys get; each environment has its own host. Then query the status of
        a prompt that does not exist, to check the short code and passkey. This prompts nobody and moves no money."""
        token = await fetch_token(self.http, self._token_request())
        if isinstance(token, NotSent):
            return keys_failed(token.detail or "M-Pesa could not be reached.", token.reason is Reason.config)
        accepted, text = reading.read_probe(await self._ask_about(NO_PROMPT))
        if accepted is False:
            detail = f"M-Pesa accepts the consumer key and secret, but rejects the short code or passkey: {text}"
            return CredentialTest(False, detail, self.config.environment, finding=KeyFinding.short_code_refused)
        said = (
            "M-Pesa accepts the keys, and did not reject the short code and passkey in a status query."
            if accepted
            else "M-Pesa accepts the keys. The short code and passkey could not be checked."
        )
        what = "the till number and the passkey" if self._transaction_type == BUY_GOODS else "the passkey"
        detail = f"{said} Only a payment proves {what}: make a small one before going live."
        return CredentialTest(True, detail, self.config.environment, finding=KeyFinding.payment_proves_it)

    def validate_webhook(self, headers: Mapping[str, str], body: bytes) -> bool:
        """True: nothing is signed. Anyone who knows the address can send a callback, so its content is not trusted."""
        return True

    def process_webhook(self, body: bytes) -> WebhookResult:
        """Read a callback. It only names the prompt to look up."""
        return reading.read_callback(body)

    def get_public_config(self) -> JsonObject:
        """Empty: the customer is prompted on the phone."""
        return {}

    @classmethod
    def customer_fields(cls, currency: str, method: str | None = None, direct: bool = False) -> CustomerFields:
        """The phone number to prompt: a Kenyan mobile number."""
        return PHONE

    # ── Request builders ──

    def _token_request(self) -> TokenRequest:
        url = f"{self._base}/oauth/v1/generate?grant_type=client_credentials"
        return TokenRequest(self.name, "GET", url, basic(self.config.public_key, self.config.secret_key))

    async def _call(self, path: str, body: JsonObject) -> Answered:
        send, now_s = partial(self.http.send_json, "POST", self._base + path, body=body), self.world.time_s()
        return await send_with_token(self.http, self._token_request(), now_s, send, reading.refuses_token)

    @property
    def _base(self) -> str:
        return self.config.base_url.rstrip("/")

    @property
    def _transaction_type(self) -> str:
        return str(self.config.config.get("transactionType", PAY_BILL))

    def _signed_in(self) -> JsonObject:
        """The short code, password and timestamp of every request."""
        code, passkey = str(self.config.config.get("shortCode", "")), self.config.config.get("passkey")
        moment = datetime.fromtimestamp(self.world.time_s(), UTC) + EAST_AFRICA
        stamp = moment.strftime("%Y%m%d%H%M%S")
        word = passkey.reveal() if isinstance(passkey, Secret) else ""
        password = base64.b64encode(f"{code}{word}{stamp}".encode()).decode()
        return {"BusinessShortCode": code, "Password": password, "Timestamp": stamp}

    def _push_body(self, params: CreatePaymentParams, phone: str, webhook_url: str) -> JsonObject:
        told, kind = self.config.config, self._transaction_type
        paid = told.get("tillNumber") if kind == BUY_GOODS else None
        text = re.sub(r"[^0-9A-Za-z ]", "", params.description or params.merchant_name or "")
        told_as = plain_code(params.merchant_reference, MAX_ACCOUNT_REFERENCE)
        return {
            **self._signed_in(),
            "TransactionType": kind,
            "Amount": to_wire(params.amount, WHOLE_SHILLINGS),
            "PartyA": phone,
            "PartyB": paid or told.get("shortCode"),
            "PhoneNumber": phone,
            "CallBackURL": f"{webhook_url}?reference={quote(params.reference, safe='')}",
            "AccountReference": told_as or params.reference[-MAX_ACCOUNT_REFERENCE:],
            "TransactionDesc": text[:MAX_DESCRIPTION].strip() or "Payment",
        }

    async def _query(self, checkout_id: str | None, amount: Money) -> Outcome:
        if not checkout_id:
            return Unknown(Reason.not_found, "no_checkout_id", "Only the callback can show the result of the prompt.")
        return reading.read_query(await self._ask_about(checkout_id), checkout_id, amount)

    async def _ask_about(self, checkout_id: str) -> Answered:
        return await self._call("/mpesa/stkpushquery/v1/query", {**self._signed_in(), "CheckoutRequestID": checkout_id})
