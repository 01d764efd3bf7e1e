"""Prometheus metrics of clusters, as this process knows them: read when they are scraped, without a query."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from polytill.domain.states import ClusterState
from polytill.flows.context import Context
from polytill.storage.cluster_rows import ClusterRow


class Known(NamedTuple):
    """What this process knows of a cluster."""

    row: ClusterRow
    practices: int


# Name, description and value of each metric. None: the metric is left out for this cluster.
_METRICS: tuple[tuple[str, str, Callable[[Known], float | None]], ...] = (
    ("practices", "Practices on the cluster", lambda known: known.practices),
    ("capacity", "How many practices the cluster may have, if it has a limit", lambda known: known.row.capacity),
    ("open", "1 if the cluster accepts new practices", lambda known: known.row.state is ClusterState.open),
)


class ClusterMetrics(Collector):
    """The gauges ``polytill_cluster_...``, each with the name of the cluster as its label."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """See Collector."""
        opening = self._context.opening
        counts = opening.directory.counts()
        clusters = [Known(row, counts[row.name]) for row in opening.known_clusters()]
        for name, what, value_of in _METRICS:
            family = GaugeMetricFamily(f"polytill_cluster_{name}", what, labels=["cluster"])
            for known in clusters:
                if (value := value_of(known)) is not None:
                    family.add_metric([known.row.name], float(value))
            yield family
