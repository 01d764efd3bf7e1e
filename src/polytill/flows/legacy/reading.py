"""Reading one practice's field: which provider, which environment, which values, and what was not understood."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from polytill.domain.legacy_findings import LegacyFinding
from polytill.domain.secret import without_secrets
from polytill.domain.states import Environment
from polytill.flows.legacy import names
from polytill.flows.legacy.located import Container, Home, Level, Located, Occurrence, Place
from polytill.flows.legacy.lossless import (
    MAX_DEPTH,
    MAX_LENGTH,
    Document,
    Kind,
    Node,
    Slot,
    TooDeep,
    made,
    opened,
    parse,
)
from polytill.flows.legacy.mapping import Mapping
from polytill.flows.legacy.model import KEY_NAMES, Cipher
from polytill.flows.legacy.names import Part
from polytill.flows.legacy.values import Values

_NESTED = (Kind.object, Kind.array)
_LONGEST_NAME = 60
Tops = tuple[Level, ...]


def step(name: str | int) -> str:
    """One step of a JSON pointer. A name that looks like a key is removed, and control characters are escaped."""
    text = json.dumps(without_secrets(str(name)))[1:-1][:_LONGEST_NAME]
    return "/" + text.replace("~", "~0").replace("/", "~1")


def locate(value: Any, mapping: Mapping, cipher: Cipher | None) -> Located:
    """Read a field, and keep where each value stands."""
    located = Located()
    document = _document(value, located)
    if document is not None:
        located.document = document
        _Reader(located, mapping, cipher).whole(document.root)
    return located


def _document(value: Any, located: Located) -> Document | None:
    if value is None:
        located.say(LegacyFinding.field_empty, "", "The field is empty.")
        return None
    if isinstance(value, bytes | bytearray | memoryview):
        try:
            value = bytes(value).decode("utf-8")
        except UnicodeDecodeError:
            located.say(LegacyFinding.not_text, "", "The field is not UTF-8 text.")
            return None
    if isinstance(value, bool | int | dict | list):
        return Document(made(value))
    if not isinstance(value, str):
        located.say(LegacyFinding.not_text, "", "The field is neither text nor JSON.")
        return None
    if len(value) > MAX_LENGTH:
        located.say(LegacyFinding.too_large, "", f"The field has more than {MAX_LENGTH} characters.")
        return None
    if not value.strip(" \t\r\n\ufeff"):
        located.say(LegacyFinding.field_empty, "", "The field is empty.")
        return None
    try:
        return parse(value)
    except TooDeep:
        located.say(LegacyFinding.too_deep, "", f"The field is nested more than {MAX_DEPTH} levels deep.")
    except ValueError as error:
        located.say(LegacyFinding.not_json, "", f"The field is not JSON: {error}.")
    return None


class _Reader:
    def __init__(self, located: Located, mapping: Mapping, cipher: Cipher | None) -> None:
        self._located = located
        self._say = located.say
        self._mapping = mapping
        self._aliases = dict(mapping.members)
        self._values = Values(located, mapping, cipher)

    # ── The whole field ──

    def whole(self, node: Node) -> None:
        """Read the root of the field."""
        root = opened(node)
        if root is not node:
            self._say(LegacyFinding.encoded_twice, "", "The field is JSON within a JSON text.")
        if root.is_blank:
            self._say(LegacyFinding.field_empty, "", "The field is empty.")
        elif root.kind is Kind.object and (naming := self._naming(root)) is not None:
            self._one(root, naming, Home(self._code(naming) or "", "", None, None, naming=naming))
        else:
            self._collection(root, "", None, ())

    def _collection(self, node: Node, pointer: str, group: Environment | None, tops: Tops) -> None:
        if node.kind is Kind.object:
            self._by_code(node, pointer, group, tops)
        elif node.kind is Kind.array:
            self._listed(node, pointer, group, tops)
        elif not node.is_blank:
            self._say(LegacyFinding.shape_unknown, pointer, "This is neither an object nor a list of providers.")

    def _by_code(self, node: Node, pointer: str, group: Environment | None, tops: Tops) -> None:
        top = Level(node, pointer)
        self._located.tops.append(top)
        tops = (top, *tops)
        is_wrapper = False
        for slot, at in self._members(node, pointer):
            value, name = opened(slot.node), slot.name or ""
            what = names.meaning(name, self._aliases)
            is_nested = value.kind in _NESTED
            environment = self._mapping.environment_of(name)
            if (code := self._mapping.provider_of(name)) is not None:
                self._provider(Home(code, at, slot, node, group), value, tops, name)
            elif environment is not None and is_nested and group is None:
                is_wrapper = True
                self._collection(value, at, environment, tops)
            elif what is not None and what.what is Part.providers and (is_nested or value.is_blank):
                is_wrapper = True
                self._collection(value, at, group, tops)
            elif not is_nested and what is not None and what.what in ("isDefault", "environment", "isTest", "isLive"):
                self._top(top, str(what.what), slot, at)
            elif value.kind is Kind.object and what is None:
                detail = "No provider is known by this name. Set providers in the mapping, or correct the name."
                self._say(LegacyFinding.provider_unknown, at, detail)
            else:
                self._other(what, value, at)
        if not is_wrapper:
            self._located.containers.append(Container(node, group))

    def _top(self, top: Level, what: str, slot: Slot, at: str) -> None:
        if what != "isDefault":
            top.add(Occurrence(what, slot, self._values.read(what, slot.node, at)))
        elif not slot.node.is_blank:
            code = self._mapping.provider_of(slot.node.value) if slot.node.kind is Kind.string else None
            if code is None:
                self._say(LegacyFinding.provider_unknown, at, "The default names no known provider.")
            top.add(Occurrence(what, slot, code))

    def _listed(self, node: Node, pointer: str, group: Environment | None, tops: Tops) -> None:
        self._located.containers.append(Container(node, group))
        for number, slot in enumerate(node.slots):
            value, at = opened(slot.node), pointer + step(number)
            if value.is_blank:
                self._say(LegacyFinding.provider_empty, at, "This entry is empty.")
            elif value.kind is Kind.string:
                code = self._mapping.provider_of(value.value)
                if code is None:
                    self._say(LegacyFinding.provider_unknown, at, "No provider is known by this name.")
                else:
                    home = Home(code, at, slot, node, group, bare=Level(value, at))
                    self._place(home, Place(home.bare or Level(value, at), tops))
            elif value.kind is Kind.object:
                naming = self._naming(value)
                if naming is not None:
                    self._one(value, naming, Home(self._code(naming) or "", at, slot, node, group), tops)
                elif any(self._mapping.provider_of(one.name or "") for one in value.slots):
                    self._by_code(value, at, group, tops)
                else:
                    self._say(LegacyFinding.provider_unknown, at, "Nothing in this entry names its provider.")
            else:
                self._say(LegacyFinding.shape_unknown, at, "This entry of the list is no provider.")

    # ── One provider ──

    def _naming(self, node: Node) -> Slot | None:
        """The member of an object that names its provider: the surest that names a known one, else the surest."""
        by_name = {names.normal(slot.name or ""): slot for slot in node.slots if slot.node.kind is Kind.string}
        there = [by_name[name] for name in names.CODE_NAMES if name in by_name and not by_name[name].node.is_blank]
        known = [slot for slot in there if self._code(slot)]
        holds_values = any(
            (what := names.meaning(slot.name or "", self._aliases)) and what.what in (*KEY_NAMES, "isEnabled")
            for slot in node.slots
        )
        return known[0] if known else there[0] if there and holds_values else None

    def _code(self, slot: Slot) -> str | None:
        return self._mapping.provider_of(slot.node.value)

    def _one(self, node: Node, naming: Slot, home: Home, tops: Tops = ()) -> None:
        if not home.code:
            detail = "No provider is known by this name. Set providers in the mapping, or correct the name."
            self._say(LegacyFinding.provider_unknown, home.pointer + step(naming.name or ""), detail)
            return
        home.naming = naming
        self._provider(home, node, tops, naming.node.value)

    def _provider(self, home: Home, value: Node, tops: Tops, written: str) -> None:
        if written != home.code and home.code not in names.normal(written):
            detail = f"This name was read as the provider {home.code}."
            self._say(LegacyFinding.provider_renamed, home.pointer, detail)
        if value.is_blank:
            if home.slot is not None:
                self._located.empty[home.code, home.group] = home.slot
            self._say(LegacyFinding.provider_empty, home.pointer, "This provider has no values.")
        elif value.kind is Kind.array:
            for number, slot in enumerate(value.slots):
                at = home.pointer + step(number)
                self._provider(Home(home.code, at, slot, value, home.group), opened(slot.node), tops, home.code)
        elif value.kind is Kind.object:
            home.level = Level(value, home.pointer)
            self._scan(home, home.level, value, home.pointer, tops, home.naming)
            home.places = [
                one for one in home.places if one.level.prefix is None or any(map(one.level.value, KEY_NAMES))
            ]
            self._flat(home, home.level, tops)
        else:
            self._bare(home, value, tops)

    def _bare(self, home: Home, value: Node, tops: Tops) -> None:
        """A provider that is only a text (its secret key), or only a boolean."""
        what = "secretKey" if value.kind is Kind.string else "isEnabled"
        level = home.bare = Level(value, home.pointer)
        if home.slot is not None and not self._is_needless(home, what, home.slot, home.pointer):
            level.add(Occurrence(what, home.slot, self._values.read(what, value, home.pointer)))
        self._place(home, Place(level, tops))

    def _flat(self, home: Home, level: Level, tops: Tops) -> None:
        """The set in the provider's own object, unless only nested sets have keys."""
        has_keys = any(level.value(name) is not None for name in level.found if name in KEY_NAMES or name[:1] == ".")
        if has_keys or not home.places:
            self._place(home, Place(level, tops))
        elif home not in self._located.homes:
            self._located.homes.append(home)

    def _place(self, home: Home, place: Place) -> None:
        home.places.append(place)
        if home not in self._located.homes:
            self._located.homes.append(home)

    def _scan(self, home: Home, level: Level, node: Node, pointer: str, tops: Tops, skip: Slot | None) -> None:
        """Read the members of a provider's object, or of an object in it, into a level."""
        schema = self._schema(home.code)
        in_config = level.config_node is node
        for slot, at in self._members(node, pointer):
            if slot is skip:
                continue
            value, name = opened(slot.node), slot.name or ""
            form, environment = names.normal(name), self._mapping.environment_of(name)
            what = names.meaning(name, self._aliases)
            if (meant := names.normal(self._aliases.get(form, form))) in schema:
                self._setting(level, schema[meant][0], slot, at, schema[meant][1])
            elif environment is not None and value.kind is Kind.object and level.prefix is None:
                self._nested(home, value, at, tops, (node, slot), environment)
            elif environment is not None and what is None:
                self._environment_member(home, environment, slot, at, tops)
            elif what is not None and isinstance(what.what, str) and what.what:
                if self._is_needless(home, what.what, slot, at):
                    continue
                own = self._prefixed(home, node, what.environment, tops) if what.environment else level
                own.add(Occurrence(what.what, slot, self._checked(what.what, slot, at)))
            elif what is not None and value.kind is Kind.object and what.what in (Part.keys, Part.config):
                if what.what is Part.keys:
                    level.keys_node = value
                else:
                    level.config_node = value
                self._scan(home, level, value, at, tops, None)
            elif form in names.CODE_NAMES and slot.node.kind is Kind.string:
                self._named_again(home, slot, at)
            elif in_config and what is None and not value.is_blank:
                self._setting(level, name, slot, at, {})
            else:
                self._other(what, value, at)

    def _named_again(self, home: Home, slot: Slot, at: str) -> None:
        other = self._code(slot)
        if other is not None and other != home.code and names.normal(slot.name or "") not in ("name", "id", "type"):
            detail = f"This names {other}, and the entry is of {home.code}."
            self._say(LegacyFinding.values_contradict, at, detail)
        elif other is None:
            self._other(names.meaning(slot.name or "", self._aliases), slot.node, at)

    def _nested(
        self, home: Home, value: Node, at: str, tops: Tops, held: tuple[Node, Slot], environment: Environment
    ) -> None:
        level = Level(value, at)
        outer = (home.level, *tops) if home.level is not None else tops
        inner = Home(home.code, at, None, None, level=home.level)
        self._scan(inner, level, value, at, tops, None)
        for one in inner.places:
            self._say(LegacyFinding.values_contradict, one.level.pointer, "This environment is within another one.")
        self._place(home, Place(level, outer, environment, *held))

    def _environment_member(self, home: Home, environment: Environment, slot: Slot, at: str, tops: Tops) -> None:
        """A member such as ``live``: a boolean says the environment, a text is its secret key, and null is nothing."""
        if home.level is None or slot.node.is_blank:
            self._say(LegacyFinding.member_empty, at, "This environment has no values.")
        elif slot.node.kind is Kind.boolean:
            what = "isTest" if environment is Environment.sandbox else "isLive"
            home.level.add(Occurrence(what, slot, self._values.read(what, slot.node, at)))
        elif slot.node.kind is not Kind.string:
            self._say(LegacyFinding.value_unclear, at, "This is neither a set of keys nor yes or no.")
        elif not self._is_needless(home, "secretKey", slot, at):
            level = self._prefixed(home, home.level.node, environment, tops)
            level.add(Occurrence("secretKey", slot, self._values.read("secretKey", slot.node, at)))

    def _prefixed(self, home: Home, node: Node, environment: Environment, tops: Tops) -> Level:
        """The level of the members of this object whose names have an environment in them."""
        for place in home.places:
            if place.level.prefix is environment:
                return place.level
        base = home.level or Level(node, home.pointer)
        level = Level(node, home.pointer, environment)
        self._place(home, Place(level, (base, *tops), environment))
        return level

    # ── Members ──

    def _is_needless(self, home: Home, what: str, slot: Slot, at: str) -> bool:
        """Whether this is a credential that the provider does not have. It stays in the field as it is written."""
        handler = self._mapping.handlers.get(home.code)
        if what not in KEY_NAMES or handler is None or what in handler.keys:
            return False
        if slot.node.is_blank:
            self._say(LegacyFinding.member_empty, at, "This member is empty.")
        else:
            self._say(LegacyFinding.member_not_needed, at, f"{handler.name} has no such credential.")
        return True

    def _members(self, node: Node, pointer: str) -> Iterator[tuple[Slot, str]]:
        """The members of an object with their pointers. Of two of one name the last counts, as in most programs."""
        last = {slot.name: slot for slot in node.slots}
        twice = len(node.slots) > len(last)
        for slot in node.slots:
            at = pointer + step(slot.name or "")
            if last[slot.name] is slot:
                yield slot, at
            elif twice:
                self._say(LegacyFinding.member_twice, at, "This member is written twice in one object.")

    def _checked(self, what: str, slot: Slot, at: str) -> Any:
        value = self._values.read(what, slot.node, at)
        if value is None and slot.node.is_blank:
            self._say(LegacyFinding.member_empty, at, "This member is empty.")
        return value

    def _setting(self, level: Level, name: str, slot: Slot, at: str, schema: dict[str, Any]) -> None:
        level.add(Occurrence(f".{name}", slot, self._values.setting(name, slot.node, at, schema)))

    def _schema(self, code: str) -> dict[str, tuple[str, dict[str, Any]]]:
        """The further settings of a provider by the normal form of their names."""
        handler = self._mapping.handlers.get(code)
        properties = handler.config_schema.get("properties", {}) if handler is not None else {}
        return {names.normal(name): (name, spec) for name, spec in properties.items()}

    def _other(self, what: names.Meaning | None, value: Node, at: str) -> None:
        """A member that is no value of a set."""
        if value.is_blank or (value.kind in _NESTED and not value.slots):
            self._say(LegacyFinding.member_empty, at, "This member is empty.")
        elif what is not None and what.what in (Part.not_needed, ""):
            self._say(LegacyFinding.member_not_needed, at, "This member is not needed here.")
        else:
            detail = "This member is not understood. Set members in the mapping, or remove it."
            self._say(LegacyFinding.member_unknown, at, detail)
