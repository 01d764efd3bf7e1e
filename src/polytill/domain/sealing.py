"""Envelope encryption: AES-256-GCM under a data key per practice, which is wrapped by a key-encryption key.

The associated data binds a ciphertext to its place (practice, table, row, field, environment, version). Copied to any
other place, it does not open. A sealed value is ``v1.`` and the base64 of nonce and ciphertext. Key-encryption keys are
in a key ring file outside every database: the first key of the ring wraps, all of them open.
"""

from __future__ import annotations

import base64
import hmac
import os
import stat
import threading
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from polytill.domain.clock import World
from polytill.domain.errors import KeyMissing, OperatorError, SealBroken
from polytill.domain.ids import read_address
from polytill.domain.secret import Secret

_PREFIX = "v1."
_NONCE_BYTES = 12


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sealed value is stored. All of it is authenticated, none of it is secret."""

    table: str
    row: str
    field: str
    environment: str = "-"
    version: int = 0


def _encrypted(key: AESGCM, plain: bytes, bound: bytes, world: World) -> str:
    nonce = world.random_bytes(_NONCE_BYTES)
    return base64.b64encode(nonce + key.encrypt(nonce, plain, bound)).decode()


def _decrypted(key: AESGCM, encoded: str, bound: bytes) -> bytes:
    try:
        raw = base64.b64decode(encoded, validate=True)
        return key.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], bound)
    except (InvalidTag, ValueError) as error:
        raise SealBroken from error


def _text_of(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise OperatorError(f"The key ring {path} cannot be read: {why}.") from None


class DataKey:
    """One practice's data key: seals and opens values at their places. It is never printed."""

    __slots__ = ("_aead", "_filing", "_hashing", "_public", "practice_id")

    def __init__(self, practice_id: int, key: bytes) -> None:
        self.practice_id = practice_id
        self._aead = AESGCM(key)
        self._filing = hmac.digest(key, b"polytill sealed files 1", "sha256")
        self._hashing = hmac.digest(key, b"polytill keyed hash 1", "sha256")
        self._public: dict[tuple[str, Place], str] = {}

    def _bound(self, place: Place) -> bytes:
        parts = (str(self.practice_id), place.table, place.row, place.field, place.environment, str(place.version))
        # A length before each part, so that no two places have the same encoding.
        return b"".join([len(part).to_bytes(2, "big") + part.encode() for part in parts])

    def seal(self, secret: Secret, place: Place, world: World) -> str:
        """The secret as text that opens only at ``place``."""
        return _PREFIX + _encrypted(self._aead, secret.reveal().encode(), self._bound(place), world)

    def open(self, sealed: str, place: Place) -> Secret:
        """The secret that was sealed at ``place``. Raises ``SealBroken`` for anything else."""
        if not sealed.startswith(_PREFIX):
            raise SealBroken
        return Secret(_decrypted(self._aead, sealed.removeprefix(_PREFIX), self._bound(place)).decode())

    def open_public(self, sealed: str, place: Place) -> str:
        """As ``open``, for a value that is not secret and is shown often. It stays in memory as long as this key."""
        known = self._public.get((sealed, place))
        if known is None:
            known = self._public[sealed, place] = self.open(sealed, place).reveal()
        return known

    def keyed_hash(self, content: bytes) -> str:
        """A hash that shows whether content has changed, and that nobody without the key can compare with a guess."""
        return hmac.digest(self._hashing, content, "sha256").hex()

    def for_file(self, bound: bytes) -> AESGCM:
        """The cipher of one sealed file (``domain/sealed_stream.py``). ``bound`` has a random salt."""
        return AESGCM(hmac.digest(self._filing, str(self.practice_id).encode() + b":" + bound, "sha256"))

    def __repr__(self) -> str:
        return f"DataKey(practice {self.practice_id})"


