"""``paymentProviders`` fields as older code might have written them, from a source of randomness."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from polytill.domain.secret import Secret
from polytill.domain.states import Environment
from polytill.flows.legacy.shapes import LegacyField, LegacySet

CODES = {
    "paystack": ("paystack", "Paystack", "PAYSTACK"),
    "stripe": ("stripe", "Stripe"),
    "flutterwave": ("flutterwave", "Flutterwave", "rave"),
}
CURRENCIES = ("NGN", "GHS", "USD", "KES")
LIVE, TEST = Environment.production, Environment.sandbox
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


def text_of(random: Random, length: int) -> str:
    """Random lower-case letters and digits."""
    return "".join(random.choice(_LETTERS) for _ in range(length))


def keys_of(random: Random, code: str, environment: Environment) -> dict[str, str]:
    """New keys in the provider's form."""
    kind = "live" if environment is LIVE else "test"
    if code == "flutterwave":
        infix = "" if environment is LIVE else "_TEST"
        keys = {
            name: f"FLW{part}{infix}-{text_of(random, 16)}-X"
            for name, part in (("publicKey", "PUBK"), ("secretKey", "SECK"))
        }
        return keys | {"webhookSecret": f"hash-{text_of(random, 12)}"}
    keys = {"publicKey": f"pk_{kind}_{text_of(random, 16)}", "secretKey": f"sk_{kind}_{text_of(random, 40)}"}
    return keys | (
        {"webhookSecret": f"whsec_{text_of(random, 12)}"} if code == "stripe" and random.random() < 0.5 else {}
    )


def _snake(name: str) -> str:
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in name)


class Writer:
    """Writes fields in one style of names and values."""

    def __init__(self, random: Random) -> None:
        self._random = random
        pick = random.choice
        self.is_snake = random.random() < 0.4
        self.words = pick([("live", "test"), ("production", "sandbox")])
        self._enabled = pick(["isEnabled", "enabled", "active", "status", "disabled"])
        self._flags = pick(
            [(True, False), ("true", "false"), (1, 0), ("1", "0"), ("yes", "no"), ("Active", "Inactive")]
        )
        self._currencies = pick(["supportedCurrencies", "currencies"])
        self._style = pick(["list", ", ", ",", "object"])
        self.unknown: list[str] = []

    def name(self, name: str) -> str:
        """A name in this style."""
        return _snake(name) if self.is_snake else name

    def word(self, environment: Environment) -> str:
        """The word for an environment."""
        return self.words[0] if environment is LIVE else self.words[1]

    def shared(self) -> dict[str, Any]:
        """What a provider has besides its keys."""
        random, found = self._random, {}
        if random.random() < 0.8:
            said = random.random() < 0.5
            found[self.name(self._enabled)] = self._flags[0 if said else 1]
        if random.random() < 0.4:
            found[self.name("isDefault")] = random.random() < 0.5
        if random.random() < 0.6:
            codes = random.sample(CURRENCIES, random.randint(1, 3))
            value: Any = codes
            if self._style == "object":
                value = {code: code in codes for code in CURRENCIES}
            elif self._style != "list":
                value = self._style.join(codes)
            found[self.name(self._currencies)] = value
        if random.random() < 0.3:
            found["priority"] = random.randint(0, 9)
        return found

    def noise(self) -> dict[str, Any]:
        """A member that nobody knows."""
        if self._random.random() > 0.3:
            return {}
        token = f"unknown-{text_of(self._random, 10)}"
        self.unknown.append(token)
        return {self.name("splitCode"): [token, {"n": 1}]}

    def keys(self, code: str, environment: Environment, prefix: bool = False) -> dict[str, Any]:
        """Keys, each name with the environment in it if ``prefix``."""
        given = keys_of(self._random, code, environment)
        if prefix:
            word = self.word(environment)
            given = {word + name[:1].upper() + name[1:]: key for name, key in given.items()}
        return {self.name(name): key for name, key in given.items()}

    def provider(self, code: str) -> dict[str, Any]:
        """One provider with one or both environments."""
        shape = self._random.choice(["flat", "flat", "said", "nested", "nested", "prefixed", "inside"])
        one = self._random.choice([LIVE, TEST])
        both = self._random.random() < 0.6
        if shape == "nested":
            sets = {
                self.word(e): {
                    **self.keys(code, e),
                    **(self.shared() if self._random.random() < 0.3 else {}),
                    **self.noise(),
                }
                for e in ((LIVE, TEST) if both else (one,))
            }
            return {**self.shared(), **sets, "mode": self.word(one), **self.noise()}
        if shape == "prefixed":
            keys = {**self.keys(code, LIVE, True), **(self.keys(code, TEST, True) if both else {})}
            return {**keys, **self.shared(), "environment": self.word(LIVE), **self.noise()}
        found = self.keys(code, one)
        if shape == "inside":
            found = {"keys": found}
        said = {self.name("environment"): self.word(one)} if shape != "flat" else {}
        return {**found, **said, **self.shared(), **self.noise()}


def field_of(random: Random) -> tuple[str, list[str]]:
    """The text of a field, and what stands in it that nobody knows."""
    writer = Writer(random)
    codes = random.sample(sorted(CODES), random.randint(0, 3))
    shape = random.choice(["object", "object", "list", "wrapped", "groups", "alone", "default"])
    spelled = {code: random.choice(CODES[code]) for code in codes}
    if shape == "list":
        value: Any = [{"provider": spelled[code], **writer.provider(code)} for code in codes]
    elif shape == "groups":
        value = {}
        for environment in (LIVE, TEST):
            some = {
                spelled[c]: {**writer.keys(c, environment), **writer.shared()} for c in codes if random.random() < 0.7
            }
            value[writer.word(environment)] = some
    elif shape == "alone" and codes:
        value = {"code": spelled[codes[0]], **writer.provider(codes[0])}
    else:
        value = {spelled[code]: writer.provider(code) for code in codes}
        if shape == "wrapped":
            value = {"providers": value}
        elif shape == "default" and codes:
            value = {"default": spelled[codes[0]], **value}
    text = json.dumps(value, indent=random.choice([None, None, 2]), ensure_ascii=False)
    for _ in range(random.choice([0, 0, 0, 1, 2])):
        text = json.dumps(text)
    return text, writer.unknown


def wanted_of(random: Random, now: LegacyField) -> LegacyField:
    """What the field shall be: some of its sets changed, some removed, others added.

    As in an installation, a provider has one set of settings: the environment that is not used leaves them open.
    """
    sets: list[LegacySet] = []
    active: dict[str, Environment] = {}
    for code in CODES:
        there = [e for e in (LIVE, TEST) if random.random() < (0.8 if now.get(code, e) else 0.25)]
        if not there:
            continue
        active[code] = random.choice(there)
        for environment in there:
            one = _wanted(random, code, environment, now.get(code, environment))
            if environment is not active[code]:
                one = LegacySet(code, environment, one.keys)
            sets.append(one)
    return LegacyField(tuple(sets), active)


def _wanted(random: Random, code: str, environment: Environment, before: LegacySet | None) -> LegacySet:
    keys = {name: Secret(key) for name, key in keys_of(random, code, environment).items()}
    if before is not None and random.random() < 0.6:
        keys = {}
    flag = [None, True, False]
    currencies = tuple(random.sample(CURRENCIES, random.randint(1, 3))) if random.random() < 0.4 else None
    priority = random.randint(0, 9) if random.random() < 0.3 else None
    return LegacySet(code, environment, keys, {}, random.choice(flag), random.choice(flag), currencies, priority)
