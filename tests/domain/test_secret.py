"""A secret can be read by ``reveal()`` only."""

from __future__ import annotations

import copy
import io
import json
import logging
import pickle
import traceback
from dataclasses import dataclass

import msgspec
import pytest
import structlog

from polytill.domain.secret import Secret

WORD = "sk_live_abcdefghijklmnop"


@dataclass
class Holder:
    key: Secret


def test_reveal_is_the_way_out() -> None:
    assert Secret(WORD).reveal() == WORD


@pytest.mark.parametrize(
    "shown",
    [
        repr(Secret(WORD)),
        str(Secret(WORD)),
        f"{Secret(WORD)}",
        f"{Secret(WORD)!r} {Secret(WORD)!s} {Secret(WORD)!a} {Secret(WORD):>40}",
        "%s %r" % (Secret(WORD), Secret(WORD)),  # noqa: UP031
        f"{Secret(WORD)} {Secret(WORD):s} {Secret(WORD)!r}",
        repr([Secret(WORD), {"key": Secret(WORD)}]),
        repr(Holder(Secret(WORD))),
        ascii(Secret(WORD)),
    ],
)
def test_no_text_shows_it(shown: str) -> None:
    assert WORD not in shown
    assert "Secret(" in shown or "\\u2022" in shown


def test_no_serializer_takes_it() -> None:
    with pytest.raises(TypeError):
        json.dumps({"key": Secret(WORD)})
    with pytest.raises(TypeError):
        msgspec.json.encode(Secret(WORD))
    assert WORD not in json.dumps({"key": Secret(WORD)}, default=str)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(Secret(WORD), protocol)
    with pytest.raises(TypeError):
        copy.deepcopy(Secret(WORD))
    with pytest.raises(TypeError):
        vars(Secret(WORD))


def test_no_log_shows_it() -> None:
    out = io.StringIO()
    logger = logging.Logger("secret")
    logger.addHandler(logging.StreamHandler(out))
    logger.warning("key %s %r", Secret(WORD), Secret(WORD), extra={"key": Secret(WORD)})
    lines = io.StringIO()
    for renderer in (structlog.processors.JSONRenderer(), structlog.dev.ConsoleRenderer(colors=False)):
        log = structlog.wrap_logger(structlog.PrintLogger(lines), processors=[renderer])
        log.warning("event", key=Secret(WORD), nested={"keys": [Secret(WORD)]})
    assert "Secret(" in out.getvalue()
    assert WORD not in out.getvalue() + lines.getvalue()
    assert "Secret(" in lines.getvalue()


def test_no_traceback_shows_it() -> None:
    key = Secret(WORD)
    try:
        raise ValueError(key)
    except ValueError as error:
        lines = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "Secret(" in lines
    assert WORD not in "".join(line for line in lines.splitlines(True) if "WORD" not in line)
    with pytest.raises(AttributeError) as caught:
        key.nothing  # type: ignore[attr-defined]  # noqa: B018
    assert WORD not in str(caught.value)


def test_last_four_only_of_a_long_one() -> None:
    assert Secret(WORD).last4 == "mnop"
    assert Secret("a" * 12).last4 == "aaaa"
    assert Secret("short-word1").last4 == ""
    assert Secret("").last4 == ""


def test_equality_and_truth() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert Secret("a") in (Secret("a"),)
    assert len({Secret("a"), Secret("a")}) == 1
    assert not Secret("")
