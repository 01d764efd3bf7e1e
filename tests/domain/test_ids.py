"""Ids that every provider accepts as a reference, and addresses that nobody can forge."""

from __future__ import annotations

import base64
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polytill.domain.clock import World
from polytill.domain.ids import address, made_at, new_id, read_address

KEY, OTHER = b"k" * 32, b"o" * 32
ID = re.compile(r"[a-z0-9-]{20,36}")


@given(st.integers(0, 250_000_000_000))  # the year 9892
def test_an_id_tells_when_it_was_made(at_s: int) -> None:
    assert made_at(new_id(World(time_s=lambda: float(at_s)))).timestamp() == at_s


def test_ids_fit_every_provider() -> None:
    made = {new_id(World()) for _ in range(1000)}
    assert len(made) == 1000
    for one in made:
        assert ID.fullmatch(one)
        assert "_" not in one


@given(
    st.floats(0, 2**40), st.floats(0.002, 1e6), st.binary(min_size=10, max_size=10), st.binary(min_size=10, max_size=10)
)
def test_ids_are_ordered_by_time(at_s: float, later_s: float, first: bytes, second: bytes) -> None:
    early = new_id(World(lambda: at_s, lambda n: first))
    late = new_id(World(lambda: at_s + later_s, lambda n: second))
    assert early < late
    assert ID.fullmatch(early)


def test_ids_come_from_the_world_alone() -> None:
    world = World(lambda: 1_700_000_000.0, lambda n: b"\x00" * n)
    assert new_id(world) == new_id(world)


@given(st.integers(0, 2**40 - 1), st.binary(min_size=12, max_size=40))
def test_an_address_reads_back(practice_id: int, secret_part: bytes) -> None:
    token = address(b"hook", practice_id, secret_part, KEY)
    assert re.fullmatch("[a-z2-7]+", token)
    assert read_address(b"hook", token, [KEY]) == (practice_id, secret_part)


@given(st.integers(0, 2**40 - 1), st.binary(min_size=12, max_size=26), st.data())
def test_an_altered_address_is_refused(practice_id: int, secret_part: bytes, data: st.DataObject) -> None:
    token = address(b"hook", practice_id, secret_part, KEY)
    at = data.draw(st.integers(0, len(token) - 1))
    put = data.draw(st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
    altered = token[:at] + put + token[at + 1 :]
    assert read_address(b"hook", altered, [KEY]) == ((practice_id, secret_part) if altered == token else None)


@given(st.text(max_size=130))
def test_nothing_made_up_is_read_or_raises(token: str) -> None:
    assert read_address(b"hook", token, [KEY]) is None


def test_another_kind_or_key_opens_nothing() -> None:
    token = address(b"hook", 7, b"s" * 12, KEY)
    assert read_address(b"client token", token, [KEY]) is None
    assert read_address(b"hook", token, [OTHER]) is None
    assert read_address(b"hook", token, []) is None


def test_an_address_survives_a_new_key_in_front() -> None:
    token = address(b"hook", 7, b"s" * 12, KEY)
    assert read_address(b"hook", token, [OTHER, KEY]) == (7, b"s" * 12)


def test_one_token_has_one_spelling() -> None:
    token = address(b"hook", 7, b"s" * 12, KEY)
    raw = base64.b32decode(token.upper() + "=" * (-len(token) % 8))
    assert len(raw) % 5, "the test needs a last character with bits to spare"
    last = "abcdefghijklmnopqrstuvwxyz234567".index(token[-1])
    spellings = [token[:-1] + "abcdefghijklmnopqrstuvwxyz234567"[last | spare] for spare in (1, 2, 3)]
    same_bytes = [s for s in spellings if base64.b32decode(s.upper() + "=" * (-len(s) % 8)) == raw and s != token]
    assert same_bytes, "no other spelling was found to try"
    for other in (*same_bytes, token.upper(), token + "=", " " + token, token + "\n", token + "a"):
        assert read_address(b"hook", other, [KEY]) is None, other


@pytest.mark.parametrize("token", ["", "a" * 19, "a" * 121, "ä" * 30, "a" * 26, "-" * 26, "1" * 26, "A" * 26])
def test_what_is_no_token_at_all(token: str) -> None:
    assert read_address(b"hook", token, [KEY]) is None
