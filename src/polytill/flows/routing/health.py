"""A provider's health: a circuit breaker as a pure state machine over the results of calls.

Only technical failures count: the call was not sent because the provider could not be reached, or its outcome is unknown
because of a timeout, a 5xx or an unreadable answer. A decline is an answer, and an error in the practice's own set-up says
nothing about the provider.

* ``closed`` → ``open``: ``IN_A_ROW`` technical failures in a row, or half of the last ``WINDOW`` calls.
* ``open`` → ``half_open``: after a pause, which starts at ``FIRST_PAUSE`` and doubles after each failed probe up to
  ``LONGEST_PAUSE``.
* ``half_open``: one probe at a time. ``PROBES`` probes in a row that work close it; one that fails opens it again. A probe
  without a result for ``PROBE_TIMEOUT`` counts as lost, and another one may begin.
* Closing it forgets nothing: while the last calls still have technical failures, a few more open it again, and the pause goes
  on where it was. So a provider that fails half of the time costs few payments.

A verdict counts only for those who saw it (``concerns``): failures that only one process or only one practice saw say
nothing to the others, whose own calls may work. As soon as two of each saw them, it counts for everybody.

While it is not closed, only results of probes count: those of calls that began before it opened are late news.
Calls of those whom it does not concern are counted apart.
Calls that are older than ``REMEMBERED`` are forgotten, and so is a verdict that nobody whom it concerns has probed for so
long: that process may have ended, and that practice may pay no more.

The states and the doubling pause are those of M. Nygard, "Release It!", 2nd edition (2018), chapter 5, "Circuit Breaker".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from polytill.domain.money import PPM
from polytill.domain.routing import HealthState, Verdict
from polytill.domain.values import with_changes
from polytill.providers.outcomes import Declined, NeedsAction, NotSent, Outcome, Pending, Reason, Succeeded, Unknown

IN_A_ROW = 5
WINDOW = 20
REMEMBERED = timedelta(minutes=10)
FIRST_PAUSE = timedelta(seconds=30)
LONGEST_PAUSE = timedelta(minutes=10)
PROBES = 2
PROBE_TIMEOUT = timedelta(minutes=2)
RARE = timedelta(minutes=5)

# The availability of a provider without calls is 1, and so many calls that worked are added to those that were seen.
_ADDED = 4
_WORKED, _FAILED = "0", "1"
_TECHNICAL = frozenset({Reason.provider_unavailable, Reason.unreachable, Reason.timeout, Reason.unreadable})


class Witness(NamedTuple):
    """Who made a call: a process and a practice, by tags that say nothing else about them."""

    process: str
    practice: str


NOBODY = Witness("", "")  # all calls are alike


@dataclass(frozen=True, slots=True)
class ProviderHealth:
    """What is known of one provider's calls. Times are aware. Changed only by ``observe`` and ``begin_probe``."""

    state: HealthState = HealthState.closed
    recent: str = ""  # the last calls, the newest at the end: "1" a technical failure, "0" any other result
    seen_at: datetime | None = None  # of the newest of them
    opened: int = 0  # how often it opened since its last calls were without technical failures
    opened_at: datetime | None = None
    until: datetime | None = None  # the end of the pause
    probe: str | None = None  # the attempt that probes it
    probe_until: datetime | None = None
    probes_worked: int = 0  # in a row
    failed_by: tuple[Witness, ...] = ()  # who made each of the failed calls in ``recent``
    # While it is not closed: the only process and the only practice that saw it. None: several did.
    only_process: str | None = None
    only_practice: str | None = None
    elsewhere: str = ""  # and the last calls of those whom it does not concern, from the first that failed
    elsewhere_at: datetime | None = None  # of the newest of them


def technical(outcome: Outcome) -> bool | None:
    """Whether the outcome of a call is a technical failure of the provider. None: it says nothing about the provider."""
    match outcome:
        case Succeeded() | NeedsAction() | Pending() | Declined():
            return False
        case NotSent() | Unknown():
            return True if outcome.reason in _TECHNICAL else None


def state_at(health: ProviderHealth, at: datetime) -> HealthState:
    """The state at a time. A pause ends without any call."""
    if health.state is HealthState.open and health.until is not None and at >= health.until:
        return HealthState.half_open
    return health.state


def verdict(health: ProviderHealth, at: datetime) -> Verdict:
    """What the health means for a payment at a time."""
    state = state_at(health, at)
    if state is HealthState.closed:
        return Verdict.healthy
    if state is HealthState.open or _is_probed(health, at):
        return Verdict.failing
    return Verdict.probe


def concerns(health: ProviderHealth, witness: Witness) -> bool:
    """Whether the verdict counts for the calls of a process and a practice."""
    return health.only_process in (None, witness.process) and health.only_practice in (None, witness.practice)


def seen_by(health: ProviderHealth, witness: Witness) -> ProviderHealth:
    """The health as a process and a practice have to see it: without failures that say nothing to them."""
    saw = health
    if health.state is HealthState.closed:
        saw = replace(health, only_process=_only(health.failed_by, 0), only_practice=_only(health.failed_by, 1))
    if concerns(saw, witness):
        return health
    return replace(health, state=HealthState.closed, recent=health.recent.replace(_FAILED, ""))


def is_unprobed(health: ProviderHealth, at: datetime) -> bool:
    """Whether a probe could have begun for so long that payments must be too rare for asking whether one may."""
    return verdict(health, at) is Verdict.probe and at - _due_since(health, at) > RARE


