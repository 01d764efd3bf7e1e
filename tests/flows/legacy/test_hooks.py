"""Commands that open a host's encrypted keys: what they may write, and how long they may take."""

from __future__ import annotations

import subprocess
import time
import tracemalloc
from collections.abc import Iterator

import pytest

from polytill.flows.legacy.hooks import cipher_of
from polytill.flows.legacy.mapping_file import read_mapping
from polytill.flows.legacy.model import Cipher
from polytill.providers.http import to_json

MOST_MEMORY = 20_000_000


def cipher(*command: str, timeout_s: int = 10) -> Cipher:
    hook = {"command": list(command), "timeoutSeconds": timeout_s}
    found = cipher_of(read_mapping(to_json({"decrypt": {"hook": hook}}), {}), frozenset())
    assert found is not None
    return found


@pytest.fixture
def measured() -> Iterator[None]:
    """Fails if a test needs much memory or time."""
    tracemalloc.start()
    began = time.monotonic()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
        assert time.monotonic() - began < 5
    finally:
        tracemalloc.stop()


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize(
    "command",
    [("head", "-c", "100000000", "/dev/zero"), ("yes",), ("sh", "-c", "yes & yes")],
    ids=["much", "endless", "two"],
)
def test_a_command_that_writes_too_much_is_ended(command: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="too much"):
        cipher(*command).decrypt("x")


@pytest.mark.usefixtures("measured")
def test_what_a_command_says_about_itself_is_not_kept() -> None:
    assert cipher("sh", "-c", "head -c 60000000 /dev/zero >&2; rev").decrypt("abc").reveal() == "cba"


@pytest.mark.usefixtures("measured")
def test_a_command_that_reads_and_writes_a_large_field_at_once() -> None:
    text = "é" * 400_000
    assert cipher("cat").decrypt(text).reveal() == text
    assert cipher("sh", "-c", "echo plain").decrypt(text).reveal() == "plain"  # it does not read its input


@pytest.mark.usefixtures("measured")
def test_a_command_that_takes_too_long_is_ended_with_what_it_started() -> None:
    marker = "86399.25"  # seconds that nothing else sleeps
    with pytest.raises(ValueError, match="within 1 second"):
        cipher("sh", "-c", f"sleep {marker} & sleep {marker}", timeout_s=1).decrypt("x")
    running = subprocess.run(["ps", "-eo", "stat,args"], capture_output=True, text=True, check=True).stdout
    assert not [one for one in running.splitlines() if f"sleep {marker}" in one and not one.startswith("Z")]
