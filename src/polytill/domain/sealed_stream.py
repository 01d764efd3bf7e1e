"""A file encrypted in chunks, so that a database of any size is sealed and opened in constant memory.

The file is a line with the format's name, a line of JSON that anyone may read (the header), and chunks. Each chunk is up to
64 KiB of content under AES-256-GCM. The key is made of the practice's data key, a random salt and both first lines, so
a changed header opens nothing. The nonce is the chunk's number and whether it is the last one, so chunks cannot be left
out, repeated, put in another order or cut off: the construction is STREAM (V. T. Hoang, R. Reyhanitabar, P. Rogaway,
D. Vizár, "Online Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance", CRYPTO 2015), as in the format of age.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, BinaryIO, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from polytill.domain.clock import World
from polytill.domain.errors import OperatorError, SealBroken
from polytill.domain.sealing import DataKey

FORMAT = b"polytill sealed file 1\n"
CHUNK = 64 * 1024
SEALED_CHUNK = CHUNK + 16
SALT_BYTES = 32
LONGEST_HEADER = 1024 * 1024
_LAST = 1


class Sink(Protocol):
    """What takes a sealed file."""

    def write(self, data: bytes, /) -> Any:
        """Take these bytes."""


def _nonce(number: int, is_last: bool) -> bytes:
    return number.to_bytes(11, "big") + (_LAST if is_last else 0).to_bytes(1, "big")


class Sealing:
    """Writes one sealed file. Without ``close`` it has no last chunk, so it does not open."""

    def __init__(self, to: Sink, key: DataKey, header: dict[str, Any], world: World) -> None:
        salt = world.random_bytes(SALT_BYTES)
        line = json.dumps({"salt": salt.hex(), **header}, separators=(",", ":")).encode() + b"\n"
        to.write(FORMAT + line)
        self._to, self._aead, self._number = to, key.for_file(FORMAT + line), 0
        self._held = bytearray()

    def write(self, content: bytes) -> None:
        """Seal more content."""
        self._held += content
        while len(self._held) > CHUNK:  # at least one byte stays for the last chunk
            self._chunk(bytes(self._held[:CHUNK]), is_last=False)
            del self._held[:CHUNK]

    def close(self) -> None:
        """Write the last chunk."""
        self._chunk(bytes(self._held), is_last=True)
        self._held.clear()

    def _chunk(self, content: bytes, *, is_last: bool) -> None:
        self._to.write(self._aead.encrypt(_nonce(self._number, is_last), content, None))
        self._number += 1


def header_of(file: BinaryIO) -> tuple[dict[str, Any], bytes]:
    """The header of a sealed file, and the bytes that its key is bound to. Nothing of it is proven before ``opened``.

    ``OperatorError`` if this is no sealed file.
    """
    if file.read(len(FORMAT)) != FORMAT:
        raise OperatorError("This file is not a backup of polytill.")
    line = file.readline(LONGEST_HEADER)
    try:
        header = json.loads(line)
    except ValueError:
        header = None
    if not isinstance(header, dict) or not line.endswith(b"\n"):
        raise OperatorError("This backup has no readable header: it is damaged.")
    return header, FORMAT + line


def opened(file: BinaryIO, key: DataKey, bound: bytes) -> Iterator[bytes]:
    """The content, chunk by chunk. ``file``: after its header. ``bound``: from ``header_of``.

    ``SealBroken`` if the key is another one, or if anything was changed or is missing.
    """
    aead, number, held = key.for_file(bound), 0, file.read(SEALED_CHUNK)
    while True:
        following = file.read(SEALED_CHUNK)
        yield _opened_chunk(aead, number, held, is_last=not following)
        if not following:
            return
        held, number = following, number + 1


def _opened_chunk(aead: AESGCM, number: int, sealed: bytes, *, is_last: bool) -> bytes:
    try:
        return aead.decrypt(_nonce(number, is_last), sealed, None)
    except (InvalidTag, ValueError) as error:
        raise SealBroken from error
