"""Practices of a host application with a known truth: what their ``paymentProviders`` field says, in many shapes.

The truth comes first and the text from it, so that nothing the product reads is judged by what it reads.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from polytill.domain.legacy_findings import LegacyFinding, Severity, severity_of

CODES = ("paystack", "stripe", "flutterwave")
CURRENCIES = {"paystack": ("NGN", "GHS", "KES"), "stripe": ("USD", "EUR", "GBP"), "flutterwave": ("NGN", "GHS", "USD")}
LIVE, TEST = "production", "sandbox"
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
HAND_WRITTEN = Path(__file__).parent.parent / "tests/fixtures/legacy_fields.json"


@dataclass
class Truth:
    """What one provider's configuration is. ``keys``: by environment, the API names of the keys."""

    environment: str
    keys: dict[str, dict[str, str]] = field(repr=False)
    is_enabled: bool
    currencies: list[str]
    priority: int
    is_default: bool = False


@dataclass
class HostPractice:
    """One row: its truth, or the finding that must hold it up."""

    external_id: str
    name: str
    text: str = field(repr=False)
    shape: str
    truth: dict[str, Truth] = field(default_factory=dict)
    wrong: str | None = None
    codes: dict[str, str] = field(default_factory=dict)  # of a hand-written one: its providers and environments


def _text(random: Random, length: int) -> str:
    return "".join(random.choice(_LETTERS) for _ in range(length))


def new_keys(random: Random, code: str, environment: str) -> dict[str, str]:
    """Keys in the provider's form."""
    kind = "live" if environment == LIVE else "test"
    if code == "flutterwave":
        infix = "" if environment == LIVE else "_TEST"
        public, secret = (f"FLW{part}{infix}-{_text(random, 20)}-X" for part in ("PUBK", "SECK"))
        return {"publicKey": public, "secretKey": secret, "webhookSecret": _text(random, 20)}
    keys = {"publicKey": f"pk_{kind}_{_text(random, 24)}", "secretKey": f"sk_{kind}_{_text(random, 40)}"}
    return keys | ({"webhookSecret": f"whsec_{_text(random, 24)}"} if code == "stripe" else {})


def new_truth(random: Random) -> dict[str, Truth]:
    """The providers of one practice; at most one of them is the default."""
    found = {}
    for code in random.sample(CODES, random.randint(1, 3)):
        environment = random.choice((LIVE, TEST))
        both = random.random() < 0.4
        keys = {one: new_keys(random, code, one) for one in (LIVE, TEST) if both or one == environment}
        currencies = sorted(random.sample(CURRENCIES[code], random.randint(1, 3)))
        found[code] = Truth(environment, keys, random.random() < 0.7, currencies, random.randint(0, 9))
    if random.random() < 0.6:
        random.choice(list(found.values())).is_default = True
    return found


# ── Shapes ──


def _snake(name: str) -> str:
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in name)


def _shared(one: Truth, flags: tuple[Any, Any] = (True, False), joined: str | None = None) -> dict[str, Any]:
    currencies: Any = one.currencies if joined is None else joined.join(one.currencies)
    shared = {"isEnabled": flags[0 if one.is_enabled else 1], "supportedCurrencies": currencies}
    return shared | {"isDefault": one.is_default, "priority": one.priority}


def _flat(one: Truth, **how: Any) -> dict[str, Any]:
    """The keys of the active environment in the object, those of the other in an object within it."""
    other = {"live" if name == LIVE else "test": keys for name, keys in one.keys.items() if name != one.environment}
    return {**one.keys[one.environment], "environment": one.environment, **_shared(one, **how), **other}


def _nested(one: Truth) -> dict[str, Any]:
    sets = {"live" if name == LIVE else "test": keys for name, keys in one.keys.items()}
    return {**sets, "mode": "live" if one.environment == LIVE else "test", **_shared(one, ("true", "false"), ", ")}


def _prefixed(one: Truth) -> dict[str, Any]:
    keys = {
        ("live" if environment == LIVE else "test") + name[:1].upper() + name[1:]: key
        for environment, given in one.keys.items()
        for name, key in given.items()
    }
    return {**keys, "env": one.environment.upper(), **_shared(one, (1, 0))}


def _in_snake(one: Truth) -> dict[str, Any]:
    flat = {_snake(name): value for name, value in _flat(one, flags=("yes", "no")).items()}
    return {name: _snaked(value) for name, value in flat.items()}


def _snaked(value: Any) -> Any:
    return {_snake(name): one for name, one in value.items()} if isinstance(value, dict) else value


