"""A provider that answers at once: only Paystack's initialize and verify."""

from __future__ import annotations

import msgspec
import uvloop

from benchmarks.programs.living import serve_bytes
from benchmarks.wire import Served

CODE = "stand_in_access_code"


def initialized(reference: str) -> bytes:
    """The answer to POST /transaction/initialize."""
    return (
        b'{"status":true,"message":"Authorization URL created","data":{"authorization_url":'
        b'"https://checkout.example/%b","access_code":"%b","reference":"%b"}}'
        % (CODE.encode(), CODE.encode(), reference.encode())
    )


def verified(reference: str) -> bytes:
    """The answer to GET /transaction/verify/{reference}: not paid."""
    return (
        b'{"status":true,"message":"Verification successful","data":{"id":4099260516,"status":"abandoned",'
        b'"reference":"%b","amount":150000,"currency":"NGN","fees":null,"gateway_response":"Not completed"}}'
        % reference.encode()
    )


def answering(caller: Served, head: bytes, body: bytes) -> None:
    """Answer one call."""
    if head.startswith(b"GET "):
        caller.answer(b"200 OK", verified(head.split(b" ", 2)[1].rpartition(b"/")[2].decode()))
    else:
        caller.answer(b"200 OK", initialized(msgspec.json.decode(body)["reference"]))


if __name__ == "__main__":
    uvloop.run(serve_bytes(answering))