def _write(path: Path, keys: list[tuple[str, bytes]]) -> None:
    text = "".join(f"{key_id}:{base64.b64encode(key).decode()}\n" for key_id, key in keys)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _signature(path: Path) -> tuple[int, ...] | None:
    """Changes with the file's content. None if the file cannot be examined."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode


class KeyRing:
    """The key-encryption keys of an installation. The file has one ``id:base64`` per line, newest first.

    A ring that was read from a file reads it again if a key is missing and the file has changed since, so that a
    running process learns of a new key without a restart.
    """

    __slots__ = ("_derived", "_keys", "_order", "_path", "_seen", "_turn", "problem")

    def __init__(self, keys: list[tuple[str, bytes]], path: Path | None = None) -> None:
        if not keys or any(len(key) != 32 for _, key in keys):
            raise OperatorError("The key ring needs at least one key of 32 bytes.")
        if len({key_id for key_id, _ in keys}) < len(keys):
            raise OperatorError("Two keys of the key ring have the same id.")
        self._keys = dict(keys)
        self._order = [key_id for key_id, _ in keys]
        self._derived: dict[str, list[bytes]] = {}
        self._path = path
        self._seen: tuple[int, ...] | None = None
        self._turn = threading.Lock()
        self.problem: str | None = None  # why the file could not be read again

    def __repr__(self) -> str:
        return f"KeyRing({len(self._order)} keys)"

    @classmethod
    def read(cls, path: Path) -> KeyRing:
        """The ring in this file. Raises ``OperatorError`` if it is missing, unreadable or accessible to other users."""
        signature = _signature(path)
        if signature is None or not path.is_file():
            raise OperatorError(
                f"The key ring {path} does not exist. For a new installation `polytill migrate` makes one; for an"
                " existing one copy the file from another node."
            )
        if stat.S_IMODE(signature[-1]) & 0o077:
            raise OperatorError(f"The key ring {path} can be read by others; `chmod 600` it.")
        keys = []
        for number, line in enumerate(_text_of(path).splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            key_id, separator, encoded = line.strip().partition(":")
            try:
                key = base64.b64decode(encoded, validate=True)
            except ValueError:
                key = b""
            if not separator or len(key) != 32:
                raise OperatorError(f"Line {number} of the key ring {path} is not `id:base64 of 32 bytes`.")
            keys.append((key_id, key))
        ring = cls(keys, path)
        ring._seen = signature
        return ring

    def refresh(self) -> bool:
        """Read the file again if it has changed. Returns whether the ring is different now.

        Keys in memory stay, whatever the file says, because this process may still have to open what they sealed. If
        the file cannot be read, or has another key under a known id, ``problem`` says so and nothing changes.
        """
        if self._path is None:
            return False
        with self._turn:
            seen = _signature(self._path)
            if seen is None or seen == self._seen:
                return False  # so a missing key costs one check of the file, and a broken file is read once
            self._seen = seen
            try:
                fresh = KeyRing.read(self._path)
            except OperatorError as error:
                self.problem = error.detail
                return False
            for key_id, key in self._keys.items():
                if not hmac.compare_digest(fresh._keys.get(key_id, key), key):
                    self.problem = f"The key ring {self._path} has another key {key_id!r} than before."
                    return False
            self.problem = None
            order = [*fresh._order, *(key_id for key_id in self._order if key_id not in fresh._keys)]
            changed = order != self._order
            self._keys = {**self._keys, **fresh._keys}
            self._order, self._derived = order, {}
            return changed

    def checks(self) -> dict[str, str]:
        """A keyed check value of each key by its id: equal for equal keys, and of no help in finding a key."""
        return {
            key_id: hmac.digest(self._keys[key_id], b"polytill key ring check 1 " + key_id.encode(), "sha256").hex()[
                :32
            ]
            for key_id in self._order
        }

    def differs_from(self, recorded: dict[str, str]) -> str | None:
        """One sentence if this ring lacks a recorded key or has another key under its id; else None."""
        ours, place = self.checks(), f"The key ring {self._path}" if self._path else "The key ring"
        for key_id, check in recorded.items():
            if key_id not in ours:
                return f"{place} lacks the key {key_id!r} of this installation; copy the file from another node."
            if not hmac.compare_digest(ours[key_id], check):
                return (
                    f"{place} is not the one of this installation: its key {key_id!r} differs from the one recorded in"
                    " the owner database; copy the file from another node."
                )
        return None

    @staticmethod
    def create(path: Path, world: World) -> None:
        """A new ring with one key, readable by this user only. An existing file is never changed."""
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, [("k1", world.random_bytes(32))])

    @property
    def ids(self) -> list[str]:
        """The ids of the keys. The first one wraps."""
        return list(self._order)

    def extended(self, path: Path, world: World) -> str:
        """Write the ring with a new key at its end, which opens and does not wrap yet. Returns the key's id."""
        numbers = [int(key_id[1:]) for key_id in self._order if key_id[1:].isdecimal()]
        fresh = f"k{max(numbers, default=0) + 1}"
        self._replace(path, [*self._order, fresh], {**self._keys, fresh: world.random_bytes(32)})
        return fresh

    def led_by(self, key_id: str, path: Path) -> None:
        """Write the ring with this key first: from now on it wraps."""
        self._replace(path, [key_id, *(other for other in self._order if other != key_id)], self._keys)

    @staticmethod
    def _replace(path: Path, order: list[str], keys: dict[str, bytes]) -> None:
        partial = path.with_name(f".{path.name}.partial")
        partial.unlink(missing_ok=True)
        _write(partial, [(key_id, keys[key_id]) for key_id in order])
        partial.replace(path)

    def new_data_key(self, practice_id: int, world: World) -> tuple[DataKey, str]:
        """A new data key for a practice, and the wrapped form that the directory stores."""
        key = world.random_bytes(32)
        return DataKey(practice_id, key), self._wrap(practice_id, key, world)

    def _wrap(self, practice_id: int, key: bytes, world: World) -> str:
        key_id = self._order[0]
        return f"{key_id}:{_encrypted(AESGCM(self._keys[key_id]), key, self._bound(practice_id), world)}"

    def unwrap(self, practice_id: int, wrapped: str) -> DataKey:
        """The data key of a directory row. Raises ``SealBroken`` if it was altered or moved, or if its key is missing."""
        return DataKey(practice_id, self._unwrapped(practice_id, wrapped))

    def _unwrapped(self, practice_id: int, wrapped: str) -> bytes:
        key_id, _, encoded = wrapped.partition(":")
        if key_id not in self._keys:
            self.refresh()
        if key_id not in self._keys:
            raise KeyMissing(
                f"The key ring has no key {key_id!r}, which wrapped the data key of practice {practice_id};"
                " bring the present key ring to this node."
            )
        return _decrypted(AESGCM(self._keys[key_id]), encoded, self._bound(practice_id))

    def rewrapped(self, practice_id: int, wrapped: str, world: World) -> str | None:
        """The same data key wrapped by the first key of the ring. None if it is already."""
        key_id = self._order[0]
        if wrapped.partition(":")[0] == key_id:
            return None
        return self._wrap(practice_id, self._unwrapped(practice_id, wrapped), world)

    @staticmethod
    def _bound(practice_id: int) -> bytes:
        return b"polytill data key of practice " + str(practice_id).encode()

    def derived(self, purpose: str) -> list[bytes]:
        """One 32-byte key per ring key for a named purpose, newest first: create with the first, verify with all."""
        derived = self._derived
        if purpose not in derived:  # there are only a few purposes, named in the code
            derived[purpose] = [hmac.digest(self._keys[key_id], purpose.encode(), "sha256") for key_id in self._order]
        return derived[purpose]

    def read_address(self, kind: bytes, token: str) -> tuple[int, bytes] | None:
        """The practice id and the random part of a token that a key of this ring authenticates; else None."""
        found = read_address(kind, token, self.derived("addresses"))
        if found is None and self.refresh():
            found = read_address(kind, token, self.derived("addresses"))
        return found
