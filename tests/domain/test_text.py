"""The normal form of text and the form in which it is searched."""

from __future__ import annotations

import unicodedata
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polytill.domain.text import compact, normal, search_form, words

FORMS: tuple[Literal["NFC"], Literal["NFD"]] = ("NFC", "NFD")
ANY = st.text(st.characters(), max_size=40)


@pytest.mark.parametrize(
    ("written", "same"),
    [
        ("Ada@Example.COM", " ada@example.com "),
        ("É", "e\u0301"),  # composed and decomposed
        ("Straße", "STRASSE"),
        ("Mary\u00a0 Jane", "mary jane"),
        ("\u202aINV\u200b-1\u202c", "inv-1"),
        ("Ọlábísí", unicodedata.normalize("NFD", "ỌLÁBÍSÍ")),
        ("ΟΔΥΣΣΕΥΣ", "οδυσσευς"),
    ],
)
def test_what_is_equal(written: str, same: str) -> None:
    assert normal(written) == normal(same)


@pytest.mark.parametrize(("one", "another"), [("José", "Jose"), ("a b", "ab"), ("INV-1", "INV1"), ("が", "か")])
def test_what_is_not_equal(one: str, another: str) -> None:
    assert normal(one) != normal(another)


@pytest.mark.parametrize(
    ("written", "searched"),
    [
        ("Élodie Ngọzi", "elodie ngozi"),
        ("ÇELIK Ọlábísí", "celik olabisi"),
        ("ẸBUN ADÉ", "ebun ade"),
        ("İstanbul", "istanbul"),
        ("ISTANBUL", "istanbul"),
        ("ıstanbul", "istanbul"),
        ("Straße", "strasse"),
        ("Łódź Øre Ɗan ɛɔŋ", "lodz ore dan eon"),
        ("Ærø Œuvre Þór", "aero oeuvre thor"),
        ("名前", "名前"),
        ("が", "が"),
        ("한국", "한국"),
        ("Ｆｕｌｌ ﬁn", "full fin"),
        ("٠٧١٢", "0712"),
        ("\u202bשלום\u202c", "שלום"),
        ("نَجِيب", "نجيب"),
        ("Ng’ang’a", "ng'ang'a"),
        ("Zoë 🎉", "zoe 🎉"),
    ],
)
def test_how_it_is_searched(written: str, searched: str) -> None:
    for form in FORMS:
        assert search_form(unicodedata.normalize(form, written)) == searched


def test_words() -> None:
    assert words("O'Brien-Ng’ang’a, Mary") == ["obrien", "nganga", "mary"]
    assert words("Zoë 🎉 भूल") == ["zoe", "🎉", "भूल"]
    assert words(" -- ") == []
    assert compact("# 48-21 77") == "482177"
    assert compact("INV/2044") == "inv2044"


@given(ANY)
def test_both_forms_are_stable(text: str) -> None:
    assert normal(normal(text)) == normal(text)
    assert search_form(search_form(text)) == search_form(text)
    assert search_form(normal(text)) == search_form(text)
    for form in FORMS:
        other = unicodedata.normalize(form, text)
        assert normal(other) == normal(text)
        assert search_form(other) == search_form(text)
