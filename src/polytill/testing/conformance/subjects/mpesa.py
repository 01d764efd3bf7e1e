"""M-Pesa's fixture: an access token before each call, whole shillings, answers without an amount, unsigned webhooks."""

from __future__ import annotations

from typing import Any

from polytill.domain.money import Money
from polytill.domain.secret import Secret
from polytill.domain.states import Environment
from polytill.providers.contract import ProviderConfig
from polytill.providers.mpesa.handler import MpesaProvider
from polytill.testing.conformance.fixture import Delivery, Example, Json, ProviderFixture, Sample

IDS = {"MerchantRequestID": "29115-34620561-1", "CheckoutRequestID": "<transaction>"}


def _account(letter: str) -> ProviderConfig:
    return ProviderConfig(
        Environment.sandbox,
        "https://sandbox.safaricom.co.ke",
        letter * 32,
        Secret(f"secret{letter}" * 5),
        config={"shortCode": "174379", "passkey": Secret(f"passkey{letter}" * 5)},
        webhook_url="https://till.example/hooks/token",
    )


def _queried(code: str, text: str) -> Json:
    return {
        "ResponseCode": "0",
        "ResponseDescription": "The service request has been accepted successsfully",
        **IDS,
        "ResultCode": code,
        "ResultDesc": text,
    }


def _refused(status: int, code: str, text: str, to: str = "/query") -> Sample:
    return Sample({"requestId": "ws-1", "errorCode": code, "errorMessage": text}, status, to=to)


def _called_back(code: int, text: str, **more: Any) -> Json:
    call = {**IDS, "ResultCode": code, "ResultDesc": text, **more}
    return {"Body": {"stkCallback": call}}


TOKEN_PATH = "/oauth/v1/generate"  # noqa: S105
TOKEN = Sample({"access_token": "a-token-of-one-hour", "expires_in": "3599"}, to=TOKEN_PATH)
PAID = {
    "Item": [
        {"Name": "Amount", "Value": "<amount>"},
        {"Name": "MpesaReceiptNumber", "Value": "NLJ7RT61SV"},
        {"Name": "Balance"},
        {"Name": "TransactionDate", "Value": 20191219102115},
        {"Name": "PhoneNumber", "Value": 254708374149},
    ]
}

MPESA = ProviderFixture(
    handler=MpesaProvider,
    accounts=(_account("a"), _account("b")),
    examples=(Example(Money(150_000, "KES"), "1500", 1500), Example(Money(7_500, "KES"), "75", "75.00")),
    too_fine=Money(7_550, "KES"),
    amount_field="Amount",
    token_at=TOKEN_PATH,
    answers={
        "token": TOKEN,
        "created": Sample(
            {
                **IDS,
                "ResponseCode": "0",
                "ResponseDescription": "Success. Request accepted for processing",
                "CustomerMessage": "Success. Request accepted for processing",
            },
            to="/processrequest",
        ),
        "paid": Sample(_queried("0", "The service request is processed successfully."), to="/query"),
        "declined": Sample(_queried("1", "The balance is insufficient for the transaction."), to="/query"),
        "pending": _refused(500, "500.001.1001", "The transaction is being processed"),
        "declined_newly": Sample(_queried("7777", "Levitation is not allowed for this till."), to="/query"),
        "strange": _refused(500, "500.001.7777", "Levitating"),
        "missing": _refused(400, "400.002.02", "Bad Request"),
        "keys_good": (TOKEN, _refused(500, "500.001.1001", "The transaction does not exist")),
        "keys_bad": _refused(400, "400.008.01", "Invalid Authentication passed", TOKEN_PATH),
    },
    deliveries={
        "paid": Delivery(_called_back(0, "The service request is processed successfully.", CallbackMetadata=PAID)),
        "later": Delivery(_called_back(1032, "Request cancelled by user.")),
        "unrelated": Delivery(
            {"TransactionType": "Pay Bill", "TransID": "RKTQDM7W6S", "TransAmount": "10", "BillRefNumber": "x"}
        ),
    },
    signature=None,
    transaction_id="ws_CO_191220191020363925",
)
