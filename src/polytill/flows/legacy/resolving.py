"""From the places of a field's values to its sets: the environment of each, its values, and the active environment."""

from __future__ import annotations

from typing import Any

from polytill.domain.legacy_findings import LegacyFinding
from polytill.domain.secret import Secret
from polytill.domain.states import Environment
from polytill.flows.legacy.located import Home, Level, Located, Occurrence, Place
from polytill.flows.legacy.mapping import Mapping
from polytill.flows.legacy.model import KEY_NAMES, SHARED, LegacyField, LegacySet
from polytill.providers.contract import environment_of_key


def resolve(located: Located, mapping: Mapping) -> LegacyField:
    """The sets of a located field. Also decides ``Place.environment`` of each place."""
    sets: dict[tuple[str, Environment | None], LegacySet] = {}
    for home in located.homes:
        for place in home.places:
            _contradictions(located, place.level)
            place.environment = _environment(located, home, place, mapping)
            one = _set(home, place, lacks_keys=not _has_keys(home, place.level, mapping))
            if (one.provider, one.environment) in sets:
                detail = f"The keys of {one.provider} for this environment are here twice."
                located.say(LegacyFinding.provider_twice, place.level.pointer, detail)
            sets[one.provider, one.environment] = one
            if one.lacks_keys:
                detail = f"There are no keys of {one.provider}."
                located.say(LegacyFinding.no_keys, place.level.pointer, detail)
    active = _active(located, sets, mapping)
    return LegacyField(tuple(sets.values()), active, tuple(dict.fromkeys(located.findings)))


def own_and_outer(place: Place) -> tuple[Level, ...]:
    """The levels in which a shared value of a set is searched, the nearest first."""
    return (place.level, *place.outer)


def shared_level(place: Place, name: str) -> Level | None:
    """The level from which a set has a shared value; None if no level says it."""
    return next((one for one in own_and_outer(place) if one.value(name) is not None), None)


def shared_value(home: Home, place: Place, name: str) -> Any:
    """A shared value of a set."""
    level = shared_level(place, name)
    value = level.value(name) if level is not None else None
    return value == home.code if name == "isDefault" and isinstance(value, str) else value


def _set(home: Home, place: Place, *, lacks_keys: bool) -> LegacySet:
    level = place.level
    keys = {name: level.value(name) for name in KEY_NAMES if level.value(name) is not None}
    config = {name[1:]: level.value(name) for name in level.found if name[:1] == "." and level.value(name) is not None}
    shared = {attribute: shared_value(home, place, name) for name, attribute in SHARED.items()}
    return LegacySet(home.code, place.environment, keys, config, pointer=level.pointer, lacks_keys=lacks_keys, **shared)


def _contradictions(located: Located, level: Level) -> None:
    for name, occurrences in level.found.items():
        said = [one.value for one in occurrences if one.value is not None]
        if any(value != said[0] for value in said[1:]):
            detail = f"Two members say different things about {name.removeprefix('.')}."
            located.say(LegacyFinding.values_contradict, level.pointer, detail)


def _has_keys(home: Home, level: Level, mapping: Mapping) -> bool:
    """Whether a set has keys or settings, or is of a provider that needs none."""
    handler = mapping.handlers.get(home.code)
    written = any(name in KEY_NAMES or name[:1] == "." for name, found in level.found.items() if not _is_empty(found))
    return written or (handler is not None and not handler.keys)


def _is_empty(occurrences: list[Occurrence]) -> bool:
    return all(one.slot.node.is_blank for one in occurrences)


def _of_keys(home: Home, level: Level, mapping: Mapping) -> set[Environment]:
    """The environments that the keys of a level show by the provider's patterns."""
    handler = mapping.handlers.get(home.code)
    if handler is None:
        return set()
    found = set()
    for name in KEY_NAMES:
        value = level.value(name)
        if isinstance(value, Secret) and name in handler.keys:
            found.add(environment_of_key(handler, name, value.reveal()))
    return {one for one in found if one is not None}


def _environment(located: Located, home: Home, place: Place, mapping: Mapping) -> Environment | None:
    shown, level = _of_keys(home, place.level, mapping), place.level
    said = place.environment or home.group
    if said is None:
        said = next((value for one in own_and_outer(place) if (value := one.value("environment")) is not None), None)
    elif level.prefix is None and level.value("environment") not in (None, said):
        detail = "This environment says that it is the other one."
        located.say(LegacyFinding.values_contradict, level.pointer, detail)
    if said is not None:
        if shown - {said}:
            other = "live" if said is Environment.sandbox else "test"
            detail = f"A key of {home.code} is a {other} key, but the environment is {said.value}."
            located.say(LegacyFinding.key_of_other_environment, level.pointer, detail)
        return said
    if len(shown) > 1:
        detail = f"The keys of {home.code} are of both environments."
        located.say(LegacyFinding.key_of_other_environment, level.pointer, detail)
        return None
    if shown:
        detail = "Nothing but the keys says the environment."
        located.say(LegacyFinding.environment_from_key, level.pointer, detail)
        return shown.pop()
    if mapping.environment is not None:
        return mapping.environment
    # If its keys were rejected, that is what has been reported.
    is_readable = not level.found or any(level.value(name) is not None for name in level.found)
    if _has_keys(home, level, mapping) and is_readable:
        detail = "Neither the field nor the keys say the environment. Set defaults.environment in the mapping."
        located.say(LegacyFinding.environment_unknown, level.pointer, detail)
    return None


def _active(
    located: Located, sets: dict[tuple[str, Environment | None], LegacySet], mapping: Mapping
) -> dict[str, Environment]:
    active: dict[str, Environment] = {}
    for code in dict.fromkeys(code for code, _ in sets):
        there = [environment for of, environment in sets if of == code and environment is not None]
        if len(there) < 2:
            active.update((code, one) for one in there)
            continue
        said = _said_active(located, code)
        if said is None:
            enabled = [one for one in there if sets[code, one].is_enabled]
            said = enabled[0] if len(enabled) == 1 else mapping.environment
        if said is None:
            detail = (
                f"There are keys of {code} for both environments, and nothing says which payments use. Set"
                " defaults.environment in the mapping."
            )
            located.say(LegacyFinding.active_environment_unknown, sets[code, there[0]].pointer, detail)
        active[code] = said or Environment.production
    return active


def _said_active(located: Located, code: str) -> Environment | None:
    """What the objects around the sets of a provider say about the environment; a flat set is the active one."""
    homes = [home for home in located.homes if home.code == code]
    if len(homes) == 1:
        for place in homes[0].places:
            if place.is_flat and place.level is homes[0].level:
                return place.environment
    levels = [home.level for home in homes if home.level is not None and len(homes) == 1]
    levels += [top for home in homes for place in home.places for top in place.outer if top not in levels]
    return next((value for one in levels if (value := one.value("environment")) is not None), None)
