"""The rules language: what each condition means, every error with its pointer, and generated bad input."""

from __future__ import annotations

import copy
import json
import time
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polytill.domain.errors import FieldError
from polytill.domain.routing import PolicyError, Strategy, WhyFirst, WhyLater
from polytill.flows.routing.conditions import Case
from polytill.flows.routing.eligibility import Wanted
from polytill.flows.routing.facts import Traits
from polytill.flows.routing.policy import Policy
from polytill.flows.routing.policy_reading import parse_draft_text, parse_policy
from polytill.flows.routing.policy_schema import SCHEMA
from polytill.flows.routing.reading import MAX_CHARACTERS, MAX_ERRORS
from tests.routing.making import NOON, decided
from tests.routing.test_strategies import A, B, C

CODES = ("a", "b", "c")


def rules(*given: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A policy with these rules; each is named by its place unless it has a name."""
    named = [{"name": f"rule {number}", "providers": ["a"], **one} for number, one in enumerate(given)]
    return {"strategy": "rules", "rules": named, "default": ["b"], **more}


def read(document: Any) -> Policy:
    policy, errors = parse_policy(document, CODES)
    assert policy is not None, errors
    return policy


def errors_of(document: Any) -> list[tuple[str, str]]:
    policy, errors = parse_policy(document, CODES)
    assert (policy is None) == bool(errors)
    return [(error.pointer, str(error.reason)) for error in errors]


# ── What conditions mean ──


CASE = Case("NGN", 5_000, "card", "NG", 12 * 60, "monday", {"department": "dental"}, "new", "clinic.example", "KE")

MEANS: list[tuple[dict[str, Any], dict[str, Any], bool]] = [
    ({}, {}, True),
    ({"currency": "NGN"}, {}, True),
    ({"currency": ["GHS", "KES"]}, {}, False),
    ({"method": "card"}, {}, True),
    ({"method": "card"}, {"method": None}, False),
    ({"not": {"method": "card"}}, {"method": None}, False),
    ({"not": {"method": "card"}}, {"method": "ussd"}, True),
    ({"any": [{"method": "card"}, {"currency": "NGN"}]}, {"method": None}, True),
    ({"all": [{"method": "card"}, {"currency": "NGN"}]}, {"method": None}, False),
    ({"not": {"all": [{"method": "card"}, {"currency": "GHS"}]}}, {"method": None}, True),
    ({"currency": "NGN", "method": "ussd"}, {}, False),
    ({"amount": {"currency": "NGN", "atLeast": 5_000}}, {}, True),
    ({"amount": {"currency": "NGN", "below": 5_000}}, {}, False),
    ({"amount": {"currency": "NGN", "atLeast": 4_999, "below": 5_001}}, {}, True),
    ({"amount": {"currency": "GHS", "atLeast": 0}}, {}, False),
    ({"amount": {"currency": "NGN", "atLeast": 0}}, {"amount": None}, False),
    ({"not": {"amount": {"currency": "NGN", "atLeast": 0}}}, {"amount": None}, False),
    ({"country": "NG", "phoneCountry": ["KE", "UG"]}, {}, True),
    ({"time": {"from": "08:00", "until": "18:00"}}, {}, True),
    ({"time": {"from": "08:00", "until": "12:00"}}, {}, False),
    ({"time": {"from": "12:00", "until": "24:00"}}, {}, True),
    ({"time": {"from": "22:00", "until": "06:00"}}, {"minute": 23 * 60}, True),
    ({"time": {"from": "22:00", "until": "06:00"}}, {"minute": 6 * 60}, False),
    ({"weekday": ["saturday", "sunday"]}, {}, False),
    ({"metadata": {"department": ["dental", "lab"]}}, {}, True),
    ({"metadata": {"department": "dental", "floor": "2"}}, {}, False),
    ({"metadata": {"department": "dental"}}, {"metadata": None}, False),
    ({"not": {"metadata": {"floor": "2"}}}, {"metadata": {}}, True),
    ({"customer": "new"}, {}, True),
    ({"customer": "known"}, {}, False),
    ({"emailDomain": "Clinic.Example"}, {}, True),
    ({"emailDomain": "example"[:0] + "other.example"}, {}, False),
]


@pytest.mark.parametrize(("when", "change", "expected"), MEANS, ids=lambda value: json.dumps(value))
def test_what_a_condition_means(when: dict[str, Any], change: dict[str, Any], expected: bool) -> None:
    found = read(rules({"when": when})).rules
    assert found is not None
    named = found.match(CASE._replace(**change))
    assert named.rule == ("rule 0" if expected else None)
    assert named.providers == (("a",) if expected else ("b",))


def test_the_first_rule_that_matches_names_the_order_and_the_rest_follows() -> None:
    document = rules(
        {"when": {"weekday": "sunday"}},
        {"name": "Mondays", "when": {"weekday": "monday"}, "providers": ["c", "b"]},
        {"when": {"currency": "NGN"}, "providers": ["a"]},
    )
    policy = read(document)
    found = decided([A, B, C], Wanted("NGN", 10), policy=policy)
    assert [one.code for one in found.ranked] == ["c", "b", "a"]
    assert [one.why for one in found.ranked] == [WhyFirst.rule, WhyLater.later_in_rule, WhyLater.not_in_rule]
    assert found.ranked[0].about["rule"] == "Mondays"
    tuesday = decided([A, B, C], Wanted("NGN", 10), policy=policy, at=NOON.replace(day=24))
    assert [one.code for one in tuesday.ranked] == ["a", "b", "c"]
    # Nothing applies: the default, then the fallback.
    other = decided([A, C, B], Wanted("NGN", 10), policy=read(rules({"when": {"currency": "GHS"}})))
    assert (other.ranked[0].code, other.why) == ("b", WhyFirst.rule_default)
    # A rule whose providers cannot take the payment refuses nothing.
    assert [
        one.code for one in decided([A, B], Wanted("NGN", 10), policy=read(rules({"providers": ["c"]}))).ranked
    ] == ["a", "b"]


def test_rules_ask_for_the_traits_of_the_payment() -> None:
    when = {
        "customer": "known",
        "emailDomain": "x.example",
        "metadata": {"a": "1"},
        "country": "NG",
        "phoneCountry": "KE",
    }
    policy = read(rules({"when": when, "providers": ["c"]}))
    known = Traits("NG", {"a": "1"}, True, "x.example", "KE")
    assert decided([A, B, C], Wanted("NGN", 10), policy=policy, traits=known).ranked[0].code == "c"
    assert decided([A, B, C], Wanted("NGN", 10), policy=policy).ranked[0].code == "b"


# ── Errors ──


def amount(value: Any) -> dict[str, Any]:
    return rules({"when": {"amount": value}})


WRONG: list[tuple[Any, str, PolicyError]] = [
    (None, "", PolicyError.not_object),
    ([], "", PolicyError.not_object),
    ({}, "", PolicyError.missing_field),
    ({"strategy": 1}, "/strategy", PolicyError.not_text),
    ({"strategy": "cheapest"}, "/strategy", PolicyError.unknown_value),
    ({"strategy": "priority", "rule": []}, "/rule", PolicyError.unknown_field),
    ({"strategy": "priority", "rules": []}, "/rules", PolicyError.unused_field),
    ({"strategy": "priority", "fallback": "least_cost"}, "/fallback", PolicyError.unused_field),
    ({"strategy": "least_cost", "fallback": "rules"}, "/fallback", PolicyError.unknown_value),
    ({"strategy": "least_cost", "enoughPayments": 29}, "/enoughPayments", PolicyError.out_of_range),
    ({"strategy": "least_cost", "enoughPayments": True}, "/enoughPayments", PolicyError.not_integer),
    ({"strategy": "success_rate", "explorePercent": 2.5}, "/explorePercent", PolicyError.not_integer),
    ({"strategy": "weighted"}, "", PolicyError.missing_field),
    ({"strategy": "weighted", "weights": []}, "/weights", PolicyError.not_object),
    ({"strategy": "weighted", "weights": {}}, "/weights", PolicyError.no_weight),
    ({"strategy": "weighted", "weights": {"a": 0}}, "/weights", PolicyError.no_weight),
    ({"strategy": "weighted", "weights": {"a/b": 1}}, "/weights/a~1b", PolicyError.unknown_provider),
    ({"strategy": "weighted", "weights": {str(n): 1 for n in range(51)}}, "/weights", PolicyError.too_many),
    ({"strategy": "rules", "rules": []}, "", PolicyError.missing_field),
    (rules(default="a"), "/default", PolicyError.not_list),
    (rules(default=["x"]), "/default/0", PolicyError.unknown_provider),
    (rules({"providers": []}), "/rules/0/providers", PolicyError.empty),
    (rules({"providers": ["a", "a"]}), "/rules/0/providers/1", PolicyError.repeated),
    (rules({"name": ""}), "/rules/0/name", PolicyError.empty),
    (rules({"name": "x" * 81}), "/rules/0/name", PolicyError.too_long),
    (rules({"name": "x\x00"}), "/rules/0/name", PolicyError.not_writable),
    (rules({"description": "\ud800"}), "/rules/0/description", PolicyError.not_writable),
    (rules({"provider": "a"}), "/rules/0/provider", PolicyError.unknown_field),
    (rules({"name": "X", "when": {"currency": "NGN"}}, {"name": "x"}), "/rules/1/name", PolicyError.repeated),
    (rules({"when": []}), "/rules/0/when", PolicyError.not_object),
    (rules({"when": {"amounts": 1}}), "/rules/0/when/amounts", PolicyError.unknown_field),
    (rules({"when": {"currency": "XYZ"}}), "/rules/0/when/currency", PolicyError.not_currency),
    (rules({"when": {"currency": ["NGN", "ngn"]}}), "/rules/0/when/currency/1", PolicyError.not_currency),
    (rules({"when": {"currency": []}}), "/rules/0/when/currency", PolicyError.empty),
    (rules({"when": {"country": "Kenya"}}), "/rules/0/when/country", PolicyError.not_country),
    (rules({"when": {"phoneCountry": "+254"}}), "/rules/0/when/phoneCountry", PolicyError.not_country),
    (rules({"when": {"weekday": "Mon"}}), "/rules/0/when/weekday", PolicyError.unknown_value),
    (rules({"when": {"customer": "old"}}), "/rules/0/when/customer", PolicyError.unknown_value),
    (rules({"when": {"emailDomain": "ada@x.example"}}), "/rules/0/when/emailDomain", PolicyError.not_domain),
    (rules({"when": {"time": {"from": "8:00", "until": "18:00"}}}), "/rules/0/when/time/from", PolicyError.not_time),
    (rules({"when": {"time": {"from": "08:00"}}}), "/rules/0/when/time", PolicyError.missing_field),
    (rules({"when": {"time": {"from": "08:00", "until": "08:00"}}}), "/rules/0/when/time", PolicyError.never_true),
    (rules({"when": {"metadata": {}}}), "/rules/0/when/metadata", PolicyError.empty),
    (rules({"when": {"metadata": {"a": 1}}}), "/rules/0/when/metadata/a", PolicyError.not_text),
    (rules({"when": {"any": []}}), "/rules/0/when/any", PolicyError.empty),
    (rules({"when": {"not": {}}}), "/rules/0/when/not", PolicyError.empty),
    (rules({"when": {"not": {"all": [{"x": 1}]}}}), "/rules/0/when/not/all/0/x", PolicyError.unknown_field),
    (amount(5), "/rules/0/when/amount", PolicyError.amount_without_currency),
    (amount({"atLeast": 5}), "/rules/0/when/amount", PolicyError.amount_without_currency),
    (amount({"currency": "NGN"}), "/rules/0/when/amount", PolicyError.missing_field),
    (amount({"currency": "NGN", "atLeast": "5"}), "/rules/0/when/amount/atLeast", PolicyError.not_integer),
    (amount({"currency": "NGN", "atLeast": -1}), "/rules/0/when/amount/atLeast", PolicyError.out_of_range),
    (amount({"currency": "NGN", "atLeast": 5, "below": 5}), "/rules/0/when/amount", PolicyError.never_true),
    (rules({}, {"when": {"currency": "NGN"}}), "/rules/1", PolicyError.unreachable),
    (rules(*[{"when": {"metadata": {"n": str(n)}}} for n in range(201)]), "/rules", PolicyError.too_many),
    (rules(tests=[{"given": {"currency": "NGN"}, "expect": "a"}]), "/tests/0/expect", PolicyError.test_failed),
    (rules(tests=[{"given": {}, "expect": "b"}]), "/tests/0/given", PolicyError.missing_field),
    (rules(tests=[{"given": {"currency": "NGN"}}]), "/tests/0", PolicyError.missing_field),
    (rules(tests=[{"given": {"currency": "NGN"}, "expect": "z"}]), "/tests/0/expect", PolicyError.unknown_provider),
    (rules(tests=[{"given": {"currency": "NGN", "hour": 1}, "expect": "b"}]), "/tests/0/given/hour", PolicyError.unknown_field),
]  # fmt: skip


@pytest.mark.parametrize(("document", "pointer", "error"), WRONG, ids=lambda value: str(value)[:60])
def test_each_error_names_its_place(document: Any, pointer: str, error: PolicyError) -> None:
    assert errors_of(document) == [(pointer, error)]
    [only] = parse_policy(document, CODES)[1]
    assert only.detail.endswith(".")
    assert "{" not in only.detail


def test_nesting_and_the_number_of_conditions_are_bounded() -> None:
    when: dict[str, Any] = {"currency": "NGN"}
    for _ in range(5):
        when = {"not": when}
    assert errors_of(rules({"when": when})) == []
    assert errors_of(rules({"when": {"not": when}})) == [("/rules/0/when" + "/not" * 6, PolicyError.too_deep)]
    many = [{"when": {"any": [{"metadata": {"a": f"{n} {m}"}} for m in range(50)]}} for n in range(25)]
    assert [error for _, error in errors_of(rules(*many))] == [PolicyError.too_many]


UNREACHABLE = [
    ({"currency": ["NGN", "GHS"]}, {"currency": "NGN"}, True),
    ({"currency": "NGN"}, {"currency": ["NGN", "GHS"]}, False),
    ({"currency": "NGN"}, {"amount": {"currency": "NGN", "atLeast": 5}}, True),
    ({"amount": {"currency": "NGN", "atLeast": 5}}, {"amount": {"currency": "NGN", "atLeast": 6, "below": 9}}, True),
    ({"amount": {"currency": "NGN", "below": 8}}, {"amount": {"currency": "NGN", "atLeast": 6, "below": 9}}, False),
    ({"any": [{"method": "card"}, {"method": "ussd"}]}, {"method": "ussd", "currency": "NGN"}, True),
    ({"method": "card"}, {"any": [{"method": "card"}, {"currency": "NGN"}]}, False),
    ({"not": {"method": "card"}}, {"not": {"method": "card"}, "currency": "NGN"}, True),
    ({"not": {"method": "card"}}, {"method": "ussd"}, False),  # not found, which is allowed
    ({"metadata": {"a": ["1", "2"]}}, {"metadata": {"a": "2", "b": "3"}}, True),
]


@pytest.mark.parametrize(("first", "second", "found"), UNREACHABLE, ids=lambda value: json.dumps(value))
def test_a_rule_that_never_applies_is_found(first: dict[str, Any], second: dict[str, Any], found: bool) -> None:
    expected = [("/rules/1", PolicyError.unreachable)] if found else []
    assert errors_of(rules({"when": first}, {"when": second})) == expected


def test_tests_run_with_the_policy() -> None:
    document = rules(
        {"when": {"amount": {"currency": "NGN", "atLeast": 100}}, "providers": ["a", "c"]},
        tests=[
            {"name": "large", "given": {"currency": "NGN", "amount": 100}, "expect": "a"},
            {"given": {"currency": "NGN", "amount": 100, "available": ["b", "c"]}, "expect": "c"},
            {"given": {"currency": "NGN", "amount": 99, "time": "08:00", "weekday": "monday"}, "expect": "b"},
            {"given": {"currency": "GHS", "available": ["a"]}, "expect": None},
        ],
    )
    assert errors_of(document) == []
    document["rules"][0]["providers"] = ["c"]
    assert errors_of(document) == [("/tests/0/expect", PolicyError.test_failed)]


# ── The JSON Schema ──

SCHEMA_SAYS = {
    *(PolicyError.not_object, PolicyError.not_list, PolicyError.not_text, PolicyError.not_integer, PolicyError.empty),
    *(PolicyError.unknown_field, PolicyError.missing_field, PolicyError.unknown_value, PolicyError.out_of_range),
    *(PolicyError.not_time, PolicyError.amount_without_currency, PolicyError.too_many, PolicyError.too_long),
}
schema = jsonschema_rs.validator_for(SCHEMA)


# Which parameters a strategy needs is not in the schema.
WRONG_BY_SCHEMA = [
    document
    for document, pointer, error in WRONG
    if error in SCHEMA_SAYS and not (error is PolicyError.missing_field and pointer == "" and document)
]


@pytest.mark.parametrize("document", WRONG_BY_SCHEMA, ids=lambda value: str(value)[:60])
def test_the_schema_rejects_what_is_wrong_without_the_catalog(document: Any) -> None:
    assert not schema.is_valid(document)


# ── Generated bad input ──


GOOD: dict[str, Any] = rules(
    {"when": {"currency": "NGN", "amount": {"currency": "NGN", "atLeast": 5, "below": 900}}, "providers": ["a", "b"]},
    {
        "when": {
            "any": [{"method": ["card"]}, {"not": {"weekday": "sunday"}}],
            "time": {"from": "08:00", "until": "17:00"},
        }
    },
    {"when": {"all": [{"metadata": {"x": ["1", "2"]}}, {"customer": "new"}]}, "description": "Why."},
    fallback="least_cost",
    enoughPayments=30,
    tests=[{"name": "t", "given": {"currency": "GHS", "metadata": {"x": "3"}}, "expect": "b"}],
)
junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=9)
    | st.sampled_from(["a", "NGN", "08:00"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["currency", "amount", "all", "any", "not", "when", "providers", "name", "time", "metadata"]
            )
            | st.text(max_size=5),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, one in inner for place in places(one, (*path, key)))]


def broken(data: st.DataObject) -> Any:
    """A good policy with some values replaced, removed or added."""
    document: Any = copy.deepcopy(GOOD)
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(places(document)))
        if not path:
            return data.draw(junk)
        holder = document
        for key in path[:-1]:
            holder = holder[key]
        if data.draw(st.booleans()):
            holder[path[-1]] = data.draw(junk)
        else:
            del holder[path[-1]]
    return document


def resolves(document: Any, pointer: str) -> bool:
    """Whether a pointer leads to a value of the document, or to a field that is missing in one."""
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(document, list) and key.isdigit() and int(key) < len(document):
            document = document[int(key)]
        elif isinstance(document, dict) and key in document:
            document = document[key]
        else:
            return False
    return True


def judged(document: Any, errors: tuple[FieldError, ...]) -> None:
    assert 0 < len(errors) <= MAX_ERRORS
    for error in errors:
        assert error.reason in set(PolicyError)
        json.dumps({"detail": error.detail, "pointer": error.pointer}, ensure_ascii=False).encode()
        assert resolves(document, error.pointer) or not error.pointer.isascii(), error


@given(st.data())
def test_every_input_is_a_policy_or_errors_with_pointers(data: st.DataObject) -> None:
    document = broken(data)
    policy, errors = parse_policy(document, CODES)
    if policy is None:
        judged(document, errors)
    else:
        assert not errors
        assert schema.is_valid(document)
        decided([A, B, C], Wanted("NGN", 10), policy=policy)


@given(st.text(max_size=30) | st.binary(max_size=30) | junk.map(json.dumps))
def test_every_text_is_a_policy_or_errors(text: str | bytes) -> None:
    policy, errors, _ = parse_draft_text(text, CODES)
    assert (policy is None) == bool(errors)


MOST_WORK = [
    {
        "name": str(rule),
        "when": {
            "any": [
                {"metadata": {f"k{rule}": [str(value) for value in range(9)]}},
                *[{"method": f"{rule} {part}"} for part in range(3)],
            ]
        },
    }
    for rule in range(200)
]


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"strategy": "rules", "rules": ' + "[" * 500 + "]" * 500 + "}",
        '{"a":' * 20_000 + "1" + "}" * 20_000,
        '{"strategy": ' + "9" * 10_000 + "}",
        '{"strategy": "priority", "strategy": "rules"}',
        '{"strategy": NaN}',
        " " * (MAX_CHARACTERS + 1),
        json.dumps({"x" * 1_000 + str(n): n for n in range(150)}),
        json.dumps(rules(*[{"when": {"emailDomain": "a" * 99 + "!"}, "name": str(n)} for n in range(200)])),
        json.dumps(rules(*[{"when": {"all": [{"method": "x"}] * 5}, "name": str(n)} for n in range(200)])),
        # Comparing all rules with each other is the most work.
        json.dumps(rules(*MOST_WORK)),
    ],
    ids=lambda text: text[:20],
)  # fmt: skip
def test_hostile_texts_end_soon(text: str) -> None:
    began = time.perf_counter()
    policy, errors, _ = parse_draft_text(text, CODES)
    assert (policy is None) == bool(errors)
    assert sum(len(error.pointer) + len(error.detail) for error in errors) < 100_000
    assert time.perf_counter() - began < 5


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('{"strategy": "least_cost", "strategy": "priority"}', PolicyError.repeated),
        ('{\n  "strategy": priority}', PolicyError.unreadable_at),
        ('{"strategy": NaN}', PolicyError.unreadable),
        (b"\xff\xfe\xfd", PolicyError.unreadable),
        (" " * MAX_CHARACTERS + "{}", PolicyError.too_long),
        ('{"strategy": "priority", "\\ud800": 1}', PolicyError.unknown_field),
    ],
)
def test_what_is_no_document_is_said_so(text: str | bytes, error: PolicyError) -> None:
    policy, [only], _ = parse_draft_text(text, CODES)
    assert policy is None
    assert only.reason is error
    json.dumps([only.detail, only.pointer, only.about], ensure_ascii=False).encode()
    if error is PolicyError.unreadable_at:
        assert only.about == {"line": 2, "column": 15}


def test_each_strategy_can_be_read() -> None:
    for document, expected in (
        ({"strategy": "priority"}, Policy()),
        ({"strategy": "least_cost"}, Policy(Strategy.least_cost)),
        ({"strategy": "weighted", "weights": {"a": 1, "b": 0}}, Policy(Strategy.weighted, weights={"a": 1, "b": 0})),
        (
            {"strategy": "success_rate", "explorePercent": 0, "fallback": "least_cost", "enoughPayments": 40},
            Policy(Strategy.success_rate, Strategy.least_cost, enough_payments=40, explore_percent=0),
        ),
    ):
        assert read(document) == expected
