"""Clusters as values: their addresses, and the order in which a new practice is offered to them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polytill.domain.database_urls import at_host, hosts_of, primary_only, shown_place, wrong_with_cluster
from polytill.domain.states import ClusterState
from polytill.flows.admin.placement import in_order
from polytill.storage.cluster_rows import ClusterRow

# ── Addresses ──


@pytest.mark.parametrize(
    ("address", "is_right"),
    [
        ("/srv/practices", True),
        ("var/practices", False),
        ("sqlite:///srv/practices", False),
        ("/srv/\x00", False),
        ("postgresql://u:p@a", True),
        ("postgresql://u:p@a,b", True),
        ("postgresql://u:p@a,b?target_session_attrs=any", False),
        ("postgresql://u:p@a:1,b:2/x?target_session_attrs=read-write", True),
        ("postgresql:///?host=a,b&target_session_attrs=primary", True),
        ("postgresql:///?host=a,b&port=1,2&target_session_attrs=standby", False),
    ],
)
def test_addresses_of_clusters(address: str, is_right: bool) -> None:
    assert (wrong_with_cluster(address) is None) is is_right


@pytest.mark.parametrize(
    ("address", "attributes"),
    [
        ("postgresql://a", "any"),
        ("postgresql://a,b", "read-write"),
        ("postgresql:///?host=a,b", "read-write"),
        ("postgresql://a,b?target_session_attrs=primary", "primary"),
        ("postgresql://a?target_session_attrs=read-write", "read-write"),
    ],
)
def test_connections_lead_to_the_primary(address: str, attributes: str) -> None:
    assert primary_only(address) == attributes


def test_one_of_several_hosts() -> None:
    url = "postgresql://u:p%2F@a:1,[::1]:2/x?target_session_attrs=read-write&sslmode=disable"
    assert hosts_of(url) == ["a:1", "[::1]:2"]
    assert at_host(url, "[::1]:2") == "postgresql://u:p%2F@[::1]:2/x?sslmode=disable"
    assert at_host(url, "a:1", "primary") == "postgresql://u:p%2F@a:1/x?sslmode=disable&target_session_attrs=primary"
    assert hosts_of("postgresql:///x?host=a,b&port=1,2") == ["a:1", "b:2"]
    assert hosts_of("postgresql:///x?host=a,b&port=1") == ["a:1", "b:1"]
    assert hosts_of("postgresql:///x?host=/run/postgresql&port=1") == ["/run/postgresql"]
    assert at_host("postgresql:///x?host=a,b&port=1,2&password=p%25", "a:1") == "postgresql://a:1/x?password=p%25"
    assert shown_place(url) == "a:1, [::1]:2"


# ── The order ──


ROWS = st.builds(
    ClusterRow,
    name=st.text("abc", min_size=1, max_size=3),
    sealed_url=st.none(),
    state=st.sampled_from(ClusterState),
    capacity=st.none() | st.integers(1, 5),
    connection_limit=st.none(),
    priority=st.integers(-1, 1),
    created_at=st.none(),
)


@given(st.lists(ROWS, unique_by=lambda row: row.name), st.dictionaries(st.text("abc", max_size=3), st.integers(0, 6)))
def test_the_one_with_most_room_comes_first(rows: list[ClusterRow], counts: dict[str, int]) -> None:
    def room(row: ClusterRow) -> float:
        return float("inf") if row.capacity is None else row.capacity - counts.get(row.name, 0)

    found = in_order(rows, counts)
    assert {row.name for row in found} == {row.name for row in rows if row.state is ClusterState.open and room(row) > 0}
    for first, second in pairwise(found):
        assert room(first) >= room(second)
        if room(first) == room(second):
            assert first.priority >= second.priority
            if first.priority == second.priority:
                assert counts.get(first.name, 0) <= counts.get(second.name, 0)
