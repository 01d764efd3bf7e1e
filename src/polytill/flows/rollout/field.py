"""The field and a practice's configurations side by side: whether they are equal, and what makes ours equal to it.

Both are compared as a ``LegacyField``. What the field does not say means what an import takes it to mean.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from polytill.domain.sealing import DataKey
from polytill.domain.secret import Secret
from polytill.domain.states import CredentialState, Environment
from polytill.flows.admin.credentials import Keys
from polytill.flows.admin.provider_configs import Wish
from polytill.flows.legacy.mapping import Mapping as FieldMapping
from polytill.flows.legacy.model import KEY_NAMES, Cipher, LegacyField, LegacySet
from polytill.flows.legacy.wishes import configured, keys_of, plain, wish_of
from polytill.storage.catalog import ProviderEntry
from polytill.storage.provider_configs import Configuration, CredentialSet, open_credentials


@dataclass(frozen=True, slots=True)
class Reading:
    """How to read a field: the host's mapping, and the catalog for what the field leaves out."""

    mapping: FieldMapping
    catalog: Mapping[str, ProviderEntry]
    cipher: Cipher | None = None  # the host's encryption of its keys
    digest: str = ""  # of the mapping and the catalog: another one may mean another thing by the same field


# ── Whether it has changed ──


def canonical(value: Any) -> bytes:
    """A field's value in one form, however its text is spaced and ordered, and however often it is encoded."""
    for _ in range(3):
        if isinstance(value, bytes | bytearray | memoryview):
            value = bytes(value).decode("utf-8", "replace")
        if not isinstance(value, str):
            break
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return b"text " + str(value).encode("utf-8", "surrogatepass")
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("utf-8", "surrogatepass")


def hash_of(key: DataKey, value: Any) -> str:
    """A keyed hash of a field, which shows only whether it has changed."""
    return key.keyed_hash(canonical(value))


def is_blank(value: Any) -> bool:
    """Whether a field holds nothing."""
    return canonical(value) in (b"null", b"{}", b"[]", b'""', b"text ") or not canonical(value).strip()


# ── Our configurations in the form of a field ──


def ours(key: DataKey, configurations: Mapping[str, Configuration]) -> LegacyField:
    """A practice's configurations with their opened keys, as a field would hold them."""
    sets, active = [], {}
    for code, one in sorted(configurations.items()):
        if one.removed_at is not None:
            continue
        active[code] = one.environment
        sets += [_our_set(key, one, kept) for kept in _in_use(one)]
    return LegacyField(tuple(sets), active)


def _in_use(one: Configuration) -> Iterator[CredentialSet]:
    """The active keys, and the newest prepared ones of the other environment."""
    yield one.active
    for environment in Environment:
        prepared = [s for s in one.others if s.state is CredentialState.prepared and s.environment is environment]
        if environment is not one.environment and prepared:
            yield max(prepared, key=lambda s: s.version)


def _our_set(key: DataKey, one: Configuration, kept: CredentialSet) -> LegacySet:
    opened = open_credentials(key, one.provider_code, kept)
    found = {"publicKey": opened.public_key, "secretKey": opened.secret_key, "webhookSecret": opened.webhook_secret}
    keys = {name: value if isinstance(value, Secret) else Secret(value) for name, value in found.items() if value}
    config = {name: Secret(value) if isinstance(value, str) else value for name, value in opened.config.items()}
    return LegacySet(
        one.provider_code,
        kept.environment,
        keys,
        config,
        one.is_enabled,
        one.is_default,
        tuple(one.supported_currencies),
        one.priority,
    )


# ── What the field means ──


def _same_keys(a: LegacySet | None, b: LegacySet | None) -> str | None:
    """The first key or setting that differs; None if all are the same."""
    if a is None or b is None:
        return "keys"
    for name in KEY_NAMES:
        if a.keys.get(name) != b.keys.get(name):
            return name
    return None if plain(a.config) == plain(b.config) else "config"


def _shared(theirs: LegacySet, mine: LegacySet, reading: Reading) -> Iterator[str]:
    wish = wish_of(theirs, reading.mapping, reading.catalog)
    if wish.is_enabled is not mine.is_enabled:
        yield "isEnabled"
    if wish.is_default is not bool(mine.is_default):
        yield "isDefault"
    if wish.supported_currencies != sorted(mine.currencies or ()):
        yield "supportedCurrencies"
    if wish.priority != (mine.priority or 0):
        yield "priority"


