"""Compares signatures in constant time. Any bytes in a header are safe."""

from __future__ import annotations

import hmac
from collections.abc import Mapping


def header(headers: Mapping[str, str], name: str) -> str | None:
    """A header by its case-insensitive name; None if it is absent or empty."""
    return next((value for key, value in headers.items() if key.lower() == name.lower()), None) or None


def same(expected: str, given: str | None) -> bool:
    """Compare in constant time. An empty or missing side never matches."""
    if not expected or not given:
        return False
    return hmac.compare_digest(expected.encode(), given.encode("utf-8", "surrogatepass"))


def hex_hmac(secret: str, message: bytes, digest: str) -> str:
    """HMAC in lower-case hex, keyed with the secret's UTF-8 bytes."""
    return hmac.new(secret.encode(), message, digest).hexdigest()
