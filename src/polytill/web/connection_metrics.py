"""Prometheus metrics of this process's connections to PostgreSQL servers, read when they are scraped."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from polytill.flows.context import Context
from polytill.storage.connection_budget import Budget

_GAUGES: tuple[tuple[str, str, Callable[[Budget], float]], ...] = (
    ("open", "Connections that are open", lambda budget: budget.total),
    ("limit", "How many connections this process may hold now", lambda budget: budget.limit),
    ("waiting", "Requests that wait for a connection", lambda budget: budget.waiting),
)
_COUNTERS: tuple[tuple[str, str, Callable[[Budget], float]], ...] = (
    ("opened", "Connections that were opened", lambda budget: budget.counts.opened),
    ("waits", "Requests for a connection that had to wait", lambda budget: budget.counts.waits),
    ("wait_seconds", "How long they waited", lambda budget: budget.counts.waited_s),
    ("refused", "Requests for a connection that got none in time", lambda budget: budget.counts.refused),
    ("evicted", "Connections that were closed to make room for another database", lambda budget: budget.counts.evicted),
    ("server_full", "Times that the server accepted no more connections", lambda budget: budget.counts.full),
)


class ConnectionMetrics(Collector):
    """The metrics ``polytill_connections_...``, each with the label ``cluster``: its name, or ``owner database``."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def collect(self) -> Iterable[Metric]:
        """See Collector."""
        budgets = self._context.opening.budgets_by_name()
        for name, what, value_of in _GAUGES:
            gauge = GaugeMetricFamily(f"polytill_connections_{name}", what, labels=["cluster"])
            for cluster, budget in budgets.items():
                gauge.add_metric([cluster], float(value_of(budget)))
            yield gauge
        for name, what, value_of in _COUNTERS:
            counter = CounterMetricFamily(f"polytill_connections_{name}", what, labels=["cluster"])
            for cluster, budget in budgets.items():
                counter.add_metric([cluster], float(value_of(budget)))
            yield counter
