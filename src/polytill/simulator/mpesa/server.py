"""M-Pesa's Daraja API: tokens, prompts on phones, the query, callbacks. Whole shillings, nothing signed.

The account is the consumer secret. Each prompt carries its own callback address, so nothing has to be registered.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from urllib.parse import parse_qs, urlsplit

from polytill.simulator.access_tokens import TokenProvider
from polytill.simulator.books import USUAL, Account, Dispute, DisputeStory, Json, Refund, Transaction
from polytill.simulator.deliveries import Hook, is_loopback
from polytill.simulator.wire import Answer, Call, Fields, Headers, PayPage, Rejected, Route, compact, json_answer, route

_PHONE = re.compile(r"^254[17][0-9]{8}$")
_KINDS = ("CustomerPayBillOnline", "CustomerBuyGoodsOnline")
_PROMPT_SECONDS = 60
_EAST_AFRICA = timezone(timedelta(hours=3))
_MOST = 250_000
_RESULTS = {
    "success": (0, "The service request is processed successfully."),
    "decline": (1, "The balance is insufficient for the transaction."),
    "abandon": (1032, "Request cancelled by user."),
    "silence": (1037, "DS timeout user cannot be reached"),
}


class No(Rejected):
    """Daraja rejects the request."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


def _bad(name: str) -> No:
    return No(400, "400.002.02", f"Bad Request - Invalid {name}")


def _local(moment: float) -> datetime:
    return datetime.fromtimestamp(moment, _EAST_AFRICA)


@dataclass(slots=True)
class Prompt:
    """Safaricom's side of a transaction."""

    merchant_request: str
    phone: str
    callback: str
    receipt: str = ""
    result: tuple[int | str, str] | None = None


def _ids(tx: Transaction) -> Json:
    return {"MerchantRequestID": tx.wire.merchant_request, "CheckoutRequestID": tx.id}


