"""A provider with only Paystack's initialize and verify. It answers at once, or after random times.

Two arguments are the median and the 99th percentile of these times in milliseconds; their distribution is log-normal.
"""

from __future__ import annotations

import asyncio
import math
import random
import sys

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


P99 = 2.3263  # the 99th percentile of the standard normal distribution
_chance = random.Random(21)


def answering(caller: Served, head: bytes, body: bytes) -> None:
    """Answer one call."""
    if len(sys.argv) < 3:
        _answer(caller, head, body)
        return
    median_s, p99_s = (float(text) / 1000 for text in sys.argv[1:3])
    after_s = _chance.lognormvariate(math.log(median_s), math.log(p99_s / median_s) / P99)
    asyncio.get_running_loop().call_later(after_s, _answer, caller, head, body)


def _answer(caller: Served, head: bytes, body: bytes) -> None:
    if head.startswith(b"GET "):
        caller.answer(b"200 OK", verified(head.split(b" ", 2)[1].rpartition(b"/")[2].decode()))
    else:
        caller.answer(b"200 OK", initialized(msgspec.json.decode(body)["reference"]))


if __name__ == "__main__":
    uvloop.run(serve_bytes(answering))