def begin_probe(health: ProviderHealth, attempt: str, at: datetime) -> ProviderHealth | None:
    """The health with this attempt as its probe. None if no probe may begin: another one is running, or the state is
    not ``half_open``. ``pool_exchange`` stores it only if the stored health is still the given one, and then lets one
    payment of this process probe; a process that is cut off from the others gives itself the permit."""
    if verdict(health, at) is not Verdict.probe:
        return None
    return replace(health, state=HealthState.half_open, probe=attempt, probe_until=at + PROBE_TIMEOUT)


def observe(
    health: ProviderHealth, failed: bool, at: datetime, attempt: str | None = None, witness: Witness = NOBODY
) -> ProviderHealth:
    """The health after the result of a call. ``failed``: as ``technical`` says; ``attempt``: to know the probe."""
    if health.state is HealthState.closed:
        return _observed_closed(health, failed, at, witness)
    if not concerns(health, witness):
        return _observed_elsewhere(health, failed, at, witness)
    if health.state is not HealthState.half_open or attempt is None or attempt != health.probe:
        return health
    if failed:
        return _opened(health, at)
    recent = (_remembered(health, at) + _WORKED)[-WINDOW:]
    if health.probes_worked + 1 >= PROBES:
        opened = health.opened if _FAILED in recent else 0
        return ProviderHealth(recent=recent, seen_at=at, opened=opened, failed_by=_newest(health.failed_by, recent))
    return replace(
        health, recent=recent, probe=None, probe_until=None, probes_worked=health.probes_worked + 1, seen_at=at
    )


def availability(health: ProviderHealth, at: datetime) -> int:
    """The share of recent calls that were no technical failure, in parts per million. Few calls weigh little."""
    recent = _remembered(health, at)
    return PPM * (recent.count(_WORKED) + _ADDED) // (len(recent) + _ADDED)


def failures(health: ProviderHealth) -> tuple[int, int]:
    """How many of the remembered calls were technical failures, and how many calls are remembered."""
    return health.recent.count(_FAILED), len(health.recent)


def _observed_closed(health: ProviderHealth, failed: bool, at: datetime, witness: Witness) -> ProviderHealth:
    before = _remembered(health, at)
    recent = (before + (_FAILED if failed else _WORKED))[-WINDOW:]
    failed_by = _newest((*health.failed_by, witness) if failed else health.failed_by, recent)
    opened = health.opened if _FAILED in before else 0
    health = with_changes(health, recent=recent, seen_at=at, opened=opened, failed_by=failed_by)
    if not failed or not _opens(recent):
        return health
    saw = failed_by if _is_half(recent) else failed_by[-IN_A_ROW:]
    return _opened(replace(health, only_process=_only(saw, 0), only_practice=_only(saw, 1)), at)


def _observed_elsewhere(health: ProviderHealth, failed: bool, at: datetime, witness: Witness) -> ProviderHealth:
    if at - _due_since(health, at) > REMEMBERED:
        return _observed_closed(ProviderHealth(), failed, at, witness)
    is_old = health.elsewhere_at is None or at - health.elsewhere_at > REMEMBERED
    before = "" if is_old else health.elsewhere
    elsewhere = (before + (_FAILED if failed else _WORKED))[-WINDOW:].lstrip(_WORKED)
    if not failed or not _opens(elsewhere):
        return replace(health, elsewhere=elsewhere, elsewhere_at=at if elsewhere else None)
    process = health.only_process if health.only_process == witness.process else None
    practice = health.only_practice if health.only_practice == witness.practice else None
    return replace(health, only_process=process, only_practice=practice, elsewhere="", elsewhere_at=None)


def _opens(recent: str) -> bool:
    return recent.endswith(_FAILED * IN_A_ROW) or _is_half(recent)


def _is_half(recent: str) -> bool:
    return recent.count(_FAILED) * 2 >= WINDOW


def _only(saw: Sequence[Witness], part: int) -> str | None:
    return saw[0][part] if len({one[part] for one in saw}) == 1 else None


def _newest(failed_by: tuple[Witness, ...], recent: str) -> tuple[Witness, ...]:
    """Those of the failures that are still remembered."""
    return failed_by[len(failed_by) - min(recent.count(_FAILED), len(failed_by)) :]


def _opened(health: ProviderHealth, at: datetime) -> ProviderHealth:
    # Doubling a few times reaches the longest pause; without the limit, the number of a long outage would overflow.
    pause = min(FIRST_PAUSE * 2 ** min(health.opened, 10), LONGEST_PAUSE)
    return replace(
        health,
        state=HealthState.open,
        seen_at=at,
        opened=health.opened + 1,
        opened_at=health.opened_at or at,
        until=at + pause,
        probe=None,
        probe_until=None,
        probes_worked=0,
    )


def _remembered(health: ProviderHealth, at: datetime) -> str:
    return "" if health.seen_at is None or at - health.seen_at > REMEMBERED else health.recent


def _due_since(health: ProviderHealth, at: datetime) -> datetime:
    """Since when a probe could have begun, or is due after one that worked; ``at`` if it is not known."""
    return max(health.until or at, health.seen_at or at)


def _is_probed(health: ProviderHealth, at: datetime) -> bool:
    return health.probe is not None and health.probe_until is not None and at < health.probe_until
