"""A sealed value can be opened only at its place, with its practice's key, and unaltered."""

from __future__ import annotations

import base64
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polytill.domain.clock import World
from polytill.domain.errors import OperatorError, SealBroken
from polytill.domain.sealing import DataKey, KeyRing, Place
from polytill.domain.secret import Secret

HERE = Place("practice_payment_providers", "paystack", "secret_key", "sandbox", 3)
KEY = DataKey(7, b"k" * 32)
WORLD = World()


def ring(*ids: str) -> KeyRing:
    return KeyRing([(key_id, key_id.encode().ljust(32, b".")) for key_id in ids])


@given(st.text())
def test_what_was_sealed_opens(text: str) -> None:
    sealed = KEY.seal(Secret(text), HERE, WORLD)
    assert KEY.open(sealed, HERE).reveal() == text
    assert len(text) < 4 or text not in sealed


def test_no_two_seals_are_alike() -> None:
    assert KEY.seal(Secret("a"), HERE, WORLD) != KEY.seal(Secret("a"), HERE, WORLD)


@pytest.mark.parametrize(
    "elsewhere",
    [
        replace(HERE, row="stripe"),
        replace(HERE, field="webhook_secret"),
        replace(HERE, environment="production"),
        replace(HERE, version=4),
        replace(HERE, table="provider_credentials"),
        replace(HERE, table="practice_payment_providersp", row="aystack"),
        replace(HERE, row="paystacks", field="ecret_key"),
        replace(HERE, environment="sandbox3", version=0),
    ],
    ids=lambda place: f"{place.table}/{place.row}/{place.field}/{place.environment}/{place.version}",
)
def test_a_ciphertext_that_was_moved_does_not_open(elsewhere: Place) -> None:
    sealed = KEY.seal(Secret("word"), HERE, WORLD)
    with pytest.raises(SealBroken):
        KEY.open(sealed, elsewhere)


def test_another_practice_does_not_open_it_even_with_the_same_key() -> None:
    sealed = KEY.seal(Secret("word"), HERE, WORLD)
    with pytest.raises(SealBroken):
        DataKey(8, b"k" * 32).open(sealed, HERE)
    with pytest.raises(SealBroken):
        DataKey(7, b"x" * 32).open(sealed, HERE)


def test_every_altered_byte_is_noticed() -> None:
    sealed = KEY.seal(Secret("word"), HERE, WORLD)
    raw = base64.b64decode(sealed.removeprefix("v1."))
    for at in range(len(raw)):
        altered = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        with pytest.raises(SealBroken):
            KEY.open("v1." + base64.b64encode(altered).decode(), HERE)


@pytest.mark.parametrize("text", ["", "v1.", "v1.AAAA", "v2." + "A" * 60, "v1.ä", "v1.!!!!", "plain", "v1." + "A" * 64])
def test_what_is_no_seal(text: str) -> None:
    with pytest.raises(SealBroken):
        KEY.open(text, HERE)


def test_nothing_here_prints_a_key(tmp_path: Path) -> None:
    KeyRing.create(tmp_path / "ring", WORLD)
    read = KeyRing.read(tmp_path / "ring")
    word = (tmp_path / "ring").read_text().partition(":")[2].strip()
    data_key, wrapped = read.new_data_key(1, WORLD)
    assert repr(data_key) == "DataKey(practice 1)"
    assert repr(read) == "KeyRing(1 keys)"
    assert word not in repr(read) + repr(data_key) + wrapped


# ── The ring ──


def test_a_data_key_survives_a_new_key_in_front() -> None:
    data_key, wrapped = ring("k1").new_data_key(7, WORLD)
    sealed = data_key.seal(Secret("word"), HERE, WORLD)
    rotated = ring("k2", "k1")
    assert rotated.unwrap(7, wrapped).open(sealed, HERE).reveal() == "word"
    assert rotated.new_data_key(8, WORLD)[1].startswith("k2:")
    with pytest.raises(SealBroken, match="'k1'"):
        ring("k2").unwrap(7, wrapped)


def test_a_wrapped_key_belongs_to_its_practice() -> None:
    _, wrapped = ring("k1").new_data_key(7, WORLD)
    with pytest.raises(SealBroken):
        ring("k1").unwrap(8, wrapped)
    raw = bytearray(base64.b64decode(wrapped.partition(":")[2]))
    raw[20] ^= 1
    for broken in ("k1:" + base64.b64encode(raw).decode(), "k1:", "k1:ä", "k1", "", ":AAAA"):
        with pytest.raises(SealBroken):
            ring("k1").unwrap(7, broken)


def test_derived_keys_follow_the_ring() -> None:
    old, rotated = ring("k1"), ring("k2", "k1")
    assert rotated.derived("addresses")[1:] == old.derived("addresses")
    assert old.derived("addresses") != old.derived("owner database")
    assert all(len(key) == 32 for key in rotated.derived("addresses"))


def test_a_new_ring_file_is_ours_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "ring"
    before = os.umask(0)
    try:
        KeyRing.create(path, WORLD)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert repr(KeyRing.read(path)) == "KeyRing(1 keys)"
    text = path.read_text()
    with pytest.raises(FileExistsError):
        KeyRing.create(path, WORLD)
    assert path.read_text() == text


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620, 0o602, 0o601, 0o610, 0o777])
def test_a_ring_that_others_can_touch_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "ring"
    KeyRing.create(path, WORLD)
    path.chmod(mode)
    with pytest.raises(OperatorError, match="chmod 600"):
        KeyRing.read(path)


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_ring_of_ours_alone_is_read(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "ring"
    KeyRing.create(path, WORLD)
    path.chmod(mode)
    assert repr(KeyRing.read(path)) == "KeyRing(1 keys)"


def test_what_is_no_ring(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="does not exist"):
        KeyRing.read(tmp_path / "nothing")
    path = tmp_path / "ring"
    path.touch(0o600)
    good = base64.b64encode(b"k" * 32).decode()
    cases = {"": "at least one", "# only a remark\n": "at least one", "k1": "Line 1", f"# x\nk1:{good[:-8]}": "Line 2"}
    for text, says in (cases | {f"k1:{good}\nk1:{good}\n": "same id", "k1:ää": "Line 1"}).items():
        path.write_text(text)
        with pytest.raises(OperatorError, match=says):
            KeyRing.read(path)
    path.write_text(f"# newest first\n\nk2:{good}\nk1:{good}\n")
    assert KeyRing.read(path).new_data_key(1, WORLD)[1].startswith("k2:")
