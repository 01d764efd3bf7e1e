"""No fixture is changed, and none is left out of its index."""

import hashlib

import pytest
from tests.providers.fixture_files import ALL, FixtureFiles


@pytest.mark.parametrize(
    ("code", "counts"),
    [
        ("paystack", (40, 18, 22, 25)),
        ("flutterwave", (23, 10, 13, 18)),
        ("stripe", (37, 21, 16, 31)),
        ("mpesa", (7, 4, 3, 4)),
        ("paypal", (7, 2, 4, 7)),
    ],
)
def test_nothing_is_left_out(code: str, counts: tuple[int, ...]) -> None:
    files = FixtureFiles(code)
    assert (len(files.entries), len(files.webhooks), len(files.responses), len(files.signed)) == counts
    listed = [name for entry in files.webhooks for name in entry["signed"]]
    assert sorted(listed) == [f"signed/{path.name}" for path in files.signed]
    bodies, answers = (files.root / "webhooks").glob("*.body"), (files.root / "responses").iterdir()
    assert {f"webhooks/{path.name}" for path in bodies} == {entry["body_file"] for entry in files.webhooks}
    assert {f"responses/{path.name}" for path in answers} == {entry["file"] for entry in files.responses}


def test_fixture_bytes_are_unchanged() -> None:
    lines = (ALL / "SHA256SUMS").read_text().splitlines()
    listed = {name: digest for digest, name in (line.split("  ./", 1) for line in lines)}
    there = {str(path.relative_to(ALL)): path for path in ALL.rglob("*") if path.is_file()}
    del there["SHA256SUMS"]
    assert listed.keys() == there.keys()
    changed = [name for name, path in there.items() if hashlib.sha256(path.read_bytes()).hexdigest() != listed[name]]
    assert not changed
