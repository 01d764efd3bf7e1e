"""Writing changed values into a field: in the same shape, with everything else as it was.

What was written is read again before it is returned, so that a field is never written that would be read otherwise.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from polytill.domain.legacy_findings import LegacyFinding
from polytill.domain.states import Environment
from polytill.flows.legacy.located import Container, Home, Level, Located, Occurrence, Place
from polytill.flows.legacy.lossless import Kind, Node, Slot, become, insert, made, opened, remove, rename
from polytill.flows.legacy.mapping import Mapping
from polytill.flows.legacy.model import KEY_NAMES, SHARED, Cipher, LegacyField, LegacySet, Unwritable
from polytill.flows.legacy.reading import locate
from polytill.flows.legacy.resolving import resolve, shared_level, shared_value
from polytill.flows.legacy.styles import WORDS, Style

Wanted = dict[Environment | None, LegacySet]


def completed(now: LegacyField, wanted: LegacyField) -> LegacyField:
    """The keys and settings as they shall be read: those that ``wanted`` does not name are as now; an empty one is none."""
    sets = []
    for one in wanted.sets:
        before = now.get(one.provider, one.environment) or LegacySet(one.provider, one.environment)
        keys = {name: key for name, key in {**before.keys, **one.keys}.items() if key}
        config = {name: value for name, value in {**before.config, **one.config}.items() if value not in (None, "")}
        sets.append(replace(one, keys=keys, config=config))
    return LegacyField(tuple(sets), {**now.active, **wanted.active})


def _is(one: Any, other: Any) -> bool:
    """Whether two shared values are the same. Currencies have no order."""
    return set(one) == set(other) if isinstance(one, tuple) and isinstance(other, tuple) else bool(one == other)


def differs(shall: LegacyField, now: LegacyField, found: LegacyField) -> bool:
    """Whether a field is read otherwise than it shall be.

    A shared value that ``shall`` leaves open is as ``now``, or follows the other set of its provider.
    """
    names = {(one.provider, one.environment) for one in shall.sets}
    if names != {(one.provider, one.environment) for one in found.sets} or len(names) != len(found.sets):
        return True
    for one in shall.sets:
        other, before = found.get(one.provider, one.environment), now.get(one.provider, one.environment)
        if other is None or (dict(one.keys), dict(one.config)) != (dict(other.keys), dict(other.config)):
            return True
        for name in SHARED.values():
            value, there = getattr(one, name), getattr(other, name)
            if value is not None and not _is(value, there):
                return True
            others = [getattr(each, name) for each in shall.sets if each.provider == one.provider]
            is_off = name == "is_enabled" and there is False and shall.active.get(one.provider) is not one.environment
            if value is not None or before is None or is_off:
                continue
            if not any(_is(each, there) for each in (getattr(before, name), *others)):
                return True
    return any(_differs_active(shall, found, code) for code in {code for code, _ in names})


def _differs_active(shall: LegacyField, found: LegacyField, code: str) -> bool:
    """Whether payments would use the other keys. It does not matter if none of the sets is switched on."""
    sets = [one for one in found.sets if one.provider == code]
    aim = shall.active.get(code)
    return len(sets) > 1 and aim not in (None, found.active.get(code)) and any(one.is_enabled for one in sets)


def changed(original: Any, wanted: LegacyField, mapping: Mapping, cipher: Cipher | None) -> Any:
    """The field with its changes, of the type of ``original`` (text if that is None). ``Unwritable`` if it has no place
    for them."""
    located = locate(original, mapping, cipher)
    now = resolve(located, mapping)
    shall = completed(now, wanted)
    if not differs(shall, now, now):
        return original
    if located.document is None:
        if any(one.type is not LegacyFinding.field_empty for one in now.findings):
            raise Unwritable("The field cannot be read, so that nothing can be changed in it.")
        located = locate("{}", mapping, cipher)
    _Writer(located, mapping, cipher).write(shall)
    assert located.document is not None
    text = located.document.text()
    if differs(shall, now, resolve(locate(text, mapping, cipher), mapping)):
        raise Unwritable("A field of this shape has no place for the change.")
    return text.encode("utf-8") if isinstance(original, bytes | bytearray | memoryview) else text


class _Writer:
    def __init__(self, located: Located, mapping: Mapping, cipher: Cipher | None) -> None:
        self._located = located
        self._style = Style(mapping, cipher)
        document = located.document
        if document is not None and opened(document.root).is_blank:
            document.root = made({})
            located.containers.append(Container(document.root))

    def write(self, shall: LegacyField) -> None:
        """Change every provider's sets to those that shall be."""
        codes = dict.fromkeys([home.code for home in self._located.homes] + [one.provider for one in shall.sets])
        for code in codes:
            wanted: Wanted = {one.environment: one for one in shall.sets if one.provider == code}
            homes = [home for home in self._located.homes if home.code == code]
            active = shall.active.get(code)
            if len(homes) == 1 and homes[0].group is None:
                self._in_one_home(homes[0], wanted, active)
            else:
                self._in_homes(homes, code, wanted, active)

    # ── Providers ──

    def _in_homes(self, homes: list[Home], code: str, wanted: Wanted, active: Environment | None) -> None:
        """A provider with an entry for each environment, or without any."""
        there = {place.environment: (home, place) for home in homes for place in home.places}
        for environment, (home, place) in there.items():
            if environment not in wanted:
                self._drop(home, place)
        self._update([(home, place) for one, (home, place) in there.items() if one in wanted], wanted)
        self._only_enabled([place for one, (_, place) in there.items() if one in wanted], wanted, active)
        missing = {one: values for one, values in wanted.items() if one not in there}
        if missing and not homes and not any(container.group for container in self._located.containers):
            self._add_home(code, missing, active)
            return
        for one in missing.values():
            self._add_to_group(code, one)

    def _only_enabled(self, places: list[Place], wanted: Wanted, active: Environment | None) -> None:
        """Where nothing else can say which environment payments use, the one that is switched on says it."""
        if len(wanted) < 2 or active is None:
            return
        for place in places:
            leaves = place.environment is not active and wanted[place.environment].is_enabled is None
            if leaves and place.level.value("isEnabled"):
                self._own(place.level, "isEnabled", False)

    def _in_one_home(self, home: Home, wanted: Wanted, active: Environment | None) -> None:
        """A provider whose sets are all in one object."""
        if not wanted:
            self._drop_home(home)
            return
        if home.level is None:
            self._replace_bare(home, wanted, active)
            return
        flat = next((place for place in home.places if place.is_flat), None)
        if flat is not None and max(len(home.places), len(wanted)) > 1:
            self._trade(home, flat, wanted, active)
        elif flat is not None and flat.environment not in wanted and len(wanted) == 1 and len(home.places) == 1:
            self._set_environment(home, flat, next(iter(wanted)))
        for place in list(home.places):
            if place.environment not in wanted:
                self._drop(home, place)
                home.places.remove(place)
        self._update([(home, place) for place in home.places], wanted)
        there = {place.environment for place in home.places}
        for environment, values in wanted.items():
            if environment not in there:
                self._add_nested(home, values)
        nested = not any(place.is_flat for place in home.places)
        if nested and len(wanted) > 1 and active is not None:
            self._say_active(home, active)

    def _trade(self, home: Home, flat: Place, wanted: Wanted, active: Environment | None) -> None:
        """The set in the provider's own object is that of the active environment: let two sets change places."""
        aim = active if active in wanted else flat.environment if flat.environment in wanted else next(iter(wanted))
        if aim is flat.environment:
            return
        other = next((place for place in home.places if place is not flat and place.environment is aim), None)
        before = flat.environment
        if other is not None and other.slot is not None and before in wanted and before is not None:
            rename(other.slot, WORDS[before])
            other.environment = before
            self._blank_environment(other.level, before)
        elif other is not None:
            self._drop(home, other)
            home.places.remove(other)
        self._set_environment(home, flat, aim)

    def _blank_environment(self, level: Level, environment: Environment) -> None:
        for occurrence in level.found.get("environment", ()):
            self._style.rewrite(occurrence, environment)

    def _set_environment(self, home: Home, place: Place, environment: Environment | None) -> None:
        place.environment = environment
        occurrences = place.level.found.get("environment", [])
        if occurrences:
            for occurrence in occurrences:
                self._style.rewrite(occurrence, environment)
        elif environment is not None:
            self._insert(place.level, "environment", environment)

    def _say_active(self, home: Home, active: Environment) -> None:
        assert home.level is not None
        said = home.level.value("environment")
        outer = [level for place in home.places for level in place.outer if level.value("environment") is not None]
        if said is active or (said is None and outer and outer[0].value("environment") is active):
            return
        if said is not None or len([place for place in home.places]) > 1:
            self._set_environment(home, Place(home.level, ()), active)

    # ── Values ──

    def _update(self, places: list[tuple[Home, Place]], wanted: Wanted) -> None:
        for home, place in places:
            values = wanted[place.environment]
            if home.level is None:
                self._replace_bare(home, wanted, place.environment)
                return
            for name in KEY_NAMES:
                self._own(place.level, name, values.keys.get(name))
            for name in {*values.config, *(one[1:] for one in place.level.found if one[:1] == ".")}:
                self._own(place.level, f".{name}", values.config.get(name))
        for name, attribute in SHARED.items():
            self._shared(places, wanted, name, attribute)

    def _own(self, level: Level, name: str, value: Any) -> None:
        """A value that only this level says."""
        if level.value(name) == value:
            return
        if occurrences := level.found.get(name):
            for occurrence in occurrences:
                self._style.rewrite(occurrence, value)
        else:
            self._insert(level, name, value)

    def _shared(self, places: list[tuple[Home, Place]], wanted: Wanted, name: str, attribute: str) -> None:
        """A value that several sets may have from one level: changed there; sets that want another one get their own."""
        shall = {place: getattr(wanted[place.environment], attribute) for _, place in places}
        for home, place in places:
            value, level = shall[place], shared_level(place, name)
            if value is None or _is(shared_value(home, place, name), value):
                continue
            if level is None:
                level = place.outer[0] if place.level.prefix is not None else place.level
            elif level in self._located.tops:
                level = place.level if place.level.prefix is None else place.outer[0]
            users = [one for _, one in places if one is not place and shared_level(one, name) is level]
            others = [one for one in users if shall[one] is not None and not _is(shall[one], value)]
            before = level.value(name)
            self._own(level, name, value)
            for one in others:
                if one.level is not level and before is not None:
                    self._own(one.level, name, shall[one])

    def _insert(self, level: Level, name: str, value: Any) -> None:
        if value is None:
            return
        node = level.node
        if name in KEY_NAMES:
            node = level.keys_node or node
        elif name[:1] == ".":
            node = level.config_node or node
        prefix = level.prefix if name in KEY_NAMES else None
        if level.prefix is not None and prefix is None:
            raise Unwritable(f"There is no place for {name.removeprefix('.')} of one environment.")
        insert(node, self._style.name(name, node.slots or level.node.slots, prefix), self._style.plain(name, value))
        level.add(Occurrence(name, node.slots[-1], value))

    def _values(self, one: LegacySet, siblings: list[Slot], environment: Environment | None) -> Node:
        """A new object with all values of a set."""
        node = made({})
        values: dict[str, Any] = {"environment": environment, **one.keys}
        values |= {name: getattr(one, attribute) for name, attribute in SHARED.items()}
        values |= {f".{name}": value for name, value in one.config.items()}
        for name, value in values.items():
            if value is not None:
                insert(node, self._style.name(name, siblings), self._style.plain(name, value))
        return node

    # ── New and removed sets ──

    def _add_nested(self, home: Home, one: LegacySet) -> None:
        assert home.level is not None
        if one.environment is None:
            raise Unwritable("A set without an environment cannot be added beside others.")
        words = [place.slot.name for place in home.places if place.slot is not None]
        word = one.environment.value if {"production", "sandbox"} & set(words) else WORDS[one.environment]
        insert(home.level.node, word, self._values(one, home.level.node.slots, None))

    def _add_home(self, code: str, wanted: Wanted, active: Environment | None) -> None:
        container = next((one for one in self._located.containers), None) or self._new_container(None)
        first, *others = sorted(wanted.values(), key=lambda one: one.environment is not active)
        node = self._values(first, self._siblings(), first.environment)
        for other in others:
            if other.environment is None:
                raise Unwritable("A set without an environment cannot be added beside others.")
            insert(node, WORDS[other.environment], self._values(other, node.slots, None))
        self._put(container, code, node)

    def _add_to_group(self, code: str, one: LegacySet) -> None:
        container = next((c for c in self._located.containers if c.group is one.environment), None)
        if container is None:
            container = self._new_container(one.environment)
        environment = None if container.group is not None else one.environment
        self._put(container, code, self._values(one, self._siblings(), environment))

    def _new_container(self, group: Environment | None) -> Container:
        """A further ``live`` or ``test`` beside the other one; or a list around a provider that was alone."""
        root = opened(self._located.document.root) if self._located.document is not None else made({})
        if self._located.containers and group is not None and root.kind is Kind.object:
            held = any(opened(slot.node) is c.node for slot in root.slots for c in self._located.containers)
            if held:
                insert(root, WORDS[group], made({}))
                container = Container(root.slots[-1].node, group)
                self._located.containers.append(container)
                return container
        alone = next((home for home in self._located.homes if home.slot is None), None)
        if alone is None:
            raise Unwritable("There is no place for a further provider.")
        inside = replace(root)
        become(root, Node(Kind.array, slots=[Slot(inside)]))
        container = Container(root)
        self._located.containers.append(container)
        return container

    def _put(self, container: Container, code: str, node: Node) -> None:
        """Put a new provider into an object by code or a list."""
        written = self._style.code(code)
        empty = self._located.empty.get((code, container.group))
        if empty is not None:
            empty.node = node
        elif container.node.kind is Kind.array:
            naming = next((home.naming.name for home in self._located.homes if home.naming is not None), None)
            node.slots.insert(0, Slot(made(written), "", naming or "code", f"{json.dumps(naming or 'code')}: "))
            if len(node.slots) > 1:
                node.slots[1].lead = " "
            insert(container.node, None, node)
        else:
            insert(container.node, written, node)

    def _siblings(self) -> list[Slot]:
        return next((home.level.node.slots for home in self._located.homes if home.level is not None), [])

    def _replace_bare(self, home: Home, wanted: Wanted, active: Environment | None) -> None:
        """A provider that was only a text or boolean becomes an object."""
        order = sorted(wanted.values(), key=lambda one: one.environment is not active)
        node = self._values(order[0], self._siblings(), order[0].environment)
        for other in order[1:]:
            if other.environment is None:
                raise Unwritable("A set without an environment cannot be added beside others.")
            insert(node, WORDS[other.environment], self._values(other, node.slots, None))
        if home.slot is None or home.holder is None:
            raise Unwritable("There is no place for the values of this provider.")
        if home.holder.kind is Kind.array and home.level is None and home.slot.name is None:
            node.slots.insert(0, Slot(made(self._style.code(home.code)), "", "code", '"code": '))
            node.slots[1].lead = " "
        home.slot.node = node

    def _drop(self, home: Home, place: Place) -> None:
        if place.slot is not None and place.holder is not None:
            remove(place.holder, place.slot)
        elif place.level.prefix is not None or (place.is_flat and len(home.places) > 1):
            for name, occurrences in place.level.found.items():
                if name in KEY_NAMES or name[:1] == ".":
                    for occurrence in occurrences:
                        self._style.rewrite(occurrence, None)
        else:
            self._drop_home(home)

    def _drop_home(self, home: Home) -> None:
        if home.slot is None or home.holder is None:
            root = opened(self._located.document.root) if self._located.document is not None else made({})
            become(root, made({}))
            self._located.containers.append(Container(root))
            home.places.clear()
            return
        if home.slot in home.holder.slots:
            remove(home.holder, home.slot)
