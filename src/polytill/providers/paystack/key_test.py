"""Checks whether the keys of a Paystack account can take payments. Nothing is created.

Sources: paystack.com/docs (GET /balance; ``email`` and ``amount`` of POST /transaction/initialize are required; its
list of errors names the key of a disabled business). That sentence, "Merchant may be inactive", is quoted from
initialize by several public projects, of test accounts too.
"""

from __future__ import annotations

from polytill.providers.key_probe import KeyProbe

PROBE = KeyProbe(
    "Paystack",
    "/balance",
    "/transaction/initialize",
    success=True,
    inactive=("merchant may be inactive", "merchant is inactive", "merchant account is inactive"),
    advice="not active: complete its activation",
)
