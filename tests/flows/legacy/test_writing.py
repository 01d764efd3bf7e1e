"""Changes in a practice's field: read again they are what was wanted, and everything else is as it was."""

from __future__ import annotations

import json
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polytill.domain.legacy_findings import LegacyFinding
from polytill.domain.secret import Secret
from polytill.domain.states import Environment
from polytill.flows.legacy import lossless
from polytill.flows.legacy.mapping import Mapping
from polytill.flows.legacy.shapes import KEY_NAMES, LegacyField, LegacySet, Unwritable, read, write
from tests.flows.legacy.generated import LIVE, TEST, field_of, keys_of, wanted_of
from tests.flows.legacy.test_reading import FIELDS

MAPPING = Mapping()
SPACE = st.text(" \t\n\r", max_size=2)
SCALARS = st.one_of(
    st.integers(-(10**30), 10**30).map(str),
    st.sampled_from(["true", "false", "null", "-0", "1.5e+10", "0.10", '"\\u0041\\ud800"', '"\\/"', '""']),
    st.text(max_size=8).map(json.dumps),
    st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters='"\\'), max_size=8).map('"{}"'.format),
)


def _spaced(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    value = st.tuples(SPACE, inner, SPACE).map("".join)
    member = st.tuples(SPACE, st.text(max_size=4).map(json.dumps), SPACE, st.just(":"), value).map("".join)
    return st.one_of(
        st.lists(value, max_size=4).map(lambda items: "[" + ",".join(items) + "]"),
        st.lists(member, max_size=4).map(lambda items: "{" + ",".join(items) + "}"),
        SPACE.map("{{{}}}".format),
    )


JSON_TEXTS = st.recursive(SCALARS, _spaced, max_leaves=12)


@given(JSON_TEXTS, SPACE, SPACE)
@settings(max_examples=80, deadline=None)
def test_a_text_that_is_parsed_is_written_byte_for_byte(text: str, before: str, after: str) -> None:
    document = lossless.parse(before + text + after)
    assert document.text() == before + text + after
    plain = json.loads(text, parse_int=str, parse_float=str, object_pairs_hook=dict)
    assert lossless.plain(document.root) == plain


@given(
    st.text(max_size=30) | JSON_TEXTS.map(lambda text: text[:-1]) | JSON_TEXTS.map(lambda text: text.replace(",", ""))
)
@settings(max_examples=80, deadline=None)
def test_what_is_no_json_for_python_is_none_here(text: str) -> None:
    try:
        json.loads(text, parse_constant=lambda _: pytest.fail("NaN"), strict=True)
    except (ValueError, RecursionError):
        with pytest.raises(ValueError, match=r"^[a-z, ]+$"):
            lossless.parse(text)
    except pytest.fail.Exception:
        return
    else:
        lossless.parse(text)


@given(st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_what_was_written_reads_as_it_was_wanted(random: Random) -> None:
    text, unknown = field_of(random)
    for _ in range(2):
        now = read(text, MAPPING)
        assert write(text, now, MAPPING) is text
        wanted = wanted_of(random, now)
        written = write(text, wanted, MAPPING)
        assert_reads_as(written, wanted, now)
        if not _stay(now, wanted):
            unknown = []
        assert all(token in written for token in unknown)
        assert write(written, wanted, MAPPING) == written
        text = written


def assert_reads_as(written: str, wanted: LegacyField, before: LegacyField) -> None:
    found = read(written, MAPPING)
    assert {(one.provider, one.environment) for one in found.sets} == {
        (one.provider, one.environment) for one in wanted.sets
    }
    for one in wanted.sets:
        other, old = found.get(one.provider, one.environment), before.get(one.provider, one.environment)
        assert other is not None
        assert other.keys == {**(old.keys if old else {}), **one.keys}
        for name in ("is_enabled", "is_default", "priority"):
            assert getattr(one, name) in (None, getattr(other, name))
        assert one.currencies is None or set(one.currencies) == set(other.currencies or ())
        if other.is_enabled:
            assert found.active[one.provider] is wanted.active[one.provider]


def _stay(now: LegacyField, wanted: LegacyField) -> bool:
    """Whether no set is removed, and with it what only it had."""
    return {(one.provider, one.environment) for one in now.sets} <= {
        (one.provider, one.environment) for one in wanted.sets
    }


@given(st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_a_new_key_changes_only_the_bytes_of_the_key(random: Random) -> None:
    text, _ = field_of(random)
    now = read(text, MAPPING)
    if not now.sets:
        return
    one = random.choice(now.sets)
    assert one.environment is not None
    new = keys_of(random, one.provider, one.environment)["secretKey"]
    sets = [replace(each, keys={"secretKey": Secret(new)}) if each is one else each for each in now.sets]
    written = write(text.encode(), LegacyField(tuple(sets), now.active), MAPPING)
    assert written == text.replace(one.keys["secretKey"].reveal(), new).encode()


def turned_off(field: LegacyField) -> LegacyField:
    return LegacyField(tuple(replace(one, is_enabled=False) for one in field.sets), field.active)


@pytest.mark.parametrize("case", FIELDS, ids=lambda case: case["name"])
def test_a_field_of_the_wild_can_be_switched_off_or_says_why_not(case: dict[str, Any]) -> None:
    now = read(case["field"], MAPPING)
    try:
        written = write(case["field"], turned_off(now), MAPPING)
    except Unwritable:
        assert now.held_up
        return
    found = read(written, MAPPING)
    assert [one.is_enabled for one in found.sets] == [False for _ in now.sets]
    assert [one.keys for one in found.sets] == [one.keys for one in now.sets]


@pytest.mark.parametrize(
    ("field", "written"),
    [
        ('{"stripe":{"secretKey":"sk_test_51Hclinic0000","status":"Active"}}',
         '{"stripe":{"secretKey":"sk_test_51Hclinic0000","status":"Inactive"}}'),
        ('{"stripe":{"secret_key":"sk_test_51Hclinic0000", "disabled":0}}',
         '{"stripe":{"secret_key":"sk_test_51Hclinic0000", "disabled":1}}'),
        ('{"stripe":{"secret_key":"sk_test_51Hclinic0000","priority":1}}',
         '{"stripe":{"secret_key":"sk_test_51Hclinic0000","priority":1,"is_enabled": false}}'),
        ('{\n  "stripe": {\n    "secretKey": "sk_test_51Hclinic0000"\n  }\n}\n',
         '{\n  "stripe": {\n    "secretKey": "sk_test_51Hclinic0000",\n    "isEnabled": false\n  }\n}\n'),
        ('"{\\"stripe\\":{\\"secretKey\\":\\"sk_test_51Hclinic0000\\",\\"enabled\\":\\"yes\\"}}"',
         '"{\\"stripe\\":{\\"secretKey\\":\\"sk_test_51Hclinic0000\\",\\"enabled\\":\\"no\\"}}"'),
        ('{"stripe":"sk_test_51Hclinic0000"}',
         '{"stripe":{"environment": "sandbox", "secretKey": "sk_test_51Hclinic0000", "isEnabled": false}}'),
    ],
)  # fmt: skip
def test_a_changed_value_is_written_as_the_old_one_was(field: str, written: str) -> None:
    assert write(field, turned_off(read(field, MAPPING)), MAPPING) == written


def test_environments_that_want_different_values_get_their_own() -> None:
    keys = {"live": {"secretKey": "sk_live_51Hclinic0000"}, "test": {"secretKey": "sk_test_51Hclinic0000"}}
    for field in (
        {"enabled": True, **keys},
        {"secretKey": "sk_live_51Hclinic0000", "enabled": True, "test": keys["test"]},
    ):
        now = read({"stripe": field}, MAPPING)
        for on in (LIVE, TEST):
            sets = tuple(LegacySet("stripe", each, is_enabled=each is on) for each in (LIVE, TEST))
            found = read(write(json.dumps({"stripe": field}), LegacyField(sets, now.active), MAPPING), MAPPING)
            assert {one.environment: one.is_enabled for one in found.sets} == {LIVE: on is LIVE, TEST: on is TEST}


def test_a_field_that_cannot_be_read_is_never_written() -> None:
    wanted = LegacyField((LegacySet("stripe", TEST, {"secretKey": Secret("sk_test_51Hclinic0000")}),))
    for field in ("{", "[1", b"\xff", 1.5):
        with pytest.raises(Unwritable):
            write(field, wanted, MAPPING)
    assert write("{", LegacyField(), MAPPING) == "{"
    for empty in (None, "", "null", "{}", "[]"):
        assert read(write(empty, wanted, MAPPING), MAPPING).sets[0].keys == wanted.sets[0].keys


def test_a_key_is_removed_by_an_empty_one_and_kept_if_it_is_not_named() -> None:
    keys = {name: Secret(key) for name, key in keys_of(Random(1), "flutterwave", LIVE).items()}
    field = write(None, LegacyField((LegacySet("flutterwave", LIVE, keys),)), MAPPING)
    kept = write(field, LegacyField((LegacySet("flutterwave", LIVE, priority=3),)), MAPPING)
    assert read(kept, MAPPING).sets[0].keys == keys
    without = write(field, LegacyField((LegacySet("flutterwave", LIVE, {"publicKey": Secret("")}),)), MAPPING)
    assert sorted(read(without, MAPPING).sets[0].keys) == sorted(set(KEY_NAMES) - {"publicKey"})


class Rot13:
    """A cipher for tests."""

    def decrypt(self, text: str) -> Secret:
        if not text.startswith("enc:"):
            raise ValueError("not encrypted")
        return Secret(text[4:][::-1])

    def encrypt(self, plain: Secret) -> str:
        return "enc:" + plain.reveal()[::-1]


def test_encrypted_keys_are_opened_and_only_a_changed_one_is_encrypted_again() -> None:
    mapping = Mapping(encrypted=frozenset({"secretKey"}))
    given = '{"stripe":{"secretKey":"enc:0000cinilcH15_tset_ks","publicKey":"pk_test_51Hclinic"}}'
    now = read(given, mapping, Rot13())
    assert now.sets[0].keys["secretKey"] == Secret("sk_test_51Hclinic0000")
    assert now.sets[0].environment is Environment.sandbox
    assert not now.held_up
    assert read(given, mapping).held_up
    assert write(given, now, mapping, Rot13()) is given
    changed = replace(now.sets[0], keys={"secretKey": Secret("sk_test_new00000000")})
    assert write(given, LegacyField((changed,)), mapping, Rot13()) == given.replace(
        "0000cinilcH15_tset_ks", "00000000wen_tset_ks"
    )
    with pytest.raises(Unwritable):
        write('{"stripe":{"publicKey":"pk_test_51Hclinic"}}', LegacyField((changed,)), mapping)


@pytest.mark.parametrize("kind", [str, bytes])
def test_a_field_that_is_encrypted_as_a_whole(kind: type) -> None:
    mapping = Mapping(encrypted=frozenset({"paymentProviders"}), prefix="enc:")
    cipher, plain = Rot13(), '{"stripe":{"secretKey":"sk_test_51Hclinic0000","enabled":true}}'
    sealed = cipher.encrypt(Secret(plain))
    given = sealed if kind is str else sealed.encode()
    now = read(given, mapping, cipher)
    assert now.sets[0].keys["secretKey"] == Secret("sk_test_51Hclinic0000")
    assert read(json.dumps(sealed), mapping, cipher).sets == now.sets  # as a JSON file has it
    assert write(given, now, mapping, cipher) is given
    written = write(given, turned_off(now), mapping, cipher)
    assert isinstance(written, kind)
    assert read(written, mapping, cipher).sets[0].is_enabled is False
    assert [one.type for one in read(given, mapping).findings] == [LegacyFinding.key_not_decrypted]
    assert read(plain, mapping, cipher).sets == now.sets  # some fields are not encrypted yet
    with pytest.raises(Unwritable):
        write(given, turned_off(now), mapping)
