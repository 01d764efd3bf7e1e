"""The file of first keys: what others may do with it, and what a full disk leaves in it."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from polytill.domain.errors import OperatorError
from polytill.domain.secret import Secret
from polytill.flows.legacy.key_file import KeyFile


def test_the_key_file(tmp_path: Path) -> None:
    path = tmp_path / "keys.jsonl"
    with KeyFile(path) as keys:
        keys.add("a", 1, Secret("pt_practice_a"))
        with KeyFile(path) as other, pytest.raises(OperatorError, match="Another import"):
            other.open()
    with path.open("ab") as file:
        file.write(b'{"externalId": "b", "pra')  # a run died here
    with KeyFile(path) as keys:
        keys.add("c", 3, Secret("pt_practice_c"))
    assert [json.loads(line)["key"] for line in path.read_text().splitlines() if line.endswith("}")] == [
        "pt_practice_a",
        "pt_practice_c",
    ]
    path.chmod(0o640)
    with KeyFile(path) as keys, pytest.raises(OperatorError, match="0600"):
        keys.add("d", 4, Secret("pt_practice_d"))
    (tmp_path / "link").symlink_to(path)
    for place in (tmp_path / "link", tmp_path / "nowhere" / "keys", tmp_path):
        with KeyFile(place) as keys, pytest.raises(OperatorError):
            keys.open()
    assert "pt_practice_d" not in path.read_text()


@pytest.mark.parametrize("can_take_back", [True, False])
def test_a_full_disk_spoils_the_key_of_no_other_practice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_take_back: bool
) -> None:
    path, write, is_full = tmp_path / "keys.jsonl", os.write, [True]

    def short(file: int, data: bytes) -> int:
        if is_full[0] and data == b"\n":
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, data[:20] if is_full[0] else data)

    def fails(*_: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "write", short)
    with KeyFile(path) as keys:
        with monkeypatch.context() as patch:
            if not can_take_back:
                patch.setattr(os, "ftruncate", fails)
            for number in (1, 2):  # the second may find half a line
                with pytest.raises(OperatorError, match="cannot be written"):
                    keys.add("a", number, Secret("pt_practice_a"))
        is_full[0] = False
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fails)
            with pytest.raises(OperatorError):
                keys.add("b", 3, Secret("pt_practice_b"))
        keys.add("c", 4, Secret("pt_practice_c"))
        keys.add("d", 5, Secret("pt_practice_d"))
    whole = [json.loads(line)["practiceId"] for line in path.read_text().splitlines() if line.endswith("}")]
    assert whole == [4, 5]
    assert keys.count == 2
