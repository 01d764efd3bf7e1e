"""What holds for every decision: total, deterministic, independent of input order, explained by its own numbers."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from polytill.domain.routing import Strategy, Verdict, WhyFirst, WhyLater
from polytill.domain.states import Environment
from polytill.flows.routing.decision import Decision, decide
from polytill.flows.routing.eligibility import Candidate, Wanted, eligible, rank
from polytill.flows.routing.explain import explain
from polytill.flows.routing.facts import Charged, RoutingFacts, Statistics, Traffic
from polytill.flows.routing.health import ProviderHealth, begin_probe, observe
from polytill.flows.routing.policy import Policy
from polytill.flows.routing.strategies import case_of
from polytill.storage.catalog import CurrencySupport
from polytill.web.words import LANGUAGES, words_for
from tests.routing.making import ANY, NOON, decided
from tests.routing.policies import policies

CODES = "abcdef"


def sick(probed: bool = False) -> ProviderHealth:
    """A provider whose pause is over at noon; ``probed``: another payment probes it."""
    found = ProviderHealth()
    for second in range(5):
        found = observe(found, True, NOON - timedelta(seconds=60 - second))
    return (begin_probe(found, "other", NOON) or found) if probed else found


def down() -> ProviderHealth:
    """A provider that is skipped at noon."""
    found = ProviderHealth()
    for _ in range(5):
        found = observe(found, True, NOON)
    return found


candidates = st.builds(
    Candidate,
    code=st.sampled_from(CODES),
    name=st.sampled_from(["Paystack", "{odd} % name", "M-Pesa"]),
    config_id=st.just(1),
    environment=st.sampled_from(Environment),
    is_enabled=st.sampled_from([True, True, True, False]),
    catalog_status=st.sampled_from(["active", "active", "inactive"]),
    handler_missing=st.just(None),
    practice_currencies=st.just(frozenset({"NGN"})),
    support=st.none()
    | st.builds(
        CurrencySupport,
        st.just("NGN"),
        st.booleans(),
        transaction_fee_percent=st.none() | st.integers(0, 50_000),
        transaction_fee_fixed=st.none() | st.integers(0, 500),
        max_amount=st.none() | st.integers(1, 900),
    ),
    methods=st.just(frozenset({"card"})),
    captures_manually=st.just(False),
    is_default=st.booleans(),
    priority=st.integers(0, 2),
    catalog_priority=st.integers(0, 2),
)
lines = st.tuples(st.sampled_from(CODES), st.just("NGN"), st.sampled_from([None, "card"]))
statistics = st.builds(
    Statistics,
    traffic=st.dictionaries(lines, st.builds(Traffic, st.integers(0, 10**6), st.integers(0, 10**6)), max_size=6),
    charged=st.dictionaries(
        lines, st.builds(Charged, st.integers(0, 99), st.integers(0, 10**6), st.integers(0, 10**4)), max_size=4
    ),
    health=st.dictionaries(
        st.sampled_from(CODES), st.sampled_from([ProviderHealth(), sick(), sick(probed=True), down()]), max_size=5
    ),
)
facts = st.builds(
    RoutingFacts,
    st.just(NOON),
    st.integers(0, 2**64 - 1),
    policies,
    st.none(),
    statistics,
    tried=st.frozensets(st.sampled_from(CODES), max_size=2),
)
wanteds = st.builds(
    Wanted,
    st.just("NGN"),
    st.none() | st.integers(1, 1_000),
    st.sampled_from([None, "card", "ussd"]),
    provider_code=st.sampled_from([None, None, None, "a"]),
)
everyone = st.lists(candidates, unique_by=lambda c: c.code, max_size=6)


@given(everyone, wanteds, facts, st.data())
def test_total_deterministic_and_independent_of_the_input(
    given_candidates: list[Candidate], wanted: Wanted, known: RoutingFacts, data: st.DataObject
) -> None:
    found = decide(given_candidates, wanted, known)
    assert decide(data.draw(st.permutations(given_candidates)), wanted, known) == found
    # Nobody is lost, and nobody is there who cannot take the payment.
    able = eligible(given_candidates, wanted)
    assert tuple(sorted(found.candidates, key=rank)) == able.candidates
    assert found.excluded == able.excluded
    assert len(found.ranked) + len(found.excluded) == len(given_candidates)


@given(everyone, wanteds, facts)
def test_health_moves_providers_back_and_removes_none(
    given_candidates: list[Candidate], wanted: Wanted, known: RoutingFacts
) -> None:
    found = decide(given_candidates, wanted, known)
    # The same shares, fees and availability without the verdicts.
    if known.policy.strategy is Strategy.success_rate or known.policy.fallback is Strategy.success_rate:
        return
    healthy = decide(given_candidates, wanted, replace(known, statistics=replace(known.statistics, health={})))
    failing = {one.code for one in found.ranked if one.verdict is Verdict.failing}
    usual = [one.code for one in healthy.ranked]
    expected = sorted(usual, key=lambda code: (code in known.tried, code in failing))
    assert [one.code for one in found.ranked] == expected


def says_the_truth(found: Decision, able: tuple[Candidate, ...], named: tuple[str, ...], tried: frozenset[str]) -> None:
    """Check each reason against the numbers beside it, and those against the candidates."""
    first = found.ranked[0]
    for later in found.ranked[1:]:
        mine, its, about = later.candidate, first.candidate, later.about
        assert about["first"] == first.name
        claims: dict[WhyFirst | WhyLater, bool] = {
            WhyLater.not_default: its.is_default and not mine.is_default,
            WhyLater.lower_priority: mine.priority < its.priority,
            WhyLater.not_recommended: rank(its)[2] < rank(mine)[2],
            WhyLater.lower_catalog_priority: mine.catalog_priority < its.catalog_priority,
            WhyLater.later_code: mine.code > its.code,
            WhyLater.tried: later.code in tried and first.code not in tried,
            WhyLater.failing: later.verdict is Verdict.failing and first.verdict is not Verdict.failing,
            WhyLater.dearer: "fee" in about and "first_fee" in about and about["fee"].minor > about["first_fee"].minor,
            WhyLater.fee_unknown: "fee" not in about and "first_fee" in about,
            WhyLater.no_weight: about.get("weight") == 0 and about.get("first_weight", 0) > 0,
            WhyLater.not_drawn: about.get("weight", 0) > 0 and about.get("first_weight", 0) > 0,
            WhyLater.less_successful: about.get("success_ppm", 0) <= about.get("first_success_ppm", 0),
            WhyLater.later_in_rule: later.code in named and first.code in named[: named.index(later.code)],
            WhyLater.not_in_rule: later.code not in named and first.code in named,
            WhyLater.explored_other: about.get("explore_ppm", 0) > 0,
        }
        assert claims[later.why], (later.why, about)
    others = [one for one in able if one.code != first.code]
    claims = {
        WhyFirst.requested: True,
        WhyFirst.default: first.candidate.is_default,
        WhyFirst.only: not others,
        WhyFirst.priority: first.candidate.priority >= max((one.priority for one in others), default=0),
        WhyFirst.recommended: not rank(first.candidate)[2],
        WhyFirst.catalog_priority: bool(others),
        WhyFirst.code: all(first.code < one.code for one in others if rank(one)[:-1] == rank(first.candidate)[:-1]),
        WhyFirst.untried: first.code not in tried and any(one.code in tried for one in found.ranked[1:]),
        WhyFirst.healthy: any(one.verdict is Verdict.failing for one in found.ranked[1:]),
        WhyFirst.cheapest: "fee" in first.about,
        WhyFirst.fee_known: all("fee" not in one.about for one in found.ranked[1:]),
        WhyFirst.drawn: first.about.get("weight", 0) > 0,
        WhyFirst.success_rate: "success_ppm" in first.about,
        WhyFirst.rule: first.code in named and bool(first.about.get("rule")),
        WhyFirst.rule_default: first.code in named and first.about.get("rule") == "default",
        WhyFirst.explored: first.about.get("explore_ppm", 0) > 0,
    }
    assert claims[first.why], (first.why, first.about)
    if first.why is WhyFirst.cheapest:
        assert all(first.about["fee"].minor <= one.about["fee"].minor for one in found.ranked if "fee" in one.about)


@given(everyone, wanteds, facts)
def test_the_explanation_agrees_with_the_decision(
    given_candidates: list[Candidate], wanted: Wanted, known: RoutingFacts
) -> None:
    found = decide(given_candidates, wanted, known)
    said = explain(found)
    assert [one.code for one in said] == [*(one.code for one in found.ranked), *(one.code for one in found.excluded)]
    assert [one.place for one in said] == [*range(1, len(found.ranked) + 1), *(None for _ in found.excluded)]
    assert found.reason
    if not found.ranked:
        assert found.why is WhyFirst.none
        return
    assert (said[0].reason, said[0].detail) == (found.why, found.reason)
    rules = known.policy.rules
    named = rules.match(case_of(wanted, known)).providers if rules else ()
    says_the_truth(found, found.candidates, named, known.tried)


@given(everyone, wanteds, facts, st.sampled_from(sorted(LANGUAGES)))
def test_each_reason_has_its_sentence_with_all_values(
    given_candidates: list[Candidate], wanted: Wanted, known: RoutingFacts, language: str
) -> None:
    words = words_for(language, "")
    plain = [replace(one, name=one.code) for one in given_candidates]
    for one in explain(decide(plain, wanted, known)):
        text = words.named(one.group, one.reason, "?", one.about)
        assert text != "?"
        assert "{" not in text + one.detail


def test_a_probe_keeps_its_place_and_a_running_probe_moves_it_back() -> None:
    best, other = replace(ANY, code="a", priority=5), replace(ANY, code="b")

    def known(health: ProviderHealth) -> dict[str, Any]:
        return {"statistics": Statistics(health={"a": health})}

    found = decided([best, other], Wanted("NGN", 500), **known(sick()))
    assert [(one.code, one.verdict) for one in found.ranked] == [("a", "probe"), ("b", "healthy")]
    for health in (sick(probed=True), down()):
        found = decided([best, other], Wanted("NGN", 500), **known(health))
        assert [(one.code, one.verdict) for one in found.ranked] == [("b", "healthy"), ("a", "failing")]
        assert [one.why for one in found.ranked] == [WhyFirst.healthy, WhyLater.failing]
    # If all of them fail, the order stays.
    all_down = Statistics(health={"a": down(), "b": down()})
    found = decided([best, other], Wanted("NGN", 500), statistics=all_down)
    assert [one.code for one in found.ranked] == ["a", "b"]
    assert found.why is WhyFirst.priority


def test_the_default_policy_is_the_order_by_priority() -> None:
    first, second = replace(ANY, code="z", is_default=True), replace(ANY, code="a", priority=9)
    found = decided([second, first], Wanted("NGN", 500))
    assert found.candidates == (first, second)
    assert (found.strategy, found.version) == (Strategy.priority, None)
    assert Policy().strategy is Strategy.priority
