"""Opaque, time-ordered ids, and addresses (hook and client tokens) that name their practice and cannot be guessed.

An id is 26 characters of ``[0-9a-z]`` (a ULID in lower case): 48 bits of milliseconds, 80 random bits. It is the
reference at every provider, so it has no underscore (Paystack rejects it) and no upper case.
"""

from __future__ import annotations

import base64
import hmac
import re
from datetime import UTC, datetime

from polytill.domain.clock import World

# The shape of an id, as a regular expression.
ID = "[0-9a-hjkmnp-tv-z]{26}"
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_ID_BITS = 130


def _pairs_of(alphabet: str) -> list[str]:
    # Ten bits at a time need half the steps.
    return [first + second for first in alphabet for second in alphabet]


_PAIRS = _pairs_of(_ALPHABET)


def _in_fives(value: int, bits: int, pairs: list[str]) -> str:
    """A number of so many bits, a multiple of ten, with a character for every five."""
    return "".join([pairs[value >> shift & 1023] for shift in range(bits - 10, -1, -10)])


def new_id(world: World, at: datetime | None = None) -> str:
    """A new id of a payment, attempt, refund or event. ``at``: the time in it; now without it."""
    time_s = world.time_s() if at is None else at.timestamp()
    return _text((int(time_s * 1000) << 80) | int.from_bytes(world.random_bytes(10), "big"))


def _text(value: int) -> str:
    return _in_fives(value, _ID_BITS, _PAIRS)


def first_id(at: datetime) -> str:
    """The lowest id that can be made at a time: every later one is greater."""
    return _text(max(0, int(at.timestamp() * 1000)) << 80)


def made_at(one: str) -> datetime:
    """When an id was made, by the clock of whoever made it."""
    value = 0
    for character in one[:10]:
        value = value << 5 | _ALPHABET.index(character)
    return datetime.fromtimestamp(value / 1000, UTC)


# ── Addresses ── A payload and a keyed tag over it. A made-up token is rejected before any database is opened.
_TAG_BYTES = 10
# RFC 4648, in lower case and without padding. The standard library's own takes a step of Python for each character.
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
_BASE32_PAIRS = _pairs_of(_BASE32)


def address(kind: bytes, practice_id: int, secret_part: bytes, key: bytes) -> str:
    """A token with a practice id and a random part, authenticated by ``key``. ``kind`` separates the uses."""
    payload = practice_id.to_bytes(5, "big") + secret_part
    return _base32(payload + _tag(key, kind + payload))


def _base32(content: bytes) -> str:
    bits = 8 * len(content)
    padding = -bits % 10
    text = _in_fives(int.from_bytes(content, "big") << padding, bits + padding, _BASE32_PAIRS)
    return text[: -(-bits // 5)]


def _tag(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")[:_TAG_BYTES]


def read_address(kind: bytes, token: str, keys: list[bytes]) -> tuple[int, bytes] | None:
    """The practice id and the random part of a token that one of ``keys`` authenticates; else None."""
    if not re.fullmatch("[0-9a-z]{20,120}", token):
        return None
    padded = token.upper() + "=" * (-len(token) % 8)
    try:
        raw = base64.b32decode(padded)
    except ValueError:
        return None
    if _base32(raw) != token:
        return None  # one token, one spelling
    payload, tag = raw[:-_TAG_BYTES], raw[-_TAG_BYTES:]
    is_ours = any(hmac.compare_digest(_tag(key, kind + payload), tag) for key in keys)
    return (int.from_bytes(payload[:5], "big"), payload[5:]) if is_ours and len(payload) >= 6 else None
