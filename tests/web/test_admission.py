"""Admission under overload, in a model of one process: work comes at random times, is done one step after another, and
waits for a provider in between."""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter
from dataclasses import dataclass, field

import pytest

from polytill.web.admission import FEW, LEAST_PER_S, TARGET_S, TICK_S, Admission, Refused
from tests.installation import Installation

STEP_S, STEPS, REFUSAL_S = 0.001, 4, 0.00015
CAPACITY_PER_S = 1 / (STEP_S * STEPS)


@dataclass
class Played:
    """The outcome of a model's requests."""

    asked: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    latencies_s: list[float] = field(default_factory=list)

    def latency_s(self, share: float) -> float:
        return sorted(self.latencies_s)[int(share * (len(self.latencies_s) - 1))]


@dataclass(order=True)
class Request:
    """A request of the model."""

    came_s: float
    practice: str
    step: int = 0
    waited_s: float = 0.0  # for the provider


class Process:
    """The model. With ``database_s``, each request also needs so long of a database that serves one after another."""

    def __init__(self, admission: Admission | None, seed: int, database_s: float) -> None:
        self.admission, self.played, self.now_s = admission, Played(), 0.0
        self._chance = random.Random(seed)
        self._database_s, self._database_free_s = database_s, 0.0
        self._ready: list[Request] = []
        self._waiting: list[tuple[float, Request]] = []

    def _arrivals(self, per_s: float, seconds: float, practices: list[str]) -> list[Request]:
        found, at_s = [], 0.0
        while at_s < seconds:
            at_s += self._chance.expovariate(per_s)
            found.append(Request(at_s, self._chance.choice(practices)))
        return found[::-1]

    def run(self, per_s: float, seconds: float, practices: list[str]) -> Played:
        arrivals, tick_at_s = self._arrivals(per_s, seconds, practices), TICK_S
        while arrivals or self._ready or self._waiting:
            while arrivals and arrivals[-1].came_s <= self.now_s:
                self._ready.append(arrivals.pop())
            while self._waiting and self._waiting[0][0] <= self.now_s:
                self._ready.append(heapq.heappop(self._waiting)[1])
            if self.admission is not None and self.now_s >= tick_at_s:
                self.admission.tick(self.now_s - tick_at_s)
                tick_at_s = self.now_s + TICK_S
            batch, self._ready = self._ready, []
            for request in batch:
                self._work(request)
            if not batch:
                ticks = [tick_at_s] if self.admission is not None else []
                due = [at for at, _ in self._waiting[:1]] + [request.came_s for request in arrivals[-1:]]
                self.now_s = min(ticks + due)
        return self.played

    def _work(self, request: Request) -> None:
        if request.step == 0:
            self.played.asked[request.practice] += 1
            if self.admission is not None and self.admission.admit(request.practice) is not None:
                self.now_s += REFUSAL_S
                return
        self.now_s += STEP_S
        request.step += 1
        if request.step == 2:
            provider_s = request.waited_s = math.exp(math.log(0.12) + 0.4956 * self._chance.gauss(0, 1))
            heapq.heappush(self._waiting, (self.now_s + provider_s, request))
        elif request.step == 3 and self._database_s:
            self._database_free_s = max(self._database_free_s, self.now_s) + self._database_s
            heapq.heappush(self._waiting, (self._database_free_s, request))
        elif request.step < STEPS:
            self._ready.append(request)
        else:
            took_s = self.now_s - request.came_s
            self.played.answered[request.practice] += 1
            self.played.latencies_s.append(took_s)
            if self.admission is not None:
                self.admission.end(request.practice, took_s - request.waited_s)


def play(
    admission: Admission | None,
    per_s: float,
    seconds: float,
    practices: list[str],
    seed: int = 1,
    database_s: float = 0.0,
) -> Played:
    """Requests of random practices from this list, ``per_s`` on average. None: every request is taken."""
    return Process(admission, seed, database_s).run(per_s, seconds, practices)


MANY = [f"practice {number}" for number in range(50)]


def test_below_its_capacity_a_process_refuses_nothing() -> None:
    admission = Admission(2_000)
    played = play(admission, CAPACITY_PER_S * 0.8, 20, MANY)
    assert not admission.refused
    assert played.answered == played.asked


