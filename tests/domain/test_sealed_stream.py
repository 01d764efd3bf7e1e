"""A sealed file opens only whole, unchanged, and with the practice's own key."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polytill.domain.clock import World
from polytill.domain.errors import OperatorError, SealBroken
from polytill.domain.sealed_stream import CHUNK, SEALED_CHUNK, Sealing, header_of, opened
from polytill.domain.sealing import DataKey

KEY = DataKey(7, bytes(range(32)))


def sealed(content: bytes, pieces: int = 1) -> bytes:
    file = BytesIO()
    sealing = Sealing(file, KEY, {"practice": 7}, World())
    step = max(1, -(-len(content) // pieces))
    for at in range(0, len(content), step):
        sealing.write(content[at : at + step])
    sealing.close()
    return file.getvalue()


def read(file: bytes, key: DataKey = KEY) -> bytes:
    stream = BytesIO(file)
    _, bound = header_of(stream)
    return b"".join(opened(stream, key, bound))


@given(
    st.sampled_from([0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 5]),
    st.integers(min_value=1, max_value=9),
)
def test_content_of_every_length_comes_back(length: int, pieces: int) -> None:
    content = (b"0123456789abcdef" * (length // 16 + 1))[:length]
    file = sealed(content, pieces)
    assert read(file) == content
    assert content[:64] not in file or length < 16


@given(st.data())
def test_any_change_is_noticed(data: st.DataObject) -> None:
    file = sealed(b"x" * (2 * CHUNK + 100))
    at = data.draw(st.integers(0, len(file) - 1))
    flip = data.draw(st.integers(1, 255))
    with pytest.raises((SealBroken, OperatorError)):
        read(file[:at] + bytes([file[at] ^ flip]) + file[at + 1 :])


@given(st.data())
def test_a_file_that_was_cut_off_or_continued_does_not_open(data: st.DataObject) -> None:
    file = sealed(b"x" * (2 * CHUNK + 100))
    length = data.draw(st.integers(0, len(file) - 1))
    with pytest.raises((SealBroken, OperatorError)):
        read(file[:length])
    with pytest.raises(SealBroken):
        read(file + data.draw(st.binary(min_size=1, max_size=100)))


def test_chunks_cannot_be_left_out_repeated_or_reordered() -> None:
    file = sealed(b"a" * CHUNK + b"b" * CHUNK + b"c" * CHUNK)
    start = len(file) - 3 * SEALED_CHUNK
    head, chunks = file[:start], [file[start + n * SEALED_CHUNK : start + (n + 1) * SEALED_CHUNK] for n in range(3)]
    assert read(head + b"".join(chunks))
    for other in ([1, 2], [0, 2], [0, 1], [0, 0, 1, 2], [1, 0, 2]):
        with pytest.raises(SealBroken):
            read(head + b"".join(chunks[number] for number in other))


def test_another_practice_and_another_key_open_nothing() -> None:
    file = sealed(b"content")
    for key in (DataKey(8, bytes(range(32))), DataKey(7, bytes(range(1, 33)))):
        with pytest.raises(SealBroken):
            read(file, key)


@pytest.mark.parametrize(
    "file",
    [b"", b"PGDMP", b"polytill sealed file 1\n", b"polytill sealed file 1\n{}", b"polytill sealed file 1\n[]\nx"],
)
def test_what_is_no_sealed_file_is_refused_with_a_sentence(file: bytes) -> None:
    with pytest.raises(OperatorError):
        read(file)


def test_two_files_of_the_same_content_have_nothing_in_common() -> None:
    one, other = (sealed(b"content")[-30:] for _ in range(2))
    assert one != other
