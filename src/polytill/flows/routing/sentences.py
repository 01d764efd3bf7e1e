"""The reasons for the places of providers as English sentences. Pages have their own texts in every language."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from string import Formatter
from typing import Any

from polytill.domain.money import ppm_to_percent
from polytill.domain.routing import WhyFirst, WhyLater

_FIRST = {
    WhyFirst.none: "No configured provider can take this payment in {currency}.",
    WhyFirst.requested: "The request names {provider}.",
    WhyFirst.default: "{provider} is this practice's default for {currency}.",
    WhyFirst.only: "{provider} is the only provider that can take this payment.",
    WhyFirst.priority: "{provider} has the practice's highest priority ({priority}).",
    WhyFirst.recommended: "{provider} is recommended for {currency}.",
    WhyFirst.catalog_priority: "{provider} has the catalog's highest priority ({catalog_priority}).",
    WhyFirst.code: "{provider} comes first by code.",
    WhyFirst.untried: "{provider} is the first provider that has not been tried; {tried} has.",
    WhyFirst.healthy: "{provider} is the first provider that works; {failing} has technical failures.",
    WhyFirst.cheapest: "{provider} has the lowest estimated fee ({fee}).",
    WhyFirst.fee_known: "{provider} is the only provider whose fee is known ({fee}).",
    WhyFirst.drawn: "The payment was drawn for {provider}, which has {share} of the payments.",
    WhyFirst.success_rate: "{provider} has the highest expected success ({success}).",
    WhyFirst.rule: "{provider} is named by the rule {rule!r}.",
    WhyFirst.rule_default: "{provider} is named by the default, because no rule applies.",
    WhyFirst.explored: "{provider} is tried at random, like {explore} of the payments, to learn how well it works.",
}
_LATER = {
    WhyLater.not_default: "{first} is this practice's default for {currency}.",
    WhyLater.lower_priority: "{first} has a higher priority ({first_priority}) than {provider} ({priority}).",
    WhyLater.not_recommended: "{first} is recommended for {currency}.",
    WhyLater.lower_catalog_priority: "{first} has a higher priority in the catalog ({first_catalog_priority}) than"
    " {provider} ({catalog_priority}).",
    WhyLater.later_code: "{first} comes before {provider} by code.",
    WhyLater.tried: "{provider} has been tried for this payment.",
    WhyLater.failing: "{provider} has technical failures.",
    WhyLater.dearer: "{provider} has a higher estimated fee ({fee}) than {first} ({first_fee}).",
    WhyLater.fee_unknown: "The fee of {provider} is not known.",
    WhyLater.not_drawn: "The payment was drawn for {first}; {provider} has {share} of the payments.",
    WhyLater.no_weight: "{provider} has no share of the payments.",
    WhyLater.less_successful: "{provider} has a lower expected success ({success}) than {first} ({first_success}).",
    WhyLater.later_in_rule: "{rule!r} names {first} before {provider}.",
    WhyLater.not_in_rule: "{rule!r} names {first} and not {provider}.",
    WhyLater.explored_other: "{first} is tried at random, like {explore} of the payments, to learn how well it works.",
}


def sentence(why: WhyFirst | WhyLater, about: Mapping[str, Any]) -> str:
    """The sentence of a reason, with its values."""
    # Two enums may have members of the same value, so each has its own sentences.
    text = _FIRST[why] if isinstance(why, WhyFirst) else _LATER[why]
    return text.format(**{name.removesuffix("_ppm"): _shown(name, value) for name, value in about.items()})


@lru_cache(maxsize=None, typed=True)  # members of two enums may be equal
def values_of(why: WhyFirst | WhyLater) -> frozenset[str]:
    """The names of the values in the sentence of a reason, without ``_ppm``."""
    text = _FIRST[why] if isinstance(why, WhyFirst) else _LATER[why]
    return frozenset(name for _, name, _, _ in Formatter().parse(text) if name)


def _shown(name: str, value: Any) -> Any:
    # To a tenth of a percent: the share is an estimate.
    return f"{ppm_to_percent(round(value, -3))} %" if name.endswith("_ppm") else value
