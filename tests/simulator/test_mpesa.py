"""Daraja's rules: tokens, passwords, prompts, the query, callbacks to the address that a prompt names."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.simulator.conftest import Client, Receiver, Reply

KEY, SECRET, PASSKEY = "consumerkey0123456", "consumersecret0123", "passkey0123456789"
STAMP = "20261122230910"


def basic(user: str = KEY, secret: str = SECRET) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()}


async def token(client: Client) -> str:
    reply = await client.send("GET", "/mpesa/oauth/v1/generate?grant_type=client_credentials", headers=basic())
    assert (reply.status, reply.json["expires_in"]) == (200, "3599")
    return str(reply.json["access_token"])


def signed(**more: Any) -> dict[str, Any]:
    password = base64.b64encode(f"174379{PASSKEY}{STAMP}".encode()).decode()
    return {"BusinessShortCode": "174379", "Password": password, "Timestamp": STAMP, **more}


def prompt(**more: Any) -> dict[str, Any]:
    return signed(
        **{
            "TransactionType": "CustomerPayBillOnline",
            "Amount": 75,
            "PartyA": "254708374149",
            "PartyB": "174379",
            "PhoneNumber": "254708374149",
            "CallBackURL": "http://127.0.0.1:9/?reference=r-1",
            "AccountReference": "r-1",
            "TransactionDesc": "Visit",
            **more,
        }
    )


async def push(client: Client, access: str | None = None, **more: Any) -> Reply:
    headers = {"Authorization": f"Bearer {access or await token(client)}"}
    return await client.send("POST", "/mpesa/mpesa/stkpush/v1/processrequest", headers=headers, json=prompt(**more))


async def query(client: Client, checkout_id: str) -> Reply:
    headers = {"Authorization": f"Bearer {await token(client)}"}
    body = signed(CheckoutRequestID=checkout_id)
    return await client.send("POST", "/mpesa/mpesa/stkpushquery/v1/query", headers=headers, json=body)


@pytest.mark.parametrize(
    ("outcome", "code", "status", "captured"),
    [("success", 0, "succeeded", 7500), ("decline", 1, "failed", 0), ("abandon", 1032, "canceled", 0)],
)
async def test_a_prompt_is_answered(
    client: Client, receiver: Receiver, outcome: str, code: int, status: str, captured: int
) -> None:
    made = (await push(client, CallBackURL=f"{receiver.url}/hook?reference=r-1")).json
    assert made["ResponseCode"] == "0"
    running = await query(client, made["CheckoutRequestID"])
    assert (running.status, running.json["errorCode"]) == (500, "500.001.1001")
    paid = await client.pay("r-1", outcome)
    assert (paid["id"], paid["status"], paid["captured"]) == (made["CheckoutRequestID"], status, captured)
    told = (await query(client, made["CheckoutRequestID"])).json
    assert (told["ResultCode"], told["CheckoutRequestID"]) == (str(code), made["CheckoutRequestID"])
    [called] = await receiver.until(lambda got: len(got) == 1)
    call = called.json["Body"]["stkCallback"]
    assert (call["ResultCode"], call["CheckoutRequestID"]) == (code, made["CheckoutRequestID"])
    items = {item["Name"]: item.get("Value") for item in call.get("CallbackMetadata", {"Item": []})["Item"]}
    assert items.get("Amount") == (75 if code == 0 else None)
    late = await client.control("POST", "/pay/r-1", {"outcome": "success"})
    assert late.status == 409


async def test_a_prompt_that_nobody_answers_ends(client: Client) -> None:
    made = (await push(client)).json
    await client.control("POST", "/clock", {"advanceSeconds": 61})
    assert (await query(client, made["CheckoutRequestID"])).json["ResultCode"] == "1037"
    assert (await client.book())[0]["status"] == "canceled"


@pytest.mark.parametrize(
    "change",
    [
        {"Amount": 0},
        {"Amount": 75.5},
        {"Amount": "75.50"},
        {"Amount": 250_001},
        {"Amount": True},
        {"PhoneNumber": "0708374149"},
        {"PartyA": "254700000000"},
        {"CallBackURL": "http://shop.example/"},
        {"AccountReference": "more-than-twelve"},
        {"TransactionDesc": "more than thirteen"},
        {"PartyB": None},
        {"TransactionType": "Pay"},
        {"BusinessShortCode": "x"},
        {"Timestamp": "2026"},
    ],
)
async def test_what_daraja_refuses(client: Client, change: dict[str, Any]) -> None:
    reply = await push(client, **change)
    assert (reply.status, reply.json["errorCode"]) == (400, "400.002.02")
    assert await client.book() == []


async def test_keys_tokens_and_passwords(client: Client) -> None:
    path = "/mpesa/oauth/v1/generate?grant_type=client_credentials"
    for headers in ({}, basic(secret="invalidsecret012345"), basic(user="x"), {"Authorization": "Basic %%%"}):
        assert (await client.send("GET", path, headers=headers)).status == 400
    stale = await push(client, access="not-a-token")
    assert (stale.status, stale.json["errorCode"]) == (404, "404.001.03")
    assert (await push(client)).status == 200
    other = base64.b64encode(f"174379another-passkey-1{STAMP}".encode()).decode()
    assert (await push(client, Password=other)).json["errorMessage"] == "Wrong credentials"
    access = await token(client)
    await client.control("POST", "/clock", {"advanceSeconds": 3600})
    assert (await push(client, access=access)).json["errorCode"] == "404.001.03"


async def test_faults_reach_every_call(client: Client) -> None:
    await client.fault("mpesa", "create", "error_500", count=1)
    assert (await push(client)).status == 500
    await client.fault("mpesa", "create", "rate_limit", count=1)
    assert (await push(client)).json["errorCode"] == "500.003.02"
    assert await client.book() == []
    await client.fault("mpesa", "lookup", "error_500", count=1)
    assert "Internal" in (await query(client, "x")).json["errorMessage"]
    assert (await query(client, "x")).json["errorMessage"] == "The transaction does not exist"


async def test_the_phone_is_a_page_too(client: Client) -> None:
    made = (await push(client)).json
    page = f"/mpesa/pay/{made['CheckoutRequestID']}"
    assert "254708374149" in (await client.send("GET", page)).text
    assert (await client.send("POST", page, data={"outcome": "success"})).status == 200
    assert (await client.book())[0]["captured"] == 7500
