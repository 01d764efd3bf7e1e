"""Language files: every language has every text with the same values, the plural forms of its locale, its typography."""

from __future__ import annotations

import re
import string

import pytest
from babel import Locale

from polytill.web.checkout.texts import Language
from polytill.web.i18n import LANGUAGES, Plural, Text, accepted_tags, filled, locale_of, texts
from polytill.web.words import words_for

FILES = ("", "checkout.")
OTHERS = [(file, language) for file in FILES for language in LANGUAGES if language != "en"]


def _forms(text: Text) -> dict[str, str]:
    return dict(text.forms) if isinstance(text, Plural) else {"": text}


def plural_forms(language: str) -> frozenset[str]:
    """The plural forms of a language, from Babel."""
    return frozenset(Locale(language).plural_form.tags) | {"other"}


def _values(sentence: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(sentence) if name}


@pytest.mark.parametrize(("file", "language"), OTHERS)
def test_every_language_has_every_text_with_its_values(file: str, language: str) -> None:
    english, other = texts(f"{file}en"), texts(f"{file}{language}")
    assert english.keys() == other.keys()
    for key, text in english.items():
        wanted = set.union(*map(_values, _forms(text).values()))
        for form, sentence in _forms(other[key]).items():
            assert sentence.strip(), (key, form)
            assert _values(sentence) | {"n"} == wanted | {"n"}, (key, form)
            assert ("n" in _values(sentence)) <= ("n" in wanted), (key, form)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_counted_text_has_exactly_the_plural_forms_of_its_language(file: str, language: str) -> None:
    counted = {key for one in LANGUAGES for key, text in texts(f"{file}{one}").items() if isinstance(text, Plural)}
    for key in counted:
        text = texts(f"{file}{language}")[key]
        assert isinstance(text, Plural), key
        assert text.forms.keys() == plural_forms(language), key


def test_the_forms_are_those_of_cldr() -> None:
    assert {one: plural_forms(one) for one in LANGUAGES} == {
        "en": {"one", "other"},
        "fr": {"one", "many", "other"},
        "sw": {"one", "other"},
    }


@pytest.mark.parametrize(
    ("language", "number", "form", "written"),
    [
        ("en", 1, "one", "1"),
        ("en", 0, "other", "0"),
        ("en", 1234, "other", "1,234"),
        ("fr", 0, "one", "0"),
        ("fr", 2, "other", "2"),
        ("fr", 1_000_000, "many", "1\u202f000\u202f000"),
        ("sw", 1, "one", "1"),
        ("sw", 2, "other", "2"),
    ],
)
def test_a_number_takes_its_form(language: str, number: int, form: str, written: str) -> None:
    text = texts(language)["overview.payments"]
    assert isinstance(text, Plural)
    said = text.forms[form].format(n=written)
    assert words_for(language, "")("overview.payments", n=number) == said
    assert filled(text, Locale(language), {"n": number}) == said


def test_the_checkout_has_plural_forms_too(monkeypatch: pytest.MonkeyPatch) -> None:
    text = Plural({"one": "{n} day", "other": "{n} days"})
    monkeypatch.setattr("polytill.web.checkout.texts.texts", lambda _: {"link": {"days": text}})
    assert [Language("en", Locale("en")).say("link", "days", n=n) for n in (1, 2)] == ["1 day", "2 days"]


def test_a_counted_text_without_its_number_is_an_error() -> None:
    with pytest.raises(TypeError):
        words_for("en", "")("overview.payments", n="1")


# A number and the noun that it counts: such a text needs plural forms.
COUNTS = re.compile(r"\{n\} \w")
NO_NOUN = {"form.latest", "form.of_all", "catalog.more", "job.done"}


def test_a_number_with_a_noun_has_plural_forms() -> None:
    for file in FILES:
        single = {key: text for key, text in texts(f"{file}en").items() if isinstance(text, str)}
        assert {key for key, text in single.items() if COUNTS.search(text)} <= NO_NOUN


# ── Typography ──


@pytest.mark.parametrize("file", FILES)
def test_french_spaces_and_apostrophes(file: str) -> None:
    """U+202F before ; ! ?, U+00A0 before : and inside « », and the typographic apostrophe."""
    for key, text in texts(f"{file}fr").items():
        for sentence in _forms(text).values():
            bare = re.sub(r"https?://\S*|\{\w+\}", "x", sentence)
            assert "'" not in bare, key
            assert not re.search(r"[^\u202f\d][;!?]", bare), (key, sentence)
            assert not re.search(r"[^\u00a0]:(?!\d\d)", bare), (key, sentence)  # but 08:30
            assert not re.search(r"«[^\u00a0]|[^\u00a0]»", bare), (key, sentence)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_no_typewriter_marks(file: str, language: str) -> None:
    for key, text in texts(f"{file}{language}").items():
        for sentence in _forms(text).values():
            assert not re.search(r"'|\"|\.\.\.| …|  |^\s|\s$", sentence), (language, key, sentence)


# ── Which language ──


@pytest.mark.parametrize(
    ("chosen", "accepted", "tag"),
    [
        (None, "", "en"),
        (None, "xx, de;q=0.5", "en"),
        (None, "fr-CI,fr;q=0.9,en;q=0.8", "fr_CI"),
        (None, "en;q=0.2, sw;q=0.9", "sw"),
        (None, "fr;q=0, sw;q=0.1", "sw"),
        (None, "en ; q=0.1 , fr ; q=0.7", "fr"),
        ("fr", "en-NG", "fr"),
        ("fr", "en, fr-CI;q=0.1", "fr_CI"),
        ("xx", "sw", "sw"),
        ("", "*", "en"),
        (None, "fr;q=nan, sw;q=2, en;q=x", "en"),
        (None, "../fr, FR-ci;q=0.4", "fr_CI"),
        (None, "en-ZZ", "en_US"),
        (None, ",".join(["de"] * 20) + ",fr", "en"),
    ],
)
def test_the_language_of_a_reader(chosen: str | None, accepted: str, tag: str) -> None:
    assert str(locale_of(chosen, accepted)) == tag
    assert str(words_for(chosen, accepted).locale) == tag


def test_weights_order_the_tags() -> None:
    assert accepted_tags("a1, en;q=0.5, fr, sw;q=0.7, de;q=0") == ["fr", "sw", "en"]