@pytest.mark.parametrize("times", [1.2, 2, 4])
def test_under_overload_the_throughput_stays_and_the_rest_is_refused_at_once(times: float) -> None:
    admission = Admission(2_000)
    played = play(admission, CAPACITY_PER_S * times, 20, MANY)
    spent_on_refusals_s = admission.refused.total() * REFUSAL_S
    assert played.answered.total() > 0.85 * CAPACITY_PER_S * (20 - spent_on_refusals_s)
    assert played.latency_s(0.99) < 1.5
    assert set(admission.refused) == {Refused.overloaded}
    # Without it, each request waits longer than the one before.
    assert play(None, CAPACITY_PER_S * times, 20, MANY).latency_s(0.99) > 3


def test_a_slow_database_is_an_overload_too() -> None:
    """The event loop is not late then: the requests wait elsewhere."""
    admission, database_s = Admission(2_000), 1 / (0.5 * CAPACITY_PER_S)
    played = play(admission, CAPACITY_PER_S, 30, MANY, database_s=database_s)
    assert played.answered.total() > 0.85 * 30 / database_s
    assert played.latency_s(0.99) < 2.5
    assert set(admission.refused) == {Refused.overloaded}
    assert play(None, CAPACITY_PER_S, 30, MANY, database_s=database_s).latency_s(0.99) > 10


def test_a_slow_provider_is_no_overload() -> None:
    admission = Admission(2_000)
    for _ in range(200):
        for number in range(2 * FEW):
            assert admission.admit(f"p{number}") is None
        admission.tick(0.0)
        for number in range(2 * FEW):
            admission.end(f"p{number}", 0.01)
    assert admission.rate == math.inf


def test_everything_is_admitted_again_within_seconds() -> None:
    admission = Admission(2_000)
    play(admission, CAPACITY_PER_S * 3, 10, MANY)
    assert admission.rate < math.inf
    before = admission.refused.total()
    play(admission, CAPACITY_PER_S * 0.5, 5, MANY, seed=2)
    refused = admission.refused.total() - before
    after = admission.refused.total()
    play(admission, CAPACITY_PER_S * 0.5, 10, MANY, seed=3)
    assert (refused < 50, admission.refused.total()) == (True, after)


def test_a_busy_practice_takes_nothing_from_the_others() -> None:
    admission = Admission(2_000)
    played = play(admission, CAPACITY_PER_S * 2.4, 30, ["busy"] * 180 + MANY[:20])
    small = {name: played.answered[name] / count for name, count in played.asked.items() if name != "busy"}
    assert min(small.values()) > 0.85
    assert played.answered["busy"] / played.asked["busy"] < 0.5
    assert played.answered.total() > 0.85 * CAPACITY_PER_S * 30 - admission.refused.total() * REFUSAL_S / STEP_S / STEPS


def test_one_practice_gets_a_quarter_of_the_places_and_all_together_no_more_than_there_are() -> None:
    admission = Admission(4 * FEW)
    taken = [admission.admit("a") for _ in range(2 * FEW)]
    assert taken == [None] * FEW + [Refused.practice_full] * FEW
    others = [admission.admit(f"p{number}") for number in range(4 * FEW)]
    assert others == [None] * 3 * FEW + [Refused.server_full] * FEW
    admission.end("a", 0.0)
    assert admission.admit("b") is None
    assert admission.in_progress == 4 * FEW


def test_a_late_process_with_few_requests_refuses_none() -> None:
    """Then others take the CPU, or one step was long: a queue there is not."""
    admission = Admission(2_000)
    for _ in range(50):
        admission.tick(10 * TARGET_S)
        assert admission.admit("a") is None
        admission.end("a", 0.0)


def test_a_process_that_is_always_late_still_admits_some() -> None:
    admission = Admission(100)
    for _ in range(50):
        admission.tick(10 * TARGET_S)
        admission.in_progress = FEW
    assert admission.rate == LEAST_PER_S
    assert admission.admit("a") is None


async def test_a_refused_request_is_503_with_a_time_and_webhooks_are_taken(installation: Installation) -> None:
    practice, key = await installation.practice("Busy", "NGN")
    admission = installation.app.state.admission
    for _ in range(20):
        admission.tick(1.0)
    admission._room, admission._asked[str(practice)], admission.in_progress = -1e9, 10**9, FEW
    refused = await installation.call("GET", f"/api/practices/{practice}/payments", key)
    assert (refused.status, refused.body["code"], refused.headers["Retry-After"]) == (503, "overloaded", "2")
    page = await installation.call("GET", f"/practice/{practice}/login", headers={"Accept": "text/html"})
    assert (page.status, page.headers["Content-Type"].split(";")[0]) == (503, "text/html")
    for path in ("/healthz", "/readyz"):
        assert (await installation.call("GET", path)).status == 200
    assert (await installation.call("POST", "/hooks/nobody", raw=b"{}")).status == 404
    assert admission.in_progress == FEW
