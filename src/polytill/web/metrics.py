"""Prometheus metrics: requests by route and status, their duration, and open work."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from enum import StrEnum
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from starlette.types import Scope

from polytill.app import Polytill
from polytill.domain.rollout import DifferenceReason, FieldState, RolloutPhase
from polytill.domain.states import RelayState
from polytill.flows.admin.readiness import REASONS
from polytill.flows.context import Context
from polytill.flows.webhooks.forward import Tried
from polytill.web.admission import Admission, Refused
from polytill.web.cluster_metrics import ClusterMetrics
from polytill.web.connection_metrics import ConnectionMetrics

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def pattern_of(scope: Scope) -> str:
    """The route pattern of a request. The address itself may contain a token that grants access."""
    return str(getattr(scope.get("route"), "path", "none"))


class RequestMetrics:
    """The metrics of one service. Labels are route patterns, never ids or tokens."""

    def __init__(self, till: Polytill, admission: Admission) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "polytill_requests_total", "HTTP requests", ["method", "route", "status"], registry=self.registry
        )
        # As many as there are methods, routes and statuses. The library looks its own up under a lock.
        self._by_labels: dict[tuple[str, str, int], Counter] = {}
        self._seconds = Histogram(
            "polytill_request_seconds",
            "Duration of HTTP requests",
            registry=self.registry,
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 30),
        )
        self._degraded = Gauge(
            "polytill_degraded", "1 while something does not work, by reason", ["reason"], registry=self.registry
        )
        self.degraded(())
        self._measure(till.context)
        self._measure_admission(admission)
        self.registry.register(ClusterMetrics(till.context))
        self.registry.register(ConnectionMetrics(till.context))

    def _measure(self, context: Context) -> None:
        """Gauges that are read when they are scraped. Undelivered events: from the last reading of this process, at most
        ten seconds old."""
        for name, what, value in (
            ("practices_open", "Practice databases opened here", lambda: len(context.opening.opened())),
            (
                "listing_entries_unread",
                "Entries of providers' listings that could not be read",
                lambda: context.unread_entries,
            ),
            ("events_pending", "Events not delivered yet", lambda: context.event_backlog.pending),
            ("events_retrying", "Events whose last delivery failed", lambda: context.event_backlog.retrying),
            (
                "events_abandoned",
                "Events whose tries are used up, not resolved",
                lambda: context.event_backlog.abandoned,
            ),
            (
                "webhook_relays_waiting",
                "Webhooks that wait to be forwarded to an old address, in all practices",
                lambda: context.relays.everywhere.number,
            ),
            (
                "webhook_relays_oldest_seconds",
                "Age of the oldest webhook that waits to be forwarded",
                lambda: _age_s(context, context.relays.everywhere.oldest_at),
            ),
            (
                "practices_to_adopt",
                "Practices whose database was restored from an older copy, as this process knows",
                lambda: len(context.opening.behind()),
            ),
            (
                "providers_skipped",
                "Providers, by environment, that are skipped because of technical failures, as this process knows",
                lambda: context.provider_health.skipped,
            ),
            (
                "events_oldest_pending_seconds",
                "Age of the oldest event not delivered",
                lambda: _age_s(context, context.event_backlog.oldest_pending_at),
            ),
        ):
            Gauge(f"polytill_{name}", what, registry=self.registry).set_function(value)

        relayed = Gauge(
            "polytill_webhook_relay_tries",
            "Tries of this process to forward a webhook, by result",
            ["result"],
            registry=self.registry,
        )
        for result in (*Tried, RelayState.gave_up):
            relayed.labels(result).set_function(partial(_relays_so_far, context, result))
        self._measure_backups(context)
        self._measure_rollout(context)

    def _measure_backups(self, context: Context) -> None:
        """Gauges of the last good backups, as this process read them last: at most a minute ago."""
        for name, what, value in (
            (
                "practices_without_backup",
                "Practices without a good backup",
                lambda: context.backups.practices - context.backups.with_backup,
            ),
            (
                "backups_oldest_seconds",
                "Age of the oldest among the last good backups of all practices; 0 if there is none",
                lambda: _age_s(context, context.backups.oldest_at),
            ),
        ):
            Gauge(f"polytill_{name}", what, registry=self.registry).set_function(value)

    def _measure_admission(self, admission: Admission) -> None:
        for name, what, value in (
            ("requests_in_progress", "HTTP requests in progress", lambda: admission.in_progress),
            (
                "request_own_seconds",
                "What requests took lately without waits for providers, at least",
                lambda: admission.own_s,
            ),
            ("event_loop_lag_seconds", "How late the event loop ran lately, at least", lambda: admission.lag_s),
        ):
            Gauge(f"polytill_{name}", what, registry=self.registry).set_function(value)
        refused = Gauge(
            "polytill_requests_refused",
            "HTTP requests that were refused because of overload, by reason",
            ["reason"],
            registry=self.registry,
        )
        for reason in Refused:
            refused.labels(reason.value).set_function(partial(_refused_so_far, admission, reason))

    def _measure_rollout(self, context: Context) -> None:
        """Gauges of the gradual rollout, as this process read them last: at most 30 seconds ago."""

        def gauge(name: str, what: str, label: str, members: Iterable[StrEnum], part: str) -> None:
            made = Gauge(f"polytill_rollout_{name}", what, [label], registry=self.registry)
            for member in members:
                made.labels(member.value).set_function(partial(_counted, context, part, member.value))

        gauge("practices", "Practices in the rollout, by phase", "phase", RolloutPhase, "phases")
        gauge("fields", "Old fields by their state", "state", FieldState, "field_states")
        gauge("differences", "Payments decided differently, by reason", "reason", DifferenceReason, "differences")
        for name, what in (
            ("agreements", "Payments decided alike"),
            ("field_readers", "Callers that have read the old field"),
        ):
            made = Gauge(f"polytill_rollout_{name}", what, registry=self.registry)
            made.set_function(partial(_total, context, name))

    def degraded(self, reasons: Collection[str]) -> None:
        """Record the latest result of ``/readyz``."""
        for reason in REASONS:
            self._degraded.labels(reason).set(reason in reasons)

    def count(self, scope: Scope, status: int, seconds: float) -> None:
        """Count one request that has a response."""
        method = scope["method"] if scope["method"] in _METHODS else "other"  # anybody can invent methods without end
        labels = method, pattern_of(scope), status
        counter = self._by_labels.get(labels)
        if counter is None:
            counter = self._by_labels[labels] = self._requests.labels(*map(str, labels))
        counter.inc()
        self._seconds.observe(seconds)

    def serve(self, host: str, port: int) -> None:
        """Serve Prometheus at a separate address, which is not public."""
        start_http_server(port, host, self.registry)


def _refused_so_far(admission: Admission, reason: Refused) -> float:
    return float(admission.refused[reason])


def _relays_so_far(context: Context, result: str) -> float:
    return float(context.relays.results[result])


def _counted(context: Context, part: str, name: str) -> float:
    found = context.rollout_overview
    return 0.0 if found is None else getattr(found, part).get(name, 0)


def _total(context: Context, name: str) -> float:
    found = context.rollout_overview
    if found is None:
        return 0.0
    return float(found.agreements if name == "agreements" else len(found.readers.callers))


def _age_s(context: Context, since: datetime | None) -> float:
    return 0.0 if since is None else max((context.world.now() - since).total_seconds(), 0.0)