def differences(field: LegacyField, mine: LegacyField, reading: Reading, both_ways: bool = True) -> list[str]:
    """What differs, each as a short sentence without values.

    ``both_ways`` False leaves out prepared keys that the field does not have: nothing of the field would be lost.
    """
    found, field = [], configured(field)
    for code in sorted(field.active.keys() | mine.active.keys()):
        environment = field.active.get(code)
        if environment is None:
            found.append(f"{code} is not in the field")
            continue
        if code not in mine.active:
            found.append(f"{code} is only in the field")
            continue
        if mine.active[code] is not environment:
            found.append(f"{code}: environment")
            continue
        theirs, own = field.get(code, environment), mine.get(code, environment)
        if (name := _same_keys(theirs, own)) is not None:
            found.append(f"{code}: {name}")
        if theirs is not None and own is not None:
            found += [f"{code}: {name}" for name in _shared(theirs, own, reading)]
        other = next(one for one in Environment if one is not environment)
        prepared, ours_too = field.get(code, other), mine.get(code, other)
        if prepared is None and (ours_too is None or not both_ways):
            continue
        if (name := _same_keys(prepared, ours_too)) is not None:
            found.append(f"{code}: {name} of {other}")
    return found


# ── What makes ours equal to it ──


class Kind(Enum):
    """How a configuration is changed."""

    save = "save"  # all of it, with its keys
    change = "change"  # without its keys
    prepare = "prepare"  # keys of the environment that is not used
    drop = "drop"  # the prepared keys of the environment that is not used
    remove = "remove"


@dataclass(frozen=True, slots=True)
class Change:
    """One change of polytill's configurations."""

    kind: Kind
    wish: Wish


def changes(field: LegacyField, mine: LegacyField, reading: Reading, both_ways: bool = False) -> list[Change]:
    """The changes that make polytill's configurations equal to the field, in the order in which they are made: defaults last,
    because a new default takes the place of another one.

    Prepared keys that the field does not have stay, because staff may have entered them: unless the field itself had them,
    in the environment that it used until now; or with ``both_ways``, because then nothing but the field counts.
    """
    field = configured(field)
    found = [Change(Kind.remove, Wish(code)) for code in sorted(mine.active.keys() - field.active.keys())]
    saved = []
    for code, environment in sorted(field.active.items()):
        theirs = field.get(code, environment)
        if theirs is None:
            continue
        own = mine.get(code, environment) if mine.active.get(code) is environment else None
        same_keys = own is not None and _same_keys(theirs, own) is None
        if own is None or not same_keys or any(_shared(theirs, own, reading)):
            wish = wish_of(theirs, reading.mapping, reading.catalog)
            wish = replace(wish, environment=None, keys=Keys()) if same_keys else wish
            saved.append(Change(Kind.change if same_keys else Kind.save, wish))
        other = next(one for one in Environment if one is not environment)
        prepared = field.get(code, other)
        if prepared is not None and _same_keys(prepared, mine.get(code, other)) is not None:
            found_keys = Wish(code, other, keys_of(prepared))
            saved.append(Change(Kind.prepare, found_keys))
        if prepared is None and mine.get(code, other) is not None and (both_ways or mine.active.get(code) is other):
            saved.append(Change(Kind.drop, Wish(code, other)))
    saved.sort(key=lambda change: (change.kind in (Kind.prepare, Kind.drop), change.wish.is_default is True))
    return found + saved


# ── What makes the field equal to ours ──


def _meaningless(field: LegacyField, mine: LegacyField) -> Iterator[LegacySet]:
    with_keys = {one.provider for one in field.sets if not one.lacks_keys}
    for one in field.sets:
        if one.provider in mine.active:
            stays = one.environment is not None and mine.get(one.provider, one.environment) is None
        else:
            stays = one.provider not in with_keys
        if one.lacks_keys and stays:
            yield one


def wanted(field: LegacyField, mine: LegacyField, reading: Reading) -> LegacyField:
    """What a field has to hold to mean polytill's configurations. What it means already stays as it is written; a key that we
    do not have is an empty one, which removes it. An entry without keys, which means nothing, stays."""
    sets = [LegacySet(one.provider, one.environment) for one in _meaningless(field, mine)]
    for one in mine.sets:
        before = field.get(one.provider, one.environment)
        if before is None:
            sets.append(one)
            continue
        differing = set(_shared(before, one, reading))
        sets.append(
            LegacySet(
                one.provider,
                one.environment,
                {**dict.fromkeys(before.keys, Secret("")), **one.keys},
                {**dict.fromkeys(before.config, ""), **one.config},
                one.is_enabled if "isEnabled" in differing else None,
                one.is_default if "isDefault" in differing else None,
                one.currencies if "supportedCurrencies" in differing else None,
                one.priority if "priority" in differing else None,
            )
        )
    return LegacyField(tuple(sets), mine.active)