def _grouped(truth: dict[str, Truth]) -> dict[str, Any]:
    groups: dict[str, Any] = {"production": {}, "sandbox": {}}
    for code, one in truth.items():
        one.is_enabled |= len(one.keys) > 1  # only the one that is switched on says which environment payments use
        for environment, keys in one.keys.items():
            own = environment == one.environment
            shared = _shared(one) if own else {}
            groups[environment][code] = {**keys, **shared, **({} if own else {"isEnabled": False})}
    return groups


SHAPES: dict[str, Callable[[dict[str, Truth]], str]] = {
    "object": lambda truth: json.dumps({code: _flat(one) for code, one in truth.items()}),
    "pretty": lambda truth: json.dumps({code.title(): _flat(one) for code, one in truth.items()}, indent=4),
    "snake": lambda truth: json.dumps({code.upper(): _in_snake(one) for code, one in truth.items()}),
    "list": lambda truth: json.dumps([{"provider": code, **_flat(one, joined=" ")} for code, one in truth.items()]),
    "nested": lambda truth: json.dumps({code: _nested(one) for code, one in truth.items()}),
    "prefixed": lambda truth: json.dumps({"providers": {code: _prefixed(one) for code, one in truth.items()}}),
    "groups": lambda truth: json.dumps(_grouped(truth)),
    "twice": lambda truth: json.dumps(json.dumps({code: _nested(one) for code, one in truth.items()})),
    "strings": lambda truth: json.dumps({code: json.dumps(_flat(one)) for code, one in truth.items()}),
}


# ── What is planted ──


def _edited(text: str, edit: Callable[[dict[str, Any]], None]) -> str:
    value = json.loads(text)
    edit(value[next(iter(value))])
    return json.dumps(value)


def _swap(one: dict[str, Any]) -> None:
    one["environment"] = TEST if one["environment"] == LIVE else LIVE
    for name in ("live", "test"):
        one.pop(name, None)


def _two_defaults(random: Random) -> str:
    value = {}
    for code in ("paystack", "flutterwave"):
        one = Truth(TEST, {TEST: new_keys(random, code, TEST)}, True, ["GHS", "NGN"], 0, True)
        value[code] = _flat(one)
    return json.dumps(value)


WRONG: dict[str, Callable[[Random, str], str]] = {
    "key_of_other_environment": lambda random, text: _edited(text, _swap),
    "provider_unknown": lambda random, text: json.dumps({**json.loads(text), "square": {"secretKey": "x" * 20}}),
    "member_unknown": lambda random, text: _edited(text, lambda one: one.update(splitCode="SPL_1")),
    "value_unclear": lambda random, text: _edited(text, lambda one: one.update(isEnabled="maybe")),
    "values_contradict": lambda random, text: _edited(text, lambda one: one.update(enabled=not one["isEnabled"])),
    "currency_unknown": lambda random, text: _edited(text, lambda one: one.update(supportedCurrencies=["XXQ"])),
    "key_encrypted": lambda random, text: _edited(text, lambda one: one.update(secretKey="enc:v1:" + "0" * 32)),
    "not_json": lambda random, text: text[:-3],
    "two_defaults": lambda random, text: _two_defaults(random),
}


def generated(random: Random, number: int) -> HostPractice:
    """One practice; about one in twelve is wrong on purpose."""
    own, name = f"clinic-{number:05d}", f"Clinic {number}"
    truth = new_truth(random)
    if random.random() < 1 / 12:
        wrong = random.choice(sorted(WRONG))
        return HostPractice(own, name, WRONG[wrong](random, SHAPES["object"](truth)), "object", wrong=wrong)
    shape = random.choice(sorted(SHAPES))
    return HostPractice(own, name, SHAPES[shape](truth), shape, truth)


def hand_written() -> list[HostPractice]:
    """The practices of the fixture file, whose truth is written beside them."""
    found = []
    for number, case in enumerate(json.loads(HAND_WRITTEN.read_text("utf-8"))):
        name = case["name"]
        kinds = [one.partition(" ")[0] for one in case["findings"]]
        kinds = [one for one in kinds if severity_of(LegacyFinding(one)) is not Severity.note]
        is_wrong = name.startswith(("wrong", "ambiguous"))
        # Paystack needs its public key, too: the field can be read, and the catalog rejects it.
        wrong = kinds[0] if is_wrong else "configuration_refused" if name == "only the secret key" else None
        codes = {} if wrong else {code: case["active"][code] for code in case["active"]}
        found.append(HostPractice(f"hand-{number:02d}", name, case["field"], "hand-written", wrong=wrong, codes=codes))
    return found


def host_practices(seed: int, count: int) -> list[HostPractice]:
    """All rows: the hand-written ones and generated ones, in random order."""
    random = Random(seed)
    written = hand_written()[:count]
    rows = written + [generated(random, number) for number in range(count - len(written))]
    random.shuffle(rows)
    return rows