class Mpesa(TokenProvider):
    """Lipa na M-Pesa Online."""

    name = "mpesa"
    prefix = "/mpesa"
    key_pattern = re.compile(r"[0-9A-Za-z]{16,128}")
    token_seconds = 3599

    def table(self) -> list[Route]:
        return [
            route("GET /oauth/v1/generate", self._generate, "other"),
            route("POST /mpesa/stkpush/v1/processrequest", self._process, "create"),
            route("POST /mpesa/stkpushquery/v1/query", self._query, "lookup"),
        ]

    # Keys, tokens, envelopes

    def key_of(self, headers: Fields) -> str | None:
        return super().key_of(headers) or self.basic_secret(headers)

    def handle(self, call: Call) -> Answer:
        try:
            found = self.find(call.method, call.path)
            if found is None:
                raise No(404, "404.001.01", "Resource not found")
            return found[0].run(call)
        except No as refusal:
            return self._refused(refusal.status, refusal.code, str(refusal))

    def broken(self, status: int) -> Answer:
        if status == 429:
            return self._refused(status, "500.003.02", "Error Occurred: Spike Arrest Violation")
        return self._refused(status, "500.001.1001", "[MerchantValidate] - Internal Server Error")

    def _refused(self, status: int, code: str, text: str) -> Answer:
        number = f"{self.network.random.randint(1000, 99999)}-{self.network.number('mpesa request', 15_000_000)}-1"
        return json_answer({"requestId": number, "errorCode": code, "errorMessage": text}, status)

    def sign(self, account: str, secret: str, body: bytes) -> Headers:
        """Nothing is signed."""
        return {}

    def _generate(self, call: Call) -> Answer:
        key = self.key_of(call.headers)
        if key is None or not self.accepts(key) or call.query.get("grant_type") != "client_credentials":
            raise No(400, "400.008.01", "Invalid Authentication passed")
        self.account(key)
        token = self.network.token(28)
        self.issue(key, token)
        return json_answer({"access_token": token, "expires_in": str(self.token_seconds)})

    def _entered(self, call: Call) -> tuple[Account, Json]:
        """The account of a request and its body, after the password was checked."""
        key, given = self.valid_key_of(call.headers), call.document
        if key is None:
            raise No(404, "404.001.03", "Invalid Access Token")
        if given is None:
            raise No(400, "400.002.05", "Invalid Request Payload")
        code, stamp = str(given.get("BusinessShortCode", "")), given.get("Timestamp")
        account = self.account(key)
        if not re.fullmatch(r"[0-9]{5,7}", code):
            raise _bad("BusinessShortCode")
        if not isinstance(stamp, str) or not re.fullmatch(r"20[0-9]{12}", stamp):
            raise _bad("Timestamp")
        self._check_password(account, code, stamp, given.get("Password"))
        return account, given

    def _check_password(self, account: Account, code: str, stamp: str, password: object) -> None:
        """The pass key of a short code is the first one used. One that contains "wrong" is never right."""
        try:
            plain = base64.b64decode(password, validate=True).decode() if isinstance(password, str) else ""
        except ValueError:
            plain = ""
        passkey = plain.removeprefix(code).removesuffix(stamp)
        right = plain == code + passkey + stamp and len(passkey) >= 16 and "wrong" not in passkey.lower()
        if not right or account.memory["passkeys"].setdefault(code, passkey) != passkey:
            raise No(500, "500.001.1001", "Wrong credentials")

    # Prompts

    def _process(self, call: Call) -> Answer:
        account, given = self._entered(call)
        amount, phone, callback = given.get("Amount"), str(given.get("PhoneNumber")), given.get("CallBackURL")
        text = str(amount) if isinstance(amount, int | str) and not isinstance(amount, bool) else ""
        if not re.fullmatch(r"[0-9]{1,6}", text) or not 1 <= int(text) <= _MOST:
            raise _bad("Amount")
        if not _PHONE.fullmatch(phone) or str(given.get("PartyA")) != phone:
            raise _bad("PhoneNumber")
        if not isinstance(callback, str) or not (callback.startswith("https://") or is_loopback(callback)):
            raise _bad("CallBackURL")
        self._check_texts(given)
        if not str(given["PartyB"]).strip("0"):  # a till of zeros belongs to nobody
            raise No(500, "500.001.1001", "Merchant does not exist")
        number = self.network.number("mpesa prompt", 34_620_000)
        prompt = Prompt(f"29115-{number}-1", phone, callback)
        name, reference = f"ws_CO_{_local(self.now):%d%m%Y%H%M%S}{number}", self._reference(callback, given)
        tx = self.book(account, name, reference, (int(text) * 100, "KES"), prompt, "processing")
        account.things[tx.id] = tx
        self.network.after(_PROMPT_SECONDS, lambda: self._expire(account, tx))
        done = "Success. Request accepted for processing"
        return json_answer({**_ids(tx), "ResponseCode": "0", "ResponseDescription": done, "CustomerMessage": done})

    def _check_texts(self, given: Json) -> None:
        if given.get("TransactionType") not in _KINDS:
            raise _bad("TransactionType")
        if not re.fullmatch(r"[0-9]{5,9}", str(given.get("PartyB"))):
            raise _bad("PartyB")
        for name, longest in (("AccountReference", 12), ("TransactionDesc", 13)):
            value = given.get(name)
            if not isinstance(value, str) or not 1 <= len(value) <= longest:
                raise _bad(name)

    def _reference(self, callback: str, given: Json) -> str:
        """What the books call the payment: the merchant's own name for it in the callback address, if there is one."""
        found = parse_qs(urlsplit(callback).query).get("reference")
        return found[0] if found else str(given["AccountReference"])

    def _query(self, call: Call) -> Answer:
        account, given = self._entered(call)
        tx = account.things.get(str(given.get("CheckoutRequestID")))
        if tx is None:
            raise No(500, "500.001.1001", "The transaction does not exist")
        if tx.wire.result is None:
            raise No(500, "500.001.1001", "The transaction is being processed")
        code, text = tx.wire.result
        return json_answer(
            {
                "ResponseCode": "0",
                "ResponseDescription": "The service request has been accepted successsfully",
                **_ids(tx),
                "ResultCode": str(code),
                "ResultDesc": text,
            }
        )

    # The payer's phone

    def pay(self, account: Account, transaction: Transaction, outcome: str) -> Transaction:
        tx = transaction
        tx.wire.result, tx.closed = _RESULTS[outcome], True
        if outcome == "decline" and tx.said:
            code, text = tx.said
            tx.wire.result = (int(code) if code.isdecimal() else code, text or "Declined.")
        if outcome == "success":
            tx.pay(self.now)
            tx.wire.receipt = self.network.token(10).upper()
        else:
            tx.status = "failed" if outcome == "decline" else "canceled"
        self._call_back(account, tx)
        return tx

    def _expire(self, account: Account, tx: Transaction) -> None:
        if tx.wire.result is None:
            self.pay(account, tx, "silence")

    def callback(self, tx: Transaction) -> Json:
        """The callback of a completed prompt."""
        code, text = tx.wire.result
        told: Json = {**_ids(tx), "ResultCode": code, "ResultDesc": text}
        if code == 0:
            told["CallbackMetadata"] = {
                "Item": [
                    {"Name": "Amount", "Value": tx.amount // 100},
                    {"Name": "MpesaReceiptNumber", "Value": tx.wire.receipt},
                    {"Name": "Balance"},
                    {"Name": "TransactionDate", "Value": int(f"{_local(tx.paid_at or 0):%Y%m%d%H%M%S}")},
                    {"Name": "PhoneNumber", "Value": int(tx.wire.phone)},
                ]
            }
        return {"Body": {"stkCallback": told}}

    def _call_back(self, account: Account, tx: Transaction) -> None:
        if is_loopback(tx.wire.callback):
            hook = Hook(self.name, account.key, tx.wire.callback, "")
            self.network.deliverer.deliver(hook, "stkCallback", compact(self.callback(tx)))

    def page(self, account: Account, tx: Transaction, token: str, query: Fields) -> PayPage:
        """The prompt as a page: what the payer's phone shows."""
        state = "open" if tx.payable else "paid" if tx.captured else "expired"
        merchant, note = f"Simulated merchant {account.number}", "Enter your M-Pesa PIN"
        amount = str(tx.amount // 100)
        return PayPage("M-Pesa", f"Phone {tx.wire.phone}", merchant, note, amount, "KES", state, tx.reference)

    def submit(self, account: Account, tx: Transaction, token: str, outcome: str, form: Fields) -> None:
        self.pay(account, tx, outcome)

    # What only Safaricom's own desk does: no callback reports it.

    def refund_in_dashboard(self, account: Account, transaction: Transaction, amount: int) -> Refund:
        number = self.network.number("mpesa reversal", 7_000)
        made = Refund(str(number), amount, "KES", "succeeded", self.now)
        transaction.refunds.append(made)
        return made

    def fail_refund(self, account: Account, transaction: Transaction, refund: Refund) -> None:
        refund.status = "failed"

    def dispute(self, account: Account, transaction: Transaction, outcome: str, story: DisputeStory = USUAL) -> Dispute:
        made = transaction.open_dispute()
        if made is None:
            number = self.network.number("mpesa dispute", 500)
            made = Dispute(str(number), transaction.captured, "open", self.now)
            transaction.disputes.append(made)
        if outcome != "open":
            made.status, made.closed_at = outcome, self.now
        return made
