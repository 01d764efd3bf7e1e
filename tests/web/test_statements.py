"""The number of statements and round trips of each flow (``./run bench statements``), so that none grows unnoticed.

A flow that needs another statement on purpose changes its line here, and the table in docs/performance.md.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.statements import count_flows, visited

# By flow: statements in the practice's database, in the owner database, and round trips. A round trip of SQLite is a
# hop to a worker thread; a commit there is BEGIN, its steps and COMMIT.
POSTGRESQL = {
    "first visit: payment": (6, 1, 15),
    "payment": (2, 0, 2),
    "status page, unpaid": (3, 0, 3),
    "webhook": (3, 0, 3),
    "status page, paid": (3, 0, 3),
    "read by the API": (4, 0, 4),
    "refund": (7, 0, 7),
    "sweep with events": (12, 11, 28),
    "sweep without work": (1, 0, 1),
    "payment after a minute": (3, 6, 11),
}
SQLITE = {
    "first visit: payment": (19, 3, 7),
    "payment": (14, 0, 2),
    "status page, unpaid": (3, 0, 3),
    "webhook": (17, 0, 3),
    "status page, paid": (3, 0, 3),
    "read by the API": (4, 0, 4),
    "refund": (16, 0, 7),
    "sweep with events": (14, 16, 21),
    "sweep without work": (1, 0, 1),
    "payment after a minute": (16, 6, 9),
}


async def test_the_statements_of_each_flow(tmp_path: Path, engine_url: str | None) -> None:
    async with visited(engine_url, tmp_path) as found:
        counts = await count_flows(found)
    texts = {name: "\n".join(tally.texts) for name, tally in counts.items()}
    expected = SQLITE if engine_url is None else POSTGRESQL
    assert counts.keys() == expected.keys()
    for name, tally in counts.items():
        assert (tally.statements, tally.owner_statements, tally.round_trips) == expected[name], (
            f"{name}:\n{texts[name]}"
        )
